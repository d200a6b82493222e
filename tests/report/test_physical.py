"""The map of physical memory in characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kernmalloc.facade.physical import Piece
from kernmalloc.report import physical
from kernmalloc.report.physical import HOLE, LINES, MARKS, SHORT, physical_map

PAGE = 4096
lengths = some.one_of(some.integers(1, 20), some.integers(1, 1 << 26))
gaps = some.one_of(some.just(0), some.integers(1, 300), some.integers(1, 1 << 36))
memories = some.lists(some.tuples(gaps, lengths, some.sampled_from([*MARKS])), min_size=1, max_size=60)


def laid(memory):
    at, found = 0, []
    for gap, frames, kind in memory:
        found.append(Piece(at + gap, frames, kind))
        at += gap + frames
    return found


def drawn(pieces, columns=78):
    """(address, characters) of each row, and the legend's lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physical, "width", lambda: columns)
        lines = list(physical_map(pieces, PAGE))
    split = lines.index("")
    rows = [line.split("  ", 1) for line in lines[:split]]
    return [(int(address, 16), characters) for address, characters in rows], lines[split + 1 :]


@given(memories, some.integers(30, 200))
def test_it_fits_begins_rows_in_order_and_explains_its_characters(memory, columns):
    pieces = laid(memory)
    rows, legend = drawn(pieces, columns)
    assert rows[0][0] == pieces[0].pfn * PAGE
    assert [address for address, _ in rows] == sorted(address for address, _ in rows)
    assert all(0 < len(characters) <= physical.BROAD - 10 for _, characters in rows)
    explained = {line.split()[0] for line in legend[:-1] if not line.startswith("   ")}
    assert {*"".join(characters for _, characters in rows)} <= explained
    assert {MARKS[piece.kind][0] for piece in pieces} <= explained


@given(memories)
def test_it_is_small_whatever_the_machine(memory):
    """RAM takes `LINES` rows, if there is not a great deal of pieces; a hole begins a row few times."""
    rows, _ = drawn(laid(memory))
    length = physical.BROAD - 10
    most = max(LINES * length, 2 * len(memory) * max(SHORT, 1))
    assert sum(len(characters) for _, characters in rows) <= most
    assert len(rows) <= most // (length - 8) + 1 + physical.JUMPS


def test_ram_is_to_scale_and_the_rest_is_not():
    pieces = [Piece(0, 1 << 20, "free"), Piece(1 << 20, 1 << 19, "donated"), Piece(1 << 30, 1 << 24, "device")]
    rows, legend = drawn(pieces)
    characters = "".join(characters for _, characters in rows)
    assert characters.count(".") == 2 * characters.count("T") > 100
    assert characters.count("D") == SHORT and characters.count(HOLE) == 1
    assert rows[-1] == (pieces[-1].pfn * PAGE, "D" * SHORT), "behind the hole begins a row"
    assert any(line.startswith(f"{HOLE}") and "4.0 TiB" in line and "1 hole" in line for line in legend), legend


def test_what_is_smaller_than_a_character_is_seen_once():
    pieces = [Piece(0, 1 << 20, "free")]
    for number in range(40):
        pieces += [Piece((1 << 20) + 4 * number, 1, "heap"), Piece((1 << 20) + 4 * number + 2, 1, "mapping")]
    rows, _ = drawn(pieces)
    assert "".join(characters for _, characters in rows).endswith(".Hm")
