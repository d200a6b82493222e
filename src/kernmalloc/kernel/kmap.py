"""The kernel map: which frame lies behind each page of the kernel's virtual window.

Concepts
  1. Entries are real page-table entries in the target's format, written through the machine boundary (`machine/mmu`).
  2. A slot is what one leaf table maps, or one large page (2 MiB; 1 MiB on ColdFire). Leaf tables are mapping frames,
     which are themselves mapped (E17): the table of slot s lies at page s of the table window, so that all leaf entries
     of the window form one array

         entry(va) = tables + (((va - base) >> page_shift) << entry_shift)

     and changing one opens no window and walks nothing. This needs no recursive table, which not every MMU permits.
  3. Directories above the leaf tables, and the tables that map the image and the table window itself, are part of the
     boot area and never go. All other leaf tables come when their slot is first used and go when it is empty.
  4. A slot of the heap's fixed part has no leaf table: its directory entry maps it whole, in one large page.
  5. Backing a range gives it frames, page by page from wherever they are (E9, E20), filled with zeros.

    slots[s] = pages mapped in slot s
    a slot of the heap or the heap map has a leaf table or is one large page  <=>  slots[s] > 0
"""

from kernmalloc.kernel.kern import HEAP, MAPPING, Cpu, Half, Kern
from kernmalloc.kernel.space import space_give, space_take
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    Entry,
    entry_pa,
    entry_shift,
    index_bits,
    is_large,
    is_present,
    large_entry,
    leaf_entry,
    table_entry,
    without_presence,
)
from kernmalloc.machine.primitives import flush, known_zero, shootdown, zero


@kernel
def leaf_of(kern, va):
    """VA of the leaf entry that maps va."""
    k = Kern(kern)
    return k.tables + (((va - k.base) >> k.page_shift) << entry_shift(k.arch))


@kernel
def directory_of(kern, slot):
    """VA of the directory entry of a slot."""
    k = Kern(kern)
    return k.directory + (slot << entry_shift(k.arch))


@kernel
def slot_of(kern, va):
    """Number of the slot that va lies in."""
    k = Kern(kern)
    return (va - k.base) >> k.slot_shift


@kernel
def slot_pages(kern):
    """Pages of a slot."""
    return 1 << index_bits(Kern(kern).arch)


@kernel
def tables_missing(kern, va, pages):
    """Leaf tables that must be made before pages [va, va + pages) can be mapped."""
    if pages == 0:
        return 0
    k = Kern(kern)
    missing = 0
    for slot in range(slot_of(kern, va), slot_of(kern, va + (pages << k.page_shift) - 1) + 1):
        if is_present(k.arch, Entry(directory_of(k.addr, slot)).bits) == 0:
            missing += 1
    return missing


@kernel
def _count(kern, slot, change):
    """Add to the entries present in a slot; returns how many there are now."""
    h = Half(Kern(kern).slots + (slot << 1))
    now = h.value + change
    h.value = now
    return now


@kernel
def fresh(cpu, pa, bytes):
    """1 if memory just taken is zero already: the machine vouches for it, and no frame has ever been given back."""
    if Kern(Cpu(cpu).kern).returned != 0:
        return 0
    return known_zero(pa, bytes)


@kernel
def map_run(cpu, va, pfn, count):
    """Map frames pfn, pfn + 1, … at va, filled with zeros; their leaf tables exist."""
    k = Kern(Cpu(cpu).kern)
    leaf = leaf_of(k.addr, va)
    step = entry_shift(k.arch)
    for i in range(count):
        Entry(leaf + (i << step)).bits = leaf_entry(k.arch, (pfn + i) << k.page_shift)
    at = va
    end = va + (count << k.page_shift)
    while at < end:
        slot = slot_of(k.addr, at)
        next = min(k.base + ((slot + 1) << k.slot_shift), end)
        _count(k.addr, slot, (next - at) >> k.page_shift)
        at = next
    flush(va, count)
    if fresh(cpu, pfn << k.page_shift, count << k.page_shift) == 0:
        zero(va, count << k.page_shift)
    return OK


@kernel
def map_large(cpu, va, pfn, slots):
    """Map whole slots from va on, a large page each, to contiguous frames from pfn on, filled with zeros."""
    k = Kern(Cpu(cpu).kern)
    each = slot_pages(k.addr)
    pages = slots * each
    for i in range(slots):
        slot = slot_of(k.addr, va) + i
        Entry(directory_of(k.addr, slot)).bits = large_entry(k.arch, (pfn << k.page_shift) + (i << k.slot_shift))
        _count(k.addr, slot, each)
    flush(va, pages)
    if fresh(cpu, pfn << k.page_shift, pages << k.page_shift) == 0:
        zero(va, pages << k.page_shift)
    return OK


@kernel
def unmap_large(cpu, va, slots):
    """Take whole large pages out of the map and give their frames back."""
    k = Kern(Cpu(cpu).kern)
    each = slot_pages(k.addr)
    first = slot_of(k.addr, va)
    for slot in range(first, first + slots):
        directory = Entry(directory_of(k.addr, slot))
        pfn = entry_pa(k.arch, directory.bits) >> k.page_shift
        directory.bits = 0
        _count(k.addr, slot, -each)
        shootdown(k.base + (slot << k.slot_shift), each)
        for i in range(each):
            space_give(cpu, pfn + i)
    return OK


@kernel
def _make_tables(cpu, va, pages):
    """Make the leaf tables that pages [va, va + pages) lack, out of frames already asked for."""
    k = Kern(Cpu(cpu).kern)
    for slot in range(slot_of(k.addr, va), slot_of(k.addr, va + (pages << k.page_shift) - 1) + 1):
        directory = Entry(directory_of(k.addr, slot))
        if is_present(k.arch, directory.bits) == 0:
            pfn = space_take(cpu, 1, MAPPING)
            map_run(cpu, k.tables + (slot << k.page_shift), pfn, 1)
            directory.bits = table_entry(k.arch, pfn << k.page_shift)
    return OK


@kernel
def back(cpu, va, pages):
    """Put zeroed frames behind pages [va, va + pages), scattered as they come. Asked for: pages + tables_missing."""
    if pages == 0:
        return OK
    c = Cpu(cpu)
    _make_tables(cpu, va, pages)
    done = 0
    while done < pages:
        pfn = space_take(cpu, pages - done, HEAP)
        map_run(cpu, va + (done << Kern(c.kern).page_shift), pfn, c.run)
        done += c.run
    return OK


@kernel
def _drop_table(cpu, slot):
    """Take an empty leaf table out of the map and give its frame back."""
    k = Kern(Cpu(cpu).kern)
    directory = Entry(directory_of(k.addr, slot))
    pfn = entry_pa(k.arch, directory.bits) >> k.page_shift
    table = k.tables + (slot << k.page_shift)
    directory.bits = 0
    Entry(leaf_of(k.addr, table)).bits = 0
    _count(k.addr, slot_of(k.addr, table), -1)
    shootdown(k.base + (slot << k.slot_shift), 1)
    shootdown(table, 1)
    return space_give(cpu, pfn)


@kernel
def unback(cpu, va, pages):
    """Take the frames behind pages [va, va + pages) away and give them back to page space.

    No frame changes owner before every processor has forgotten the pages."""
    k = Kern(Cpu(cpu).kern)
    leaf = leaf_of(k.addr, va)
    step = entry_shift(k.arch)
    for i in range(pages):
        e = Entry(leaf + (i << step))
        e.bits = without_presence(k.arch, e.bits)
    shootdown(va, pages)
    for i in range(pages):
        e = Entry(leaf + (i << step))
        pfn = entry_pa(k.arch, e.bits) >> k.page_shift
        e.bits = 0
        space_give(cpu, pfn)
        slot = slot_of(k.addr, va + (i << k.page_shift))
        if _count(k.addr, slot, -1) == 0:
            _drop_table(cpu, slot)
    return OK


@kernel
def pfn_at(cpu, va):
    """The frame behind a page of the window, or -1 if none is."""
    k = Kern(Cpu(cpu).kern)
    if va < k.base or va >= k.base + k.bytes:
        return -1
    directory = Entry(directory_of(k.addr, slot_of(k.addr, va))).bits
    if is_present(k.arch, directory) == 0:
        return -1
    if is_large(k.arch, directory) != 0:
        return (entry_pa(k.arch, directory) + (va & ((1 << k.slot_shift) - 1))) >> k.page_shift
    e = Entry(leaf_of(k.addr, va)).bits
    if is_present(k.arch, e) == 0:
        return -1
    return entry_pa(k.arch, e) >> k.page_shift
