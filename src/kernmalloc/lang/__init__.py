"""Kernel Python: a small typed subset of Python, in which the kernel is written once for all its lives.

    class Frame(Record, size=16):          data are records at addresses
        "One core table entry."
        type: u8 = field("what the frame is")
        ...

    @kernel                                a function over numbers and references; @entry: exported as km_call_<name>
    def pin(cpu: Cpu, pfn: int) -> int:
        f = frame_at(cpu, pfn)             a reference to a Frame
        if f.type == FREE:
            return INVALID                 a status code: there are no exceptions
        f.pins += 1                        loads zero-extend, stores truncate
        return OK

Every value is an int64: a number, or a reference to one kind of record. Statements are assignments, if, while, for over
range, return. A function names only other kernel functions, records, primitives (what a machine must supply),
intrinsics, atomics, integer constants, element, min, max and abs. `gates` refuses the rest, with advice.

Arithmetic stays inside int64 and shift counts inside 0..63: compiled code wraps and takes counts modulo 64, the checked
twin reports. Bit patterns have shl, shr, ctz, clz, popcount and rest. An address may be negative: minus(x, y) is how
far apart two are, below(x, n) asks whether 0 <= x < n, failed(x) whether x is a status that refuses, and not x < 0.

    records, functions, intrinsics, atomics, status                the language, executable by CPython as it is
    verify                                                         invariants and constants as functions
    twin, memory                                                   checked interpretation on any memory
    layout                                                         what a build chooses: parameters, answers, fields
    source, fold, typed                                            the tree of a function, and what is a reference in it
    gates, syntax, flow, effects                                   what is refused
    frontend, models, backend, pipeline, objects                   one object per life: built once, loaded at once
    cache                                                          the user's folder of what is built
    c                                                              the functions written out in C

Kernel modules import this package only, and importing it loads no compiler.
"""

from kernmalloc.lang.atomics import (
    cas32,
    cas64,
    load_acquire32,
    load_acquire64,
    pause,
    store_before32,
    store_release32,
)
from kernmalloc.lang.functions import entry, inlined, kernel, machine_record, port, primitive, rare, small
from kernmalloc.lang.intrinsics import (
    below,
    clz,
    ctz,
    failed,
    little,
    minus,
    poison,
    popcount,
    ram_at,
    ram_given,
    rest,
    shl,
    shr,
    sure,
    unpoison,
)
from kernmalloc.lang.layout import parameter
from kernmalloc.lang.records import Record, array, element, field, i64, inline, markdown, u8, u16, u32, usize
from kernmalloc.lang.source import define
from kernmalloc.lang.verify import sealer, verifier

__all__ = [
    "Record",
    "array",
    "below",
    "cas32",
    "cas64",
    "clz",
    "ctz",
    "define",
    "element",
    "entry",
    "failed",
    "field",
    "i64",
    "inline",
    "inlined",
    "kernel",
    "little",
    "load_acquire32",
    "load_acquire64",
    "machine_record",
    "markdown",
    "minus",
    "parameter",
    "pause",
    "poison",
    "popcount",
    "port",
    "primitive",
    "ram_at",
    "ram_given",
    "rare",
    "rest",
    "sealer",
    "shl",
    "shr",
    "small",
    "store_before32",
    "store_release32",
    "sure",
    "u8",
    "u16",
    "u32",
    "unpoison",
    "usize",
    "verifier",
]
