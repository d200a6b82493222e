"""Boards whose TLB is loaded by software: 8 KiB pages, an affine heap; its tables read as a miss handler would."""

import msgspec
import pytest
from collection import DATA
from page_walk import coldfire
from small_machines import MIB, conserved, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.configure import FITS, configure
from kernmalloc.facade.errors import OutOfMemory, TooSmall, WouldBlock
from kernmalloc.facade.profile import STRATEGIES, Bank
from kernmalloc.machine.arch import FORMATS
from kernmalloc.plan.plan import plan, with_strategy

PROFILE = Profile.load("coyotos-coldfire")
AFFINE = [name for name, strategy in STRATEGIES.items() if strategy.affine]
BOUNDED = [name for name in AFFINE if not STRATEGIES[name].grows]
TOWER = machine((0x4000_0000, 32 * MIB))


def translations(kernel: Kernel) -> list:
    return list(coldfire(kernel.handle.life.ram.bytes, kernel.handle.loaded.root))


@pytest.mark.parametrize("strategy", AFFINE)
def test_C2_C4_C5_C6_the_heap_is_direct_mapped_in_large_pages(strategy):
    """C2 to C6: of the heap only translations of 1 MiB exist, side by side in VA and in PA; the heap's TLB entries
    are reported, and fewer than the processor has."""
    with Kernel.boot(TOWER, with_strategy(PROFILE, strategy), "soft") as kernel:
        heap = int(kernel.view.kern["heap"])
        mine = sorted(t for t in translations(kernel) if t.va >= heap)
        assert {t.size for t in mine} == {MIB}
        assert mine[0].va == heap and sum(t.size for t in mine) == int(kernel.view.kern["fixed"]) * PROFILE.page
        assert len({t.va - t.pa for t in mine}) == 1
        assert [t.va for t in mine] == list(range(heap, heap + len(mine) * MIB, MIB))
        assert kernel.mappings.entries == len(translations(kernel)) and kernel.mappings.large == len(mine)
        made = plan(TOWER, kernel.profile)
        assert made.tlb.entries == kernel.mappings.entries
        assert len(mine) == made.tlb.large and made.tlb.heap < FORMATS["coldfire"].tlb == 32
        conserved(kernel)


@pytest.mark.parametrize("strategy", BOUNDED)
def test_C12_no_translation_is_new_after_boot(strategy):
    """C12: devices are published and the heap is filled to its bound; the kernel's translations are those of the boot,
    less what release gave back."""
    with Kernel.boot(TOWER, with_strategy(PROFILE, strategy), "soft") as kernel:
        before = set(translations(kernel))
        kernel.devices.publish(0xFC00_0000, 2 * MIB)
        blocks = []
        with pytest.raises((OutOfMemory, WouldBlock)):
            while True:
                blocks.append(kernel.malloc(1000))
        assert len(blocks) > 10 and set(translations(kernel)) <= before
        for block in blocks:
            kernel.free(block)
        if STRATEGIES[strategy].excess:
            assert kernel.release() % MIB == 0
        assert set(translations(kernel)) <= before
        conserved(kernel)


def test_E9_E20_the_other_strategies_map_frames_of_8_KiB():
    """E9, E20: a heap that grows from single frames maps each alone, and gives frames and tables back."""
    lenient = msgspec.structs.replace(with_strategy(PROFILE, "demand"), bank=Bank(lenient=True))
    with Kernel.boot(machine((0, 16 * MIB)), lenient, "soft") as kernel:
        kern = kernel.view.kern
        before = kernel.mappings
        blocks = [kernel.malloc(300_000) for _ in range(8)]
        assert kernel.mappings.small >= before.small + 8 * (300_000 >> 13)
        pages = {t.va: t.pa for t in translations(kernel) if t.va >= int(kern["heap"])}
        va, pa, large = kernel.view.backing()
        assert pages == dict(zip(va.tolist(), pa.tolist(), strict=True)) and not large
        assert all(kernel.frame_type(pa >> 13) == "heap" for pa in pages.values())
        assert all(
            kernel.frame_type(t.pa >> 13) in ("heap", "mapping")
            for t in translations(kernel)
            if t.va >= int(kern["heap_map"])
        )
        for block in blocks:
            kernel.free(block)
        kernel.drain()
        assert kernel.mappings.small <= before.small
        conserved(kernel)


def test_the_smallest_board_is_refused_in_figures():
    """4 MiB hold a bounded heap, but not one with a large page in excess beside the image: one line says so."""
    small = machine((0, 4 * MIB))
    with pytest.raises(TooSmall, match="an affine heap of 2 MiB needs 261 frames in one piece"):
        Kernel.boot(small, PROFILE, "soft")
    with Kernel.boot(small, with_strategy(PROFILE, "reserve"), "soft") as kernel:
        conserved(kernel)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C7_C8_on_every_board(strategy):
    """C7, C8: planned bytes are used bytes, and planned devices are published, on all boards of U-Boot that differ."""
    profile, booted, seen = with_strategy(PROFILE, strategy), 0, set()
    for path in sorted((DATA / "machines" / "dts").glob("coldfire-*.txt")):
        board = Machine.read(path)
        shape = tuple((r.base, r.size) for r in (*board.ram, *board.devices))
        if shape in seen:
            continue
        seen.add(shape)
        try:
            made = plan(board, profile)
        except TooSmall:
            assert board.ram_bytes == 4 * MIB and profile.heap.excess and STRATEGIES[strategy].excess
            continue
        with Kernel.boot(board, profile, "soft") as kernel:
            told = f"{board.name}, {strategy}"
            assert kernel.heap.used == kernel.heap.planned == made.planned, told
            assert kernel.mappings.entries == made.tlb.entries, told
            done = configure(kernel).devices
            assert [(d.base, d.size, d.status) for d in done] == [(d.base, d.size, d.status) for d in made.devices], (
                told
            )
            if STRATEGIES[strategy].affine and not STRATEGIES[strategy].reserves:
                assert all(d.status == FITS or d.base + d.size > 1 << 32 for d in done), told
            conserved(kernel)
        booted += 1
    assert booted >= 18
