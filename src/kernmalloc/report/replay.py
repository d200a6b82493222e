"""What became of a trace: times, memory, what was left out, and its caches as /proc/slabinfo prints them."""

from collections.abc import Iterator

from kernmalloc.inputs.sizes import size
from kernmalloc.inputs.traces.trace import Skipped
from kernmalloc.report.boot import CLIPPED
from kernmalloc.report.text import Cells, columns, fitted, section
from kernmalloc.report.tlb_counts import counted
from kernmalloc.report.units import several
from kernmalloc.sim.replay import Replayed
from kernmalloc.sim.slabinfo import CacheLine

LEFT_OUT = {
    "before": "frees of what was allocated before the trace began",
    "null": "frees of nothing",
    "failed": "allocations that failed there",
    "unseen": "frees that the trace lacks, put in: the block was given out again",
    "other": "other events",
    "lost": "events lost by the recorder",
    "cut": "a last line that is cut short",
}
NO_EVENT = "lines that tell no event"
UNREAD = "lines that cannot be read"


def whole(done: Replayed) -> Iterator[str]:
    """All lines."""
    yield from fitted(f"{done.file}: {done.form}; kernel {done.kernel}, {done.machine}; runs {done.mode}")
    if not done.failure:
        yield from section("Replay", columns(figure_rows(done), notes=True))
    if done.skipped and (left := list(left_out_rows(done.skipped))):
        yield from section("Not in it", columns(left, notes=True))
    if done.caches:
        yield from section("Caches at the peak of backed memory (as /proc/slabinfo)", [HEAD, *map(_cache, done.caches)])
    yield from counted(done.tlb_counted, "in the timed replay")
    yield ""
    yield from fitted(verdict(done))


def left_out_rows(skipped: Skipped) -> Iterator[Cells]:
    """What is in the file, and not in what was replayed."""
    for name, text in LEFT_OUT.items():
        if count := getattr(skipped, name):
            yield text, f"{count:,}", ""
    if skipped.passed:
        kinds = ", ".join(f"{what} {count:,}" for what, count in skipped.passed.items())
        yield NO_EVENT, f"{sum(skipped.passed.values()):,}", kinds
    for line in skipped.first[:1]:
        yield UNREAD, f"{skipped.unread:,}", line
    for line in skipped.first[1:]:
        yield "", "", line


def figure_rows(done: Replayed) -> list[Cells]:
    """A table of times and memory."""
    timed = f"median of {several(len(done.ns), 'replay')}, {min(done.ns):.1f} to {max(done.ns):.1f}"
    mapped = "frames mapped, one time or another"
    if done.mode == "raw":
        mapped += ", by calls of this computer that take microseconds"
    rows: list[Cells] = [
        ("operations", f"{done.operations:,}", ""),
        (
            "ns per operation",
            f"{done.ns_per_operation:.1f}",
            f"{timed}: the kernel's calls, and the first word written",
        ),
        ("peak live", size(done.peak_live), "asked for, heap blocks and objects"),
        ("peak backed", size(done.peak_backed), "frames of the heap, its map and its mapping tables"),
        ("fragmentation", f"{done.fragmentation:.1%}", "of the peak backed, what the peak live does not fill"),
        ("grown", f"{done.grown:,}", mapped),
        ("peak of pages", size(done.peak_pages), "beside the heap"),
        ("live at the end", f"{done.live_at_end:,}", "never freed in the trace"),
    ]
    rows += [("refused", f"{count:,}", name) for name, count in done.refused.items()]
    if done.uncached:
        rows.append(("without a cache", f"{len(done.uncached):,}", f"in size classes: {', '.join(done.uncached)}"))
    return rows


HEAD = (
    f"{'# name':<17} <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> "
    "<sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
)


def _cache(line: CacheLine) -> str:
    """A line in the kernel's own format (mm/slab_common.c), so that what reads that file reads this."""
    name = line.name.replace(" ", "_") or f":{line.objsize:07}"
    objects = f"{line.active_objs:6} {line.num_objs:6} {line.objsize:6} {line.objperslab:4} {line.pagesperslab:4}"
    slabs = f"{line.active_slabs:6} {line.num_slabs:6} {0:6}"
    return f"{name:<17} {objects} : tunables {0:4} {0:4} {0:4} : slabdata {slabs}"


def verdict(done: Replayed) -> str:
    """The last line."""
    if done.status != "replayed":
        return f"{done.file}: {done.status}: {done.reason}"
    if not done.held:
        return f"{done.file}: BROKEN: {done.failure}"
    return (
        f"{done.file}: {several(done.operations, 'operation')}, {done.ns_per_operation:.1f} ns each; all freed, "
        f"every frame is back, {done.assertions:,} invariants held; {done.seconds:.1f} s"
        f"{f'; {size(done.clipped)} of RAM {CLIPPED}' if done.clipped else ''}"
    )
