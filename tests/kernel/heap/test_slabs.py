"""Slabs: size classes, slot numbers without a division, type-stable slots, and what they refuse."""

import random

import pytest
from heap_model import PAGE, booted, effort, leave_free
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import LARGEST_CLASS, MAP_SHIFT, SIZE_CLASSES, Kern
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.kernel.heap.malloc import class_bytes
from kernmalloc.kernel.heap.notes import note_of
from kernmalloc.kernel.heap.slabs import (
    MAX_SLAB_PAGES,
    Cache,
    SlabPage,
    cache_init,
    reciprocal_of,
    slab_pages,
    slab_slots,
    slots_in,
)
from kernmalloc.kernel.heap.slots import first_slot, slot_grain, slots_at, starts_slot, starts_until
from kernmalloc.lang import ctz, status, twin

CLASSES = [class_bytes(i) for i in range(SIZE_CLASSES)]
SLOT_SIZES = range(16, LARGEST_CLASS + 1, 16)


class Flat:
    """Memory for kernel code that reads a few records: arrays of words at 0, at `heap` and at `records`."""

    machine = None

    def __init__(self, size: int, heap: int, heap_bytes: int, records: int) -> None:
        self.parts = [
            (base, memoryview(bytearray(length)))
            for base, length in ((heap, heap_bytes), (records, size), (0, records))
        ]

    def _at(self, addr: int, width: int) -> tuple[memoryview, int]:
        base, view = next(part for part in self.parts if addr >= part[0])
        return view[addr - base : addr - base + width], width

    def load(self, addr: int, width: int) -> int:
        return int.from_bytes(self._at(addr, width)[0], "little", signed=width == 8)

    def store(self, addr: int, width: int, value: int) -> None:
        self._at(addr, width)[0][:] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")


def test_size_classes():
    """E22: every size from 1 to 32768 has a class at least as large, of which it wastes at most an eighth and 16
    bytes."""
    assert sorted(CLASSES) == CLASSES
    assert CLASSES[-1] == LARGEST_CLASS
    with booted() as kernel:
        classes = kernel.view.peek(int(kernel.view.kern["class_of"]), LARGEST_CLASS >> 4)
        for size in range(1, LARGEST_CLASS + 1):
            slot = CLASSES[classes[(size - 1) >> 4]]
            assert size <= slot <= size + size // 8 + 16
        for size in {
            *range(1, 200),
            *CLASSES,
            *(size - 1 for size in CLASSES[1:]),
            *(size + 1 for size in CLASSES[:-1]),
        }:
            va = kernel.malloc(size)
            assert kernel.size_of(va) == CLASSES[classes[(size - 1) >> 4]]
            kernel.free(va)


@pytest.mark.parametrize("page_shift", [12, 13])
def test_slabs_hold_their_slots(page_shift):
    """Slots of a slab fit into it, none is left out that would fit, for every slot size and slab length; a slab of a
    size wastes at most 1/32 of itself where any length does."""
    for size in SLOT_SIZES:
        assert reciprocal_of(size) == -(-(1 << 32) // size)
        waste = {}
        for pages in range(1, MAX_SLAB_PAGES + 1):
            room = pages << page_shift
            dense = (1 << page_shift) // size > 64  # notes for all slots lie in the page
            slots = slots_in(size, pages, page_shift)
            assert slots == (room - dense * (1 << page_shift >> 7)) // size
            if slots:
                waste[pages] = (room - slots * size) / room
        chosen = slab_pages(size, page_shift)
        little = [pages for pages, share in waste.items() if share <= 1 / 32]
        assert chosen == (little[0] if little else min(waste, key=waste.get))


@pytest.mark.parametrize("page_shift", [12, 13, 16])
def test_where_slots_start_is_exact(page_shift):
    """In slabs of size classes and of object sizes: the bits of each page are those of the slots that start in it, no
    other address is a slot's, and no two slots of a page have one note."""
    heap, page, record, cache, heap_pages = 1 << 30, 3, 1 << 16, 1 << 15, 40
    view = Flat((heap_pages + 4) << page_shift - MAP_SHIFT, heap, heap_pages << page_shift, record)
    twin.use(view)
    kern, c = Kern(0), Cache(cache)
    kern.heap, kern.page_shift, kern.heap_map, kern.caches = heap, page_shift, HeapPage(record), Cache(cache)
    kern.record_shift = page_shift - MAP_SHIFT
    for size in [*CLASSES, *range(144, 33000, 592), 32752, 21856, 21840][:: 1 if page_shift < 16 else 9]:
        cache_init(kern, 0, size, 1, 0)
        seen = 0
        for i in range(c.pages):
            SlabPage(record + ((page + i) << kern.record_shift)).place = i
            first, bytes = heap + ((page + i) << page_shift), 1 << page_shift
            slots = [
                va
                for va in range(heap + (page << page_shift) + seen * size, first + bytes, size)
                if va < heap + (page << page_shift) + c.slots * size
            ]
            assert (first_slot(kern, page + i), slots_at(kern, page + i)) == (seen, len(slots))
            at, found = slot_grain(kern, page + i, seen + len(slots) - 1), []
            while len(found) < len(slots):
                bits = starts_until(c, (first - heap) // 16, at) % (1 << 64)
                found += [heap + ((at & -64) + bit) * 16 for bit in range(63, -1, -1) if bits >> bit & 1]
                at = (at & -64) + ctz(bits) - size // 16
            assert found == slots[::-1]
            assert len({note_of(kern, page + i, va) for va in slots}) == len(slots)
            for va in slots:
                assert starts_slot(kern, page + i, va) == 1
                for beside in (va + 1, va + size - 1, va + size // 2):
                    if beside < first + bytes:
                        assert starts_slot(kern, page + i, beside) == 0
            seen += len(slots)
        assert seen == c.slots


@pytest.mark.parametrize("size", CLASSES)
def test_slots_of_every_class(size):
    """A slab's slots are all given out, apart from each other, before another slab is made; each is refused while it is
    free, and between its ends; given back, they serve again (type-stable)."""
    with booted() as kernel:
        kernel.drain()
        used = int(kernel.view.kern["backed"])
        slots = slab_slots(size, 12)
        taken = [kernel.malloc(size) for _ in range(slots)]
        assert kernel.view.kern["backed"] - kernel.view.kern["idle"] == used + slab_pages(size, 12)
        assert sorted(taken)[-1] - sorted(taken)[0] == (slots - 1) * size
        assert len(set(taken)) == slots
        random.Random(size).shuffle(taken)
        kernel.malloc(size)  # which makes a second slab
        freed = set()
        for va in taken:
            before = kernel.snapshot()
            assert kernel.call("free", va + size // 2) == status.INTERIOR
            assert kernel.call("free", va + 1) == status.INTERIOR
            assert kernel.snapshot() == before
            kernel.free(va)
            freed.add(va)
            before = kernel.snapshot()
            if freed != set(taken):  # the slab lives
                again = random.Random(va).choice(sorted(freed))
                assert kernel.call("free", again) == status.NOT_ALLOCATED
                assert kernel.call("size_of", again) == status.NOT_ALLOCATED
            assert kernel.snapshot() == before
            if len(freed) > 16:
                break
        back = {kernel.malloc(size) for _ in range(slots - 1 + len(freed))}
        assert kernel.view.cache(CLASSES.index(size))["slabs"] == 2
        assert freed <= back or freed == set(taken)


@effort(0.6)
@given(
    st.sampled_from([16, 64, 112, 640, 4096, 30_000]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), max_size=300),
)
def test_random_slots(size, ops):
    """Slots of one class, taken and given in any order: none given out twice, and every doubled free refused
    unchanged."""
    with booted((0, 16 * MIB)) as kernel:
        live, dead = [], []
        for op, which in ops:
            if op <= 2 or not live:
                va = kernel.malloc(size)
                assert all(abs(va - other) >= size for other in live)
                live.append(va)
                dead = [other for other in dead if other != va]
            elif op <= 4:
                va = live.pop(which % len(live))
                kernel.free(va)
                dead.append(va)
            elif dead:
                va = dead[which % len(dead)]
                before = kernel.snapshot()
                assert kernel.call("free", va) in (status.NOT_ALLOCATED, status.BAD_ADDRESS)
                assert kernel.snapshot() == before
        conserved(kernel)
        state = kernel.view.used_slots()
        index = next(i for i, slot in enumerate(CLASSES) if slot >= size)
        assert state.get(index, 0) == len(live)


def test_an_edge_does_not_thrash():
    """E21: one empty slab stays with its cache, so that a take and a give at its edge move no pages."""
    with booted(growth=1) as kernel:
        kernel.drain()
        slots = slab_slots(4096, 12)
        assert slots == 1
        kernel.malloc(4096)
        kernel.free(kernel.malloc(4096))
        before = int(kernel.view.kern["returned"])
        for _ in range(10):
            kernel.free(kernel.malloc(4096))
        assert kernel.view.kern["returned"] == before


def test_empty_slabs_go_for_a_run_that_they_can_make():
    """E21: before the heap grows for a run, empty slabs are given back of whose pages it can be made, and none in
    vain."""
    with booted((0, 32 * MIB)) as kernel:

        def pages() -> tuple[int, int, int]:
            empty = int(kernel.view.magazines()["empty_pages"].sum())
            return int(kernel.view.kern["backed"]), int(kernel.view.kern["idle"]), empty

        kernel.drain()
        for va in [kernel.malloc(3072) for _ in range(20)]:
            kernel.free(va)
        backed, idle, empty = pages()
        wanted = idle + 1
        assert idle > 0 and empty >= 3
        kernel.malloc(3 * MIB)
        backed += 3 * MIB // PAGE
        assert pages() == (backed, idle, empty), "they could never make a run of so many pages"
        kernel.malloc(wanted * PAGE)
        assert pages() == (backed, idle - wanted + 3, empty - 3), "the heap need not grow: one slab is enough"


def test_a_refill_that_fails_changes_nothing():
    """E26: malloc of a slot when the magazine is empty and no slab can be had leaves every byte as it was."""
    with booted((0, 8 * MIB)) as kernel:
        slots = slab_slots(3072, 12)
        taken = [kernel.malloc(3072) for _ in range(slots)]
        held = leave_free(kernel, 0)
        id = CLASSES.index(3072)
        while kernel.view.used_slots()[id] < kernel.view.cache(id)["slabs"] * slots:
            taken.append(kernel.malloc(3072))
        for _ in range(2 * slots):
            before = kernel.snapshot()
            if kernel.call("malloc", 3072) < 0:
                break
        else:
            pytest.fail("it never failed")
        assert kernel.snapshot() == before
        kernel.free(taken[0])
        assert kernel.malloc(3072) == taken[0]
        for pfn in held[: slab_pages(3072, 12) + 4]:
            kernel.frame_put(pfn)
        assert kernel.malloc(3072) % 16 == 0
        assert slots * 3072 == PAGE * 3


def test_any_number_of_pages_may_be_kept_idle():
    """More than a field of a magazine holds is as many as there are."""
    profile = Profile.load("eros2")
    with Kernel.boot(
        machine((0, 16 * MIB)), replace(profile, heap=replace(profile.heap, idle_frames=1 << 40)), "soft"
    ) as kernel:
        for va in [kernel.malloc(2000) for _ in range(500)]:
            kernel.free(va)
        conserved(kernel)
