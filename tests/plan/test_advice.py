"""Advice on real machines: applied, it cures (C15, C16)."""

import random

import pytest
from collection import DATA, machines
from heap_model import effort

from kernmalloc.facade.configure import configure
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.machine.cards import with_card
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import advise
from kernmalloc.plan.plan import plan, with_strategy

WITH_A_HEAP = [name for name in Profile.shipped() if not Profile.load(name).heapless]
MOST = {True: 6 << 30, False: 2 << 30}  # bytes: affine heaps and others that are more than a test should write


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_C15_C16_advice_applied_cures_what_it_names(strategy):
    """C15, C16, C21: where devices do not fit, a boot with the tunables advised publishes all of them; or no tunable
    helps, in figures. What the address limit or the memory map forbids has no advice. At night on all machines, with
    and without a card."""
    asked = [
        (computer, name, card)
        for computer in machines("dmesg", "iomem") for name in WITH_A_HEAP for card in ("", "24GiB")
    ]  # fmt: skip
    short = cured = 0
    for computer, name, card in random.Random(strategy).sample(asked, min(effort(0.2).max_examples, len(asked))):
        told = f"{computer.file}, {name}, {card}"
        computer = with_card(computer, card) if card else computer
        try:
            made = plan(computer, with_strategy(Profile.load(name), strategy))
        except TooSmall:
            continue
        if all(device.status == "fits" or not device.curable for device in made.devices):
            assert advise(made) is None, told
            continue
        advice = advise(made)
        short += 1
        if advice.proof is None:
            assert "take" in advice.reason and "MiB" in advice.reason, told
            continue
        cured += 1
        assert advice.settings and bool(advice.beyond) == bool(advice.reason), told
        if advice.proof.top > MOST[STRATEGIES[strategy].affine]:
            continue
        with Kernel.boot(computer, advice.proof.profile) as kernel:
            published = {device.base: device.status for device in configure(kernel).devices}
            assert all(
                published[d.base] == "fits" for d in advice.proof.devices if d.curable and d.base not in advice.beyond
            ), told
            assert kernel.heap.used > 0 and (advice.proof.lenient or kernel.ledger.broken_by == 0), told
    assert cured, short


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the collection of machines is not at {DATA}")
def test_C15_a_device_that_nothing_helps_takes_no_advice_from_the_others():
    """C15: where the largest range can never fit, the others are cured, and the reason is given for that one."""
    (computer,) = (m for m in machines("dmesg") if "linuxppc-Gigabyte" in m.file and m.file.endswith("a11af8.txt"))
    made = plan(computer, with_strategy(Profile.load("eros"), "static"))
    advice = advise(made)
    assert advice.beyond == {0xD0000000} and advice.settings and "MiB more" in advice.reason
    short = [d for d in made.devices if d.curable and d.status != "fits"]
    assert len(short) > 1
    fits = {d.base for d in advice.proof.devices if d.status == "fits"}
    assert all(d.base in fits for d in short if d.base not in advice.beyond)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_there_is_no_heap_no_device_is_published_and_nothing_helps(strategy):
    kernel = with_strategy(Profile.load("frames"), strategy)
    computer = Machine.shipped("desktop-16g")
    made = plan(computer, kernel)
    assert made.devices and {device.status for device in made.devices} == {"refused"} and advise(made) is None
    with Kernel.boot(computer, kernel) as booted:
        assert {device.status for device in configure(booted).devices} == {"refused"}
