"""The machine of the sample, on the C library."""

from __future__ import annotations

from kernmalloc.lang import entry, machine_record, port, primitive

memset = primitive("memset", 3)
memcpy = primitive("memcpy", 3)


@port
def c_fill(addr: int, value: int, n: int) -> int:
    memset(addr, value & 0xFF, n)
    return n


@entry
def c_copy(to: int, of: int, n: int) -> int:
    return memcpy(to, of, n) - to


@entry
def c_record() -> int:
    return machine_record()
