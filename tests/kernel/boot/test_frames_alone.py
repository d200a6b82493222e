"""Mode frames: the page allocator alone. Core tables are carved out of RAM, and whatever needs a heap is refused."""

import random
import struct

import pytest
from small_machines import MIB, MODES, conserved, guest, machine, poison, poke

from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import ENTRY, SHIPPED, Profile, ProfileError
from kernmalloc.kernel.boot.added import PAGE_SPACE
from kernmalloc.kernel.core.kern import DEVICE_MEMORY, DMA, PAGE
from kernmalloc.kernel.frames.bitmap import bitmap_bytes
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang import failed
from kernmalloc.lang.status import BAD_ADDRESS, NO_SOURCE, NO_VA, OK
from kernmalloc.plan.plan import plan

FRAME = 4096
RANGES = ((0, 640 << 10), (MIB, 11 * MIB), (16 * MIB, 3 * MIB))


def boot(mode: str = "twin", ranges: tuple[tuple[int, int], ...] = RANGES, **more: object) -> Kernel:
    return Kernel.boot(machine(*ranges), guest(name="frames"), mode, **more)


@pytest.mark.parametrize("mode", MODES)
def test_what_it_costs_is_the_core_tables(mode: str) -> None:
    with boot(mode, prepare=poison) as kernel:
        ram = [r for r in kernel.regions if r.kind == "ram"]
        tables = sum(-(-(r.frames * ENTRY + bitmap_bytes(r.pfn, r.frames)) // FRAME) for r in ram)
        assert int(kernel.view.kern["donation_frames"]) == int(kernel.view.kern["reserved_frames"]) == tables
        assert kernel.frames_by_type()["heap"] == kernel.frames_by_type()["mapping"] == 0
        assert kernel.heap.backed == kernel.heap.bound == 0
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_every_frame_comes_and_goes(mode: str) -> None:
    with boot(mode, cpus=2) as kernel:
        start = kernel.frames_by_type()
        frames = []
        with pytest.raises(OutOfMemory):
            while True:
                frames.append(kernel.cpu(len(frames) & 1).frame_get())
        assert len(set(frames)) == len(frames) >= start["free"] - 64, "the other processor may hold a few"
        for pfn in frames:
            kernel.frame_put(pfn)
        block, run = kernel.block_get(9), kernel.range_get(100, high=8 * MIB)
        window = kernel.call("window_open", block)
        assert kernel.view.pa(window) == block * FRAME
        kernel.frame_put(block)
        kernel.range_put(run, 100)
        assert kernel.frames_by_type() == start
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_what_needs_a_heap_is_refused(mode: str) -> None:
    with boot(mode) as kernel:
        before = kernel.snapshot()
        for size in (1, 100, 40_000, 1 << 40):
            assert kernel.call("malloc", size) == NO_VA
        assert kernel.call("malloc_zeroed", 100) == kernel.call("malloc_aligned", 100, 4096) == NO_VA
        assert kernel.call("free", 0x1000) == kernel.call("size_of", 0x1000) == BAD_ADDRESS
        assert kernel.call("publish", 1 << 20, 64, DEVICE_MEMORY, 64, 1) == NO_VA
        assert failed(kernel.call("umap_make")) and failed(kernel.call("thread_make", 0))
        assert kernel.call("page_get", 7) == NO_SOURCE
        assert kernel.call("ram_add", 1 << 15, 512, PAGE_SPACE) == NO_VA
        assert kernel.call("drain") == kernel.call("release") == OK
        after = kernel.snapshot()
        record = int(kernel.handle.loaded.kern_pa) // FRAME
        changed = {pa // FRAME for pa in before.keys() | after.keys() if before.get(pa) != after.get(pa)}
        assert changed <= set(range(record, record + 5)), "but for what the last call wanted"
        conserved(kernel)


def test_plan_and_boot_agree() -> None:
    made = plan(machine(*RANGES), guest(name="frames"))
    with boot("soft") as kernel:
        kern = kernel.view.kern
        assert made.frames == int(kern["frames"]) and made.available == int(kern["opening"])
        assert made.top == made.planned == made.most == 0
        conserved(kernel)


def test_damage_is_found() -> None:
    with boot("soft") as kernel:
        view, chance = kernel.view, random.Random(0)
        held = [kernel.frame_get("dma") for _ in range(40)]
        region = view.region(held[0])
        words = int(region["words"])
        for _ in range(40):
            at = words + chance.randrange(int(region["word_count"]) * 8)
            old = view.peek(at, 1)
            poke(view, at, bytes([old[0] ^ 1 << chance.randrange(8)]))
            assert not kernel.check().passed
            poke(view, at, old)
        first = int(view.kern["boot_region"])
        for name in ("left", "right", "area", "words", "next"):
            at = first + Region.offset(name)
            old = view.peek(at, 8)
            for wrong in (first + 8, first + 64 * Region.size, int(region["area"]) + FRAME, 1 << 40, -8):
                poke(view, at, struct.pack("<q", wrong))
                assert not kernel.check().passed, (name, hex(wrong))
            poke(view, at, old)
        assert kernel.check().passed


def test_objects_are_refused() -> None:
    text = (SHIPPED / "frames.toml").read_text() + '[[objects]]\nname = "node"\nsize = 64\ncount = 1\n'
    with pytest.raises(ProfileError, match="objects: mode frames has no heap for them"):
        Profile.parse(text, "mine.toml")


@pytest.mark.parametrize("kind", [PAGE, DMA])
def test_processors_put_each_others_frames(kind: int) -> None:
    with boot("raw", cpus=2) as kernel:
        start = kernel.frames_by_type()
        frames = [kernel.cpu(0).call("frame_get", kind) for _ in range(300)]
        assert all(kernel.cpu(1).call("frame_put", pfn) == OK for pfn in frames)
        assert kernel.frames_by_type() == start
        conserved(kernel)
