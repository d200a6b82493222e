"""ColdFire V4e, as in the MCF547x and MCF548x: a TLB that software loads, from tables that are the kernel's own.

The manual is the MCF547x Reference Manual. An entry that maps is the word that a miss handler puts into MMUDR
(5.5.3.5), and in bit 0, which MMUDR does not use, MMUTR's valid bit (5.5.3.4). An entry without the right to read leads
to a table.

    shift of the index at each level     27, 20, 13
    bytes of a page, of a large page     8 KiB, 1 MiB

From one entry of a table to the next it is 64 bytes, of which the first word counts: large pages are small here, a
table fills its frame, and tables side by side are one array. There are cache modes, and none that combines writes. LLVM
makes no objects for ColdFire.
"""

from __future__ import annotations

from kernmalloc.machine.arch.model import Arch, Caching, Compiler, Format

VALID = 1 << 0  # MMUTR's V

# fields of MMUDR
EXECUTE = 1 << 2
WRITE = 1 << 3
READ = 1 << 4
SUPERVISOR = 1 << 5
WRITE_THROUGH = 0 << 6  # CM
COPYBACK = 1 << 6
INHIBITED = 2 << 6  # in order
MODE = 3 << 6
SIZE_8_KIB = 2 << 8  # SZ; 0: 1 MiB
USED = 1 << 10  # of the address bits that a page of 8 KiB leaves free: the miss handler's note
ADDRESS = 0xFFFF_E000

_LARGE = VALID | READ | WRITE | EXECUTE | SUPERVISOR | COPYBACK

COLDFIRE = Arch(
    name="coldfire",
    format=Format(
        name="coldfire",
        number=3,
        va_bits=32,
        phys_bits=32,
        tlb=32,  # of data, and as many again of instructions: 5
        page_shift=13,
        index_bits=7,
        root_shift=27,
        user_end=0xC000_0000,  # the kernel's share is the last 1 GiB
        address=ADDRESS,
        present_bit=VALID,
        write_bit=WRITE,
        used_bit=USED,
        large_bit=READ,
        root=VALID,
        table=VALID,
        user_table=VALID,
        leaf=_LARGE | SIZE_8_KIB,
        large=_LARGE,
        page=VALID | READ | EXECUTE | COPYBACK | SIZE_8_KIB,
        cache_mask=MODE,
        caching=Caching(write_back=COPYBACK, write_through=WRITE_THROUGH, uncached=INHIBITED, write_combining=None),
    ),
    # the second is of a family without this MMU, for kernels that bring tables of their own
    compilers=(Compiler("m68k-linux-gnu", ("-mcpu=547x",)), Compiler("m68k-linux-gnu", ("-mcpu=5208",))),
)
