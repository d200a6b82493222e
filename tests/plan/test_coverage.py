"""The curves of machines covered against device frames reserved."""

import random

import msgspec
import pytest
from small_machines import MIB, machine

from kernmalloc import Profile
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.machine.memory_map import Device, Machine
from kernmalloc.plan.advice import tuned
from kernmalloc.plan.compare import CARDS, with_cards
from kernmalloc.plan.coverage import Coverage, coverage
from kernmalloc.plan.least import MOST, swept, value_of
from kernmalloc.plan.plan import plan, with_strategy

PROFILE = Profile.load("eros2")


def board(ram: int, *devices: int) -> Machine:
    """A machine of so many MiB with device ranges of so many bytes, from 2 GiB on, that do not touch."""
    base, found = 2 << 30, []
    for size in devices:
        found.append(Device(base=base, size=size, kind="bar", name="0000:00:01.0", bar=0, bits=32))
        base += 2 * size
    return msgspec.structs.replace(machine((MIB, (ram - 1) * MIB)), devices=tuple(found))


BOARDS = (
    board(48),
    board(64, 1 * MIB, 16 * MIB, 256 * MIB),
    board(3),  # holds no kernel
)


@pytest.fixture(scope="module")
def curves() -> list[Coverage]:
    return coverage([(each, PROFILE) for each in BOARDS], 2)


def covered(each: Machine, card: str, strategy: str, frames: int) -> bool:
    """Whether a machine is configured with so many device frames reserved, by a plan made with that."""
    profile, variant = with_strategy(PROFILE, strategy), with_cards(each).get(card)
    kind = plan(BOARDS[0], profile).basis.room.chunks.kind
    option, slabs = swept(strategy), -(-frames // (kind.slots * 32))
    settings = {option: value_of(option, slabs, kind)} if option else {}
    try:
        return variant is not None and plan(variant, tuned(profile, settings)).configured
    except TooSmall:
        return False


def test_C23_there_is_a_curve_for_each_strategy_and_card(curves):
    """C23: each starts at no frame reserved, and counts machines."""
    assert [(c.strategy, c.card) for c in curves] == [(name, card) for card in CARDS for name in STRATEGIES]
    for curve in curves:
        frames = [first for first, _ in curve.steps]
        assert frames[0] == 0 and frames == sorted(set(frames)) and frames[-1] <= MOST
        assert curve.machines == len(BOARDS) and all(0 <= count < len(BOARDS) for _, count in curve.steps)
        assert all(before[1] != after[1] for before, after in zip(curve.steps, curve.steps[1:], strict=False))


def test_C15_a_curve_is_what_plans_with_the_setting_come_to(curves):
    """C15: at every step, right before it, and in between, as many machines are configured as it says."""
    rest = random.Random(7)
    for curve in curves:
        edges = [at for first, _ in curve.steps for at in (first, first - 1)]
        for frames in (*edges, *(rest.randrange(1 << rest.randrange(8, 27)) for _ in range(2))):
            if frames >= 0:
                unit = plan(BOARDS[0], PROFILE).basis.room.chunks.kind.slots * 32
                frames -= frames % unit  # what is set aside are whole slabs
                found = sum(covered(each, curve.card, curve.strategy, frames) for each in BOARDS)
                assert curve.at(frames) == found, (curve, frames)


def test_where_nothing_is_set_aside_the_curve_is_level(curves):
    level = [curve for curve in curves if curve.strategy == "demand"]
    assert all(curve.setting == "" and len(curve.steps) == 1 for curve in level)
    assert level[0].steps == ((0, 2),)


def test_too_little_and_too_much_are_both_bad(curves):
    """The machine of 64 MiB needs entries for 273 MiB of device memory, 69,888 frames, and has no RAM for those of
    64 GiB; that of 48 MiB needs none."""
    reserve = next(curve for curve in curves if curve.strategy == "reserve" and not curve.card)
    assert (reserve.setting, reserve.at(0), reserve.at(69_888 - 10_000)) == ("device-frames", 1, 1)
    assert reserve.at(70_400) == 2 and reserve.at(1 << 24) == 0
