"""Recount of slabs: their pages against the caches that made them, the magazines against the pages."""

from kernmalloc.kernel.bins import SLAB, page_of_record, record_of, va_of
from kernmalloc.kernel.kern import STACK, Cpu, Kern, Magazine, Stacked, Tally, Word
from kernmalloc.kernel.heap import page_at
from kernmalloc.kernel.magazines import RECORD, STACKED_BYTES, stack_of
from kernmalloc.kernel.recount import linked
from kernmalloc.kernel.slabs import (
    BITS,
    END,
    LOW,
    SPARSE,
    Cache,
    SlabPage,
    cache_at,
    cpu_at,
    magazine_at,
    returned_at,
    slot_number,
)
from kernmalloc.lang import kernel, popcount, shr
from kernmalloc.lang.status import NOT_ALLOCATED, OK


@kernel
def _words(page):
    """Words of a page's first bitmap; `page` is the VA of its record."""
    return (SlabPage(page).slots + 63) >> 6


@kernel
def _slots_of(slots, word):
    """Bits of one word of a bitmap that are slots."""
    here = min(slots - (word << 6), 64)
    return shr(-1, 64 - here) if here > 0 else 0


@kernel
def _bitmap_errors(kern, page):
    """1 if a bitmap has a bit that is no slot, or both have one, or the second one is empty and waits, or the other way round."""
    h = SlabPage(record_of(kern, page))
    returned = 0
    for word in range(2 if h.slots <= SPARSE else 4):
        own = Word(h.addr + BITS + (word << 3)).bits
        other = Word(returned_at(kern, page, word)).bits
        if (own | other) & ~_slots_of(h.slots, word) != 0 or own & other != 0:
            return 1
        returned = returned | other
    return 1 if (returned != 0) != (h.waiting != 0) else 0


@kernel
def _place_errors(kern, page, before):
    """1 if not exactly those slots start in a page that must, where `before` start in the slab's pages before it."""
    h = SlabPage(record_of(kern, page))
    c = Cache(cache_at(kern, h.cache))
    start = h.back << Kern(kern).page_shift
    end = start + (1 << Kern(kern).page_shift)
    if before > 0 and (before - 1) * c.size >= start:
        return 1
    if h.slots == 0:
        return 1 if h.start != 0 or (before < c.slots and before * c.size < end) else 0
    after = before + h.slots
    if (
        h.start != (va_of(kern, page - h.back) + before * c.size) & LOW
        or (after - 1) * c.size >= end
        or after > c.slots
    ):
        return 1
    return 1 if after < c.slots and after * c.size < end else 0


@kernel
def slab_page_errors(cpu, page, head, before):
    """1 if a page of the slab whose first page is `head` is not as its cache makes them."""
    kern = Cpu(cpu).kern
    first = SlabPage(record_of(kern, head))
    h = SlabPage(record_of(kern, page))
    c = Cache(cache_at(kern, first.cache))
    if h.cache != first.cache or h.owner != first.owner or h.back != page - head or first.pages != c.pages:
        return 1
    if h.reciprocal != c.reciprocal or h.slots > c.slots or h.free > h.slots:
        return 1
    if h.owner > Kern(kern).cpu_count or (h.owner == 0) != (c.common != 0):
        return 1
    if h.back == c.pages - 1 and before + h.slots != c.slots:
        return 1
    return _place_errors(kern, page, before) | _bitmap_errors(kern, page)


@kernel
def bits_set(page):
    """Bits set in the first bitmap of a slab's page, whose record is at `page`."""
    bits = 0
    for word in range(_words(page)):
        bits += popcount(Word(page + BITS + (word << 3)).bits)
    return bits


@kernel
def count_stacked(cpu, tally, page):
    """Count the slots of a slab's page, whose record is at `page`, on its owner's stack; a slot that is there twice spoils it."""
    kern = Cpu(cpu).kern
    h = SlabPage(page)
    t = Tally(tally)
    t.stacked = 0
    if h.owner != 0:
        stack = stack_of(cpu_at(kern, h.owner - 1), h.cache)
        for at in range(stack, stack + Magazine(magazine_at(kern, h.owner, h.cache)).top, STACKED_BYTES):
            t.stacked = t.stacked + (1 if (Stacked(at).bit >> 6) << 3 & RECORD == page else 0)
    return OK


@kernel
def _stack_errors(kern, owner, id):
    """Slots on a stack that are there twice, or not free, or not of the owner's slabs of that cache."""
    k = Kern(kern)
    cpu = cpu_at(kern, owner - 1)
    stack = stack_of(cpu, id)
    errors = 0
    for at in range(stack, stack + min(Magazine(magazine_at(kern, owner, id)).top, STACK << 4), STACKED_BYTES):
        s = Stacked(at)
        page = page_at(kern, s.va)
        if page < 0:
            errors += 1
            continue
        h = SlabPage(record_of(kern, page))
        slot = slot_number(kern, page, s.va) if h.use == SLAB and h.cache == id and h.owner == owner else NOT_ALLOCATED
        if slot < 0:
            errors += 1
            continue
        word = h.addr + BITS + ((slot >> 6) << 3)
        if s.bit != (word << 3) + (slot & 63) or shr(Word(word).bits, slot & 63) & 1 == 0:
            errors += 1
        for other in range(stack, at, STACKED_BYTES):
            errors += 1 if Stacked(other).bit == s.bit else 0
    return errors


@kernel
def is_spare(kern, head):
    """1 if a slab should be among the spares: empty, and its magazine does not point into it."""
    first = SlabPage(record_of(kern, head))
    pointed = Magazine(magazine_at(kern, first.owner, first.cache)).word & RECORD
    for i in range(first.pages):
        h = SlabPage(record_of(kern, head + i))
        if h.free != h.slots or h.addr == pointed:
            return 0
    return 1


@kernel
def _to_be_listed(kern, page, spare):
    """1 if a page of a slab should be on its magazine's list."""
    h = SlabPage(record_of(kern, page))
    m = Magazine(magazine_at(kern, h.owner, h.cache))
    return 1 if h.free > 0 and spare == 0 and m.word & RECORD != h.addr else 0


@kernel
def slab_page_listed(kern, page, spare):
    """1 if a page of a slab is linked on its magazine's list, or not, as its state demands."""
    h = SlabPage(record_of(kern, page))
    m = Magazine(magazine_at(kern, h.owner, h.cache))
    if _to_be_listed(kern, page, spare) != 0:
        return linked(kern, page, m.list)
    if h.prev != 0 or m.list == page + 1:
        return 0
    return 1 if h.next == 0 or (spare != 0 and h.back == 0 and h.next <= Kern(kern).top) else 0


@kernel
def count_cache(cpu, tally, id):
    """Recount the slabs of a cache; what its magazines must have comes to."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    t.id = id
    t.slabs = 0
    t.partial = 0
    t.empty = 0
    t.waiting = 0
    t.listed = 0
    t.spares = 0
    t.returned = 0
    page = 0
    while page < k.top:
        first = SlabPage(record_of(k.addr, page))
        if first.use == SLAB and first.cache == id:
            spare = is_spare(k.addr, page)
            t.slabs = t.slabs + 1
            t.empty = t.empty + spare
            for i in range(first.pages):
                t.partial = t.partial + _to_be_listed(k.addr, page + i, spare)
                t.waiting = t.waiting + (1 if SlabPage(record_of(k.addr, page + i)).waiting != 0 else 0)
        page += first.pages
    return OK


@kernel
def _is_pointed(kern, magazine, owner, id):
    """1 if a magazine points at a word of a page of the owner's slabs of that cache, and knows where its slots are."""
    k = Kern(kern)
    m = Magazine(magazine)
    record = m.word & RECORD
    if record < k.heap_map or record >= k.heap_map + (k.top << 6):
        return 0
    h = SlabPage(record)
    word = (m.word - record - BITS) >> 3
    if h.use != SLAB or h.cache != id or h.owner != owner or word < 0 or word >= _words(record):
        return 0
    va = va_of(kern, page_of_record(kern, record))
    base = va + ((h.start - va) & LOW) + (word << 6) * Cache(cache_at(kern, id)).size
    return 1 if m.base == base and m.word == record + BITS + (word << 3) else 0


@kernel
def count_magazine(cpu, tally, magazine, owner):
    """Walk the lists of an owner's magazine for the cache that was recounted last."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    m = Magazine(magazine)
    c = Cache(cache_at(k.addr, t.id))
    t.pointed = _is_pointed(k.addr, magazine, owner, t.id)
    t.magazine_size = c.size if m.keep == c.keep else 0
    t.magazine_spare = 0
    t.stack_errors = _stack_errors(k.addr, owner, t.id) if owner != 0 else 0
    at = m.list
    while at != 0 and at <= k.top and t.listed <= t.partial:
        t.listed = t.listed + 1
        at = SlabPage(record_of(k.addr, at - 1)).next
    at = m.spares
    while at != 0 and at <= k.top and t.spares <= t.empty:
        t.spares = t.spares + 1
        t.magazine_spare = t.magazine_spare + SlabPage(record_of(k.addr, at - 1)).pages
        at = SlabPage(record_of(k.addr, at - 1)).next
    at = m.returned if m.returned != 0 else END
    while at != END and at != 0 and at <= k.top and t.returned <= t.waiting:
        h = SlabPage(record_of(k.addr, at - 1))
        ours = 1 if h.owner == owner and h.cache == t.id and h.waiting != 0 else 0
        t.returned = t.returned + (1 if ours != 0 else t.waiting + 1)
        at = h.waiting
    return OK
