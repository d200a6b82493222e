"""The frame map, against a count frame by frame."""

import numpy
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as some
from small_machines import MIB, conserved, guest, machine

from kernmalloc.facade.blocks import free_blocks
from kernmalloc.facade.errors import KernelError
from kernmalloc.facade.frame_map import FrameMap
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import RESERVED, TYPE_NAMES, TYPES

HOLES = machine((0, 639 << 10), (MIB, 5 * MIB), (32 * MIB, 3 * MIB + (40 << 10)))
OPERATIONS = some.lists(
    some.tuples(some.sampled_from(["frame", "block", "range", "malloc", "put"]), some.integers(0, 30)), max_size=40
)


def by_hand(kernel, each):
    """Frames by cell and type: a loop over every entry of every region."""
    owners = []
    tables = dict(kernel.frames)
    for region in kernel.regions:
        if region.kind == "carved":
            owners += [RESERVED] * region.frames
        elif region.pfn in tables:
            types = [0] * region.frames
            entries = tables[region.pfn]
            for at, (type, order) in enumerate(zip(entries["type"].tolist(), entries["order"].tolist(), strict=True)):
                if type:
                    types[at : at + (1 << order)] = [type] * (1 << order)
            owners += types
    counts = numpy.zeros((-(-len(owners) // each), TYPES), int)
    for at, owner in enumerate(owners):
        counts[at // each, owner] += 1
    return counts


def use(kernel, operations):
    """Do what a list says; what is refused is not done."""
    undo = []
    for what, number in operations:
        try:
            if what == "frame":
                undo.append((kernel.frame_put, (kernel.frame_get(("page", "dma")[number % 2]),)))
            elif what == "block":
                undo.append((kernel.frame_put, (kernel.block_get(number % 11),)))
            elif what == "range":
                undo.append((kernel.range_put, (kernel.range_get(1 + number * 7), 1 + number * 7)))
            elif what == "malloc":
                undo.append((kernel.free, (kernel.malloc(1 + number * 1000),)))
            elif undo:
                back, arguments = undo.pop(number % len(undo))
                back(*arguments)
        except KernelError:
            pass


@settings(max_examples=8 * EFFORT)
@given(OPERATIONS, some.sampled_from([1, 2, 7, 64, 2048, 1 << 20]))
@pytest.mark.parametrize("profile", [Profile.load("eros2"), guest()], ids=["owner", "guest"])
def test_cells_hold_the_frames_that_a_slow_count_finds(profile, operations, most):
    with Kernel.boot(HOLES, profile) as kernel:
        map = FrameMap(kernel.view, kernel.profile.core.stride, most)
        use(kernel, operations)
        counts = map.counts()
        assert counts.tolist() == by_hand(kernel, map.each).tolist()
        assert len(counts) == map.cells <= most and counts.sum() == map.frames == sum(n for _, n in map.spans)
        assert map.free_blocks().tolist() == free_blocks(kernel.view)
        told = kernel.frames_by_type() | {"device": 0}
        assert counts.sum(axis=0).tolist() == [told[name] for name in TYPE_NAMES]
        conserved(kernel)


def test_spans_are_the_ranges_of_ram():
    with Kernel.boot(HOLES, Profile.load("eros2")) as kernel:
        map = FrameMap(kernel.view, kernel.profile.core.stride, 100)
        assert map.spans == [(0, 159), (256, 1280), (8192, 778)]
        assert map.carved == sum(region.frames for region in kernel.regions if region.kind == "carved") > 0
        conserved(kernel)


def test_the_map_of_a_large_machine_gives_its_core_tables_no_memory():
    """Entries of free frames are not looked at: of 64 GiB of RAM, nothing is read but what somebody wrote."""
    with Kernel.boot(machine((0, 64 << 30)), Profile.load("x86_64")) as kernel:
        before = kernel.snapshot().keys()
        rooms = kernel.view.ram._extents
        size = sum(end - start for start, end in rooms())
        counts = FrameMap(kernel.view, kernel.profile.core.stride, 2048).counts()
        assert counts.sum() == 16 << 20 and counts.shape == (2048, TYPES)
        assert sum(end - start for start, end in rooms()) <= size + len(counts) * 4096
        assert kernel.snapshot().keys() == before
