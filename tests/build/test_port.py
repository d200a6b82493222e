"""The port's zero and copy, in each of the ways that it has for them: what they do to memory, byte for byte."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernmalloc.build

PORT = Path(kernmalloc.build.__file__).with_name("c") / "port.c"
WAYS = {
    "the C library": (),
    "string instructions": ("-ffreestanding",),
    "wide steps": ("-ffreestanding", "-U__x86_64__", "-U__i386__"),
}
ROOM = 1024


@pytest.fixture(scope="module", params=WAYS)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """What of the port is about memory, compiled here."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    text = PORT.read_text()
    start, end = text.index("/* Memory."), text.index("/* 1 where firmware")
    source = tmp_path_factory.mktemp("port") / "memory.c"
    source.write_text("#include <stddef.h>\n#include <stdint.h>\n#define DEFAULT\n" + text[start:end])
    made = source.with_suffix(".so")
    words = ["gcc", "-O3", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *WAYS[request.param], source, "-o", made]
    subprocess.run(words, check=True)
    return ctypes.CDLL(str(made))


def _memory() -> tuple[ctypes.Array[ctypes.c_char], int]:
    memory = ctypes.create_string_buffer(bytes(i * 7 % 251 + 1 for i in range(ROOM + 8)), ROOM + 8)
    return memory, -ctypes.addressof(memory) % 8


def _call(function: object, *arguments: int) -> None:
    assert function(*map(ctypes.c_int64, arguments)) == 0  # type: ignore[operator]


@given(of=st.integers(0, 64), to=st.integers(512, 576), size=st.integers(0, 448), back=st.booleans())
def test_copy_is_a_copy_of_bytes_E14(port: ctypes.CDLL, of: int, to: int, size: int, back: bool) -> None:
    of, to = (to, of) if back else (of, to)
    memory, skew = _memory()
    of, to = of + skew, to + skew
    expected = bytearray(memory.raw)
    expected[to : to + size] = expected[of : of + size]
    _call(port.km_port_copy, ctypes.addressof(memory) + to, ctypes.addressof(memory) + of, size)
    assert memory.raw == expected


@given(first=st.integers(0, 32), words=st.integers(0, 64))
def test_zero_fills_words_E14(port: ctypes.CDLL, first: int, words: int) -> None:
    memory, skew = _memory()
    start = skew + 8 * first
    expected = bytearray(memory.raw)
    expected[start : start + 8 * words] = bytes(8 * words)
    _call(port.km_port_zero, ctypes.addressof(memory) + start, 8 * words)
    assert memory.raw == expected
