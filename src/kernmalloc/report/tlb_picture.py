"""The TLB comparison as a picture: an SVG that needs nothing, and is legible without colour.

Two plots with the same axes: misses of the heap, and of all data, against the entries of a TLB, a line for each side.
Under them stand the sides in figures. Lines differ by dashes and by marks, and their names stand at them.
"""

from collections.abc import Iterator, Sequence
from math import log2, log10
from xml.sax.saxutils import escape

from kernmalloc.report.tlb import NAMES, SIDES, cells, processor, scaled, unit_of
from kernmalloc.sim.tlb import FIXED, LARGE, PAGES, Compared, Side

WIDTH, TOP, HEIGHT = 900, 132, 300  # repositories show it 860 pixels wide: letters of 13 are 12 high there
PLOTS = ((66, "heap", "Misses on the heap"), (514, "all", "Misses on all of the kernel's data"))  # x, what, title
BREADTH = 265  # of a plot; the names stand right of it
MOST = 1024  # entries
STYLES = {
    PAGES: ("#b2182b", "", "circle"),
    LARGE: ("#2166ac", "9 4", "square"),
    FIXED: ("#000000", "2 4", "triangle"),
}
"""Of each line its colour, its dashes and its marks."""
TICKS = (0, 0.1, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)
ROW = 24  # height of a line of the table
COLUMNS = (16, 120, 296, 356, 416, 484, 542, 612, 696, 780, 884)  # where those of the table begin, or end


def picture(done: Compared) -> str:
    """The picture, as SVG."""
    sides = [side for side in done.sides if side.load]
    height = TOP + HEIGHT + 130 + ROW * (len(done.sides) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f"<title>{escape(f'TLB misses of {done.kernel} on {done.machine}')}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(16, 32, f"{done.kernel} on {done.machine or done.file}, load {done.load}", size=17, bold=True),
        _text(16, 56, f"{processor(done)}."),
        _text(
            16,
            76,
            f"Curves: misses {unit_of(done)}, of fully associative TLBs that replace the entry used longest ago.",
        ),
        *(part for plot in PLOTS for part in _plot(done, sides, *plot)),
        *_table(done, TOP + HEIGHT + 84),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(
    x: float, y: float, text: str, size: int = 13, bold: bool = False, anchor: str = "start", colour: str = "#111"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#ddd", dashes: str = "") -> str:
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{style}/>'


def _height(value: float) -> float:
    """How high a rate is drawn: the logarithm of ten times as much, and 0 at 0."""
    return log10(1 + 10 * value)


def _plot(done: Compared, sides: Sequence[Side], left: float, what: str, title: str) -> Iterator[str]:
    """One plot with its axes and lines."""
    most = max((scaled(side, point.all) for side in sides for point in side.curve), default=1.0)
    top = next((tick for tick in TICKS if tick >= most), TICKS[-1])
    bottom = TOP + HEIGHT

    def x(entries: float) -> float:
        return left + BREADTH * log2(entries) / log2(MOST)

    def y(value: float) -> float:
        return bottom - HEIGHT * _height(value) / _height(top)

    yield _text(left, TOP - 16, title, bold=True)
    for tick in (tick for tick in TICKS if tick <= top):
        yield _line(left, y(tick), left + BREADTH, y(tick), "#888" if tick == 0 else "#ddd")
        yield _text(left - 8, y(tick) + 4, f"{tick:,}", anchor="end")
    for shift in range(0, 11, 2):
        yield _line(x(1 << shift), bottom, x(1 << shift), bottom + 5, "#888")
        yield _text(x(1 << shift), bottom + 20, f"{1 << shift:,}", anchor="middle")
    yield _text(left + BREADTH / 2, bottom + 40, "entries of the TLB", anchor="middle")
    if done.tlb_entries:
        yield _line(x(done.tlb_entries), TOP, x(done.tlb_entries), bottom, "#555", "1 3")
        yield _text(x(done.tlb_entries) + 5, TOP + 12, f"{done.title}: {done.tlb_entries}", colour="#444")
    names: list[tuple[float, Side]] = []
    for side in sides:
        points = [(x(point.entries), y(scaled(side, getattr(point, what)))) for point in side.curve]
        if points:
            yield from _curve(points, *STYLES[side.mapping])
            names.append((points[-1][1], side))
    for at, side in _apart(names):
        colour, _, mark = STYLES[side.mapping]
        yield _mark(left + BREADTH + 14, at - 4, colour, mark)
        yield _text(left + BREADTH + 24, at, NAMES[side.mapping], colour=colour)


def _curve(points: Sequence[tuple[float, float]], colour: str, dashes: str, mark: str) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{style}/>'
    for x, y in points:
        yield _mark(x, y, colour, mark)


def _mark(x: float, y: float, colour: str, mark: str) -> str:
    if mark == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    if mark == "square":
        corner = f'x="{x - 4:.1f}" y="{y - 4:.1f}"'
        return f'<rect {corner} width="8" height="8" fill="white" stroke="{colour}" stroke-width="2"/>'
    corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}"
    return f'<polygon points="{corners}" fill="{colour}"/>'


def _apart(names: list[tuple[float, Side]]) -> list[tuple[float, Side]]:
    """Where the names of the lines stand: at their ends, no two on top of each other, from the lowest up."""
    placed: list[tuple[float, Side]] = []
    floor = TOP + HEIGHT + 4.0
    for at, side in sorted(names, key=lambda each: -each[0]):
        floor = min(at + 4, floor)
        placed.append((floor, side))
        floor -= 18
    return placed


def _table(done: Compared, top: float) -> Iterator[str]:
    """The sides in figures."""
    counts = f"misses, walks and cycles of the load {unit_of(done)}"
    yield _text(16, top - 24, f"Entries that map the kernel's window; misses during the boot, in all; {counts}")
    yield from _row(SIDES, top, bold=True)
    yield _line(16, top + 7, WIDTH - 16, top + 7, "#888")
    for number, side in enumerate(done.sides, 1):
        y = top + number * ROW
        if side.load:
            yield from _row(cells(side), y)
        else:
            yield from _row((NAMES[side.mapping], side.strategy), y)
            yield _text(COLUMNS[2] - 50, y, side.reason)


def _row(row: Sequence[str], y: float, bold: bool = False) -> Iterator[str]:
    for number, (cell, x) in enumerate(zip(row, COLUMNS, strict=False)):
        yield _text(x, y, cell, bold=bold, anchor="start" if number < 2 else "end")
