"""Strategies compared: a table for each card."""

from collections.abc import Iterator

from kernmalloc.inputs.sizes import size
from kernmalloc.plan.compare import Summary
from kernmalloc.report.text import Cells, columns, fitted, paragraph, section
from kernmalloc.report.units import several

HEAD = (
    "strategy",
    "refused",
    "configured",
    "tuned",
    "published",
    "lost",
    "lost, one",
    "heap",
    "worst",
    "idle",
    "worst",
    "TLB",
    "worst",
    "broken",
    "by frames",
    "given back",
    "withheld",
)
MEANING = """\
refused: machines that cannot hold the kernel. configured: machines whose every range has all its entries; tuned: these,
and those that are after one re-tuning and one more boot; published: machines whose every range is published, if only by
its extent. lost: ranges that are not published; lost, one: those that are not where there is one resolution. idle: what
the heap reserves that serves nothing once all is published. broken: machines on which the bank lacks frames of its
promise, by frames: on the worst. withheld: free frames that are not promised. Medians, where nothing is said, over
machines that are planned."""


def tables(found: list[Summary]) -> Iterator[str]:
    """A table for each card, a line for each strategy."""
    for card in dict.fromkeys(summary.card for summary in found):
        rows = [row(summary) for summary in found if summary.card == card]
        ruled = max(summary.ruled_out for summary in found if summary.card == card)
        yield from section(f"With a card of {card} added" if card else "As they are", _table(rows, ruled))
    if clipped := max(found, key=lambda summary: summary.clipped).clipped:
        worst = size(max(summary.clipped_worst for summary in found))
        yield ""
        yield from fitted(
            f"CLIPPED by the kernel's address limit: RAM of {several(clipped, 'machine')}, at most {worst} of one."
        )
    if unplaced := max(summary.unplaced for summary in found):
        yield ""
        yield from fitted(
            f"{several(unplaced, 'machine')} with windows that firmware gave no place: they count for no strategy."
        )
    yield ""
    yield from paragraph(MEANING)


def _table(rows: list[Cells], ruled: int) -> Iterator[str]:
    yield from columns([HEAD, *rows])
    yield from fitted(
        f"Ranges ruled out by the memory map or the address limit, on {ruled} machines, count for no strategy."
    )


def row(s: Summary) -> Cells:
    """One strategy."""
    return (
        s.strategy,
        f"{s.refused}",
        f"{s.configured}",
        f"{s.tuned}",
        f"{s.published}",
        f"{s.lost:,}",
        f"{s.lost_single:,}",
        size(int(s.heap_median)),
        size(s.heap_worst),
        size(int(s.idle_median)),
        size(s.idle_worst),
        f"{s.tlb_median:,.0f}",
        f"{s.tlb_worst:,}",
        f"{s.broken}",
        f"{s.broken_worst:,}",
        size(int(s.released_median)),
        f"{s.withheld_median:,.0f}",
    )
