"""Kernel functions, primitives, intrinsics, atomics and status codes under CPython."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import CPU, TABLE, Define, Memory, SoftMachine
from lang_sample import bare, hosted, lists, soft
from lang_sample.records import Cpu, Node, Tally

from kernmalloc.lang import (
    atomics,
    below,
    clz,
    ctz,
    entry,
    failed,
    intrinsics,
    kernel,
    minus,
    popcount,
    primitive,
    rest,
    shl,
    shr,
    status,
    twin,
)
from kernmalloc.lang.functions import PRIMITIVES, REGISTRY, callees, group, over_numbers, signature, symbol
from kernmalloc.lang.objects import Library


def test_registration_leaves_functions_alone() -> None:
    def one(a: int) -> int:
        return a

    def two(a: int) -> int:
        return a + 1

    try:
        assert kernel(one) is one and entry(two) is two
        first, second = list(REGISTRY)[-2:]
        assert (first, second) == (one, two)
        assert symbol(first).endswith("test_functions.one") and symbol(second) == "km_call_two"
        assert two(4) == 5
    finally:
        for _ in range(2):
            REGISTRY.popitem()


def test_groups() -> None:
    assert [group(function) for function in (lists.push, hosted.fill, soft.miss, bare.fill)] == [
        "kernel",
        "hosted",
        "soft",
        "bare",
    ]


def test_callees_are_functions_and_not_fields(define: Define) -> None:
    f = define("""
class Node(Record):
    "One."
    count: i64 = field("a number")
@kernel
def count(n: Node) -> int:
    return n.count
@kernel
def f(n: Node) -> int:
    return count(n) + n.count
""")
    count = f.__globals__["count"]
    assert callees(f) == (count,) and callees(count) == ()


def test_signatures() -> None:
    assert signature(lists.friend_of) == ((Node, Tally), Node)
    assert signature(lists.push) == ((Cpu, None), None)


def test_callers_outside_the_kernel_use_numbers(memory: Memory) -> None:
    last_friend = over_numbers(lists.last_friend)
    over_numbers(lists.befriend)(CPU, 0, 2)
    assert last_friend(CPU, 0, 1) == TABLE + 2 * Node.size and last_friend(CPU, 0, 2) == 0
    assert last_friend.__name__ == "last_friend"
    with pytest.raises(ValueError):
        last_friend(CPU, 0)


def test_primitives_call_the_machine(memory: Memory) -> None:
    assert lists.fill(64, 7, 3) == 3 and memory.load(64, 4) == 0x00070707
    with pytest.raises(TypeError, match="primitive km_port_fill takes 3 arguments, not 2"):
        lists.fill(64, 7)


def test_primitives_are_declared_alike() -> None:
    assert primitive("km_port_fill", 3) is PRIMITIVES["km_port_fill"]
    with pytest.raises(TypeError, match="primitive km_port_fill is declared with 3 and with 2 arguments"):
        primitive("km_port_fill", 2)


@pytest.mark.parametrize(
    ("x", "trailing", "leading", "ones"),
    [(0, 64, 64, 0), (1, 0, 63, 1), (-1, 0, 0, 64), (-(1 << 63), 63, 0, 1), (1 << 62, 62, 1, 1), (0b1011000, 3, 57, 3)],
)
def test_bit_patterns(x: int, trailing: int, leading: int, ones: int) -> None:
    assert (ctz(x), clz(x), popcount(x)) == (trailing, leading, ones)
    assert rest(x) == (x ^ shl(1, trailing) if x else 0)


@pytest.mark.parametrize(
    ("x", "answer"),
    [(0, 0), (1, 0), (-1, 1), (-4095, 1), (-4096, 0), (-(1 << 47), 0), (-(1 << 63), 0), ((1 << 63) - 1, 0)],
)
def test_statuses_are_small_and_negative(raw: Library, x: int, answer: int) -> None:
    assert failed(x) == raw.function("a_failed")(x, x) // 3 == answer


def test_shifts_of_patterns() -> None:
    assert shl(1, 63) == -(1 << 63) and shl(3, 63) == -(1 << 63) and shl(-1, 0) == -1
    assert minus(-(1 << 63), 1) == (1 << 63) - 1 and minus((1 << 63) - 1, -1) == -(1 << 63) and minus(3, 5) == -2
    assert below(3, 5) == below(0, -1) == below(5, -(1 << 63)) == 1 and below(-1, 5) == below(5, 5) == below(0, 0) == 0
    assert shr(-1, 1) == (1 << 63) - 1 and shr(-1, 0) == -1 and shr(-1, 63) == 1


def test_atomics_interpreted(memory: Memory) -> None:
    assert atomics.cas32(CPU, memory.load(CPU, 4), -1) == 1 and memory.load(CPU, 4) == 0xFFFF_FFFF
    assert atomics.cas32(CPU, -1, 5) == 1, "operands are truncated"
    assert atomics.cas32(CPU, 6, 7) == 0 and atomics.load_acquire32(CPU) == 5
    assert atomics.cas64(CPU, 5, -(1 << 63)) == 1 and atomics.load_acquire64(CPU) == -(1 << 63)
    assert atomics.store_release32(CPU, -1) == 0 and memory.load(CPU, 8) == -(1 << 63) + 0xFFFF_FFFF
    assert atomics.pause() == 0


ATOMIC = """
@entry
def atomic_all(a: int, b: int, c: int) -> int:
    n = cas32(a, b, c)
    n = shl(n, 1) ^ load_acquire32(a)
    d = load_acquire32(a)
    n = shl(n, 1) ^ cas32(a, d, c)
    n = shl(n, 1) ^ cas64(a + 8, b, c)
    d = load_acquire64(a + 8)
    n = shl(n, 1) ^ cas64(a + 8, d, b)
    n = shl(n, 1) ^ load_acquire64(a + 8)
    n = shl(n, 1) ^ store_release32(a + 20, b)
    return n + pause()
"""


def test_atomics_compiled_are_the_same(define: Define, memory: Memory) -> None:
    """Every atomic, interpreted and in both hosted lives, on the same words."""
    from kernmalloc.lang import backend, frontend

    f = define(ATOMIC, "atomic_all")
    groups = frontend.compile([f, soft.miss, soft.translate, soft.operation, soft.fill])
    raw, paged = (Library(backend.link(groups, life)) for life in ("raw", "soft"))
    flat, machine = Memory(), SoftMachine(paged)
    twin.use(memory)
    memory.bytes[:] = bytes(len(memory.bytes))
    for b, c in [(0, 1), (-1, -1), (1 << 40, -(1 << 33)), (5, (1 << 63) - 1 >> 11)]:
        expected = shl(f(0x2040, b, c), 0)
        assert raw.function("atomic_all")(flat.host + 0x2040, b, c) == expected
        assert paged.function("atomic_all")(0x2040, b, c) == expected
        assert bytes(flat.bytes) == bytes(memory.bytes) == machine.read()


def test_every_status_has_a_name_and_a_meaning() -> None:
    assert status.NAMES.keys() == status.MEANINGS.keys()
    assert status.NAMES[0] == "OK" and all(-100 < code <= 0 for code in status.NAMES)
    constants = [value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)]
    assert len(constants) == len(set(constants)), "codes are different"


def test_every_builtin_has_an_interpreted_version() -> None:
    for function in (*intrinsics.INTRINSICS, *atomics.ATOMICS):
        assert function.__doc__, function


def test_importing_the_language_loads_no_compiler() -> None:
    code = "import sys, kernmalloc.lang, kernmalloc.lang.twin, kernmalloc.lang.objects; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"llvmlite", "numpy"} & set(loaded)
