"""Names in a device tree, each as a number.

Kernel Python has no strings. A name is looked for by a number that is made of its bytes: the sum of each byte times a
power of 131, modulo 2^55. No two names of the specification, nor of Linux' bindings for memory, have one number; a tree
that is written so that another name has could have that name as well.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.found import LoaderMap, byte_at
from kernmalloc.lang import kernel

FACTOR, MASK = 131, (1 << 55) - 1
UNIT = ord("@")  # what stands between a node's name and the address of its unit
LONGEST = 1024  # bytes of a name: the specification allows 31


def spelled(name: str) -> int:
    """The number of a name that is known."""
    number = 0
    for letter in name.encode():
        number = (number * FACTOR + letter) & MASK
    return number


@kernel
def name_end(map: LoaderMap, pa: int, end: int, stop: int) -> int:
    """Where the name at `pa` ends: at a 0, at the byte `stop`, at `end`, or where it is too long for one."""
    last = min(end, pa + LONGEST)
    at = pa
    while at < last:
        byte = byte_at(map, at)
        if byte == 0 or byte == stop:
            return at
        at += 1
    return at


@kernel
def name_number(map: LoaderMap, pa: int, end: int) -> int:
    """The number of the bytes from `pa` to `end`."""
    number = 0
    for at in range(pa, end):
        number = (number * FACTOR + byte_at(map, at)) & MASK
    return number


@kernel
def number_at(map: LoaderMap, pa: int, end: int) -> int:
    """The number of the string at `pa`, which ends at a 0 or at `end`."""
    return name_number(map, pa, name_end(map, pa, end, 0))
