"""Slabs: runs of heap pages cut into equal slots, and the caches that own them.

Concepts
  1. A cache hands out slots of one size; its memory is type-stable: as long as a slab lives, its slots hold nothing
     else. `heap` keeps one cache per size class, `caches` one per kernel object type; there is no other kind.
  2. A slab's free slots are a bitmap of up to four words in the record of its first page: nothing is written into free
     slots, a slot freed twice is seen, and a slot's number is a multiplication away:

         slot = (va - slab) * reciprocal >> 32,   and va is a slot's start  <=>  slot * size = va - slab

  3. A processor claims a word of the bitmap at a time, into its magazine. Taking a slot is then: load the word, count
     trailing zeros, clear the bit, add. A slot freed while its word is claimed by this processor goes back to the
     magazine, so that the slot used last is used next; all others go to the slab's bitmap, under the lock, and join
     those of the magazine when the claim is dropped. Only its owner makes and drops a claim, so that its own magazine tells
     it without the lock what it has claimed. The magazines of typed caches are everybody's, and need the lock.
  4. A slab with free slots that nobody has claimed is on its cache's list. One that has become empty goes back to the
     heap's pages, but for one per cache, so that a cache at the edge does not thrash.

    size * slots <= pages * page,  slots <= 256
    slot free      <=>  its bit is set in the slab's bitmap, or, if its word is claimed, in the magazine
    slabs.slots    =   taken slots + free + bits of the magazine
    on the list    <=>  free > 0 and claim = 0
"""

from kernmalloc.kernel.bins import NONE, SLAB, HeapPage, record_of, va_of
from kernmalloc.kernel.kern import SIZE_CLASSES, Cpu, Kern, Magazine, Word
from kernmalloc.kernel.locks import SLOW
from kernmalloc.kernel.runs import give_pages, take_pages
from kernmalloc.lang import ctz, i64, kernel, popcount, record, shl, shr, u32
from kernmalloc.lang.status import INTERIOR, LIMIT, NOT_ALLOCATED, OK

CACHE_SHIFT = 6
MAGAZINE_SHIFT = 5
MAGAZINES = Cpu.offset("magazines")
TYPED = Kern.offset("typed")
CPU_BYTES = Cpu.size
BITS = HeapPage.offset("bits")
MAX_SLOTS = 256
MAX_SLAB_PAGES = 32


@record(size=64)
class Cache:
    """Slots of one size: a size class, or a kernel object type."""

    size: u32 = "bytes of a slot, a multiple of 16"
    reciprocal: u32 = "2 ** 32 / size, rounded up"
    slots: u32 = "slots in a slab"
    pages: u32 = "pages in a slab"
    partial: u32 = "first slab with free slots: page + 1"
    empty: u32 = "slabs on the list that are empty"
    id: u32 = "number of this cache"
    kept: u32 = "slabs that are never given back (a static division, E2)"
    slabs: i64 = "slabs there are"
    limit: i64 = "slabs there may be"
    wanted: i64 = "object types: how many the profile's ratio asks for"
    object: i64 = "object types: bytes of the object as declared; 0 for a size class"

    invariants = (
        "size > 0 and size & 15 == 0",
        "slots > 0 and slots <= MAX_SLOTS",
        "size * slots <= pages << kern.page_shift",
        "slots == MAX_SLOTS or size * (slots + 1) > pages << kern.page_shift",
        "size * reciprocal >= 1 << 32 and size * (reciprocal - 1) < 1 << 32",
        "id == tally.id",
        "slabs == tally.slabs",
        "tally.slab_errors == 0",
        "empty == tally.empty",
        "tally.listed == tally.partial",
        "slabs >= kept and slabs <= limit",
    )


@kernel
def cache_at(kern, id):
    """VA of a cache, by number."""
    return Kern(kern).caches + (id << CACHE_SHIFT)


@kernel
def cpu_at(kern, number):
    """VA of a processor's record."""
    return Kern(kern).cpus + number * CPU_BYTES


@kernel
def magazine_at(kern, owner, id):
    """VA of the magazine for a cache: of processor `owner` - 1, of all processors if owner is 0."""
    if owner == 0:
        return kern + TYPED + ((id - SIZE_CLASSES) << MAGAZINE_SHIFT)
    return cpu_at(kern, owner - 1) + MAGAZINES + (id << MAGAZINE_SHIFT)


@kernel
def owner_of(cpu, id):
    """Who owns the magazine that this processor uses for a cache: 0: all, else its number plus 1."""
    return Cpu(cpu).id + 1 if id < SIZE_CLASSES else 0


@kernel
def claim_of(owner, word):
    """How a claim of a word is written."""
    return (owner << 2) + word + 1


@kernel
def magazine_of(cpu, id):
    """VA of the magazine that this processor uses for a cache."""
    return cpu + MAGAZINES + (id << MAGAZINE_SHIFT) if id < SIZE_CLASSES else magazine_at(Cpu(cpu).kern, 0, id)


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
def slots_in(size, bytes):
    """Slots of `size` that `bytes` hold, at most as many as a slab can have."""
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
        slots = slots_in(size, bytes)
        if (bytes - slots * size) << 5 <= bytes:
            return pages
        if best == 0 or slots * best > best_slots * pages:
            best = pages
            best_slots = slots
    return best


@kernel
def cache_init(kern, id, size, limit):
    """Make cache `id` one of `size`-byte slots, at most `limit` slabs."""
    k = Kern(kern)
    c = Cache(cache_at(kern, id))
    c.size = size
    c.reciprocal = reciprocal_of(size)
    c.pages = slab_pages(size, k.page_shift)
    c.slots = slots_in(size, c.pages << k.page_shift)
    c.limit = limit
    c.id = id
    return OK


@kernel
def _list_add(kern, cache, page):
    """Put a slab first on its cache's list."""
    c = Cache(cache)
    h = HeapPage(record_of(kern, page))
    h.prev = 0
    h.next = c.partial
    if h.next != 0:
        HeapPage(record_of(kern, h.next - 1)).prev = page + 1
    c.partial = page + 1
    return OK


@kernel
def _list_remove(kern, cache, page):
    """Take a slab off its cache's list."""
    h = HeapPage(record_of(kern, page))
    if h.next != 0:
        HeapPage(record_of(kern, h.next - 1)).prev = h.prev
    if h.prev != 0:
        HeapPage(record_of(kern, h.prev - 1)).next = h.next
    else:
        Cache(cache).partial = h.next
    h.next = 0
    h.prev = 0
    return OK


@kernel
def _slab_free(cpu, cache, page):
    """Give an empty slab's pages back; it is on no list."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    pages = c.pages
    for i in range(pages):
        h = HeapPage(record_of(kern, page + i))
        h.use = NONE
        h.cache = 0
        h.back = 0
    h = HeapPage(record_of(kern, page))
    h.free = 0
    h.pages = 0
    h.size = 0
    h.reciprocal = 0
    h.slots = 0
    for i in range(4):
        Word(h.addr + BITS + (i << 3)).bits = 0
    c.slabs = c.slabs - 1
    return give_pages(cpu, page, pages)


@kernel
def _settle(cpu, cache, page):
    """A slab has free slots and no claim: file it, or give it back if it is empty and another one is, too."""
    c = Cache(cache)
    h = HeapPage(record_of(Cpu(cpu).kern, page))
    if h.free == h.slots:
        if c.empty > 0 and c.slabs > c.kept:
            return _slab_free(cpu, cache, page)
        c.empty = c.empty + 1
    return _list_add(Cpu(cpu).kern, cache, page)


@kernel
def slab_new(cpu, cache):
    """Make a slab and file it: its page. LIMIT, or as `take_pages` says."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    if c.slabs >= c.limit:
        return LIMIT
    page = take_pages(cpu, c.pages, 1)
    if page < 0:
        return page
    for i in range(c.pages):
        tail = HeapPage(record_of(kern, page + i))
        tail.use = SLAB
        tail.cache = c.id
        tail.back = i
    h = HeapPage(record_of(kern, page))
    h.pages = c.pages
    h.size = c.size
    h.reciprocal = c.reciprocal
    h.slots = c.slots
    h.free = c.slots
    h.claim = 0
    left = c.slots
    for i in range(4):
        n = min(left, 64)
        Word(h.addr + BITS + (i << 3)).bits = 0 if n == 0 else shr(-1, 64 - n)
        left -= n
    c.slabs = c.slabs + 1
    c.empty = c.empty + 1
    _list_add(kern, cache, page)
    return page


@kernel
def slabs_lacking(cpu, cache, count):
    """Slabs to be made so that `count` slots can be taken. LIMIT if there may not be so many. Changes nothing."""
    c = Cache(cache)
    m = Magazine(magazine_of(cpu, c.id))
    left = count - popcount(m.bits)
    if m.slab != 0:
        left -= HeapPage(record_of(Cpu(cpu).kern, m.slab - 1)).free
    at = c.partial
    while at != 0 and left > 0:
        h = HeapPage(record_of(Cpu(cpu).kern, at - 1))
        left -= h.free
        at = h.next
    slabs = 0
    while left > 0:
        left -= c.slots
        slabs += 1
    return slabs if c.slabs + slabs <= c.limit else LIMIT


@kernel
def slabs_unmake(cpu, cache, count):
    """Give the slabs made last back; no slot of them has been taken."""
    c = Cache(cache)
    for i in range(count):
        page = c.partial - 1
        _list_remove(Cpu(cpu).kern, cache, page)
        c.empty = c.empty - 1
        _slab_free(cpu, cache, page)
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


@kernel
def magazine_drain(cpu, cache):
    """Put what the magazine that this processor uses holds back into its slab, and drop the claim."""
    kern = Cpu(cpu).kern
    m = Magazine(magazine_of(cpu, Cache(cache).id))
    if m.slab == 0:
        return OK
    page = m.slab - 1
    h = HeapPage(record_of(kern, page))
    w = Word(h.addr + BITS + (m.word << 3))
    w.bits = w.bits | m.bits
    h.free = h.free + popcount(m.bits)
    h.claim = 0
    m.bits = 0
    m.slab = 0
    if h.free > 0:
        _settle(cpu, cache, page)
    return OK


@kernel
def _claim(cpu, cache, page):
    """Move a word of free slots from a slab on the list into the magazine that this processor uses."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    h = HeapPage(record_of(kern, page))
    word = 0
    while Word(h.addr + BITS + (word << 3)).bits == 0:
        word += 1
    if h.free == h.slots:
        c.empty = c.empty - 1
    _list_remove(kern, cache, page)
    w = Word(h.addr + BITS + (word << 3))
    m = Magazine(magazine_of(cpu, c.id))
    m.bits = w.bits
    m.base = va_of(kern, page) + (word << 6) * c.size
    m.size = c.size
    m.slab = page + 1
    m.word = word
    h.free = h.free - popcount(w.bits)
    h.claim = claim_of(owner_of(cpu, c.id), word)
    w.bits = 0
    return OK


@kernel
def slot_refill(cpu, cache):
    """Fill the empty magazine that this processor uses from a slab with free slots, made if there is none. LIMIT, or as `take_pages`."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    claimed = Magazine(magazine_of(cpu, c.id)).slab
    left = HeapPage(record_of(kern, claimed - 1)).free if claimed != 0 else 0  # in other words of the slab claimed now
    if c.partial == 0 and left == 0:
        page = slab_new(cpu, cache)
        if page < 0:
            return page
    magazine_drain(cpu, cache)
    return _claim(cpu, cache, c.partial - 1)


@kernel
def slot_take(cpu, id):
    """A slot of cache `id`: its VA. LIMIT, or as `take_pages` says."""
    m = Magazine(magazine_of(cpu, id))
    if m.bits == 0:
        status = slot_refill(cpu, cache_at(Cpu(cpu).kern, id))
        if status < 0:
            return status
    bits = m.bits
    slot = ctz(bits)
    m.bits = bits & ~shl(1, slot)
    return m.base + slot * m.size


@kernel
def slot_take_quick(cpu, id):
    """A slot of a size class from this processor's magazine: its VA. SLOW: it is empty."""
    m = Magazine(cpu + MAGAZINES + (id << MAGAZINE_SHIFT))
    bits = m.bits
    if bits == 0:
        return SLOW
    slot = ctz(bits)
    m.bits = bits & ~shl(1, slot)
    return m.base + slot * m.size


@kernel
def slot_give_quick(cpu, page, va):
    """Give the slot at va, in heap page `page`, back to this processor's magazine. SLOW: it goes elsewhere, or nowhere."""
    kern = Cpu(cpu).kern
    p = HeapPage(record_of(kern, page))
    if p.use != SLAB or p.cache >= SIZE_CLASSES:
        return SLOW
    m = Magazine(cpu + MAGAZINES + (p.cache << MAGAZINE_SHIFT))
    head = page - p.back
    slot = slot_number(kern, head, va)
    word = slot >> 6
    if slot < 0 or m.slab != head + 1 or m.word != word:
        return SLOW
    bit = shl(1, slot & 63)
    bits = m.bits
    if (bits | Word(record_of(kern, head) + BITS + (word << 3)).bits) & bit != 0:
        return SLOW
    m.bits = bits | bit
    return OK


@kernel
def slot_number(kern, page, va):
    """The number of the slot that starts at va in the slab at `page`; INTERIOR if none does."""
    h = HeapPage(record_of(kern, page))
    offset = va - va_of(kern, page)
    slot = (offset * h.reciprocal) >> 32
    if slot * h.size != offset or slot >= h.slots:
        return INTERIOR
    return slot


@kernel
def slot_free(cpu, page, slot):
    """1 if the slot is free, in the slab or in the magazine that claimed its word."""
    kern = Cpu(cpu).kern
    h = HeapPage(record_of(kern, page))
    word = slot >> 6
    bits = Word(h.addr + BITS + (word << 3)).bits
    claim = h.claim - 1
    if claim >= 0 and claim & 3 == word:
        bits = bits | Magazine(magazine_at(kern, claim >> 2, h.cache)).bits
    return shr(bits, slot & 63) & 1


@kernel
def slot_give(cpu, page, va):
    """Give the slot at va, in the slab whose first page is `page`, back. INTERIOR, NOT_ALLOCATED."""
    kern = Cpu(cpu).kern
    slot = slot_number(kern, page, va)
    if slot < 0:
        return slot
    if slot_free(cpu, page, slot) != 0:
        return NOT_ALLOCATED
    h = HeapPage(record_of(kern, page))
    word = slot >> 6
    if h.claim == claim_of(owner_of(cpu, h.cache), word):
        m = Magazine(magazine_of(cpu, h.cache))
        m.bits = m.bits | shl(1, slot & 63)
        return OK
    w = Word(h.addr + BITS + (word << 3))
    w.bits = w.bits | shl(1, slot & 63)
    free = h.free + 1
    h.free = free
    if h.claim != 0:
        return OK
    if free == 1:
        return _settle(cpu, cache_at(kern, h.cache), page)
    if free == h.slots:
        _list_remove(kern, cache_at(kern, h.cache), page)
        return _settle(cpu, cache_at(kern, h.cache), page)
    return OK


@kernel
def cache_drain(cpu, cache):
    """Put this processor's magazine back and give every empty slab back that may go."""
    magazine_drain(cpu, cache)
    kern = Cpu(cpu).kern
    c = Cache(cache)
    at = c.partial
    while at != 0 and c.empty > 0 and c.slabs > c.kept:
        h = HeapPage(record_of(kern, at - 1))
        next = h.next
        if h.free == h.slots:
            _list_remove(kern, cache, at - 1)
            c.empty = c.empty - 1
            _slab_free(cpu, cache, at - 1)
        at = next
    return OK
