"""Ranges: where they are found, what is moved for them, and that nothing is lost or half done.

Rows E12-13 (length, alignment, lowest and highest address, boundary; pages moved, pinned frames avoided, frames
zeroed), E14, E16 (pages are copied through windows)."""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from frame_model import FRAME, World
from heap_model import empty_stock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_walk import leaves
from range_model import Pages, costs, places, stamp
from small_machines import MIB, MODES, conserved, machine, poison, poke

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA, PAGE, Cpu, Kern
from kernmalloc.kernel.map.windows import WINDOWS
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang.status import BAD_ALIGN, BAD_SIZE, NO_FRAMES, NO_VA, PROMISED

AREA = 80  # frames that an example arranges


class Full:
    """A kernel all of whose frames are movable pages, number i in the i-th frame."""

    def __init__(self, mode: str) -> None:
        ranges = ((0, 4 * MIB), (4 * MIB, MIB), (5 * MIB + 64 * FRAME, MIB))
        self.kernel = Kernel.boot(machine(*ranges), Profile.load("eros2"), mode, prepare=poison)
        self.pages = Pages(self.kernel)
        self.umap = self.kernel.call("umap_make")
        self.kernel.call("umap_map", self.umap, 0, 0, 0)  # the tables and depend entries are there
        self.numbers = {self.pages.make(number): number for number in range(self.kernel.frames_by_type()["free"])}
        self.frames = sorted(self.numbers)
        self.snapshot = self.kernel.snapshot()

    def state(self) -> dict[int, bytes]:
        """All memory, but for the page that the processor record lies in, and the note of the last region found."""
        pages, view = self.kernel.snapshot(), self.kernel.view
        pages.pop(view.pa(view.loaded.cpu) & -FRAME)
        note = view.pa(view.kern_va + Kern.offset("hit"))
        page, at = pages[note & -FRAME], note % FRAME
        pages[note & -FRAME] = page[:at] + bytes(8) + page[at + 8 :]
        return pages


@pytest.fixture(scope="module", params=MODES)
def full(request) -> Iterator[Full]:
    made = Full(request.param)
    yield made
    made.kernel.close()


def arrange(full: Full, kinds: list[str], spares: int, first: int) -> dict[int, int]:
    """Make frames from `first` on what `kinds` says and free `spares` others; returns {number: frame} of the pages that
    are left."""
    kernel = full.kernel
    kernel.restore(full.snapshot)
    numbers = dict(full.numbers)
    area = [pfn for pfn in full.frames if pfn >= first][: len(kinds)]
    others = [pfn for pfn in full.frames if pfn not in set(area)]
    for pfn in others[:: max(len(others) // spares, 1)][:spares] if spares else []:
        assert kernel.call("page_discard", pfn) == 0
        del numbers[pfn]
    for pfn, kind in zip(area, kinds, strict=False):
        if kind == "pinned":
            kernel.call("page_pin", pfn)
        elif kind != "page":
            assert kernel.call("page_discard", pfn) == 0
            del numbers[pfn]
        if kind in ("dma", "held"):
            assert kernel.call("range_get", 1, 1, pfn, pfn + 1, 0, DMA if kind == "dma" else PAGE) == pfn
    return {number: pfn for pfn, number in numbers.items()}


KINDS = st.lists(st.sampled_from(["page"] * 8 + ["free"] * 8 + ["pinned", "held", "dma"]), min_size=AREA, max_size=AREA)
COUNT = st.one_of(st.integers(1, 40), st.integers(1, 12))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    KINDS,
    st.sampled_from([0, 0, 3, 20, 60]),
    COUNT,
    st.integers(0, 4),
    st.sampled_from([0, 0, 0, 16, 32, 64]),
    st.data(),
)
def test_the_place_with_the_least_to_move_E12_E13(full, kinds, spares, count, shift, boundary, data):
    """Against trying every place: a range is found where there is one, as many pages are moved as must be, each page is
    whole and where its owner says, what stays stayed, the range is zeros; and what is refused changes nothing."""
    kernel, pages = full.kernel, full.pages
    start = data.draw(st.sampled_from(full.frames[:-AREA]))
    before = arrange(full, kinds, spares, start)
    low, high = sorted((start + data.draw(st.integers(-8, AREA)), start + data.draw(st.integers(-8, AREA + 8))))
    align = 1 << shift
    cost, state = costs(pages), full.state()
    found = places(cost, count, align, low, high, boundary)
    free, moved = kernel.frames_by_type()["free"], int(kernel.view.kern["moved"])
    result = kernel.call("range_get", count, align, low, high, boundary, DMA)
    if boundary and count > boundary:
        assert result == BAD_SIZE
    elif not found:
        assert result == NO_FRAMES
    elif min(found.values()) > 0 and free < count:
        assert result in found or kernel.frames_by_type()["free"] == 0, "pages are evicted, then moved"
    else:
        least = min(found.values())
        assert found[result] == least
        assert not least or result == min(pfn for pfn, total in found.items() if total == least), "the lowest of them"
        assert int(kernel.view.kern["moved"]) == moved + least
        inside = range(result, result + count)
        assert all(kernel.call("frame_type", pfn) == DMA for pfn in inside)
        assert not any(kernel.handle.life.ram.bytes[result * FRAME : (result + count) * FRAME]), "zeros"
        for number, pfn in before.items():
            now = pages.where(number) if cost[pfn] == 1 else pfn
            assert (now != pfn) == (pfn in inside), "only what is in the way is moved"
            assert bytes(kernel.handle.life.ram.bytes[now * FRAME : (now + 1) * FRAME]) == stamp(number)
        assert kernel.frames_by_type()["free"] == free - count
        kernel.call("range_put", result, count)
        assert kernel.frames_by_type()["free"] == free
    if result < 0 and free >= count:
        assert full.state() == state, "refused, and changed nothing"
    conserved_but_pins(kernel)


def conserved_but_pins(kernel: Kernel) -> None:
    result = kernel.check()
    assert result.passed, result.failure
    assert int(kernel.view.read(Cpu, kernel.handle.loaded.cpu)[0]["open"]) == 0


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_more_ranges_than_a_buddy_allocator_that_cannot_move_E12(load):
    """Pages anywhere, 32 frames at a multiple of 32, one range after the other: all that the free frames can make, but
    for the few places that the kernel itself is in; a buddy allocator has what is free and aligned."""
    with (full := Full("raw")).kernel as kernel:
        pick = random.Random(load)
        for pfn in (free := set(pick.sample(full.frames, round(len(full.frames) * (1 - load))))):
            assert kernel.call("page_discard", pfn) == 0
        buddy = sum(all(pfn + i in free for i in range(32)) for pfn in free if pfn % 32 == 0)
        whole = sum(all(pfn + i in set(full.frames) for i in range(32)) for pfn in full.frames if pfn % 32 == 0)
        found, frames = [], kernel.frames_by_type()["free"]
        while (
            kernel.frames_by_type()["free"] >= 32
            and (pfn := kernel.call("range_get", 32, 32, 0, 1 << 52, 0, PAGE)) >= 0
        ):
            found.append(pfn)
        assert len(found) == min(frames // 32, whole) > buddy
        inside = {pfn + i for pfn in found for i in range(32)}
        for pfn, number in full.numbers.items():
            if pfn not in free:
                assert full.pages.where(number) not in inside and full.pages.content(number) == stamp(number)
        conserved_but_pins(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_range_across_regions_that_touch_E12(mode, boot):
    """A range of RAM that was described in two pieces is one to drivers: a range is found across them, where pages are
    in the way, too, and is put back as a whole or piece by piece."""
    kernel = boot((0, 4 * MIB), (4 * MIB, 2 * MIB), (8 * MIB, 4 * MIB), mode=mode)
    regions = [(r.pfn, r.pfn + r.frames) for r in kernel.regions if r.area]
    edge = next((end for (_, end), (base, _) in pairwise(regions) if end == base), None)
    assert edge, "the machine has two regions that touch"
    world = World(kernel)
    world.range_get(24, 1, edge - 11, edge + 13, DMA)
    assert min(world.owned) == edge - 11
    world.range_put(edge - 11, 24)
    world.verify()
    pages, number = Pages(kernel), 0
    while (pfn := pages.make(number)) != edge:
        kernel.call("page_pin", pfn)
        number += 1
    for other in range(number):
        kernel.call("page_unpin", pages.where(other))
        kernel.call("page_discard", pages.where(other))
    first = kernel.call("range_get", 24, 1, edge - 11, edge + 13, 0, DMA)
    assert first == edge - 11 and pages.where(number) not in range(first, first + 24)
    assert pages.content(number) == stamp(number)
    for pfn, count in ((edge - 11, 11), (edge, 13)):
        kernel.range_put(pfn, count)
    kernel.call("page_discard", pages.where(number))
    conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_mappings_follow_the_pages_that_are_moved_E12(mode):
    """Pages mapped in two address spaces, some to be written: after the move each address leads to the page's new
    frame, with the rights that it had, by a processor's walk; and no table leads to a frame of the range."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), mode, prepare=poison) as kernel:
        pages = Pages(kernel)
        spaces = [kernel.call("umap_make") for _ in range(2)]
        roots = [int(kernel.view.read(Umap, umap)[0]["root_pa"]) for umap in spaces]
        for number in range(24):
            pages.make(number)
        for number in range(24):
            for i, umap in enumerate(spaces):
                if number % 3 != i:
                    assert (
                        pages.source.call(
                            "umap_map", umap, (number << 21 | number << 12) + i * FRAME, number, number % 2
                        )
                        == 0
                    )

        def mapped() -> dict[tuple[int, int], tuple[int, int]]:
            return {
                (i, leaf.va): (leaf.pa // FRAME, leaf.entry & ~0x000F_FFFF_FFFF_F000)
                for i, root in enumerate(roots)
                for leaf in leaves(kernel.handle.life.ram.bytes, "i386-pae", root)
                if leaf.va < 0xC000_0000
            }

        before, old = mapped(), {number: pages.where(number) for number in range(24)}
        assert len(before) == 32
        first = min(old.values())
        kernel.call("page_pin", max(old.values()))
        count = max(old.values()) - first
        result = kernel.call("range_get", count, 1, first, first + count, 0, DMA)
        assert result == first and int(kernel.view.kern["moved"]) == 23
        now = {number: pages.where(number) for number in range(24)}
        assert sum(now[number] != old[number] for number in now) == 23
        moves = {old[number]: now[number] for number in now}
        assert mapped() == {place: (moves[pfn], rights) for place, (pfn, rights) in before.items()}
        assert all(pages.content(number) == stamp(number) for number in now)
        kernel.range_put(first, count)
        kernel.call("page_unpin", max(old.values()))
        conserved(kernel)


def test_arguments_that_no_range_can_have_E13(boot):
    """Boundaries that are no powers of two, or shorter than the range; through the facade in bytes."""
    kernel = boot(mode="raw")
    for boundary, status in ((3, BAD_ALIGN), (-1, BAD_ALIGN), (-(1 << 63), BAD_ALIGN), (24, BAD_ALIGN), (4, BAD_SIZE)):
        assert kernel.call("range_get", 5, 1, 0, 1 << 52, boundary, DMA) == status
    first = kernel.range_get(5, boundary=32 << 10)
    assert first // 8 == (first + 4) // 8
    for count in (0, -1, -(1 << 63), int(kernel.view.kern["frames"]) + 1):
        assert kernel.call("range_put", first, count) == BAD_SIZE
    with pytest.raises(Exception, match="BAD_ALIGN"):
        kernel.range_get(1, boundary=100)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_range_needs_is_made_sure_of_first_E12(mode):
    """Too few windows, too few frames for the bank's promise: a status each, and nothing has changed."""
    full = Full(mode)
    kernel, pages = full.kernel, full.pages
    with kernel:
        start = full.frames[200]
        arrange(full, ["page", "free"] * 10, 0, start)

        def promise(**fields: int) -> None:
            for field, value in fields.items():
                poke(kernel.view, kernel.view.kern_va + Kern.offset(field), value.to_bytes(8, "little"))

        booted = {field: int(kernel.view.kern[field]) for field in ("lenient", "promised")}
        promise(lenient=0, promised=kernel.ledger.available - 9)
        empty_stock(kernel)
        state = full.state()
        assert kernel.call("range_get", 10, 1, 0, 1 << 52, 0, DMA) == PROMISED
        assert full.state() == state
        held = [kernel.call("window_open", full.frames[0]) for _ in range(WINDOWS - 1)]
        state = full.state()
        assert kernel.call("range_get", 10, 1, 0, 1 << 52, 0, PAGE) == NO_VA
        assert full.state() == state
        for va in held:
            kernel.call("window_close", va)
        first = kernel.call("range_get", 10, 1, 0, 1 << 52, 0, PAGE)
        assert first >= 0 and not any(kernel.handle.life.ram.bytes[first * FRAME : (first + 10) * FRAME])
        assert all(pages.content(number) == stamp(number) for pfn, number in full.numbers.items() if pfn < start)
        promise(**booted)
        conserved_but_pins(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_frame_is_zeroed_before_it_changes_its_owner_E12(mode):
    """What one owner wrote the next does not read; memory that nobody ever had and the machine vouches for is not
    zeroed again."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), mode) as kernel:
        opened = int(kernel.view.read(Cpu, kernel.handle.loaded.cpu)[0]["opened"])
        first = kernel.range_get(40, align=8)
        assert int(kernel.view.read(Cpu, kernel.handle.loaded.cpu)[0]["opened"]) == opened, "known to be zero"
        kernel.handle.life.ram.bytes[first * FRAME : (first + 40) * FRAME] = b"\xee" * (40 * FRAME)
        kernel.range_put(first, 40)
        mapped = int(kernel.handle.life.state["mapped"]) if mode == "raw" else 0
        assert kernel.range_get(40, align=8, low=first * FRAME) == first
        assert mode != "raw" or int(kernel.handle.life.state["mapped"]) == mapped, "RAM lies in this process"
        assert not any(kernel.handle.life.ram.bytes[first * FRAME : (first + 40) * FRAME])
        assert int(kernel.view.read(Cpu, kernel.handle.loaded.cpu)[0]["opened"]) == opened + 40
        conserved(kernel)
