"""RISC-V of 32 and 64 bits, with the formats Sv32, Sv39 and Sv48.

The manual is the RISC-V privileged ISA, version 1.12 (document 20211203).

    shift of the index at each level     Sv32: 22, 12     Sv39: 30, 21, 12     Sv48: 39, 30, 21, 12
    bytes of a page, of a large page     4 KiB; 4 MiB in Sv32, else 2 MiB

An entry that leads to a table has none of the rights R, W and X. How memory is cached follows from its physical
address (3.6), and an entry says nothing of it: whoever maps a device uncached needs no bits for it. A processor may
set the bits A and D itself, or raise a page fault instead (4.3.1): what the kernel maps for itself has both, and a page
that may be written has D.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import machine_code
from kernmalloc.machine.arch.model import (
    LARGE,
    LEAF,
    ROOT,
    TABLE,
    Arch,
    Caching,
    Compiler,
    Field,
    Format,
    Level,
    Made,
    Meaning,
    layout,
)

_RIGHTS = (
    ("V", 0, 1, "valid"),
    ("R", 1, 1, "may be read"),
    ("W", 2, 1, "may be written; reserved without R"),
    ("X", 3, 1, "may be executed"),
    ("U", 4, 1, "users may access, and the supervisor not, unless sstatus.SUM = 1; reserved in what leads to a table"),
    ("G", 5, 1, "global"),
    ("A", 6, 1, "accessed; reserved in what leads to a table"),
    ("D", 7, 1, "dirty; reserved in what leads to a table"),
    ("RSW", 8, 2, "for software"),
)


def _fields(rights: str, index_bits: int, physical: int, high: tuple[Field, ...]) -> dict[str, tuple[Field, ...]]:
    """Entries of a format whose physical addresses have so many bits, with what they have above the address."""
    pages = physical - 12
    address = layout(rights, ("address", 10, pages, "number of the frame"))
    large = layout(rights, ("address", 10 + index_bits, pages - index_bits, "number of the frame; what is below is 0"))
    common = layout(rights, *_RIGHTS)
    table = (*common, *address)
    return {ROOT: table, TABLE: table, LARGE: (*common, *large, *high), LEAF: (*common, *address, *high)}


_LEAF = {"V": 1, "R": 1, "W": 1, "X": 1, "G": 1, "A": 1, "D": 1}
_PAGE = {"V": 1, "R": 1, "X": 1, "U": 1}


def _format(
    *,
    name: str,
    number: int,
    va_bits: int,
    phys_bits: int,
    user_end: int,
    word_shift: int,
    levels: tuple[Level, ...],
    fields: dict[str, tuple[Field, ...]],
    caching: Caching,
) -> Format:
    return Format(
        name=name,
        number=number,
        manual="RISC-V privileged ISA, version 1.12",
        va_bits=va_bits,
        phys_bits=phys_bits,
        user_end=user_end,
        page_shift=12,
        word_shift=word_shift,
        levels=levels,
        fields=fields,
        meaning=Meaning(present="V", large={"R": 1}, used="A", writable={"W": 1, "D": 1}, executable={"X": 1}),
        made=Made(
            root={"V": 1},
            table={"V": 1},
            user_root={"V": 1},
            user_table={"V": 1},
            leaf=_LEAF,
            large=_LEAF,
            page=_PAGE,
            user_large={**_PAGE, "A": 1},
        ),
        caching=caching,
    )


_BY_ADDRESS = Caching(write_back={}, write_through=None, uncached={}, write_combining=None)
_SV32 = _fields("4.3.1", 10, 34, ())
_SV39 = _fields("4.4.1", 9, 56, ())
_SV48 = _fields("4.5.1", 9, 56, ())

RISCV32 = Arch(
    name="riscv32",
    formats=(
        _format(
            name="riscv32-sv32",
            number=12,
            va_bits=32,
            phys_bits=34,
            user_end=0xC000_0000,  # the kernel's share is the last 1 GiB
            word_shift=2,
            levels=(Level(22, 10, (22,)), Level(12, 10, (12,))),  # 4.3
            fields=_SV32,
            caching=_BY_ADDRESS,
        ),
    ),
)

RISCV64 = Arch(
    name="riscv64",
    formats=(
        _format(
            name="riscv64-sv39",
            number=13,
            va_bits=39,
            phys_bits=56,
            user_end=1 << 38,  # the lower half
            word_shift=3,
            levels=(Level(30, 9, (30,)), Level(21, 9, (21,)), Level(12, 9, (12,))),  # 4.4
            fields=_SV39,
            caching=_BY_ADDRESS,
        ),
        _format(
            name="riscv64-sv48",
            number=14,
            va_bits=48,
            phys_bits=56,
            user_end=1 << 47,
            word_shift=3,
            levels=(Level(39, 9, (39,)), Level(30, 9, (30,)), Level(21, 9, (21,)), Level(12, 9, (12,))),  # 4.5
            fields=_SV48,
            caching=_BY_ADDRESS,
        ),
    ),
    # the code model "medium" is medany: RAM starts at 2 GiB there
    target=Target(
        "riscv64-unknown-none-elf", "generic-rv64", "+m,+a,+zihintpause", "medium", pause="@llvm.riscv.pause()"
    ),
    instructions=machine_code.primitives(
        invalidate=(0x12050073, 0x00008067),  # 4.2.1: sfence.vma a0, zero; ret
        save=(0x10017573, 0x00257513, 0x00008067),  # 4.1.1: csrrci a0, sstatus, SIE; andi a0, a0, SIE; ret
        restore=(0x10052073, 0x00000513, 0x00008067),  # csrs sstatus, a0; li a0, 0; ret
    ),
    compilers=(Compiler("riscv64-linux-gnu", ("-march=rv64ima", "-mabi=lp64", "-mcmodel=medany")),),
    conventions={"lp64d": 0x4},  # psABI, "File Header": EF_RISCV_FLOAT_ABI_DOUBLE, which gcc for Linux assumes
)
