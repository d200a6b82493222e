"""Benchmarks as text: how it was measured, a table for each kind of work, and what was to be reached."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from kernmalloc.bench.allocators import MOST
from kernmalloc.bench.rows import BEST, OURS, SELF, Goal, Row, Verdict
from kernmalloc.report import scaling
from kernmalloc.report.text import Cells, columns, fitted, paragraph, section

TIMES = "\N{MULTIPLICATION SIGN}"
BELOW = "below the harness"
QUICK = "quick: on a hundredth of the work, no figures to quote"
HOW = {
    "": """\
Medians of {runs} runs, plus or minus half the distance of their quartiles; the allocators take turns, run by run. Each
is called through a C pointer; what that and the loop take, measured with an allocator that does nothing in the same
run, is subtracted ("harness"). A time is a thread's on a processor: others on this computer do not count.""",
    "frames": """\
Frames are managed, never touched. A pair is a get and a put, a random pair is done while half of memory is owned.
Bitmap, buddy and magazines are peers written for this; "+entry": they keep and check 16 bytes per frame, as we do.
With 2 threads each works on a half; shuffled, each puts what the other got; how they get in each other's way shows only
where both processors are free. "1 thread of 2": one alone, in a kernel for two. Single frames are frame_get and
frame_put, many at once frames_get and frames_put, blocks of order 9 block_get and frame_put: the product's entries,
wrong puts refused (which was tried before).""",
    "heap": """\
Cold: a replay in a process, or kernel, of its own; in an affine heap and a direct map nothing is mapped, and this
computer has given all RAM before. "Of it": this computer's part, by counts of pages and, of ours, of mappings; the
peers' mappings, which are few, stay in their times. Warm: more of them there. Single calls: one more, each call timed
by the processor's counter; interruptions by this computer show as the
worst. A replay may take {most:g} seconds, so may all warm ones of a run together. Backed: the most resident memory, or
frames of heap, its map and tables, while every byte is written; at 2 MiB live or more. It is backed on demand, as the
peers' is; what describes RAM was made before. malloc and free are the product's entries; columns that begin with C are
these as exported C, compiled as they say.""",
    "map": """\
Instructions are the freestanding object's, counted on an emulated processor, every one. Clearing a page, bare: that
object's code, timed in this process.""",
    "tlb": """\
One heap at one place, under one load, with memory of small pages behind it and with memory of huge pages, in turns.""",
    "scaling": scaling.HOW,
}
"""How each part is measured; "": all of them."""


def told(row: Row, quick: bool) -> dict[str, object]:
    """What of a row is printed as a JSON object; whether it was measured on a hundredth of the work."""
    low, high = row.spread
    figures = {"median": row.median, "net": row.net, "low": low, "high": high, "below": row.below}
    return {**asdict(row), **figures, "quick": quick}


def verdict_told(verdict: Verdict, quick: bool) -> dict[str, object]:
    """What of a verdict is printed as a JSON object; as `told`."""
    goal, best = verdict.goal, verdict.best
    return {
        "group": goal.group, "work": goal.work, "who": goal.who, "than": goal.than, "limit": goal.limit,
        "at_least": goal.at_least,
        "best": _who(best) if best else None, "ratio": verdict.ratio, "raw": verdict.raw, "below": verdict.below,
        "reached": verdict.reached, "quick": quick,
    }  # fmt: skip


def opening(parts: Sequence[str], runs: int) -> Iterator[str]:
    """Where and how it is measured."""
    processors = len(os.sched_getaffinity(0))
    yield from fitted(f"{_processor()}, {processors} processors, {platform.system()} {platform.release()}")
    for part in ("", *parts):
        if part in HOW:
            yield from paragraph(HOW[part].format(runs=runs, most=MOST))


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def tables(rows: Sequence[Row], how: str = "") -> Iterator[str]:
    """A table for each kind of work and unit: works down, allocators across, net of the harness. `how` they were
    measured stands in their titles."""
    tables: dict[tuple[str, str, str], list[Row]] = {}
    for row in [row for row in rows if row.group != "scaling"]:
        tables.setdefault((row.group, row.work.rpartition(": ")[0], row.unit), []).append(row)
    for (group, title, unit), found in tables.items():
        what = f"{group}, {title} ({unit})" if title else f"{group} ({unit})"
        yield from section(_titled(what, how), columns(_table(found)))
    for title, lines in scaling.tables(row for row in rows if row.group == "scaling"):
        yield from section(_titled(f"scaling, {title}", how), lines)


def _titled(what: str, how: str) -> str:
    return f"{what}; {how}" if how else what


def _who(row: Row) -> str:
    return f"{row.who}+entry" if row.keeps and row.who != OURS else row.who


def _table(rows: list[Row]) -> list[Cells]:
    everyone = sorted(dict.fromkeys(_who(row) for row in rows), key=lambda who: who != OURS)
    harness = any(row.harness for row in rows)
    made = [("", *everyone, *(("harness",) if harness else ()))]
    for work, found in groupby(rows, key=lambda row: row.work):
        by = {_who(row): row for row in found}
        cells = [_cell(by[who]) if who in by else "" for who in everyone]
        if harness:
            cells.append(_number(by[OURS].harness) if OURS in by and by[OURS].harness else "")
        made.append((work.rpartition(": ")[2], *cells))
    return made


def _cell(row: Row) -> str:
    low, high = row.spread
    if row.below:
        return BELOW
    return f"{_number(row.net)} ±{_number((high - low) / 2)}" if high > low else _number(row.net)


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def verdicts(found: Sequence[Verdict], how: str = "") -> Iterator[str]:
    """Figures to reach, and what was reached; `how` they were measured stands in the title."""
    if found:
        head = ("", "ours", "compared with", "", "ratio", "raw", "to reach", "")
        yield from section(_titled("Figures to reach", how), columns([head, *map(_verdict, found)], notes=True))


def _figure(row: Row, gross: bool) -> str:
    return _number(row.median) if gross else BELOW if row.below else _number(row.net)


def _own(goal: Goal) -> str:
    """What of its own a goal compares with: another work, or this one by fewer threads."""
    case, _, other = goal.other.rpartition(": ")
    return f"its own, {case.rpartition(', ')[2] if goal.work.endswith(f': {other}') else other}"


def _verdict(v: Verdict) -> Cells:
    goal = v.goal
    best = _who(v.best) if v.best and goal.than == BEST else _own(goal) if goal.than == SELF else ""
    figure = _figure(v.best, goal.gross) if v.best else ""
    bound = f"{'≥' if goal.at_least else '≤'} {goal.limit:g}{f' {TIMES}' if goal.than else ''}"
    ratio = "" if not goal.than else BELOW if v.below else _number(v.ratio)
    raw = "" if v.raw is None else BELOW if v.ours.below and not goal.gross else _number(v.raw)
    ours = _figure(v.ours, goal.gross)
    where = "" if goal.who == OURS else f", {goal.who}"
    return (
        f"{goal.group}, {goal.work}{where}",
        ours,
        best,
        figure,
        ratio,
        raw,
        bound,
        "" if v.reached else "NOT reached",
    )
