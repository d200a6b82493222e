"""Interpreted and compiled code agree wherever the checked twin does not refuse."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from conftest import Memory, SoftMachine
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_sample import arithmetic, soft

from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.lang.objects import Library

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Define

EDGES = [
    0,
    1,
    -1,
    2,
    7,
    -7,
    12,
    31,
    32,
    33,
    62,
    63,
    64,
    4095,
    4096,
    2**31,
    2**32 - 1,
    2**32,
    -(2**31),
    -(2**63),
    2**63 - 1,
]
NUMBER = st.one_of(st.sampled_from(EDGES), st.integers(-100, 100), st.integers(-(2**63), 2**63 - 1))
NAMES = [function.__name__ for function in REGISTRY if function.__module__ == arithmetic.__name__]


def same(checked: Callable[..., int], compiled: Callable[..., int], a: int, b: int) -> None:
    try:
        expected = checked(a, b)
    except twin.TwinError:
        return
    assert compiled(a, b) == expected, f"{checked.__name__}({a}, {b})"


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic(objects: dict[str, bytes], name: str) -> None:
    library = Library(objects["raw"])
    checked, compiled = twin.compile([getattr(arithmetic, name)])[name], library.function(name)
    for a in EDGES:
        for b in EDGES:
            same(checked, compiled, a, b)

    @settings(max_examples=200 * EFFORT, deadline=None)
    @given(NUMBER, NUMBER)
    def agree(a: int, b: int) -> None:
        same(checked, compiled, a, b)

    agree()


def test_what_the_twin_refuses_is_defined_when_compiled(objects: dict[str, bytes]) -> None:
    """No undefined behaviour: sums and products wrap, shift counts are taken modulo 64."""
    library = Library(objects["raw"])
    top, bottom = 2**63 - 1, -(2**63)
    for name, a, b, result in [
        ("a_add", top, 1, bottom), ("a_sub", bottom, 1, top), ("a_mul", top, 2, -2), ("a_left", 1, 63, bottom),
        ("a_left", 3, 65, 6), ("a_right", -8, 66, -2), ("a_left", 1, -1, bottom),
    ]:  # fmt: skip
        assert library.function(name)(a, b) == result, (name, a, b)
        with pytest.raises(twin.TwinError):
            twin.compile([getattr(arithmetic, name)])[name](a, b)


def random_expression(rnd: random.Random, depth: int) -> str:
    """Text of an expression over a, b, @ (a variable) and constants, of any mixture of numbers and truth values."""
    if depth == 0:
        return rnd.choice(["a", "b", "@", "@", str(rnd.choice(EDGES)), f"({rnd.randrange(-9, 9)})"])
    one, two, three = (random_expression(rnd, depth - rnd.randrange(1, depth + 1)) for _ in range(3))
    return rnd.choice(
        [
            f"({one} {rnd.choice('+-*&|^')} {two})",
            f"({one} {rnd.choice(['<<', '>>'])} ({two} & 63))",
            f"({one} // 8)",
            f"({one} % 32)",
            f"({one} {rnd.choice(['<', '<=', '==', '!=', '>', '>='])} {two})",
            f"({one} < 0 {rnd.choice(['and', 'or'])} not {two})",
            f"(1 if {one} {rnd.choice(['and', 'or'])} {two} else 2)",
            f"failed({one})",
            f"(not {one})",
            f"({one} if {two} else {three})",
            f"min({one}, {two})",
            f"max({one}, {two})",
            f"ctz({one})",
            f"popcount({one})",
            f"rest({one})",
            f"shl({one}, {two})",
            f"shr({one}, {two})",
            f"minus({one}, {two})",
            f"below({one}, {two})",
            f"({one} <= {rnd.choice(['@', '7', '-5'])} < {three})",
            f"-({one} + 0)",
            f"~({one} | 0)",
        ]
    )


def test_random_programs(define: Define) -> None:
    """Programs of random expressions, loops and branches: the compiler and CPython read them alike."""
    from kernmalloc.lang import backend, frontend, gates

    rnd = random.Random(3)
    functions = []
    for i in range(60 * EFFORT):
        first, *e = [random_expression(rnd, 4) for _ in range(5)]
        e = [first.replace("@", "a"), *(text.replace("@", "x") for text in e)]
        source = (
            f"@entry\ndef program{i}(a: int, b: int) -> int:\n    x = {e[0]}\n    for i in range(5):\n"
            f"        if {e[1]}:\n            x = {e[2]}\n        else:\n            x = {e[3]}\n    return {e[4]}\n"
        )
        function = define(source, f"program{i}")
        try:
            gates.check([function])
        except gates.GateError:  # a constant expression that leaves int64, or a double not
            continue
        functions.append(function)
    library = Library(backend.link(frontend.compile(functions), "raw"))
    checked = twin.compile(functions)
    agreed = 0
    for name, interpreted in checked.items():
        for _ in range(30):
            a, b = (rnd.choice([rnd.choice(EDGES), rnd.randrange(-(2**63), 2**63)]) for _ in range(2))
            try:
                expected = interpreted(a, b)
            except twin.TwinError:
                continue
            agreed += 1
            assert library.function(name)(a, b) == expected, f"{name}({a}, {b})"
    assert agreed > 300 * EFFORT


# References ----------------------------------------------------------------------------------------------------------

WIDE = """
class Wide(Record):
    "A field of every width, and references."
    a: u8 = field("one byte")
    b: u16 = field("two bytes")
    c: u32 = field("four bytes")
    d: i64 = field("eight bytes")
    next: "Wide" = field("another one")
    row: "Part" = array(4, "in a row")
    part: "Part" = inline("alone")
class Part(Record):
    "It lies inside."
    x: u16 = field("two bytes")
    y: i64 = field("eight bytes")
    wide: "Wide" = field("a reference from inside")
@kernel
def other(w: Wide, a: int) -> Wide:
    return w.next if a & 1 else w
"""
WIDES, FIRST = 8, 0x1000


def random_reference(rnd: random.Random) -> str:
    one = rnd.choice("nm")
    return rnd.choice(
        [
            one,
            f"{one}.next",
            f"{one}.next.next",
            f"other({one}, x)",
            f"{random_part(rnd)}.wide",
            f"Wide({one}.next.addr)",
        ]
    )


def random_part(rnd: random.Random) -> str:
    one = rnd.choice(["n", "m", "n.next"])
    return rnd.choice(
        [f"{one}.part", f"{one}.row", f"element({one}.row, x & 3)", f"element({one}.next.row, {one}.a % 4)"]
    )


def random_place(rnd: random.Random) -> str:
    return rnd.choice([f"{random_reference(rnd)}.{rnd.choice('abcd')}", f"{random_part(rnd)}.{rnd.choice('xy')}"])


def random_value(rnd: random.Random) -> str:
    one, two = random_reference(rnd), random_reference(rnd)
    return rnd.choice(
        [
            random_place(rnd),
            "x",
            f"({random_place(rnd)} {rnd.choice('-^|&')} x)",
            f"({one}.addr - {two}.addr)",
            f"({one} {rnd.choice(['==', '!='])} {two})",
            f"failed({random_place(rnd)})",
            f"(x if {one} == 0 or {random_place(rnd)} else {random_place(rnd)})",
        ]
    )


def random_statement(rnd: random.Random) -> str:
    return rnd.choice(
        [
            f"{random_place(rnd)} = {random_value(rnd)}",
            f"{random_place(rnd)} {rnd.choice(['+=', '^=', '-='])} {random_value(rnd)}",
            f"{rnd.choice('nm')} = {random_reference(rnd)}",
            f"{random_reference(rnd)}.next = {random_reference(rnd)}",
            f"{random_part(rnd)}.wide = {random_reference(rnd)}",
            f"x = {random_value(rnd)}",
        ]
    )


def test_random_programs_over_references(define: Define) -> None:
    """Raw at the host's addresses, soft and twin at positive and negative ones: every byte and every result agree."""
    from kernmalloc.lang import backend, frontend, gates

    rnd = random.Random(5)
    body = "".join(
        f"@entry\ndef wide{i}(n: Wide, m: Wide, x: int) -> Wide:\n    for i in range(3):\n        "
        + "\n        ".join(random_statement(rnd) for _ in range(5))
        + "\n    m.next.d = x\n    return n\n"
        for i in range(40 * EFFORT)
    )
    space = define(WIDE + body, "other").__globals__
    functions = [space[f"wide{i}"] for i in range(40 * EFFORT)]
    gates.check([*functions, space["other"]])
    groups = frontend.compile([*functions, soft.miss, soft.translate, soft.operation, soft.fill])
    raw, paged = (Library(backend.link(groups, life)) for life in ("raw", "soft"))
    wide, part, checked = space["Wide"], space["Part"], twin.compile(functions)
    inside = [wide.offset("part"), *(wide.offset("row") + i * part.size for i in range(4))]
    references = [wide.offset("next"), *(at + part.offset("wide") for at in inside)]
    places = [FIRST + i * wide.size + at for i in range(WIDES) for at in references]

    def filled(base: int, seed: int) -> Memory:
        memory, rnd = Memory(), random.Random(seed)
        memory.bytes[FIRST : FIRST + WIDES * wide.size] = rnd.randbytes(WIDES * wide.size)
        for at in places:
            memory.store(at, 8, base + FIRST + rnd.randrange(WIDES) * wide.size)
        memory.base = base
        return memory

    def relative(memory: Memory, base: int) -> bytes:
        memory.base = 0
        for at in places:
            memory.store(at, 8, memory.load(at, 8) - base)
        return bytes(memory.bytes)

    agreed = 0
    for seed in range(len(functions) * 10):
        name, x = f"wide{seed % len(functions)}", rnd.choice([rnd.choice(EDGES), rnd.randrange(-(2**63), 2**63)])
        base = rnd.choice([0, 0xC000_0000, -(1 << 31), -(1 << 47)])
        n, m = (FIRST + rnd.randrange(WIDES) * wide.size for _ in range(2))
        interpreted, flat, machine = filled(base, seed), filled(0, seed), SoftMachine(paged, base)
        machine.write(interpreted.bytes)
        host = flat.host
        for at in places:
            flat.store(at, 8, flat.load(at, 8) + host)
        twin.use(interpreted)
        try:
            expected = checked[name](base + n, base + m, x)
        except twin.TwinError:
            continue
        agreed += 1
        assert raw.function(name)(host + n, host + m, x) - host == expected - base, name
        assert paged.function(name)(base + n, base + m, x) == expected, name
        assert machine.read() == interpreted.bytes, name
        assert relative(flat, host) == relative(interpreted, base), name
    assert agreed > 200 * EFFORT
