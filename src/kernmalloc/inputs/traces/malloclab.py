"""Readers of allocation traces of programs: malloc-lab `.rep`, and binary pairs.

A `.rep` begins with three or four integers, one a line (suggested heap or weight, ids, operations, weight), on which
nothing here depends. Then come `a ID BYTES`, `r ID BYTES` and `f ID`; a free of a negative ID is one of nothing.
realloc allocates the new size in a fresh slot, then frees the old one; one of nothing allocates. Where the field of
BYTES is there but empty it is that of the line before, as malloc-lab's own driver takes it. A line that is none of
these is unread.

Binary pairs are little-endian int32 (ID, BYTES): BYTES > 0 allocates, 0 frees.
"""

import re
from collections.abc import Iterator

import numpy

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.traces.trace import OP, Recorder, Skipped, Trace, alternates

_FEWEST, _MOST = 3, 4  # integers of the heading
_BEGINS = re.compile(r"\s*(?:[ar]\s+-?\d+\s+\d+|f\s+-?\d+|\d+)\s*$")
_OPERATION = re.compile(r"\s*(?:([ar])\s+(-?\d{1,18}) +(\d{1,18}|(?=\s))|f\s+(-?\d{1,18})(?:\s+-?\d+)?)\s*$")


def recognises(lines: list[str]) -> bool:
    """Whether a file that begins with `lines`, none of them blank, is a .rep."""
    return bool(_BEGINS.match(lines[0]))


def read(lines: Iterator[tuple[int, str]], file: str) -> Trace:
    """The trace in the numbered lines of a .rep. Raises InputError for one that cannot be read."""
    made, heading, operations, bytes = Recorder(file), 0, 0, ""
    for number, line in lines:
        made.line = number
        if found := _OPERATION.match(line):
            if heading < _FEWEST:
                raise InputError(
                    file, number, f"an operation after {heading} integers", "a .rep begins with three or four"
                )
            bytes = found[3] or bytes
            try:
                _take(made, found, bytes)
            except InputError as error:
                made.damaged(error)
            else:
                operations += 1
        elif line.strip().isdecimal() and heading < _MOST and not operations:
            heading += 1
        elif line.strip():
            made.unread(number, f"not an operation: {line.strip()[:60]!r}")
    if not operations and not made.skipped.unread:
        raise UnreadableError(file, 0, "no operation in it", _LINES)
    return made.trace("malloc-lab", operations and heading + operations, _LINES)


def _take(made: Recorder, found: re.Match[str], bytes: str) -> None:
    """One operation, if it allocates of so many bytes."""
    what, id, _, freed = found.groups()
    if what and not bytes:
        raise InputError(made.file, made.line, "no BYTES")
    if not what:
        if int(freed) < 0:
            made.skipped.null += 1
        else:
            made.free(int(freed))
    elif what == "r" and made.is_live(int(id)):
        made.moved(int(id), int(id), int(bytes))
    else:
        made.block(int(id), int(bytes))


def read_pairs(data: bytes, file: str) -> Trace:
    """The trace in binary pairs. Raises InputError where they can be none."""
    if not data or len(data) % OP.itemsize:
        raise UnreadableError(file, 0, f"{len(data)} bytes are no whole number of pairs of int32, and no text", _FORMS)
    hold("operations", len(data) // OP.itemsize, file)
    ops = numpy.frombuffer(data, OP)
    for name, numbers in (("ID", ops["slot"]), ("BYTES", ops["code"])):
        at = int((numbers < 0).argmax())
        if numbers[at] < 0:
            raise InputError(file, 0, f"pair {at} (byte {at * OP.itemsize}): {name} is {numbers[at]}", _FORMS)
    ids, slots = numpy.unique(ops["slot"], return_inverse=True)
    if alternates(slots, ops["code"] > 0):
        made = ops.copy()
        made["slot"] = slots
        return Trace(file, "pairs", made, len(ids), (), Skipped())
    recorder = Recorder(file)
    for id, bytes in ops.tolist():
        if bytes:
            recorder.block(id, bytes)
        else:
            recorder.free(id)
    return recorder.trace("pairs")


_LINES = "after three or four integers a ID BYTES, r ID BYTES or f ID"
_FORMS = "a trace is text of Linux or malloc-lab, or pairs of little-endian int32 (ID, BYTES)"
