"""ColdFire V4e, as in the MCF547x and MCF548x: a TLB that software loads, from tables that are the kernel's own.

The manual is the MCF547x Reference Manual. An entry that maps is the word that a miss handler puts into MMUDR
(5.5.3.5), and in bit 0, which MMUDR does not use, MMUTR's valid bit (5.5.3.4). An entry without the right to read leads
to a table.

    shift of the index at each level     27, 20, 13
    bytes of a page, of a large page     8 KiB, 1 MiB

From one entry of a table to the next it is 64 bytes, of which the first four count: large pages are small here, a
table fills its frame, and tables side by side are one array. There are cache modes, and none that combines writes. LLVM
makes no objects for ColdFire.
"""

from __future__ import annotations

from kernmalloc.machine.arch.entries import (
    LARGE,
    LEAF,
    ROOT,
    TABLE,
    Caching,
    Form,
    Level,
    Loading,
    Made,
    Meaning,
    Walking,
    layout,
)
from kernmalloc.machine.arch.model import Arch, Compiler, Format

_V, _SG, _ID = layout(
    "5.5.3.4, MMUTR",
    ("V", 0, 1, "valid"),
    ("SG", 1, 1, "shared by all address spaces"),
    ("ID", 2, 8, "the number of its address space"),
)
_OWN = "the kernel's own"
_ADDRESS = ("address", 13, 19, "of a table")

_RIGHTS = layout(
    "5.5.3.5, MMUDR",
    ("LK", 1, 1, "locked: the TLB does not replace it"),
    ("X", 2, 1, "may be executed"),
    ("W", 3, 1, "may be written"),
    ("R", 4, 1, "may be read"),
    ("SP", 5, 1, "only the supervisor may access"),
    ("CM", 6, 2, "cache mode: 0 write-through, 1 copyback, 2 inhibited, precise, 3 inhibited, imprecise"),
    ("SZ", 8, 2, "size of the page: 0 1 MiB, 1 4 KiB, 2 8 KiB, 3 1 KiB"),
)
_USED = layout(
    _OWN, ("used", 10, 1, "the miss handler has loaded it; MMUDR ignores address bits below the page's size")
)

_TABLE_FIELDS = (_V, *layout(_OWN, ("maps", 4, 1, "0: it leads to a table"), _ADDRESS))
_LARGE = {"V": 1, "R": 1, "W": 1, "X": 1, "SP": 1, "CM": 1, "SZ": 0, "used": 1}
_PAGE = {"V": 1, "R": 1, "X": 1, "CM": 1}

COLDFIRE = Arch(
    name="coldfire",
    formats=(
        Format(
            name="coldfire",
            number=3,
            manual="MCF547x Reference Manual, chapter 5",
            va_bits=32,
            phys_bits=32,
            tlb=32,  # of data, and as many again of instructions: 5
            loading=Loading(("X", "W", "R", "SP", "CM", "SZ"), lock="LK", valid=_V, shared=_SG, space=_ID),
            user_end=0xC000_0000,  # the kernel's share is the last 1 GiB
            page_shift=13,
            word_shift=2,
            levels=(
                Level(27, 5, (Form(ROOT, {"V": 1, "maps": 0}),)),
                Level(20, 7, (Form(TABLE, {"V": 1, "maps": 0}), Form(LARGE, {"V": 1, "R": 1}, 20))),
                Level(13, 7, (Form(LEAF, {"V": 1}, 13),)),
            ),
            walking=Walking(read={"R": 1}, write={"W": 1}, execute={"X": 1}, user={"SP": 0}, user_execute={"X": 1}),
            fields={
                ROOT: _TABLE_FIELDS,
                TABLE: _TABLE_FIELDS,
                LARGE: (_V, *_RIGHTS, *_USED, *layout("5.5.3.5, MMUDR", ("address", 20, 12, "of 1 MiB"))),
                LEAF: (_V, *_RIGHTS, *_USED, *layout("5.5.3.5, MMUDR", ("address", 13, 19, "of a page"))),
            },
            meaning=Meaning(present="V", large={"R": 1}, used="used", writable={"W": 1}, executable={"X": 1}),
            made=Made(
                root={"V": 1},
                table={"V": 1},
                user_root={"V": 1},
                user_table={"V": 1},
                leaf={**_LARGE, "SZ": 2},
                large=_LARGE,
                page={**_PAGE, "SZ": 2},
                user_large={**_PAGE, "used": 1},
            ),
            caching=Caching(write_back={"CM": 1}, write_through={"CM": 0}, uncached={"CM": 2}, write_combining=None),
        ),
    ),
    # the second is of a family without this MMU, for kernels that bring tables of their own
    compilers=(Compiler("m68k-linux-gnu", ("-mcpu=547x",)), Compiler("m68k-linux-gnu", ("-mcpu=5208",))),
)
