"""The order of evaluation: no function depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lang_sample import lists, soft

from kernmalloc.lang import gates
from kernmalloc.lang.effects import CHANGES, PURE, READS, RULE, level

if TYPE_CHECKING:
    from conftest import Define

PRELUDE = """
class Node(Record):
    "One node."
    key: i64 = field("a number")
    next: "Node" = field("a reference")
    here: "Node2" = inline("what lies inside")
class Node2(Record):
    "Inside."
    key: i64 = field("a number")
touch = primitive("km_touch", 1)
@kernel
def change(n: Node) -> int:
    n.key += 1
    return 1
@kernel
def indirectly(n: Node) -> int:
    return change(n)
@kernel
def read(n: Node) -> int:
    return n.key
@kernel
def pure(n: Node) -> Node2:
    return n.here
@kernel
def two(x: int, y: int) -> int:
    return x + y
@kernel
def even(n: Node, x: int) -> int:
    if x == 0:
        return 0
    return odd(n, x - 1)
@kernel
def odd(n: Node, x: int) -> int:
    if x == 0:
        return change(n)
    return even(n, x - 1)
@kernel
def f(n: Node, a: int) -> int:
"""
LINE = PRELUDE.count("\n") + 2

REFUSED = [
    "return change(n) + n.key",
    "return n.key + change(n)",
    "return change(n) - change(n)",
    "return read(n) ^ indirectly(n)",
    "return two(change(n), read(n))",
    "return min(change(n), n.key)",
    "return touch(n.key) + touch(a)",
    "return cas64(n.addr, load_acquire64(n.addr), pause())",
    "n.key += change(n)\nreturn a",
    "n.next.key = change(n)\nreturn a",
    "n.next.key = 1 if a and touch(a) else 2\nreturn a",
    "return 1 if change(n) < n.key else 0",
    "for i in range(change(n), n.key):\n    a = i\nreturn a",
    "return n.key + even(n, a)",
    "return n.key + odd(n, a)",
]


@pytest.mark.parametrize("body", REFUSED)
def test_refused(define: Define, body: str) -> None:
    f = define(PRELUDE + "".join(f"    {text}\n" for text in body.split("\n")))
    with pytest.raises(gates.GateError) as refused:
        gates.check([f])
    assert str(refused.value) == f"{f.__code__.co_filename}:{LINE}: {RULE}"


@pytest.mark.parametrize(
    "body",
    [
        "return read(n) + n.key",
        "return two(n.key, read(n.next))",
        "n.key = change(n)\nreturn a",
        "n.here.key = touch(a)\nreturn a",
        "n.key += read(n.next)\nreturn a",
        "x = change(n)\nreturn x + n.key",
        "a += change(n)\nreturn a",
        "return n.key if change(n) and n.next != 0 else read(n)",
        "return 1 if n.key or touch(a) else 0",
        "return two(a, change(n))",
        "return pure(n).key",
        "return two(pure(n).addr, touch(a))",
    ],
)
def test_accepted(define: Define, body: str) -> None:
    gates.check([define(PRELUDE + "".join(f"    {text}\n" for text in body.split("\n")))])


def test_levels() -> None:
    from lang_sample import arithmetic

    assert [level(function) for function in (arithmetic.a_recurse, lists.listed, lists.length)] == [PURE, READS, READS]
    assert [level(function) for function in (lists.push, lists.wipe, soft.translate)] == [CHANGES, CHANGES, CHANGES]


@pytest.mark.parametrize("first", ["even", "odd"])
def test_functions_that_call_each_other_have_one_level(define: Define, first: str) -> None:
    """It does not depend on which of them is asked for first."""
    function = define(PRELUDE + "    return a\n", first)
    space = function.__globals__
    assert level(function) == level(space["even"]) == level(space["odd"]) == CHANGES
