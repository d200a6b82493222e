"""ARM of 32 bits. ARMv7-A has two formats of page tables, short descriptors and long ones (LPAE). ARMv7-M has none: it
is for arenas, and for kernels that bring tables of their own.

The manuals are the ARM Architecture Reference Manuals, ARMv7-A and ARMv7-R, DDI 0406C, and ARMv7-M.

    shift of the index at each level     armv7: 20, 12     armv7-lpae: 30, 21, 12
    bytes of a page                      4 KiB
    bytes of a large page                armv7: four sections of 1 MiB     armv7-lpae: 2 MiB

Short descriptors. A table of the second level has 256 entries of 4 bytes, a quarter of a frame. So four entries of the
first level are one of the kernel, whose leaf table is four of the processor's, in one frame. The first level is four
frames. TTBCR.N = 2 gives processes the first 1 GiB, by a root of one frame in TTBR0, and TTBR1 leads to the kernel's
(B3.5.4). SCTLR.AFE = 1 makes AP0 the access flag, and SCTLR.TRE = 1 lets PRRR and NMRR say what the bits C and B mean,
with all memory shareable. All domains are 0, and DACR says that it is checked.

Long descriptors. The root has four entries, in TTBR0 with TTBCR.T0SZ = 0; or its halves are those of TTBR0 and TTBR1,
with T0SZ = T1SZ = 1, as said here.
"""

from __future__ import annotations

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
    Recipe,
    Register,
    Walking,
    layout,
)
from kernmalloc.machine.arch.model import Arch, Compiler, Format

_MANUAL = "ARM DDI 0406C"

_FIGURES = "B3.5.1, figure B3-4", "B3.5.1, figure B3-5"  # of first-level and second-level descriptors

_TABLE = layout(
    _FIGURES[0],
    ("type", 0, 2, "1: leads to a table"),
    ("PXN", 2, 1, "PL1 may not execute below, where there is PXN"),
    ("NS", 3, 1, "not secure below"),
    ("domain", 5, 4, "whose rights DACR says"),
    ("implementation", 9, 1, "implementation defined"),
    ("address", 10, 22, "of a table of 1 KiB"),
)
_MAPS = {  # what every entry says that maps, wherever it says it: bits, meaning
    "XN": (1, "may not be executed"),
    "B": (1, "with C and TEX, how it is cached: B3.8.3"),
    "C": (1, "see B"),
    "AP0": (1, "access flag, with SCTLR.AFE = 1: B3.7.4"),
    "AP1": (1, "PL0 may access: B3.7.1"),
    "TEX": (3, "see B; with SCTLR.TRE = 1 the upper two are for software"),
    "AP2": (1, "read only: B3.7.1"),
    "S": (1, "shareable: PRRR says what that means"),
    "nG": (1, "not global"),
}


def _mapping(figure: str, lowest: dict[str, int], *own: tuple[str, int, int, str]) -> tuple[Field, ...]:
    """Fields of an entry that maps: its own, and those of `_MAPS` by their lowest bits."""
    shared = ((name, low, *_MAPS[name]) for name, low in lowest.items())
    return layout(figure, *sorted((*own, *shared), key=lambda each: each[1]))


_SECTION = _mapping(
    _FIGURES[0],
    {"B": 2, "C": 3, "XN": 4, "AP0": 10, "AP1": 11, "TEX": 12, "AP2": 15, "S": 16, "nG": 17},
    ("PXN", 0, 1, "PL1 may not execute, where there is PXN"),
    ("type", 1, 1, "1: maps a section"),
    ("domain", 5, 4, "whose rights DACR says"),
    ("implementation", 9, 1, "implementation defined"),
    ("supersection", 18, 1, "1: maps 16 MiB"),
    ("NS", 19, 1, "not secure"),
    ("address", 20, 12, "of a section"),
)
_SMALL = _mapping(
    _FIGURES[1],
    {"XN": 0, "B": 2, "C": 3, "AP0": 4, "AP1": 5, "TEX": 6, "AP2": 9, "S": 10, "nG": 11},
    ("type", 1, 1, "1: maps a small page"),
    ("address", 12, 20, "of a page"),
)
_SUPERSECTION = (  # B3.5.1: no domain, which is 0; an address of 32 bits
    *(each for each in _SECTION if each.name not in ("domain", "address")),
    *layout(_FIGURES[0], ("address", 24, 8, "of a supersection")),
)
_PAGE_64K = _mapping(
    _FIGURES[1],
    {"B": 2, "C": 3, "AP0": 4, "AP1": 5, "AP2": 9, "S": 10, "nG": 11, "TEX": 12, "XN": 15},
    ("type", 0, 2, "1: maps a large page"),
    ("address", 16, 16, "of a page of 64 KiB"),
)
_WRITE_BACK = {"C": 1, "B": 1}
_KERNEL = {"type": 1, "AP0": 1, **_WRITE_BACK}
_PAGE = {"type": 1, "AP1": 1, "AP2": 1, "nG": 1, **_WRITE_BACK}

_SHORT = Format(
    name="armv7",
    number=7,
    manual=_MANUAL,
    va_bits=32,
    phys_bits=32,
    user_end=1 << 30,  # with TTBCR.N = 2
    break_first=True,  # B3.10.1
    page_shift=12,
    word_shift=2,
    group=4,
    levels=(
        Level(
            20,
            12,
            (
                Form(ROOT, {"type": 1}),
                Form(LARGE, {"type": 1, "supersection": 0}, 20),
                Form("supersection", {"type": 1, "supersection": 1}, 24),
            ),
        ),
        Level(12, 8, (Form(LEAF, {"type": 1}, 12), Form("64k", {"type": 1}, 16))),
    ),
    fields={
        ROOT: _TABLE,
        TABLE: _TABLE,
        LARGE: _SECTION,
        LEAF: _SMALL,
        "supersection": _SUPERSECTION,
        "64k": _PAGE_64K,
    },
    meaning=Meaning(present="type", large={"type": 1}, used="AP0", writable={"AP2": 0}, executable={"XN": 0}),
    made=Made(
        root={"type": 1},
        table={"type": 1},
        user_root={"type": 1},
        user_table={"type": 1},
        leaf=_KERNEL,
        large=_KERNEL,
        page=_PAGE,
        user_large={**_PAGE, "AP0": 1},
    ),
    caching=Caching(
        write_back=_WRITE_BACK,
        write_through={"C": 1, "B": 0},
        uncached={"C": 0, "B": 0},
        write_combining={"C": 0, "B": 1},
    ),
    walking=Walking(  # B3.7; DACR lets only domain 0 in
        read={"domain": 0},
        write={"domain": 0, "AP2": 0},
        execute={"domain": 0, "XN": 0, "PXN": 0},
        user={"AP1": 1},
        user_execute={"domain": 0, "XN": 0},
        sets_used=False,
        used_first=True,
        formless="not present",
    ),
    registers=(
        Register("PRRR", 0xFF0F_00A9, "TEX[0] C B: 0 Device, 1 to 3 Normal, inner shareable whatever S says: B4.1.127"),
        Register("NMRR", 0x0060_0060, "1 not cacheable, 2 write-through, 3 write-back, of both caches: B4.1.110"),
        Register("TTBCR.N", 2, "processes have the first 1 GiB: B3.5.4"),
        Register("SCTLR.TRE", 1, "PRRR and NMRR count: B3.8.3"),
        Register("SCTLR.AFE", 1, "AP0 is the access flag: B3.7.4"),
        Register("DACR", 1, "rights of domain 0 are checked: B3.7.3"),
    ),
)

# of long descriptors, of AArch64, too
LONG_LEADS = {"valid": 1, "type": 1}  # to a table; a lowest entry that maps a page has it, too
LONG_BLOCK = {"valid": 1, "type": 0}
LONG_KERNEL = {"valid": 1, "SH": 3, "AF": 1}
LONG_MAIR = 0x4404_BBFF  # attributes 0 write-back, 1 write-through, 2 Device, 3 Normal, not cacheable
LONG_CACHING = Caching(
    write_back={"AttrIndx": 0},
    write_through={"AttrIndx": 1},
    uncached={"AttrIndx": 2},
    write_combining={"AttrIndx": 3},
)
_LONG_PAGE = {"valid": 1, "AP1": 1, "AP2": 1, "SH": 3, "nG": 1, "PXN": 1}


def long_made(kernel: Recipe) -> Made:
    """Recipes of long descriptors; `kernel` is what maps a block for the kernel."""
    return Made(
        root=LONG_LEADS,
        table=LONG_LEADS,
        user_root=LONG_LEADS,
        user_table=LONG_LEADS,
        leaf={**kernel, "type": 1},
        large=kernel,
        page={**_LONG_PAGE, "type": 1},
        user_large={**_LONG_PAGE, "AF": 1},
    )


_LONG_MAPS = (
    ("AttrIndx", 2, 3, "which attribute of MAIR0 and MAIR1"),
    ("NS", 5, 1, "not secure"),
    ("AP1", 6, 1, "PL0 may access"),
    ("AP2", 7, 1, "read only"),
    ("SH", 8, 2, "shareable: 0 no, 2 outer, 3 inner"),
    ("AF", 10, 1, "access flag: used"),
    ("nG", 11, 1, "not global"),
)
_LONG_UPPER = (
    ("Contiguous", 52, 1, "one of 16 adjacent entries that a TLB may hold as one"),
    ("PXN", 53, 1, "PL1 may not execute"),
    ("XN", 54, 1, "may not be executed"),
    ("software", 55, 4, "for software"),
    ("ignored", 59, 5, "the processor does not look at it"),
)
_LONG_TABLE = layout(
    "B3.6.1",
    ("valid", 0, 1, "present"),
    ("type", 1, 1, "1: leads to a table"),
    ("ignored", 2, 10, "ignored"),
    ("address", 12, 28, "of a table"),
    ("available", 52, 7, "ignored"),
    ("PXNTable", 59, 1, "PL1 may not execute below"),
    ("XNTable", 60, 1, "may not be executed below"),
    ("APTable0", 61, 1, "PL0 may not access below"),
    ("APTable1", 62, 1, "read only below"),
    ("NSTable", 63, 1, "not secure below"),
)

_LONG = Format(
    name="armv7-lpae",
    number=8,
    manual=_MANUAL,
    va_bits=32,
    phys_bits=40,
    user_end=1 << 31,  # with TTBCR.T0SZ = T1SZ = 1
    break_first=True,
    page_shift=12,
    levels=(
        Level(30, 2, (Form(ROOT, LONG_LEADS), Form(LARGE, LONG_BLOCK, 30))),
        Level(21, 9, (Form(TABLE, LONG_LEADS), Form(LARGE, LONG_BLOCK, 21))),
        Level(12, 9, (Form(LEAF, LONG_LEADS, 12),)),
    ),
    fields={
        ROOT: _LONG_TABLE,
        TABLE: _LONG_TABLE,
        LARGE: layout(
            "B3.6.1",
            ("valid", 0, 1, "present"),
            ("type", 1, 1, "0: maps a block"),
            *_LONG_MAPS,
            ("address", 21, 19, "of a block"),
            *_LONG_UPPER,
        ),
        LEAF: layout(
            "B3.6.1",
            ("valid", 0, 1, "present"),
            ("type", 1, 1, "1: maps a page; 0 is reserved"),
            *_LONG_MAPS,
            ("address", 12, 28, "of a page"),
            *_LONG_UPPER,
        ),
    },
    meaning=Meaning(present="valid", large={"type": 0}, used="AF", writable={"AP2": 0}, executable={"XN": 0}),
    made=long_made(LONG_KERNEL),
    caching=LONG_CACHING,
    walking=Walking(  # B3.7
        read={},
        write={"AP2": 0, "APTable1": 0},
        execute={"XN": 0, "PXN": 0, "XNTable": 0, "PXNTable": 0},
        user={"AP1": 1, "APTable0": 0},
        user_execute={"XN": 0, "XNTable": 0},
        sets_used=False,
        used_first=True,
        formless="not present",
    ),
    registers=(
        Register(
            "MAIR0",
            LONG_MAIR,
            "attributes 0 write-back, 1 write-through, 2 Device, 3 Normal, not cacheable: B4.1.104",
        ),
        Register("TTBCR.EAE", 1, "descriptors are long: B4.1.153"),
        Register("TTBCR.T0SZ", 1, "processes have the first 2 GiB: B3.6.4"),
        Register("TTBCR.T1SZ", 1, "the kernel has the others, by the second half of its root"),
    ),
)

ARMV7 = Arch(
    name="armv7",
    formats=(_SHORT, _LONG),
    target=Target(
        "armv7-none-eabi", "generic", "+v7,+soft-float,-neon,-vfp2,-fpregs", pause="@llvm.arm.hint(i32 1)", pointer=32
    ),
    instructions=machine_code.primitives(
        # B3.18.7: dsb; mcr p15, 0, r0, c8, c7, 3 (TLBIMVAA); dsb; isb; bx lr
        invalidate=(0xF57FF04F, 0xEE080F77, 0xF57FF04F, 0xF57FF06F, 0xE12FFF1E),
        # B9.3: mrs r0, cpsr; cpsid i; and r0, r0, #0x80; mov r1, #0; bx lr
        save=(0xE10F0000, 0xF10C0080, 0xE2000080, 0xE3A01000, 0xE12FFF1E),
        restore=(0xE3100080, 0x112FFF1E, 0xF1080080, 0xE12FFF1E),  # tst r0, #0x80; bxne lr; cpsie i; bx lr
    ),
    compilers=(Compiler("arm-none-eabi", ("-mcpu=cortex-a7", "-mfloat-abi=soft")),),
)

ARMV7M = Arch(
    name="armv7m",
    compilers=(
        Compiler("arm-none-eabi", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft")),
        Compiler("arm-none-eabi", ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft")),
    ),
)
