"""What is printed of a text that somebody else wrote: one line that a terminal shows and does not obey."""

import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernmalloc.report.printable import printable

ANY = st.text(st.characters(categories=None), max_size=40)
OBEYED = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # controls, format (bidirectional) controls, surrogates, line and paragraph ends


@given(ANY, st.sampled_from(["utf-8", "ascii", "latin-1", "cp437"]))
@example("\x1b]0;title\x07", "utf-8")
@example("x\ny: booted", "utf-8")
@example("\u202egnp.exe", "utf-8")
@example("\udcff", "utf-8")
@example("\U0001f4a9", "ascii")
def test_nothing_is_left_that_a_terminal_obeys_or_cannot_show(text, encoding):
    shown = printable(text, encoding)
    assert not OBEYED & {unicodedata.category(character) for character in shown}
    assert shown.encode(encoding) is not None and len(shown.splitlines()) <= 1
    back = re.sub(r"(?:\\u[0-9a-f]{4})+", lambda m: json.loads(f'"{m[0]}"'), shown)
    assert back == re.sub(r"(?:\\u[0-9a-f]{4})+", lambda m: json.loads(f'"{m[0]}"'), text)


@given(st.dictionaries(ANY, ANY, max_size=3), st.sampled_from(["utf-8", "ascii"]))
def test_json_stays_json(value, encoding):
    assert json.loads(printable(json.dumps(value, ensure_ascii=False), encoding)) == value


@pytest.mark.parametrize("text", ["desktop, 16 GiB (X570 board, 2020)", "\u00fcber \u2260 \u6f22\u5b57", "", "a\\b"])
def test_what_can_be_shown_is_left_alone(text):
    assert printable(text) == text
