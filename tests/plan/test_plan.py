"""The plan against the kernel: bytes, lay-out, TLB entries and promise, as recounted after a real boot."""

import random

import msgspec
import numpy
import pytest
from agreement import agree
from collection import DATA, ROOT, machines
from heap_model import effort
from small_machines import MIB, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.facade.configure import Configured
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.inputs.facts import Device
from kernmalloc.plan.plan import plan, with_strategy
from kernmalloc.report import boot as report_boot
from kernmalloc.report import plan as report_plan

SHIPPED = [name for name in Profile.shipped() if not Profile.load(name).direct]
AFFINE = [name for name, strategy in STRATEGIES.items() if strategy.affine]
SMALL = machine((0, 640 << 10), (MIB, 255 * MIB), (512 * MIB, 64 * MIB))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kernel", SHIPPED)
def test_C7_C8_planned_bytes_equal_used_bytes(kernel, strategy):
    """C7, C8: to the byte, on small and shipped machines, under every strategy and shipped profile."""
    profile = with_strategy(Profile.load(kernel), strategy)
    booted = [agree(computer, profile) for computer in (SMALL, Machine.shipped("desktop-16g"))]
    assert any(booted)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C7_C8_on_real_machines(strategy):
    """C7, C8, C1: the same on the collection's machines under shipped profiles; at night, on all under each."""
    profiles = [with_strategy(Profile.load(name), strategy) for name in SHIPPED]
    pairs = [(computer, profile) for computer in machines("dmesg", "iomem") for profile in profiles]
    some = random.Random(strategy).sample(pairs, min(effort(0.2).max_examples, len(pairs)))
    booted = [agree(computer, profile) for computer, profile in some]
    assert sum(booted) > len(booted) // 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_E5_a_plan_never_depends_on_devices(strategy):
    """E5: with other devices, or none, what the boot takes is planned the same."""
    profile = with_strategy(Profile.load("eros2"), strategy)
    computer = Machine.shipped("desktop-16g")
    card = Device(base=1 << 35, size=1 << 34, name="card")
    made = [
        plan(msgspec.structs.replace(computer, devices=devices), profile) for devices in (computer.devices, (), (card,))
    ]
    for other in made[1:]:
        for field in ("items", "beside", "planned", "top", "bound", "backed", "fixed", "tlb", "available", "promised"):
            assert getattr(other, field) == getattr(made[0], field), field


@pytest.mark.parametrize("strategy", AFFINE)
def test_C2_C6_the_heap_is_affine_in_large_pages(strategy):
    """C2, C3, C4, C5, C6: VA = PA + one constant over the fixed part, in whole large pages; a few TLB entries map
    it."""
    made = plan(Machine.shipped("desktop-16g"), with_strategy(Profile.load("eros2"), strategy))
    assert made.affine_share == 1.0
    assert made.affine_share_at_bound >= 0.95
    assert made.fixed.va % (2 * MIB) == made.fixed.pa % (2 * MIB) == made.fixed.bytes % (2 * MIB) == 0
    scattered = plan(Machine.shipped("desktop-16g"), with_strategy(Profile.load("eros2"), "static"))
    assert made.tlb.large == made.top // (2 * MIB)
    assert made.tlb.entries < scattered.tlb.entries / 20
    told = " ".join(report_plan.whole(made, None, ""))
    assert (
        f"{made.affine_share_at_bound:.1%} of it at its bound" in told and f"TLB entries: {made.tlb.entries:,}" in told
    )
    with Kernel.boot(made.machine, made.profile) as kernel:
        va, pa, large = kernel.view.backing()
        assert (numpy.diff(va) == made.page).all() and (va - pa == va[0] - pa[0]).all() and large == len(va)
        told = " ".join(
            report_boot.whole(kernel, kernel.heap, Configured([], [], [], 0, kernel.ledger, kernel.mappings), 0)
        )
        assert "VA = PA + constant for 100.0% of it, 100.0% in large pages" in told


@pytest.mark.parametrize("kernel, possible", [("eros2", False), ("x86_64", True)])
def test_E10_a_direct_map_of_all_ram(kernel, possible):
    """E10: RAM from 0 to above 16 GiB at VA = PA + constant does not fit 768 MiB of VA, and the plan says so."""
    made = plan(Machine.shipped("desktop-16g"), Profile.load(kernel))
    pages, _, _ = made.machine.ram_pages(12, made.profile.phys_bits)
    most = (pages[-1][0] + pages[-1][1] - pages[0][0]) * made.page
    assert most - made.profile.image.size - (1 << 20) < made.direct_map <= most  # image and boot area may lie at an end
    assert (made.direct_map <= made.profile.va.size) == possible
    told = " ".join(report_plan.whole(made, None, ""))
    assert ("would be left" if possible else "the window has 768 MiB: it cannot be") in told


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C1_the_bound_is_hard(strategy):
    """C1: nothing passes the bound that was planned; at the bound there is a typed refusal."""
    from kernmalloc.facade.errors import OutOfMemory, Promised

    profile = with_strategy(Profile.load("eros2"), strategy)
    made = plan(SMALL, profile)
    with Kernel.boot(SMALL, profile) as kernel:
        with pytest.raises((OutOfMemory, Promised)):
            while True:
                kernel.malloc(MIB if strategy == "demand" else 4096)
        assert int(kernel.view.kern["backed"]) * made.page <= made.most
        assert kernel.check().passed


def test_the_example_is_a_kernel_and_its_strategy_the_default():
    """C19, C20: the commented example plans and boots; a profile that names no strategy gets what the mail prefers."""
    text = (ROOT / "examples" / "my-kernel.toml").read_text()
    profile = Profile.parse(text)
    assert agree(SMALL, profile)
    assert Profile.parse(text.replace('strategy = "reserve+release"\n', "")).strategy == "reserve+release"


@pytest.mark.parametrize("kernel", ["eros2", "coyotos-i386"])
def test_C17_what_hybrid_may_grow_by_is_set_aside(kernel):
    """C17: where the window cannot hold all objects, they leave the growable part alone: all of it lies beyond the
    affine part, is withheld from the bank, comes from single frames, and shrinks."""
    computer = machine((MIB, 16384 * MIB))
    profile = with_strategy(Profile.load(kernel), "hybrid")
    made = plan(computer, profile)
    assert made.scale < 1 and made.most - made.top == profile.heap.growable
    assert made.available - made.promised == profile.bank.withheld + profile.heap.growable // made.page
    small = machine((MIB, 63 * MIB))
    with Kernel.boot(small, profile) as kernel:
        fixed, before = int(kernel.view.kern["fixed"]), kernel.ledger
        blocks = [kernel.malloc(MIB) for _ in range(8)]
        assert max(blocks) >= int(kernel.view.kern["heap"]) + fixed * 4096
        assert kernel.view.shares()[0] < 1 and int(kernel.view.kern["fixed"]) == fixed
        assert kernel.ledger.heap > 0 and kernel.ledger.broken_by == 0
        assert kernel.ledger.available == before.available - kernel.ledger.heap
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        assert kernel.ledger == before
        assert kernel.check().passed
