"""The bare machine's zero and copy: what they do to memory, byte for byte."""

from flat_memory import FlatMemory
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.lang import twin
from kernmalloc.machine import bare

DO = twin.compile([bare.copy, bare.zero])
START = 4096


def memory() -> FlatMemory:
    made = FlatMemory(START + 512)
    made.top = len(made.bytes)
    made.bytes[START:] = bytes(i * 7 % 251 + 1 for i in range(512))
    twin.use(made)
    return made


@given(st.integers(0, 64), st.integers(256, 320), st.integers(0, 192), st.booleans())
def test_copy_is_a_copy_of_bytes_E14(of: int, to: int, size: int, back: bool) -> None:
    """From and to any address, any number of bytes: nothing else changes."""
    of, to = (to, of) if back else (of, to)
    made = memory()
    expected = bytearray(made.bytes)
    expected[START + to : START + to + size] = expected[START + of : START + of + size]
    DO["copy"](START + to, START + of, size)
    assert made.bytes == expected


@given(st.integers(0, 32), st.integers(0, 32))
def test_zero_fills_words_E14(first: int, words: int) -> None:
    made = memory()
    expected = bytearray(made.bytes)
    expected[START + 8 * first : START + 8 * (first + words)] = bytes(8 * words)
    DO["zero"](START + 8 * first, 8 * words)
    assert made.bytes == expected
