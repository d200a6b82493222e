"""Strategies compared: a table for each card, and a picture."""

from collections.abc import Iterator

from kernmalloc.inputs.errors import InputError
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


def can_draw(file: str) -> None:
    """Raises InputError where `draw` would fail: no matplotlib, or no such kind of picture."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise InputError(f"--picture {file}", 0, "needs matplotlib", "pip install 'kernmalloc[picture]'") from None
    kinds = FigureCanvasBase.get_supported_filetypes()
    if file.rpartition(".")[2] not in kinds:
        raise InputError(
            f"--picture {file}", 0, "no such kind of picture", f"a file named .{', .'.join(sorted(kinds))}"
        )


def draw(found: list[Summary], kernel: str, file: str) -> None:
    """Bars for each strategy and card: machines configured, ranges lost, heap, TLB entries, broken promises.  Raises as
    `can_draw`."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "kernmalloc"
    from matplotlib import pyplot

    cards = list(dict.fromkeys(summary.card for summary in found))
    names = [summary.strategy for summary in found if summary.card == cards[0]]
    figure, plots = pyplot.subplots(1, 5, figsize=(18, 4.4), sharey=True, constrained_layout=True)
    titles = (
        "machines configured\n(light: after one re-tuning)",
        "ranges not published, two resolutions\n(light: one resolution)",
        "heap, MiB, median\n(light: worst)",
        "TLB entries, median\n(light: worst)",
        "frames the bank lacks,\nworst machine",
    )
    height = 0.8 / len(cards)
    for place, card in enumerate(cards):
        rows = [summary for summary in found if summary.card == card]
        at = [index + place * height for index in range(len(rows))]
        pairs = (
            ([s.configured for s in rows], [s.tuned for s in rows]),
            ([s.lost for s in rows], [s.lost_single for s in rows]),
            ([s.heap_median / 2**20 for s in rows], [s.heap_worst / 2**20 for s in rows]),
            ([s.tlb_median for s in rows], [s.tlb_worst for s in rows]),
            ([s.broken_worst for s in rows], [s.broken_worst for s in rows]),
        )
        colour = f"C{place}"
        for plot, (dark, light) in zip(plots, pairs, strict=True):
            plot.barh(at, light, height, color=colour, alpha=0.35)
            plot.barh(at, dark, height, color=colour, label=f"with a {card} card" if card else "as they are")
    for plot, title in zip(plots, titles, strict=True):
        plot.set_title(title, fontsize=10)
        plot.grid(axis="x", alpha=0.3)
        plot.set_axisbelow(True)
    for plot in plots[2:]:
        plot.set_xscale("symlog", linthresh=100)
    plots[0].set_yticks([index + 0.4 - height / 2 for index in range(len(names))], names)
    plots[0].invert_yaxis()
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(cards), fontsize=9)
    figure.suptitle(f"{kernel}, {found[0].machines} machines")
    figure.savefig(file, metadata={"Date": None} if file.endswith(".svg") else None)
