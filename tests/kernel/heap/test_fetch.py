"""What processors keep idle is fetched by others before a call is refused; object types are destroyed."""

import ctypes
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from effort import EFFORT
from heap_model import PAGE, altered
from small_machines import MIB, conserved, machine

from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import CACHES, DMA, GRAIN_SHIFT, LARGEST_CLASS, MAP_SHIFT, SIZE_CLASSES, Cpu, Gate
from kernmalloc.kernel.heap.caches import FIRST_TYPE, LAST_MAP_CACHE
from kernmalloc.lang import failed, status
from kernmalloc.lang.status import BAD_CACHE, BUSY, NOT_YOURS, OK

CPUS = 4
ALL = 1 << 40  # frames: more than there are
MODES = ("raw", "soft", "twin")


@contextmanager
def several(mode: str = "soft", cpus: int = CPUS, size: int = 8 * MIB) -> Iterator[list[Kernel]]:
    """The processors of a kernel, checked at the end."""
    with Kernel.boot(machine((0, size)), altered("eros2", growth=16), mode, cpus=cpus) as kernel:
        yield [kernel.cpu(number) for number in range(cpus)]
        conserved(kernel)


def listed(kernel: Kernel) -> int:
    return int(kernel.view.kern["free_frames"] - kernel.view.kern["stocked"])


def take_all(kernel: Kernel) -> list[int]:
    """Frames for drivers until there are none: the pfns."""
    taken = []
    while not failed(pfn := kernel.call("frame_get", DMA)):
        taken.append(pfn)
    assert pfn == status.NO_FRAMES
    return taken


@pytest.mark.parametrize("mode", MODES)
def test_frames_of_all_stocks_come_before_no_frames(mode):
    """One processor has every frame that is free, wherever another one kept it at hand."""
    with several(mode) as cpus:
        first = cpus[0]
        first.drain()
        free = listed(first)
        for cpu in cpus[1:]:
            cpu.frame_put(cpu.frame_get())
            cpu.frame_put(cpu.block_get(9, "page"))
        assert listed(first) < free
        taken = take_all(first)
        assert len(taken) == free and listed(first) == 0
        for pfn in taken:
            first.frame_put(pfn)


@pytest.mark.parametrize("mode", MODES)
def test_slabs_of_all_magazines_come_before_no_frames(mode):
    """Blocks freed by their owner, and by others, are frames again when another processor needs them."""
    with several(mode) as cpus:
        first = cpus[0]
        first.drain()
        free, chance = listed(first), random.Random(5)
        for cpu in cpus[1:]:
            blocks = [cpu.malloc(size) for size in (16, 100, 600, 3000, 9000) for _ in range(20)]
            for va in blocks:
                chance.choice(cpus).free(va)
        assert listed(first) < free
        taken = take_all(first)
        assert len(taken) == free
        for pfn in taken:
            first.frame_put(pfn)


@pytest.mark.parametrize("mode", MODES)
def test_the_heap_grows_by_what_others_keep(mode):
    """malloc of nearly all memory, which other processors have at hand."""
    with several(mode) as cpus:
        first = cpus[0]
        first.drain()
        size = (listed(first) - 40) * PAGE
        for cpu in cpus[1:]:
            for va in [cpu.malloc(3000) for _ in range(100)]:
                cpu.free(va)
            cpu.frame_put(cpu.frame_get())
        first.free(first.malloc(size))


@pytest.mark.parametrize("mode", MODES)
def test_collect_brings_what_is_asked_for(mode):
    """It takes no more than it must, and tells how many frames there are."""
    with several(mode) as cpus:
        first, other = cpus[:2]
        first.drain()
        free = listed(first)
        other.frame_put(other.frame_get())
        stocked = free - listed(first)
        assert stocked > 0
        assert first.call("collect", 1) == free - stocked, "there are enough"
        assert first.call("collect", ALL) == free
        assert int(first.view.kern["stocked"]) == 0
        assert first.call("collect", ALL) == free


def gate(kernel: Kernel) -> tuple[int, int]:
    """What a processor's quick paths may do with slots."""
    found = kernel.view.read(Gate, kernel.processor + Cpu.offset("shared"))[0]
    return int(found["takes"]), int(found["gives"])


def test_a_gate_is_opened_by_its_own_processor():
    """A fetch shuts it, whatever the one that fetches does then; the next call of its own opens it."""
    with several("soft", cpus=2) as (first, second):
        va, mapped = second.malloc(64), int(first.view.kern["map_pages"])
        opened = (LARGEST_CLASS, mapped << 12 + MAP_SHIFT - GRAIN_SHIFT)
        assert gate(second) == opened
        first.call("collect", ALL)
        first.free(first.malloc(64))
        assert gate(second) == (0, 0) and gate(first) == opened
        second.free(va)
        assert gate(second) == opened


@pytest.mark.parametrize("mode", MODES)
def test_a_type_is_destroyed_when_no_object_is_in_use(mode):
    """Its slabs go back wherever they are; its number is another type's; what is none, or in use, is refused."""
    with several(mode, cpus=2) as (first, second):
        first.drain()
        start = first.frames_by_type()
        cache = first.cache("port", 600, 40)
        objects = [cpu.call("cache_get", cache.id) for _ in range(10) for cpu in (first, second)]
        assert first.call("cache_destroy", cache.id) == BUSY
        for number, va in enumerate(objects):
            assert (first, second)[number // 2 % 2].call("cache_put", cache.id, va) == OK
            if number == len(objects) - 2:
                assert second.call("cache_destroy", cache.id) == BUSY
        assert second.call("cache_destroy", cache.id) == OK
        assert first.check()
        for call in ("cache_destroy", "cache_get"):
            assert first.call(call, cache.id) == BAD_CACHE
        assert first.call("cache_put", cache.id, objects[0]) == BAD_CACHE
        other = first.cache("else", 5000, 9)
        assert other.id == cache.id
        second.call("cache_put", other.id, second.call("cache_get", other.id))
        assert first.call("cache_destroy", other.id) == OK
        first.call("collect", ALL)
        assert first.frames_by_type() == start


def test_types_that_cannot_be_destroyed(boot):
    """Size classes and numbers of nothing are no types; the kernel's own and those of last words stay."""
    kernel = boot((0, 16 * MIB), mode="soft")
    for id in (-1, 0, SIZE_CLASSES - 1, int(kernel.view.kern["cache_count"]), CACHES, 1 << 40):
        assert kernel.call("cache_destroy", id) == BAD_CACHE
    for id in range(SIZE_CLASSES, FIRST_TYPE):
        assert kernel.call("cache_destroy", id) == NOT_YOURS
    assert LAST_MAP_CACHE < FIRST_TYPE
    made = []
    with pytest.raises(Exception, match="BAD_CACHE"):
        while True:
            made.append(kernel.cache("n", 32, 1))
    for cache in made[::2]:
        assert kernel.call("cache_destroy", cache.id) == OK
    assert [kernel.cache("m", 48, 1).id for _ in made[::2]] == [cache.id for cache in made[::2]]
    assert kernel.check()


def test_a_limit_is_no_want_of_frames():
    """LIMIT fetches nothing."""
    with several("soft", cpus=2) as (first, second):
        cache = first.cache("port", 2048, 2)
        held = [cache.get() for _ in range(cache.limit)]
        second.frame_put(second.frame_get())
        stocked = int(first.view.kern["stocked"])
        with pytest.raises(OutOfMemory):
            cache.get()
        assert int(first.view.kern["stocked"]) == stocked > 0
        for va in held:
            cache.put(va)


# processors that run at once

SECONDS = 0.7 if EFFORT == 1 else 60
THREADS = r"""
#include <stdatomic.h>
#include <stdint.h>
typedef int64_t one(int64_t, int64_t);
#define CPUS 4
#define RING 256
struct load {
	int64_t cpu[CPUS];
	one *malloc, *free, *frame_get, *frame_put, *collect;
	_Atomic int64_t stop, refused, wrong, done;
	_Atomic int64_t box[CPUS][RING];        /* blocks and frames for that processor to free: (value << 1) | frame */
};
static int hand(struct load *l, int to, uint32_t at, int64_t what)
{
	int64_t none = 0;
	return atomic_compare_exchange_strong(&l->box[to][at % RING], &none, what);
}
static void release(struct load *l, int me, int64_t what)
{
	one *put = what & 1 ? l->frame_put : l->free;
	if (put(l->cpu[me], what >> 1) != 0)
		l->wrong++;
}
void run(struct load *l, int64_t me)
{
	uint64_t seed = 88172645463325252ull + me * 7919;
	int64_t done = 0;
	for (; !l->stop; done++) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		int frame = (seed & 7) == 0;
		int64_t size = 16 << (seed >> 8 & 7);
		int64_t got = frame ? l->frame_get(l->cpu[me], 3) : l->malloc(l->cpu[me], size);
		if (got < 0 && got >= -4095) {
			l->refused++;
		} else {
			int64_t what = got << 1 | frame;
			if (!frame)
				*(volatile int64_t *)got = got;
			if (!hand(l, seed >> 16 & (CPUS - 1), seed >> 20, what))
				release(l, me, what);
		}
		int64_t mine = atomic_exchange(&l->box[me][seed >> 32 & (RING - 1)], 0);
		if (mine) {
			if (!(mine & 1) && *(volatile int64_t *)(mine >> 1) != mine >> 1)
				l->wrong++;
			release(l, me, mine);
		}
		if ((seed >> 40 & 8191) == 0)
			l->collect(l->cpu[me], (int64_t)1 << 40);
	}
	for (int i = 0; i < RING; i++) {
		int64_t mine = atomic_exchange(&l->box[me][i], 0);
		if (mine)
			release(l, me, mine);
	}
	l->done += done;
}
"""


class Load(ctypes.Structure):
    """`struct load`."""

    _fields_ = [
        ("cpu", ctypes.c_int64 * CPUS),
        *((name, ctypes.c_void_p) for name in ("malloc", "free", "frame_get", "frame_put", "collect")),
        *((name, ctypes.c_int64) for name in ("stop", "refused", "wrong", "done")),
        ("box", ctypes.c_int64 * (CPUS * 256)),
    ]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_four_processors_free_each_others_blocks_and_fetch(tmp_path):
    """Blocks and frames go from hand to hand, on threads, while everyone fetches what the others keep idle, in little
    memory: no block changes, nothing is lost, and in the end every frame comes back by one call."""
    (tmp_path / "load.c").write_text(THREADS)
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", tmp_path / "load.so", tmp_path / "load.c"]
    subprocess.run(command, check=True)
    run = ctypes.CDLL(str(tmp_path / "load.so")).run
    run.argtypes = [ctypes.POINTER(Load), ctypes.c_int64]
    with several("raw", size=4 * MIB) as cpus:
        first = cpus[0]
        first.drain()
        start = first.call("collect", ALL)
        load = Load(cpu=(ctypes.c_int64 * CPUS)(*(cpu.processor for cpu in cpus)))
        for name in ("malloc", "free", "frame_get", "frame_put", "collect"):
            setattr(load, name, first.entry(name))
        threads = [threading.Thread(target=run, args=(ctypes.byref(load), number)) for number in range(CPUS)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        load.stop = 1
        for thread in threads:
            thread.join()
        for what in load.box:
            if what:
                first.frame_put(what >> 1) if what & 1 else first.free(what >> 1)
        print(f"{load.done:,} operations, {load.refused:,} refused")
        assert load.wrong == 0 and load.done > 1000
        assert first.call("collect", ALL) == start
        assert first.check()
