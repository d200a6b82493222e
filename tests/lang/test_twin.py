"""The checked twin refuses what compiled code does silently, and says where."""

from __future__ import annotations

import pytest
from conftest import CPU, Define, Memory
from lang_sample import arithmetic, lists
from lang_sample.records import Cpu

from kernmalloc.lang import element, twin

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
def test_names_function_line_and_values(
    define: Define, expression: str, a: int, b: int, error: type[twin.TwinError], message: str
) -> None:
    f = define(f"@kernel\ndef f(a: int, b: int) -> int:\n    c = b\n    return {expression}\n")
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
def test_the_edges_themselves_pass(define: Define, expression: str, a: int, b: int, result: int) -> None:
    f = define(f"@kernel\ndef f(a: int, b: int) -> int:\n    return {expression}\n")
    assert twin.compile([f])["f"](a, b) == result


def test_augmented_assignment_is_checked_and_evaluates_once(define: Define, memory: Memory) -> None:
    f = define("""
class Word(Record):
    "One."
    value: i64 = field("it")
@kernel
def count(a: int) -> int:
    Word(64).value += 1
    return a
@kernel
def f(a: int) -> int:
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
    with pytest.raises(twin.TwinOverflow, match=r"f:12: 9223372036854775807 [+] 7"):
        checked(128)


def test_elements_are_checked(define: Define) -> None:
    f = define("""
class Word(Record):
    "One."
    value: i64 = field("it")
@kernel
def f(w: Word, i: int) -> int:
    return element(w, i).addr
""")
    checked = twin.compile([f])["f"]
    assert checked(MIN, 1) == MIN + 8 and checked(8, -3) == -16
    with pytest.raises(twin.TwinOverflow, match=r"^f:8: element\(Word\(0x8\), 1152921504606846975\) is outside int64$"):
        checked(8, (1 << 60) - 1)


def test_callees_are_checked_and_originals_untouched(define: Define) -> None:
    f = define("@kernel\ndef g(a: int) -> int:\n    return a + 1\n@kernel\ndef f(a: int) -> int:\n    return g(a)\n")
    with pytest.raises(twin.TwinOverflow, match=r"^g:4: "):
        twin.compile([f])["f"](MAX)
    assert f(MAX) == MAX + 1


def test_recursion_is_checked(define: Define) -> None:
    f = define("@kernel\ndef f(a: int) -> int:\n    if a > 100:\n        return a << 62\n    return f(a + 50)\n")
    with pytest.raises(twin.TwinOverflow, match=r"^f:5: 150 << 62"):
        twin.compile([f])["f"](0)


def test_takes_and_gives_numbers(memory: Memory) -> None:
    """A reference is a number to whoever calls the kernel."""
    checked = twin.compile([lists.befriend, lists.last_friend])
    assert checked["befriend"](CPU, 1, 3) == 0
    assert checked["last_friend"](CPU, 1, 1) == element(Cpu(CPU).kern.table, 3).addr
    assert checked["last_friend"](CPU, 1, 2) == 0
    assert {type(checked["last_friend"](CPU, 1, n)) for n in range(3)} == {int}


def test_equal_names_are_refused(define: Define) -> None:
    f, g = (
        define("@kernel\ndef f(a: int) -> int:\n    return a\n"),
        define("@kernel\ndef f(a: int) -> int:\n    return a\n"),
    )
    with pytest.raises(ValueError, match=r"two functions are called f: compile them apart"):
        twin.compile([f, g])


def test_functions_given_twice_are_one() -> None:
    assert list(twin.compile([arithmetic.a_add, arithmetic.a_add])) == ["a_add"]


def test_memory_is_switched_by_use() -> None:
    one, two = Memory(), Memory()
    for memory in (one, two):
        memory.boot()
    push = twin.compile([lists.push])["push"]
    twin.use(one)
    push(CPU, 5)
    twin.use(two)
    assert push(CPU, 5) == 5 and one.bytes == two.bytes


def test_wild_accesses_reach_the_memory(memory: Memory) -> None:
    with pytest.raises(twin.TwinFault, match=r"8 bytes at 0x100000"):
        lists.push(Cpu(0x100000), 1)
