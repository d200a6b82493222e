"""Readers of traces: recordings of Linux's kmem events, malloc-lab, binary pairs; plain, or compressed by gzip or zstd.

`read_trace` is the boundary. What form a file has is told from what is in it, not from its name. Text is read line by
line, so that what is kept of it are its operations, 8 bytes each.
"""

import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from kernmalloc.inputs import BINARY_READERS
from kernmalloc.inputs import READERS as MACHINES
from kernmalloc.inputs.errors import InputError, NoEventError, UnreadableError
from kernmalloc.inputs.limits import limits
from kernmalloc.inputs.packed import unpacked
from kernmalloc.inputs.traces import kmem, malloclab
from kernmalloc.inputs.traces.trace import OP, Skipped, Trace, TracedCache
from kernmalloc.inputs.traces.trace_readers import HEAD, LONGEST, READERS

__all__ = ["OP", "InputError", "Skipped", "Trace", "TracedCache", "UnreadableError", "read_stream", "read_trace"]


COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ESCAPED = re.compile("=([0-9A-F]{2})")
ZEROS = 16  # one zero byte in so many at most is a damaged text
RECORDINGS = {
    b"\x17\x08\x44tracing": ("trace-cmd's own recording, not text", "give the output of trace-cmd report -i FILE"),
    b"PERFILE2": ("perf's own recording, not text", "give the output of perf script -i FILE"),
}


_MACHINE = "tells a machine, and is no trace", "kernmalloc check reads it"


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
    if head.count(0) * ZEROS > len(head) and not wide:
        if any(reader.recognises(head) for reader in BINARY_READERS):
            raise UnreadableError(file, 0, *_MACHINE)
        return malloclab.read_pairs(inner.read((limits().operations + 1) * OP.itemsize), file)
    lines = _lines(io.TextIOWrapper(inner, "utf-16" if wide else "utf-8-sig", errors="replace"))
    first = list(islice(lines, HEAD))
    if any("=3D" in line for _, line in first):
        lines = _of_mail(chain(first, lines))
        first = list(islice(lines, HEAD))
    shown = [line for _, line in first if line.strip()]
    if not shown:
        raise UnreadableError(file, 0, "empty: there is no event in it", kmem.RECORD)
    known = [reader for reader in READERS if reader.recognises(shown)]
    try:
        return (known or [kmem])[0].read(chain(first, lines), file)  # events may come late: in a page, in a log
    except NoEventError:
        if any(reader.recognises("".join(shown)) for reader in MACHINES):
            raise UnreadableError(file, 0, *_MACHINE) from None
        if known:
            raise
    raise UnreadableError(file, 0, "not a trace: no kernel event, no malloc-lab operation, no pairs", kmem.RECORD)


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, without colours and the zeros of a disk; the last one may lack its end."""
    number = 0
    while line := text.readline(LONGEST):
        number += 1
        rest = line
        while rest and rest[-1] != "\n":
            rest = text.readline(LONGEST)
        if rest and line[-1] != "\n":
            line += "\n"
        if "\x1b" in line or "\0" in line:
            line = COLOUR.sub("", line).lstrip("\0")
        yield number, line


def _of_mail(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines of a mail whose text is quoted-printable, as they were."""
    begun, text = 0, ""
    for number, line in lines:
        begun, text = begun or number, text + line
        if text.endswith("=\n") and len(text) < LONGEST:
            text = text[:-2]
        else:
            yield begun, ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
            begun, text = 0, ""
    if text:
        yield begun, text
