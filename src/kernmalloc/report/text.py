"""Text in sections and columns."""

from collections.abc import Iterable, Iterator, Sequence


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A title and, indented under it, lines."""
    yield ""
    yield title
    for line in lines:
        yield f"  {line}"


def columns(rows: Sequence[tuple[str, ...]], notes: bool = False) -> Iterator[str]:
    """Rows as aligned columns: the first to the left, the others to the right; `notes`: the last to the left, too."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        cells[0] = row[0].ljust(widths[0])
        if notes:
            cells[-1] = row[-1]
        yield "  ".join(cells).rstrip()
