"""The core table: what describing a region costs, computed and counted; and that every frame has one entry."""

from itertools import pairwise

import pytest
from heap_model import PAGE, booted, effort
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, own_bytes, poke

from kernmalloc.facade.errors import BadAddress
from kernmalloc.kernel.core import kern as k
from kernmalloc.lang import status

GIB = 1 << 30
SPAN = 2 * MIB  # what one leaf table maps


def spanned(first: int, size: int, unit: int) -> int:
    """Units that [first, first + size) touches."""
    return len(range(first // unit, -(-(first + size) // unit))) if size else 0


def bitmaps(base: int, count: int) -> int:
    """Bytes of the bitmaps of a region, by listing what they must have a bit for."""
    block = 512
    while block < count and block < 1 << 18:
        block *= 2
    origin = base - base % block
    chunks = spanned(origin, base + count - origin, 512)
    words = 8 * chunks  # of 64 frames each
    sums = spanned(0, words, 64)
    return 8 * (words + sums + spanned(0, sums, 64) + spanned(0, chunks, 64))


def area(base: int, count: int, stride: int, identity: int) -> int:
    """Bytes that describe frames [base, base + count)."""
    return sum(stride + identity for _ in range(count)) + bitmaps(base, count)


def first_cost(size: int, heap: int, heap_map: int) -> int:
    """Frames for an area of `size` bytes as the heap's first allocation: pages, their records, and leaf tables for
    both."""
    pages = -(-size // PAGE)
    records = -(-pages * 64 // PAGE)
    return pages + records + spanned(heap, pages * PAGE, SPAN) + spanned(heap_map, records * PAGE, SPAN)


@pytest.mark.parametrize("profile", ["eros2", "eros", "coyotos-i386", "x86_64"])
def test_closed_form(profile):
    """E34: the closed form of an area's size equals what a count frame by frame gives, for regions of every small size,
    at every place relative to aligned blocks, and at the edges of large ones."""
    with booted((0, 32 * MIB), profile=profile) as kernel:
        stride, identity = kernel.profile.core.stride, kernel.profile.core.identity
        edges = [n + d for n in (512, 1024, 4096, 32768, 1 << 18, 1 << 19) for d in (-1, 0, 1)]
        for count in [*range(1, 70), *edges]:
            for base in (0, 1, 63, 511, 512, 513, 1 << 18, (1 << 18) - 1, (1 << 20) + 777, (1 << 24) - 5):
                got = kernel.handle.life.call("table_bytes", kernel.view.kern_va, base, count)
                assert got == area(base, count, stride, identity)


@effort(0.5)
@given(st.integers(20, 9000), st.integers(0, 5000), st.sampled_from(["eros2", "eros", "coyotos-i386", "x86_64"]))
def test_the_donation_is_what_the_table_costs(count, shift, profile):
    """E34, E35, E36: the donation is exactly the frames that the top region's table takes: counted here from its size;
    and the heap has used every one of them for that, none is left."""
    top = (GIB >> 12) + shift
    with booted((0, 64 * MIB), (top * PAGE, count * PAGE), profile=profile) as kernel:
        info = kernel.handle.loaded.info
        size = area(top, count, kernel.profile.core.stride, kernel.profile.core.identity)
        cost = first_cost(size, int(info["heap"]), int(info["heap_map"]))
        donation = kernel.donation
        if donation.pfn < top:  # the top region is too small to begin with
            assert count < cost + 10
            return
        assert donation.frames == donation.heap + donation.maps == cost
        assert top <= donation.pfn
        assert donation.pfn + donation.frames <= top + count
        region = kernel.regions[-1]
        assert (region.pfn, region.frames, region.area_bytes) == (top, count, size)
        assert region.area == int(info["heap"]), "the first thing ever allocated"
        assert own_bytes(kernel, region.area) == -(-size // PAGE) * PAGE


LIVES = [*((mode, profile) for mode in ("raw", "soft") for profile in ("eros2", "eros", "x86_64")), ("twin", "eros2")]


@pytest.mark.parametrize(("mode", "profile"), LIVES)
def test_every_frame_has_one_entry(boot, mode, profile):
    """E6: every frame of every RAM region resolves to one entry of its own; what no region has resolves to none."""
    ranges = (
        (0, (12 if profile == "x86_64" else 6) * MIB),
        (14 * MIB, 64 * 1024),
        (16 * MIB, PAGE),
        (17 * MIB, 2 * MIB),
    )
    kernel = boot(*ranges, mode=mode, profile=profile)
    stride = kernel.profile.core.stride
    spans = []
    frames = set()
    for region in kernel.view.regions():
        assert (region["area"] != 0) == (region["kind"] == k.RAM)
        if not region["area"]:
            continue
        count, base = int(region["count"]), int(region["base"])
        start = int(region["area"])
        room = own_bytes(kernel, start)
        inside = [("entries", count * stride), ("identities", count * kernel.profile.core.identity)]
        inside += [("words", int(region["word_count"]) * 8), ("sums", 8), ("tops", 8), ("full", 8)]
        places = sorted((int(region[name]), int(region[name]) + size) for name, size in inside)
        assert places[0][0] >= start
        assert places[-1][1] <= start + room
        assert all(end <= begin for (_, end), (begin, _) in pairwise(places))
        spans.append((start, start + room))
        frames |= set(range(base, base + count))
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    described = {base + i for base, entries in kernel.frames for i in range(len(entries))}
    assert described == frames
    reserved = {r.pfn + i for r in kernel.regions if r.kind == "carved" for i in range(r.frames)}
    machine = {pfn for base, size in ranges for pfn in range(base // PAGE, (base + size) // PAGE)}
    assert frames | reserved == machine
    assert not frames & reserved
    for pfn in machine:
        if pfn in frames:
            assert kernel.call("frame_type", pfn) in (k.FREE, k.HEAP, k.MAPPING)
        else:
            assert kernel.call("frame_type", pfn) == status.BAD_FRAME
    for pfn in (-1, max(machine) + 1, 13 * MIB // PAGE, 1 << 40, 1 << 52, (1 << 63) - 1, -(1 << 63)):
        with pytest.raises(BadAddress):
            kernel.frame_type(pfn)


def test_the_kernels_own_fields_follow_ours(boot):
    """E6: with a stride of 48 bytes the entries are 48 apart, and what a kernel writes behind our 16 bytes stays."""
    kernel = boot((0, 16 * MIB), profile="eros", mode="soft")
    region = next(r for r in kernel.view.regions() if r["area"])
    marks = {}
    for pfn in [kernel.frame_get() for _ in range(300)]:
        va = int(region["entries"]) + (pfn - int(region["base"])) * 48 + 16
        marks[va] = (pfn * 0x0101010101).to_bytes(8, "little") * 4
        for at in range(0, 32, 8):
            poke(kernel.view, va + at, marks[va][at : at + 8])
    for pfn in [kernel.frame_get() for _ in range(300)]:
        kernel.frame_put(pfn)
    kernel.free(kernel.malloc(MIB))
    assert all(kernel.view.peek(va, 32) == mark for va, mark in marks.items())


@pytest.mark.parametrize("gib", [1, 16])
def test_entries_beyond_four_gibibytes(gib):
    """E3, E6: frames above 4 GiB are described and given out like any other; pfns and addresses are whole."""
    with booted((0, 16 * MIB), (16 * GIB, gib * GIB), mode="raw") as kernel:
        pfn = kernel.frame_get()
        assert pfn >= 16 * GIB // PAGE
        assert kernel.frame_type(pfn) == "page"
        assert kernel.frames[pfn]["type"] == k.PAGE
        va = kernel.malloc(100_000)
        assert kernel.view.pa(va) >= 16 * GIB
        kernel.free(va)
        kernel.frame_put(pfn)
