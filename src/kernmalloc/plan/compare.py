"""Strategies compared in figures (C23): many machines, each under every strategy, as it is and with cards added, with
ranges published in two resolutions and in one.

Everything here is planned, nothing boots. What a machine's memory map or the address limit rules out is no strategy's
fault and counts for none: a machine is configured when every other range has entries for all its frames.

Machines with the same memory share their plans (`plan`), of which each process makes its own.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from kernmalloc.facade.configure import REFUSED
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.cards import NoPlaceError, with_card
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.advice import fits_tuned
from kernmalloc.plan.plan import Plan, plan, with_strategy
from kernmalloc.plan.workers import Processes

CARDS = ("", "24GiB", "141GiB")  # added to each machine; "": none
BATCH = 32  # machines that a process is given at a time

Pair = tuple[Machine, Profile]
Made = TypeVar("Made")


class Case(NamedTuple):
    """One machine under one strategy with one card: what became of its devices, and what that cost. Sizes in bytes."""

    strategy: str
    card: str
    planned: bool  # the kernel can be had on this machine
    configured: bool = False  # every range that can exist has all its entries
    tuned: bool = False  # or will have after one re-tuning and one more boot
    published: bool = False  # or is at least published by its extent
    lost: int = 0  # ranges that are not published, not even so
    lost_single: int = 0  # ranges that are not published where there is one resolution only
    impossible: int = 0  # ranges that memory map or address limit rule out
    heap: int = 0
    idle: int = 0
    released: int = 0
    tlb: int = 0
    broken_by: int = 0  # frames
    withheld: int = 0  # frames that are not promised to the bank though they are free
    clipped: int = 0  # bytes of RAM above the kernel's address limit
    unplaced: int = 0  # windows that have a size and no place


class Summary(NamedTuple):
    """All cases of one strategy and card."""

    strategy: str
    card: str
    machines: int
    refused: int  # machines that the kernel cannot hold
    configured: int
    tuned: int  # machines configured, at the latest after one re-tuning
    published: int  # machines whose every range is published, in two resolutions
    lost: int  # ranges that are not
    lost_single: int  # ranges that are not, in one resolution
    ruled_out: int  # machines with ranges that memory map or address limit rule out
    heap_median: float
    heap_worst: int
    idle_median: float
    idle_worst: int
    tlb_median: float
    tlb_worst: int
    broken: int  # machines on which the bank lacks frames
    broken_worst: int
    released_median: float
    withheld_median: float
    clipped: int  # machines of whose RAM a part lies above the kernel's address limit
    clipped_worst: int
    unplaced: int  # machines with windows that have a size and no place: they count for none


def single(profile: Profile) -> Profile:
    """A kernel as `profile` has it, but with one resolution: an entry for every frame of a range, or no range."""
    return msgspec.structs.replace(profile, devices=msgspec.structs.replace(profile.devices, extents=False))


def with_cards(machine: Machine) -> dict[str, Machine]:
    """The machine as it is, and with each card that has a place on it."""
    variants = {"": machine}
    for card in CARDS[1:]:
        with suppress(NoPlaceError):
            variants[card] = with_card(machine, card)
    return variants


def cases(machine: Machine, profile: Profile) -> Iterator[Case]:
    """A machine under every strategy with every card that has a place on it."""
    variants = with_cards(machine)
    for strategy in STRATEGIES:
        both = with_strategy(profile, strategy)
        for card, variant in variants.items():
            try:
                yield _case(plan(variant, both), card)
            except TooSmall:
                yield Case(strategy, card, False)


def _case(made: Plan, card: str) -> Case:
    after = made.after
    one = made if made.configured else plan(made.machine, single(made.profile))  # they differ where entries are lacking
    return Case(
        made.profile.strategy,
        card,
        True,
        made.configured,
        made.configured or fits_tuned(made),
        made.published,
        _lost(made),
        _lost(one),
        sum(not device.curable for device in made.devices),
        after.heap,
        after.idle,
        after.released,
        after.tlb,
        after.broken_by,
        made.available - made.promised,
        made.clipped,
        len(made.unplaced),
    )


def _lost(made: Plan) -> int:
    return sum(device.status == REFUSED and device.curable for device in made.devices)


def compare(
    pairs: Iterable[Pair],
    processes: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Summary]:
    """Every machine under every strategy of its kernel, on a pool of processes. `progress` is told how many are
    done."""
    found: dict[tuple[str, str], list[Case]] = {(strategy, card): [] for card in CARDS for strategy in STRATEGIES}
    for case in in_batches(cases, pairs, processes, progress):
        found[case.strategy, case.card].append(case)
    return [_summary(strategy, card, all) for (strategy, card), all in found.items()]


def in_batches(
    work: Callable[[Machine, Profile], Iterable[Made]],
    pairs: Iterable[Pair],
    processes: int,
    progress: Callable[[int], None],
) -> Iterator[Made]:
    """What `work` makes of each machine, on so many processes. Machines with equal memory are given
    to a process together, `BATCH` at most. `progress` is told how many are done."""
    like = sorted(pairs, key=lambda pair: [(r.base, r.size) for r in pair[0].ram])
    batches = [_Batch(like[at : at + BATCH]) for at in range(0, len(like), BATCH)]
    with Processes(processes) as workers:
        for count, made in workers(partial(_on_batch, work), batches):
            yield from made
            progress(count)


@dataclass(eq=False)
class _Batch:
    """Machines that one process works on, named after the first."""

    pairs: list[Pair]

    def __str__(self) -> str:
        return f"{self.pairs[0][0].file} and {len(self.pairs) - 1} like it"


def _on_batch(work: Callable[[Machine, Profile], Iterable[Made]], batch: _Batch) -> tuple[int, list[Made]]:
    """How many machines a batch has, and what the work made of them."""
    return len(batch.pairs), [made for machine, profile in batch.pairs for made in work(machine, profile)]


def _summary(strategy: str, card: str, all: list[Case]) -> Summary:
    planned = [case for case in all if case.planned]

    def column(field: str) -> list[int]:
        return [getattr(case, field) for case in planned] or [0]

    def middle(field: str) -> float:
        return median(column(field))

    def worst(field: str) -> int:
        return max(column(field))

    def total(field: str) -> int:
        return sum(column(field))

    return Summary(
        strategy,
        card,
        len(all),
        len(all) - len(planned),
        total("configured"),
        total("tuned"),
        total("published"),
        total("lost"),
        total("lost_single"),
        sum(map(bool, column("impossible"))),
        middle("heap"),
        worst("heap"),
        middle("idle"),
        worst("idle"),
        middle("tlb"),
        worst("tlb"),
        sum(map(bool, column("broken_by"))),
        worst("broken_by"),
        middle("released"),
        middle("withheld"),
        sum(map(bool, column("clipped"))),
        worst("clipped"),
        sum(map(bool, column("unplaced"))),
    )


def machines_in(
    files: Iterable[str],
    source: Callable[[str], str | Path | BinaryIO],
    problem: Callable[[InputError], None],
) -> Iterator[Machine]:
    """The machines in files, of which each may hold many; `source` tells where a file is, `problem` is told of those
    that cannot be read."""
    for file in files:
        try:
            found = list(Machine.read_all(source(file)))
        except InputError as error:
            found = [error]
        for machine in found:
            if isinstance(machine, InputError):
                problem(machine)
            else:
                yield machine
