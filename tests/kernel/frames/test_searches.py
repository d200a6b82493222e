"""Searches from above, held against a list of what is free."""

import pytest
from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.kernel.core.kern import ABSENT
from kernmalloc.kernel.frames import bitmap, searches
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang import twin

DO = twin.compile(
    [searches.last_free, searches.highest_range, searches.longest_range, bitmap.bitmap_init, bitmap.bits_give]
)
FRAMES = 10_000


class World:
    """A region of RAM whose free frames are the given runs, and the set of them."""

    def __init__(self, base: int, runs: list[tuple[int, int]]) -> None:
        self.memory = FlatMemory(1 << 14)
        twin.use(self.memory)
        self.region = Region(self.memory.new(Region.size))
        self.region.base, self.region.count = base, FRAMES
        DO["bitmap_init"](self.region.addr, self.memory.new(bitmap.bitmap_bytes(base, FRAMES)))
        self.free: set[int] = set()
        at = base
        for gap, count in runs:
            at += gap
            count = min(count, base + FRAMES - at)
            if count <= 0:
                break
            DO["bits_give"](self.region.addr, at, count)
            self.free |= set(range(at, at + count))
            at += count

    def ask(self, name: str, *args: int) -> int:
        twin.use(self.memory)
        return DO[name](self.region.addr, *args)


RUNS = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 63, 64, 100, 512, 4096]), st.sampled_from([1, 1, 2, 5, 63, 64, 65, 700, 3000]))
)
BASES = st.sampled_from([0, 1, 511, 4096, 70_001])
ENDS = st.integers(-100, FRAMES + 100)


@given(base=BASES, runs=RUNS, end=ENDS)
def test_the_highest_free_frame_below(base: int, runs: list[tuple[int, int]], end: int) -> None:
    world = World(base, runs)
    assert world.ask("last_free", base + end) == max((pfn for pfn in world.free if pfn < base + end), default=ABSENT)


@given(
    base=BASES, runs=RUNS, low=ENDS, high=ENDS, count=st.sampled_from([1, 2, 3, 16, 65, 600]),
    align=st.sampled_from([1, 1, 2, 16, 512]), skew=st.integers(0, 600),
)  # fmt: skip
def test_the_highest_place_for_a_run(
    base: int, runs: list[tuple[int, int]], low: int, high: int, count: int, align: int, skew: int
) -> None:
    world = World(base, runs)
    skew &= align - 1
    within = range(max(base + low, base), min(base + high, base + FRAMES) - count + 1)
    right = ABSENT
    for pfn in reversed(within):
        if (pfn + skew) % align == 0 and all(frame in world.free for frame in range(pfn, pfn + count)):
            right = pfn
            break
    assert world.ask("highest_range", count, align, skew, base + low, base + high) == right


@given(base=BASES, runs=RUNS, low=ENDS, high=ENDS)
def test_the_longest_run(base: int, runs: list[tuple[int, int]], low: int, high: int) -> None:
    world = World(base, runs)
    longest = length = 0
    for pfn in range(max(base + low, base), min(base + high, base + FRAMES)):
        length = length + 1 if pfn in world.free else 0
        longest = max(longest, length)
    assert world.ask("longest_range", base + low, base + high) == longest


@pytest.mark.parametrize("end", [0, 1, FRAMES])
def test_a_full_region_has_none(end: int) -> None:
    world = World(0, [])
    assert world.ask("last_free", end) == ABSENT
    assert world.ask("highest_range", 1, 1, 0, 0, end) == ABSENT
    assert world.ask("longest_range", 0, end) == 0
