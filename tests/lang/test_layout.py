"""A layout is what an interpreter is started with: parameters, the width of references, the fields of records."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from kernmalloc.lang import cache, layout
from kernmalloc.lang.layout import VARIABLE, Layout, answer, parameter

if TYPE_CHECKING:
    import pytest

SAMPLE = """
from __future__ import annotations
from kernmalloc.lang import Record, array, field, i64, parameter, u8, u32, usize

DEPTH = parameter("DEPTH", 4)
class Spot(Record, size=64):
    "A record whose fields are named."
    next: Spot = field("the next one")
    count: usize = field("how many")
    gone: i64 = field("left out")
    bits: u32 = field("some")
    invariants = ("count > 0", "gone == 0", "bits == spot.gone", "bits == other.gone")
    constants = ("gone", "count + gone", "next")
class Other(Record):
    "One that has all its fields."
    spots: Spot = array(DEPTH, "in a row")
    gone: u8 = field("not that one")
    invariants = ("spot.count > 0", "spot.gone > 0", "gone > 0")
print([(name, each.offset) for name, each in Spot.fields.items()], Spot.size, Spot.invariants, Spot.constants)
print(Other.size, Other.invariants, Spot.offset("gone"), Spot.offset("bits"), str(Spot.dtype))
"""


def under(chosen: Layout) -> list[str]:
    """What the sample prints under a layout."""
    env = {**os.environ, VARIABLE: chosen.text()}
    done = subprocess.run([sys.executable, "-c", SAMPLE], env=env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_usual_layout_is_that_of_the_declarations() -> None:
    spot, other = under(Layout())
    assert spot.startswith("[('next', 0), ('count', 8), ('gone', 16), ('bits', 24)] 64 ('count > 0', 'gone == 0'")
    assert other.startswith("264 ('spot.count > 0', 'spot.gone > 0', 'gone > 0') 16 24 ")


def test_a_layout_chooses_parameters_references_and_fields() -> None:
    spot, other = under(Layout(4, {"DEPTH": 2}, fields={"Spot": ("next", "count", "bits")}))
    assert spot == (
        "[('next', 0), ('count', 4), ('bits', 8)] 12 ('count > 0', 'bits == other.gone') ('count', 'next')"
    ), spot
    assert other.startswith("28 ('spot.count > 0', 'gone > 0') -1 8 ") and "<u4" in other and "<i8" not in other


def test_the_text_of_a_layout_is_read_again() -> None:
    chosen = Layout(4, {"DEPTH": 2}, {"a.b": "c", "d.e": -1}, ("a.b",), {"Spot": ("count",)})
    assert layout.read(chosen.text()) == chosen and layout.read("") == Layout()


def test_what_is_not_chosen_is_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parameter("DEPTH", 4) == 4 and answer(under) is None
    monkeypatch.setattr(layout, "LAYOUT", Layout(parameters={"DEPTH": 2}, answers={f"{__name__}.under": 7}))
    assert parameter("DEPTH", 4) == 2 and parameter("OTHER", 5) == 5 and answer(under) == 7


def test_objects_of_other_layouts_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = cache.digest.__wrapped__()
    monkeypatch.setattr(layout, "LAYOUT", Layout(reference=4))
    assert cache.digest.__wrapped__() != usual
