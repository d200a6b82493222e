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

from dataclasses import replace
from typing import TYPE_CHECKING

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import machine_code
from kernmalloc.machine.arch.entries import (
    LARGE,
    LEAF,
    ROOT,
    TABLE,
    Caching,
    Field,
    Form,
    Level,
    Made,
    Meaning,
    Register,
    Walking,
    layout,
)
from kernmalloc.machine.arch.model import Arch, Compiler, Format

if TYPE_CHECKING:
    from collections.abc import Mapping

_V = ("V", 0, 1, "valid")
_G = ("G", 5, 1, "global")
_RSW = ("RSW", 8, 2, "for software")
_TABLE = (_V, ("RWX", 1, 3, "0: leads to a table"), _G, _RSW)
_MAPS = (
    _V,
    ("R", 1, 1, "may be read"),
    ("W", 2, 1, "may be written; reserved without R"),
    ("X", 3, 1, "may be executed"),
    ("U", 4, 1, "users may access, and the supervisor not, unless sstatus.SUM = 1"),
    _G,
    ("A", 6, 1, "accessed"),
    ("D", 7, 1, "dirty"),
    _RSW,
)
NAPOT = "napot"  # a page of 64 KiB, among pages of 4 KiB


def _fields(source: str, index_bits: int, phys_bits: int) -> dict[str, tuple[Field, ...]]:
    """Entries of a format whose physical addresses have so many bits."""
    pages = phys_bits - 12
    table = layout(source, *_TABLE, ("address", 10, pages, "number of the table's frame"))
    large = ("address", 10 + index_bits, pages - index_bits, "number of the first frame; what is below is 0")
    return {
        ROOT: table,
        TABLE: table,
        LARGE: layout(source, *_MAPS, large),
        LEAF: layout(source, *_MAPS, ("address", 10, pages, "number of the frame")),
    }


def _extended(fields: Mapping[str, tuple[Field, ...]]) -> dict[str, tuple[Field, ...]]:
    """These entries on a processor that has Svpbmt and Svnapot."""
    pbmt = layout("6, Svpbmt", ("PBMT", 61, 2, "how it is cached: 0 as its address says, 1 NC, 2 IO"))
    n = layout("5, Svnapot", ("N", 63, 1, "one of 16 adjacent entries that are alike"))
    napot = layout(
        "5, Svnapot",
        ("size", 10, 4, "8: 64 KiB; other values are reserved"),
        ("address", 14, 40, "of a page of 64 KiB"),
    )
    leaf = tuple(each for each in fields[LEAF] if each.name != "address")
    return {
        **fields,
        LARGE: (*fields[LARGE], *pbmt),
        LEAF: (*fields[LEAF], *pbmt, *n),
        NAPOT: (*leaf, *napot, *pbmt, *n),
    }


def _leads(kind: str = TABLE) -> Form:
    return Form(kind, {"V": 1, "RWX": 0})


def _maps(kind: str, page: int, **tells: int) -> tuple[Form, ...]:
    """An entry that maps may be read, or only executed."""
    return Form(kind, {"V": 1, "R": 1, **tells}, page), Form(kind, {"V": 1, "R": 0, "W": 0, "X": 1, **tells}, page)


def _levels(first: int) -> tuple[Level, ...]:
    """Levels of 9 bits from a shift down."""
    upper = (
        Level(shift, 9, (_leads(ROOT if shift == first else TABLE), *_maps(LARGE, shift)))
        for shift in range(first, 12, -9)
    )
    return (*upper, Level(12, 9, _maps(LEAF, 12)))


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
    registers: tuple[Register, ...],
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
        registers=registers,
        walking=Walking(  # 4.3.2
            read={"R": 1},
            write={"W": 1},
            execute={"X": 1},
            user={"U": 1},
            user_execute={"X": 1},
            dirty="D",
            sets_used=False,
            strict=True,
            beyond="no memory",
            halves="sign" if va_bits > 32 else "none",
            keeps_from_users_pages=True,
            keeps_from_users_code=True,
        ),
    )


_BY_ADDRESS = Caching(write_back={}, write_through=None, uncached={}, write_combining=None)
_BY_ENTRY = Caching(  # 6: NC is idempotent and weakly ordered, IO is not
    write_back={"PBMT": 0}, write_through=None, uncached={"PBMT": 2}, write_combining={"PBMT": 1}
)


def _mode(number: int) -> tuple[Register, ...]:
    return (Register("satp.MODE", number, "which of the formats: 4.1.11"),)


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
            levels=(Level(22, 10, (_leads(ROOT), *_maps(LARGE, 22))), Level(12, 10, _maps(LEAF, 12))),  # 4.3
            fields=_fields("4.3.1", 10, 34),
            caching=_BY_ADDRESS,
            registers=_mode(1),
        ),
    ),
)


def _wide(name: str, number: int, *, va_bits: int, mode: int, source: str) -> Format:
    """A format with entries of 8 bytes."""
    return _format(
        name=name,
        number=number,
        va_bits=va_bits,
        phys_bits=56,
        user_end=1 << va_bits - 1,  # the lower half
        word_shift=3,
        levels=_levels(va_bits - 9),
        fields=_fields(source, 9, 56),
        caching=_BY_ADDRESS,
        registers=_mode(mode),
    )


def _with_extensions(format: Format, name: str, number: int) -> Format:
    """The format on a processor that has Svpbmt and Svnapot."""
    lowest = Level(12, 9, (*_maps(LEAF, 12, N=0), *_maps(NAPOT, 16, N=1, size=8)))
    return replace(
        format,
        name=name,
        number=number,
        levels=(*format.levels[:-1], lowest),
        fields=_extended(format.fields),
        caching=_BY_ENTRY,
        registers=(*format.registers, Register("menvcfg.PBMTE", 1, "PBMT counts: 3.1.18")),
    )


_SV39 = _wide("riscv64-sv39", 13, va_bits=39, mode=8, source="4.4.1")
_SV48 = _wide("riscv64-sv48", 14, va_bits=48, mode=9, source="4.5.1")

RISCV64 = Arch(
    name="riscv64",
    formats=(
        _SV39,
        _SV48,
        _with_extensions(_SV39, "riscv64-sv39-svpbmt", 15),
        _with_extensions(_SV48, "riscv64-sv48-svpbmt", 16),
    ),
    # the code model "medium" is medany: RAM starts at 2 GiB there
    target=Target(
        "riscv64-unknown-none-elf", "generic-rv64", "+m,+a,+zihintpause", "medium", pause="@llvm.riscv.pause()"
    ),
    instructions=machine_code.primitives(
        # 4.2.1: sfence.vma zero, zero; ret. With an address it would leave what leads to tables, and these are dropped.
        invalidate=(0x12000073, 0x00008067),
        save=(0x10017573, 0x00257513, 0x00008067),  # 4.1.1: csrrci a0, sstatus, SIE; andi a0, a0, SIE; ret
        restore=(0x10052073, 0x00000513, 0x00008067),  # csrs sstatus, a0; li a0, 0; ret
    ),
    compilers=(Compiler("riscv64-linux-gnu", ("-march=rv64ima", "-mabi=lp64", "-mcmodel=medany")),),
    conventions={"lp64d": 0x4},  # psABI, "File Header": EF_RISCV_FLOAT_ABI_DOUBLE, which gcc for Linux assumes
)
