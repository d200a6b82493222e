"""Magazines: how slots are taken from slabs and given back, by the processor that owns the slabs, and by others.

Concepts
  1. The owner puts what it gives back on a stack of at most 16 slots, and takes it from there again, the last one
     first. The bit of a stacked slot says that it is free, but neither its page's count nor any list knows it yet. A
     full stack is settled as a whole.
  2. If the stack is empty, slots come from one word of one page's bitmap, which the magazine points at: count trailing
     zeros, clear the bit, count down, multiply, add. None of this takes a lock (`locks`).
  3. A page with free slots is pointed at, or it is on the magazine's list, or its slab is put aside. A full page is
     nowhere. When a slot of a full page comes back and the page pointed at has none left, the magazine points at that
     page: what was used last is used next. Otherwise that page goes on the list.
  4. A slab of which all slots are free leaves the list and is put aside, unless the magazine points into it. What is
     put aside beyond what a cache keeps goes back to the heap's pages, under the lock.
  5. What other processors give back is noted in the second bitmap, under the lock. The page goes on a list of its
     owner's, and the owner's quick takes are shut: before it takes another slot it looks at its notes (`heed`), and
     puts the pages on the lists of its magazines. It fetches what is noted there when it has nothing else left, before
     it makes a slab, and when it drains.
  6. A block that its owner and another processor free at the same moment is free once. Both may find it in use: the
     owner takes no lock. Its slot is then free, and noted. Who takes slots has seen all notes that were there before;
     of a slot that is free already the note is dropped then, before the slot can be taken. While a page waits and its
     owner has seen that, the owner frees slots of it under the lock. So a note never frees a slot that was taken after
     it was written.

    a page of a slab is one of these: pointed at, listed, put aside, full
    listed         <=>  free > 0, not pointed at, its slab not put aside
    put aside      <=>  all slots of the slab are free and the magazine does not point into it
    waiting != 0   <=>  the page's second bitmap is not empty
    given of a page = bits set in its second bitmap
    a slot is free in both bitmaps  =>  its page is noted, and the owner's quick takes are shut

Limits: a cache with a limit does not find the slots that other processors have free; those come when they `drain`, or
are fetched (`collect`).

What made it fast (ns a call, net of the calling loop, on the traces of `bench/heap.py`):
  - Slabs belong to a processor. Before, a word of a bitmap was claimed, and all that was freed elsewhere took the lock.
    32 bytes freed at random: 20 to 6.
  - The stack makes branches predictable where pages are full and empty in turn: 6 to 3; 1,000 blocks of mixed sizes:
    8.7 to 3.3.
  - The quick path knows the word pointed at, and a stack is settled as a whole: 20,000 blocks in bulk, 109 to 95
    instructions a call.
  - The bits lie in each page's own record, so that nothing waits for the slab's first page.
  - Frames are kept behind idle pages (`runs`): else growing and shrinking is what is measured.
What did not help: to point at the page freed last, without a stack.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import STACK, Cpu, Kern, Word
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.kernel.core.locks import SLOW, takes_shut
from kernmalloc.kernel.heap.bins import HeapPage, page_of_record, va_of
from kernmalloc.kernel.heap.slabs import (
    END,
    LOW,
    Cache,
    Magazine,
    SlabPage,
    Stacked,
    cache_at,
    cpu_at,
    empties_free,
    empty_pop,
    empty_push,
    gives_open,
    heed,
    magazine_at,
    magazine_of,
    own_magazine,
    returned_at,
    slab_new,
    slab_page,
    slot_free,
    slot_number,
    takes_open,
)
from kernmalloc.lang import ctz, element, failed, inlined, kernel, poison, rare, shl, unpoison
from kernmalloc.lang.status import LIMIT, NOT_ALLOCATED, OK

WORD_SHIFT = Word.shift
RECORD = -SlabPage.size  # a mask: from an address in a page's record to the record


magazine_link, magazine_unlink = linked_list(
    "magazine",
    "a page with free slots (page + 1)",
    "kern: Kern, magazine: Magazine",
    first="magazine.list",
    next="slab_page(kern, {} - 1).next",
    prev="slab_page(kern, {} - 1).prev",
    namespace=globals(),
)


@kernel
def _list(kern: Kern, magazine: Magazine, page: int) -> int:
    """Put a page first on the list."""
    return magazine_link(kern, magazine, page + 1, 0)


@kernel
def _unlist(kern: Kern, magazine: Magazine, page: int) -> int:
    """Take a page off the list."""
    return magazine_unlink(kern, magazine, page + 1)


@kernel
def _exhausted(magazine: Magazine) -> int:
    """1 if the magazine points at no page, or at one without free slots."""
    at = magazine.word
    return 1 if at == 0 or SlabPage(at.addr & RECORD).free == 0 else 0


@kernel
def _point(kern: Kern, magazine: Magazine, page: int, word: int) -> int:
    """Point at a word of a page's bitmap."""
    record = slab_page(kern, page)
    magazine.word = element(record.bits, word)
    va = va_of(kern, page)
    magazine.base = va + ((record.start - va) & LOW) + (word << 6) * magazine.size
    return OK


@kernel
def _use_empty(kern: Kern, magazine: Magazine) -> int:
    """Put the empty slab to use that was put aside last: its first page. The others are listed, the lowest first."""
    page = empty_pop(kern, magazine)
    for i in range(slab_page(kern, page).pages - 1, 0, -1):
        if slab_page(kern, page + i).slots > 0:
            _list(kern, magazine, page + i)
    return page


@kernel
def _retire(kern: Kern, magazine: Magazine, page: int, full: int) -> int:
    """Put the empty slab aside that `page` belongs to. Its pages leave the list; `full`: but `page`, which was full."""
    head = page - slab_page(kern, page).back
    for i in range(slab_page(kern, head).pages):
        if slab_page(kern, head + i).slots > 0 and (full == 0 or head + i != page):
            _unlist(kern, magazine, head + i)
    return empty_push(kern, magazine, head)


@kernel
def _is_empty(kern: Kern, magazine: Magazine, page: int) -> int:
    """1 if all slots of the slab that `page` belongs to are free, and the magazine does not point into it."""
    pointed = magazine.word.addr & RECORD
    first = slab_page(kern, page - slab_page(kern, page).back)
    for i in range(first.pages):
        record = element(first, i)
        if record.addr == pointed or record.free != record.slots:
            return 0
    return 1


@kernel
def stack_of(cpu: Cpu, id: int) -> Stacked:
    """The stack of a processor for a cache, by number: its lowest slot."""
    return element(cpu.stacks, id * STACK)


@inlined
def word_of(stacked: Stacked) -> Word:
    """The word of a bitmap in which the bit of a stacked slot lies."""
    return Word((stacked.bit >> 6) << 3)


@inlined
def _take(magazine: Magazine) -> int:
    """A slot of the word pointed at, which has one: its VA."""
    word = magazine.word
    bits = word.bits
    slot = ctz(bits)
    record = SlabPage(word.addr & RECORD)
    word.bits = bits & ~shl(1, slot)
    record.free = record.free - 1
    va = magazine.base + slot * magazine.size
    unpoison(va, magazine.size)
    return va


@kernel
def _take_next(kern: Kern, magazine: Magazine) -> int:
    """A slot of the next word that has one, at which the magazine then points: its VA. SLOW: no word has one.

    The word is one of the page pointed at, else of the first page on the list, else of an empty slab."""
    if _exhausted(magazine) == 0:
        page = page_of_record(kern, HeapPage(magazine.word.addr & RECORD))
    elif magazine.list != 0:
        page = magazine.list - 1
        _unlist(kern, magazine, page)
    elif magazine.empties != 0:
        page = _use_empty(kern, magazine)
    else:
        return SLOW
    word = 0
    while element(slab_page(kern, page).bits, word).bits == 0:
        word += 1
    _point(kern, magazine, page, word)
    return _take(magazine)


@inlined
def slot_take_quick(cpu: Cpu, id: int) -> int:
    """A slot of a cache from this processor's stack, else from the word that its magazine points at: its VA.

    SLOW: both are empty."""
    magazine = own_magazine(cpu, id)
    top = magazine.top
    if top != 0:
        stacked = Stacked(stack_of(cpu, id).addr + top - Stacked.size)
        word = word_of(stacked)
        word.bits = word.bits & ~shl(1, stacked.bit & 63)
        magazine.top = top - Stacked.size
        unpoison(stacked.va, magazine.size)
        return stacked.va
    if magazine.word == 0:
        return SLOW
    return _take(magazine) if magazine.word.bits != 0 else SLOW


@kernel
def slot_take_own(cpu: Cpu, id: int) -> int:
    """A slot of a cache from the next word of this processor's slabs that has one: its VA. SLOW: none has.

    To be asked after `slot_take_quick`, which leaves the stack empty."""
    return _take_next(cpu.kern, own_magazine(cpu, id))


@kernel
def _has_free(magazine: Magazine) -> int:
    """1 if the magazine's slabs have a free slot that is on no stack."""
    return 1 if magazine.list != 0 or magazine.empties != 0 or _exhausted(magazine) == 0 else 0


@kernel
def _fetched(kern: Kern, magazine: Magazine) -> int:
    """1 if the magazine's slabs have a free slot once its owner has what other processors gave back."""
    _fetch(kern, magazine)
    return _has_free(magazine)


@kernel
def slot_take(cpu: Cpu, id: int) -> int:
    """A slot of cache `id`: its VA. LIMIT, or what `run_get` says.

    It comes from this processor's stack, else from the word pointed at, else from the next word that has a slot, else
    from what other processors gave back, else from a new slab."""
    kern = cpu.kern
    takes_open(cpu)
    va = slot_take_quick(cpu, id)  # while quick takes are shut, and for the kernel itself, nobody has tried it yet
    if va != SLOW:
        return va
    magazine = magazine_of(cpu, id)
    if _has_free(magazine) == 0 and _fetched(kern, magazine) == 0:
        page = slab_new(cpu, cache_at(kern, id))
        if failed(page):
            return page
    return _take_next(kern, magazine)


@inlined
def _settle(kern: Kern, magazine: Magazine, word: Word) -> int:
    """Count a slot as free in its page; its bit is set in that word."""
    record = SlabPage(word.addr & RECORD)
    free = record.free + 1
    record.free = free
    return OK if free > 1 and free < record.slots else _settle_edge(kern, magazine, word)


@rare
def _settle_edge(kern: Kern, magazine: Magazine, word: Word) -> int:
    """Let a page be found that was full before a slot came back; put its slab aside if all its slots are free now."""
    record = SlabPage(word.addr & RECORD)
    page = page_of_record(kern, HeapPage(record.addr))
    full = 1 if record.free == 1 else 0
    if full != 0 and (_exhausted(magazine) != 0 or magazine.word.addr & RECORD == record.addr):
        return _point(kern, magazine, page, (word.addr - record.bits.addr) >> WORD_SHIFT)
    if record.free == record.slots and _is_empty(kern, magazine, page) != 0:
        return _retire(kern, magazine, page, full)
    return _list(kern, magazine, page) if full != 0 else OK


@kernel
def _give(kern: Kern, magazine: Magazine, page: int, slot: int) -> int:
    """Give a slot that is in use back to its owner's slab."""
    word = element(slab_page(kern, page).bits, slot >> 6)
    word.bits = word.bits | shl(1, slot & 63)
    return _settle(kern, magazine, word)


@kernel
def _flush(cpu: Cpu, id: int) -> int:
    """Settle all slots on a stack."""
    kern = cpu.kern
    magazine = own_magazine(cpu, id)
    stack = stack_of(cpu, id)
    for at in range(stack.addr, stack.addr + magazine.top, Stacked.size):
        _settle(kern, magazine, word_of(Stacked(at)))
    magazine.top = 0
    return OK


@inlined
def _slot_of(cpu: Cpu, page: int, va: int) -> int:
    """The number of the slot of a slab of this processor that starts at va, in heap page `page`.

    SLOW: there is none, or other processors gave slots of the page back."""
    kern = cpu.kern
    record = slab_page(kern, page)
    if record.owner != cpu.id + 1 or record.waiting != 0:  # where there is no slab the owner is 0
        return SLOW
    slot = slot_number(kern, page, va)
    return slot if slot >= 0 else SLOW


@inlined
def slot_give_quick(cpu: Cpu, page: int, va: int) -> int:
    """Put the slot at va, in heap page `page`, on this processor's stack.

    SLOW: it is none of this processor's slots that is in use, or the stack is full."""
    slot = _slot_of(cpu, page, va)
    if slot < 0:
        return SLOW
    record = slab_page(cpu.kern, page)
    word = element(record.bits, slot >> 6)
    bits = word.bits
    bit = shl(1, slot & 63)
    id = record.cache
    magazine = own_magazine(cpu, id)
    top = magazine.top
    if bits & bit != 0 or top == magazine.stack_bytes:
        return SLOW
    poison(va, magazine.size)
    word.bits = bits | bit
    stacked = Stacked(stack_of(cpu, id).addr + top)
    stacked.va = va
    stacked.bit = (word.addr << 3) + (slot & 63)
    magazine.top = top + Stacked.size
    return OK


@kernel
def slot_give_own(cpu: Cpu, page: int, va: int) -> int:
    """Settle the full stack that keeps the slot at va, in heap page `page`, off it, and put the slot on it.

    SLOW: it is none of this processor's slots that is in use, or so many slabs are put aside that some must go back."""
    kern = cpu.kern
    id = slab_page(kern, page).cache
    magazine = own_magazine(cpu, id)
    slot = _slot_of(cpu, page, va)
    if slot < 0 or magazine.empty_pages >= magazine.keep or magazine.top < magazine.stack_bytes:
        return SLOW
    if slot_free(kern, page, slot) != 0:
        return SLOW
    _flush(cpu, id)
    return slot_give_quick(cpu, page, va)


@kernel
def _give_to(kern: Kern, page: int, slot: int) -> int:
    """Note a slot for its owner, another processor, to fetch."""
    record = slab_page(kern, page)
    word = returned_at(kern, page, slot >> 6)
    word.bits = word.bits | shl(1, slot & 63)
    record.given = record.given + 1
    if record.waiting == 0:  # else the owner has seen that the page waits, or will before it takes a slot
        owner = cpu_at(kern, record.owner - 1)
        record.waiting = owner.noted if owner.noted != 0 else END
        owner.noted = page + 1
        takes_shut(owner)
    return OK


@kernel
def _fetch(kern: Kern, magazine: Magazine) -> int:
    """Give what other processors gave back, as the owner has seen, to the slabs of the magazine's owner."""
    while magazine.returned != 0:
        page = magazine.returned - 1
        record = slab_page(kern, page)
        magazine.returned = record.waiting if record.waiting != END else 0
        record.waiting = 0
        record.given = 0
        for number in range((record.slots + 63) >> 6):
            word = returned_at(kern, page, number)
            bits = word.bits
            word.bits = 0
            while bits != 0:
                slot = ctz(bits)
                bits = bits & ~shl(1, slot)
                _give(kern, magazine, page, (number << 6) + slot)
    return OK


@kernel
def slot_give(cpu: Cpu, page: int, va: int) -> int:
    """Give the slot at va, in page `page` of a slab, back. INTERIOR, NOT_ALLOCATED: nothing changes."""
    kern = cpu.kern
    slot = slot_number(kern, page, va)
    if failed(slot):
        return slot
    if slot_free(kern, page, slot) != 0:
        return NOT_ALLOCATED
    record = slab_page(kern, page)
    cache = cache_at(kern, record.cache)
    poison(va, cache.size)
    if record.owner != 0 and record.owner != cpu.id + 1:
        return _give_to(kern, page, slot)
    if record.owner != 0:
        gives_open(cpu)
        _flush(cpu, cache.id)
    _give(kern, magazine_at(kern, record.owner, cache.id), page, slot)
    return empties_free(cpu, cache, cache.keep)


@kernel
def slabs_lacking(cpu: Cpu, cache: Cache, count: int) -> int:
    """Slabs that must be made so that `count` slots can be taken; LIMIT if that is too many. Changes nothing."""
    kern = cpu.kern
    magazine = magazine_of(cpu, cache.id)
    left = count
    if magazine.word != 0:
        left -= SlabPage(magazine.word.addr & RECORD).free
    at = magazine.list
    while at != 0 and left > 0:
        record = slab_page(kern, at - 1)
        left -= record.free
        at = record.next
    at = magazine.empties
    while at != 0 and left > 0:
        left -= cache.slots
        at = slab_page(kern, at - 1).next
    slabs = 0
    while left > 0:
        left -= cache.slots
        slabs += 1
    return slabs if cache.slabs + slabs <= cache.limit else LIMIT


@kernel
def cache_drain(cpu: Cpu, cache: Cache) -> int:
    """Fetch what other processors gave back, and give back every empty slab of this processor that may go."""
    kern = cpu.kern
    magazine = magazine_of(cpu, cache.id)
    _flush(cpu, cache.id)  # of a common cache there is none
    heed(cpu)
    _fetch(kern, magazine)
    if magazine.word != 0:
        record = SlabPage(magazine.word.addr & RECORD)
        page = page_of_record(kern, HeapPage(record.addr))
        magazine.word = Word(0)
        if record.free > 0:
            _list(kern, magazine, page)
            if _is_empty(kern, magazine, page) != 0:
                _retire(kern, magazine, page, 0)
    return empties_free(cpu, cache, 0)
