"""Benchmarks as text: a table for each kind of work, and what was to be reached."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import msgspec

from kernmalloc.bench.rows import BEST, OURS, SELF, Row, Verdict
from kernmalloc.report.text import columns, section


def line(row: Row) -> str:
    """A row as a JSON object."""
    low, high = row.spread
    return msgspec.json.encode({**asdict(row), "median": row.median, "net": row.net, "low": low, "high": high}).decode()


def verdict_line(verdict: Verdict) -> str:
    """A verdict as a JSON object."""
    goal = verdict.goal
    told = {
        "goal": goal.work, "group": goal.group, "than": goal.than, "limit": goal.limit, "at_least": goal.at_least,
        "ratio": verdict.ratio, "raw": verdict.raw, "best": verdict.best and _who(verdict.best), "reached": verdict.reached,
    }  # fmt: skip
    return msgspec.json.encode(told).decode()


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """One table for each kind of work: works down, allocators across, net medians and half the distance of the quartiles."""
    tables: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        tables.setdefault((row.group, _title(row), row.unit), []).append(row)
    for (group, title, _), found in tables.items():
        yield from section(f"{group}, {title}" if title else group, columns(_table(found)))


def _title(row: Row) -> str:
    return row.work.rpartition(": ")[0]


def _who(row: Row) -> str:
    return row.who if row.who == OURS or not row.keeps else f"{row.who}+entry"


def _table(rows: list[Row]) -> list[tuple[str, ...]]:
    everyone = list(dict.fromkeys(_who(row) for row in rows))
    everyone.sort(key=lambda who: who != OURS)
    made = [(rows[0].unit, *everyone, "harness")]
    for work, found in groupby(rows, key=lambda row: row.work):
        by = {_who(row): row for row in found}
        cells = (_cell(by[who]) if who in by else "-" for who in everyone)
        made.append((work.rpartition(": ")[2], *cells, f"{by[OURS].harness:.2f}" if OURS in by else ""))
    return made


def _cell(row: Row) -> str:
    low, high = row.spread
    return f"{row.net:.2f} ±{(high - low) / 2:.2f}"


def verdicts(found: Sequence[Verdict]) -> Iterator[str]:
    """Figures to reach, and what was reached."""
    rows = [("", "ours", "compared with", "", "ratio", "raw", "to reach", "")]
    for v in found:
        goal = v.goal
        best = _who(v.best) if v.best and goal.than == BEST else "its own, 1 thread" if goal.than == SELF else ""
        figure = f"{v.best.median if goal.gross else v.best.net:.2f}" if v.best else ""
        bound = f"{'≥' if goal.at_least else '≤'} {goal.limit:g}{' ×' if goal.than else ''}"
        raw = "" if v.raw is None else f"{v.raw:.2f}"
        ours = f"{v.ours.median if goal.gross else v.ours.net:.2f}"
        rows.append((f"{goal.group}, {goal.work}", ours, best, figure, f"{v.ratio:.2f}", raw, bound, "" if v.reached else "NOT"))
    if found:
        yield from section("Figures to reach", columns(rows, notes=True))
