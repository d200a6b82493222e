"""Fragments of HTML: whatever a text is, it is shown and not obeyed; all that opens closes; no script, no colour."""

from html_reader import EVIL, Reader, shown
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.report.html import MOST, bar, folded, paragraph, table, whole


@given(title=EVIL, lines=st.lists(EVIL, max_size=4), rows=st.lists(st.tuples(EVIL, EVIL, EVIL), max_size=4))
def test_any_text_is_escaped(title, lines, rows):
    read = Reader(whole(title, paragraph(lines), table(rows, notes=True), folded(title, table(rows, head=False))))
    assert ("strong", shown(title)) in read.texts or not title
    assert [text for tag, text in read.texts if tag == "p"] == [shown(line.strip()) for line in lines if line.strip()]
    assert read.rows == [[shown(cell) for cell in row] for row in rows] * 2
    assert shown(title) in read.text


@given(st.dictionaries(EVIL, st.integers(0, 1 << 40), max_size=8))
def test_a_bar_tells_its_parts(counts):
    """In a table beside it, and to whoever does not see it; what has no frames has no part."""
    fragment = bar(counts, 4096)
    read = Reader(fragment)
    parts = {name: count for name, count in counts.items() if count}
    assert [row[:2] for row in read.rows[1:]] == [[f" {shown(name)}", f"{count:,}"] for name, count in parts.items()]
    assert fragment.count("flex:") == len(parts)
    assert read.labels == [shown("frames by type: " + ", ".join(f"{name} {count:,}" for name, count in parts.items()))]


def test_types_are_told_apart_without_colour():
    """By hatching, in the bar and beside it."""
    counts = dict.fromkeys(("free", "heap", "mapping", "page", "dma", "device", "reserved"), 5)
    styles = [part.split('"')[0] for part in bar(counts, 4096).split("background-image:")[1:]]
    assert len(set(styles)) == len(counts) == len(styles) // 2


def test_a_long_table_is_cut_and_says_so():
    read = Reader(table([("a", "b"), *((f"{n}", "x") for n in range(MOST + 2))]))
    assert len(read.rows) == MOST + 2 and read.rows[-1] == ["and 2 rows more"]
    assert Reader(table([("a", "b")] * MOST, head=False)).rows[-1] == ["a", "b"]
    assert table([]) == folded("empty", "") == paragraph([]) == ""
