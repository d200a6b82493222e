"""No page tables: of a kernel in a direct map, which another kernel has made (`kernel/map/direct`).

There are addresses and pages, and no entries. How large a page is, the kernel around says.
"""

from __future__ import annotations

from kernmalloc.machine.arch.entries import Caching, Made, Meaning, Walking
from kernmalloc.machine.arch.model import Arch, Format

NONE = Arch(
    name="none",
    formats=(
        Format(
            name="none",
            number=4,
            manual="",
            va_bits=64,
            phys_bits=52,
            page_shift=12,
            user_end=0,
            levels=(),
            fields={},
            meaning=Meaning(present="", large={}, used="", writable={}, executable={}),
            made=Made(root={}, table={}, user_root={}, user_table={}, leaf={}, large={}, page={}, user_large={}),
            walking=Walking(read={}, write={}, execute={}, user={}, user_execute={}),
            caching=Caching({}, {}, {}, {}),  # for whoever maps a device
        ),
    ),
)
