"""Address spaces: the mapping tables that processes run on.

Concepts
  1. Tables are mapping frames in kernel space (E17): heap pages whose frames have the type MAPPING (E18), so that changing an
     entry opens no window. A table's core table entry leads back to its kernel address and counts its entries: the
     kernel walks tables as the processor does, by the physical addresses in them.
  2. A table comes with the first page mapped through it and goes with the address space; one whose last entry has gone
     stays for the next.
  3. Who maps what is up to `faults`; here a page has one place, its leaf entry.

    owner(frame of a table) = its VA
    link(frame of a table)  = entries present in it
"""

from kernmalloc.kernel.caches import UMAP_CACHE
from kernmalloc.kernel.frames import Frame, entry_of, set_type
from kernmalloc.kernel.heap import free, malloc_zeroed
from kernmalloc.kernel.kern import HEAP, MAPPING, Cpu, Kern, Pages
from kernmalloc.kernel.kmap import pfn_at
from kernmalloc.kernel.regions import region_of
from kernmalloc.kernel.magazines import slot_take
from kernmalloc.lang import i64, kernel, record
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    Entry,
    entry_pa,
    entry_shift,
    index_at,
    index_bits,
    is_present,
    root_entry,
    root_shift,
    user_table_entry,
)

PAGES = Kern.offset("pages")


@record(size=48)
class Umap:
    """One address space."""

    root: i64 = "VA of its root table"
    next: i64 = "VA of the next address space"
    prev: i64 = "VA of the one before"
    pages: i64 = "pages mapped"
    tables: i64 = "tables, the root among them"
    root_pa: i64 = "physical address of the root table: what the processor is given"

    invariants = (
        "pages == tally.umap_pages",
        "tables == tally.umap_tables",
        "tally.umap_errors == 0",
        "root_pa == tally.umap_root",
    )


@kernel
def table_frame(cpu, pfn):
    """VA of the core table entry of a table's frame."""
    return entry_of(cpu, region_of(cpu, pfn), pfn)


@kernel
def _table_make(cpu):
    """A table of zeros: its VA. As `malloc_zeroed`."""
    k = Kern(Cpu(cpu).kern)
    va = malloc_zeroed(cpu, 1 << k.page_shift)
    if va < 0:
        return va
    frame = table_frame(cpu, pfn_at(cpu, va))
    set_type(cpu, frame, MAPPING, 0)
    Frame(frame).owner = va
    Pages(k.addr + PAGES).tables = Pages(k.addr + PAGES).tables + 1
    return va


@kernel
def _table_free(cpu, va):
    """Give a table back; it is the heap's frame again first."""
    k = Kern(Cpu(cpu).kern)
    frame = table_frame(cpu, pfn_at(cpu, va))
    set_type(cpu, frame, HEAP, 0)
    Frame(frame).owner = 0
    Frame(frame).link = 0
    Pages(k.addr + PAGES).tables = Pages(k.addr + PAGES).tables - 1
    return free(cpu, va)


@kernel
def entry_in_table(kern, table, va, shift):
    """VA of the entry for va in a table of the level whose index begins at bit `shift`."""
    return table + index_at(Kern(kern).arch, va, shift)


@kernel
def table_below(cpu, entry):
    """VA of the table that an entry leads to."""
    k = Kern(Cpu(cpu).kern)
    return Frame(table_frame(cpu, entry_pa(k.arch, entry) >> k.page_shift)).owner


@kernel
def counted(cpu, entry, change):
    """Add to the entries present in the table that the entry at VA `entry` lies in; returns how many there are now."""
    k = Kern(Cpu(cpu).kern)
    f = Frame(table_frame(cpu, pfn_at(cpu, entry & -(1 << k.page_shift))))
    now = f.link + change
    f.link = now
    return now


@kernel
def leaf_in(cpu, umap, va):
    """VA of the leaf entry for va, or 0 if a table on the way is missing."""
    k = Kern(Cpu(cpu).kern)
    table = Umap(umap).root
    shift = root_shift(k.arch)
    while shift > k.page_shift:
        entry = Entry(entry_in_table(k.addr, table, va, shift)).bits
        if is_present(k.arch, entry) == 0:
            return 0
        table = table_below(cpu, entry)
        shift -= index_bits(k.arch)
    return entry_in_table(k.addr, table, va, shift)


@kernel
def _cut(cpu, umap, first, va, shift, end):
    """Take away the table that the entry at `first` leads to, and those below it on the way to va, down to level `end`."""
    k = Kern(Cpu(cpu).kern)
    table = table_below(cpu, Entry(first).bits)
    Entry(first).bits = 0
    counted(cpu, first, -1)
    level = shift - index_bits(k.arch)
    while level > end:
        below = table_below(cpu, Entry(entry_in_table(k.addr, table, va, level)).bits)
        _table_free(cpu, table)
        Umap(umap).tables = Umap(umap).tables - 1
        table = below
        level -= index_bits(k.arch)
    Umap(umap).tables = Umap(umap).tables - 1
    return _table_free(cpu, table)


@kernel
def leaf_made(cpu, umap, va):
    """VA of the leaf entry for va, making the tables that are missing. As `malloc_zeroed`; then none was made."""
    k = Kern(Cpu(cpu).kern)
    table = Umap(umap).root
    shift = root_shift(k.arch)
    first = 0  # the entry under which the first new table hangs
    first_shift = 0
    while shift > k.page_shift:
        at = entry_in_table(k.addr, table, va, shift)
        entry = Entry(at).bits
        if is_present(k.arch, entry) == 0:
            below = _table_make(cpu)
            if below < 0:
                if first != 0:
                    _cut(cpu, umap, first, va, first_shift, shift)
                return below
            pa = pfn_at(cpu, below) << k.page_shift
            Entry(at).bits = root_entry(k.arch, pa) if shift == root_shift(k.arch) else user_table_entry(k.arch, pa)
            counted(cpu, at, 1)
            Umap(umap).tables = Umap(umap).tables + 1
            if first == 0:
                first = at
                first_shift = shift
            table = below
        else:
            table = table_below(cpu, entry)
        shift -= index_bits(k.arch)
    return entry_in_table(k.addr, table, va, shift)


@kernel
def umap_new(cpu):
    """An empty address space: its VA. LIMIT, or as `malloc_zeroed`."""
    k = Kern(Cpu(cpu).kern)
    umap = slot_take(cpu, UMAP_CACHE)
    if umap < 0:
        return umap
    root = _table_make(cpu)
    if root < 0:
        free(cpu, umap)
        return root
    u = Umap(umap)
    u.root = root
    u.root_pa = pfn_at(cpu, root) << k.page_shift
    u.pages = 0
    u.tables = 1
    p = Pages(k.addr + PAGES)
    u.prev = 0
    u.next = p.umaps
    if u.next != 0:
        Umap(u.next).prev = umap
    p.umaps = umap
    return umap


@kernel
def _tables_free(cpu, table, shift):
    """Give a table and all below it back."""
    k = Kern(Cpu(cpu).kern)
    below = shift - index_bits(k.arch)
    if shift > k.page_shift:
        for i in range(1 << index_bits(k.arch)):
            entry = Entry(table + (i << entry_shift(k.arch))).bits
            if is_present(k.arch, entry) != 0:
                _tables_free(cpu, table_below(cpu, entry), below)
    return _table_free(cpu, table)


@kernel
def umap_drop(cpu, umap):
    """Give an address space that maps no page back."""
    k = Kern(Cpu(cpu).kern)
    u = Umap(umap)
    if u.next != 0:
        Umap(u.next).prev = u.prev
    if u.prev != 0:
        Umap(u.prev).next = u.next
    else:
        Pages(k.addr + PAGES).umaps = u.next
    _tables_free(cpu, u.root, root_shift(k.arch))
    return free(cpu, umap)


@kernel
def next_leaf(cpu, umap, va, end):
    """The first address from va on, below `end`, at which a page is mapped; `end` if there is none."""
    k = Kern(Cpu(cpu).kern)
    at = va
    while at < end:
        table = Umap(umap).root
        shift = root_shift(k.arch)
        entry = Entry(entry_in_table(k.addr, table, at, shift)).bits
        while shift > k.page_shift and is_present(k.arch, entry) != 0:
            table = table_below(cpu, entry)
            shift -= index_bits(k.arch)
            entry = Entry(entry_in_table(k.addr, table, at, shift)).bits
        if is_present(k.arch, entry) != 0:
            return at
        at = ((at >> shift) + 1) << shift
    return end
