"""Slabs: runs of heap pages cut into equal slots, and the caches that own them.

Concepts
  1. A cache hands out slots of one size; its memory is type-stable: as long as a slab lives, its slots hold nothing
     else. `heap` keeps one cache per size class, `caches` one per kernel object type; there is no other kind.
  2. Which slots are free stands in the records of the slab's pages, a bitmap for the slots that start in the page: nothing is
     written into free slots, a slot freed twice is seen, and from an address to its bit it is two loads and a multiplication:

         product = (va - start) * reciprocal,      slot = product >> 32
         va is a slot's start  <=>  slot < slots  and  product & (2 ** 32 - 1) < reciprocal

     for with e = size * reciprocal - 2 ** 32 < size, and va r bytes behind a slot's start, the low half is
     slot * e + r * reciprocal, and slot * e < slot * size <= page < reciprocal where a page has more than one slot.
  3. A slab belongs to the processor that made it, which alone takes its slots, changes its bitmaps and keeps it on its lists
     (`magazines`), so that no lock is needed for any of that. Slabs of common caches (the kernel's own, and those with a
     share that is kept for them) belong to all, under the lock: what is in them is exact, whoever asks.
  4. Slots that another processor gives back are noted in a second bitmap, under the lock: in the second half of the
     first one, or where a page has more than 128 slots in the page's last 32 bytes.

    size * slots <= pages * page,  slots <= 255
    slot free      <=>  its bit is set in one of its page's two bitmaps
    free of a page =    bits set in its first bitmap - slots of it on the magazine's stack
"""

from kernmalloc.kernel.bins import NONE, SLAB, HeapPage, record_of, va_of
from kernmalloc.kernel.kern import STACK, Cpu, Kern, Magazine, Word
from kernmalloc.kernel.runs import cut_pages, give_pages, take_pages
from kernmalloc.lang import i64, inlined, kernel, record, shl, shr, u8, u16, u32
from kernmalloc.lang.status import INTERIOR, LIMIT, OK

CACHE_SHIFT = 6
MAGAZINE_SHIFT = 6
STACKED_SHIFT = 4
MAGAZINES = Cpu.offset("magazines")
COMMON = Kern.offset("common")
CPU_BYTES = Cpu.size
MAX_SLOTS = 255
MAX_SLAB_PAGES = 32
LOW = (1 << 32) - 1
SPARSE = 128  # slots whose two bitmaps lie in the page's record together
RETURNED_BYTES = 32  # of a second bitmap that does not
MOST_GIVEN = 8
KEPT_SHIFT = 6  # a cache may keep a 64th of the pages that the heap keeps idle as empty slabs of a processor


@record(size=64)
class Cache:
    """Slots of one size: a size class, or a kernel object type."""

    size: u32 = "bytes of a slot, a multiple of 16"
    reciprocal: u32 = "2 ** 32 / size, rounded up"
    slots: u32 = "slots in a slab"
    pages: u32 = "pages in a slab"
    keep: u32 = "pages of empty slabs that a processor keeps: one slab at least"
    depth: u32 = "bytes of a magazine's stack"
    common: u8 = "1: its slabs belong to all processors"
    spare: u8 = "0"
    id: u16 = "number of this cache"
    kept: u32 = "slabs that are never given back (a static division, E2)"
    slabs: i64 = "slabs there are"
    limit: i64 = "slabs there may be"
    wanted: i64 = "object types: how many the profile's ratio asks for"
    object: i64 = "object types: bytes of the object as declared; 0 for a size class"

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
        "tally.spares == tally.empty",
        "tally.returned == tally.waiting",
    )


@record(size=64)
class SlabPage:
    """The same 64 bytes as a `HeapPage`, of a page of a slab."""

    pages: u32 = "first page: length of the slab"
    next: u32 = "next page with free slots, or the next empty slab: page + 1"
    prev: u32 = "the one before: page + 1"
    use: u8 = "SLAB"
    cache: u8 = "number of its cache"
    owner: u16 = "number of the processor that it belongs to, plus 1; 0: all of them"
    back: u16 = "pages from here back to the first"
    slots: u8 = "slots that start in it"
    free: u8 = "of those, free as the owner knows"
    start: u32 = "low half of the VA of the first of them"
    reciprocal: u32 = "2 ** 32 / size, rounded up: a slot's number without a division"
    waiting: u32 = "0: nothing was given back by others; else the next such page of the owner: page + 1, or END"
    bits: i64 * 4 = "free slots; up to 128, the second half is of those that others gave back"

    invariants = (
        "cache < kern.cache_count",
        "tally.slab_errors == 0",
        "free == tally.slab_free - tally.stacked",
        "tally.listed == 1",
    )


BITS = SlabPage.offset("bits")
END = 0xFFFFFFFF


@kernel
def cache_at(kern, id):
    """VA of a cache, by number."""
    return Kern(kern).caches + (id << CACHE_SHIFT)


@kernel
def cpu_at(kern, number):
    """VA of a processor's record."""
    return Kern(kern).cpus + number * CPU_BYTES


@inlined
def own_magazine(cpu, id):
    """VA of a processor's own magazine for a cache; of a common cache it is empty."""
    return cpu + MAGAZINES + (id << MAGAZINE_SHIFT)


@kernel
def magazine_at(kern, owner, id):
    """VA of the magazine for a cache: of processor `owner` - 1, of all processors if owner is 0."""
    if owner == 0:
        return kern + COMMON + (id << MAGAZINE_SHIFT)
    return own_magazine(cpu_at(kern, owner - 1), id)


@kernel
def owner_of(cpu, id):
    """Whose slabs this processor takes slots of a cache from: 0: of all, else its own: its number plus 1."""
    return 0 if Cache(cache_at(Cpu(cpu).kern, id)).common != 0 else Cpu(cpu).id + 1


@kernel
def magazine_of(cpu, id):
    """VA of the magazine that this processor uses for a cache."""
    return magazine_at(Cpu(cpu).kern, owner_of(cpu, id), id)


@kernel
def reciprocal_of(size):
    """2 ** 32 / size, rounded up, for sizes of 16 bytes and more: by long division, there being no other on small targets."""
    quotient = 0
    rest = 0
    for i in range(32, -1, -1):
        rest = (rest << 1) | (1 if i == 32 else 0)
        quotient = quotient << 1
        if rest >= size:
            rest -= size
            quotient += 1
    return quotient + (1 if rest > 0 else 0)


@kernel
def slots_in(size, pages, page_shift):
    """Slots of `size` that so many pages hold, at most as many as a slab can have, beside a second bitmap where that lies in
    the page."""
    dense = 1 if size * SPARSE < 1 << page_shift else 0
    bytes = (pages << page_shift) - (RETURNED_BYTES if dense != 0 else 0)
    return min((bytes * reciprocal_of(size)) >> 32, MAX_SLOTS)


@kernel
def slab_pages(size, page_shift):
    """Pages of a slab: the fewest that waste at most 1/32, else those that waste the smallest share."""
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
def slab_slots(size, page_shift):
    """Slots of `size` in a slab."""
    return slots_in(size, slab_pages(size, page_shift), page_shift)


@kernel
def cache_init(kern, id, size, limit, common):
    """Make cache `id` one of `size`-byte slots, at most `limit` slabs; `common`: they belong to all processors."""
    k = Kern(kern)
    c = Cache(cache_at(kern, id))
    c.size = size
    c.reciprocal = reciprocal_of(size)
    c.pages = slab_pages(size, k.page_shift)
    c.slots = slab_slots(size, k.page_shift)
    c.keep = max(c.pages, k.idle_most >> KEPT_SHIFT)
    c.depth = min(slots_in(size, c.keep, k.page_shift), STACK) << STACKED_SHIFT if common == 0 else 0
    c.limit = limit
    c.id = id
    c.common = common
    return OK


@kernel
def returned_at(kern, page, word):
    """VA of a word of the second bitmap of a slab's page."""
    h = SlabPage(record_of(kern, page))
    if h.slots <= SPARSE:
        return h.addr + BITS + ((word + 2) << 3)
    return va_of(kern, page + 1) - RETURNED_BYTES + (word << 3)


@inlined
def slot_number(kern, page, va):
    """The number of the slot that starts at va, in that page of a slab; INTERIOR if none does."""
    h = SlabPage(record_of(kern, page))
    product = ((va - h.start) & LOW) * h.reciprocal
    slot = shr(product, 32)
    return slot if slot < h.slots and product & LOW < h.reciprocal else INTERIOR


@kernel
def slot_free(kern, page, slot):
    """1 if the slot is free, in either bitmap."""
    word = slot >> 6
    bits = Word(record_of(kern, page) + BITS + (word << 3)).bits | Word(returned_at(kern, page, word)).bits
    return shr(bits, slot & 63) & 1


@kernel
def _fill(kern, page, cache, owner, back, before):
    """Make one page of a slab: `before` slots start in the pages before it. Returns how many start in it."""
    c = Cache(cache)
    shift = Kern(kern).page_shift
    h = SlabPage(record_of(kern, page))
    first = before * c.size - (back << shift)
    left = (1 << shift) - first
    slots = min(((left - 1) * c.reciprocal >> 32) + 1, c.slots - before) if left > 0 else 0
    h.use = SLAB
    h.cache = c.id
    h.owner = owner
    h.back = back
    h.start = va_of(kern, page) + first if slots > 0 else 0
    h.slots = slots
    h.free = slots
    h.reciprocal = c.reciprocal
    h.waiting = 0
    for word in range(4):
        n = min(max(slots - (word << 6), 0), 64)
        if slots > SPARSE:
            Word(returned_at(kern, page, word)).bits = 0
        Word(h.addr + BITS + (word << 3)).bits = 0 if n == 0 else shr(-1, 64 - n)
    return slots


@kernel
def spare_push(kern, magazine, page):
    """Put an empty slab, whose pages are on no list, on top of those that its owner keeps."""
    m = Magazine(magazine)
    h = SlabPage(record_of(kern, page))
    h.next = m.spares
    m.spares = page + 1
    m.spare = m.spare + h.pages
    return OK


@kernel
def spare_pop(kern, magazine):
    """Take the slab from there that was put there last: its first page."""
    m = Magazine(magazine)
    page = m.spares - 1
    h = SlabPage(record_of(kern, page))
    m.spares = h.next
    h.next = 0
    m.spare = m.spare - h.pages
    return page


@kernel
def slab_free(cpu, cache):
    """Give the pages of an empty slab back, the one that this processor put aside last."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    page = spare_pop(kern, magazine_of(cpu, c.id))
    pages = c.pages
    for i in range(pages):
        h = SlabPage(record_of(kern, page + i))
        h.use = NONE
        h.cache = 0
        h.owner = 0
        h.back = 0
        h.start = 0
        h.slots = 0
        h.free = 0
        h.reciprocal = 0
        h.pages = 0
        for word in range(4):
            Word(h.addr + BITS + (word << 3)).bits = 0
    c.slabs = c.slabs - 1
    return give_pages(cpu, page, pages)


@kernel
def spares_free(cpu, cache, keep):
    """Give empty slabs of this processor back until at most `keep` pages of them are left, or as many as are never given back."""
    c = Cache(cache)
    m = Magazine(magazine_of(cpu, c.id))
    while m.spare > keep and c.slabs > c.kept:
        slab_free(cpu, cache)
    return OK


@kernel
def pages_get(cpu, pages, align):
    """A run of backed pages, as `take_pages`; before the heap grows for it, as many pages of this processor's empty slabs are given
    back, but not of more than 8 slabs."""
    k = Kern(Cpu(cpu).kern)
    page = cut_pages(cpu, pages, align)
    if page >= 0:
        return page
    left = MOST_GIVEN
    for id in range(k.cache_count):
        m = Magazine(own_magazine(cpu, id))
        while m.spare > 0 and k.idle < pages and left > 0:
            slab_free(cpu, cache_at(k.addr, id))
            left -= 1
    return take_pages(cpu, pages, align)


@kernel
def slab_new(cpu, cache):
    """Make a slab and put it aside, empty: its first page. LIMIT, or as `take_pages` says."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    if c.slabs >= c.limit:
        return LIMIT
    page = pages_get(cpu, c.pages, 1)
    if page < 0:
        return page
    owner = owner_of(cpu, c.id)
    slots = 0
    for i in range(c.pages):
        slots += _fill(kern, page + i, cache, owner, i, slots)
    SlabPage(record_of(kern, page)).pages = c.pages
    m = Magazine(magazine_at(kern, owner, c.id))
    m.size = c.size
    m.keep = c.keep
    m.depth = c.depth
    c.slabs = c.slabs + 1
    spare_push(kern, m.addr, page)
    return page


@kernel
def slabs_unmake(cpu, cache, count):
    """Give the slabs made last back; no slot of them has been taken."""
    for i in range(count):
        slab_free(cpu, cache)
    return OK


@kernel
def slabs_make(cpu, cache, count):
    """Make so many slabs. As `take_pages` says; then none is made."""
    for made in range(count):
        page = slab_new(cpu, cache)
        if page < 0:
            slabs_unmake(cpu, cache, made)
            return page
    return OK
