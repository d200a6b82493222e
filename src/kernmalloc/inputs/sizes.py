"""Sizes of memory as people write them: one parser and one printer for command line, profiles, scenarios and readers.

    8192   8_192   0x2000   8K   8k   8KB   8 KiB   8192 B

Memory is sold in powers of two, so K, KB and KiB are all 1024 bytes, and so on up to E.  Digits come first: in "0x1B"
and "0x1EB" the letters are digits.  A size is less than 2^64.
"""

import re
from typing import NamedTuple

from kernmalloc.inputs.errors import InputError

PREFIXES = "KMGTPE"
LIMIT = 1 << 64
ADVICE = "write it as 8GiB, 512 MiB, 0x2000 or in bytes"
_SIZE = re.compile(rf"(0x[0-9a-f]+(?:_[0-9a-f]+)*|\d+(?:_\d+)*)\s*(?:([{PREFIXES}])(?:i?B)?|B)?", re.I | re.ASCII)
_LONGEST = 40  # characters of a text that may be a size


class Ram(NamedTuple):
    """How much RAM there is, in bytes, and where it begins (None: that is not said)."""

    size: int
    base: int | None = None


def parse_size(text: str) -> int:
    """Bytes, in any of the spellings above.  Raises InputError for anything else."""
    match = _SIZE.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if not match:
        raise InputError(repr(text[:_LONGEST]), 0, "not a size", ADVICE)
    size = int(match[1], 16 if match[1][:2].lower() == "0x" else 10) << _shift((match[2] or "").upper())
    if size >= LIMIT:
        raise InputError(repr(text), 0, "not a size: 2^64 bytes or more", ADVICE)
    return size


def parse_ram(text: str) -> Ram:
    """Size of RAM, and its address if one is given: "8GiB", or "1GiB@0x40000000" as Linux's memmap= has it."""
    size, at, base = text.partition("@")
    try:
        ram = Ram(parse_size(size), parse_size(base) if at else None)
    except InputError:
        ram = Ram(0)
    if not ram.size:
        raise InputError(repr(text[:_LONGEST]), 0, "not a size of RAM", "write it as 8GiB or 1GiB@0x40000000")
    return ram


def size(count: int) -> str:
    """A byte count with its unit and three digits or so: "556 B", "64 KiB", "15.9 GiB"."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(PREFIXES))
    unit = 1 << 10 * power
    digits = 0 if count >= 100 * unit or count % unit == 0 else 1
    return f"{count / unit:.{digits}f} {PREFIXES[power - 1] + 'iB' if power else 'B'}"


def _shift(prefix: str) -> int:
    """log2 of the bytes that a prefix stands for."""
    return 10 * (PREFIXES.index(prefix) + 1) if prefix else 0
