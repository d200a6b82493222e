"""Conditions on a plan: a name, a comparison, a number; anything else is one line."""

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machines import MIB, machine

from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.plan.conditions import MEASURES, Condition
from kernmalloc.plan.plan import plan

OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@pytest.fixture(scope="module")
def made():
    return plan(machine((MIB, 64 * MIB)), Profile.load("eros2"))


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(MEASURES)),
    sign=st.sampled_from(sorted(OPERATORS)),
    off=st.integers(-2, 2),
    blank=st.sampled_from(["", " "]),
)
def test_a_condition_holds_as_its_sign_says(made, name, sign, off, blank):
    value = MEASURES[name].of(made)
    other = max(value + off, 0)
    condition = Condition.parse(f"{blank}{name}{blank}{sign}{blank}{other}{blank}")
    assert condition.holds(made) == OPERATORS[sign](value, other)
    assert Condition.parse(str(condition)) == condition


def test_values_have_units():
    assert Condition.parse("heap > 300 MiB").value == 300 << 20
    assert Condition.parse("scale<100%").value == 100
    assert [str(Condition.parse(text)) for text in ("heap>3 GiB ", "scale <  9%")] == ["heap > 3 GiB", "scale < 9%"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "no condition"),
        ("heap", "no condition"),
        ("heap > ", "no condition"),
        ("pony > 1", "no condition"),
        ("heap >> 1", "no condition"),
        ("heap > -1", "not a size"),
        ("heap > many", "not a size"),
        ("heap > 5%", "heap is no share"),
    ],
)
def test_what_is_none_is_one_line(text, reason):
    with pytest.raises(InputError, match=reason) as refused:
        Condition.parse(text)
    assert "\n" not in str(refused.value)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(text):
    try:
        Condition.parse(text)
    except InputError as error:
        assert "\n" not in str(error)


def test_what_a_plan_comes_to_is_what_it_says(made):
    numbers = {name: measure.of(made) for name, measure in MEASURES.items()}
    assert numbers["heap"] == made.top == sum(item.bytes for item in made.items)
    assert numbers["image"] + numbers["area"] + numbers["tables"] < sum(item.bytes for item in made.beside)
    assert numbers["available"] == made.after.available and numbers["frames"] == made.frames
