"""No page tables: of a kernel in a direct map, which another kernel has made (`kernel/map/direct`).

There are addresses and pages, and no entries. The tables of an address space would have one level, and map nothing.
How large a page is, the kernel around says.
"""

from __future__ import annotations

from kernmalloc.machine.arch.model import Arch, Caching, Format

NONE = Arch(
    name="none",
    format=Format(
        name="none",
        number=4,
        va_bits=64,
        phys_bits=52,
        page_shift=12,
        index_bits=0,
        root_shift=12,
        user_end=0,
        address=0,
        present_bit=0,
        write_bit=0,
        used_bit=0,
        large_bit=0,
        root=0,
        table=0,
        user_table=0,
        leaf=0,
        large=0,
        page=0,
        cache_mask=0,
        caching=Caching(write_back=0, write_through=0, uncached=0, write_combining=0),  # for whoever maps a device
    ),
)
