"""Machines covered against device frames reserved, for each strategy (C15, C23).

A machine is covered when every device range that can exist on it has entries for all its frames. What a strategy sets
aside for these entries is one tunable: `device-frames`, or as many bytes of `growable` or `excess` as those entries
take; all else stays as the profile has it. Planning with more and more of it finds the least with which the machine is
covered, and the most with which it still holds the kernel: in between it is covered. So a curve may fall again, and it
ends below all machines where something else is lacking: records of ranges, or RAM in one piece. A heap on demand sets
nothing aside: its curve is level.

Slots of entries come in slabs, and so do the steps of a curve.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.kernel.devices import CHUNK_FRAMES, chunks_guaranteed
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import IN_BYTES, tuned
from kernmalloc.plan.compare import CARDS, Pair, in_batches, with_cards
from kernmalloc.plan.plan import Plan, plan, with_strategy
from kernmalloc.plan.scratch import Slabs

MOST = 1 << 27  # device frames up to which a curve goes: twice those of the window of a card of 141 GiB


class Coverage(msgspec.Struct, frozen=True):
    """The curve of one strategy on machines with a card added, "" for none.

    `setting` is the option that is swept, "" for none; `machines` are all that there are. `steps` are pairs of frames
    and machines: with so many device frames reserved, and up to those of the next pair, so many machines are covered.
    The first is at 0, the last holds up to `MOST`."""

    strategy: str
    card: str
    setting: str
    machines: int
    steps: tuple[tuple[int, int], ...]

    def at(self, frames: int) -> int:
        """Machines that are covered with so many device frames reserved."""
        return next(covered for first, covered in reversed(self.steps) if first <= frames)


class Need(NamedTuple):
    """One machine under one strategy with one card: covered with `least` device frames reserved, and with more, up to
    `most`; None if it never is."""

    strategy: str
    card: str
    frames: tuple[int, int] | None


def swept(strategy: str) -> str:
    """The option by which a strategy sets aside what it will need for entries; "" if it sets nothing aside."""
    kind = STRATEGIES[strategy]
    if kind.devices:
        return "device-frames"
    if kind.affine:
        return "growable" if kind.grows else "excess"
    return ""


def reserved(strategy: str, frames: int, kind: Slabs) -> dict[str, int]:
    """The setting, by option name, that sets aside entries for so many device frames, in slabs of `kind`: frames or,
    of an option in bytes, the bytes of these slabs. None for a strategy that sets nothing aside."""
    name, slabs = swept(strategy), -(-frames // (kind.slots * CHUNK_FRAMES))
    if not name:
        return {}
    return {name: slabs * kind.pages << kind.page_shift if name in IN_BYTES else slabs * kind.slots * CHUNK_FRAMES}


def needs(machine: Machine, profile: Profile) -> list[Need]:
    """What a machine needs, under every strategy, with every card that has a place on it."""
    return [
        Need(strategy, card, _need(variant, with_strategy(profile, strategy)))
        for strategy in STRATEGIES
        for card, variant in with_cards(machine).items()
    ]


def _need(machine: Machine, profile: Profile) -> tuple[int, int] | None:
    """(least, most) device frames to reserve for a machine to be covered; None if no number does that."""
    name = swept(profile.strategy)
    first = _plan(machine, tuned(profile, {name: 0}) if name else profile)
    if first is None or not name:
        return (0, MOST) if first and first.configured else None
    kind = first.basis.room.chunks.kind
    unit = kind.slots * CHUNK_FRAMES

    def planned(slabs: int) -> Plan | None:
        return _plan(machine, tuned(profile, reserved(profile.strategy, slabs * unit, kind))) if slabs else first

    def covered(slabs: int) -> bool:
        made = planned(slabs)
        return made is not None and made.configured

    top = MOST // unit
    most = top if planned(top) else _last(lambda slabs: planned(slabs) is not None, 0, top)
    windows = [(device.base // first.page, device.size // first.page) for device in first.devices if device.curable]
    least = _first(covered, kind.slabs(sum(chunks_guaranteed(pfn, count, count) for pfn, count in windows)), most)
    return None if least is None else (least * unit, MOST if most == top else (most + 1) * unit - 1)


def _plan(machine: Machine, profile: Profile) -> Plan | None:
    try:
        return plan(machine, profile)
    except TooSmall:
        return None


def _first(holds: Callable[[int], bool], near: int, most: int) -> int | None:
    """The smallest number from 0 to `most` from which on it holds, looked for near a number; None if `most` does not
    hold."""
    if holds(0):
        return 0
    high = min(near, most)
    if holds(high):
        step = 1
        while holds(low := max(high - step, 0)):
            high, step = low, 2 * step
    else:
        if not holds(most):
            return None
        low, step = high, 1
        while not holds(high := min(low + step, most)):
            low, step = high, 2 * step
    return 1 + _last(lambda n: not holds(n), low, high)


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from `low`, which holds, to `high`, which does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def coverage(
    pairs: Iterable[Pair],
    processes: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Coverage]:
    """The curves of all strategies and cards, on a pool of processes. `progress` is told how many machines are done."""
    found: dict[tuple[str, str], list[Need]] = {(strategy, card): [] for card in CARDS for strategy in STRATEGIES}
    for need in in_batches(needs, pairs, processes, progress):
        found[need.strategy, need.card].append(need)
    return [
        Coverage(strategy, card, swept(strategy), len(all), _steps([need.frames for need in all if need.frames]))
        for (strategy, card), all in found.items()
    ]


def _steps(covered: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """How many of the ranges [first, last] hold a number, from each number on at which that changes."""
    changes = {0: 0}
    for first, last in covered:
        changes[first] = changes.get(first, 0) + 1
        if last < MOST:
            changes[last + 1] = changes.get(last + 1, 0) - 1
    count, steps = 0, []
    for at, change in sorted(changes.items()):
        if change or not at:
            count += change
            steps.append((at, count))
    return tuple(steps)
