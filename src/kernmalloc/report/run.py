"""What a run of a scenario tells: the page cache, who waited, memory, and whether all that had to hold did."""

from collections.abc import Iterator

from kernmalloc.inputs.sizes import size
from kernmalloc.report.boot import CLIPPED
from kernmalloc.report.text import Cells, columns, fitted, section
from kernmalloc.report.tlb_counts import counted
from kernmalloc.report.units import several
from kernmalloc.sim.outcome import Load, Outcome

KINDS = {"processes": "touches", "heap": "blocks", "dma": "ranges", "device": "devices"}


def whole(run: Outcome) -> Iterator[str]:
    """All lines."""
    yield from section("Page cache", columns(cache_rows(run)))
    yield from section("Load", columns(load_rows(run), notes=True))
    yield from section("Memory at the end", columns(memory_rows(run)))
    yield from section("Free blocks, from one frame on", fitted(" ".join(map(str, run.free_blocks))))
    yield from counted(run.tlb_counted, "until the last touch")
    yield ""
    yield from fitted(verdict(run))


def cache_rows(run: Outcome) -> list[Cells]:
    """A table of what the page cache did."""
    return [
        ("touches", f"{run.touches:,}"),
        ("in ticks", f"{run.ticks:,}"),
        ("hit rate", f"{run.hit_rate:.2%}"),
        ("faults", f"{run.faults:,}"),
        ("misses", f"{run.misses:,}"),
        ("reclaims", f"{run.evictions:,}"),
        ("pages read", f"{run.reads:,}"),
        ("pages written back", f"{run.writes:,}"),
        ("pages of the source", f"{run.pages:,}"),
        ("of those, cached", f"{run.cached:,}"),
    ]


def load_rows(run: Outcome) -> list[Cells]:
    """A table of who wanted what, and had to wait for it."""
    head = ("", "got", "", "waited", "ticks each", "longest", "refused")
    return [head, *(_load(load) for load in run.loads)]


def _load(load: Load) -> Cells:
    each = load.waited // load.waits if load.waits else 0
    refused = ", ".join(f"{count:,} {name}" for name, count in sorted(load.refused.items()))
    return (
        load.name,
        f"{load.got:,}",
        KINDS[load.kind],
        f"{load.waits:,}",
        f"{each:,}",
        f"{load.longest:,}",
        refused or "-",
    )


def memory_rows(run: Outcome) -> list[Cells]:
    """A table of memory at the end."""
    rows: list[Cells] = [(f"{name} frames", f"{count:,}") for name, count in run.frames.items() if count]
    rows.append(("pages moved out of the way", f"{run.moved:,}"))
    rows.append(("windows opened", f"{run.windows:,}"))
    rows.append(("free memory in no 2 MiB block", f"{run.fragmentation:.1%}"))
    rows.append(("frames promised to the bank", f"{run.promised:,}"))
    rows.append(("frames it could have", f"{run.available:,}"))
    return rows


def verdict(run: Outcome) -> str:
    """The last line."""
    said = f"{several(run.touches, 'touch', 'touches')} in {run.touch_seconds:.1f} s"
    if run.held:
        short = f"; the bank is short of {several(run.broken_by, 'frame')}" if run.broken_by else ""
        if run.clipped:
            short += f"; {size(run.clipped)} of RAM {CLIPPED}"
        return f"{said}: every page is as it was written, no frame is lost, {run.assertions:,} invariants held{short}."
    wrong = [
        (run.failure, f"check: {run.failure}"),
        (run.wrong, f"{several(run.wrong, 'read')} found what was not last written"),
        (run.bad_pages, f"{several(run.bad_pages, 'page')} of the source wrong at the end"),
        (run.lost, f"{several(run.lost, 'frame')} lost"),
    ]
    return f"{said}: BROKEN: {'; '.join(text for count, text in wrong if count)}"
