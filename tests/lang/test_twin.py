"""The checked twin refuses what compiled code does silently, and says where."""

import pytest
from conftest import CPU, Memory
from lang_sample import arithmetic, lists

from kernmalloc.lang import twin

MIN, MAX = -(1 << 63), (1 << 63) - 1


@pytest.mark.parametrize(
    ("expression", "a", "b", "error", "message"),
    [
        ("a + b", MAX, 1, twin.TwinOverflow, "9223372036854775807 + 1 is outside int64"),
        ("a - b", MIN, 1, twin.TwinOverflow, "-9223372036854775808 - 1 is outside int64"),
        ("a * b", 1 << 32, 1 << 31, twin.TwinOverflow, "4294967296 * 2147483648 is outside int64"),
        ("a << b", 1, 63, twin.TwinOverflow, "1 << 63 is outside int64"),
        ("a << b", 1, 64, twin.TwinShift, "1 << 64"),
        ("a << b", 1, -1, twin.TwinShift, "1 << -1"),
        ("a >> b", 7, 64, twin.TwinShift, "7 >> 64"),
        ("a // b", 7, 0, twin.TwinDivision, "7 // 0"),
        ("a % b", 7, 0, twin.TwinDivision, "7 % 0"),
        ("-a", MIN, 0, twin.TwinOverflow, "-(-9223372036854775808) is outside int64"),
        ("abs(a)", MIN, 0, twin.TwinOverflow, "abs(-9223372036854775808) is outside int64"),
    ],
)
def test_names_function_line_and_values(define, expression, a, b, error, message):
    f = define(f"@kernel\ndef f(a, b):\n    c = b\n    return {expression}\n")
    with pytest.raises(error) as refused:
        twin.compile([f])["f"](a, b)
    assert str(refused.value) == f"f:5: {message}"
    assert issubclass(error, twin.TwinError)


@pytest.mark.parametrize(
    ("expression", "a", "b", "result"),
    [
        ("a + b", MAX, 0, MAX),
        ("a - b", MIN, 0, MIN),
        ("a << b", -1, 63, MIN),
        ("a >> b", MIN, 63, -1),
        ("-a", MAX, 0, -MAX),
        ("-5 + a", 5, 0, 0),
    ],
)
def test_the_edges_themselves_pass(define, expression, a, b, result):
    f = define(f"@kernel\ndef f(a, b):\n    return {expression}\n")
    assert twin.compile([f])["f"](a, b) == result


def test_augmented_assignment_is_checked_and_evaluates_once(define, memory):
    f = define("""
@record(size=8)
class Word:
    "One."
    value: i64 = "it"
@kernel
def count(a):
    Word(64).value += 1
    return a
@kernel
def f(a):
    Word(count(a)).value += 7
    x = a
    x *= 2
    x <<= 1
    x -= 1
    return Word(a).value + x
""")
    checked = twin.compile([f])["f"]
    assert checked(128) == 7 + 511
    assert memory.load(64, 8) == 1, "the record was found once"
    memory.store(128, 8, MAX)
    with pytest.raises(twin.TwinOverflow, match="f:13: 9223372036854775807 [+] 7"):
        checked(128)


def test_callees_are_checked_and_originals_untouched(define):
    f = define("@kernel\ndef g(a):\n    return a + 1\n@kernel\ndef f(a):\n    return g(a)\n")
    with pytest.raises(twin.TwinOverflow, match="^g:4: "):
        twin.compile([f])["f"](MAX)
    assert f(MAX) == MAX + 1


def test_recursion_is_checked(define):
    f = define("@kernel\ndef f(a):\n    if a > 100:\n        return a << 62\n    return f(a + 50)\n")
    with pytest.raises(twin.TwinOverflow, match="^f:5: 150 << 62"):
        twin.compile([f])["f"](0)


def test_instances_do_not_share_a_namespace():
    one, two = (twin.compile([lists.push])["push"] for _ in range(2))
    assert one.__globals__ is not two.__globals__ and one.__globals__["node_at"] is not lists.node_at


def test_equal_names_are_refused(define):
    f, g = define("@kernel\ndef f(a):\n    return a\n"), define("@kernel\ndef f(a):\n    return a\n")
    with pytest.raises(ValueError, match="two functions are called f: compile them apart"):
        twin.compile([f, g])


def test_functions_given_twice_are_one():
    assert list(twin.compile([arithmetic.a_add, arithmetic.a_add])) == ["a_add"]


def test_memory_is_switched_by_use():
    one, two = Memory(), Memory()
    for memory in (one, two):
        memory.boot()
    push = twin.compile([lists.push])["push"]
    twin.use(one)
    push(CPU, 5)
    twin.use(two)
    assert push(CPU, 5) == 5 and one.bytes == two.bytes


def test_wild_accesses_reach_the_memory(memory):
    with pytest.raises(twin.TwinFault, match="8 bytes at 0x100000"):
        lists.push(0x100000, 1)
