"""Invariants become functions, word for word."""

from __future__ import annotations

import linecache
from typing import TYPE_CHECKING, Any

import pytest
from conftest import CPU, KERN, NODE, TABLE, Define, Memory
from lang_sample import lists, records
from lang_sample.records import Cpu, Kern, Node, Tally, verify_node

from kernmalloc.lang import sealer, twin, verifier
from kernmalloc.lang.functions import REGISTRY, over_numbers

if TYPE_CHECKING:
    from kernmalloc.lang.objects import Library

TALLY = 0x800


def verified() -> int:
    return over_numbers(verify_node)(CPU, TABLE, TALLY)


def test_counts_what_holds(memory: Memory) -> None:
    assert verified() == len(Node.invariants) == 5


@pytest.mark.parametrize(
    ("field", "value", "invariant"), [("kind", 2, 1), ("pins", 1, 2), ("order", 10, 3), ("next", 100, 4)]
)
def test_names_the_first_that_fails(memory: Memory, field: str, value: int, invariant: int) -> None:
    Tally(TALLY).largest = 9
    node = Node(TABLE)
    setattr(node, field, value)
    for check in (over_numbers(verify_node), twin.compile([verify_node])["verify_node"]):
        assert check(CPU, TABLE, TALLY) == -invariant


def test_reads_what_the_equation_names(memory: Memory) -> None:
    """tally.x at the third argument, kern.x through the cpu."""
    Node(TABLE).order = 3
    assert verified() == -3
    Tally(TALLY).largest = 3
    assert verified() == 5
    Node(TABLE).next = 50
    Kern(KERN).nodes = 50
    assert verified() == -4
    Kern(KERN).nodes = 51
    Node(TABLE).key = -1
    assert verified() == 5
    Node(TABLE).order = Tally(TALLY).largest = 4
    assert verified() == -4


def test_references_of_an_equation(memory: Memory) -> None:
    """A field that is a reference is compared with 0."""
    Tally(TALLY).largest = 9
    Node(TABLE).order = 7
    assert verified() == 5
    Node(TABLE).friend = Node(TABLE)
    assert verified() == -5


def test_is_a_kernel_function_of_the_defining_module() -> None:
    assert REGISTRY[verify_node] is False and verify_node.__module__ == records.__name__


def test_compiled_gives_the_same(raw: Library, memory: Memory) -> None:
    flat = Memory()
    flat.boot(flat.host)
    node = TABLE + 5 * NODE
    for offset in (0, 1, 2, 4, 8, 32):
        for target in (memory, flat):
            target.store(node + offset, 1, 0xFF)
        assert raw.function("checked")(flat.host + CPU, 5) == lists.checked(Cpu(CPU), 5)


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("size < LIMIT", "`LIMIT` is neither a field nor an integer constant"),
        ("size < tally.most", "record Tally has no field `most`"),
        ("size < kern.most", "record Kern has no field `most`"),
        ("size < other.most", "no record is given for `other.most`"),
        ("size / 2 > 1", "Div is not part of an equation"),
        ("max(size, 1) > 1", "Call is not part of an equation"),
        ("[size]", "List is not part of an equation"),
    ],
)
def test_what_is_no_equation_is_refused(define: Define, equation: str, message: str) -> None:
    made = bad(define, "size: i64 = field('bytes')", equation)
    with pytest.raises(TypeError) as refused:
        verifier(made, namespace={"__name__": "x"}, cpu=Cpu, tally=Tally)
    assert str(refused.value) == f"record Bad, invariant `{equation}`: {message}"


def test_a_cpu_that_leads_nowhere(define: Define) -> None:
    made = bad(define, "a: u8 = field('a')", "a < kern.nodes")
    with pytest.raises(TypeError, match=r"no record is given for `kern.nodes`"):
        verifier(made, namespace={"__name__": "x"}, cpu=Tally, tally=Tally)


def bad(define: Define, field: str, equation: str) -> Any:
    return define(f"class Bad(Record):\n    'Bad.'\n    {field}\n    invariants = ({equation!r},)\n", "Bad")


def mixed(seal: int, value: int) -> int:
    return seal * 3 + value


def mixed_words(seal: int, first: int, end: int) -> int:
    return seal * 5 + first + end


def sealed(define: Define, fields: str, constants: str) -> Any:
    """The seal of a record with such fields, and its source."""
    body = "".join(f"    {each.strip()}\n" for each in fields.split(";"))
    inner = "class In(Record):\n    'In.'\n    a: i64 = field('a')\n    b: u32 = field('b')\n"
    made = define(f"{inner}class Whole(Record):\n    'Whole.'\n{body}    constants = ({constants},)\n", "Whole")
    space = {"mixed": mixed, "mixed_words": mixed_words, "__name__": "x"}
    return linecache.getlines(sealer(made, namespace=space).__code__.co_filename)


@pytest.mark.parametrize(
    ("constant", "step"),
    [
        ("size", "mixed(seal, self.size)"),
        ("size + more", "mixed(seal, self.size + self.more)"),
        ("leads", "mixed(seal, self.leads.addr)"),
        ("has", "mixed_words(seal, self.has.addr, element(self.has, 1).addr)"),
        ("all", "mixed_words(seal, self.all.addr, element(self.all, 3).addr)"),
        ("has.b", "mixed(seal, self.has.b)"),
    ],
)
def test_constants_become_a_seal(define: Define, constant: str, step: str) -> None:
    """A number as it is, a reference by its address, records inside by their words."""
    fields = (
        "size: u32 = field('s'); more: i64 = field('m'); leads: In = field('l'); has: In = inline('h'); "
        "all: In = array(3, 'a')"
    )
    assert sealed(define, fields, repr(constant))[2].strip() == f"seal = {step}"


def test_what_is_no_constant_is_refused(define: Define) -> None:
    with pytest.raises(TypeError, match=r"record Whole, constant `more.b`: `b` is no field that is known"):
        sealed(define, "more: i64 = field('m')", "'more.b'")
