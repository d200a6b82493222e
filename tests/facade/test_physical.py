"""What lies where in physical memory."""

from itertools import pairwise

import pytest
from small_machines import MIB, conserved, guest, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.configure import configure
from kernmalloc.facade.physical import pieces


def amounts(found):
    counts = {}
    for piece in found:
        counts[piece.kind] = counts.get(piece.kind, 0) + piece.frames
    return counts


@pytest.mark.parametrize("name", ["eros2", "eros", "x86_64", "frames", "guest", "coyotos-i386"])
def test_every_frame_is_in_one_piece_and_has_its_type(name):
    """The pieces are disjoint and in order, neighbours differ, and what they add up to is what the kernel counts."""
    profile = guest(name=name) if name in ("guest", "frames") else Profile.load(name)
    with Kernel.boot(machine((0, MIB // 2), (MIB, 63 * MIB)), profile, "soft") as kernel:
        found, counts = pieces(kernel), kernel.frames_by_type()
        for before, after in pairwise(found):
            end = before.pfn + before.frames
            assert end <= after.pfn and (end < after.pfn or before.kind != after.kind)
        told = amounts(found)
        assert told["free"] == counts["free"] and told["donated"] <= kernel.donation.frames
        own = told["donated"] + told.get("heap", 0) + told.get("mapping", 0)
        carved = told["kernel"] + told.get("reserved", 0)
        assert own + carved == counts["heap"] + counts["mapping"] + counts["reserved"]
        for piece in found:
            if piece.kind in ("free", "heap", "mapping"):
                ends = (piece.pfn, piece.pfn + piece.frames - 1)
                assert [kernel.frame_type(pfn) for pfn in ends] == [piece.kind] * 2
        conserved(kernel)


def test_the_donation_is_told_from_what_the_heap_took_since():
    with Kernel.boot(machine((0, MIB // 2), (MIB, 63 * MIB)), Profile.load("eros2"), "soft") as kernel:
        (donated,) = (piece for piece in pieces(kernel) if piece.kind == "donated")
        assert (donated.pfn, donated.frames) == (kernel.donation.pfn, kernel.donation.frames)
        taken = amounts(pieces(kernel))["heap"]
        kernel.malloc(MIB)
        grown = amounts(pieces(kernel))
        assert grown["heap"] >= taken + 256 and grown["donated"] == kernel.donation.frames
        conserved(kernel)


def test_devices_with_and_without_entries_are_told_apart():
    with Kernel.boot(Machine.shipped("m5475-64m"), Profile.load("coyotos-coldfire"), "soft") as kernel:
        done = configure(kernel)
        found = {piece.pfn * kernel.profile.page: piece.kind for piece in pieces(kernel)}
        fits = {device.base: device.status == "fits" for device in done.devices}
        assert set(fits.values()) == {True, False}
        for base, whole in fits.items():  # some touch, and are one piece
            if base in found:
                assert found[base] == ("device" if whole else "extent")
        conserved(kernel)
