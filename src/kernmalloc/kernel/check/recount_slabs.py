"""Recount of slabs: their pages are held against the caches that made them, the magazines against the pages."""

from __future__ import annotations

from kernmalloc.kernel.check.recount import bits_in
from kernmalloc.kernel.check.recount_heap import linked
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import CACHES, STACK, Cpu, Kern, Word
from kernmalloc.kernel.heap.bins import PAGE_RECORD_SHIFT, SLAB, HeapPage, page_of_record, record_of, va_of
from kernmalloc.kernel.heap.magazines import RECORD, stack_of, word_of
from kernmalloc.kernel.heap.malloc import page_at
from kernmalloc.kernel.heap.runs import is_away
from kernmalloc.kernel.heap.slabs import (
    BITS,
    END,
    LOW,
    SPARSE,
    Cache,
    Magazine,
    SlabPage,
    Stacked,
    cache_at,
    cpu_at,
    is_all,
    magazine_at,
    returned_bits,
    slab_page,
    slot_number,
)
from kernmalloc.lang import element, failed, kernel, popcount, shr
from kernmalloc.lang.status import NOT_ALLOCATED, OK


@kernel
def _words(page: SlabPage) -> int:
    """Words of a page's first bitmap."""
    return (page.slots + 63) >> 6


@kernel
def _slots_of(slots: int, word: int) -> int:
    """Bits of one word of a bitmap that are slots."""
    here = min(slots - (word << 6), 64)
    return shr(-1, 64 - here) if here > 0 else 0


@kernel
def _bitmap_errors(kern: Kern, page: int) -> int:
    """1 if a bitmap has a bit that is no slot, or both have the same, or the second is not as the page says.

    Both may have the same bits in a page that its owner has yet to look at (`heed`)."""
    record = slab_page(kern, page)
    unseen = 0
    if record.owner != 0 and record.waiting != 0:
        unseen = cpu_at(kern, record.owner - 1).noted
    returned = 0
    for word in range(2 if record.slots <= SPARSE else 4):
        own = element(record.bits, word).bits
        other = returned_bits(kern, page, word)
        if (own | other) & ~_slots_of(record.slots, word) != 0 or (own & other != 0 and unseen == 0):
            return 1
        returned += popcount(other)
    return 1 if returned != record.given or (returned != 0) != (record.waiting != 0) else 0


@kernel
def _place_errors(kern: Kern, page: int, before: int) -> int:
    """1 if other slots start in a page than must, where `before` start in the slab's pages before it."""
    record = slab_page(kern, page)
    cache = cache_at(kern, record.cache)
    start = record.back << kern.page_shift
    end = start + (1 << kern.page_shift)
    if before > 0 and (before - 1) * cache.size >= start:
        return 1
    if record.slots == 0:
        return 1 if record.start != 0 or (before < cache.slots and before * cache.size < end) else 0
    after = before + record.slots
    if record.start != (va_of(kern, page - record.back) + before * cache.size) & LOW:
        return 1
    if (after - 1) * cache.size >= end or after > cache.slots:
        return 1
    return 1 if after < cache.slots and after * cache.size < end else 0


@kernel
def slab_page_errors(cpu: Cpu, page: int, head: int, before: int) -> int:
    """1 if a page of the slab whose first page is `head` is not as its cache makes them."""
    kern = cpu.kern
    first = slab_page(kern, head)
    record = slab_page(kern, page)
    cache = cache_at(kern, first.cache)
    if (
        record.cache != first.cache
        or record.owner != first.owner
        or record.back != page - head
        or first.pages != cache.pages
    ):
        return 1
    if record.reciprocal != cache.reciprocal or record.slots > cache.slots or record.free > record.slots:
        return 1
    if record.owner > kern.cpu_count or (record.owner == 0) != (cache.common != 0):
        return 1
    if magazine_at(kern, record.owner, first.cache).size != cache.size:
        return 1
    if record.back == cache.pages - 1 and before + record.slots != cache.slots:
        return 1
    return _place_errors(kern, page, before) | _bitmap_errors(kern, page)


@kernel
def bits_set(page: SlabPage) -> int:
    """Bits set in the first bitmap of a slab's page."""
    return bits_in(page.bits, _words(page))


@kernel
def _top_of(magazine: Magazine) -> int:
    """Bytes in a magazine's stack, as far as it has room."""
    return min(magazine.top, STACK * Stacked.size)


@kernel
def stacked_of(kern: Kern, page: SlabPage) -> int:
    """How many slots of a slab's page are on its owner's stack. A slot that is there twice spoils the count."""
    stacked = 0
    if page.owner != 0:
        stack = stack_of(cpu_at(kern, page.owner - 1), page.cache)
        for at in range(stack.addr, stack.addr + _top_of(magazine_at(kern, page.owner, page.cache)), Stacked.size):
            stacked += 1 if word_of(Stacked(at)).addr & RECORD == page.addr else 0
    return stacked


@kernel
def _stack_errors(kern: Kern, owner: int, id: int) -> int:
    """Slots on a stack that are there twice, or not free, or not of the owner's slabs of that cache."""
    stack = stack_of(cpu_at(kern, owner - 1), id)
    errors = 0
    for at in range(stack.addr, stack.addr + _top_of(magazine_at(kern, owner, id)), Stacked.size):
        stacked = Stacked(at)
        page = page_at(kern, stacked.va)
        slot = NOT_ALLOCATED
        if not failed(page):
            record = slab_page(kern, page)
            if record.use == SLAB and record.cache == id and record.owner == owner:
                slot = slot_number(kern, page, stacked.va)
        if failed(slot):
            errors += 1
            continue
        word = element(slab_page(kern, page).bits, slot >> 6)
        if stacked.bit != (word.addr << 3) + (slot & 63) or shr(word.bits, slot & 63) & 1 == 0:
            errors += 1
        for other in range(stack.addr, at, Stacked.size):
            errors += 1 if Stacked(other).bit == stacked.bit else 0
    return errors


@kernel
def is_empty(kern: Kern, head: int) -> int:
    """1 if a slab should be put aside: all its slots are free, and its magazine does not point into it."""
    first = slab_page(kern, head)
    pointed = magazine_at(kern, first.owner, first.cache).word.addr & RECORD
    for i in range(first.pages):
        h = slab_page(kern, head + i)
        if h.free != h.slots or h.addr == pointed:
            return 0
    return 1


@kernel
def _to_be_listed(kern: Kern, page: int, aside: int) -> int:
    """1 if a page of a slab should be on its magazine's list."""
    record = slab_page(kern, page)
    magazine = magazine_at(kern, record.owner, record.cache)
    return 1 if record.free > 0 and aside == 0 and magazine.word.addr & RECORD != record.addr else 0


@kernel
def slab_page_listed(kern: Kern, page: int, aside: int) -> int:
    """1 if a page of a slab is linked on its magazine's list, or not, as its state demands."""
    record = slab_page(kern, page)
    magazine = magazine_at(kern, record.owner, record.cache)
    if _to_be_listed(kern, page, aside) != 0:
        return linked(kern, page, magazine.list)
    if record.prev != 0 or magazine.list == page + 1:
        return 0
    return 1 if record.next == 0 or (aside != 0 and record.back == 0 and record.next <= kern.top) else 0


@kernel
def count_cache(cpu: Cpu, tally: Tally, id: int) -> int:
    """Recount the slabs of cache `id`, and what its magazines must have."""
    kern = cpu.kern
    tally.id = id
    tally.slabs = 0
    tally.partial = 0
    tally.empty = 0
    tally.given_back = 0
    tally.listed = 0
    tally.empties = 0
    tally.returned = 0
    page = 0
    while page < kern.top:
        first = slab_page(kern, page)
        if first.use == SLAB and first.cache == id:
            aside = is_empty(kern, page)
            tally.slabs = tally.slabs + 1
            tally.empty = tally.empty + aside
            for i in range(first.pages):
                tally.partial = tally.partial + _to_be_listed(kern, page + i, aside)
                tally.given_back = tally.given_back + (1 if slab_page(kern, page + i).waiting != 0 else 0)
        page += max(first.pages, 1)  # 0: the page is away
    return OK


@kernel
def _is_pointed(kern: Kern, magazine: Magazine, owner: int, id: int) -> int:
    """1 if a magazine points at a word of a page of the owner's slabs of that cache, and knows where its slots are."""
    record = magazine.word.addr & RECORD
    if record < kern.heap_map.addr or record >= element(kern.heap_map, kern.top).addr:
        return 0
    page = SlabPage(record)
    word = (magazine.word.addr - record - BITS) >> 3
    if page.use != SLAB or page.cache != id or page.owner != owner or word < 0 or word >= _words(page):
        return 0
    va = va_of(kern, page_of_record(kern, HeapPage(record)))
    base = va + ((page.start - va) & LOW) + (word << 6) * cache_at(kern, id).size
    return 1 if magazine.base == base and magazine.word == element(page.bits, word) else 0


@kernel
def _count_returned(kern: Kern, tally: Tally, first: int, owner: int) -> int:
    """Count the pages of the cache that was recounted last on a list of the owner's, which begins at `first`: how many
    of other caches there are."""
    others = 0
    at = first if first != 0 else END
    while at != END and at != 0 and at <= kern.top and tally.returned <= tally.given_back and others <= kern.top:
        page = slab_page(kern, at - 1)
        if page.cache != tally.id:
            others += 1
        else:
            tally.returned = tally.returned + (1 if page.owner == owner and page.waiting != 0 else tally.given_back + 1)
        at = page.waiting
    tally.returned = tally.returned if at == END else tally.given_back + 1
    return others


@kernel
def _count_noted(kern: Kern, tally: Tally, owner: int) -> int:
    """Count them on the list of what the owner, a processor, has yet to look at."""
    return _count_returned(kern, tally, cpu_at(kern, owner - 1).noted, owner)


@kernel
def count_magazine(cpu: Cpu, tally: Tally, magazine: Magazine, owner: int) -> int:
    """Walk the lists of an owner's magazine for the cache that was recounted last."""
    kern = cpu.kern
    c = cache_at(kern, tally.id)
    tally.pointed = _is_pointed(kern, magazine, owner, tally.id)
    made = 1 if magazine.size != 0 else 0
    tally.magazine_size = c.size * made
    tally.magazine_keep = c.keep * made
    tally.magazine_stack = c.stack_bytes * made
    tally.magazine_empty_pages = 0
    tally.stack_errors = _stack_errors(kern, owner, tally.id) if owner != 0 else 0
    at = magazine.list
    while at != 0 and at <= kern.top and tally.listed <= tally.partial:
        tally.listed = tally.listed + 1
        at = slab_page(kern, at - 1).next
    tally.listed = tally.listed if at == 0 else tally.partial + 1
    at = magazine.empties
    while at != 0 and at <= kern.top and tally.empties <= tally.empty:
        tally.empties = tally.empties + 1
        tally.magazine_empty_pages = tally.magazine_empty_pages + slab_page(kern, at - 1).pages
        at = slab_page(kern, at - 1).next
    tally.empties = tally.empties if at == 0 else tally.empty + 1
    if _count_returned(kern, tally, magazine.returned, owner) != 0:
        tally.returned = tally.given_back + 1
    if owner != 0:
        _count_noted(kern, tally, owner)
    return OK


@kernel
def _used(record: int, bytes: int) -> int:
    """1 if memory is not all zeros."""
    bits = 0
    for at in range(record, record + bytes, Word.size):
        bits = bits | Word(at).bits
    return 1 if bits != 0 else 0


@kernel
def unused_errors(cpu: Cpu) -> int:
    """Records that nobody uses and that are not all zeros: caches, magazines, heap pages that are away or above the
    top."""
    kern = cpu.kern
    errors = 0
    for id in range(CACHES):
        made = 1 if id < kern.cache_count else 0
        cache = cache_at(kern, id)
        if made == 0:
            errors += _used(cache.addr, Cache.size)
        if is_all(0) != 0 and (made == 0 or cache.common == 0):
            errors += _used(magazine_at(kern, 0, id).addr, Magazine.size)
        if made == 0 or cache.common != 0:
            for owner in range(1, kern.cpu_count + 1):
                errors += _used(magazine_at(kern, owner, id).addr, Magazine.size)
    end = element(kern.heap_map, kern.map_pages << (kern.page_shift - PAGE_RECORD_SHIFT)).addr
    for at in range(element(kern.heap_map, kern.top).addr, end, HeapPage.size):
        errors += _used(at, HeapPage.size)
    for page in range(kern.top):
        if is_away(cpu, page) != 0:
            errors += _used(record_of(kern, page).addr, HeapPage.size)
    return errors
