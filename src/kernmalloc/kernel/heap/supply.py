"""Supply: how slabs are made, put aside while they are empty, and given back, and how runs of pages are had.

Concepts
  1. A slab is made of a run of pages and put aside, empty. Who needs slots puts it to use.
  2. A slab of which all slots are free again is put aside, too. What a processor keeps of that beyond what its cache
     allows goes back to the heap's pages.
  3. Before the heap grows for a run, empty slabs of the processor are given back, a bounded number of them.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, Cpu, Kern
from kernmalloc.kernel.frames.claims import listed
from kernmalloc.kernel.heap.bins import INSIDE, SLAB, va_of
from kernmalloc.kernel.heap.notes import heed, notes_clear
from kernmalloc.kernel.heap.runs import cut_pages, give_pages, new_pages, taken
from kernmalloc.kernel.heap.slabs import (
    STEP,
    Cache,
    Magazine,
    Stacked,
    cache_at,
    magazine_at,
    magazine_of,
    own_magazine,
    owner_of,
    slab_page,
    stack_at,
)
from kernmalloc.lang import clz, failed, kernel, poison, small
from kernmalloc.lang.status import LIMIT, OK

AT_ONCE_SHIFT = 3  # slabs that are made at once are at most an eighth of those there are
MOST_GIVEN = 8  # empty slabs that are given back for a run, which bounds the time that it takes


@kernel
def empty_push(kern: Kern, magazine: Magazine, page: int) -> int:
    """Put an empty slab aside, which begins at `page` and whose pages are on no list."""
    first = slab_page(kern, page)
    first.next = magazine.empties
    magazine.empties = page + 1
    magazine.empty_pages = magazine.empty_pages + first.pages
    return OK


@kernel
def empty_pop(kern: Kern, magazine: Magazine) -> int:
    """Take back the empty slab that was put aside last: its first page. There is one."""
    page = magazine.empties - 1
    first = slab_page(kern, page)
    magazine.empties = first.next
    first.next = 0
    magazine.empty_pages = magazine.empty_pages - first.pages
    return page


@kernel
def slab_free(cpu: Cpu, cache: Cache) -> int:
    """Give the pages of the empty slab back that this processor put aside last."""
    if cpu.noted != 0:
        heed(cpu)  # slots of it may have been given back by others, too
    kern = cpu.kern
    page = empty_pop(kern, magazine_of(cpu, cache.id))
    pages = cache.pages
    for i in range(pages):
        record = slab_page(kern, page + i)
        record.use = INSIDE
        record.cache = 0
        record.owner = 0
        record.place = 0
        record.pages = 0
    cache.slabs = cache.slabs - 1
    return give_pages(cpu, page, pages)


@kernel
def empties_free(cpu: Cpu, cache: Cache, keep: int) -> int:
    """Give empty slabs of this processor back until they have at most `keep` pages. What it keeps for good stays."""
    magazine = magazine_of(cpu, cache.id)
    while magazine.empty_pages > keep and cache.slabs > cache.kept:
        slab_free(cpu, cache)
    return OK


@kernel
def _pages_to_give(cpu: Cpu) -> int:
    """Pages of the first 8 empty slabs of this processor, which may be given back for a run."""
    kern = cpu.kern
    pages = 0
    left = MOST_GIVEN
    for id in range(kern.cache_count):
        each = cache_at(kern, id).pages
        empty = own_magazine(cpu, id).empty_pages
        while empty > 0 and left > 0:
            empty -= each
            pages += each
            left -= 1
    return pages


@kernel
def _empties_help(cpu: Cpu, pages: int, align: int) -> int:
    """1 if a run may be had when empty slabs are given back, and not without that."""
    kern = cpu.kern
    room = pages + align - 1
    given = _pages_to_give(cpu)
    if given == 0:
        return 0
    if room <= max(kern.idle_most, kern.fixed) and room <= kern.idle + kern.kept + given:
        return 1  # free runs may be long enough then
    free = listed(kern)
    return 1 if free < pages and pages <= free + kern.idle + given else 0  # the heap may grow then


@kernel
def _empties_give(cpu: Cpu, pages: int) -> int:
    """Give empty slabs of this processor back until so many pages are idle, but at most 8."""
    kern = cpu.kern
    left = MOST_GIVEN
    for id in range(kern.cache_count):
        magazine = own_magazine(cpu, id)
        while magazine.empty_pages > 0 and kern.idle < pages and left > 0:
            slab_free(cpu, cache_at(kern, id))
            left -= 1
    return OK


@small
def run_get(cpu: Cpu, pages: int, align: int) -> int:
    """A run of pages that have frames, contents unknown, at a multiple of `align` pages: its first page.

    It is cut from a free run; else from a free run after empty slabs of this processor were given back, if these can be
    enough; else the heap grows by it. NO_VA, or what `space_ask` says, if it cannot."""
    page = cut_pages(cpu, pages, align)
    if page == ABSENT and _empties_help(cpu, pages, align) != 0:
        _empties_give(cpu, pages)
        page = cut_pages(cpu, pages, align)
    if page == ABSENT:
        page = new_pages(cpu, pages, align)
    return taken(cpu.kern, page)


@kernel
def _stack_init(kern: Kern, magazine: Magazine, cache: Cache, owner: int) -> int:
    """Tell an owner's magazine where its stack lies, which is empty."""
    magazine.bottom = stack_at(kern, owner, cache.id)
    magazine.top = magazine.bottom
    magazine.end = magazine.bottom + cache.stack * Stacked.size
    return OK


@kernel
def _magazine_init(kern: Kern, magazine: Magazine, cache: Cache, owner: int) -> int:
    """Tell an owner's magazine what its cache is like."""
    magazine.size = cache.size
    magazine.keep = cache.keep
    return _stack_init(kern, magazine, cache, owner)


@small
def _slab_make(cpu: Cpu, cache: Cache, page: int) -> int:
    """Make a run of pages from `page` on a slab and put it aside, empty: its first page."""
    kern = cpu.kern
    owner = owner_of(cpu, cache.id)
    for i in range(cache.pages):
        record = slab_page(kern, page + i)
        record.use = SLAB
        record.cache = cache.id
        record.owner = owner
        record.place = i
    slab_page(kern, page).pages = cache.pages
    notes_clear(kern, page)
    poison(va_of(kern, page), cache.slots * cache.size)
    magazine = magazine_at(kern, owner, cache.id)
    if magazine.size == 0:
        _magazine_init(kern, magazine, cache, owner)
    cache.slabs = cache.slabs + 1
    empty_push(kern, magazine, page)
    return page


@kernel
def slab_new(cpu: Cpu, cache: Cache) -> int:
    """Make a slab and put it aside, empty: its first page. LIMIT, or what `run_get` says."""
    if cache.slabs >= cache.limit:
        return LIMIT
    page = run_get(cpu, cache.pages, 1)
    return page if failed(page) else _slab_make(cpu, cache, page)


@kernel
def _at_once(cache: Cache) -> int:
    """How many slabs are made at once: about as many as are drawn from at once, but not more than an eighth of those
    there are, which bounds what nobody needs then."""
    most = min(cache.slabs >> AT_ONCE_SHIFT, cache.limit - cache.slabs)
    return min(STEP >> (63 - clz(cache.slots)), most) if most > 1 else 1


@kernel
def slabs_new(cpu: Cpu, cache: Cache) -> int:
    """Make slabs out of idle pages and put them aside, empty; or one, as `slab_new` does: its first page, or status."""
    count = _at_once(cache)
    page = cut_pages(cpu, count * cache.pages, 1) if count > 1 else ABSENT
    if page == ABSENT:
        return slab_new(cpu, cache)
    for i in range(count - 1, -1, -1):
        _slab_make(cpu, cache, page + i * cache.pages)
    return taken(cpu.kern, page)


@kernel
def slabs_unmake(cpu: Cpu, cache: Cache, count: int) -> int:
    """Give back the `count` slabs that were made last, of which no slot has been taken."""
    for i in range(count):
        slab_free(cpu, cache)
    return OK


@kernel
def slabs_make(cpu: Cpu, cache: Cache, count: int) -> int:
    """Make so many slabs. LIMIT, or what `run_get` says: then none is made."""
    for made in range(count):
        page = slab_new(cpu, cache)
        if failed(page):
            slabs_unmake(cpu, cache, made)
            return page
    return OK
