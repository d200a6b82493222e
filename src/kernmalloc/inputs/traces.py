"""Readers of traces: Linux kmem events, malloc-lab, binary pairs; plain, or compressed by gzip or zstd.

`read_trace` is the boundary. What form a file has is told from what is in it, not from its name. Text is read line by
line, so that what is kept of it are its operations, 8 bytes each.
"""

import io
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Protocol

from . import kmem, malloclab
from .errors import InputError, UnreadableError
from .packed import unpacked
from .trace import MOST, OP, Skipped, Trace, TracedCache

__all__ = ["OP", "InputError", "Skipped", "Trace", "TracedCache", "UnreadableError", "read_stream", "read_trace"]


class Reader(Protocol):
    """A reader of text: the lines that it begins with, and all of them with their numbers."""

    def recognises(self, lines: list[str], /) -> bool: ...
    def read(self, lines: Iterator[tuple[int, str]], file: str, /) -> Trace: ...


READERS: tuple[Reader, ...] = (malloclab, kmem)
HEAD = 1000  # lines that tell the form
LONGEST = 4096  # characters of a line that are looked at: no kernel prints more
RECORDINGS = {
    b"\x17\x08\x44tracing": ("trace-cmd's own recording, not text", "give the output of trace-cmd report -i FILE"),
    b"PERFILE2": ("perf's own recording, not text", "give the output of perf script -i FILE"),
}


def read_trace(path: str | Path) -> Trace:
    """The trace in a file. Raises InputError, with file and line, whatever the file holds."""
    file = str(path)
    try:
        with open(path, "rb", buffering=0) as stream:
            return read_stream(stream, file)
    except OSError as error:
        raise UnreadableError(file, 0, error.strerror or str(error)) from None


def read_stream(stream: BinaryIO, file: str) -> Trace:
    """The trace in a binary stream; `file` names it in messages.  Raises InputError."""
    inner = unpacked(stream, file, "trace")
    head = inner.peek(1)
    for magic, (what, advice) in RECORDINGS.items():
        if head.startswith(magic):
            raise UnreadableError(file, 0, what, advice)
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in head and not wide:
        return malloclab.read_pairs(inner.read(MOST * OP.itemsize + 1), file)
    lines = _lines(io.TextIOWrapper(inner, "utf-16" if wide else "utf-8-sig", errors="replace"), file)
    first = list(islice(lines, HEAD))
    shown = [line for _, line in first if line.strip()]
    if not shown:
        raise UnreadableError(file, 0, "empty: there is no event in it", kmem.RECORD)
    for reader in READERS:
        if reader.recognises(shown):
            return reader.read(chain(first, lines), file)
    raise UnreadableError(file, 0, "not a trace: no kernel event, no malloc-lab operation, no pairs", kmem.RECORD)


def _lines(text: io.TextIOWrapper, file: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line; the last one may lack its end."""
    number = 0
    while line := text.readline(LONGEST):
        number += 1
        if "\0" in line:
            raise InputError(file, number, "binary data in a text")
        rest = line
        while rest and rest[-1] != "\n":
            rest = text.readline(LONGEST)
        yield number, line if not rest or line[-1] == "\n" else line + "\n"
