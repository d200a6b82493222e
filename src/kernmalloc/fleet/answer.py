"""A fleet's one answer: for each kernel the smallest value that covers the wanted share of its machines, tried on every
one of them.

The share is one of the machines that could be read. The value is found on the curve of machines that each value covers.
The proof is a trial: every machine is tried with the value, and what comes out must be what its need says.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import ceil
from typing import NamedTuple

import msgspec

from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.pieces import Piece
from kernmalloc.fleet.question import Question
from kernmalloc.fleet.work import Counted, Job, LeftOver, Result, forget_others, judge, largest, needs_of, open_folder
from kernmalloc.inputs.errors import InputError
from kernmalloc.plan.curve import Steps, least, steps
from kernmalloc.plan.workers import Workers

ANY = "x86_64"  # the kernel that stands for all where the setting belongs to no kernel


class Costs(msgspec.Struct, frozen=True):
    """Bytes that the value costs: all covered machines together, in the middle of them, and at most."""

    sum: int
    median: int
    most: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for the machines of one kernel, or, with `kernel` "", for all.

    `setting` is what is set, `unit` what its values count, `value` the smallest that covers `wanted` machines, None:
    none does, and then `most` tells how many the best value covers. `covered` machines were tried with it and are.
    `curve` are pairs of a value and the machines that it covers. `lines` say how the value is set, `left_over` which
    machines it does not cover, and why. `wrong` names machines of which need and trial disagree: there should be
    none."""

    kernel: str
    strategy: str
    setting: str
    unit: str
    value: int | None
    machines: int
    wanted: int
    covered: int
    most: int
    never: int
    costs: Costs
    lines: tuple[str, ...]
    curve: Steps
    left_over: tuple[LeftOver, ...]
    wrong: tuple[str, ...]


class Answers(msgspec.Struct, frozen=True):
    """The answers for a fleet, one for each kernel; what is to be said of how kernels were chosen, counted; and why
    machines could not be read."""

    answers: tuple[Answer, ...]
    notes: dict[str, int]
    unreadable: tuple[str, ...]


def share(text: str) -> Fraction:
    """A share of machines, from "99%" or "0.99". Raises InputError for what is none."""
    number, percent = (text.strip().removesuffix("%"), text.strip().endswith("%"))
    try:
        value = Fraction(number) / (100 if percent else 1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 < value <= 1 or len(text) > 20:
        raise InputError(text, 0, "no share of machines", "such as 99% or 0.999")
    return value


def answers(
    job: Job,
    pieces: Sequence[Piece],
    cover: Fraction,
    workers: Workers,
    progress: Callable[[int], None] = lambda pieces: None,
) -> Answers:
    """Ask a fleet. `progress` is told how many pieces are done, each of which is done twice. Raises InputError where
    the folder is of another question, or workers die at a piece."""
    open_folder(job)
    needs = Counted(Counter(), Counter(), [])
    for part in workers(partial(needs_of, job), pieces):
        needs.add(part)
        progress(1)
    kernels = {name: _wanted(needs, name, cover) for name in sorted({name for name, _, _ in needs.machines})}
    values = {name: each.value for name, each in kernels.items()}
    results = {name: Result() for name in kernels}
    for found in workers(partial(judge, job, values=values), pieces):
        for name, result in found.items():
            _add(results[name], result)
        progress(1)
    forget_others(job, pieces)
    return Answers(
        tuple(
            _answer(job.question, name, each, results[name])
            for name, each in sorted(kernels.items(), key=lambda named: (-named[1].machines, named[0]))
        ),
        needs.notes,
        tuple(sorted(needs.unreadable)),
    )


class _Wanted(NamedTuple):
    """What is wanted of the machines of one kernel: how many there are, how many the value must cover, how many none
    does, the curve, and the value."""

    machines: int
    wanted: int
    never: int
    curve: Steps
    value: int | None


def _wanted(needs: Counted, kernel: str, cover: Fraction) -> _Wanted:
    own = {(first, last): count for (name, first, last), count in needs.machines.items() if name == kernel}
    curve = steps({(first, last): count for (first, last), count in own.items() if first is not None})
    machines = sum(own.values())
    wanted = ceil(cover * machines)
    return _Wanted(machines, wanted, own.get((None, None), 0), curve, least(curve, wanted))


def _add(whole: Result, part: Result) -> None:
    whole.covered += part.covered
    whole.left_over += part.left_over
    whole.wrong += part.wrong
    whole.most = largest(whole.most, part.most)
    for cost, count in part.costs.items():
        whole.costs[cost] = whole.costs.get(cost, 0) + count


def _answer(question: Question, name: str, wanted: _Wanted, result: Result) -> Answer:
    asked, value = question.asked, wanted.value
    profile = question.tuned(question.named or Profile.load(name or ANY))
    setting = asked.option(profile)
    return Answer(
        kernel=name,
        strategy=profile.strategy if name else "",
        setting=setting,
        unit=asked.unit(profile),
        value=value,
        machines=wanted.machines,
        wanted=wanted.wanted,
        covered=result.covered,
        most=max(count for _, count in wanted.curve),
        never=wanted.never,
        costs=_costs(result.costs),
        lines=() if value is None else tuple(asked.lines(value, setting, question.boot(profile), result.most)),
        curve=wanted.curve,
        left_over=tuple(sorted(result.left_over, key=lambda each: (each.machine, each.file, each.reason))),
        wrong=tuple(result.wrong),
    )


def _costs(costs: dict[int, int]) -> Costs:
    """Of machines by what it costs them."""
    half, median = sum(costs.values()) / 2, 0
    for cost, count in sorted(costs.items()):
        half -= count
        median = cost
        if half <= 0:
            break
    return Costs(sum(cost * count for cost, count in costs.items()), median, max(costs, default=0))
