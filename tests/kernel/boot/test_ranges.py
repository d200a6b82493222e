"""What a loader's ranges become: the frames that the hosted loader makes, and a place for the kernel."""

import loader_maps as made
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_maps import Reader, agrees
from msgspec.structs import replace
from small_machines import conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.facts import CARVED_KINDS, MAP_KINDS, Facts, Range
from kernmalloc.kernel.boot.added import PAGE_SPACE
from kernmalloc.kernel.core.kern import CARVED_MEMORY, RAM, RESERVED_MEMORY, ROM
from kernmalloc.kernel.loaders.found import (
    RANGE_FIRMWARE,
    RANGE_IMAGE,
    RANGE_INITRD,
    RANGE_RAM,
    RANGE_RESERVED,
    RANGE_ROM,
    RANGE_TABLE,
)
from kernmalloc.lang.status import NO_FRAMES, NO_ROOM, OK
from kernmalloc.machine.memory_map import resolve

PAGE = 4096
KINDS = {kind: RANGE_RAM + number for number, kind in enumerate(MAP_KINDS)}
KINDS |= {kind: RANGE_FIRMWARE + number for number, kind in enumerate(CARVED_KINDS)}
EDGE = st.one_of(st.integers(0, 40).map(lambda n: n * PAGE), st.integers(0, 40 * PAGE))
FAR = st.one_of(EDGE, EDGE.map(lambda at: at + (1 << 32)), EDGE.map(lambda at: at + (1 << 50)))
RANGES = st.lists(st.tuples(FAR, EDGE, st.sampled_from(list(KINDS))), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.close()


def frames(reader: Reader, *rows: tuple[int, int, int], **more: int) -> list | int:
    reader.clear()
    for row in rows:
        assert reader.more("add", *row) == OK
    return reader.frames(**more)


@settings(max_examples=200 * EFFORT, deadline=None)
@given(RANGES, st.sampled_from([12, 13, 16]), st.sampled_from([52, 32, 33]))
def test_frames_are_those_of_the_hosted_loader(reader, ranges, shift, bits):
    """Unsorted, overlapping, unaligned, above 4 GiB and above the limit."""
    facts = Facts("test")
    reader.clear()
    for base, size, kind in ranges:
        (facts.carved if kind in CARVED_KINDS else facts.memory).append(Range(base, size, kind))
        if size:
            assert reader.more("add", base, size, KINDS[kind]) == OK
    agrees(reader, resolve(facts, devices_only=True), shift, bits)


@settings(max_examples=100 * EFFORT, deadline=None)
@given(RANGES, st.sampled_from([12, 13]), st.sampled_from(range(RANGE_FIRMWARE, RANGE_IMAGE + 1)))
def test_what_is_left_is_what_would_be_free_without_it(reader, ranges, shift, kind):
    """The frames that a kind of range keeps from the kernel, and no other: neither one more nor one less."""

    def free(*rows: tuple[int, int, int]) -> set[int]:
        found = frames(reader, *rows, shift=shift, max_pfn=1 << 40)
        return {pfn for base, count, is_ in found if is_ == RAM for pfn in range(base, base + count)}

    rows = [(base, size, KINDS[name]) for base, size, name in ranges if size]
    now, then = free(*rows), free(*(row for row in rows if row[2] != kind))
    frames(reader, *rows)
    left = reader.frames(shift, 1 << 40, left=kind)
    assert {pfn for base, count, _ in left for pfn in range(base, base + count)} == then - now
    assert {is_ for _, _, is_ in left} <= {RAM}


def test_what_touches_is_one_and_what_is_partly_ram_is_nothing(reader):
    assert frames(
        reader,
        (0x3000, 0x2000, RANGE_RAM),
        (0x1800, 0x1800, RANGE_RAM),
        (0x5000, 0x800, RANGE_RAM),
        (0x8000, 0x1000, RANGE_RESERVED),
        (0x8C00, 0x1000, RANGE_ROM),
    ) == [(2, 3, RAM), (8, 1, RESERVED_MEMORY), (9, 1, ROM)]


def test_a_byte_takes_a_frame(reader):
    rows = ((0, 0x10000, RANGE_RAM), (0x4FFF, 1, RANGE_TABLE), (0x5000, 1, RANGE_IMAGE), (0x20000, 9, RANGE_TABLE))
    assert frames(reader, *rows) == [(0, 4, RAM), (4, 2, CARVED_MEMORY), (6, 10, RAM)]


def test_too_many_ranges(reader):
    rows = ((0, 0x10000, RANGE_RAM), (0x4FFF, 1, RANGE_TABLE))
    assert frames(reader, *rows, room=3) == [(0, 4, RAM), (4, 1, CARVED_MEMORY), (5, 11, RAM)]
    assert frames(reader, *rows, room=2) == NO_ROOM


def test_the_last_bytes_of_all(reader):
    """RAM that ends right below 2^63, far above any limit."""
    assert frames(reader, ((1 << 63) - 0x4000, 0x3FFF, RANGE_RAM), (0, 0x1000, RANGE_RAM)) == [(0, 1, RAM)]


def test_a_place_for_the_kernel(reader):
    """That which it prefers, else the lowest above what firmware may still use, else the lowest."""
    rows = ((0x1000, 0x4000, RANGE_RAM), (0x100000, 0x8000, RANGE_RAM), (0x200000, 0x8000, RANGE_RAM))
    count = len(frames(reader, *rows))

    def find(*args: int) -> int:
        return reader.life.call("ranges_find", reader.life.phys + made.FRAMES, count, *args)

    assert find(0x202, 4, 0x100) == 0x202
    assert find(0x206, 4, 0x100) == 0x100
    assert find(0x206, 4, 0x104) == 0x104
    assert find(0x206, 4, 0x105) == 0x200
    assert find(0, 4, 0x300) == 1
    assert find(0, 8, 0x300) == 0x100
    assert find(0, 9, 0) == NO_FRAMES


def test_memory_that_the_loader_leaves_is_added(reader):
    """What Limine gives back: carved at boot, RAM when the kernel has taken it."""
    own = Range(0x800000, 0x100000, "table")
    module = Range(0x880000, 0x1000, "initrd")
    rows = ((0, 32 << 20, RANGE_RAM), (own.base, own.size, RANGE_TABLE), (module.base, module.size, RANGE_INITRD))
    frames(reader, *rows)
    left = reader.frames(left=RANGE_TABLE)
    assert left == [(0x800, 0x80, RAM), (0x881, 0x7F, RAM)]
    told = replace(machine((0, 32 << 20)), carved=(own, module))
    with Kernel.boot(told, Profile.load("eros2"), "twin") as kernel:
        before = kernel.frames_by_type()["free"]
        for base, count, _ in left:
            assert kernel.call("ram_add", base, count, PAGE_SPACE) >= 0
        assert kernel.frames_by_type()["free"] > before + 0x80
        assert [(r.pfn, r.frames) for r in kernel.regions if r.kind == "carved" and r.pfn >= 0x800] == [(0x880, 1)]
        conserved(kernel)
