"""Kernel Python: a small typed subset of Python, in which the kernel is written once for all its lives.

    @record(size=16)                       data are records at addresses
    class Frame:
        'One core table entry.'
        type: u8 = "what the frame is"
        ...

    @kernel                                a function over int64; @entry: exported from objects as km_<name>
    def pin(cpu, pfn):
        f = Frame(frame_at(cpu, pfn))      a typed reference
        if f.type == FREE:
            return INVALID                 a status code: there are no exceptions
        f.pins += 1                        loads zero-extend, stores truncate
        return OK

Every value is int64. Statements are assignments, if, while, for over range, return. A function names only other kernel
functions, records, primitives (what a machine must supply), intrinsics, atomics, integer constants, min, max and abs.
`gates` refuses the rest, with advice. Arithmetic must stay inside int64 and shift counts inside 0..63: compiled code
wraps and takes counts modulo 64, the checked twin reports. Bit patterns have shl, shr, ctz, clz, popcount and rest.

    records, functions, intrinsics, atomics, status                the language, executable by CPython as it is
    verify                                                         invariants as functions
    twin, memory                                                   checked interpretation on any memory
    source, gates, flow                                            what is refused
    frontend, models, backend, pipeline, objects                   one object per life: built once, loaded at once

Kernel modules import this package only, and importing it loads no compiler.
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
from kernmalloc.lang.functions import entry, inlined, kernel, machine_record, primitive, rare
from kernmalloc.lang.intrinsics import clz, ctz, popcount, rest, shl, shr
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
    "inlined",
    "rare",
    "record",
    "rest",
    "shl",
    "shr",
    "store_release32",
    "store_release64",
    "u16",
    "u32",
    "u8",
    "verifier",
]
