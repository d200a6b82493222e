"""The hole is the smallest: everything is placed with it, checked without the placer, and not with one step less."""

import pytest
from hypothesis import given
from pci_machines import BRIDGES, GIB, MIB, TIB, cards, high, low, machine, machines

from kernmalloc.fleet import hole
from kernmalloc.fleet.hole import BITS, LOW_HOLE, MOST, STEP, Placement, Refusal, bits_for, need, proof
from kernmalloc.fleet.hole_check import violations
from kernmalloc.fleet.placing import Placed
from kernmalloc.machine.cards import with_card


@given(machines)
def test_least_and_most_are_proved_and_nothing_beyond(drawn):
    found = need(drawn)
    if found.least is None:
        assert isinstance(proof(drawn, 0), Refusal) and isinstance(proof(drawn, MOST), Refusal)
        return
    assert found.least % STEP == 0 and found.most % STEP == 0
    for aperture in (found.least, (found.least + found.most) // 2, found.most):
        placement = proof(drawn, aperture)
        assert isinstance(placement, Placement) and not violations(drawn, placement, BITS)
    if found.least:
        assert isinstance(proof(drawn, found.least - STEP), Refusal)
    assert isinstance(proof(drawn, found.most + STEP), Refusal)


@given(machines)
def test_bits_are_the_fewest(drawn):
    found = need(drawn)
    if found.least is not None:
        bits = bits_for(drawn, found.least)
        assert need(drawn, bits).least == found.least
        assert "bits of physical addresses" in need(drawn, bits - 1).reason


def test_a_machine_without_high_registers_needs_none():
    assert need(machine(low("0000:00:02.0", MIB))).least == 0
    assert not proof(machine(), 0).placed


@pytest.mark.parametrize(
    ("windows", "gib"),
    [([[32]], 32), ([[32], [32]], 64), ([[32, 1]], 33), ([[4, 1], [4, 1]], 13), ([[128, 2], [8]], 144)],
)
def test_the_aperture_of_cards(windows, gib):
    assert need(cards(*windows)).least == gib * GIB


def test_a_card_that_is_added_takes_its_registers():
    before = machine(ram=16 * GIB)
    assert need(with_card(before, "24GiB")).least == 32 * GIB
    assert need(with_card(with_card(before, "24GiB"), "24GiB")).least == 64 * GIB


def test_the_aperture_begins_at_a_multiple_of_its_largest_power_of_two():
    for ram, length, base in (
        (GIB, 13 * GIB, 8 * GIB),
        (GIB, 0, 4 * GIB),
        (16 * GIB, 32 * GIB, 32 * GIB),
        (0xB0000000, GIB, 0x1_3000_0000 + 0x1000_0000),
        (0xB0000000 - 1, GIB, 4 * GIB),
    ):
        assert hole.aperture_base(machine(ram=ram), length) == base


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        ((low("0000:00:02.0", GIB),), "registers of 32 bits take 1 GiB: the hole below 4 GiB has 960 MiB"),
        ((high("x", 16 * TIB), high("y", GIB)), "an aperture of 16.0 TiB: OVMF can be told to leave 16 TiB at most"),
    ],
)
def test_refusals_tell_why(devices, reason):
    assert need(machine(*devices)).reason == reason


def test_too_few_bits_are_told():
    assert need(cards([64]), 36).reason == (
        "an aperture of 64 GiB above RAM takes 37 bits of physical addresses: there are 36"
    )
    assert proof(cards([64]), 32 * GIB) == Refusal("registers above 4 GiB take 64 GiB: the aperture has 32 GiB")


MACHINE = machine(
    high("0000:02:00.0", 8 * GIB), high("0000:02:00.0", GIB, 2), low("0000:02:00.0", MIB, 4), low("0000:00:02.0", MIB),
    high("0000:01:02.0", MIB), bridges=BRIDGES,
)  # fmt: skip


def _first(placed, **wanted):
    return next(i for i, p in enumerate(placed) if all(getattr(p, key) == value for key, value in wanted.items()))


@pytest.mark.parametrize(
    ("wanted", "change", "wrong"),
    [
        ({"size": 8 * GIB}, {"base": 20 * GIB}, "is no multiple"),
        ({"size": 8 * GIB, "window": ""}, {"base": 1 << 45}, "is in no window"),
        ({"size": 8 * GIB, "window": ""}, {"size": 4 * GIB}, "1 wanted, 0 placed"),
        ({"size": 8 * GIB, "window": ""}, {"behind": ""}, "behind no bridge"),
        ({"size": GIB, "window": ""}, {"base": 16 * GIB}, "overlap"),
        ({"name": "0000:00:02.0"}, {"base": 16 * GIB}, "has 32 bits"),
        ({"window": "memory"}, {"size": 2 * MIB + 4096}, "units of 1 MiB"),
        ({"window": "memory"}, {"window": "prefetchable"}, "two of one kind"),
        ({"window": "prefetchable"}, {"window": "memory"}, "has 32 bits"),
    ],
)
def test_the_check_finds_what_is_wrong(wanted, change, wrong):
    placement = proof(MACHINE, 16 * GIB)
    assert not violations(MACHINE, placement, BITS)
    at = _first(placement.placed, **wanted)
    placed = list(placement.placed)
    placed[at] = placed[at]._replace(**change)
    assert any(wrong in each for each in violations(MACHINE, placement._replace(placed=tuple(placed)), BITS))


def test_the_check_finds_what_is_left_out_or_there_twice():
    placement = proof(MACHINE, 16 * GIB)
    for at, each in enumerate(placement.placed):
        without = placement.placed[:at] + placement.placed[at + 1 :]
        assert violations(MACHINE, placement._replace(placed=without), BITS)
        assert violations(MACHINE, placement._replace(placed=(*placement.placed, each)), BITS)


def test_the_check_finds_holes_that_lie_wrong():
    placement = proof(MACHINE, 16 * GIB)
    assert any("above 34 bits" in each for each in violations(MACHINE, placement, 34))
    for ram in (3 * GIB + GIB // 2, 64 * GIB):
        larger = machine(*MACHINE.devices, ram=ram, bridges=BRIDGES)
        assert bool(violations(larger, placement, BITS)) == (ram == 64 * GIB)
    assert Placed(0, 4, "", 0, "", "").end == 4 and LOW_HOLE.end == 0xFC000000
