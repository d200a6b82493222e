"""A function in which calls are answered does what it would do if they answered so."""

from __future__ import annotations

import ast
from linecache import getlines
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.kernel.core.kern import Word
from kernmalloc.lang import failed, fold, functions, kernel, layout  # noqa: F401 (what is made names it)
from kernmalloc.lang.functions import callees
from kernmalloc.lang.layout import Layout
from kernmalloc.lang.records import DeclarationError
from kernmalloc.lang.source import code, define, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("a", "b", "c")


@kernel
def here(a: int) -> int:
    """Answered by 1."""
    return a - a


@kernel
def none(a: int) -> int:
    """Answered by 0."""
    return a


@kernel
def lost(a: int) -> int:
    """Answered by a status."""
    return a


@kernel
def same(a: int, b: int) -> int:
    """Answered by its second argument."""
    return a + b


@kernel
def asked(a: int) -> int:
    """Nobody answers it, and it changes memory."""
    Word(a).bits = a
    return 3 * a + 1


@kernel
def asked_before(a: int) -> int:
    """Nobody answers it, and it only reckons."""
    return a + none(a)


ANSWERS = {f"{__name__}.{name}": value for name, value in (("here", 1), ("none", 0), ("lost", -3), ("same", "b"))}


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LAYOUT", Layout(answers=ANSWERS))


def texts(*parts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(parts)


PURE = texts(
    "a",
    "b",
    "c",
    "0",
    "1",
    "7",
    "here(a)",
    "none(b)",
    "lost(c)",
    "same(a, b)",
    "same(c, none(1))",
    "(a + 1)",
    "none(here(a))",
)
VALUES = st.recursive(
    PURE,
    lambda inner: st.one_of(
        st.tuples(inner, texts("+", "-", "&", "|", "^"), inner).map(lambda it: f"({' '.join(it)})"),
        inner.map("asked({})".format),
        inner.map("failed({})".format),
        st.tuples(inner, inner, inner).map(lambda it: f"({it[0]} if {it[1]} > 2 else {it[2]})"),
    ),
    max_leaves=5,
)
TESTS = st.recursive(
    st.tuples(VALUES, texts("<", "<=", "==", "!=", ">=", ">"), VALUES).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, texts("and", "or"), inner).map(lambda it: f"({' '.join(it)})"), inner.map("not ({})".format)
    ),
    max_leaves=3,
)


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


BLOCKS = st.recursive(
    st.one_of(
        st.tuples(texts(*NAMES), VALUES).map(lambda it: [f"{it[0]} = {it[1]}"]),
        st.tuples(texts(*NAMES), VALUES).map(lambda it: [f"{it[0]} += {it[1]}"]),
        VALUES.map(lambda value: [f"asked({value})"]),
        VALUES.map(lambda value: [f"return {value}"]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda it: it[0] + it[1]),
        st.tuples(TESTS, inner).map(lambda it: [f"if {it[0]}:", *indented(it[1])]),
        st.tuples(TESTS, inner, inner).map(
            lambda it: [f"if {it[0]}:", *indented(it[1]), "else:", *indented(it[2])],
        ),
        st.tuples(texts("0", "2", "none(a)"), inner).map(lambda it: [f"for i in range({it[0]}):", *indented(it[1])]),
        st.tuples(TESTS, inner).map(lambda it: [f"while {it[0]}:", *indented(it[1]), "    break"]),
    ),
    max_leaves=8,
)


def made(lines: list[str]) -> functions.Function:
    text = "\n".join(["def made(a: int, b: int, c: int) -> int:", *indented([*lines, "return a + 2 * b + 4 * c"]), ""])
    return define("made", text, "<made by the test>", {**globals()})


def executed(definition: ast.FunctionDef, space: dict[str, object]) -> functions.Function:
    exec(compile(ast.fix_missing_locations(ast.Module([definition], [])), "<folded>", "exec"), space)
    run = space["made"]
    assert callable(run)
    return run


@given(lines=BLOCKS, numbers=st.tuples(*[st.integers(-5, 5)] * 3))
def test_what_is_left_does_the_same(lines: list[str], numbers: tuple[int, int, int]) -> None:
    function = made(lines)
    called: list[int] = []

    def noted(a: int) -> int:
        called.append(a)
        return 3 * a + 1

    as_answered = {"here": lambda a: 1, "none": lambda a: 0, "lost": lambda a: -3, "same": lambda a, b: b}
    as_it_stands = {**globals(), **as_answered, "asked": noted}
    original = define("made", "\n".join(["def made(a, b, c):", *source_body(function)]), "<original>", as_it_stands)
    wanted, calls = original(*numbers), list(called)
    called.clear()
    assert executed(tree(function), {**globals(), "asked": noted})(*numbers) == wanted
    assert called == calls


def source_body(function: functions.Function) -> Iterator[str]:
    return (line.rstrip("\n") for line in getlines(function.__code__.co_filename)[1:])


def test_what_is_decided_is_gone() -> None:
    function = made(
        [
            "if none(a) != 0 or failed(lost(b)):",
            "    a = asked(b)",
            "else:",
            "    c = same(a, b)",
            "for i in range(none(a)):",
            "    asked(i)",
            "b = here(a)",
        ]
    )
    assert ast.unparse(tree(function)).splitlines()[1:3] == ["    a = asked(b)", "    b = 1"]
    assert callees(function) == (asked,)
    assert "none" not in code(function).co_names


def test_what_an_answered_call_is_given_is_pure() -> None:
    with pytest.raises(DeclarationError, match=r"`none\(asked\(a\)\)` is answered: assign what it is given"):
        tree(made(["return none(asked(a))"]))


def test_what_only_reckons_is_dropped() -> None:
    function = made(["if none(here(a)) == same(a, none(asked_before(b))):", "    a = a"])
    assert len(tree(function).body) == 1


def test_nothing_is_changed_where_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LAYOUT", Layout())
    function = made(["if none(a) == 1:", "    a = here(a)"])
    assert ast.unparse(tree(function)).splitlines()[1] == "    if none(a) == 1:"
    assert callees(function) == (none, here) and code(function) is function.__code__


def test_every_comparison_is_known() -> None:
    for sign, wanted in (("<", 1), ("<=", 1), ("==", 0), ("!=", 1), (">=", 0), (">", 0)):
        node = ast.parse(f"1 {sign} 2", mode="eval").body
        assert ast.unparse(fold._Fold(asked).visit(node)) == str(wanted)
