"""ARM of 64 bits, ARMv8-A, with granules of 4, 16 and 64 KiB.

The manual is the ARM Architecture Reference Manual, DDI 0487, issue K.a.

    granule      shift of the index at each level     bits of an address     bytes of a large page
    4 KiB        39, 30, 21, 12                       48                     2 MiB
    16 KiB       36, 25, 14                           47                     32 MiB
    64 KiB       29, 16                               42                     512 MiB

Addresses are as wide as a root of one frame reaches: TCR_EL1.T0SZ and T1SZ are 64 less their bits. TTBR1_EL1 leads to
the kernel's tables, whose addresses have ones above these bits, TTBR0_EL1 to those of a process, whose addresses have
zeros. Physical addresses have 48 bits. Entries are made like the long descriptors of ARMv7. The access flag is
software's to set where TCR_EL1.HA is 0: what the kernel maps for itself has it.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import armv7, machine_code
from kernmalloc.machine.arch.entries import (
    LARGE,
    LEAF,
    ROOT,
    TABLE,
    Field,
    Form,
    Level,
    Meaning,
    Register,
    Walking,
    layout,
)
from kernmalloc.machine.arch.model import Arch, Compiler, Format

_MAPS = (
    ("AttrIndx", 2, 3, "which attribute of MAIR_EL1"),
    ("NS", 5, 1, "not secure; ignored from the non-secure state"),
    ("AP1", 6, 1, "EL0 may access"),
    ("AP2", 7, 1, "read only"),
    ("SH", 8, 2, "shareable: 0 no, 2 outer, 3 inner"),
    ("AF", 10, 1, "access flag: used"),
    ("nG", 11, 1, "not global"),
)
_UPPER = (
    ("DBM", 51, 1, "dirty bit modifier, with TCR_EL1.HD"),
    ("Contiguous", 52, 1, "one of a set of adjacent entries that a TLB may hold as one"),
    ("PXN", 53, 1, "EL1 may not execute"),
    ("UXN", 54, 1, "EL0 may not execute"),
    ("software", 55, 4, "for software"),
    ("ignored", 59, 5, "the processor does not look at it, or PBHA"),
)


def _fields(page_shift: int, span_shift: int) -> dict[str, tuple[Field, ...]]:
    """Entries of a granule, whose block entries map large pages: D8.3.1."""
    table = layout(
        "D8.3.1, table descriptor",
        ("valid", 0, 1, "present"),
        ("type", 1, 1, "1: leads to a table"),
        ("ignored", 2, page_shift - 2, "ignored"),
        ("address", page_shift, 48 - page_shift, "of a table"),
        ("available", 51, 8, "ignored"),
        ("PXNTable", 59, 1, "EL1 may not execute below"),
        ("UXNTable", 60, 1, "EL0 may not execute below"),
        ("APTable0", 61, 1, "EL0 may not access below"),
        ("APTable1", 62, 1, "read only below"),
        ("NSTable", 63, 1, "not secure below"),
    )
    large = layout(
        "D8.3.1, block descriptor",
        ("valid", 0, 1, "present"),
        ("type", 1, 1, "0: maps a block"),
        *_MAPS,
        ("nT", 16, 1, "block translation entry, with FEAT_BBM"),
        ("address", span_shift, 48 - span_shift, "of a block"),
        ("GP", 50, 1, "guarded page, with FEAT_BTI"),
        *_UPPER,
    )
    leaf = layout(
        "D8.3.1, page descriptor",
        ("valid", 0, 1, "present"),
        ("type", 1, 1, "1: maps a page; 0 is reserved"),
        *_MAPS,
        ("address", page_shift, 48 - page_shift, "of a page"),
        ("GP", 50, 1, "guarded page, with FEAT_BTI"),
        *_UPPER,
    )
    return {ROOT: table, TABLE: table, LARGE: large, LEAF: leaf}


_TOP = (Form(ROOT, armv7.LONG_LEADS),)


def _upper(page: int, kind: str = TABLE) -> tuple[Form, ...]:
    """Forms where an entry leads to a table or maps a block."""
    return Form(kind, armv7.LONG_LEADS), Form(LARGE, armv7.LONG_BLOCK, page)


def _lowest(page: int) -> tuple[Form, ...]:
    return (Form(LEAF, armv7.LONG_LEADS, page),)


def _format(*, name: str, number: int, page_shift: int, va_bits: int, levels: tuple[Level, ...]) -> Format:
    return Format(
        name=name,
        number=number,
        manual="ARM DDI 0487, issue K.a",
        va_bits=va_bits,
        phys_bits=48,
        user_end=1 << va_bits,  # all of TTBR0's addresses
        break_first=True,  # D8.16.1
        page_shift=page_shift,
        levels=levels,
        fields=_fields(page_shift, levels[-2].shift),
        meaning=Meaning(present="valid", large={"type": 0}, used="AF", writable={"AP2": 0}, executable={"PXN": 0}),
        made=armv7.long_made({**armv7.LONG_KERNEL, "UXN": 1}),
        caching=armv7.LONG_CACHING,
        walking=Walking(  # D8.4
            read={},
            write={"AP2": 0, "APTable1": 0},
            execute={"PXN": 0, "PXNTable": 0},
            user={"AP1": 1, "APTable0": 0},
            user_execute={"UXN": 0, "UXNTable": 0},
            sets_used=False,
            used_first=True,
            formless="not present",
            beyond="too high",
            halves="both",
            keeps_from_users_data=True,
            execute_alone=True,
        ),
        registers=(
            Register(
                "MAIR_EL1",
                armv7.LONG_MAIR,
                "attributes 0 write-back, 1 write-through, 2 Device-nGnRE, 3 Normal, not cacheable",
            ),
            Register("TCR_EL1.T0SZ", 64 - va_bits, "so many bits of an address of a process are not translated"),
            Register("TCR_EL1.T1SZ", 64 - va_bits, "nor of one of the kernel"),
            Register("TCR_EL1.TG0", {12: 0, 14: 2, 16: 1}[page_shift], "the granule of processes"),
            Register("TCR_EL1.TG1", {12: 2, 14: 1, 16: 3}[page_shift], "the granule of the kernel"),
        ),
    )


AARCH64 = Arch(
    name="aarch64",
    formats=(
        _format(
            name="aarch64",
            number=9,
            page_shift=12,
            va_bits=48,
            levels=(Level(39, 9, _TOP), Level(30, 9, _upper(30)), Level(21, 9, _upper(21)), Level(12, 9, _lowest(12))),
        ),
        _format(
            name="aarch64-16k",
            number=10,
            page_shift=14,
            va_bits=47,
            levels=(Level(36, 11, _TOP), Level(25, 11, _upper(25)), Level(14, 11, _lowest(14))),
        ),
        _format(
            name="aarch64-64k",
            number=11,
            page_shift=16,
            va_bits=42,
            levels=(Level(29, 13, _upper(29, ROOT)), Level(16, 13, _lowest(16))),
        ),
    ),
    target=Target("aarch64-none-elf", "generic", "-neon,-fp-armv8", pause="@llvm.aarch64.hint(i32 1)"),
    instructions=machine_code.primitives(
        # D8.16: lsr x0, x0, #12; dsb ishst; tlbi vaae1is, x0; dsb ish; isb; ret
        invalidate=(0xD34CFC00, 0xD5033A9F, 0xD5088360, 0xD5033B9F, 0xD5033FDF, 0xD65F03C0),
        save=(0xD53B4220, 0xD50342DF, 0xD65F03C0),  # C5.2.4: mrs x0, daif; msr daifset, #2; ret
        restore=(0xD51B4220, 0xD65F03C0),  # msr daif, x0; ret
    ),
    # outline atomics are calls into a library
    compilers=(Compiler("aarch64-linux-gnu", ("-mgeneral-regs-only", "-mno-outline-atomics")),),
)
