"""Recount of slabs: their pages are held against the caches that made them, the magazines against the pages."""

from __future__ import annotations

from kernmalloc.kernel.check.recount import bits_in
from kernmalloc.kernel.check.recount_heap import linked
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import ABSENT, CACHES, GRAIN_SHIFT, Cpu, Kern, Word
from kernmalloc.kernel.heap.bins import SLAB, record_of, record_shift
from kernmalloc.kernel.heap.malloc import page_at
from kernmalloc.kernel.heap.notes import has_many, note_shift, note_words, noted_start, notes_of
from kernmalloc.kernel.heap.partial import is_empty
from kernmalloc.kernel.heap.runs import is_away
from kernmalloc.kernel.heap.slabs import (
    END,
    LISTED,
    WAITS,
    Cache,
    Magazine,
    SlabPage,
    Stacked,
    back_of,
    cache_at,
    cpu_at,
    is_all,
    magazine_at,
    owner_at,
    slab_page,
    stack_at,
    stack_room,
)
from kernmalloc.kernel.heap.slots import (
    first_slot,
    grains_of,
    slot_grain,
    slots_at,
    slots_before,
    starts_at,
    starts_slot,
    starts_until,
    word_mask,
)
from kernmalloc.lang import ctz, element, failed, kernel, rest, shr
from kernmalloc.lang.status import OK


@kernel
def _words(kern: Kern) -> int:
    """Words of the bits of a slab's page."""
    return (word_mask(kern) + Word.size) // Word.size


@kernel
def _start_errors(kern: Kern, page: int) -> int:
    """1 if a page has a bit set where no slot starts."""
    at = slot_grain(kern, page, first_slot(kern, page) + slots_at(kern, page) - 1)
    step = cache_at(kern, slab_page(kern, page).cache).size >> GRAIN_SHIFT
    first = grains_of(kern, page)
    stray = 0
    for word in range(_words(kern) - 1, -1, -1):
        base = (first + (word << 6)) & -64
        starts = 0
        if at >= max(base, first):
            starts = starts_until(cache_at(kern, slab_page(kern, page).cache), first, at)
            at = base + ctz(starts) - step
        stray = stray | (starts_at(kern, page, base).bits & ~starts)
    return 1 if stray != 0 else 0


@kernel
def _note_errors(kern: Kern, page: int) -> int:
    """1 if a page has a note of what is no slot, or of a free one, or its record does not say that it has notes.

    A note may be of a free slot in a page that its owner has yet to look at (`heed`)."""
    record = slab_page(kern, page)
    owner = owner_at(kern, page)
    cache = cache_at(kern, record.cache)
    unseen = cpu_at(kern, owner - 1).noted if owner != 0 else 0
    shift = note_shift(kern, page)
    count = 0
    if has_many(kern, page) != 0 and record.returned.bits != 0:
        return 1
    for word in range(note_words(kern, page)):
        bits = element(notes_of(kern, page), word).bits
        while bits != 0:
            number = (word << 6) + ctz(bits)
            bits = rest(bits)
            at = (back_of(record) << kern.page_shift) + (number << shift)
            slot = slots_before(cache, at)
            if slot == cache.slots or slot * cache.size >= at + (1 << shift):
                return 1
            if noted_start(record, number, shift) == ABSENT and unseen == 0:
                return 1
            count += 1
    if count & 255 != record.given:
        return 1
    waits = 1 if record.waiting != 0 else 0
    return 1 if waits != (1 if count > 0 else 0) or waits != (1 if record.owner & WAITS != 0 else 0) else 0


@kernel
def slab_page_errors(cpu: Cpu, page: int, head: int) -> int:
    """1 if a page of the slab whose first page is `head` is not as its cache makes them."""
    kern = cpu.kern
    first = slab_page(kern, head)
    record = slab_page(kern, page)
    cache = cache_at(kern, first.cache)
    owner = owner_at(kern, page)
    if record.cache != first.cache or owner != owner_at(kern, head) or back_of(record) != page - head:
        return 1
    if first.pages != cache.pages or owner > kern.cpu_count or (owner == 0) != (cache.common != 0):
        return 1
    if magazine_at(kern, owner, first.cache).size != cache.size or record.used > slots_at(kern, page):
        return 1
    return _start_errors(kern, page) | _note_errors(kern, page)


@kernel
def starts_set(kern: Kern, page: SlabPage) -> int:
    """Bits set in a slab's page."""
    return bits_in(page.starts, _words(kern))


@kernel
def _stack_top(kern: Kern, magazine: Magazine, owner: int, id: int) -> int:
    """Where a magazine's stack ends that lies where it must. Its bottom, if it cannot end there."""
    bottom = stack_at(kern, owner, id)
    bytes = magazine.top - bottom
    most = min(cache_at(kern, id).stack, stack_room(id)) * Stacked.size
    return magazine.top if bytes >= 0 and bytes <= most and bytes & (Stacked.size - 1) == 0 else bottom


@kernel
def stacked_of(kern: Kern, page: int) -> int:
    """How many slots of a slab's page are on its owner's stack. A slot that is there twice spoils the count."""
    id = slab_page(kern, page).cache
    owner = owner_at(kern, page)
    magazine = magazine_at(kern, owner, id)
    stacked = 0
    for at in range(stack_at(kern, owner, id), _stack_top(kern, magazine, owner, id), Stacked.size):
        stacked += 1 if page_at(kern, Stacked(at).va) == page else 0
    return stacked


@kernel
def _is_stacked(kern: Kern, va: int, owner: int, id: int) -> int:
    """1 if va may be on an owner's stack for a cache: a free slot of its slabs starts there."""
    page = page_at(kern, va)
    if failed(page):
        return 0
    record = slab_page(kern, page)
    if record.use != SLAB or record.cache != id or owner_at(kern, page) != owner or starts_slot(kern, page, va) == 0:
        return 0
    grain = (va - kern.heap) >> GRAIN_SHIFT
    return 1 - (shr(starts_at(kern, page, grain).bits, grain & 63) & 1)


@kernel
def _stack_errors(kern: Kern, magazine: Magazine, owner: int, id: int) -> int:
    """Slots on a stack that are there twice, or not free, or not of the owner's slabs of that cache; or 1 if the stack
    does not end where it can."""
    bottom = stack_at(kern, owner, id)
    top = _stack_top(kern, magazine, owner, id)
    errors = 1 if top != magazine.top else 0
    for at in range(bottom, top, Stacked.size):
        va = Stacked(at).va
        errors += 1 - _is_stacked(kern, va, owner, id)
        for other in range(bottom, at, Stacked.size):
            errors += 1 if Stacked(other).va == va else 0
    return errors


@kernel
def _count_stack(kern: Kern, tally: Tally, magazine: Magazine, owner: int) -> int:
    """Recount the stack of an owner's magazine for the cache that was recounted last."""
    made = 1 if magazine.size != 0 else 0
    tally.magazine_bottom = stack_at(kern, owner, tally.id) * made
    tally.magazine_end = tally.magazine_bottom + cache_at(kern, tally.id).stack * Stacked.size * made
    tally.stack_errors = _stack_errors(kern, magazine, owner, tally.id) if made != 0 else abs(magazine.top)
    return OK


@kernel
def _to_be_listed(kern: Kern, page: int, aside: int) -> int:
    """1 if a page of a slab should be on its magazine's list."""
    return 1 if slab_page(kern, page).used < slots_at(kern, page) and aside == 0 else 0


@kernel
def slab_page_listed(kern: Kern, page: int, aside: int) -> int:
    """1 if a page of a slab is linked on its magazine's list, or not, as its state demands."""
    record = slab_page(kern, page)
    magazine = magazine_at(kern, owner_at(kern, page), record.cache)
    listed = 1 if record.place & LISTED != 0 else 0
    if listed != _to_be_listed(kern, page, aside):
        return 0
    if listed != 0:
        return linked(kern, page, magazine.list)
    if record.prev != 0 or magazine.list == page + 1:
        return 0
    return 1 if record.next == 0 or (aside != 0 and back_of(record) == 0 and record.next <= kern.top) else 0


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
            tally.returned = tally.returned + (
                1 if owner_at(kern, at - 1) == owner and page.waiting != 0 else tally.given_back + 1
            )
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
    made = 1 if magazine.size != 0 else 0
    tally.magazine_size = c.size * made
    tally.magazine_keep = c.keep * made
    tally.magazine_empty_pages = 0
    _count_stack(kern, tally, magazine, owner)
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
    for page in range(kern.map_pages << (kern.page_shift - record_shift(kern))):
        if page >= kern.top or is_away(cpu, page) != 0:
            errors += _used(record_of(kern, page).addr, 1 << record_shift(kern))
    return errors
