"""Kernel Python: a small typed subset of Python, in which the kernel is written once for all its lives.

Every value is int64. A function takes and returns int64 and is declared with `kernel` (or `entry`, if objects export
it); data are records at addresses; what only a machine can do is a primitive. Kernel modules import this package
only, and importing it loads no compiler.
"""

from kernmalloc.lang.atomics import (
    add32,
    add64,
    cas32,
    cas64,
    load_acquire32,
    load_acquire64,
    pause,
    store_release32,
    store_release64,
)
from kernmalloc.lang.functions import entry, kernel, machine_record, primitive
from kernmalloc.lang.intrinsics import clz, ctz, popcount, shl, shr
from kernmalloc.lang.records import c_struct, i64, markdown, record, u8, u16, u32
from kernmalloc.lang.verify import verifier

__all__ = [
    "add32",
    "add64",
    "c_struct",
    "cas32",
    "cas64",
    "clz",
    "ctz",
    "entry",
    "i64",
    "kernel",
    "load_acquire32",
    "load_acquire64",
    "machine_record",
    "markdown",
    "pause",
    "popcount",
    "primitive",
    "record",
    "shl",
    "shr",
    "store_release32",
    "store_release64",
    "u16",
    "u32",
    "u8",
    "verifier",
]
