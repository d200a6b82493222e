"""Faults: pages on demand, for processes and for the kernel's own users.

Concepts
  1. A caller names a page by its object id. A page that is in the cache is used. For another one a frame is taken,
     the source is asked to read the page into it, and the call is abandoned: WOULD_BLOCK. It is done again when the
     source has answered.
  2. A process faults when it touches an address that is not mapped, or writes to one that is mapped to be read:
     `umap_map`. A page is mapped writable only once it is DIRTY: so the kernel knows what was written without asking
     any processor. A fault is a use of the page, and is noted as one. So a processor that does not do so itself, but
     faults where no use is noted, goes on.
  3. All that a mapping takes (depend entry, tables) is allocated before the first leaf entry changes.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import (
    ABSENT,
    CLEAN,
    DIRTY,
    FAILED,
    LINKS,
    MAIN,
    PAGE,
    READING,
    REWRITTEN,
    SMALL,
    WRITING,
    Cpu,
)
from kernmalloc.kernel.frames.bitmap import first_free
from kernmalloc.kernel.frames.claims import takeable
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.space import space_short
from kernmalloc.kernel.frames.table import MOST_PINS, supply, take
from kernmalloc.kernel.heap.caches import DEPEND_CACHE
from kernmalloc.kernel.heap.magazines import slot_take
from kernmalloc.kernel.heap.malloc import own_free
from kernmalloc.kernel.pages.depends import Depend, depend_add, depend_number, depends_clear
from kernmalloc.kernel.pages.pages import (
    entry_at,
    ghost_recall,
    holds_page,
    is_linked,
    page_drop,
    page_find,
    page_name,
    page_state,
    page_unlink,
)
from kernmalloc.kernel.pages.reclaim import MOST_USES
from kernmalloc.kernel.pages.source import READ, request, ring_room, write_back
from kernmalloc.kernel.pages.umap import Umap, counted, large_at, leaf_in, tables_make, umap_spans
from kernmalloc.lang import failed, kernel
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
from kernmalloc.machine.mmu import entry_pa, is_present, is_writable, load_entry, page_entry, store_entry, with_use
from kernmalloc.machine.primitives import forget


@kernel
def _read_in(cpu: Cpu, oid: int) -> int:
    """Begin to read a page that is not in the cache. NO_SOURCE, NO_FRAMES; WOULD_BLOCK in any other case."""
    kern = cpu.kern
    pages = kern.pages
    if pages.source == 0:
        return NO_SOURCE
    if ring_room(kern) == 0:
        kern.wanted = 0
        return WOULD_BLOCK
    region = supply(cpu, 0) if takeable(cpu) > 0 else Region(0)
    if region == 0:
        return space_short(cpu, 1)
    pfn = take(cpu, region, first_free(region), 0, PAGE)
    page_name(cpu, pfn, oid)
    page_state(cpu, pfn, READING)
    was_here = ghost_recall(kern, oid)
    page = entry_at(cpu, pfn)
    page.queue = MAIN if was_here != 0 else SMALL
    pages.misses = pages.misses + 1
    request(cpu, pfn, READ)
    kern.wanted = ~oid
    return WOULD_BLOCK


@kernel
def _there(cpu: Cpu, oid: int) -> int:
    """The frame of a page, which can be used. WOULD_BLOCK while it is read; IO_ERROR, once, if it could not be read."""
    pfn = page_find(cpu, oid)
    if pfn == ABSENT:
        return _read_in(cpu, oid)
    state = entry_at(cpu, pfn).state
    if state == READING:
        cpu.kern.wanted = ~oid
        return WOULD_BLOCK
    if state == FAILED:
        page_unlink(cpu, pfn)
        page_drop(cpu, pfn)
        return IO_ERROR
    return pfn


@kernel
def page_get(cpu: Cpu, oid: int) -> int:
    """The frame that holds the page of object id `oid`: its pfn.

    BAD_ADDRESS: oid is negative. NO_SOURCE: no source is open that could read it. IO_ERROR: the source could not, and
    this is told once. WOULD_BLOCK: it is being read, or frames are short. NO_FRAMES: none will come.
    """
    if oid < 0:
        return BAD_ADDRESS
    pfn = _there(cpu, oid)
    if failed(pfn):
        return pfn
    pages = cpu.kern.pages
    pages.hits = pages.hits + 1
    page = entry_at(cpu, pfn)
    page.uses = min(page.uses + 1, MOST_USES)
    return pfn


@kernel
def _cached(cpu: Cpu, pfn: int) -> int:
    """1 if a frame holds a page that can be used."""
    if holds_page(cpu, pfn) == 0:
        return 0
    state = entry_at(cpu, pfn).state
    return 1 if state != READING and state != FAILED else 0


@kernel
def page_pin(cpu: Cpu, pfn: int) -> int:
    """Hold the page in frame `pfn` where it is: OK.

    BAD_FRAME: no page is there to be used. BUSY: it is held 65535 times.
    """
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    page = entry_at(cpu, pfn)
    if page.pins == MOST_PINS:
        return BUSY
    page.pins = page.pins + 1
    return OK


@kernel
def page_unpin(cpu: Cpu, pfn: int) -> int:
    """Let the page in frame `pfn` go, which `page_pin` held: OK.

    BAD_FRAME: no page is there to be used. NOT_ALLOCATED: it is not held.
    """
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    page = entry_at(cpu, pfn)
    if page.pins == 0:
        return NOT_ALLOCATED
    page.pins = page.pins - 1
    return OK


@kernel
def page_dirty(cpu: Cpu, pfn: int) -> int:
    """Note that the page in frame `pfn` is about to be written to: OK. BAD_FRAME: no page is there to be used."""
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    state = entry_at(cpu, pfn).state
    if state == CLEAN:
        page_state(cpu, pfn, DIRTY)
    elif state == WRITING:
        page_state(cpu, pfn, REWRITTEN)
    return OK


@kernel
def page_clean(cpu: Cpu, pfn: int) -> int:
    """Have the page in frame `pfn` written back, if it is dirty: OK.

    BAD_FRAME: no page is there to be used. WOULD_BLOCK: as much is being written as can be.
    """
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    if entry_at(cpu, pfn).state != DIRTY:
        return OK
    if ring_room(cpu.kern) == 0:
        cpu.kern.wanted = 0
        return WOULD_BLOCK
    page_unlink(cpu, pfn)
    return write_back(cpu, pfn)


@kernel
def page_discard(cpu: Cpu, pfn: int) -> int:
    """Forget the page in frame `pfn`, whatever was written to it: its object is gone. OK.

    BAD_FRAME: no page is there to be used. BUSY: it is held, or being written back.
    """
    if _cached(cpu, pfn) == 0:
        return BAD_FRAME
    page = entry_at(cpu, pfn)
    if page.pins > 0 or is_linked(page.state) == 0:
        return BUSY
    depends_clear(cpu, pfn)
    page_unlink(cpu, pfn)
    return page_drop(cpu, pfn)


@kernel
def _map_new(cpu: Cpu, umap: Umap, va: int, pfn: int) -> int:
    """A mapping for a page at an address that has none: VA of its leaf entry, which is not present yet.

    BUSY: the address lies in a large page. LIMIT, NO_VA, or what `malloc` says."""
    kern = cpu.kern
    if large_at(cpu, umap, va) != 0:
        return BUSY
    depend = slot_take(cpu, DEPEND_CACHE)
    if failed(depend):
        return depend
    if depend_number(kern, Depend(depend)) >= LINKS:
        own_free(cpu, depend)
        return NO_VA
    status = tables_make(cpu, umap, va, va + 1, kern.page_shift)
    if failed(status):
        own_free(cpu, depend)
        return status
    leaf = leaf_in(cpu, umap, va)
    depend_add(cpu, pfn, Depend(depend), umap, va)
    counted(cpu, leaf, 1)
    umap.pages = umap.pages + 1
    return leaf


@kernel
def umap_map(cpu: Cpu, umap: Umap, va: int, oid: int, write: int) -> int:
    """Map the page of object id `oid` at va in an address space, as a page fault asks: OK.

    It can be written to if `write` is not 0, or if it could be before. BAD_ADDRESS: there is no such address space or
    object id, or va is no page of a process. BUSY: something else is mapped there. LIMIT, NO_VA: there is no room for a
    depend entry. Else a status of `page_get` or of `malloc`.
    """
    kern = cpu.kern
    if umap_spans(cpu, umap, va, 1, kern.page_shift) == 0 or oid < 0:
        return BAD_ADDRESS
    pfn = _there(cpu, oid)
    if failed(pfn):
        return pfn
    format = kern.format
    leaf = leaf_in(cpu, umap, va)
    entry = load_entry(format, leaf) if leaf != 0 else 0
    if is_present(format, entry) == 0:
        made = _map_new(cpu, umap, va, pfn)
        if failed(made):
            return made
        leaf = made
    elif entry_pa(format, entry) != pfn << kern.page_shift:
        return BUSY
    pages = kern.pages
    pages.hits = pages.hits + 1
    if write != 0:
        page_dirty(cpu, pfn)
    rights = write | (is_present(format, entry) & is_writable(format, entry))
    store_entry(format, leaf, with_use(format, page_entry(format, pfn << kern.page_shift, rights)))
    return forget(umap.root_pa, va)
