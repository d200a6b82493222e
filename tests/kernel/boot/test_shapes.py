"""The shape of RAM decides nothing: how many ranges, how large, in which order.

Rows E6 (every frame of every range is described), E32-35 (the donation comes from a range that can afford it), E39 (the
others need none). Real maps end in ranges of a few frames, between firmware tables."""

import itertools

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Heap, Profile
from kernmalloc.kernel.core.kern import CARVED_MEMORY, CLASS_NAMES, RAM
from kernmalloc.lang.status import BAD_FRAME

FRAME = 4096
PROFILES = [
    msgspec.structs.replace(Profile.load(name), heap=Heap(growth_frames=growth))
    for name in ("eros2", "eros", "coyotos-i386", "guest", "frames")
    for growth in (1, 16, 500)
]
RANGES = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 511, 512, 1000, 1 << 18]),
        st.one_of(st.integers(1, 30), st.sampled_from([200, 511, 512, 513, 3000, 20_000, 200_000])),
    ),
    max_size=8,
)


def shape(first: int, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(pfn, frames) of a range from 0 on, and of those behind it, each after a gap."""
    spans, end = [(0, first)], first
    for gap, count in ranges:
        spans.append((end + gap, count))
        end += gap + count
    return spans


@given(st.sampled_from(PROFILES), st.integers(7, 16).map(lambda n: n * MIB // FRAME), RANGES)
@example(PROFILES[1], 4096, [(1000, 8)])  # the top range can hold its own table and then nothing more
@example(PROFILES[1], 4096, [(1000, 20_000), (7, 200)])  # the next one must be described in pieces
@example(PROFILES[1], 4096, [(9, 1)] * 60)
@example(PROFILES[3], 1792, [(1 << 18, 1), (1 << 18, 1), (1 << 18, 3000), (1 << 18, 1)])  # the last one lies too high
def test_every_shape_of_ram_boots_E6_E35_E39(profile, first, ranges):
    """With 7 MiB in its lowest range every machine boots, and describes every frame of every range exactly once."""
    limit = 1 << (profile.phys_bits - 12)
    spans = [(base, min(count, limit - base)) for base, count in shape(first, ranges) if base < limit]
    with Kernel.boot(machine(*((base * FRAME, count * FRAME) for base, count in spans)), profile, "raw") as kernel:
        conserved(kernel)
        regions = kernel.regions
        described = sum(r.frames for r in regions if r.kind in (CLASS_NAMES[RAM], CLASS_NAMES[CARVED_MEMORY]))
        assert described == sum(count for _, count in spans)
        assert all(a.pfn + a.frames <= b.pfn for a, b in itertools.pairwise(regions))
        for base, count in spans:
            assert any(r.pfn <= base < r.pfn + r.frames for r in regions)
            assert any(r.pfn <= base + count - 1 < r.pfn + r.frames for r in regions)
            for pfn in {base, base + count // 2, base + count - 1}:
                if any(r.area and r.pfn <= pfn < r.pfn + r.frames for r in regions):
                    assert kernel.call("frame_type", pfn) >= 0
                else:
                    assert kernel.call("frame_type", pfn) == BAD_FRAME


@pytest.mark.parametrize("count", range(1, 40))
def test_a_small_top_range_never_decides_E35(count):
    """Whatever the highest range has, from one frame on, the machine boots with one donation, out of one range."""
    with Kernel.boot(machine((0, 16 * MIB), (64 * MIB, count * FRAME)), Profile.load("eros2"), "raw") as kernel:
        conserved(kernel)
        donation = kernel.donation
        inside = [
            r for r in kernel.regions if r.pfn <= donation.pfn and donation.pfn + donation.frames <= r.pfn + r.frames
        ]
        assert len(inside) == 1 and inside[0].kind == CLASS_NAMES[RAM]
        assert kernel.call("frame_type", 64 * MIB // FRAME + count - 1) >= 0
