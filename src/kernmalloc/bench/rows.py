"""Rows: what was measured, what it is compared with, and what was to be reached.

Concepts
  1. A row is one allocator on one work: the values of its runs, in the order in which they were taken. What a figure is
     called (median) and how far it can be trusted (quartiles) follow from them.
  2. `harness` is what a do-nothing allocator of the same calling shape came to in the same runs: `net` is without it.
     Where the work takes less than can be told from the harness it is `below` it, and a figure of it, or a ratio with
     it, means nothing.
  3. A goal names one work, what this project is compared with there, and the ratio to reach. Peers that keep nothing
     per frame do less work: a row says whether it `keeps` a checked entry for each, and a goal, against which of them
     it is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Progress = Callable[[str, float], None]  # is told what is measured, and which share of it is done
Tell = Callable[[object], object]  # is told what cannot be measured
OURS = "kernmalloc"
RESOLVED = 0.3  # ns: of what is less, nothing can be told
BEST, SELF, LIMIT = "the best peer", "its own", ""  # what a goal compares with


@dataclass(frozen=True)
class Row:
    """One allocator on one work. `unit` is that of `values` and `harness`: "ns" per operation, unless it says else."""

    group: str  # frames, heap, boot, map, tlb, scaling
    work: str
    who: str  # OURS or a peer
    unit: str
    values: tuple[float, ...]  # of the runs, in order
    harness: float = 0.0  # of it, what the harness costs
    keeps: bool | None = None  # a checked entry for each frame; None: no question of frames
    judged: bool = True  # False: shown, but no peer to be compared with

    @property
    def median(self) -> float:
        """The middle of the runs, harness included."""
        return median(self.values)

    @property
    def net(self) -> float:
        """The median without the harness."""
        return self.median - self.harness

    @property
    def below(self) -> bool:
        """Whether the work cannot be told from the harness."""
        return self.harness > 0 and self.net < (RESOLVED if self.unit == "ns" else 0)

    @property
    def spread(self) -> tuple[float, float]:
        """First and third quartile of the runs."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, middle, high = quantiles(self.values, n=4, method="inclusive")
        return min(low, middle), max(middle, high)  # interpolated, equal values may differ in the last bit


@dataclass(frozen=True)
class Goal:
    """What is to be reached on a work: at most `limit`, or at least, times what it is compared with.

    `than` is BEST, or SELF with the work `other`, or LIMIT: then `limit` is a figure itself. `keeps`: of the peers,
    those that keep an entry for each frame. `gross`: harness included. `who`: this project, or a part of it that is
    shown beside."""

    group: str
    work: str
    limit: float
    than: str = BEST
    other: str = ""
    keeps: bool = False
    gross: bool = False
    at_least: bool = False
    who: str = OURS


@dataclass(frozen=True)
class Verdict:
    """A goal, and what came of it. `ratio` is a figure itself where the goal is one; `raw`: the same against peers that
    keep nothing, None where there are none."""

    goal: Goal
    ours: Row
    best: Row | None
    ratio: float
    raw: float | None

    @property
    def below(self) -> bool:
        """Whether one of the two that are compared cannot be told from the harness: then the ratio is a bound."""
        return not self.goal.gross and any(row.below for row in (self.ours, self.best) if row)

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal.limit if self.goal.at_least else self.ratio <= self.goal.limit


def judge(goals: Iterable[Goal], rows: Sequence[Row]) -> list[Verdict]:
    """What became of each goal for which there are rows to compare."""
    found = (_verdict(goal, rows) for goal in goals)
    return [verdict for verdict in found if verdict]


def _verdict(goal: Goal, rows: Sequence[Row]) -> Verdict | None:
    on = [row for row in rows if row.group == goal.group and row.work == goal.work]
    ours = next((row for row in on if row.who == goal.who), None)
    if ours is None:
        return None
    if goal.than == LIMIT:
        return Verdict(goal, ours, None, _figure(ours, goal), None)
    if goal.than == SELF:
        others = [row for row in rows if (row.group, row.work, row.who) == (goal.group, goal.other, goal.who)]
        return Verdict(goal, ours, others[0], _ratio(ours, others[0], goal), None) if others else None
    peers = [row for row in on if row.who != OURS and row.judged]
    best = _best([row for row in peers if row.keeps or not goal.keeps], goal)
    if best is None:
        return None
    raw = _best([row for row in peers if row.keeps is False], goal)
    return Verdict(goal, ours, best, _ratio(ours, best, goal), _ratio(ours, raw, goal) if raw else None)


def _figure(row: Row, goal: Goal) -> float:
    return row.median if goal.gross else row.net


def _ratio(ours: Row, other: Row, goal: Goal) -> float:
    """Ours to the other; of calls that take less than can be told from the harness, that much."""
    least = RESOLVED if ours.unit == "ns" else 0.0
    return max(_figure(ours, goal), least) / max(_figure(other, goal), least)


def _best(rows: list[Row], goal: Goal) -> Row | None:
    chosen = max if goal.at_least else min
    return chosen(rows, key=lambda row: _figure(row, goal)) if rows else None
