"""A kernel without a page cache (`core.identity = 0`): no page is named, and everything else is as ever."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from small_machines import MIB, MODES, conserved, guest, machine

from kernmalloc.facade.errors import SourceError, TooSmall
from kernmalloc.facade.exercise import exercise
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Bytes, Core, Profile
from kernmalloc.inputs.facts import Range
from kernmalloc.lang.status import NO_PAGES, NO_SOURCE
from kernmalloc.plan.plan import plan

OURS = 16


def nameless(profile: Profile) -> Profile:
    """The same kernel without a page cache."""
    return replace(profile, core=Core(stride=profile.core.stride, identity=Bytes(0)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", [Profile.load("eros2"), guest()], ids=["owner", "guest"])
def test_pages_have_no_names_and_all_else_goes(mode: str, profile: Profile) -> None:
    with Kernel.boot(machine((0, 16 * MIB)), nameless(profile), mode) as kernel:
        exercise(kernel)
        pfn = kernel.frame_get("page")
        assert kernel.frame_type(pfn) == "page"
        assert kernel.call("page_get", 7) == NO_SOURCE
        assert kernel.call("source_open") == NO_PAGES
        with pytest.raises(SourceError, match="no page cache"):
            kernel.pages.source("nowhere.pages")
        assert kernel.call("range_get", 4, 1, 0, 1 << 20, 0, 4) >= 0
        conserved(kernel)


def test_an_address_space_maps_no_page() -> None:
    with Kernel.boot(machine((0, 8 * MIB)), nameless(Profile.load("eros2")), "twin") as kernel:
        space = kernel.pages.space()
        with pytest.raises(SourceError):
            space.map(0x1000, 7)
        conserved(kernel)
        space.free()
        conserved(kernel)


@given(
    st.integers(2, 24),
    st.lists(st.integers(1, 64), max_size=3),
    st.sampled_from(sorted(STRATEGIES)),
    st.sampled_from(["eros2", "x86_64", "coyotos-coldfire"]),
)
@settings(max_examples=25, deadline=None)
def test_the_plan_is_what_the_boot_takes(mibs: int, more: list[int], strategy: str, name: str) -> None:
    """C7: with RAM that comes later, too, which makes no hash anew."""
    profile = replace(nameless(Profile.load(name)), strategy=strategy, objects=())
    profile = replace(profile, heap=replace(profile.heap, spare=Bytes(65536), excess=Bytes(65536)))
    board = machine((0, mibs * MIB))
    later = [Range((64 + 128 * i) * MIB, size * MIB, "ram") for i, size in enumerate(more)]
    try:
        made = plan(board, profile, later)
    except TooSmall:
        with pytest.raises(TooSmall):
            Kernel.boot(board, profile, "soft")
        return
    assert [item.bytes for item in made.items if item.name in ("page identities", "page cache")] == [0, 0]
    with Kernel.boot(board, profile, "soft") as kernel:
        assert (kernel.heap.used, kernel.heap.planned) == (made.planned, made.planned)
        for each, planned in zip(later, made.added, strict=True):
            before = kernel.ledger.available
            if planned.status == "added":
                kernel.add_ram(each.base, each.size)
                assert kernel.ledger.available - before == each.size // profile.page - planned.taken
        conserved(kernel)


def test_it_costs_no_identities_and_no_hash() -> None:
    """Of a GiB: 16 bytes a frame, and the hash, are not there."""
    board, profile = machine((0, 1024 * MIB)), replace(Profile.load("x86_64"), objects=())
    with_cache, without = plan(board, profile), plan(board, nameless(profile))
    saved = {item.name: item.bytes for item in with_cache.items if item.name in ("page identities", "page cache")}
    assert saved["page identities"] == with_cache.frames * OURS
    assert abs(with_cache.planned - without.planned - sum(saved.values())) < 2 * with_cache.page  # each in whole pages
