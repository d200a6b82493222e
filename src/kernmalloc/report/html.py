"""Fragments of HTML for notebooks: tables, a bar, what unfolds.

A notebook has its own fonts and colours, dark or light, and many viewers take styles and all scripts away. So there is
no script and no colour but the text's own: what a bar's parts are is told by hatching, and in a table beside it. Every
text is escaped, for names come from other people's files, and so is what a terminal would obey (`printable`).
"""

from collections.abc import Iterable, Sequence
from html import escape

from kernmalloc.inputs.sizes import size
from kernmalloc.report.printable import printable
from kernmalloc.report.text import Cells
from kernmalloc.report.units import several

MOST = 60  # rows of a table that are shown
LINE = "1px solid currentColor"
TABLE = "border-collapse:collapse;margin:.3em 0;color:inherit"
HATCHINGS = (
    "none",
    "linear-gradient(currentColor,currentColor)",
    "repeating-linear-gradient(45deg,currentColor 0 1px,transparent 1px 5px)",
    "repeating-linear-gradient(0deg,currentColor 0 1px,transparent 1px 4px)",
    "repeating-linear-gradient(90deg,currentColor 0 1px,transparent 1px 4px)",
    "repeating-linear-gradient(135deg,currentColor 0 2px,transparent 2px 5px)",
    "repeating-linear-gradient(90deg,currentColor 0 3px,transparent 3px 5px)",
)
"""What tells the parts of a bar, in their order."""


def text(told: str) -> str:
    """A text that a browser shows and does not obey."""
    return escape(printable(told))


def paragraph(lines: Iterable[str]) -> str:
    """Lines as one paragraph each; nothing if there are none."""
    return "".join(f'<p style="margin:.3em 0">{text(line.strip())}</p>' for line in lines if line.strip())


def table(rows: Sequence[Cells], notes: bool = False, head: bool = True) -> str:
    """A table, its first column to the left, the others to the right; with `notes` the last to the left, too. `head`:
    the first row says what the columns are. Of very many rows the first are shown, and how many there are."""
    body = rows[1:] if head else rows
    width = max(map(len, rows), default=0)
    left = {0, width - 1} if notes else {0}
    parts = ["<thead>", _row("th", rows[0], left), "</thead>"] if head and rows else []
    parts += ["<tbody>", *(_row("td", row, left) for row in body[:MOST]), "</tbody>"]
    if (more := len(body) - MOST) > 0:
        parts.append(f'<tfoot><tr><td colspan="{width}">and {several(more, "row")} more</td></tr></tfoot>')
    return f'<table style="{TABLE}">{"".join(parts)}</table>' if rows else ""


def _row(tag: str, row: Cells, left: set[int]) -> str:
    line = f";border-bottom:{LINE}" if tag == "th" else ""
    return f"<tr>{''.join(_cell(tag, text(cell), at in left, line) for at, cell in enumerate(row))}</tr>"


def _cell(tag: str, inside: str, left: bool, style: str = "") -> str:
    side = "left;white-space:pre-wrap" if left else "right"  # names may be indented
    return f'<{tag} style="text-align:{side};padding:.1em .8em .1em 0{style}">{inside}</{tag}>'


def bar(counts: dict[str, int], page: int) -> str:
    """Frames of `page` bytes by type: a bar, and a table that says what its parts are. Types without frames have their
    hatching, and no row."""
    total = max(sum(counts.values()), 1)
    named = dict(zip(counts, HATCHINGS, strict=False))
    parts, rows = [], []
    for name, count in counts.items():
        if count:
            hatching = f"background-image:{named.get(name, 'none')}"
            parts.append(f'<span style="flex:{count / total:.6f} 0 3px;border-right:{LINE};{hatching}"></span>')
            swatch = f'<span style="display:inline-block;width:1em;height:.8em;border:{LINE};{hatching}"></span>'
            share = f"{count / total:.1%}" if count >= total / 1000 else "under 0.1%"
            cells = (f"{swatch} {text(name)}", f"{count:,}", size(count * page), share)
            rows.append(f"<tr>{''.join(_cell('td', cell, at == 0) for at, cell in enumerate(cells))}</tr>")
    said = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    head = _row("th", ("type", "frames", "size", "share"), {0})
    return (
        f'<div role="img" aria-label="{text(f"frames by type: {said}")}" '
        f'style="display:flex;height:1.2em;max-width:40em;border:{LINE};border-right:0">{"".join(parts)}</div>'
        f'<table style="{TABLE}"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def folded(title: str, inside: str) -> str:
    """What unfolds under its title; nothing if it is empty."""
    return f"<details><summary>{text(title)}</summary>{inside}</details>" if inside else ""


def whole(title: str, *parts: str) -> str:
    """A fragment: its title, and what stands under it."""
    return f'<div class="kernmalloc"><p style="margin:.3em 0"><strong>{text(title)}</strong></p>{"".join(parts)}</div>'
