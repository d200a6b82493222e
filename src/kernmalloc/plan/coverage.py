"""Machines covered against device frames reserved, for each strategy (C15, C23).

What a machine needs is found by planning (`least`). A curve may fall again where a machine no longer holds the kernel,
and it ends below all machines where something else is lacking: records of ranges, or RAM in one piece. A heap on demand
sets nothing aside: its curve is level.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.compare import CARDS, Pair, in_batches, with_cards
from kernmalloc.plan.curve import Covered, Steps, at, steps
from kernmalloc.plan.least import frames_of, reserve, swept
from kernmalloc.plan.plan import planned, with_strategy


class Coverage(msgspec.Struct, frozen=True):
    """The curve of one strategy on machines with a card added, "" for none.

    `setting` is the option that is swept, "" for none; `machines` are all that there are. `steps` are pairs of device
    frames reserved and machines, up to `MOST` frames."""

    strategy: str
    card: str
    setting: str
    machines: int
    steps: Steps

    def at(self, frames: int) -> int:
        """Machines that are covered with so many device frames reserved."""
        return at(self.steps, frames)


class Need(NamedTuple):
    """The device frames with which one machine is covered under one strategy with one card; None if it never is."""

    strategy: str
    card: str
    frames: Covered | None


def needs(machine: Machine, profile: Profile) -> list[Need]:
    """What a machine needs, under every strategy, with every card that has a place on it."""
    return [
        Need(strategy, card, _need(variant, with_strategy(profile, strategy)))
        for strategy in STRATEGIES
        for card, variant in with_cards(machine).items()
    ]


def _need(machine: Machine, profile: Profile) -> Covered | None:
    if not swept(profile.strategy):
        made = planned(machine, profile)
        return (0, None) if made and made.configured else None
    found = reserve(machine, profile)
    if found is None:
        return None
    unit = frames_of(found.kind)
    return found.least * unit, None if found.endless else (found.most + 1) * unit - 1


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
        Coverage(strategy, card, swept(strategy), len(all), steps(Counter(need.frames for need in all if need.frames)))
        for (strategy, card), all in found.items()
    ]
