"""Depend entries: where each page of the cache is mapped, so that its mappings can be withdrawn before it goes.

Concepts
  1. A depend entry stands for one mapping of a page: an address space, and an address in it. The entries of a page
     are a list that begins in the core table entry of its frame. The leaf entry of a mapping is found by walking the
     tables of its address space.
  2. A core table entry has 32 bits for the first of the list: its number. A depend entry is a heap slot of 32 bytes,
     and its number is that of the slot, counted from the start of the heap. So 32 bits reach 128 GiB of heap.
  3. No frame changes its owner or place before every processor has forgotten every mapping of it (`forget`).

    mappings of a page = entries on its list;   leaf(umap, va) leads to the page's frame
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.heap.malloc import own_free
from kernmalloc.kernel.pages.pages import entry_at
from kernmalloc.kernel.pages.umap import Umap, counted, leaf_in
from kernmalloc.lang import Record, field, i64, kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    entry_moved,
    load_entry,
    store_entry,
    was_used,
    with_presence,
    without_presence,
    without_use,
    without_write,
)
from kernmalloc.machine.primitives import forget

DEPEND_SHIFT = 5  # log2 of the bytes of the slot that a depend entry has in its cache


class Depend(Record):
    """One mapping of a page."""

    next: Depend = field("next depend entry of the page")
    umap: Umap = field("address space")
    va: i64 = field("address in it")


@kernel
def depend_number(kern: Kern, depend: Depend) -> int:
    """Number of a depend entry: that of its slot, from 1."""
    return ((depend.addr - kern.heap) >> DEPEND_SHIFT) + 1


@kernel
def first_depend(cpu: Cpu, pfn: int) -> Depend:
    """The first depend entry of a page; null if it is mapped nowhere."""
    number = entry_at(cpu, pfn).depends
    return Depend(cpu.kern.heap + ((number - 1) << DEPEND_SHIFT) if number != 0 else 0)


@kernel
def _head(cpu: Cpu, pfn: int, depend: Depend) -> int:
    """Make a depend entry, or null, the first of a page."""
    page = entry_at(cpu, pfn)
    page.depends = depend_number(cpu.kern, depend) if depend != 0 else 0
    return OK


@kernel
def depend_add(cpu: Cpu, pfn: int, depend: Depend, umap: Umap, va: int) -> int:
    """Note in a new depend entry that a page is mapped at va."""
    depend.next = first_depend(cpu, pfn)
    depend.umap = umap
    depend.va = va
    return _head(cpu, pfn, depend)


@kernel
def _unmap(cpu: Cpu, umap: Umap, va: int) -> int:
    """Clear the leaf entry for va: no processor reaches its frame from now on."""
    leaf = leaf_in(cpu, umap, va)
    store_entry(cpu.kern.format, leaf, 0)
    counted(cpu, leaf, -1)
    umap.pages = umap.pages - 1
    return forget(umap.root_pa, va)


@kernel
def depend_remove(cpu: Cpu, pfn: int, umap: Umap, va: int) -> int:
    """Withdraw the mapping of a page at va, and free its depend entry."""
    at = first_depend(cpu, pfn)
    before = Depend(0)
    while at.umap != umap or at.va != va:
        before = at
        at = at.next
    if before == 0:
        _head(cpu, pfn, at.next)
    else:
        before.next = at.next
    _unmap(cpu, umap, va)
    return own_free(cpu, at.addr)


@kernel
def depends_clear(cpu: Cpu, pfn: int) -> int:
    """Withdraw every mapping of a page."""
    at = first_depend(cpu, pfn)
    while at != 0:
        next = at.next
        _unmap(cpu, at.umap, at.va)
        own_free(cpu, at.addr)
        at = next
    return _head(cpu, pfn, Depend(0))


@kernel
def depends_protect(cpu: Cpu, pfn: int) -> int:
    """Let nobody write to a page through its mappings: a process that tries comes to `umap_map`."""
    format = cpu.kern.format
    at = first_depend(cpu, pfn)
    while at != 0:
        leaf = leaf_in(cpu, at.umap, at.va)
        store_entry(format, leaf, without_write(format, load_entry(format, leaf)))
        forget(at.umap.root_pa, at.va)
        at = at.next
    return OK


@kernel
def depends_used(cpu: Cpu, pfn: int) -> int:
    """1 if a page was used through a mapping since the last call."""
    format = cpu.kern.format
    used = 0
    at = first_depend(cpu, pfn)
    while at != 0:
        leaf = leaf_in(cpu, at.umap, at.va)
        entry = load_entry(format, leaf)
        if was_used(format, entry) != 0:
            used = 1
            store_entry(format, leaf, without_use(format, entry))
            forget(at.umap.root_pa, at.va)
        at = at.next
    return used


@kernel
def depends_hide(cpu: Cpu, pfn: int) -> int:
    """Make the mappings of a page unusable while it is moved; `depends_move` makes them usable again."""
    format = cpu.kern.format
    at = first_depend(cpu, pfn)
    while at != 0:
        leaf = leaf_in(cpu, at.umap, at.va)
        store_entry(format, leaf, without_presence(format, load_entry(format, leaf)))
        forget(at.umap.root_pa, at.va)
        at = at.next
    return OK


@kernel
def depends_move(cpu: Cpu, pfn: int) -> int:
    """Let the hidden mappings of a page lead to the frame that it is in now."""
    kern = cpu.kern
    at = first_depend(cpu, pfn)
    while at != 0:
        leaf = leaf_in(cpu, at.umap, at.va)
        entry = entry_moved(kern.format, load_entry(kern.format, leaf), pfn << kern.page_shift)
        store_entry(kern.format, leaf, with_presence(kern.format, entry))
        at = at.next
    return OK
