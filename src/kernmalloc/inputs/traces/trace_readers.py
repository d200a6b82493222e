"""Readers of traces as text, and whether a text is one for them."""

from collections.abc import Iterator
from typing import Protocol

from kernmalloc.inputs.traces import kmem, malloclab
from kernmalloc.inputs.traces.trace import Trace


class Reader(Protocol):
    """A reader of text: the lines that it begins with, and all of them with their numbers."""

    def recognises(self, lines: list[str], /) -> bool: ...
    def read(self, lines: Iterator[tuple[int, str]], file: str, /) -> Trace: ...


READERS: tuple[Reader, ...] = (malloclab, kmem)
HEAD = 1000  # lines that tell the form
LONGEST = 4096  # characters of a line that are looked at: no kernel prints more


def beginning(head: bytes) -> list[str]:
    """The lines that a text begins with, but blank ones."""
    lines = (line[:LONGEST].decode(errors="replace") for line in head.splitlines(keepends=True)[:HEAD])
    return [line for line in lines if line.strip()]


def is_trace(lines: list[str]) -> bool:
    """Whether a text that begins with `lines` tells what was allocated."""
    return bool(lines) and (malloclab.recognises(lines) or kmem.tells(lines))
