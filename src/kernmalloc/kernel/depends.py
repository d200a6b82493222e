"""Depend entries: where each page of the cache is mapped, so that its mappings can be withdrawn before it goes.

Concepts
  1. Every mapping of a page has a depend entry, on a list that the page's core table entry heads: address space and address.
     The leaf entry itself is found by walking that space's tables.
  2. The head is the entry's number in the heap: 32 bytes a slot, so that 32 bits reach 128 GiB of heap.

    mappings of a page = entries on its list;   leaf(umap, va) leads to the page's frame

No frame changes its owner or place before every processor has forgotten every mapping of it (`forget`).
"""

from kernmalloc.kernel.caches import UMAP_CACHE
from kernmalloc.kernel.frames import Page
from kernmalloc.kernel.heap import free
from kernmalloc.kernel.kern import Cpu, Kern
from kernmalloc.kernel.pages import page_of
from kernmalloc.kernel.umap import Umap, counted, leaf_in
from kernmalloc.lang import i64, kernel, record
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    Entry,
    entry_moved,
    was_used,
    with_presence,
    without_presence,
    without_use,
    without_write,
)
from kernmalloc.machine.primitives import forget

DEPEND_SHIFT = 5
FARTHEST = 1 << 32


@record(size=24)
class Depend:
    """One mapping of a page."""

    next: i64 = "VA of the page's next depend entry"
    umap: i64 = "VA of the address space"
    va: i64 = "address in it"


@kernel
def depend_number(kern, depend):
    """Number of a depend entry, from 1."""
    return ((depend - Kern(kern).heap) >> DEPEND_SHIFT) + 1


@kernel
def first_depend(cpu, pfn):
    """VA of a page's first depend entry, 0 if it is mapped nowhere."""
    number = Page(page_of(cpu, pfn)).depends
    return Kern(Cpu(cpu).kern).heap + ((number - 1) << DEPEND_SHIFT) if number != 0 else 0


@kernel
def _head(cpu, pfn, depend):
    """Make a depend entry the page's first; 0: none is."""
    Page(page_of(cpu, pfn)).depends = depend_number(Cpu(cpu).kern, depend) if depend != 0 else 0
    return OK


@kernel
def depend_add(cpu, pfn, depend, umap, va):
    """Note that a page is mapped at va."""
    d = Depend(depend)
    d.next = first_depend(cpu, pfn)
    d.umap = umap
    d.va = va
    return _head(cpu, pfn, depend)


@kernel
def _unmap(cpu, umap, va):
    """Clear the leaf entry for va: no processor reaches its frame from now on."""
    leaf = leaf_in(cpu, umap, va)
    Entry(leaf).bits = 0
    counted(cpu, leaf, -1)
    Umap(umap).pages = Umap(umap).pages - 1
    return forget(Umap(umap).root_pa, va)


@kernel
def depend_remove(cpu, pfn, umap, va):
    """Withdraw the mapping of a page at va, and forget that it was there."""
    at = first_depend(cpu, pfn)
    before = 0
    while Depend(at).umap != umap or Depend(at).va != va:
        before = at
        at = Depend(at).next
    if before == 0:
        _head(cpu, pfn, Depend(at).next)
    else:
        Depend(before).next = Depend(at).next
    _unmap(cpu, umap, va)
    return free(cpu, at)


@kernel
def depends_clear(cpu, pfn):
    """Withdraw every mapping of a page."""
    at = first_depend(cpu, pfn)
    while at != 0:
        next = Depend(at).next
        _unmap(cpu, Depend(at).umap, Depend(at).va)
        free(cpu, at)
        at = next
    return _head(cpu, pfn, 0)


@kernel
def depends_protect(cpu, pfn):
    """Let nobody write to a page through its mappings any more: the next who tries comes to `faults`."""
    arch = Kern(Cpu(cpu).kern).arch
    at = first_depend(cpu, pfn)
    while at != 0:
        d = Depend(at)
        e = Entry(leaf_in(cpu, d.umap, d.va))
        e.bits = without_write(arch, e.bits)
        forget(Umap(d.umap).root_pa, d.va)
        at = d.next
    return OK


@kernel
def depends_used(cpu, pfn):
    """1 if a page was used through a mapping since this was last asked."""
    arch = Kern(Cpu(cpu).kern).arch
    used = 0
    at = first_depend(cpu, pfn)
    while at != 0:
        d = Depend(at)
        e = Entry(leaf_in(cpu, d.umap, d.va))
        if was_used(arch, e.bits) != 0:
            used = 1
            e.bits = without_use(arch, e.bits)
            forget(Umap(d.umap).root_pa, d.va)
        at = d.next
    return used


@kernel
def depends_hide(cpu, pfn):
    """Make the mappings of a page unusable while it is moved; `depends_move` makes them usable again."""
    arch = Kern(Cpu(cpu).kern).arch
    at = first_depend(cpu, pfn)
    while at != 0:
        d = Depend(at)
        e = Entry(leaf_in(cpu, d.umap, d.va))
        e.bits = without_presence(arch, e.bits)
        forget(Umap(d.umap).root_pa, d.va)
        at = d.next
    return OK


@kernel
def depends_move(cpu, pfn):
    """Let the hidden mappings of a page lead to the frame that it is in now."""
    k = Kern(Cpu(cpu).kern)
    at = first_depend(cpu, pfn)
    while at != 0:
        d = Depend(at)
        e = Entry(leaf_in(cpu, d.umap, d.va))
        e.bits = with_presence(k.arch, entry_moved(k.arch, e.bits, pfn << k.page_shift))
        at = d.next
    return OK
