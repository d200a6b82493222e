"""Readers of traces as text, and whether a text is one for them."""

from collections.abc import Iterator
from typing import Protocol

from . import kmem, malloclab
from .trace import Trace


class Reader(Protocol):
    """A reader of text: the lines that it begins with, and all of them with their numbers."""

    def recognises(self, lines: list[str], /) -> bool: ...
    def read(self, lines: Iterator[tuple[int, str]], file: str, /) -> Trace: ...


READERS: tuple[Reader, ...] = (malloclab, kmem)
HEAD = 1000  # lines that tell the form
LONGEST = 4096  # characters of a line that are looked at: no kernel prints more


def is_trace(text: str) -> bool:
    """Whether a text begins as a trace does."""
    shown = [line for line in text[: HEAD * LONGEST].splitlines()[:HEAD] if line.strip()]
    return any(reader.recognises(shown) for reader in READERS if shown)
