"""Invariants become functions, word for word."""

import pytest
from conftest import CPU, KERN, TABLE
from lang_sample import records
from lang_sample.records import Kern, Node, Tally, verify_node

from kernmalloc.lang import i64, record, twin, u8, verifier
from kernmalloc.lang.functions import REGISTRY

TALLY = 0x800


def test_counts_what_holds(memory):
    assert verify_node(CPU, TABLE, TALLY) == len(Node.invariants) == 4


@pytest.mark.parametrize(
    ("field", "value", "invariant"), [("kind", 2, 1), ("pins", 1, 2), ("order", 10, 3), ("next", 100, 4)]
)
def test_names_the_first_that_fails(memory, field, value, invariant):
    Tally(TALLY).largest = 9
    node = Node(TABLE)
    setattr(node, field, value)
    for check in (verify_node, twin.compile([verify_node])["verify_node"]):
        assert check(CPU, TABLE, TALLY) == -invariant


def test_reads_what_the_equation_names(memory):
    """tally.x at the third argument, kern.x through the cpu."""
    Node(TABLE).order = 3
    assert verify_node(CPU, TABLE, TALLY) == -3
    Tally(TALLY).largest = 3
    assert verify_node(CPU, TABLE, TALLY) == 4
    Node(TABLE).next = 50
    Kern(KERN).nodes = 50
    assert verify_node(CPU, TABLE, TALLY) == -4
    Kern(KERN).nodes = 51
    Node(TABLE).key = -1
    assert verify_node(CPU, TABLE, TALLY) == 4
    Node(TABLE).order = Tally(TALLY).largest = 4
    assert verify_node(CPU, TABLE, TALLY) == -4


def test_is_a_kernel_function_of_the_defining_module():
    assert REGISTRY[verify_node] is False and verify_node.__module__ == records.__name__


def test_compiled_gives_the_same(raw, soft_library, memory):
    from conftest import Memory

    flat = Memory()
    flat.boot(flat.host)
    node = TABLE + 5 * 32
    for setting in range(6):
        for target in (memory, flat):
            target.store(target.base + node + (0, 1, 2, 4, 8, 16)[setting], 1, 0xFF)
        from lang_sample import lists

        assert raw.function("checked")(flat.host + CPU, 5) == lists.checked(CPU, 5)


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("size < LIMIT", "`LIMIT` is neither a field nor an integer constant"),
        ("size < tally.most", "no record is given for `tally.most`"),
        ("size < kern.most", "no record is given for `kern.most`"),
        ("size / 2 > 1", "Div is not part of an equation"),
        ("max(size, 1) > 1", "Call is not part of an equation"),
        ("[size]", "List is not part of an equation"),
    ],
)
def test_what_is_no_equation_is_refused(equation, message):
    made = record(size=8)(
        type("Bad", (), {"__annotations__": {"size": i64}, "size": "bytes", "invariants": (equation,)})
    )
    with pytest.raises(TypeError) as refused:
        verifier(made, namespace={"__name__": "x"})
    assert str(refused.value) == f"record Bad, invariant `{equation}`: {message}"


def test_unknown_field_of_a_given_record():
    made = record(size=8)(type("Bad", (), {"__annotations__": {"a": u8}, "a": "a", "invariants": ("a < tally.none",)}))
    with pytest.raises(TypeError, match="record Tally has no field `none`"):
        verifier(made, namespace={"__name__": "x"}, tally=Tally)
