"""Frames: what callers are given, what they are refused, and that no frame is ever lost or owned twice.

Rows E3, E6, E12-13, E38. Every refusal has a status of its own and leaves memory as it was
(`frame_model.World.call`)."""

import ctypes
import gc
import itertools
import random

import numpy
import pytest
from frame_model import FRAME, GIB, SHAPES, World, all_frames, boot_shape
from hypothesis import given, settings
from hypothesis import strategies as st
from page_source import Source
from small_machines import MIB, MODES, conserved, machine, poke
from stall_model import RESERVE, tight

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DEVICE, DMA, FREE, HEAP, MAPPING, PAGE, RESERVED, TYPES
from kernmalloc.kernel.frames.table import Frame
from kernmalloc.lang.records import Record, RecordType
from kernmalloc.lang.status import BAD_FRAME, BUSY, INTERIOR, NO_FRAMES, NOT_ALLOCATED, OK

LEAST, MOST = -(1 << 63), (1 << 63) - 1

TYPE = st.sampled_from([PAGE, PAGE, PAGE, DMA, DMA, DMA, FREE, HEAP, MAPPING, DEVICE, RESERVED, TYPES, -1, 1 << 40])
ORDER = st.one_of(st.integers(0, 11), st.sampled_from([-1, 12, 18, 19, 63, 64, MOST, LEAST]))
LENGTH = st.one_of(st.integers(1, 40), st.integers(200, 700), st.sampled_from([0, -1, 1 << 20, MOST, LEAST]))
ALIGN = st.one_of(
    st.integers(0, 11).map(lambda n: 1 << n), st.sampled_from([0, -1, 3, 24, 1 << 24, 1 << 25, 1 << 62, MOST, LEAST])
)
BOUNDARY = st.one_of(
    st.just(0), st.just(0), st.integers(0, 11).map(lambda n: 1 << n), st.sampled_from([-1, 3, 1 << 62, MOST, LEAST])
)
# a frame is a number, or the i-th frame of RAM, or the i-th block owned (and so many frames further on)
PFN = st.one_of(
    st.tuples(st.just("owned"), st.integers(0, 1000), st.sampled_from([0, 0, 0, 1, 2, -1])),
    st.tuples(st.just("ram"), st.integers(0, 5000), st.just(0)),
    st.tuples(st.just("any"), st.one_of(st.integers(0, 1 << 25), st.integers(LEAST, MOST)), st.just(0)),
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("frame_get"), TYPE),
        st.tuples(st.just("block_get"), ORDER, TYPE),
        st.tuples(st.just("range_get"), LENGTH, ALIGN, PFN, PFN, TYPE, BOUNDARY),
        st.tuples(
            st.just("range_get"), LENGTH, ALIGN, st.just(("any", 0, 0)), st.just(("any", 1 << 52, 0)), TYPE, BOUNDARY
        ),
        st.tuples(st.just("frame_put"), PFN),
        st.tuples(st.just("frame_put"), PFN),
        st.tuples(st.just("range_put"), PFN, LENGTH),
        st.tuples(st.just("malloc"), st.integers(40_000, 1_500_000)),
    ),
    min_size=5,
    max_size=25,
)


def frame_named(world: World, frames: list[int], name: tuple[str, int, int]) -> int:
    kind, index, offset = name
    if kind == "any":
        return index
    pool = sorted(world.owned) if kind == "owned" else frames
    return pool[index % len(pool)] + offset if pool else 0


def poison_ram(shape: str):
    """Poison the RAM that there is; a memory map may have holes of many GiB."""
    return lambda ram: ram.poison(SHAPES[shape])


@pytest.mark.parametrize("poisoned", [False, True], ids=["fresh", "poisoned"])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_sequence_agrees_with_a_set_of_frames_E12_E38(shape, poisoned):
    """Frames, blocks and ranges got and put, with heap blocks between: each result and each refusal is the model's."""
    with boot_shape(shape, prepare=poison_ram(shape) if poisoned else None) as kernel:
        frames = all_frames(kernel)
        fresh = kernel.snapshot()

        @settings(max_examples=30)
        @given(OPERATIONS)
        def run(operations):
            kernel.restore(fresh)
            world = World(kernel)
            for name, *args in operations:
                args = [frame_named(world, frames, arg) if isinstance(arg, tuple) else arg for arg in args]
                getattr(world, name)(*args)
            world.verify()
            world.empty()

        run()


def step(world: World, frames: list[int], pick: random.Random) -> None:
    """One operation, most likely one that can be done."""
    type, owned = pick.choice([PAGE, DMA]), sorted(world.owned)
    name = pick.choices(
        ["frame_get", "block_get", "range_get", "frame_put", "range_put", "malloc"], [20, 20, 20, 30, 12, 4]
    )[0]
    if name == "frame_get":
        world.frame_get(type)
    elif name == "block_get":
        world.block_get(pick.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), type)
    elif name == "range_get":
        low, high = sorted(pick.sample(frames, 2))
        low, high = pick.choice([(low, high), (low, high), (0, high), (low, 1 << 52), (0, 1 << 52)])
        count = pick.choice([1, 2, 3, 5, 7, 11, 31, 64, 100, high - low if high - low < 300 else 13])
        world.range_get(count, 1 << pick.choice([0, 0, 0, 1, 2, 3, 6, 8]), low, high, type)
    elif name == "frame_put" and owned:
        world.frame_put(pick.choice(owned) + pick.choice([0, 0, 0, 0, 1, -1, 2]))
    elif name == "range_put" and owned:  # some blocks that follow each other, now and then a frame too many or too few
        first = last = pick.randrange(len(owned))
        while (
            last + 1 < len(owned)
            and owned[last + 1] == owned[last] + world.owned[owned[last]][0]
            and pick.random() < 0.7
        ):
            last += 1
        count = owned[last] + world.owned[owned[last]][0] - owned[first]
        world.range_put(owned[first], count + pick.choice([0, 0, 0, 1, -1]))
    elif name == "malloc":
        world.malloc(pick.choice([40_000, 100_000, 500_000]))


@pytest.mark.parametrize("poisoned", [False, True], ids=["fresh", "poisoned"])
@pytest.mark.parametrize("shape", SHAPES)
def test_long_sequences_agree_with_a_set_of_frames_E12_E38(shape, poisoned):
    """The same, 500 steps through full and empty: most steps do something."""
    with boot_shape(shape, prepare=poison_ram(shape) if poisoned else None) as kernel:
        world, frames, pick = World(kernel, every=5), all_frames(kernel), random.Random(len(shape) + poisoned)
        for i in range(500):
            step(world, frames, pick)
            if i % 100 == 99:
                world.verify()
            if i % 250 == 200:  # full to the last frame, then half of it free, here and there
                while world.free:
                    world.block_get(pick.randrange(4), PAGE)
                    world.frame_get(PAGE)
                for pfn in pick.sample(sorted(world.owned), len(world.owned) // 2):
                    world.frame_put(pfn)
        world.verify()
        world.empty()


def test_blocks_of_every_order_on_a_large_machine_E12():
    """8 GiB with a hole: orders 0 to 18, aligned to their size in physical memory, until none is left; then all come
    back."""
    with Kernel.boot(
        machine((0, 3 * GIB + 5 * FRAME), (4 * GIB - 3 * FRAME, 5 * GIB)), Profile.load("eros2"), "raw"
    ) as kernel:
        start = kernel.frames_by_type()
        regions = [(r.pfn, r.pfn + r.frames) for r in kernel.regions if r.area]
        got: list[tuple[int, int]] = []
        for order in (18, 17, 18, 9, 10, 18, 16, 15, 14, 13, 12, 11, 8, 7, 6, 5, 4, 3, 2, 1, 0):
            pfn = kernel.call("block_get", order, DMA)
            if pfn != NO_FRAMES:
                got.append((pfn, 1 << order))
            assert pfn != NO_FRAMES or order == 18
            assert pfn == NO_FRAMES or pfn % (1 << order) == 0
        while (pfn := kernel.call("block_get", 18, PAGE)) != NO_FRAMES:
            got.append((pfn, 1 << 18))
        disjoint(got, regions)
        largest = sum(size == 1 << 18 for _, size in got)
        whole = sum(max(0, (end >> 18) - -(-base >> 18)) for base, end in regions)
        assert whole - 3 <= largest <= whole, "all aligned gigabytes but those that heap and smaller blocks lie in"
        for order in range(17, -1, -1):
            while (pfn := kernel.call("block_get", order, PAGE)) != NO_FRAMES:
                assert pfn % (1 << order) == 0
                got.append((pfn, 1 << order))
        assert kernel.frames_by_type()["free"] == 0
        disjoint(got, regions)
        assert sum(size for _, size in got) == start["free"]
        conserved(kernel)
        random.Random(2).shuffle(got)
        for pfn, size in got:
            if size > 1:
                assert kernel.call("frame_put", pfn + size // 2) == INTERIOR
                assert kernel.call("frame_type", pfn + size - 1) in (PAGE, DMA)
            kernel.frame_put(pfn)
            assert kernel.call("frame_put", pfn) == NOT_ALLOCATED
        assert kernel.frames_by_type() == start
        conserved(kernel)


def disjoint(blocks: list[tuple[int, int]], regions: list[tuple[int, int]]) -> None:
    ordered = sorted(blocks)
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(ordered)), "handed out twice"
    assert all(any(low <= pfn and pfn + n <= high for low, high in regions) for pfn, n in ordered)


def test_ranges_in_their_limits_E12_E13(boot):
    """What drivers ask for: length, alignment, lowest and highest address; every pair of limits around a hole in free
    memory."""
    kernel = boot((0, 6 * MIB), mode="raw")
    world = World(kernel)
    middle = sorted(world.free)[len(world.free) // 2]
    for low, high in itertools.product(range(middle, middle + 7), range(middle, middle + 9)):
        for count, align in ((1, 1), (3, 1), (4, 4), (5, 2)):
            world.range_get(count, align, low, high, DMA)
            for pfn in list(world.owned):
                world.frame_put(pfn)
    world.range_get(1, 1, middle, middle + 1, DMA)  # a taken frame in the middle of all that follow
    for low, count in itertools.product(range(middle - 6, middle + 2), range(1, 8)):
        pfn = world.call("range_get", count, 1, low, low + 10, 0, DMA)
        assert (pfn == NO_FRAMES) == (not world.fits(count, 1, low, low + 10))
        if pfn >= 0:
            world.tile(pfn, count, DMA)
            world.range_put(pfn, count)
    world.verify()
    world.empty()


def test_a_range_is_put_back_whole_or_in_parts_or_not_at_all_E12(boot):
    """A range of 37 frames at an odd place: a part that splits a block is refused and changes nothing, the parts that
    do not are taken, also together with what lies beside them."""
    kernel = boot((0, 6 * MIB), mode="raw")
    world = World(kernel)
    first = next(pfn for pfn in sorted(world.free) if pfn % 8 == 3 and set(range(pfn, pfn + 37)) <= world.free)
    world.range_get(37, 1, first, first + 37, DMA)
    assert len(world.owned) > 3
    heads = sorted(world.owned)
    for low in range(first - 1, first + 38):
        for count in (1, 2, 3, 8, 31, 37):
            ends = [head + world.owned[head][0] for head in heads]
            if low not in heads or low + count not in ends:
                world.range_put(low, count)  # refused: the model says with which status
                assert sorted(world.owned) == heads
    world.range_put(heads[1], heads[3] - heads[1])
    world.range_put(heads[0], heads[1] - heads[0])
    world.range_put(heads[3], first + 37 - heads[3])
    assert not world.owned
    world.verify()


def entry_va(kernel: Kernel, pfn: int) -> int:
    region = next(r for r in kernel.view.regions() if r["area"] and r["base"] <= pfn < r["base"] + r["count"])
    return int(region["entries"] + (pfn - region["base"]) * kernel.profile.core.stride)


def test_pinned_frames_stay_where_they_are(boot):
    """A block that someone holds in place is not given back, alone or in a range: BUSY, and nothing changes."""
    kernel = boot((0, 6 * MIB), mode="raw")
    world = World(kernel)
    world.range_get(7, 8, 0, 1 << 52, DMA)
    first = min(world.owned)
    pinned = sorted(world.owned)[1]
    pins = entry_va(kernel, pinned) + Frame.offset("pins")
    for count in (1, 65535):
        poke(kernel.view, pins, count.to_bytes(2, "little"))
        assert world.call("frame_put", pinned) == BUSY
        assert world.call("range_put", first, 7) == BUSY
    poke(kernel.view, pins, bytes(2))
    world.range_put(first, 7)
    world.verify()


@pytest.mark.parametrize("name", ["eros2", "eros", "coyotos-i386"])
def test_the_stride_is_the_profiles_and_the_rest_of_an_entry_the_kernels_E6(name):
    """Our part of an entry is 16 bytes; what lies behind it, up to the stride, no operation ever touches. Every frame
    has one entry, at one place."""
    assert Frame.size <= 16
    with Kernel.boot(machine((0, 12 * MIB)), Profile.load(name), "raw") as kernel:
        stride = kernel.profile.core.stride
        region = max((r for r in kernel.view.regions() if r["area"]), key=lambda r: r["count"])
        count = int(region["count"])
        table = numpy.frombuffer((ctypes.c_char * (count * stride)).from_address(int(region["entries"])), numpy.uint8)
        entries = table.reshape(count, stride)
        entries[:, 16:] = 0xC3
        world = World(kernel)
        inside = [pfn for pfn in sorted(world.free) if region["base"] <= pfn < region["base"] + count]
        for pfn in (inside[0], inside[len(inside) // 2], inside[-1]):
            before = entries.copy()
            assert kernel.call("range_get", 1, 1, pfn, pfn + 1, 0, PAGE) == pfn
            changed = numpy.flatnonzero((entries != before).any(axis=1))
            assert changed.tolist() == [pfn - int(region["base"])], "one frame, one entry"
            assert kernel.frames[pfn]["type"] == PAGE
            kernel.frame_put(pfn)
            assert (entries == before).all()
        for order in (0, 3, 1, 5):
            world.block_get(order, DMA)
        world.malloc(200_000)
        world.empty()
        assert (entries[:, 16:] == 0xC3).all()


LINKS = {("Page", "link"), ("Identity", "next"), ("Identity", "prev")}


def test_no_record_holds_a_physical_address_in_32_bits_E3():
    """Fields for frames and physical addresses are 64 bits wide, in every record of the kernel and of the machines;
    links of pages are frame numbers in 32 bits, which reach 16 TiB, and a kernel whose RAM ends beyond has no page
    cache."""
    records = [
        kind
        for kind in gc.get_objects()
        if isinstance(kind, RecordType)
        and kind is not Record
        and kind.__module__.startswith(("kernmalloc.kernel", "kernmalloc.machine"))
    ]
    assert len(records) > 10
    for kind in records:
        for name, field in kind.fields.items():
            words = field.meaning.lower().replace(",", " ").replace(":", " ").split()
            if {"pfn", "physical"} & set(words) or name.endswith(("pfn", "_pa")):
                assert field.size == 8 or (kind.name, name) in LINKS, f"{kind.name}.{name}"


def test_a_block_takes_nothing_of_the_reserve_E26():
    """A block that is free, but of which some frames are the cleaners', is refused as a whole."""
    with tight("raw") as kernel:
        taken = []
        while (pfn := kernel.call("frame_get", PAGE)) >= 0:
            taken.append(pfn)
        kernel.drain()
        block = next(pfn for pfn in taken if pfn % 4 == 0 and {pfn, pfn + 1, pfn + 2, pfn + 3} <= set(taken))
        for pfn in range(block, block + 4):
            assert kernel.call("block_get", 2, PAGE) == NO_FRAMES
            kernel.frame_put(pfn)
            kernel.drain()
        free = kernel.frames_by_type()["free"]
        assert free == RESERVE + 4
        for _ in range(2):
            kernel.call("frame_get", PAGE)
        assert kernel.call("block_get", 2, PAGE) == NO_FRAMES
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_page_of_the_cache_is_nobodys_to_put_E31(mode):
    """It is of type PAGE as callers' frames are, and stays what it is; a caller's frame beside it can be put."""
    with boot_shape("one", mode) as kernel:
        source = Source(kernel)
        pfn = source.call("page_get", 5)
        mine = [kernel.call("frame_get", type) for type in (PAGE, DMA)]
        for entry, arguments in (("frame_put", (pfn,)), ("range_put", (pfn, 1))):
            assert kernel.call(entry, *arguments) == BAD_FRAME
        assert source.call("page_get", 5) == pfn and source.reads == 1
        for frame in mine:
            assert kernel.call("range_put", frame, 1) == OK
        conserved(kernel)
