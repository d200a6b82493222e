"""Roots of address spaces lie within reach of the processor's register: below 4 GiB under PAE paging (E3)."""

import pytest
from page_source import Source
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang.status import NO_FRAMES, OK
from kernmalloc.machine.arch import FORMATS
from kernmalloc.plan.plan import with_strategy

REACH = 1 << 32
LOW = 8 * MIB


def booted(mode: str, profile: Profile | None = None) -> Kernel:
    """RAM below 4 GiB and more above, where heap and tables come from."""
    return Kernel.boot(machine((0, LOW), (5 << 30, 2 * LOW)), profile or Profile.load("eros2"), mode)


def root(kernel: Kernel, umap: int) -> int:
    return int(kernel.view.read(Umap, umap)[0]["root_pa"])


def test_what_a_register_reaches():
    """SDM 3A table 4-7: CR3 has bits 31 to 5 of a root's address under PAE paging, else as many as entries have."""
    assert FORMATS["i386-pae"].root_end == REACH
    assert all(each.root_end == 1 << each.phys_bits for each in FORMATS.values() if each.name != "i386-pae")


@pytest.mark.parametrize("mode", MODES)
def test_roots_lie_low_and_tables_anywhere_E3(mode):
    with booted(mode) as kernel:
        source = Source(kernel)
        for oid in range(20):
            umap = kernel.call("umap_make")
            assert 0 < root(kernel, umap) < REACH
            assert source.call("umap_map", umap, oid << 12, oid, 0) == OK
            if oid % 3 == 0:
                assert kernel.call("umap_free", umap) == OK
        assert kernel.view.kern["pages"]["tables"] > 20
        conserved(kernel)


def taken(kernel: Kernel, low: int, high: int) -> list[int]:
    """Every free frame in [low, high), held."""
    frames = []
    while (pfn := kernel.call("range_get", 1, 1, low >> 12, high >> 12, 0, DMA)) > 0:
        frames.append(pfn)
    return frames


@pytest.mark.parametrize("mode", ("raw", "soft", pytest.param("twin", marks=pytest.mark.nightly)))
def test_pages_make_room_E3(mode):
    """Where every low frame holds a page of the cache, one of them moves; it is as it was."""
    with booted(mode) as kernel:
        source = Source(kernel)
        high = taken(kernel, REACH, 6 << 30)
        oids = range(kernel.frames_by_type()["free"] - 8)
        source.disk = {oid: bytes([oid & 255]) * 4096 for oid in oids}
        frames = {oid: source.call("page_get", oid) for oid in oids}
        assert sum(pfn < REACH >> 12 for pfn in frames.values()) == len(oids)
        rest = taken(kernel, 0, REACH)
        for pfn in high[:32]:
            assert kernel.call("frame_put", pfn) == OK
        moved = int(kernel.view.kern["moved"])
        assert 0 < root(kernel, kernel.call("umap_make")) < REACH
        assert int(kernel.view.kern["moved"]) == moved + 1 and rest
        for oid in oids:
            assert source.contents(source.call("page_get", oid)) == source.disk[oid]
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_of_one_that_is_refused(mode):
    """A driver's frames stay where they are: where they fill low memory there is no address space."""
    with booted(mode) as kernel:
        low = taken(kernel, 0, REACH)
        while kernel.call("umap_make") > 0:
            low += taken(kernel, 0, REACH)  # what the heap kept idle
        found = []
        for _ in range(2):
            assert kernel.call("umap_make") == NO_FRAMES
            found.append((kernel.frames_by_type(), kernel.view.kern["pages"].tobytes()))
        assert found[0] == found[1]
        conserved(kernel)
        assert kernel.call("frame_put", low[0]) == OK
        assert root(kernel, kernel.call("umap_make")) == low[0] << 12
        conserved(kernel)


@pytest.mark.parametrize("strategy", ("reserve", "hybrid"))
def test_an_affine_heap_beyond_reach_has_no_roots(strategy):
    """Its fixed part stays where it is: the address space is refused, and nothing is left of it."""
    with booted("raw", with_strategy(Profile.load("eros2"), strategy)) as kernel:
        umap = kernel.call("umap_make")
        assert umap == NO_FRAMES or root(kernel, umap) < REACH
        conserved(kernel)
