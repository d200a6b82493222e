"""Numbers and references: what is which, and what is refused with file, line and remedy."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from lang_sample import lists
from lang_sample.records import Cpu, Kern, Node, Tally, Word

from kernmalloc.lang import element, gates
from kernmalloc.lang.typed import typed

if TYPE_CHECKING:
    from conftest import Define

PRELUDE = """
class Other(Record):
    "Of another kind."
    key: i64 = field("a number")
class Node(Record):
    "One node."
    key: i64 = field("a number")
    next: "Node" = field("a reference")
    other: Other = field("a reference to another kind")
    here: Other = inline("what lies inside")
touch = primitive("km_touch", 1)
@kernel
def give(n: Node, x: int) -> Node:
    return n.next
@kernel
def take(o: Other) -> int:
    return o.key
@kernel
def f(a: int, b: int, n: Node, o: Other) -> int:
"""
LINE = PRELUDE.count("\n") + 2  # of the first statement

NO_NUMBER = "is a reference to a Node, no number: compare it with 0, go on with element(), or use its .addr"

# (body of f, line of the offence counted from the body, the whole message)
OFFENCES = {
    "sum": ("return n + 8", 0, f"`n` {NO_NUMBER}"),
    "difference": ("return a - n", 0, f"`n` {NO_NUMBER}"),
    "sign": ("return -n", 0, f"`n` {NO_NUMBER}"),
    "bits": ("return ~n.next", 0, f"`n.next` {NO_NUMBER}"),
    "augmented": ("n += 1\nreturn a", 0, f"`n` {NO_NUMBER}"),
    "field augmented": ("n.next += 1\nreturn a", 0, f"`n.next` {NO_NUMBER}"),
    "augmented by one": ("a += n\nreturn a", 0, f"`n` {NO_NUMBER}"),
    "if": ("if n:\n    return a\nreturn b", 0, f"`n` {NO_NUMBER}"),
    "while": ("while n.next:\n    a += 1\nreturn a", 0, f"`n.next` {NO_NUMBER}"),
    "not": ("return 1 if not n else 2", 0, f"`n` {NO_NUMBER}"),
    "and": ("if a and n:\n    return 1\nreturn 2", 0, f"`n` {NO_NUMBER}"),
    "conditional expression": ("return a if n else b", 0, f"`n` {NO_NUMBER}"),
    "range": ("for i in range(n):\n    a = i\nreturn a", 0, f"`n` {NO_NUMBER}"),
    "intrinsic": ("return ctz(n)", 0, f"`n` {NO_NUMBER}"),
    "failed": ("return failed(give(n, 1))", 0, f"`give(n, 1)` {NO_NUMBER}"),
    "atomic": ("return cas64(n, a, b)", 0, f"`n` {NO_NUMBER}"),
    "primitive": ("return touch(n)", 0, f"`n` {NO_NUMBER}"),
    "least of two": ("return min(a, n)", 0, f"`n` {NO_NUMBER}"),
    "reference of a reference": ("return Node(n).key", 0, f"`n` {NO_NUMBER}"),
    "index": ("return element(n, n).key", 0, f"`n` {NO_NUMBER}"),
    "element of a number": (
        "return element(a, b)",
        0,
        "element() counts from a reference, and `a` is a number: make one of it",
    ),
    "order": ("return 1 if n < n.next else 0", 0, "references have no order: compare their .addr"),
    "order of null": ("return 1 if n > 0 else 0", 0, "references have no order: compare their .addr"),
    "chained order": ("return 1 if a < b <= n else 0", 0, "references have no order: compare their .addr"),
    "two kinds compared": (
        "return 1 if n == o else 0",
        0,
        "`n == o` compares a reference to a Node with a reference to a Other: compare their .addr",
    ),
    "compared with a number": (
        "return 1 if n.next != a else 0",
        0,
        "`n.next != a` compares a reference to a Node with a number: compare their .addr",
    ),
    "reference argument for a number": (
        "give(n, o)\nreturn a",
        0,
        "x of give is a number, and `o` is a reference to a Other: use its .addr",
    ),
    "number argument for a reference": (
        "return take(a)",
        0,
        "o of take is a reference to a Other, and `a` is a number: make a reference of a number, Other(...)",
    ),
    "argument of another kind": (
        "b = 1\nreturn take(n.next)",
        1,
        "o of take is a reference to a Other, and `n.next` is a reference to a Node: "
        "make a reference of a number, Other(...)",
    ),
    "reference as the result": (
        "return n",
        0,
        "the result is a number, and `n` is a reference to a Node: use its .addr",
    ),
    "null is a reference": (
        "n.next = 0\nreturn a",
        0,
        "next is a reference to a Node, and `0` is a number: make a reference of a number, Node(...)",
    ),
    "field of another kind": (
        "n.next = o\nreturn a",
        0,
        "next is a reference to a Node, and `o` is a reference to a Other: make a reference of a number, Node(...)",
    ),
    "reference in a number": (
        "n.key = n\nreturn a",
        0,
        "key is a number, and `n` is a reference to a Node: use its .addr",
    ),
    "inline field assigned": ("n.here = o\nreturn a", 0, "here lies inside its record: assign its fields"),
    "local that becomes a number": (
        "c = n\nc = a\nreturn a",
        1,
        "c is a reference to a Node, and is assigned a number: use another name",
    ),
    "local that becomes a reference": (
        "c = 0\nwhile a:\n    c = n\n    a = 0\nreturn b",
        2,
        "c is a number, and is assigned a reference to a Node: use another name",
    ),
    "local of another kind": (
        "c = n\nif a:\n    c = n.other\nreturn c.key",
        2,
        "c is a reference to a Node, and is assigned a reference to a Other: use another name",
    ),
    "argument that changes its kind": (
        "n = a\nreturn b",
        0,
        "n is a reference to a Node, and is assigned a number: use another name",
    ),
    "loop variable": (
        "for n in range(a):\n    b = 1\nreturn b",
        0,
        "n is a reference to a Node, and is assigned a number: use another name",
    ),
    "two kinds from one expression": (
        "c = n if a else o\nreturn c.key",
        0,
        "`n` is a reference to a Node, and `o` is a reference to a Other: make a reference of a number, Node(...)",
    ),
    "unknown field": ("return n.nowhere", 0, "record Node has no field nowhere: it has key, next, other, here"),
    "unknown field stored": (
        "n.nowhere = b\nreturn a",
        0,
        "record Node has no field nowhere: it has key, next, other, here",
    ),
    "unknown field followed": (
        "return n.next.other.next",
        0,
        "record Other has no field next: it has key",
    ),
    "field of a number": (
        "return a.key",
        0,
        "`a` is a number and has no fields: make a reference of it first, Record(a)",
    ),
    "field of a field that is a number": (
        "return n.key.next",
        0,
        "`n.key` is a number and has no fields: make a reference of it first, Record(n.key)",
    ),
    "address of a number": (
        "return a.addr",
        0,
        "`a` is a number and has no fields: make a reference of it first, Record(a)",
    ),
    "sign of a truth value": (
        "return -(a < b)",
        0,
        "a truth value has no sign and no bits: add 0 to it first, or use `not`",
    ),
    "bits of a truth value": (
        "return ~(not a)",
        0,
        "a truth value has no sign and no bits: add 0 to it first, or use `not`",
    ),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_refused(define: Define, offence: str) -> None:
    body, line, message = OFFENCES[offence]
    f = define(PRELUDE + "".join(f"    {text}\n" for text in body.split("\n")))
    with pytest.raises(gates.GateError) as refused:
        gates.check([f])
    assert f"{f.__code__.co_filename}:{LINE + line}: {message}" in str(refused.value).splitlines()


def test_results_are_of_their_kind(define: Define) -> None:
    for result, words in (("n", "a reference to a Node"), ("0", "a number")):
        made = f"@kernel\ndef g(n: Node, o: Other) -> Other:\n    return {result}\n"
        g = define(PRELUDE + "    return a\n" + made, "g")
        with pytest.raises(gates.GateError) as refused:
            gates.check([g])
        message = (
            f"the result is a reference to a Other, and `{result}` is {words}: make a reference of a number, Other(...)"
        )
        assert str(refused.value) == f"{g.__code__.co_filename}:{LINE + 3}: {message}"


def test_what_references_are_for_passes(define: Define) -> None:
    body = """
n.key = element(n.next, b).next.next.key
m = Node(a)
m = give(m, n.addr)
if m != 0 and m == n.next and n.other != o and 0 != o:
    m.next = Node(0)
    m.other = n.here if a else o
    n.here.key += take(n.here)
k = m.next.addr + a
while m != 0:
    m = m.next
return k if m.next == 0 else -1
"""
    gates.check([define(PRELUDE + body.strip().replace("\n", "\n    ").join(["    ", "\n"]))])


def test_every_expression_has_its_kind() -> None:
    own = typed(lists.last_friend)
    assert own.signature == ((Cpu, None, None), Node)
    assert own.arguments == ("cpu", "i", "most")
    assert own.locals == {"cpu": Cpu, "i": None, "most": None, "n": Node, "_": None}
    kinds = {ast.unparse(node): own.kind(node) for node in ast.walk(own.definition) if isinstance(node, ast.expr)}
    assert (kinds["cpu.kern"], kinds["cpu.kern.table"], kinds["cpu.kern.inner"]) == (Kern, Node, Tally)
    assert (kinds["element(cpu.kern.table, i)"], kinds["n == 0"], kinds["Node(0)"]) == (Node, None, Node)


def test_calls_and_attributes_are_looked_up() -> None:
    own = typed(lists.scribble)
    calls = [node for node in ast.walk(own.definition) if isinstance(node, ast.Call)]
    assert {own.target(node) for node in calls} == {element}
    fields = {
        ast.unparse(node): own.field(node) for node in ast.walk(own.definition) if isinstance(node, ast.Attribute)
    }
    words = fields["n.words"]
    assert words is not None and words.target is Word and words.offset == 16 and words.inline


PAIR = """
class Pair(Record):
    "Two numbers."
    one: i64 = field("the first")
    two: i64 = field("the second")
"""


def test_constants(define: Define) -> None:
    f = define(PAIR + "FREE = 3\n@kernel\ndef f(a: int) -> int:\n    return a\n")
    texts = {
        "7": 7,
        "-7": -7,
        "FREE": 3,
        "-FREE": -3,
        "a": None,
        "True": 1,
        "a + 1": None,
        "nowhere": None,
        "Pair.size": 16,
        "-Pair.size": -16,
    }
    for text, value in texts.items():
        assert typed(f).constant(ast.parse(text, mode="eval").body) == value
