"""Faults: pages on demand, for processes and for the kernel's own users.

Concepts
  1. Who needs a page says its object id. If it is there, it is used; if not, a frame is taken, the source is asked to read the
     page into it, and the call is abandoned: WOULD_BLOCK, to be done again when the source has answered.
  2. A process that touches what is not mapped, or writes to what is mapped to be read, comes here. A page is mapped writable
     only once it is DIRTY: so the kernel knows what was written without asking any processor.
  3. All that a mapping takes (depend entry, tables) is had before the first entry changes.
"""

from kernmalloc.kernel.bitmap import first_free
from kernmalloc.kernel.caches import DEPEND_CACHE, UMAP_CACHE, is_object
from kernmalloc.kernel.depends import FARTHEST, depend_add, depend_number, depend_remove, depends_clear
from kernmalloc.kernel.frames import Page, supply, take
from kernmalloc.kernel.heap import free
from kernmalloc.kernel.kern import (
    CLEAN,
    DIRTY,
    FAILED,
    MAIN,
    PAGE,
    READING,
    REWRITTEN,
    SMALL,
    WRITING,
    Cpu,
    Kern,
    Pages,
)
from kernmalloc.kernel.pages import (
    ABSENT,
    PAGES,
    ghost_recall,
    holds_page,
    is_linked,
    page_drop,
    page_find,
    page_name,
    page_of,
    page_state,
    page_unlink,
)
from kernmalloc.kernel.reclaim import MOST_USES
from kernmalloc.kernel.magazines import slot_take
from kernmalloc.kernel.source import READ, request, ring_room, write_back
from kernmalloc.kernel.space import space_short
from kernmalloc.kernel.threads import takeable
from kernmalloc.kernel.umap import Umap, counted, leaf_in, leaf_made, next_leaf, umap_drop, umap_new
from kernmalloc.lang import kernel
from kernmalloc.lang.status import (
    BAD_ADDRESS,
    BAD_FRAME,
    BUSY,
    IO_ERROR,
    NO_SOURCE,
    NO_VA,
    NOT_ALLOCATED,
    OK,
    WOULD_BLOCK,
)
from kernmalloc.machine.mmu import Entry, entry_pa, is_present, page_entry, user_end
from kernmalloc.machine.primitives import forget

MOST_PINS = 65535


@kernel
def _read_in(cpu, oid):
    """Begin to read a page that is not there. NO_SOURCE, NO_FRAMES; WOULD_BLOCK in any other case."""
    kern = Cpu(cpu).kern
    p = Pages(kern + PAGES)
    if p.source == 0:
        return NO_SOURCE
    if ring_room(kern) == 0:
        Kern(kern).wanted = 0
        return WOULD_BLOCK
    region = supply(cpu, 0) if takeable(cpu) > 0 else 0
    if region == 0:
        return space_short(cpu, 1)
    pfn = take(cpu, region, first_free(region), 0, PAGE)
    page_name(cpu, pfn, oid)
    page_state(cpu, pfn, READING)
    Page(page_of(cpu, pfn)).queue = MAIN if ghost_recall(kern, oid) != 0 else SMALL
    p.misses = p.misses + 1
    request(cpu, pfn, READ)
    Kern(kern).wanted = ~oid
    return WOULD_BLOCK


@kernel
def _there(cpu, oid):
    """The frame of a page that is there to be used. WOULD_BLOCK while it is read, IO_ERROR once if it could not be."""
    pfn = page_find(cpu, oid)
    if pfn == ABSENT:
        return _read_in(cpu, oid)
    f = Page(page_of(cpu, pfn))
    if f.state == READING:
        Kern(Cpu(cpu).kern).wanted = ~oid
        return WOULD_BLOCK
    if f.state == FAILED:
        page_unlink(cpu, pfn)
        page_drop(cpu, pfn)
        return IO_ERROR
    return pfn


@kernel
def page_get(cpu, oid):
    """The frame that holds the page of an object id. WOULD_BLOCK: it is being read, or frames are short. BAD_ADDRESS (no
    object id), NO_SOURCE, NO_FRAMES, IO_ERROR."""
    if oid < 0:
        return BAD_ADDRESS
    pfn = _there(cpu, oid)
    if pfn < 0:
        return pfn
    p = Pages(Cpu(cpu).kern + PAGES)
    p.hits = p.hits + 1
    f = Page(page_of(cpu, pfn))
    f.uses = min(f.uses + 1, MOST_USES)
    return pfn


@kernel
def _cached(cpu, pfn):
    """1 if a frame holds a page that is there to be used."""
    if holds_page(cpu, pfn) == 0:
        return 0
    state = Page(page_of(cpu, pfn)).state
    return 1 if state != READING and state != FAILED else 0


@kernel
def page_pin(cpu, pfn):
    """Hold a page where it is. BAD_FRAME: the frame holds none. BUSY: held too often."""
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    f = Page(page_of(cpu, pfn))
    if f.pins == MOST_PINS:
        return BUSY
    f.pins = f.pins + 1
    return OK


@kernel
def page_unpin(cpu, pfn):
    """Let a page go that `page_pin` held. BAD_FRAME, NOT_ALLOCATED (it is not held)."""
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    f = Page(page_of(cpu, pfn))
    if f.pins == 0:
        return NOT_ALLOCATED
    f.pins = f.pins - 1
    return OK


@kernel
def page_dirty(cpu, pfn):
    """The page in a frame is about to be written to. BAD_FRAME."""
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    state = Page(page_of(cpu, pfn)).state
    if state == CLEAN:
        page_state(cpu, pfn, DIRTY)
    elif state == WRITING:
        page_state(cpu, pfn, REWRITTEN)
    return OK


@kernel
def page_clean(cpu, pfn):
    """Have the page in a frame written back, if it is dirty. BAD_FRAME; WOULD_BLOCK: too much is being written."""
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    if Page(page_of(cpu, pfn)).state != DIRTY:
        return OK
    if ring_room(Cpu(cpu).kern) == 0:
        Kern(Cpu(cpu).kern).wanted = 0
        return WOULD_BLOCK
    page_unlink(cpu, pfn)
    return write_back(cpu, pfn)


@kernel
def page_discard(cpu, pfn):
    """Forget the page in a frame, whatever was written to it: its object is gone. BAD_FRAME; BUSY: it is held, or being
    written back."""
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    f = Page(page_of(cpu, pfn))
    if f.pins > 0 or is_linked(f.state) == 0:
        return BUSY
    depends_clear(cpu, pfn)
    page_unlink(cpu, pfn)
    return page_drop(cpu, pfn)


@kernel
def umap_make(cpu):
    """An empty address space: its VA. LIMIT, or as `malloc`."""
    return umap_new(cpu)


@kernel
def _range_ok(cpu, umap, va):
    """1 if va is the address of a page that the address space may map."""
    k = Kern(Cpu(cpu).kern)
    if va < 0 or va >= user_end(k.arch) or va & ((1 << k.page_shift) - 1) != 0:
        return 0
    return is_object(cpu, UMAP_CACHE, umap)


@kernel
def _map_new(cpu, umap, va, pfn):
    """A mapping for a page at an address that has none: VA of its leaf entry, not present yet. LIMIT, or as `malloc`."""
    kern = Cpu(cpu).kern
    depend = slot_take(cpu, DEPEND_CACHE)
    if depend < 0:
        return depend
    if depend_number(kern, depend) >= FARTHEST:
        free(cpu, depend)
        return NO_VA
    leaf = leaf_made(cpu, umap, va)
    if leaf < 0:
        free(cpu, depend)
        return leaf
    depend_add(cpu, pfn, depend, umap, va)
    counted(cpu, leaf, 1)
    Umap(umap).pages = Umap(umap).pages + 1
    return leaf


@kernel
def umap_map(cpu, umap, va, oid, write):
    """Map the page of an object id at va, writable if `write` is not 0: what a page fault asks for.

    OK; BAD_ADDRESS, BUSY (another page is mapped there), LIMIT, or as `page_get` and `malloc`."""
    k = Kern(Cpu(cpu).kern)
    if _range_ok(cpu, umap, va) == 0 or oid < 0:
        return BAD_ADDRESS
    pfn = _there(cpu, oid)
    if pfn < 0:
        return pfn
    leaf = leaf_in(cpu, umap, va)
    present = 0
    if leaf != 0:
        present = is_present(k.arch, Entry(leaf).bits)
    if present == 0:
        leaf = _map_new(cpu, umap, va, pfn)
        if leaf < 0:
            return leaf
    elif entry_pa(k.arch, Entry(leaf).bits) != pfn << k.page_shift:
        return BUSY
    p = Pages(k.addr + PAGES)
    p.hits = p.hits + 1
    if write != 0:
        page_dirty(cpu, pfn)
    Entry(leaf).bits = page_entry(k.arch, pfn << k.page_shift, write)
    return forget(Umap(umap).root_pa, va)


@kernel
def umap_unmap(cpu, umap, va):
    """Take the page at va out of an address space. BAD_ADDRESS, NOT_ALLOCATED."""
    k = Kern(Cpu(cpu).kern)
    if _range_ok(cpu, umap, va) == 0:
        return BAD_ADDRESS
    leaf = leaf_in(cpu, umap, va)
    if leaf == 0:
        return NOT_ALLOCATED
    entry = Entry(leaf).bits
    if is_present(k.arch, entry) == 0:
        return NOT_ALLOCATED
    depend_remove(cpu, entry_pa(k.arch, entry) >> k.page_shift, umap, va)
    return OK


@kernel
def umap_free(cpu, umap):
    """Give an address space back, and all that it maps. BAD_ADDRESS."""
    k = Kern(Cpu(cpu).kern)
    if is_object(cpu, UMAP_CACHE, umap) == 0:
        return BAD_ADDRESS
    end = user_end(k.arch)
    va = next_leaf(cpu, umap, 0, end)
    while va < end:
        umap_unmap(cpu, umap, va)
        va = next_leaf(cpu, umap, va, end)
    return umap_drop(cpu, umap)
