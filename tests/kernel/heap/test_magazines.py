"""Magazines: slots given back by others, the stack, empty slabs, and what the heap keeps idle."""

import random

import pytest
from heap_model import altered, effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import SIZE_CLASSES, STACK
from kernmalloc.kernel.heap.malloc import class_bytes
from kernmalloc.kernel.heap.slabs import SlabPage, is_dense
from kernmalloc.lang import status

CLASSES = [class_bytes(i) for i in range(SIZE_CLASSES)]


def pages_of(kernel: Kernel, size: int):
    """The records of the pages of a size class's slabs."""
    records = kernel.view.heap_pages().view(SlabPage.dtype)
    return records[(records["owner"] > 0) & (records["cache"] == CLASSES.index(size))]


@pytest.mark.parametrize("size", [16, 32, 640, 4096])
def test_what_another_processor_gives_back_is_fetched(size):
    """E26, E31: it is noted, in the record or, where a page has many slots, in the page; it is free, so that nobody
    gives it back again; its owner takes it before a slab is made."""
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2"), "soft", cpus=2) as kernel:
        other = kernel.cpu(1)
        blocks = [kernel.malloc(size) for _ in range(3 * STACK)]
        assert is_dense(size, 12) == (size < 64)
        given = random.Random(size).sample(blocks, STACK)
        for va in given:
            other.free(va)
            assert kernel.call("free", va) == other.call("free", va) == status.NOT_ALLOCATED
            assert kernel.call("size_of", va) == status.NOT_ALLOCATED
            conserved(kernel)
        assert (pages_of(kernel, size)["waiting"] != 0).any()
        slabs = int(kernel.view.cache(CLASSES.index(size))["slabs"])
        again = set()
        while not set(given) <= again:
            again.add(kernel.malloc(size))
            conserved(kernel)
            assert kernel.view.cache(CLASSES.index(size))["slabs"] == slabs
        assert not (pages_of(kernel, size)["waiting"] != 0).any()
        for va in again | set(blocks):
            kernel.free(va)
            conserved(kernel)


def test_what_others_give_back_is_counted():
    """E26: pages with slots that another processor gave back are found again by `check`, as many as wait."""
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2"), "soft", cpus=2) as kernel:
        extra = kernel.cache("extra", 64, 10_000)
        objects = [extra.get() for _ in range(100)]
        conserved(kernel)
        for va in objects[:5]:
            assert kernel.cpu(1).call("cache_put", extra.id, va) == status.OK
            conserved(kernel)
        assert extra.used == 95


@effort(0.6)
@given(
    st.sampled_from([16, 48, 584, 1216, 8192]),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 1000)), max_size=200),
)
def test_two_processors_at_random(size, ops):
    """E26: whoever allocates and whoever frees, no slot is given out twice, and every doubled free is refused."""
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2"), "soft", cpus=2) as kernel:
        both, live, dead = (kernel, kernel.cpu(1)), [], set()
        for op, who, which in ops:
            if op <= 1 or not live:
                va = both[who].malloc(size)
                assert all(abs(va - other) >= size for other in live)
                live.append(va)
                dead.discard(va)
            elif op == 2:
                va = live.pop(which % len(live))
                both[who].free(va)
                dead.add(va)
            elif dead:
                assert both[who].call("free", sorted(dead)[which % len(dead)]) in (
                    status.NOT_ALLOCATED,
                    status.BAD_ADDRESS,
                )
            conserved(kernel)
        assert kernel.view.used_slots().get(next(i for i, slot in enumerate(CLASSES) if slot >= size), 0) == len(live)
        for va in live:
            both[1].free(va)
            conserved(kernel)
        for processor in both:
            processor.drain()
            conserved(kernel)


def test_the_stack_gives_the_last_one_first():
    """What was used last is used next, up to half the depth of the stack, which is what a full one keeps."""
    with Kernel.boot(machine((0, 16 * MIB)), altered("eros2"), "raw") as kernel:
        blocks = [kernel.malloc(64) for _ in range(STACK // 2)]
        for va in blocks:
            kernel.free(va)
        assert [kernel.malloc(64) for _ in range(STACK // 2)] == blocks[::-1]


def test_C11_what_is_kept_idle_goes_when_frames_are_short():
    """C11, E21, E30: a heap keeps as many idle frames as its profile says; beyond a growth step they go before anybody
    waits."""
    profile = altered("eros2")
    profile = replace(profile, heap=replace(profile.heap, idle_frames=1024))
    with Kernel.boot(machine((0, 16 * MIB)), profile, "soft") as kernel:
        kernel.drain()
        before = kernel.frames_by_type()
        kernel.free(kernel.malloc(4 * MIB))
        assert kernel.view.kern["idle"] == 1024
        held = [kernel.frame_get() for _ in range(before["free"] - profile.heap.growth_frames - 1)]
        assert kernel.view.kern["idle"] <= profile.heap.growth_frames
        for pfn in held:
            kernel.frame_put(pfn)
        conserved(kernel)
