"""The comparison of strategies as a picture: machines covered against device frames reserved, a line for each strategy.

A plot for each card, one above the other, all with the same axes. It is drawn 860 pixels wide, which is how wide
repositories show a picture, and its smallest letters are 12 pixels high there. Lines differ by dashes and colours, and
their names stand at their ends.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import size
from kernmalloc.plan.compare import Summary
from kernmalloc.plan.coverage import Coverage
from kernmalloc.plan.least import MOST
from kernmalloc.report.units import several

WIDTH, PLOT = 8.6, 2.3  # inches, of 100 pixels
LEAST = 1 << 10  # device frames: where the axis begins
FOUR = 4  # from one number on the axis to the next
SMALL = 9  # points: 12.5 pixels
DEFAULT = 1 << 18  # device frames that a profile reserves which says nothing
STYLES: dict[str, tuple[str, Any, float]] = {
    "static": ("#555555", (0, (1, 1)), 1.6),
    "demand": ("#000000", (0, (1, 3)), 2.2),
    "reserve": ("#b2182b", "solid", 2.4),
    "hybrid": ("#2166ac", (0, (6, 2)), 1.8),
    "release": ("#1b7837", (0, (6, 2, 1, 2)), 1.8),
    "reserve+release": ("#9970ab", (0, (10, 3)), 1.8),
}
"""Of each strategy the colour, the dashes and the breadth of its line."""


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


def draw(curves: Sequence[Coverage], found: Sequence[Summary], kernel: str, page: int, file: str) -> None:
    """Draw the curves of kernels with frames of `page` bytes; of `found`, the summaries of the same machines, it tells
    how many promises were broken. Raises as `can_draw`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cards = [
        card for card in dict.fromkeys(c.card for c in curves) if any(c.machines for c in curves if c.card == card)
    ]
    style = {"svg.hashsalt": "kernmalloc", "svg.fonttype": "none", "font.size": SMALL}
    with matplotlib.rc_context(style):
        figure, plots = pyplot.subplots(
            len(cards), 1, figsize=(WIDTH, PLOT * len(cards) + 1.5), sharex=True, squeeze=False, layout="constrained"
        )
        end = _end(curves)
        for (plot,), card in zip(plots, cards, strict=True):
            _plot(plot, [c for c in curves if c.card == card], card, end)
        _axis(plots[-1][0], end, page)
        figure.suptitle(
            f"{kernel}: of {several(curves[0].machines, 'machine')}, those whose devices all have all entries",
            fontsize=12, fontweight="bold", x=0.01, ha="left",
        )  # fmt: skip
        figure.supxlabel("\n".join(_notes(found)), fontsize=SMALL, x=0.01, ha="left")
        figure.savefig(file, dpi=100, metadata={"Date": None} if file.endswith(".svg") else None)
        pyplot.close(figure)


def _end(curves: Sequence[Coverage]) -> int:
    """Where the axis ends: behind the last step of any curve."""
    last = max(first for curve in curves for first, _ in curve.steps)
    end = DEFAULT * FOUR
    while end < min(last, MOST):
        end *= FOUR
    return min(end, MOST)


def _plot(plot: Any, curves: Sequence[Coverage], card: str, end: int) -> None:
    """One plot: a line for each strategy, its name at the end."""
    total = curves[0].machines
    plot.set_title(f"With a card of {card} added" if card else "As they are", loc="left", fontsize=10)
    plot.set_xscale("log", base=2)
    plot.set_xlim(LEAST, end)
    plot.set_ylim(-0.03 * total, 1.05 * total)
    quarters = [total * quarter / 4 for quarter in range(5)]
    plot.set_yticks(quarters, [f"{quarter:.0f} ({quarter / total:.0%})" for quarter in quarters])
    plot.grid(alpha=0.3)
    plot.spines[["top", "right"]].set_visible(False)
    plot.axvline(DEFAULT, color="#888888", linewidth=0.8)
    ends = []
    for curve in curves:
        colour, dashes, breadth = STYLES[curve.strategy]
        before = list(takewhile(lambda step: step[0] <= end, curve.steps))
        frames = [max(first, LEAST) for first, _ in before] + [end]
        covered = [count for _, count in before] + [before[-1][1]]
        plot.plot(
            frames, covered, drawstyle="steps-post", color=colour, linestyle=dashes, linewidth=breadth,
            solid_capstyle="butt", dash_capstyle="butt",
        )  # fmt: skip
        ends.append((covered[-1] / total, curve.strategy))
    for at, covered_at, strategy in _apart(ends):
        _name(plot, at, covered_at, strategy, total)


def _apart(ends: Sequence[tuple[float, str]]) -> Iterator[tuple[float, float, str]]:
    """Where the names of lines stand, which end at shares of the height: near it, no two on top of each other."""
    step = 0.165
    places: list[tuple[float, float, str]] = []
    for share, strategy in sorted(ends, reverse=True):
        places.append((min(share, places[-1][0] - step) if places else share, share, strategy))
    lift = max(0.0, -places[-1][0])  # none stands below the axis
    for number, (at, share, strategy) in enumerate(places):
        yield max(at, lift and step * (len(places) - 1 - number)), share, strategy


def _name(plot: Any, at: float, end: float, strategy: str, total: int) -> None:
    """A name beside the plot at a share of its height, with a piece of its line, which leads to where the line ends."""
    colour, dashes, breadth = STYLES[strategy]
    across = plot.get_yaxis_transform()
    style = {"color": colour, "transform": across, "clip_on": False}
    plot.plot([1.0, 1.015], [end * total, at * total], linewidth=0.7, **style)
    plot.plot([1.015, 1.07], [at * total] * 2, linestyle=dashes, linewidth=breadth, **style)
    plot.text(1.08, at * total, strategy, color=colour, transform=across, va="center")


def _axis(plot: Any, end: int, page: int) -> None:
    """The numbers under the lowest plot: device frames, and the device memory that they are."""
    ticks = []
    tick = LEAST
    while tick <= end:
        ticks.append(tick)
        tick *= FOUR
    plot.set_xticks(ticks, [f"{_short(tick)}\n{size(tick * page)}" for tick in ticks])
    plot.minorticks_off()
    plot.set_xlabel("device frames whose entries are set aside at boot, and the device memory that these are")


def _short(frames: int) -> str:
    """ "64 Ki", "1 Mi" frames."""
    return size(frames).removesuffix("B").strip()


def _notes(found: Sequence[Summary]) -> Iterator[str]:
    """What the lines do not say."""
    broken = next(s for s in found if s.strategy == "demand" and not s.card)
    yield (
        f"demand sets nothing aside: it takes frames that were promised to programs, on {broken.broken} of "
        f"{several(broken.machines, 'machine')} as they are."
    )
    yield "A line falls where a machine cannot pay for so much; the grey mark is what a profile reserves by default."
    yield "Where a line ends below the top, something else is lacking: records of ranges, RAM in one piece."
