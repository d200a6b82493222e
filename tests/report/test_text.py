"""Tables, lines and paragraphs, whatever the width of the terminal."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from rich.cells import cell_len

from kernmalloc.report import text

cells = some.text(some.sampled_from("aB7,.:[]/\\@-() äß漢é✓"), max_size=40).map(lambda cell: " ".join(cell.split()))
tables = some.integers(1, 8).flatmap(lambda n: some.lists(some.tuples(*[cells] * n), min_size=1, max_size=5))


@pytest.fixture
def terminal(monkeypatch):
    """Sets the columns of a line."""
    return lambda columns: monkeypatch.setattr(text, "width", lambda: columns)


def characters(words) -> Counter:
    return Counter("".join(words).replace(" ", ""))


@given(tables, some.booleans(), some.integers(10, 200))
@example([(":smile:", "[bold]x[/]", "[mem 0x1-0x2]")], True, 20)
@example([("first", "9" * 40)], False, 10)
def test_a_table_fits_and_loses_nothing(rows, notes, columns):
    """Every part has the first column again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "width", lambda: columns)
        lines = list(text.columns(rows, notes))
    assert all(cell_len(line) <= columns and line == line.rstrip() for line in lines)
    first, rest = characters(row[0] for row in rows), characters(cell for row in rows for cell in row[1:])
    found = characters(lines)
    found.subtract(rest)
    parts = range(1, len(rows[0]) + 1)
    assert any(+found == Counter({c: n * count for c, count in first.items()}) for n in parts)


@given(tables, some.booleans())
def test_a_row_is_one_line_where_there_is_no_terminal(rows, notes):
    lines = list(text.columns(rows, notes))
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert line.split() == " ".join(row).split()


def test_numbers_are_not_folded_before_a_table_is_divided(terminal):
    rows = [("strategy", "heap", "worst", "idle"), ("static", "5.6 GiB", "473 GiB", "3.1 MiB")]
    terminal(28)
    assert list(text.columns(rows)) == [
        "strategy     heap    worst",
        "static    5.6 GiB  473 GiB",
        "",
        "strategy     idle",
        "static    3.1 MiB",
    ]


def test_notes_are_folded_first(terminal):
    terminal(44)
    rows = [("range", "size", ""), ("d0000000", "64 KiB", "above the limit of a physical address")]
    assert list(text.columns(rows, notes=True)) == [
        "range       size",
        "d0000000  64 KiB  above the limit of a",
        "                  physical address",
    ]  # fmt: skip


def test_lines_and_paragraphs_break_between_words(terminal):
    said = "VA d0000000-ffffffff, single frames from anywhere; " * 3
    assert list(text.fitted(said.strip())) == [said.strip()]
    assert max(map(len, text.paragraph(said))) <= text.PAGE
    terminal(30)
    lines = list(text.fitted(said))
    assert max(map(len, lines)) <= 30 and all(line.startswith("  ") for line in lines[1:])
    assert " ".join(lines).split() == said.split()
    assert list(text.fitted("")) == []
