"""Slabs: runs of heap pages cut into equal slots, and the caches that own them.

Concepts
  1. A cache hands out slots of one size. There is one for each size class (`malloc`) and one for each type of kernel
     object (`caches`). Its memory is type-stable: as long as a slab lives, its slots hold nothing else.
  2. A bitmap in the record of a slab's page says which of the slots that start in the page are free. Nothing is written
     into free slots, and a slot that is given back twice is noticed.
  3. From an address to its bit it is two loads and a multiplication:

         product = (va - start) * reciprocal,      slot = product >> 32
         va is a slot's start  <=>  slot < slots  and  product & (2 ** 32 - 1) < reciprocal

     Let e = size * reciprocal - 2 ** 32, which is less than size. Where va lies r bytes behind a slot's start, the low
     half of the product is slot * e + r * reciprocal; and slot * e < slot * size <= page < reciprocal where a page has
     more than one slot.
  4. A slab belongs to the processor that made it. That processor alone takes its slots, changes its first bitmaps and
     keeps it on its lists (`magazines`), and needs no lock for it.
  5. The slabs of a common cache belong to all processors, under the lock, so that what is free in them can be counted.
     Common are the kernel's own caches, and those of which a share is kept for somebody.
  6. A page has a second bitmap, which the lock guards: of the slots that other processors gave back. It is the second
     half of the first one; where a page has more than 128 slots, the last 32 bytes of the page. A bit of it is a note
     to the owner, who looks at its notes (`heed`) before it takes a slot or lets a slab go.

    size * slots <= pages * page,  slots <= 255
    slot free      <=>  its bit is set in one of its page's two bitmaps
    free of a page =    bits set in its first bitmap - slots of it on the magazine's stack
    a free slot is poisoned; no other byte of a slab is
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, LARGEST_CLASS, LINKS, OWN_CACHES, SIZE_CLASSES, STACK, Cpu, Kern, Word
from kernmalloc.kernel.core.locks import gate_of
from kernmalloc.kernel.core.seals import folded, mixed  # noqa: F401 (`sealer` names it)
from kernmalloc.kernel.frames.claims import listed, short
from kernmalloc.kernel.heap.bins import INSIDE, SLAB, record_of, va_of
from kernmalloc.kernel.heap.runs import cut_pages, give_pages, new_pages, taken
from kernmalloc.lang import (
    Record,
    array,
    element,
    failed,
    field,
    i64,
    inlined,
    kernel,
    poison,
    popcount,
    sealer,
    shr,
    u8,
    u16,
    u32,
    usize,
)
from kernmalloc.lang.status import INTERIOR, LIMIT, OK

MAX_SLOTS = 255
MAX_SLAB_PAGES = 32
LOW = (1 << 32) - 1
SPARSE = 128  # slots whose two bitmaps lie in the page's record together
RETURNED_BYTES = 32  # of a second bitmap that does not
NO_LIMIT = LINKS - 1  # slabs: there are no more pages
MOST_GIVEN = 8  # empty slabs that are given back for a run, which bounds the time that it takes
KEPT_SHIFT = 6  # a cache may keep a 64th of the pages that the heap keeps idle as empty slabs of a processor


class Stacked(Record):
    """A slot on a magazine's stack."""

    va: i64 = field("where it is")
    bit: i64 = field("where its bit is: VA of the word * 8 + number in the word")


class Magazine(Record, size=64):
    """Where slots of a cache are taken from (`magazines`): by one processor, or, of a common cache, by all."""

    word: Word = field("the word of a bitmap that slots are taken from; 0: none")
    base: usize = field("VA of the slot of its bit 0")
    size: u32 = field("bytes between slots, once there is a slab")
    list: u32 = field("first of the other pages with free slots: page + 1")
    empties: u32 = field("the empty slab put aside last: page + 1")
    empty_pages: u32 = field("pages of the empty slabs that are put aside")
    keep: u32 = field("how many such pages may be kept")
    returned: u32 = field("first page with slots that others gave back, as the owner has seen: page + 1")
    top: u32 = field("bytes in the stack: those of its slots")
    stack_bytes: u32 = field("how many bytes it may hold")

    invariants = (
        "word == 0 or tally.pointed == 1",
        "size == tally.magazine_size and empty_pages == tally.magazine_empty_pages",
        "keep == tally.magazine_keep and stack_bytes == tally.magazine_stack",
        "top & 15 == 0 and top <= stack_bytes and tally.stack_errors == 0",
    )


class Cache(Record):
    """Slots of one size: a size class, or a kernel object type."""

    size: u32 = field("bytes of a slot, a multiple of 16")
    reciprocal: u32 = field("2 ** 32 / size, rounded up")
    slots: u32 = field("slots in a slab")
    pages: u32 = field("pages in a slab")
    keep: u32 = field("pages of empty slabs that a processor keeps: one slab at least")
    stack_bytes: u32 = field("bytes of a magazine's stack")
    common: u8 = field("1: its slabs belong to all processors")
    id: u16 = field("number of this cache")
    kept: u32 = field("slabs that are never given back (a static division, E2)")
    slabs: usize = field("slabs there are")
    limit: usize = field("slabs there may be")
    wanted: i64 = field("object types: how many the profile's ratio asks for")
    object: u32 = field("object types: bytes of the object as declared; 0 for a size class")
    seal: u32 = field("made of its constants (`seals`)")

    invariants = (
        "size > 0 and size & 15 == 0",
        "slots > 0 and slots <= MAX_SLOTS",
        "size * slots <= pages << kern.page_shift",
        "slots == MAX_SLOTS or size * (slots + 1) > (pages << kern.page_shift) - RETURNED_BYTES",
        "size * reciprocal >= 1 << 32 and size * (reciprocal - 1) < 1 << 32",
        "keep >= pages and common <= 1",
        "id == tally.id",
        "slabs == tally.slabs",
        "slabs >= kept and slabs <= limit",
        "kept == 0 or common == 1",
        "tally.listed == tally.partial",
        "tally.empties == tally.empty",
        "tally.returned == tally.given_back",
        "seal == tally.seal",
    )
    constants = (
        "size",
        "reciprocal",
        "slots",
        "pages",
        "keep",
        "stack_bytes",
        "common",
        "id",
        "kept",
        "limit",
        "wanted",
        "object",
    )


class SlabPage(Record, size=64):
    """One page of a slab, in the bytes of its `HeapPage`. The fields up to `owner` are those of a `HeapPage`."""

    pages: u32 = field("first page: length of the slab")
    next: u32 = field("next page with free slots, or the next empty slab: page + 1")
    prev: u32 = field("the one before: page + 1")
    use: u8 = field("SLAB")
    cache: u8 = field("number of its cache")
    owner: u16 = field("number of the processor that it belongs to, plus 1; 0: all of them")
    back: u8 = field("pages from here back to the first")
    given: u8 = field("slots that others gave back")
    slots: u8 = field("slots that start in it")
    free: u8 = field("of those, free as the owner knows")
    start: u32 = field("low half of the VA of the first of them")
    reciprocal: u32 = field("2 ** 32 / size, rounded up: a slot's number without a division")
    waiting: u32 = field("0: nothing was given back by others; else the next such page of its list: page + 1, or END")
    bits: Word = array(4, "free slots; up to 128, the second half is of those that others gave back")

    invariants = (
        "cache < kern.cache_count",
        "tally.slab_errors == 0",
        "free == tally.slab_free - tally.stacked",
        "tally.listed == 1",
    )


seal_cache = sealer(Cache, namespace=globals())
BITS = SlabPage.offset("bits")
END = 0xFFFFFFFF  # the last page with slots that others gave back; 0 says that a page has none


@kernel
def slab_page(kern: Kern, page: int) -> SlabPage:
    """The record of a heap page that belongs to a slab."""
    return SlabPage(record_of(kern, page).addr)


@kernel
def cache_at(kern: Kern, id: int) -> Cache:
    """The cache of that number."""
    return element(kern.caches, id)


@kernel
def is_own(id: int) -> int:
    """1 if what is allocated in the cache of that number is the kernel's own, not callers'."""
    return 1 if id >= SIZE_CLASSES and id < SIZE_CLASSES + OWN_CACHES else 0


@kernel
def cpu_at(kern: Kern, number: int) -> Cpu:
    """The processor of that number, from 0."""
    return element(kern.cpus, number)


@inlined
def own_magazine(cpu: Cpu, id: int) -> Magazine:
    """The magazine of a processor for a cache, by number. It is empty for a common cache."""
    return element(cpu.magazines, id)


@inlined
def is_all(owner: int) -> int:
    """1 if an owner, the number of a processor plus 1, is all of them: of common caches."""
    return 1 if owner == 0 else 0


@kernel
def magazine_at(kern: Kern, owner: int, id: int) -> Magazine:
    """The magazine for a cache of processor `owner` - 1; that of all processors if `owner` is 0."""
    if is_all(owner) != 0:
        return element(kern.common, id)
    return own_magazine(cpu_at(kern, owner - 1), id)


@kernel
def owner_of(cpu: Cpu, id: int) -> int:
    """Who owns the slabs that this processor takes slots of a cache from: its number plus 1; 0: all of them."""
    return 0 if cache_at(cpu.kern, id).common != 0 else cpu.id + 1


@kernel
def magazine_of(cpu: Cpu, id: int) -> Magazine:
    """The magazine that this processor uses for a cache: its own, or that of all."""
    return magazine_at(cpu.kern, owner_of(cpu, id), id)


@kernel
def reciprocal_of(size: int) -> int:
    """2 ** 32 / size, rounded up, for sizes of 16 bytes and more."""
    quotient = 0  # by long division: small targets have no other
    rest = 0
    for i in range(32, -1, -1):
        rest = (rest << 1) | (1 if i == 32 else 0)
        quotient = quotient << 1
        if rest >= size:
            rest -= size
            quotient += 1
    return quotient + (1 if rest > 0 else 0)


@kernel
def slots_in(size: int, pages: int, page_shift: int) -> int:
    """Slots of `size` that a slab of so many pages has: what fits, but not more than a slab may have."""
    dense = 1 if size * SPARSE < 1 << page_shift else 0  # the second bitmap lies in the page, too
    bytes = (pages << page_shift) - (RETURNED_BYTES if dense != 0 else 0)
    return min((bytes * reciprocal_of(size)) >> 32, MAX_SLOTS)


@kernel
def slab_pages(size: int, page_shift: int) -> int:
    """Pages of a slab: the fewest that waste at most 1/32 of themselves, else those that waste the smallest share."""
    best = 0
    best_slots = 0
    for pages in range(1, MAX_SLAB_PAGES + 1):
        bytes = pages << page_shift
        if size > bytes:
            continue
        slots = slots_in(size, pages, page_shift)
        if (bytes - slots * size) << 5 <= bytes:
            return pages
        if best == 0 or slots * best > best_slots * pages:
            best = pages
            best_slots = slots
    return best


@kernel
def slab_slots(size: int, page_shift: int) -> int:
    """Slots of `size` in a slab."""
    return slots_in(size, slab_pages(size, page_shift), page_shift)


@kernel
def cache_init(kern: Kern, id: int, size: int, limit: int, common: int) -> int:
    """Make cache `id` one of slots of `size` bytes, with at most `limit` slabs; `common`: they belong to all."""
    cache = cache_at(kern, id)
    cache.size = size
    cache.reciprocal = reciprocal_of(size)
    cache.pages = slab_pages(size, kern.page_shift)
    cache.slots = slab_slots(size, kern.page_shift)
    cache.keep = max(cache.pages, min(kern.idle_most >> KEPT_SHIFT, LOW))
    kept = slots_in(size, min(cache.keep, STACK * MAX_SLAB_PAGES), kern.page_shift)
    stacked = min(kept, STACK) if common == 0 else 0
    cache.stack_bytes = stacked * Stacked.size
    cache.limit = min(limit, NO_LIMIT)
    cache.id = id
    cache.common = common
    return cache_seal(cache)


@kernel
def cache_seal(cache: Cache) -> int:
    """Seal a cache, of which a constant was set."""
    cache.seal = folded(seal_cache(cache))
    return OK


@kernel
def returned_at(kern: Kern, page: int, word: int) -> Word:
    """A word of the second bitmap of a slab's page."""
    record = slab_page(kern, page)
    if record.slots <= SPARSE:
        return element(record.bits, word + 2)
    return Word(va_of(kern, page + 1) - RETURNED_BYTES + (word << 3))


@inlined
def returned_bits(kern: Kern, page: int, word: int) -> int:
    """That word: the slots that other processors gave back."""
    return returned_at(kern, page, word).bits


@kernel
def _returned_clear(kern: Kern, page: int) -> int:
    """Clear a second bitmap that does not lie in the record."""
    for word in range(4):
        returned_at(kern, page, word).bits = 0
    return OK


@inlined
def slot_number(kern: Kern, page: int, va: int) -> int:
    """The number of the slot of a slab's page that starts at va, which lies in that page; INTERIOR if none does."""
    record = slab_page(kern, page)
    product = ((va - record.start) & LOW) * record.reciprocal
    slot = shr(product, 32)
    return slot if slot < record.slots and product & LOW < record.reciprocal else INTERIOR


@kernel
def slot_free(kern: Kern, page: int, slot: int) -> int:
    """1 if a slot of a slab's page is free, by either bitmap."""
    word = slot >> 6
    bits = element(slab_page(kern, page).bits, word).bits | returned_bits(kern, page, word)
    return shr(bits, slot & 63) & 1


@kernel
def _fill(kern: Kern, page: int, cache: Cache, owner: int, back: int, before: int) -> int:
    """Make a page of a slab, `back` pages behind the first; `before` slots start before it: how many start in it."""
    shift = kern.page_shift
    record = slab_page(kern, page)
    first = before * cache.size - (back << shift)
    left = (1 << shift) - first
    slots = min((((left - 1) * cache.reciprocal) >> 32) + 1, cache.slots - before) if left > 0 else 0
    record.use = SLAB
    record.cache = cache.id
    record.owner = owner
    record.back = back
    record.start = va_of(kern, page) + first if slots > 0 else 0
    record.slots = slots
    record.free = slots
    record.reciprocal = cache.reciprocal
    record.given = 0
    record.waiting = 0
    for word in range(4):
        here = min(max(slots - (word << 6), 0), 64)
        element(record.bits, word).bits = 0 if here == 0 else shr(-1, 64 - here)
    if slots > SPARSE:
        _returned_clear(kern, page)
    poison(va_of(kern, page) + first, slots * cache.size)
    return slots


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
def slots_open(cpu: Cpu) -> int:
    """Open this processor's quick paths to slots, or shut them: while threads wait, and takes also until it has looked
    at its notes."""
    gate = gate_of(cpu)
    gate.gives = 1 - short(cpu.kern)
    gate.takes = LARGEST_CLASS if gate.gives != 0 and cpu.noted == 0 else 0
    return OK


@kernel
def heed(cpu: Cpu) -> int:
    """Look at what other processors gave back since the last time: takes need not wait for that any more.

    A note of a slot that this processor has free itself is dropped: both gave it back at the same moment."""
    kern = cpu.kern
    while cpu.noted != 0:
        page = cpu.noted - 1
        record = slab_page(kern, page)
        cpu.noted = record.waiting if record.waiting != END else 0
        left = 0
        for number in range((record.slots + 63) >> 6):
            word = returned_at(kern, page, number)
            word.bits = word.bits & ~element(record.bits, number).bits
            left += popcount(word.bits)
        record.given = left
        magazine = own_magazine(cpu, record.cache)
        if left == 0:
            record.waiting = 0
        else:
            record.waiting = magazine.returned if magazine.returned != 0 else END
            magazine.returned = page + 1
    gate = gate_of(cpu)
    if gate.gives != 0:
        gate.takes = LARGEST_CLASS
    return OK


@kernel
def takes_open(cpu: Cpu) -> int:
    """Before this processor takes a slot under the lock: open its gate, if it is shut to takes, as far as may be."""
    if gate_of(cpu).takes == 0:
        heed(cpu)
        slots_open(cpu)
    return OK


@kernel
def gives_open(cpu: Cpu) -> int:
    """Before this processor gives a slot back under the lock: open its gate, if it is shut to that, and may be open."""
    if gate_of(cpu).gives == 0:
        slots_open(cpu)
    return OK


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
        record.back = 0
        record.start = 0
        record.slots = 0
        record.free = 0
        record.reciprocal = 0
        record.pages = 0
        for word in range(4):
            element(record.bits, word).bits = 0
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


@kernel
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
def slab_new(cpu: Cpu, cache: Cache) -> int:
    """Make a slab and put it aside, empty: its first page. LIMIT, or what `run_get` says."""
    kern = cpu.kern
    if cache.slabs >= cache.limit:
        return LIMIT
    page = run_get(cpu, cache.pages, 1)
    if failed(page):
        return page
    owner = owner_of(cpu, cache.id)
    slots = 0
    for i in range(cache.pages):
        slots += _fill(kern, page + i, cache, owner, i, slots)
    slab_page(kern, page).pages = cache.pages
    magazine = magazine_at(kern, owner, cache.id)
    magazine.size = cache.size
    magazine.keep = cache.keep
    magazine.stack_bytes = cache.stack_bytes
    cache.slabs = cache.slabs + 1
    empty_push(kern, magazine, page)
    return page


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
