"""The heap: malloc and free, this project and the C library's rivals on the same traces.

Concepts
  1. Every run is a process of its own for a peer, and a kernel of its own for this project, and the allocators take
     turns: a first replay, with memory that nobody used yet (cold); more of them, which are timed together (warm); and
     one in which each call is timed by itself (median, 99.9th percentile, worst). What the trace leaves allocated is
     freed between them.
  2. One more replay in which every byte is written, in a process or kernel of its own, tells the peak of what is backed
     over the peak of what is live: for a peer the growth of its resident set, for this project that of its heap's
     frames, their map and the tables that map them. Both are backed on demand; this project, 16 frames at a time.
  3. The harness's part is what a malloc and free that do nothing take, called in the same shape. It differs by trace:
     what it takes to read the trace and to write what was allocated is in it.
  4. Before anything is timed, this project's free must refuse what malloc did not give out, and a second free.
  5. malloc-lab's files are short: they count as one, each for its operations.
  6. Every row ends. A replay may take MOST, and so may all warm ones of a run together, of which there is one at
     least; who takes longer on a trace has no figures there, and that is told. Where the footprint is taken, a trace
     ends after 16 GiB that were written: for everybody at the same operation.
"""

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.bench import native
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import LIMIT, OURS, RESOLVED, Goal, Progress, Row, Tell
from kernmalloc.bench.traces import Trace
from kernmalloc.build import shared
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang import objects
from kernmalloc.lang.status import BAD_ADDRESS, INTERIOR, NOT_ALLOCATED, OK
from kernmalloc.machine import lives
from kernmalloc.machine.memory_map import Machine

COMPILERS = (("gcc", "-O2"), ("gcc", "-O3"), ("clang", "-O2"))  # of the C that this project exports
LIBRARIES = {"mimalloc": "libmimalloc.so.2", "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
INSTALL = "sudo apt install libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4"
RAM = 8 << 30  # of this project's machine
MOST = 2.0  # seconds of processor that a replay may take
SHORT = 2 << 20  # bytes live below which the footprint is that of the process, not of the trace
MEAN, WORST = "geometric mean", "worst trace"
NOTHING = "0"
OTHER = "eros2"  # a second profile, with a window of 32 bits: shown beside


def goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """What is to be reached, on the traces that there are rows of."""
    yield Goal("heap", f"warm: {MEAN}", 1.0)
    for work in dict.fromkeys(row.work for row in rows if row.group == "heap" and row.work.startswith("warm: ")):
        if work != f"warm: {MEAN}":
            yield Goal("heap", work, 1.25)
    yield Goal("heap", f"backed over live: {MEAN}", 1.10, than=LIMIT)
    yield Goal("heap", f"p99.9 of malloc: {WORST}", 200, than=LIMIT)
    yield Goal("heap", f"p99.9 of free: {WORST}", 200, than=LIMIT)


class _Tail(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("median", "p999", "worst")]


class Heap(ctypes.Structure):
    """`struct heap` of c/heap.h."""

    _fields_ = [
        ("shape", ctypes.c_int), ("malloc", ctypes.c_void_p), ("free", ctypes.c_void_p), ("context", ctypes.c_int64),
        ("ops", ctypes.c_void_p), ("count", ctypes.c_int64), ("slots", ctypes.c_int64), ("replays", ctypes.c_int64),
        ("most", ctypes.c_double),
        ("backed", ctypes.c_void_p * 3), ("page", ctypes.c_int64), ("cold", ctypes.c_double), ("warm", ctypes.c_double),
        ("got", _Tail), ("freed", _Tail), ("live", ctypes.c_int64), ("peak", ctypes.c_int64), ("wrong", ctypes.c_int64),
        ("late", ctypes.c_int64),
    ]  # fmt: skip

    @classmethod
    def of(cls, shape: int, pairs: NDArray[numpy.int32], replays: int, **more: int) -> "Heap":
        """What replays a trace, which must live as long."""
        slots, most = int(pairs[:, 0].max()) + 1, MOST * 1e9
        return cls(shape, ops=pairs.ctypes.data, count=len(pairs), slots=slots, replays=replays, most=most, **more)

    def check(self, who: str, work: str) -> None:
        """Wrong if a call was refused, Late if a replay took too long: then there are no figures."""
        if self.wrong:
            raise Wrong(f"{who} on {work}: {self.wrong} calls were refused")
        if self.late:
            raise Late(who, work)


class Late(Wrong):
    """A replay took longer than it may: one line."""

    def __init__(self, who: str, work: str) -> None:
        super().__init__(f"{who} on {work}: a replay takes more than {MOST:g} seconds")


class Figures(NamedTuple):
    """What one run of one allocator came to: ns per operation, ns of single calls, bytes."""

    cold: float
    warm: float
    malloc: tuple[float, float, float]  # median, 99.9th percentile, worst
    free: tuple[float, float, float]
    live: int
    peak: int


class Peer:
    """An allocator in a process of its own. `library`: its shared object; -: the C library's; 0: one that does
    nothing."""

    def __init__(self, who: str, library: str) -> None:
        self.who, self.shape, self.judged, self._library = who, 0, True, library
        self._program = native.compiled("heap")

    def loads(self) -> bool:
        """Whether it is on this machine."""
        return self._run("time", Path(os.devnull), 0).returncode == 0

    def measure(self, what: str, trace: Trace, file: Path, replays: int) -> Figures:
        """One run: `what` is time or backed. Wrong if it could not do it, Late if it took too long."""
        done = self._run(what, file, replays)
        if done.returncode:
            raise Wrong(f"{self.who} on {trace.name}: {done.stderr.strip() or f'exit status {done.returncode}'}")
        *times, live, peak, wrong, late = done.stdout.split()
        cold, warm, median, p999, worst, *freed = map(float, times)
        Heap(wrong=int(wrong), late=int(late)).check(self.who, trace.name)
        return Figures(cold, warm, (median, p999, worst), (freed[0], freed[1], freed[2]), int(live), int(peak))

    def _run(self, what: str, file: Path, replays: int) -> subprocess.CompletedProcess[str]:
        command = [str(self._program), what, self._library, str(file), str(replays), str(MOST * 1e9)]
        environment = {
            **os.environ,
            "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536",
        }  # jemalloc's is more than usual
        return subprocess.run(command, capture_output=True, text=True, env=environment)


class Ours:
    """This project, in a kernel of its own for each run, made as `load` says; or, where `who` is "", what does nothing,
    called as it is."""

    def __init__(self, who: str, profile: str = "x86_64", load: objects.Load = objects.load) -> None:
        self.who, self.shape, self.judged = who, 1, who in ("", OURS)
        self._profile, self._load, self._harness = Profile.load(profile), load, native.library("heap")

    def measure(self, what: str, trace: Trace, file: Path, replays: int) -> Figures:
        """One run: `what` is time or backed. Wrong if a call was refused, or an invariant does not hold at the end;
        Late if it took too long."""
        h = Heap.of(1, trace.pairs, replays, page=self._profile.page)
        if not self.who:
            h.malloc, h.free = (address(self._harness, f"nothing_call_{name}") for name in ("malloc", "free"))
            return self._measured(what, trace, h)
        with lives.loading(self._load), Kernel.boot(machine(), self._profile) as kernel:
            _refuses(kernel)
            h.malloc, h.free, h.context = kernel.entry("malloc"), kernel.entry("free"), kernel.processor
            h.backed[:] = [
                kernel.view.kern_va + Kern.offset(name) for name in ("backed", "map_pages", "mapping_frames")
            ]
            figures = self._measured(what, trace, h)
            found = kernel.check()
            if not found.passed:
                raise Wrong(f"{self.who} on {trace.name}: {found.failure}")
            return figures

    def _measured(self, what: str, trace: Trace, h: Heap) -> Figures:
        self._harness[f"heap_{what}"](ctypes.byref(h))
        h.check(self.who, trace.name)
        got, freed = ((t.median, t.p999, t.worst) for t in (h.got, h.freed))
        return Figures(h.cold, h.warm, got, freed, h.live, h.peak)


def address(library: Any, name: str) -> int:
    """Where a function of the harness is."""
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0


def machine() -> Machine:
    """RAM enough for any trace."""
    return Machine(name="bench", file="bench", arch="x86_64", ram=(Range(base=0, size=RAM, kind="ram"),))


def _refuses(kernel: Kernel) -> None:
    """Hold that the entries that will be timed refuse what they must."""
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    malloc, free = (call(kernel.entry(name)) for name in ("malloc", "free"))
    cpu = kernel.processor
    kept, va = malloc(cpu, 100), malloc(cpu, 100)
    answers = [free(cpu, va + 16), free(cpu, va), free(cpu, va), free(cpu, 16), free(cpu, kept)]
    if answers != [INTERIOR, OK, NOT_ALLOCATED, BAD_ADDRESS, OK]:
        raise Wrong(f"{OURS}: a wrong free is not refused: {answers}")


def peers() -> tuple[list[Peer], list[str]]:
    """Those on this machine, and the names of those that are not."""
    there, missing = [Peer("glibc", "-")], []
    for who, library in LIBRARIES.items():
        peer = Peer(who, library)
        if peer.loads():
            there.append(peer)
        else:
            missing.append(who)
    return there, missing


def exported(tell: Tell) -> list[Ours]:
    """This project's C, by each of the compilers; one that is not installed is told."""
    found = []
    for command in COMPILERS:
        try:
            found.append(Ours(f"C, {' '.join(command)}", load=shared.loader(*command)))
        except shared.NoCompiler as error:
            tell(f"the heap as C, {' '.join(command)}: {error}")
    return found


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
    everyone = [Ours(""), Peer("", NOTHING), Ours(OURS), *exported(tell), Ours(f"{OURS}, {OTHER}", OTHER), *there]
    columns: dict[str, list[Trace]] = {}
    for trace in traces:
        columns.setdefault(trace.column, []).append(trace)
    total, done, rows = sum(len(t.pairs) for t in traces), 0, []
    with tempfile.TemporaryDirectory() as folder:
        for column, members in columns.items():
            found: dict[Any, _Column] = {one: _Column([], []) for one in everyone}
            for trace in members:
                progress(trace.name, done / total)
                for late in _measure(trace, Path(folder) / "trace", timed // len(members), runs, found):
                    tell(late)
                done += len(trace.pairs)
            made = list(_rows(column, members, found))
            rows += made
            yield from made
    yield from _means(rows)


def _measure(trace: Trace, file: Path, timed: int, runs: int, found: dict[Any, _Column]) -> Iterator[Late]:
    """Adds the figures on a trace to those found so far. Who is late is found no more."""
    file.write_bytes(trace.pairs.tobytes())
    replays = -(-timed // len(trace.pairs)) or 1
    for one, column in found.items():
        column.figures.append([])
        if one.who:
            column.backed.append(one.measure("backed", trace, file, 1))
    for _ in range(runs):
        for one, column in list(found.items()):
            try:
                column.figures[-1].append(one.measure("time", trace, file, replays))
            except Late as late:
                del found[one]
                yield late


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
            if one.who:
                yield Row(
                    "heap",
                    f"{which}: {column}",
                    one.who,
                    "ns",
                    weighted(of, which),
                    harness[one.shape],
                    judged=one.judged,
                )
    for one, of in found.items():
        ratios = [f.peak / f.live for f in of.backed if f.live >= SHORT]
        if ratios:
            yield Row("heap", f"backed over live: {column}", one.who, "ratio", (_mean(ratios),), judged=one.judged)
    if len(traces) > 1:
        return
    for place, which in ((1, "p99.9"), (2, "worst")):
        for call in ("malloc", "free"):
            for one, of in found.items():
                if one.who:
                    values = tuple(getattr(f, call)[place] for f in of.figures[0])
                    yield Row("heap", f"{which} of {call}: {column}", one.who, "ns", values, judged=one.judged)


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
