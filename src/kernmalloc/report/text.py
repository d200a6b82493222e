"""Text that fits the terminal: sections, lines, paragraphs, and tables, which rich lays out.

A terminal has a width, and what this module makes is no wider.  What goes to a file or a pipe has none: a row or a fact
is one line, however long, and nothing is folded.

A table that is too wide is divided: each part has as many columns as fit, and the first column again.  Names and notes
are folded before that, numbers only where one takes half of the terminal.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from shutil import get_terminal_size
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from kernmalloc.report.printable import printable

INDENT = 2  # columns by which a section's lines are indented
GAP = 2  # columns between those of a table
PAGE = 118  # columns of a paragraph, on a wider terminal and where there is none
ENDLESS = 1 << 16  # columns where there is no terminal
LEAST = 20  # columns to which names and notes may be folded before a table is divided

Cells = tuple[str, ...]  # of a row


def width() -> int:
    """Columns of a line in a section."""
    return get_terminal_size().columns - INDENT if sys.stdout.isatty() else ENDLESS


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A title and, indented under it, lines."""
    yield ""
    yield title
    for line in lines:
        yield f"{'':{INDENT}}{line}" if line else ""


def fitted(text: str, margin: int = INDENT) -> Iterator[str]:
    """One line; what is too long for the terminal goes on below, indented by `margin`."""
    return _wrapped(text, width(), margin)


def paragraph(text: str, margin: int = 0) -> Iterator[str]:
    """Lines for people to read, on a terminal or not; those after the first are indented by `margin`."""
    return _wrapped(text, min(PAGE, width()), margin)


def columns(rows: Sequence[Cells], notes: bool = False) -> Iterator[str]:
    """A table: the first column to the left, the others to the right; with `notes` the last to the left, too."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    left = {0, len(widths) - 1} if notes else {0}
    room = width()
    half = (room - GAP) // 2
    least = [min(each, half, LEAST if at in left else half) for at, each in enumerate(widths)]
    console = Console(file=StringIO(), width=room, color_system=None)
    for part in _parts(least, room):
        if part[1:2] > [1]:
            yield ""
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
        spare = room - sum(least[at] + GAP for at in part) + GAP
        for at in part:
            more = min(spare, widths[at] - least[at])
            spare -= more
            justify: JustifyMethod = "left" if at in left else "right"
            table.add_column(justify=justify, overflow="fold", width=least[at] + more)
        for row in rows:
            table.add_row(*(Text(row[at]) for at in part))
        for line in console.render_lines(table, pad=False):
            yield "".join(segment.text for segment in line).rstrip()


def _parts(least: Sequence[int], room: int) -> Iterator[list[int]]:
    """Columns of each part of a table, by number: as many as fit with the least width of each."""
    part, taken = [0], least[0]
    for at, needed in enumerate(least[1:], 1):
        if len(part) > 1 and taken + GAP + needed > room:
            yield part
            part, taken = [0], least[0]
        part.append(at)
        taken += GAP + needed
    yield part


def _wrapped(text: str, room: int, margin: int) -> Iterator[str]:
    """Lines that break between words."""
    text = printable(text.replace("\n", " "))
    return iter(wrap(text, room, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False))
