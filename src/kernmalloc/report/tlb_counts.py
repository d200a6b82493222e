"""What TLBs counted, as text: a structure a row."""

from collections.abc import Iterator

from kernmalloc.facade.tlb import TlbCounts
from kernmalloc.machine.arch.processors import PROCESSORS
from kernmalloc.report.text import Cells, columns, fitted, section
from kernmalloc.report.units import several

HEAD = ("", "accesses", "misses", "walks", "misses per 1,000 operations", "entries held")


def counted(counts: TlbCounts | None, when: str) -> Iterator[str]:
    """A section of what was counted in that time; nothing if nothing was."""
    if counts is not None:
        yield from section(f"TLB of {PROCESSORS[counts.processor].title}, {when}", _lines(counts))


def _lines(counts: TlbCounts) -> Iterator[str]:
    rows = [
        _row(name, each.accesses, each.misses, each.walks, counts.operations, f"{each.held:,}")
        for name, each in counts.structures.items()
        if each.accesses
    ]
    held = f"{sum(each.held for each in counts.structures.values()):,}"
    rows.append(_row("together", counts.accesses, counts.misses, counts.walks, counts.operations, held))
    yield from columns([HEAD, *rows])
    processor = PROCESSORS[counts.processor]
    second = f"{processor.second_cycles} a miss that level 2 has, " if processor.second_cycles else ""
    yield from fitted(
        f"{several(counts.operations, 'operation')}; misses of level 1 cost {counts.cycles:,} cycles: {second}"
        f"{processor.walk_cycles} a walk ({processor.cost})"
    )


def _row(name: str, accesses: int, misses: int, walks: int, operations: int, held: str) -> Cells:
    each = f"{1000 * misses / operations:,.1f}" if operations else "-"
    return (name, f"{accesses:,}", f"{misses:,}", f"{walks:,}", each, held)
