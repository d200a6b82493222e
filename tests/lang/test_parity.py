"""Interpreted and compiled arithmetic agree wherever the checked twin does not refuse."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_sample import arithmetic

from kernmalloc.lang import twin
from kernmalloc.lang.functions import REGISTRY
from kernmalloc.lang.objects import Library

EFFORT = int(os.environ.get("KERNMALLOC_EFFORT", "1"))
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


def same(checked, compiled, a, b):
    try:
        expected = checked(a, b)
    except twin.TwinError:
        return
    assert compiled(a, b) == expected, f"{checked.__name__}({a}, {b})"


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic(objects, name):
    library = Library(objects["raw"])
    checked, compiled = twin.compile([getattr(arithmetic, name)])[name], library.function(name)
    for a in EDGES:
        for b in EDGES:
            same(checked, compiled, a, b)

    @settings(max_examples=200 * EFFORT, deadline=None)
    @given(NUMBER, NUMBER)
    def agree(a, b):
        same(checked, compiled, a, b)

    agree()


def test_what_the_twin_refuses_is_defined_when_compiled(objects):
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


def random_expression(rnd, depth):
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
            f"({one} {rnd.choice(['and', 'or'])} {two})",
            f"(not {one})",
            f"({one} if {two} else {three})",
            f"min({one}, {two})",
            f"max({one}, {two})",
            f"ctz({one})",
            f"popcount({one})",
            f"rest({one})",
            f"shl({one}, {two})",
            f"shr({one}, {two})",
            f"({one} <= {two} < {three})",
            f"-({one} + 0)",
            f"~({one} | 0)",
        ]
    )


def test_random_programs(define):
    """Programs of random expressions, loops and branches: the compiler and CPython read them alike."""
    from kernmalloc.lang import backend, frontend, gates

    rnd = random.Random(3)
    functions = []
    for i in range(60 * EFFORT):
        first, *e = [random_expression(rnd, 4) for _ in range(5)]
        e = [first.replace("@", "a"), *(text.replace("@", "x") for text in e)]
        source = (
            f"@entry\ndef program{i}(a, b):\n    x = {e[0]}\n    for i in range(5):\n        if {e[1]}:\n"
            f"            x = {e[2]}\n        else:\n            x = {e[3]}\n    return {e[4]}\n"
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
