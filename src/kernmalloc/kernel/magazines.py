"""Magazines: how slots are taken from slabs and given back, by the processor that the slabs belong to, and by others.

Concepts
  1. What its owner gives back goes on a stack of at most 16 slots, and comes from there again, the last one first: its bit says
     that it is free, but neither its page's count nor any list knows yet. A full stack is settled as a whole.
  2. If the stack is empty, slots come from one word of one page's bitmap, which the magazine points at: count trailing zeros,
     clear the bit, count, multiply, add. None of this takes a lock (`locks`).
  3. A page is where its owner finds it: it is the one pointed at; else, if it has free slots, on the magazine's list; else
     nowhere, until a slot of it comes back. If the page pointed at has none left, that is the next one pointed at: what
     was used last is used next. Otherwise it goes on the list.
  4. A slab that has become empty leaves the list for the spares of its owner, unless the magazine points into it. Those beyond
     what a cache keeps go back to the heap's pages, under the lock.
  5. What others give back waits in the second bitmap, and its page on a list that the lock guards; the owner fetches it when
     it has nothing else left, before it makes a slab, and when it drains.

    pointed at, listed, spare, full: a page of a slab is one of these
    listed         <=>  free > 0, not pointed at, slab not spare
    slab spare     <=>  all its slots are free and the magazine does not point into it
    waiting != 0   <=>  its second bitmap is not empty

What made it fast (ns a call, net of the calling loop, on the traces of `bench/heap.py`): slabs owned by a processor, where a
word of a bitmap was claimed before and all that was freed elsewhere took the lock (32 bytes freed at random: 20 to 6); the
stack, which makes branches predictable where pages are full or empty in turn (6 to 3; 1,000 blocks of mixed sizes: 8.7 to 3.3);
the word pointed at as part of the quick path, and a stack settled as a whole (20,000 blocks in bulk: 109 to 95 instructions a
call); bits in each page's own record, so that nothing waits for the slab's first page; frames kept behind idle pages (`runs`):
without, growing and shrinking is what is measured. What did not help: pointing at the page freed last, without a stack.

Limits: of a cache with a limit, slots that other processors have free are not found; those come when they `drain`.
"""

from kernmalloc.kernel.bins import ABSENT, page_of_record, record_of, va_of
from kernmalloc.kernel.kern import Cpu, Magazine, Stacked, Word
from kernmalloc.kernel.locks import SLOW
from kernmalloc.kernel.slabs import (
    BITS,
    END,
    LOW,
    Cache,
    STACKED_SHIFT,
    SlabPage,
    cache_at,
    magazine_at,
    magazine_of,
    own_magazine,
    returned_at,
    slab_new,
    slot_free,
    slot_number,
    spare_pop,
    spare_push,
    spares_free,
)
from kernmalloc.lang import ctz, inlined, kernel, rare, shl
from kernmalloc.lang.status import LIMIT, NOT_ALLOCATED, OK

STACKS = Cpu.offset("stacks")
STACK_SHIFT = 8  # log2 of the bytes of a stack
STACKED_BYTES = 1 << STACKED_SHIFT
RECORD = -64  # a mask: from an address in a page's record to the record


@kernel
def _list(kern, magazine, page):
    """Put a page first on the list."""
    m = Magazine(magazine)
    h = SlabPage(record_of(kern, page))
    h.prev = 0
    h.next = m.list
    if h.next != 0:
        SlabPage(record_of(kern, h.next - 1)).prev = page + 1
    m.list = page + 1
    return OK


@kernel
def _unlist(kern, magazine, page):
    """Take a page off the list."""
    h = SlabPage(record_of(kern, page))
    if h.next != 0:
        SlabPage(record_of(kern, h.next - 1)).prev = h.prev
    if h.prev != 0:
        SlabPage(record_of(kern, h.prev - 1)).next = h.next
    else:
        Magazine(magazine).list = h.next
    h.next = 0
    h.prev = 0
    return OK


@kernel
def _exhausted(magazine):
    """1 if the magazine points at no page, or at one without free slots."""
    at = Magazine(magazine).word
    return 1 if at == 0 or SlabPage(at & RECORD).free == 0 else 0


@kernel
def _point(kern, magazine, page, word):
    """Point at a word of a page's bitmap."""
    m = Magazine(magazine)
    h = SlabPage(record_of(kern, page))
    m.word = h.addr + BITS + (word << 3)
    va = va_of(kern, page)
    m.base = va + ((h.start - va) & LOW) + (word << 6) * m.size
    return OK


@kernel
def _unspare(kern, magazine):
    """Put a spare slab to use: its first page; the others are listed, the lowest first."""
    page = spare_pop(kern, magazine)
    for i in range(SlabPage(record_of(kern, page)).pages - 1, 0, -1):
        if SlabPage(record_of(kern, page + i)).slots > 0:
            _list(kern, magazine, page + i)
    return page


@kernel
def _retire(kern, magazine, page, full):
    """Put the slab that `page` is a page of, which is empty, among the spares; `full`: that page was, and is not listed."""
    head = page - SlabPage(record_of(kern, page)).back
    for i in range(SlabPage(record_of(kern, head)).pages):
        if SlabPage(record_of(kern, head + i)).slots > 0 and (full == 0 or head + i != page):
            _unlist(kern, magazine, head + i)
    return spare_push(kern, magazine, head)


@kernel
def _is_spare(kern, magazine, page):
    """1 if all slots of the slab that `page` is a page of are free, and the magazine does not point into it."""
    pointed = Magazine(magazine).word & RECORD
    head = record_of(kern, page - SlabPage(record_of(kern, page)).back)
    for i in range(SlabPage(head).pages):
        s = SlabPage(head + (i << 6))
        if s.addr == pointed or s.free != s.slots:
            return 0
    return 1


@kernel
def stack_of(cpu, id):
    """VA of a processor's stack for a cache."""
    return cpu + STACKS + (id << STACK_SHIFT)


@inlined
def _take(magazine):
    """A slot of the word pointed at, which has one: its VA."""
    m = Magazine(magazine)
    at = m.word
    bits = Word(at).bits
    slot = ctz(bits)
    h = SlabPage(at & RECORD)
    Word(at).bits = bits & ~shl(1, slot)
    h.free = h.free - 1
    return m.base + slot * m.size


@kernel
def _take_next(cpu, magazine):
    """A slot of the next word that has one: its VA. SLOW: the magazine's slabs have none."""
    kern = Cpu(cpu).kern
    m = Magazine(magazine)
    page = ABSENT
    if _exhausted(magazine) == 0:
        page = page_of_record(kern, m.word & RECORD)
    elif m.list != 0:
        page = m.list - 1
        _unlist(kern, magazine, page)
    elif m.spares != 0:
        page = _unspare(kern, magazine)
    if page == ABSENT:
        return SLOW
    word = 0
    while Word(record_of(kern, page) + BITS + (word << 3)).bits == 0:
        word += 1
    _point(kern, magazine, page, word)
    return _take(magazine)


@inlined
def slot_take_quick(cpu, id):
    """A slot of a cache from this processor's stack, or from the word that it points at: its VA. SLOW: these are empty."""
    m = Magazine(own_magazine(cpu, id))
    top = m.top
    if top != 0:
        s = Stacked(stack_of(cpu, id) + top - STACKED_BYTES)
        bit = s.bit
        w = Word((bit >> 6) << 3)
        w.bits = w.bits & ~shl(1, bit & 63)
        m.top = top - STACKED_BYTES
        return s.va
    if m.word == 0:
        return SLOW
    return _take(m.addr) if Word(m.word).bits != 0 else SLOW


@kernel
def slot_take_next(cpu, id):
    """The same from the next word that has one, as the stack is empty. SLOW: this processor's slabs have none."""
    return _take_next(cpu, own_magazine(cpu, id))


@kernel
def slot_take(cpu, id):
    """A slot of cache `id`: its VA. LIMIT, or as `take_pages` says."""
    kern = Cpu(cpu).kern
    magazine = magazine_of(cpu, id)
    va = slot_take_quick(cpu, id)
    if va == SLOW:
        va = _take_next(cpu, magazine)
    if va == SLOW and Magazine(magazine).returned != 0:
        _fetch(kern, magazine)
        va = _take_next(cpu, magazine)
    if va == SLOW:
        page = slab_new(cpu, cache_at(kern, id))
        va = _take_next(cpu, magazine) if page >= 0 else page
    return va


@inlined
def _settle(kern, magazine, at):
    """Count a slot whose bit in the word at `at` is set as its page's."""
    h = SlabPage(at & RECORD)
    free = h.free + 1
    h.free = free
    return OK if free > 1 and free < h.slots else _settle_edge(kern, magazine, at)


@rare
def _settle_edge(kern, magazine, at):
    """A page that was full has a free slot, or all its slots are free: list it, or point at it; or its slab is spare."""
    h = SlabPage(at & RECORD)
    m = Magazine(magazine)
    page = page_of_record(kern, h.addr)
    full = 1 if h.free == 1 else 0
    if full != 0 and (_exhausted(magazine) != 0 or m.word & RECORD == h.addr):
        return _point(kern, magazine, page, ((at & ~RECORD) - BITS) >> 3)
    if h.free == h.slots and _is_spare(kern, magazine, page) != 0:
        return _retire(kern, magazine, page, full)
    return _list(kern, magazine, page) if full != 0 else OK


@kernel
def _give(kern, magazine, page, slot):
    """Give a slot that is taken back to its owner's slab."""
    w = Word(record_of(kern, page) + BITS + ((slot >> 6) << 3))
    w.bits = w.bits | shl(1, slot & 63)
    return _settle(kern, magazine, w.addr)


@kernel
def _flush(cpu, id):
    """Settle the slots on a stack."""
    kern = Cpu(cpu).kern
    m = Magazine(own_magazine(cpu, id))
    stack = stack_of(cpu, id)
    for at in range(stack, stack + m.top, STACKED_BYTES):
        _settle(kern, m.addr, (Stacked(at).bit >> 6) << 3)
    m.top = 0
    return OK


@inlined
def _slot_of(cpu, page, va):
    """The number of the slot, in a slab of this processor, that starts at va in heap page `page`. SLOW: there is none, or
    others gave slots of the page back."""
    kern = Cpu(cpu).kern
    h = SlabPage(record_of(kern, page))
    if h.owner != Cpu(cpu).id + 1 or h.waiting != 0:  # of what is no slab the owner is 0
        return SLOW
    slot = slot_number(kern, page, va)
    return slot if slot >= 0 else SLOW


@inlined
def slot_give_quick(cpu, page, va):
    """Put the slot at va, in heap page `page`, on this processor's stack. SLOW: it is none of its slots, or the stack is
    full."""
    slot = _slot_of(cpu, page, va)
    if slot < 0:
        return SLOW
    h = SlabPage(record_of(Cpu(cpu).kern, page))
    w = Word(h.addr + BITS + ((slot >> 6) << 3))
    bits = w.bits
    bit = shl(1, slot & 63)
    id = h.cache
    m = Magazine(own_magazine(cpu, id))
    top = m.top
    if bits & bit != 0 or top == m.depth:
        return SLOW
    w.bits = bits | bit
    s = Stacked(stack_of(cpu, id) + top)
    s.va = va
    s.bit = (w.addr << 3) + (slot & 63)
    m.top = top + STACKED_BYTES
    return OK


@kernel
def slot_give_next(cpu, page, va):
    """The same where the stack is full: what is on it goes to the slabs first. SLOW: it is none of this processor's slots, or
    enough of its slabs are empty."""
    kern = Cpu(cpu).kern
    h = SlabPage(record_of(kern, page))
    m = Magazine(own_magazine(cpu, h.cache))
    slot = _slot_of(cpu, page, va)
    if slot < 0 or m.spare >= m.keep or m.top < m.depth:
        return SLOW
    if slot_free(kern, page, slot) != 0:
        return SLOW
    _flush(cpu, h.cache)
    return slot_give_quick(cpu, page, va)


@kernel
def _give_to(kern, page, slot):
    """Note a slot for its owner, another processor, to fetch."""
    h = SlabPage(record_of(kern, page))
    m = Magazine(magazine_at(kern, h.owner, h.cache))
    w = Word(returned_at(kern, page, slot >> 6))
    w.bits = w.bits | shl(1, slot & 63)
    if h.waiting == 0:
        h.waiting = m.returned if m.returned != 0 else END
        m.returned = page + 1
    return OK


@kernel
def _fetch(kern, magazine):
    """Give what others gave back to the owner's slabs."""
    m = Magazine(magazine)
    while m.returned != 0:
        page = m.returned - 1
        h = SlabPage(record_of(kern, page))
        m.returned = h.waiting if h.waiting != END else 0
        h.waiting = 0
        for word in range((h.slots + 63) >> 6):
            w = Word(returned_at(kern, page, word))
            bits = w.bits & ~Word(h.addr + BITS + (word << 3)).bits  # not what two processors gave back at one moment
            w.bits = 0
            while bits != 0:
                slot = ctz(bits)
                bits = bits & ~shl(1, slot)
                _give(kern, magazine, page, (word << 6) + slot)
    return OK


@kernel
def slot_give(cpu, page, va):
    """Give the slot at va, in page `page` of a slab, back. INTERIOR, NOT_ALLOCATED."""
    kern = Cpu(cpu).kern
    slot = slot_number(kern, page, va)
    if slot < 0:
        return slot
    if slot_free(kern, page, slot) != 0:
        return NOT_ALLOCATED
    h = SlabPage(record_of(kern, page))
    if h.owner != 0 and h.owner != Cpu(cpu).id + 1:
        return _give_to(kern, page, slot)
    cache = cache_at(kern, h.cache)
    if h.owner != 0:
        _flush(cpu, h.cache)
    _give(kern, magazine_at(kern, h.owner, h.cache), page, slot)
    return spares_free(cpu, cache, Cache(cache).keep)


@kernel
def slabs_lacking(cpu, cache, count):
    """Slabs to be made so that `count` slots can be taken. LIMIT if there may not be so many. Changes nothing."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    m = Magazine(magazine_of(cpu, c.id))
    left = count
    if m.word != 0:
        left -= SlabPage(m.word & RECORD).free
    at = m.list
    while at != 0 and left > 0:
        h = SlabPage(record_of(kern, at - 1))
        left -= h.free
        at = h.next
    at = m.spares
    while at != 0 and left > 0:
        left -= c.slots
        at = SlabPage(record_of(kern, at - 1)).next
    slabs = 0
    while left > 0:
        left -= c.slots
        slabs += 1
    return slabs if c.slabs + slabs <= c.limit else LIMIT


@kernel
def cache_drain(cpu, cache):
    """Fetch what others gave back, and give every empty slab of this processor back that may go."""
    kern = Cpu(cpu).kern
    c = Cache(cache)
    m = Magazine(magazine_of(cpu, c.id))
    _flush(cpu, c.id)  # of a common cache there is none
    _fetch(kern, m.addr)
    if m.word != 0:
        h = SlabPage(m.word & RECORD)
        page = page_of_record(kern, h.addr)
        m.word = 0
        if h.free > 0:
            _list(kern, m.addr, page)
            if _is_spare(kern, m.addr, page) != 0:
                _retire(kern, m.addr, page, 0)
    return spares_free(cpu, cache, 0)
