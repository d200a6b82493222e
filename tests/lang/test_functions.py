"""Kernel functions, primitives, intrinsics, atomics and status codes under CPython."""

import subprocess
import sys

import pytest
from conftest import CPU
from lang_sample import bare, hosted, lists, soft

from kernmalloc.lang import atomics, clz, ctz, entry, intrinsics, kernel, popcount, primitive, rest, shl, shr, status
from kernmalloc.lang.functions import PRIMITIVES, REGISTRY, group, symbol


def test_registration_leaves_functions_alone():
    def one(a):
        return a

    def two(a):
        return a + 1

    try:
        assert kernel(one) is one and entry(two) is two
        assert list(REGISTRY)[-2:] == [one, two]
        assert symbol(one).endswith("test_functions.one") and symbol(two) == "km_two"
        assert two(4) == 5
    finally:
        del REGISTRY[one], REGISTRY[two]


def test_groups():
    assert [group(function) for function in (lists.push, hosted.fill, soft.miss, bare.fill)] == [
        "kernel",
        "hosted",
        "soft",
        "bare",
    ]


def test_primitives_call_the_machine(memory):
    assert lists.fill(64, 7, 3) == 3 and memory.load(64, 4) == 0x00070707
    with pytest.raises(TypeError, match="primitive km_fill takes 3 arguments, not 2"):
        lists.fill(64, 7)


def test_primitives_are_declared_alike():
    assert primitive("km_fill", 3) is PRIMITIVES["km_fill"]
    with pytest.raises(TypeError, match="primitive km_fill is declared with 3 and with 2 arguments"):
        primitive("km_fill", 2)


@pytest.mark.parametrize(
    ("x", "trailing", "leading", "ones"),
    [(0, 64, 64, 0), (1, 0, 63, 1), (-1, 0, 0, 64), (-(1 << 63), 63, 0, 1), (1 << 62, 62, 1, 1), (0b1011000, 3, 57, 3)],
)
def test_bit_patterns(x, trailing, leading, ones):
    assert (ctz(x), clz(x), popcount(x)) == (trailing, leading, ones)
    assert rest(x) == (x ^ shl(1, trailing) if x else 0)


def test_shifts_of_patterns():
    assert shl(1, 63) == -(1 << 63) and shl(3, 63) == -(1 << 63) and shl(-1, 0) == -1
    assert shr(-1, 1) == (1 << 63) - 1 and shr(-1, 0) == -1 and shr(-1, 63) == 1


def test_atomics_interpreted(memory):
    assert atomics.cas32(CPU, memory.load(CPU, 4), -1) == 1 and memory.load(CPU, 4) == 0xFFFF_FFFF
    assert atomics.cas32(CPU, -1, 5) == 1, "operands are truncated"
    assert atomics.cas32(CPU, 6, 7) == 0 and atomics.load_acquire32(CPU) == 5
    assert atomics.add32(CPU, -6) == 5 and atomics.load_acquire32(CPU) == 0xFFFF_FFFF
    assert atomics.store_release64(CPU, -3) == 0 and atomics.load_acquire64(CPU) == -3
    assert atomics.cas64(CPU, -3, (1 << 63) - 1) == 1 and atomics.add64(CPU, 1) == (1 << 63) - 1
    assert atomics.load_acquire64(CPU) == -(1 << 63), "sums wrap"
    assert atomics.store_release32(CPU, -1) == 0 and memory.load(CPU, 8) == -(1 << 63) + 0xFFFF_FFFF
    assert atomics.pause() == 0


def test_atomics_compiled_are_the_same(define, objects, memory):
    """Every atomic, interpreted and in both hosted lives, on the same words."""
    from conftest import Memory, SoftMachine
    from lang_sample import soft

    from kernmalloc.lang import backend, frontend, twin
    from kernmalloc.lang.objects import Library

    calls = "\n".join(
        f"    n += shl({call}, {i})"
        for i, call in enumerate(
            [
                "cas32(a, b, c)",
                "add32(a, b)",
                "load_acquire32(a)",
                "cas32(a, load_acquire32(a), c)",
                "cas64(a, b, c)",
                "add64(a + 8, b)",
                "load_acquire64(a + 8)",
                "cas64(a, load_acquire64(a), c)",
                "store_release32(a, b)",
                "store_release64(a + 16, c)",
                "pause()",
            ]
        )
    )
    f = define(f"@entry\ndef atomic_all(a, b, c):\n    n = 0\n{calls}\n    return n\n", "atomic_all")
    groups = frontend.compile([f, soft.miss, soft.translate, soft.fill])
    raw, paged = (Library(backend.link(groups, life)) for life in ("raw", "soft"))
    flat, machine = Memory(), SoftMachine(paged)
    twin.use(memory)
    memory.bytes[:] = bytes(len(memory.bytes))
    for b, c in [(0, 1), (-1, -1), (1 << 40, -(1 << 33)), (5, (1 << 63) - 1 >> 11)]:
        expected = shl(f(0x2040, b, c), 0)
        assert raw.function("atomic_all")(flat.host + 0x2040, b, c) == expected
        assert paged.function("atomic_all")(0x2040, b, c) == expected
        assert bytes(flat.bytes) == bytes(memory.bytes) == machine.read()


def test_every_status_has_a_name_and_a_meaning():
    assert status.NAMES.keys() == status.MEANINGS.keys()
    assert status.NAMES[0] == "OK" and all(-100 < code <= 0 for code in status.NAMES)
    constants = [value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)]
    assert len(constants) == len(set(constants)), "codes are different"


def test_every_builtin_has_an_interpreted_version():
    for function in (*intrinsics.INTRINSICS, *atomics.ATOMICS):
        assert function.__doc__, function


def test_importing_the_language_loads_no_compiler():
    code = "import sys, kernmalloc.lang, kernmalloc.lang.twin, kernmalloc.lang.objects; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "llvmlite", "numpy"} & set(loaded)
