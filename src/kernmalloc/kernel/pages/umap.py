"""Address spaces: the mapping tables that processes run on.

Concepts
  1. A mapping table is a heap page (E17) whose frame has the type MAPPING (E18): the kernel changes its entries where
     it lies, and opens no window. The kernel walks tables as the processor does, by the physical addresses in their
     entries; the core table entry of a table's frame leads back to its kernel address.
  2. A table is made when the first page is mapped through it. It stays until the address space goes, even if its last
     entry has gone, or until a large page takes its place. All tables that an operation lacks are made before the first
     of them is entered.
  3. The last table of a walk has leaf entries, one per page. The entry that leads to it may map a large page instead.
     `faults` decides what pages are mapped, `held` what else is.

    owner(frame of a table) = its VA
    link(frame of a table)  = entries present in it
    pages of an address space = leaf entries + pages of its large pages
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import HEAP, MAPPING, Cpu, Kern, Word
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.kernel.frames.regions import region_of
from kernmalloc.kernel.frames.table import Frame, entry_of, set_type
from kernmalloc.kernel.heap.caches import UMAP_CACHE, is_object
from kernmalloc.kernel.heap.malloc import own_free, own_zeroed
from kernmalloc.kernel.map.kmap import pfn_at
from kernmalloc.lang import Record, ctz, failed, field, i64, kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    entry_pa,
    index_at,
    is_large,
    is_present,
    load_entry,
    span_shift,
    store_upper,
    stride_at,
    user_table_entry,
)
from kernmalloc.machine.primitives import forget


class Umap(Record):
    """One address space."""

    root: i64 = field("VA of its root table")
    next: Umap = field("next address space")
    prev: Umap = field("the one before it")
    pages: i64 = field("pages mapped, those of large pages among them")
    tables: i64 = field("tables, the root among them")
    root_pa: i64 = field("physical address of the root table: what the processor is given")

    invariants = (
        "pages == tally.umap_pages",
        "tables == tally.umap_tables",
        "tally.umap_errors == 0",
        "root_pa == tally.umap_root",
    )


@kernel
def table_frame(cpu: Cpu, pfn: int) -> Frame:
    """The core table entry of a table's frame."""
    return entry_of(cpu, region_of(cpu, pfn), pfn)


@kernel
def table_make(cpu: Cpu) -> int:
    """A table of zeros: its VA, or what `own_zeroed` says."""
    kern = cpu.kern
    va = own_zeroed(cpu, 1 << kern.page_shift)
    if failed(va):
        return va
    frame = table_frame(cpu, pfn_at(cpu, va))
    set_type(cpu, frame, MAPPING, 0)
    frame.owner = va
    kern.pages.tables = kern.pages.tables + 1
    return va


@kernel
def table_free(cpu: Cpu, va: int) -> int:
    """Give a table back, as the heap page that it was before."""
    kern = cpu.kern
    frame = table_frame(cpu, pfn_at(cpu, va))
    set_type(cpu, frame, HEAP, 0)
    frame.owner = 0
    frame.link = 0
    kern.pages.tables = kern.pages.tables - 1
    return own_free(cpu, va)


@kernel
def entry_in_table(kern: Kern, table: int, va: int, shift: int) -> int:
    """Where the entry for va lies in a table of the level whose index begins at bit `shift`."""
    return table + index_at(kern.format, va, shift)


@kernel
def entries_in(kern: Kern, shift: int) -> int:
    """Entries in a table of that level, of an address space: a table fills a frame."""
    return 1 << (kern.page_shift - stride_at(kern.format, shift))


@kernel
def table_below(cpu: Cpu, entry: int) -> int:
    """VA of the table that an entry leads to."""
    kern = cpu.kern
    return table_frame(cpu, entry_pa(kern.format, entry) >> kern.page_shift).owner


@kernel
def counted(cpu: Cpu, at: int, change: int) -> int:
    """Add to the count of entries present in the table that the entry at an address lies in."""
    kern = cpu.kern
    frame = table_frame(cpu, pfn_at(cpu, at & -(1 << kern.page_shift)))
    frame.link = frame.link + change
    return OK


@kernel
def umap_spans(cpu: Cpu, umap: Umap, va: int, count: int, shift: int) -> int:
    """1 if there is such an address space, and it may map so many pages of that shift, one or more, from va on."""
    end = cpu.kern.format.user_end
    if va < 0 or va >= end or va & ((1 << shift) - 1) != 0 or count <= 0 or count > (end - va) >> shift:
        return 0
    return is_object(cpu, UMAP_CACHE, umap.addr)


@kernel
def entry_for(cpu: Cpu, umap: Umap, va: int, level: int) -> int:
    """Where the entry for va lies in the table of a level; 0 if there is no such table."""
    kern = cpu.kern
    table = umap.root
    shift = kern.format.root_shift
    while shift > level:
        entry = load_entry(kern.format, entry_in_table(kern, table, va, shift))
        if is_present(kern.format, entry) == 0 or is_large(kern.format, entry) != 0:
            return 0
        table = table_below(cpu, entry)
        shift -= kern.format.index_bits
    return entry_in_table(kern, table, va, shift)


@kernel
def leaf_in(cpu: Cpu, umap: Umap, va: int) -> int:
    """Where the leaf entry for va lies; 0 if a table on the way is missing."""
    return entry_for(cpu, umap, va, cpu.kern.page_shift)


@kernel
def _is_missing(cpu: Cpu, umap: Umap, va: int, shift: int) -> int:
    """1 if no table hangs under the entry for va of a level, or there is no such entry."""
    at = entry_for(cpu, umap, va, shift)
    return 1 - is_present(cpu.kern.format, load_entry(cpu.kern.format, at)) if at != 0 else 1


@kernel
def _tables_missing(cpu: Cpu, umap: Umap, va: int, end: int, level: int) -> int:
    """Tables that addresses [va, end), in which nothing is mapped, lack down to a level."""
    missing = 0
    shift = cpu.kern.format.root_shift
    while shift > level:
        at = va
        while at < end:
            missing += _is_missing(cpu, umap, at, shift)
            at = ((at >> shift) + 1) << shift
        shift -= cpu.kern.format.index_bits
    return missing


@kernel
def _spare_tables(cpu: Cpu, count: int) -> int:
    """VA of the first of so many new tables, each of which begins with the VA of the next; 0: of none. Or what
    `own_zeroed` says: then none was made."""
    first = 0
    for _ in range(count):
        table = table_make(cpu)
        if failed(table):
            while first != 0:
                next = Word(first).bits
                table_free(cpu, first)
                first = next
            return table
        Word(table).bits = first
        first = table
    return first


@kernel
def tables_make(cpu: Cpu, umap: Umap, va: int, end: int, level: int) -> int:
    """Make the tables that addresses [va, end), in which nothing is mapped, lack down to a level: OK. Or what
    `own_zeroed` says: then none was made."""
    kern = cpu.kern
    table = _spare_tables(cpu, _tables_missing(cpu, umap, va, end, level))
    if failed(table):
        return table
    shift = kern.format.root_shift
    while table != 0:
        at = va
        while at < end and table != 0:
            if _is_missing(cpu, umap, at, shift) != 0:
                upper = entry_for(cpu, umap, at, shift)
                next = Word(table).bits
                Word(table).bits = 0
                pa = pfn_at(cpu, table) << kern.page_shift
                store_upper(kern.format, upper, user_table_entry(kern.format, pa, shift))
                counted(cpu, upper, 1)
                umap.tables = umap.tables + 1
                table = next
            at = ((at >> shift) + 1) << shift
        shift -= kern.format.index_bits
    return OK


@kernel
def large_forget(cpu: Cpu, umap: Umap, va: int) -> int:
    """Have every processor forget what it knows of the upper entry for va: of each of its words, which map or lead to
    a part."""
    format = cpu.kern.format
    part = (1 << span_shift(format)) >> ctz(format.group)
    for i in range(format.group):
        forget(umap.root_pa, va + i * part)
    return OK


@kernel
def table_drop(cpu: Cpu, umap: Umap, va: int, at: int) -> int:
    """Take away the leaf table, which has no entries, that the upper entry at `at`, that for va, leads to."""
    table = table_below(cpu, load_entry(cpu.kern.format, at))
    store_upper(cpu.kern.format, at, 0)
    counted(cpu, at, -1)
    umap.tables = umap.tables - 1
    large_forget(cpu, umap, va)
    return table_free(cpu, table)


umap_link, umap_unlink = linked_list(
    "umap",
    "an address space",
    "pages: Pages",
    kind="Umap",
    first="pages.umaps",
    next="{}.next",
    prev="{}.prev",
    namespace=globals(),
)


@kernel
def _tables_free(cpu: Cpu, table: int, shift: int) -> int:
    """Give a table and all below it back."""
    kern = cpu.kern
    below = shift - kern.format.index_bits
    if shift > kern.page_shift:
        for i in range(entries_in(kern, shift)):
            entry = load_entry(kern.format, table + (i << stride_at(kern.format, shift)))
            if is_present(kern.format, entry) != 0:
                _tables_free(cpu, table_below(cpu, entry), below)
    return table_free(cpu, table)


@kernel
def umap_drop(cpu: Cpu, umap: Umap) -> int:
    """Give an address space that maps no page back."""
    kern = cpu.kern
    umap_unlink(kern.pages, umap)
    _tables_free(cpu, umap.root, kern.format.root_shift)
    return own_free(cpu, umap.addr)


@kernel
def next_leaf(cpu: Cpu, umap: Umap, va: int, end: int) -> int:
    """The first address from va on, below `end`, at which a page is mapped; `end` if there is none."""
    kern = cpu.kern
    at = va
    while at < end:
        table = umap.root
        shift = kern.format.root_shift
        entry = load_entry(kern.format, entry_in_table(kern, table, at, shift))
        while shift > kern.page_shift and is_present(kern.format, entry) != 0 and is_large(kern.format, entry) == 0:
            table = table_below(cpu, entry)
            shift -= kern.format.index_bits
            entry = load_entry(kern.format, entry_in_table(kern, table, at, shift))
        if is_present(kern.format, entry) != 0:
            return at
        at = ((at >> shift) + 1) << shift
    return end


@kernel
def large_at(cpu: Cpu, umap: Umap, va: int) -> int:
    """Where the upper entry lies that maps the large page at va; 0 if none is mapped there."""
    format = cpu.kern.format
    at = entry_for(cpu, umap, va, span_shift(format))
    if at == 0:
        return 0
    entry = load_entry(format, at)
    return at if is_present(format, entry) != 0 and is_large(format, entry) != 0 else 0
