"""Amounts of memory as people write them."""

import re
from typing import NamedTuple

from .errors import InputError

_SIZE = re.compile(r"(\d{1,18}|0x[0-9a-f_]{1,18})\s*(?:([KMGT])(?:i?B)?|B)?", re.I | re.ASCII)
_POWERS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Ram(NamedTuple):
    """How much RAM there is, in bytes, and where it begins (None: that is not said)."""

    size: int
    base: int | None = None


def parse_size(text: str) -> int:
    """Bytes in "8GiB", "512 M", "24GB" or "4096": memory is sold in powers of two, so that GB is GiB here.

    Raises InputError for anything else, and for nothing.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(match[1], 0 if match[1][:2].lower() == "0x" else 10) << _POWERS[(match[2] or "").upper()] if match else 0
    if not size:
        raise InputError(text, 0, "not a size", "write it as 8GiB or 512MiB")
    return size


def parse_ram(text: str) -> Ram:
    """Size of RAM, and its address if one is given: "8GiB", or "1GiB@0x40000000" as Linux's memmap= has it."""
    size, at, base = text.partition("@")
    try:
        ram = Ram(parse_size(size), int(base, 0) if at else None)
    except ValueError:
        ram = Ram(0)
    if ram.size <= 0 or (ram.base or 0) < 0:
        raise InputError(text, 0, "not a size of RAM", "write it as 8GiB or 1GiB@0x40000000")
    return ram
