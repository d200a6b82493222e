"""Every gate refuses an offending function with file, line, rule and what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import sample_functions

from kernmalloc.lang import gates, pipeline
from kernmalloc.lang.functions import REGISTRY, Function

if TYPE_CHECKING:
    from conftest import Define

PRELUDE = """
BIG = 1 << 63
TEXT = "text"
TABLE = [1, 2]
SIZE = 24
PAGE = 4096
def plain(a):
    return a
class Node(Record):
    "One node."
    key: i64 = field("key")
    next: "Node" = field("next")
@kernel
def helper(a: int) -> int:
    return a
"""
LINE = PRELUDE.count("\n") + 4  # of the first statement: after the import, the decorator and the def

# (body of f(a, b), line of the offence counted from the body, part of the message)
OFFENCES = {
    "raise": ("raise ValueError", 0, "no exceptions: return a status code"),
    "assert": ("assert a > 0\nreturn a", 0, "no assert: state an invariant"),
    "try": ("try:\n    a = 1\nfinally:\n    b = 2\nreturn a", 0, "no exceptions: test the status code"),
    "with": ("with a:\n    return b\nreturn a", 0, "no with"),
    "lambda": ("c = lambda: 1\nreturn a", 0, "no lambda: write a kernel function"),
    "nested function": ("def g():\n    return 1\nreturn a", 0, "no nested functions"),
    "class": ("class C:\n    pass\nreturn a", 0, "no classes"),
    "global": ("global PAGE\nreturn a", 0, "no global: state lives in records"),
    "import": ("import os\nreturn a", 0, "no import"),
    "del": ("del b\nreturn a", 0, "no del"),
    "match": ("match a:\n    case 1:\n        return b\nreturn a", 0, "no match"),
    "yield": ("return a\n(yield)", 1, "Yield is not kernel Python"),
    "power": ("return a ** 2", 0, "no **: use shl"),
    "true division": ("return a / 4096", 0, "no /: use // by a power of two"),
    "augmented division": ("a /= 2\nreturn a", 0, "no /: use // by a power of two"),
    "matrix product": ("return a @ b", 0, "no @"),
    "division by a variable": ("return a // b", 0, "// by other than a power of two"),
    "division by a record's size": ("return a // SIZE", 0, "// by other than a power of two"),
    "remainder by 10": ("b = 1\nreturn a % 10", 1, "% by other than a power of two"),
    "augmented remainder": ("a %= 3\nreturn a", 0, "% by other than a power of two"),
    "shift too far": ("return a << 64", 0, "a shift by a constant outside 0..63"),
    "shift backwards": ("a >>= -1\nreturn a", 0, "a shift by a constant outside 0..63"),
    "division by zero": ("return a // 0", 0, "// by other than a power of two"),
    "division by a negative": ("return a // -4", 0, "// by other than a power of two"),
    "constant too large": ("return a & 0xFFFFFFFFFFFFFFFF", 0, "18446744073709551615 is outside int64"),
    "constant too small": ("return a + -9223372036854775809", 0, "outside int64"),
    "global constant too large": ("return a + BIG", 0, "constant BIG is outside int64"),
    "folded constant too large": (
        "return a & (1 << 63)",
        -1,
        "a constant expression has the value 9223372036854775808",
    ),
    "float": ("return a + 1.5", 0, "1.5 is not an integer"),
    "string": ("b = 'x'\nreturn a", 0, "'x' is not an integer"),
    "none": ("b = None\nreturn a", 0, "None is not an integer"),
    "bytes": ("b = b'x'\nreturn a", 0, "b'x' is not an integer"),
    "f-string": ("b = f'{a}'\nreturn a", 0, "no strings"),
    "tuple": ("return a, b", 0, "no tuples: return one value"),
    "tuple assignment": ("a, b = b, a\nreturn a", 0, "no tuples"),
    "list": ("c = [a]\nreturn a", 0, "no containers: use records"),
    "dict": ("c = {}\nreturn a", 0, "no containers: use records"),
    "set": ("c = {a}\nreturn a", 0, "no containers: use records"),
    "subscript": ("return TABLE[0]", 0, "no subscripts"),
    "comprehension": ("return [i for i in range(a)]", 0, "no comprehensions: write a loop"),
    "generator": ("return max((i for i in range(a)), b)", 0, "no comprehensions: write a loop"),
    "walrus": ("return (c := a) + b", 0, "no walrus"),
    "global container": ("b = TABLE\nreturn a", 0, "global TABLE is not an integer constant"),
    "global string": ("b = TEXT\nreturn a", 0, "global TEXT is not an integer constant"),
    "function as a value": ("b = helper\nreturn a", 0, "global helper is not an integer constant"),
    "is": ("return a is b", 0, "no is: use =="),
    "in": ("return a in b", 0, "no in"),
    "unset on a path": ("if a:\n    c = 1\nreturn c", 2, "c is not set on every path to here"),
    "unset after a loop": ("for i in range(a):\n    c = i\nreturn c", 2, "c is not set on every path to here"),
    "loop variable after its loop": (
        "for i in range(a):\n    b = 1\nreturn i",
        2,
        "i is not set on every path to here",
    ),
    "unset in a loop": ("while a:\n    b = c\n    c = a\n    a = 0\nreturn b", 1, "c is not set on every path to here"),
    "unset, augmented": ("if a:\n    c = 1\nc += 1\nreturn c", 2, "c is not set on every path to here"),
    "unset after a break": (
        "while True:\n    if b:\n        break\n    c = 1\nreturn c",
        4,
        "c is not set on every path",
    ),
    "no return at all": ("b = a", -1, "f falls off its end on some path: return a status code there"),
    "no return on a path": ("if a:\n    return 1", -1, "f falls off its end on some path"),
    "no return after a loop": ("while a:\n    return 1", -1, "f falls off its end on some path"),
    "unreachable": ("return a\nb = 1", 1, "this statement is never reached: remove it"),
    "unreachable after a loop": ("while True:\n    b = 1\nreturn a", 2, "this statement is never reached: remove it"),
    "return without a value": ("if a:\n    return\nreturn a", 1, "return without a value: return a status code"),
    "keyword argument": ("return helper(a=a)", 0, "no keyword arguments"),
    "starred argument": ("return helper(*TABLE)", 0, "no starred arguments"),
    "wrong number of arguments": ("return helper(a, b)", 0, "helper takes 1 arguments, not 2"),
    "three-way min": ("return min(a, b, 1)", 0, "min takes 2 arguments, not 3: nest the calls"),
    "undecorated function": (
        "return plain(a)",
        0,
        "plain cannot be called from kernel Python: declare it with @kernel",
    ),
    "builtin": ("return len(a)", 0, "len cannot be called from kernel Python"),
    "print": ("print(a)\nreturn a", 0, "print cannot be called from kernel Python"),
    "unknown function": ("return nowhere(a)", 0, "nowhere is not a function of this module: import it"),
    "unknown name": ("return nowhere + a", 0, "global nowhere is not an integer constant"),
    "method": ("return a.bit_length()", 0, "call functions by their bare name"),
    "module attribute": ("return gates.MAX", 0, "gates.MAX is not a field of a reference"),
    "record attribute": (
        "return a * Node.align",
        0,
        "Node.align is not a field of a reference: give it a name in the module",
    ),
    "size of something else": (
        "return TABLE.size",
        0,
        "TABLE.size is not a field of a reference: import the name itself",
    ),
    "for over something else": ("for i in TABLE:\n    a = i\nreturn a", 0, "for loops over range only"),
    "range as a value": ("b = range(a)\nreturn a", 0, "range is for for loops only"),
    "variable step": (
        "for i in range(0, 64, a):\n    b = i\nreturn b",
        0,
        "the step of a range is a power of two or its negative",
    ),
    "step zero": (
        "for i in range(0, 64, 0):\n    b = i\nreturn b",
        0,
        "the step of a range is a power of two or its negative",
    ),
    "chained assignment": ("c = d = a\nreturn c + d", 0, "one assignment at a time"),
    "annotated variable": ("c: int = a\nreturn c", 0, "no annotations"),
    "expression without effect": ("a + b\nreturn a", 0, "an expression without effect"),
    "unary plus": ("return +a", 0, "no unary +"),
    "double not": ("return not (not a)", 0, "no double not: write != 0"),
    "address of a reference": ("n = Node(a)\nn.addr = b\nreturn a", 1, "addr cannot be assigned: make a new reference"),
    "address of a reference, augmented": ("n = Node(a)\nn.addr += 8\nreturn a", 1, "addr cannot be assigned"),
    "field of an expression": ("return (a + b).key", 0, "fields belong to references: make one"),
    "else of a for": (
        "for i in range(a):\n    b = i\nelse:\n    b = 1\nreturn b",
        3,
        "no else on a loop: return inside",
    ),
    "else of a while": (
        "while a:\n    a -= 1\nelse:\n    b = 1\nreturn b",
        3,
        "no else on a loop: return inside the loop",
    ),
    "value of and": ("return a and b", 0, "`and` and `or` of numbers give one of them: compare each with 0"),
    "value of or": ("c = a < b or b\nreturn c", 0, "`and` and `or` of numbers give one of them"),
    "or as an argument": ("return helper(a or b)", 0, "`and` and `or` of numbers give one of them"),
    "middle of a chained comparison": (
        "return 1 if a < helper(b) < 7 else 0",
        0,
        "the middle of a chained comparison is a name or a constant: assign it first",
    ),
    "global record": ("b = Node\nreturn a", 0, "global Node is not an integer constant"),
}


def function(define: Define, body: str, signature: str = "f(a: int, b: int) -> int") -> Function:
    indented = "".join(f"    {line}\n" for line in body.split("\n"))
    made: Function = define(f"{PRELUDE}@kernel\ndef {signature}:\n{indented}")
    return made


@pytest.mark.parametrize("offence", OFFENCES)
def test_refused(define: Define, offence: str) -> None:
    body, line, message = OFFENCES[offence]
    f = function(define, body)
    with pytest.raises(gates.GateError) as refused:
        gates.check([f])
    place = f"{f.__code__.co_filename}:{LINE + line}: "
    assert [rule for rule in str(refused.value).splitlines() if rule.startswith(place) and message in rule]


@pytest.mark.parametrize(
    "signature", ["f(a: int, b: int = 1)", "f(*a: int)", "f(**a: int)", "f(*, a: int)", "f(a: int, /)"]
)
def test_signatures(define: Define, signature: str) -> None:
    rule = "every argument is one positional value: no defaults, keywords or [*]args"
    with pytest.raises(gates.GateError, match=rule):
        gates.check([function(define, "return 1", f"{signature} -> int")])


@pytest.mark.parametrize(
    ("signature", "rule"),
    [
        ("f(a: int)", "annotate the result with int or a record"),
        ("f(a) -> int", "annotate a with int or a record"),
        ("f(a: float) -> int", "annotate a with int or a record, not float"),
        ("f(a: 'Nowhere') -> int", "annotate a with int or a record, not Nowhere"),
        ("f(a: int) -> i64", "annotate the result with int or a record, not i64"),
    ],
)
def test_annotations(define: Define, signature: str, rule: str) -> None:
    f = function(define, "return a", signature)
    with pytest.raises(gates.GateError) as refused:
        gates.check([f])
    assert str(refused.value) == f"{f.__code__.co_filename}:{LINE - 2}: f: {rule}"


def test_a_record_that_is_declared_wrongly(define: Define) -> None:
    """It is reported where it is first used."""
    f = define("""
class Lost(Record):
    "It leads nowhere."
    next: "Nowhere" = field("next")
@kernel
def f(a: Lost) -> int:
    return a.next.addr
""")
    with pytest.raises(gates.GateError) as refused:
        gates.check([f])
    rule = "record Lost, field next: Nowhere is neither u8, u16, u32, i64, usize nor a record"
    assert str(refused.value) == f"{f.__code__.co_filename}:6: {rule}"


def test_nonlocal(define: Define) -> None:
    f = define("""
def outer():
    a = 1
    @kernel
    def f(b: int) -> int:
        nonlocal a
        a = b
        return a
    return f
f = outer()
""")
    with pytest.raises(gates.GateError, match=r"no nonlocal: state lives in records"):
        gates.check([f])


def test_every_violation_is_listed(define: Define) -> None:
    f = function(define, "b = a / 2\nif a:\n    c = 1.5\nreturn c")
    with pytest.raises(gates.GateError) as refused:
        gates.check([f])
    lines = [int(line.split(":")[1]) - LINE for line in str(refused.value).splitlines()]
    assert lines == [0, 2, 3]


def test_two_functions_with_one_symbol(define: Define) -> None:
    """Two entries of one name would be one C symbol; different machines may have the same."""
    one, two = (define("@entry\ndef take(a: int) -> int:\n    return a\n", "take") for _ in range(2))
    with pytest.raises(gates.GateError, match=r"made1.py:2: take is also defined at .*made0.py:2: rename one"):
        gates.check([one, two])
    from lang_sample import bare, hosted, soft

    gates.check([hosted.fill, soft.fill, bare.fill])


def test_the_kernel_calls_no_machine(define: Define) -> None:
    """It does not know which machine it is linked with."""
    from lang_sample import hosted, lists, soft

    f = define("from lang_sample.soft import miss\n@kernel\ndef f(va: int) -> int:\n    return miss(va)\n")
    with pytest.raises(
        gates.GateError, match=r"made0.py:3: f calls miss of lang_sample.soft: declare a primitive for what"
    ):
        gates.check([f])
    gates.check([hosted.count, soft.translate, lists.push])


def test_what_a_kernel_needs_passes(define: Define) -> None:
    accepted = """
n = Node(a)
n.key = -PAGE
n.key += a // PAGE + b % 64 - SIZE * 2 + a % Node.size
n.next = n.next.next if n != 0 and n.next != n else Node(0)
d = not (a and b)
e = a < b or not b and -1 <= a < 7
f = a > -1 >= b
helper(a)
for i in range(a, 0, -8):
    c = i
    if i == b:
        break
c = 0
while True:
    c += 1
    if c > a or not 0 <= c < b:
        return max(min(a, b), abs(c)) if c and (d or e or f) else ~a
"""
    gates.check([function(define, accepted.strip())])


def test_the_sample_passes() -> None:
    gates.check(sample_functions())


def test_the_kernel_passes() -> None:
    """Every gate, over everything that is registered."""
    pipeline.import_kernel()
    functions = [function for function in REGISTRY if function.__module__.startswith("kernmalloc.")]
    assert functions
    gates.check(functions)
