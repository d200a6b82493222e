"""Strategies compared in figures (C23): many machines, each under every strategy, as it is and with cards added.

Everything here is planned, nothing boots. What a machine's memory map or the address limit rules out is no strategy's
fault and counts for none: a machine is configured when every other range has entries for all its frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import NamedTuple

from kernmalloc.facade.configure import EXTENT_ONLY, REFUSED
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import fits_tuned
from kernmalloc.plan.cards import with_card
from kernmalloc.plan.plan import Plan, plan, with_strategy

CARDS = ("", "24GiB", "141GiB")  # added to each machine; "": none
BATCH = 16  # machines that a process is given at a time


class Case(NamedTuple):
    """One machine under one strategy with one card: what became of its devices, and what that cost. Sizes in bytes."""

    strategy: str
    card: str
    status: str  # planned or refused
    configured: bool = False  # every range that can exist has all its entries
    tuned: bool = False  # or will have after one re-tuning and one more boot
    extents: int = 0  # ranges published by their extent alone
    refused: int = 0  # ranges that only lack a region record
    impossible: int = 0  # ranges that memory map or address limit rule out
    heap: int = 0
    idle: int = 0
    released: int = 0
    tlb: int = 0
    broken_by: int = 0  # frames
    withheld: int = 0  # frames that are not promised to the bank though they are free


class Summary(NamedTuple):
    """All cases of one strategy and card."""

    strategy: str
    card: str
    machines: int
    refused: int  # machines that the kernel cannot hold
    configured: int
    tuned: int  # machines configured, at the latest after one re-tuning
    with_extents: int  # machines whose every range is at least published: what two resolutions add
    ruled_out: int  # machines with ranges that memory map or address limit rule out
    heap_median: float
    heap_worst: int
    idle_median: float
    tlb_median: float
    tlb_worst: int
    broken: int  # machines on which the bank lacks frames
    broken_worst: int
    released_median: float
    withheld_median: float


def cases(machine: Machine, profile: Profile) -> Iterator[Case]:
    """A machine under every strategy with every card."""
    variants = [(card, with_card(machine, card) if card else machine) for card in CARDS]
    for strategy in STRATEGIES:
        try:
            made = plan(machine, with_strategy(profile, strategy))
        except TooSmall:
            yield from (Case(strategy, card, "refused") for card, _ in variants)
            continue
        for card, variant in variants:
            yield _case(made if variant is machine else made.on(variant), strategy, card)


def _case(made: Plan, strategy: str, card: str) -> Case:
    curable = [device.status for device in made.devices if device.curable]
    tuned = made.configured or fits_tuned(made)
    tlb = made.tlb.entries - (made.after.released >> 21) + (made.after.taken if STRATEGIES[strategy].grows else 0)
    return Case(
        strategy, card, "planned", made.configured, tuned, curable.count(EXTENT_ONLY), curable.count(REFUSED),
        len(made.devices) - len(curable), made.after.heap, made.after.idle, made.after.released, tlb, made.after.broken_by,
        made.available - made.promised,
    )


def _batch(task: tuple[list[Machine], Profile]) -> list[Case]:
    machines, profile = task
    return [case for machine in machines for case in cases(machine, profile)]


def compare(
    machines: Iterable[Machine], profile: Profile, processes: int = 2, progress: Callable[[int], None] = lambda done: None
) -> list[Summary]:
    """Every machine under every strategy, on a pool of processes. `progress` is told how many machines are done."""
    batches: list[list[Machine]] = [[]]
    for machine in machines:
        if len(batches[-1]) == BATCH:
            batches.append([])
        batches[-1].append(machine)
    found: list[Case] = []
    with ProcessPoolExecutor(processes) as pool:
        for batch, done in zip(batches, pool.map(_batch, ((batch, profile) for batch in batches))):
            found += done
            progress(len(batch))
    return [_summary(strategy, card, [c for c in found if c[:2] == (strategy, card)]) for card in CARDS for strategy in STRATEGIES]


def _summary(strategy: str, card: str, all: list[Case]) -> Summary:
    planned = [case for case in all if case.status == "planned"]

    def middle(field: str) -> float:
        return median(getattr(case, field) for case in planned) if planned else 0.0

    def worst(field: str) -> int:
        return max((getattr(case, field) for case in planned), default=0)

    return Summary(
        strategy, card, len(all), len(all) - len(planned), sum(case.configured for case in planned), sum(case.tuned for case in planned),
        sum(not case.refused for case in planned), sum(case.impossible > 0 for case in planned),
        middle("heap"), worst("heap"), middle("idle"), middle("tlb"), worst("tlb"),
        sum(case.broken_by > 0 for case in planned), worst("broken_by"), middle("released"), middle("withheld"),
    )


def machines_in(files: Iterable[str], problem: Callable[[InputError], None]) -> Iterator[Machine]:
    """The machines in files, of which each may hold many; `problem` is told of those that cannot be read."""
    for file in files:
        try:
            found = list(Machine.read_all(file))
        except InputError as error:
            found = [error]
        for machine in found:
            if isinstance(machine, InputError):
                problem(machine)
            else:
                yield machine
