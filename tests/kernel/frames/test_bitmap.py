"""The free bitmaps against one Python integer whose bit p says that frame p is free.

Rows E12-13 (contiguous ranges), E3 (bases beyond 4 GiB), E38 (a region is free or it is not); the defects of the
ancestors: an overlap check that fails on fragmented ranges, a bound that wraps, a search that cannot end."""

import itertools
import random

import pytest
from flat_memory import FlatMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.kernel.core.kern import ABSENT
from kernmalloc.kernel.frames import bitmap
from kernmalloc.kernel.frames.bitmap import MAX_ORDER
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang import twin
from kernmalloc.lang.functions import over_numbers

NAMES = [
    "bitmap_bytes",
    "bitmap_init",
    "bits_take",
    "bits_give",
    "bits_free",
    "first_free",
    "run_length",
    "run_end",
    "find_block",
    "find_range",
]
FUNCTIONS = [getattr(bitmap, name) for name in NAMES]
CHECKED = twin.compile(FUNCTIONS)
PLAIN = {function.__name__: over_numbers(function) for function in FUNCTIONS}
GUARD = 0x5A


def ones(first: int, end: int) -> int:
    """Bits [first, end)."""
    return ((1 << (end - first)) - 1) << first if end > first else 0


def summary(words: list[int]) -> list[int]:
    """One bit for each word that is not 0."""
    bits = sum((word != 0) << i for i, word in enumerate(words))
    return [bits >> i & (1 << 64) - 1 for i in range(0, len(words), 64)]


class World:
    """A region of `count` frames from `base` with its bitmaps, and `free`: bit i is frame base + i."""

    def __init__(self, base: int, count: int, checked: bool = True) -> None:
        self.base, self.count, self.free = base, count, 0
        self.do = CHECKED if checked else PLAIN
        size = self.do["bitmap_bytes"](base, count)
        self.memory = FlatMemory(8192 + size)
        twin.use(self.memory)
        self.region = self.memory.new(Region.size)
        self.at = self.memory.new(size)
        self.guard = self.memory.new(64)
        self.size = size
        self.memory.bytes[self.guard : self.guard + 64] = bytes([GUARD]) * 64
        r = Region(self.region)
        r.base, r.count = base, count
        self.do["bitmap_init"](self.region, self.at)

    def call(self, name: str, *args: int) -> int:
        return self.do[name](self.region, *args)

    def give(self, first: int, count: int) -> None:
        """Free what is taken of frames [first, first + count), counted from the base, run by run."""
        self._each_run(ones(first, min(first + count, self.count)) & ~self.free, "bits_give")

    def take(self, first: int, count: int) -> None:
        """Take what is free of them."""
        self._each_run(ones(first, min(first + count, self.count)) & self.free, "bits_take")

    def _each_run(self, bits: int, name: str) -> None:
        self.free ^= bits
        while bits:
            first = (bits & -bits).bit_length() - 1
            run = ((bits >> first) + 1 & ~(bits >> first)).bit_length() - 1
            self.call(name, self.base + first, run)
            bits &= ~ones(first, first + run)

    def words(self, field: str, count: int) -> list[int]:
        at = getattr(Region(self.region), field).addr
        assert self.at <= at and at + 8 * count <= self.at + self.size, (
            "every bitmap lies in the memory computed for them"
        )
        return [word & (1 << 64) - 1 for word in self.memory.views[8][at // 8 : at // 8 + count].tolist()]

    def verify(self) -> None:
        """Words, sums, tops and chunks are what the integer says, bit by bit; they overlap nothing."""
        r = Region(self.region)
        all_words = self.words("words", r.word_count)
        expected = self.free << (self.base - r.origin)
        assert expected >> (64 * r.word_count) == 0
        assert all_words == [expected >> 64 * i & (1 << 64) - 1 for i in range(r.word_count)]
        sums = summary(all_words)
        assert self.words("sums", len(sums)) == sums
        tops = summary(sums)
        assert self.words("tops", len(tops)) == tops
        chunks = [all(word == (1 << 64) - 1 for word in all_words[i : i + 8]) for i in range(0, len(all_words), 8)]
        full = sum(full << i for i, full in enumerate(chunks))
        length = -(-len(chunks) // 64)
        assert self.words("full", length) == [full >> 64 * i & (1 << 64) - 1 for i in range(length)]
        ends = sorted(
            (getattr(r, name).addr, n)
            for name, n in (("words", len(all_words)), ("sums", len(sums)), ("tops", len(tops)), ("full", length))
        )
        assert all(at + 8 * n <= following for (at, n), (following, _) in itertools.pairwise(ends)), "they overlap"
        assert r.free == self.free.bit_count()
        assert self.memory.bytes[self.guard : self.guard + 64] == bytes([GUARD]) * 64

    def is_free(self, pfn: int, count: int) -> bool:
        first = pfn - self.base
        return first >= 0 and first + count <= self.count and self.free >> first & ones(0, count) == ones(0, count)

    def starts(self, count: int, align: int) -> int:
        """Bits at which `count` free frames start at a multiple of `align`; bit 0 is frame 0, modulo `align`."""
        shift = self.base % align
        bits, have = self.free, 1
        while have < count:
            step = min(have, count - have)
            bits &= bits >> step
            have += step
        bits <<= shift
        every = ones(0, 1)
        while every.bit_length() < bits.bit_length():
            every |= every << max(align, every.bit_length() - 1 + align)
        return (bits & every) >> shift

    def ask(self, pick: random.Random) -> None:
        """Every question about it, each with the integer's answer."""
        first = self.call("first_free")
        assert first == ABSENT if not self.free else self.is_free(first, 1)
        for order in range(MAX_ORDER + 1):
            found = self.call("find_block", order)
            if found == ABSENT:
                assert self.starts(1 << order, 1 << order) == 0, f"order {order} was there"
            else:
                assert found % (1 << order) == 0 and self.is_free(found, 1 << order)
        for _ in range(4):
            at, count = pick.randrange(self.count), pick.choice([1, 2, 63, 64, 65, 130, self.count])
            assert self.call("bits_free", self.base + at) == self.free >> at & 1
            window = self.free >> at & ones(0, min(count, self.count - at))
            taken = window ^ ones(0, min(count, self.count - at))
            assert (
                self.call("run_end", self.base + at, min(count, self.count - at)) == self.base + at + taken.bit_length()
            )
            if window & 1:
                free = self.free >> at
                run = ((free + 1) & ~free).bit_length() - 1
                length = self.call("run_length", self.base + at, count)
                assert 1 <= length <= min(run, count)
                assert length == min(run, count), "a run is as long as it is"
            align = 1 << pick.randrange(12)
            low, high = sorted(self.base + pick.randrange(-5, self.count + 5) for _ in range(2))
            length = pick.choice([1, 2, 3, 64, 100, 513])
            found = self.call("find_range", length, align, low, high, 0)
            fits = (
                self.starts(length, align)
                & ~ones(0, max(low - self.base, 0))
                & ones(0, max(high - self.base - length + 1, 0))
            )
            assert found == (self.base + (fits & -fits).bit_length() - 1 if fits else ABSENT)


BASES = st.one_of(
    st.integers(0, 70),
    st.sampled_from([511, 512, 513, 1 << 18, (1 << 18) - 1, (1 << 18) + 1, (1 << 20) - 3, (1 << 24) - 5000]),
    st.integers(0, (1 << 40) - 10_000),
)
COUNTS = st.one_of(
    st.integers(1, 70), st.sampled_from([511, 512, 513, 1024, 4095, 4096, 4097, 5000]), st.integers(1, 3000)
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["give", "give", "take"]),
        st.integers(0, 5000),
        st.one_of(st.integers(1, 5), st.sampled_from([63, 64, 65, 512, 1024, 5000])),
    ),
    max_size=10,
)


@given(BASES, COUNTS, STEPS, st.randoms(use_true_random=False))
def test_any_sequence_of_takes_and_gives_agrees_with_an_integer_E38(base, count, steps, pick):
    """Odd bases, tiny regions, chunks crossed: after every step all bitmaps and all answers are right."""
    world = World(base, count)
    world.verify()
    world.ask(pick)
    for name, first, length in steps:
        getattr(world, name)(first % count, length)
        world.verify()
    world.ask(pick)


@settings(max_examples=30)
@given(BASES, st.integers(1, 200), st.randoms(use_true_random=False))
def test_single_frames_in_random_order_fill_and_empty_a_region(base, count, pick):
    """Frame by frame, all of them, as `first_free` hands them out; none twice; then all come back."""
    world = World(base, count)
    world.give(0, count)
    handed = []
    while (pfn := world.call("first_free")) != ABSENT:
        handed.append(pfn)
        world.take(pfn - base, 1)
        assert len(handed) <= count, "the search does not end"
    assert sorted(handed) == list(range(base, base + count))
    world.verify()
    pick.shuffle(handed)
    for pfn in handed:
        world.give(pfn - base, 1)
    world.verify()


def test_a_search_finds_what_lies_before_where_the_last_one_ended():
    """Hints must not hide what was freed behind them: a search from high up finds the one free frame or chunk."""
    count = 6 * 64 * 512
    world = World(0, count, checked=False)
    world.give(0, count)
    world.take(0, count - 1)
    assert world.call("first_free") == count - 1
    world.take(count - 1, 1)
    for lone in (0, 63, 64, 4095, 4096, count // 2):
        world.give(lone, 1)
        assert world.call("first_free") == world.call("find_block", 0) == lone
        world.take(lone, 1)
    for order in (1, 5, 6, 8, 9, 12, 14, 15):
        size = 1 << order
        world.give(count - size, size)
        assert world.call("find_block", order) == count - size
        world.take(count - size, size)
        world.give(0, size)
        assert world.call("find_block", order) == 0
        assert world.call("find_block", order + 1) == ABSENT
        world.take(0, size)


@pytest.mark.parametrize("base", [0, 3, (1 << 18) - 1, (1 << 18) + 1, 5 << 18, (1 << 20) + 77])
def test_blocks_of_every_order_up_to_a_gigabyte(base):
    """More than 1 GiB of frames: all orders are found, aligned in physical memory, whatever the region's base."""
    count = (1 << 19) + 12345
    world = World(base, count, checked=False)
    pick = random.Random(base)
    world.give(0, count)
    world.verify()
    world.ask(pick)
    for order in range(MAX_ORDER, -1, -1):  # take one of each, the largest first
        found = world.call("find_block", order)
        assert found != ABSENT and found % (1 << order) == 0 and world.is_free(found, 1 << order)
        world.take(found - base, 1 << order)
    world.verify()
    for _ in range(40):  # then holes everywhere
        world.take(pick.randrange(count), pick.choice([1, 7, 64, 5000]))
    world.verify()
    world.ask(pick)
    world.take(0, count)
    for lone in (count - 1, 0, 1 << 18, (1 << 18) - 1, count - 1, 3 << 17, 1 << 19, 0):  # tops of several words
        world.give(lone, 1)
        assert world.call("first_free") == base + lone, "wherever it is, and wherever the last one was"
        world.take(lone, 1)
    assert world.call("first_free") == ABSENT


@given(st.integers(0, (1 << 40) - 1), st.integers(1, 1 << 40))
def test_bitmaps_take_an_eighth_of_a_byte_a_frame(base, count):
    """0.127 bytes for each frame from the origin on, which is less than two sizes of the region below its base."""
    size = CHECKED["bitmap_bytes"](base, count)
    assert count / 8 <= size <= 0.12724 * (3 * count + 1024) + 4 * 8
    assert size <= 0.12724 * (count + (1 << MAX_ORDER) + 1024) + 4 * 8


@given(st.integers(1, 40), st.integers(0, 12), st.integers(-100, 100), st.sampled_from([1 << 40, 1 << 52]))
def test_range_limits_far_outside_the_region_E12(count, align, low, high):
    """Limits are addresses of drivers, not of regions: those far below and above are no limits."""
    world = World(1000, 200)
    world.give(0, 200)
    first = -(-1000 // (1 << align)) << align
    found = world.call("find_range", count, 1 << align, low, high, 0)
    assert world.call("find_range", count, 1 << align, low, high, 1 << 62) == found, "a boundary that no frame reaches"
    assert found == (first if first + count <= 1200 else ABSENT)
    assert world.call("find_range", count, 1 << align, high, high + 100, 0) == ABSENT
    assert world.call("find_range", count, 1 << align, low, 1000, 0) == ABSENT
    assert world.call("find_range", count, 1 << align, (1 << 63) - 1, high, 0) == ABSENT, "low + align - 1 wraps"


@pytest.mark.parametrize("base", [0, 1, 61, 512 - 70])
def test_ranges_and_their_ends_by_brute_force_E12_E13(base):
    """All limits, lengths and starts around the edges of words, with every kind of hole: exact to the frame; also where
    a boundary may not be crossed."""
    count = 140
    for taken in ([], [0], [64], [63, 65], [1, 2, 128], list(range(0, 140, 9)), list(range(60, 70))):
        world = World(base, count, checked=False)
        world.give(0, count)
        for bit in taken:
            world.take(bit, 1)
        around = sorted(
            {bit % count for edge in (0, 64 - base % 64, 128 - base % 64, count) for bit in range(edge - 2, edge + 3)}
        )
        for first, end in itertools.product(around, [*around, count]):
            if first < end:
                holes = [bit for bit in range(first, end) if not world.free >> bit & 1]
                last = holes[-1] + 1 if holes else first
                assert world.call("run_end", base + first, end - first) == base + last
                for length in (1, 2, 5, end - first):
                    starts = [at for at in range(first, end - length + 1) if world.is_free(base + at, length)]
                    expected = base + starts[0] if starts else ABSENT
                    assert world.call("find_range", length, 1, base + first, base + end, 0) == expected
                    for boundary in (8, 64):
                        inside = [
                            at for at in starts if (base + at) // boundary == (base + at + length - 1) // boundary
                        ]
                        expected = base + inside[0] if inside else ABSENT
                        if length <= boundary:
                            assert world.call("find_range", length, 1, base + first, base + end, boundary) == expected
