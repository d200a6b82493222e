"""The heap: malloc and free, this project and the C library's rivals on the same traces.

Concepts
  1. The allocators (`allocators`) take turns, run by run: a first replay, with memory that nobody used yet (cold); more
     of them, which are timed together (warm); and one in which each call is timed by itself (median, 99.9th percentile,
     worst). What the trace leaves allocated is freed between them. Cold, this project also starts where nothing has to
     be mapped, and in mode raw this computer's part is told apart (`cold`).
  2. One more replay in which every byte is written tells the peak of what is backed over the peak of what is live: for
     a peer the growth of its resident set, for this project that of its heap's frames, their map and the tables that
     map them. Both are backed on demand; this project, 16 frames at a time.
  3. The harness's part is what a malloc and free that do nothing take, called in the same shape. It differs by trace:
     what it takes to read the trace and to write what was allocated is in it.
  4. malloc-lab's files are short: they count as one, each for its operations.
  5. Every row ends: who takes longer on a trace than he may has no figures there, and that is told. Where the footprint
     is taken, a trace ends after 16 GiB that were written: for everybody at the same operation.
"""

import tempfile
from collections.abc import Iterator, Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from kernmalloc.bench import cold
from kernmalloc.bench.allocators import INSTALL, NOTHING, Figures, NoFigures, Ours, Peer, exported, peers
from kernmalloc.bench.rows import LIMIT, OURS, RESOLVED, Goal, Progress, Row, Tell
from kernmalloc.bench.traces import Trace

SHORT = 2 << 20  # bytes live below which the footprint is that of the process, not of the trace
MEAN, WORST = "geometric mean", "worst trace"
OTHER = "eros2"  # a second profile, with a window of 32 bits: shown beside


def goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """What is to be reached, on the traces that there are rows of."""
    yield Goal("heap", f"warm: {MEAN}", 1.0)
    for work in dict.fromkeys(row.work for row in rows if row.group == "heap" and row.work.startswith("warm: ")):
        if work != f"warm: {MEAN}":
            yield Goal("heap", work, 1.25)
    for where in cold.WHERE:
        yield Goal("heap", f"cold: {MEAN}", 1.0, who=where)
    yield Goal("heap", f"backed over live: {MEAN}", 1.10, than=LIMIT)
    yield Goal("heap", f"p99.9 of malloc: {WORST}", 200, than=LIMIT)
    yield Goal("heap", f"p99.9 of free: {WORST}", 200, than=LIMIT)


class _Column(NamedTuple):
    """What one allocator came to in one column."""

    figures: list[list[Figures]]  # by trace, by run
    backed: list[Figures]  # by trace


def run(traces: Sequence[Trace], timed: int, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    """All allocators on all traces, so many runs; a warm time is the mean of `timed` operations, and of one replay at
    least. Peers that are not installed are told. NoCompiler, Wrong."""
    there, missing = peers()
    if missing:
        tell(f"{', '.join(missing)}: {INSTALL}")
    progress("compiling the heap as C", 0)
    product = [Ours(OURS), *exported(tell), Ours(f"{OURS}, {OTHER}", OTHER), *map(cold.Touched, cold.WHERE)]
    everyone = [Ours(""), Peer("", NOTHING), *product, *there]
    columns: dict[str, list[Trace]] = {}
    for trace in traces:
        columns.setdefault(trace.column, []).append(trace)
    total, done, rows = sum(len(t.pairs) for t in traces), 0, []
    with tempfile.TemporaryDirectory() as folder:
        for column, members in columns.items():
            found: dict[Any, _Column] = {one: _Column([], []) for one in everyone}
            for trace in members:
                progress(trace.name, done / total)
                for why in _measure(trace, Path(folder) / "trace", timed // len(members), runs, found):
                    tell(why)
                done += len(trace.pairs)
            made = [*_rows(column, members, found), *_host(column, members, found)]
            rows += made
            yield from made
    yield from _means(rows)
    yield from _without_host(rows)


def _measure(trace: Trace, file: Path, timed: int, runs: int, found: dict[Any, _Column]) -> Iterator[NoFigures]:
    """Adds the figures on a trace to those found so far. Who has none is found no more."""
    file.write_bytes(trace.pairs.tobytes())
    replays = -(-timed // len(trace.pairs)) or 1
    for one, column in found.items():
        column.figures.append([])
        if one.who and not one.only_cold:
            column.backed.append(one.measure("backed", trace, file, 1))
    for _ in range(runs):
        for one, column in list(found.items()):
            try:
                column.figures[-1].append(one.measure("time", trace, file, 0 if one.only_cold else replays))
            except NoFigures as why:
                del found[one]
                yield why


def _rows(column: str, traces: list[Trace], found: dict[Any, _Column]) -> Iterator[Row]:
    """Everything of one column, by kind of figure."""
    counts = [len(trace.pairs) for trace in traces]

    def weighted(of: _Column, which: str) -> tuple[float, ...]:
        """By run: ns per operation over all traces of the column."""
        runs = zip(*of.figures, strict=True)
        return tuple(
            sum(getattr(f, which) * n for f, n in zip(each, counts, strict=True)) / sum(counts) for each in runs
        )

    for which in ("warm", "cold"):
        harness = {one.shape: median(weighted(of, which)) for one, of in found.items() if not one.who}
        for one, of in found.items():
            if one.who and (which == "cold" or not one.only_cold):
                values = weighted(of, which)
                yield Row("heap", f"{which}: {column}", one.who, "ns", values, harness[one.shape], judged=one.judged)
    for one, of in found.items():
        ratios = [f.peak / f.live for f in of.backed if f.live >= SHORT]
        if ratios:
            yield Row("heap", f"backed over live: {column}", one.who, "ratio", (_mean(ratios),), judged=one.judged)
    if len(traces) > 1:
        return
    for place, which in ((1, "p99.9"), (2, "worst")):
        for call in ("malloc", "free"):
            for one, of in found.items():
                if one.who and not one.only_cold:
                    values = tuple(getattr(f, call)[place] for f in of.figures[0])
                    yield Row("heap", f"{which} of {call}: {column}", one.who, "ns", values, judged=one.judged)


def _host(column: str, traces: list[Trace], found: dict[Any, _Column]) -> Iterator[Row]:
    """Of what the allocators took cold, this computer's part."""
    takes, operations = cold.host(), sum(len(trace.pairs) for trace in traces)

    def priced(of: _Column, which: str, ns: float) -> tuple[float, ...]:
        by_run = zip(*of.figures, strict=True)
        return tuple(sum(getattr(f, which) for f in each) * ns / operations for each in by_run)

    for one, of in found.items():
        if one.who and not one.only_cold:
            fault = takes.fault if isinstance(one, Ours) else takes.peers_fault
            values = priced(of, "faults", fault)
            yield Row("heap", f"cold, {cold.FAULTS}: {column}", one.who, "ns", values, judged=False)
            if isinstance(one, Ours):
                values = priced(of, "mappings", takes.mapping)
                yield Row("heap", f"cold, {cold.MAPPINGS}: {column}", one.who, "ns", values, judged=False)


def _without_host(rows: list[Row]) -> Iterator[Row]:
    """Over the columns: geometric means of cold times without the harness and this computer's part."""
    parts = {(row.work.partition(": ")[2], row.work.partition(": ")[0], row.who): row.values for row in rows}
    cold_rows = [row for row in rows if row.work.startswith("cold: ")]
    for who in dict.fromkeys(row.who for row in cold_rows):
        by_column = []
        for row in (row for row in cold_rows if row.who == who):
            taken = [
                parts.get((row.work.partition(": ")[2], f"cold, {part}", who), (0.0,) * len(row.values))
                for part in (cold.MAPPINGS, cold.FAULTS)
            ]
            by_run = zip(row.values, *taken, strict=True)
            by_column.append([max(value - row.harness - sum(host), RESOLVED) for value, *host in by_run])
        values = tuple(_mean(each) for each in zip(*by_column, strict=True))
        yield Row("heap", f"cold, without this computer's part: {MEAN}", who, "ns", values, judged=False)


def _mean(values: Sequence[float]) -> float:
    return exp(fmean(log(value) for value in values))


def _means(rows: list[Row]) -> Iterator[Row]:
    """Over the columns: geometric means of what is net of the harness, and of the footprint; the worst percentiles."""
    everyone = dict.fromkeys(row.who for row in rows)
    for kind in ("warm", "cold", "backed over live"):
        for who in everyone:
            on = [row for row in rows if row.who == who and row.work.startswith(f"{kind}: ")]
            if on:
                by_run = zip(*([max(value - row.harness, RESOLVED) for value in row.values] for row in on), strict=True)
                yield Row(
                    "heap",
                    f"{kind}: {MEAN}",
                    who,
                    on[0].unit,
                    tuple(_mean(values) for values in by_run),
                    judged=on[0].judged,
                )
    for kind in ("p99.9 of malloc", "p99.9 of free"):
        for who in everyone:
            on = [row for row in rows if row.who == who and row.work.startswith(f"{kind}: ")]
            if on:
                yield Row(
                    "heap",
                    f"{kind}: {WORST}",
                    who,
                    "ns",
                    max(on, key=lambda row: row.median).values,
                    judged=on[0].judged,
                )
