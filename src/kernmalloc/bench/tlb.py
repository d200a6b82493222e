"""The TLB of this computer: one heap under one load, with pages of 4 KiB behind it and with pages of 2 MiB.

Concepts
  1. A kernel in mode raw has an affine heap. The memory behind that heap is exchanged for other memory of this
     computer, at the same addresses and with the same contents: once of small pages, once of huge ones
     (madvise(2), MADV_NOHUGEPAGE and MADV_HUGEPAGE). Nothing else differs: code, addresses, layout of the heap and
     operations are the same.
  2. The load is a trace, replayed by the harness of `heap`, again and again; its list of operations and its table of
     blocks lie outside of the heap, in small pages.
  3. Beside the time stand the processor's own counts, where it has counters for them (`counters`).
  4. What was promised may not be had: it is looked up in /proc/self/smaps how much of the heap's memory huge pages
     hold after the load.
  5. Side by side with it stands what mode soft counts for a processor of this kind, once, under the same load: of a
     heap that is mapped page by page, and of one in large pages (`sim/tlb.py`): of the first MODELLED operations.

Limits: the tables by which the kernel describes its heap are small pages in both.
"""

import ctypes
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy

from kernmalloc.bench import native, traces
from kernmalloc.bench.allocators import Heap, machine
from kernmalloc.bench.cold import affine
from kernmalloc.bench.counters import Counters, NoCounters
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import OURS, Progress, Row, Tell
from kernmalloc.bench.traces import Trace
from kernmalloc.facade.kernel import Kernel
from kernmalloc.inputs.dumps.segments import data_in
from kernmalloc.inputs.traces.trace import OP, Skipped
from kernmalloc.inputs.traces.trace import Trace as RecordedTrace
from kernmalloc.machine.ram import FIXED, NORESERVE, libc
from kernmalloc.plan.plan import with_strategy
from kernmalloc.sim.tlb import DEMAND, LARGE, PAGES, Side, measured
from kernmalloc.sim.tlb_loads import Replay

HUGE = 2 << 20
ADVICE = {"pages of 4 KiB": 15, "pages of 2 MiB": 14}  # MADV_NOHUGEPAGE, MADV_HUGEPAGE
SMALL_PAGES, HUGE_PAGES = ADVICE
SPARE = 512 << 20  # bytes that malloc may hand out
MODELLED = 500_000  # operations of a load that mode soft counts: those it begins with
ALWAYS = 2  # replays that the harness adds to those asked for: a cold one, and one of single calls
PER = "a thousand operations"
CPU = Path("/proc/cpuinfo")
USUAL = {"AuthenticAMD": "zen4", "GenuineIntel": "skylake"}
"""Of whom mode soft has the TLBs, by the maker of this computer's processor."""
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


class NoHugePages(Exception):
    """This computer gave no huge pages: one line."""


class Figures(NamedTuple):
    """What a run came to: ns per operation, bytes of the heap in huge pages, counts by name, of so many replays."""

    ns: float
    huge: int
    counts: dict[str, int]
    replays: int


def generated(share: float) -> list[Trace]:
    """Of the generated traces those of a kernel and of blocks freed at random, and the latter with more of them live
    than a TLB reaches by small pages; `share` of the full length, and of what is live."""
    chosen = [trace for trace in traces.generated(share) if trace.name in ("kernel-like", "random, 10,000 live")]
    for live in (50_000, 200_000):
        name = f"random, {live:,} live"
        chosen.append(Trace(name, name, traces.steady(max(int(live * share), 8), max(int(500_000 * share), 8), True)))
    return chosen


def exchange(kernel: Kernel, advice: int) -> range:
    """Put other memory of this computer behind the affine heap, with the same contents: its addresses. From then on
    `kernel.view` sees what was in the heap before. Raises OSError."""
    kern, ram, page = kernel.view.kern, kernel.view.ram, kernel.profile.page
    start = int(kern["heap"])
    place = range(start, start + int(kern["fixed"]) * page)
    pa = kernel.view.pa(start)
    kept = [(at - pa, bytes(ram.bytes[at:end])) for at, end in data_in(ram.fd, pa, pa + len(place))]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE | FIXED
    if libc.mmap(start, len(place), mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != start:
        raise OSError(ctypes.get_errno(), "this computer does not exchange the heap's memory")
    libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(len(place)), advice)
    for at, data in kept:
        ctypes.memmove(start + at, data, len(data))
    return place


def huge_bytes(place: range) -> int:
    """How much of what lies there huge pages hold, by /proc/self/smaps."""
    held, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(head[1], 16) < place.stop and place.start < int(head[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            held += int(line.split()[1]) << 10
    return held


def measure(trace: Trace, advice: int, replays: int, counters: Counters) -> Figures:
    """One run. Wrong if a call was refused, a replay took too long, or an invariant does not hold at the end."""
    h = Heap.of(1, trace.pairs, replays)
    with Kernel.boot(machine(), affine(SPARE)) as kernel:
        place = exchange(kernel, advice)
        h.malloc, h.free, h.context = kernel.entry("malloc"), kernel.entry("free"), kernel.processor
        library = native.library("heap")
        with counters.during() as counts:
            library.heap_time(ctypes.byref(h))
        h.check(OURS, trace.name)
        found = kernel.check()
        if not found.passed:
            raise Wrong(f"{trace.name}: {found.failure}")
        return Figures(h.warm, huge_bytes(place), counts, h.replays + ALWAYS)


def modelled(trace: Trace) -> dict[str, Side]:
    """What mode soft counts on that load, by the size of pages."""
    pairs = numpy.ascontiguousarray(trace.pairs[:MODELLED])
    slots = int(pairs[:, 0].max()) + 1
    load = Replay(RecordedTrace(trace.name, "generated", pairs.view(OP).reshape(-1), slots, (), Skipped()))
    vendor = next((name for name in USUAL if name in CPU.read_text()), "") if CPU.exists() else ""
    large = msgspec.structs.replace(
        affine(SPARE), tlb=msgspec.structs.replace(affine(SPARE).tlb, processor=USUAL.get(vendor))
    )
    kernels = {SMALL_PAGES: (with_strategy(load.fitted(large), DEMAND), PAGES), HUGE_PAGES: (large, LARGE)}
    return {who: measured(machine(), kernel, load, mapping).side for who, (kernel, mapping) in kernels.items()}


def run(works: Sequence[Trace], timed: int, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    """Both sizes of pages on each trace, in turns; a time is the mean of `timed` operations at least. What cannot be
    had is told. NoCompiler, Wrong."""
    try:
        counters = Counters()
    except NoCounters as error:
        counters = Counters({})
        tell(error)
    with counters:
        try:
            for number, trace in enumerate(works):
                progress(trace.name, number / len(works))
                yield from _rows(trace, -(-timed // len(trace.pairs)), runs, counters)
        except NoHugePages as error:
            tell(error)


def _rows(trace: Trace, replays: int, runs: int, counters: Counters) -> Iterator[Row]:
    found: dict[str, list[Figures]] = {who: [] for who in ADVICE}
    for _ in range(runs):
        for who, advice in ADVICE.items():
            found[who].append(measure(trace, advice, replays, counters))
    if not min(each.huge for each in found[HUGE_PAGES]):
        chosen = ENABLED.read_text().strip() if ENABLED.exists() else "it has none"
        raise NoHugePages(f"pages of 2 MiB: this computer gave none ({ENABLED}: {chosen})")
    for who, figures in found.items():
        yield Row("tlb", f"warm: {trace.name}", who, "ns", tuple(each.ns for each in figures), judged=False)
    for who, figures in found.items():
        share = tuple(each.huge / 2**20 for each in figures)
        yield Row("tlb", f"heap in huge pages: {trace.name}", who, "MiB", share, judged=False)
    for name, pick in (("misses of level 1", "misses"), ("walks", "walks")):
        for who, side in modelled(trace).items():
            assert side.load
            counted = getattr(side.load.kernel, pick) * 1000 / side.load.operations
            yield Row("tlb", f"in mode soft, {name}: {trace.name}", who, PER, (counted,), judged=False)
    thousands = len(trace.pairs) / 1000
    for name in found[SMALL_PAGES][0].counts:
        for who, figures in found.items():
            counts = tuple(each.counts[name] / (thousands * each.replays) for each in figures)
            yield Row("tlb", f"{name}: {trace.name}", who, PER, counts, judged=False)
