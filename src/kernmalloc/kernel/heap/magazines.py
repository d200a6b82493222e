"""Magazines: how slots are taken from slabs and given back, by the processor that owns the slabs, and by others.

Concepts
  1. A processor's magazine has a stack of free slots, at most 32. The owner puts what it gives back on it, and takes it
     from there again, the last one first. Their bits say that they are free; their pages count them as used. None of
     this takes a lock (`locks`). Magazines of common caches have no stack.
  2. Where the stack is empty, or there is none, a slot is drawn from a page with free slots: the first one on the list,
     else of an empty slab. Others of the page come onto the stack, up to its half. A full stack is settled to its half:
     what lies lowest, and longest, goes back to its pages.
  3. A page with free slots is on the magazine's list, or its slab is put aside. A full page is nowhere. When a slot of
     a full page comes back the page goes first on the list: what was used last is used next.
  4. A slab of which all slots are free leaves the list and is put aside. What is put aside beyond what a cache keeps
     goes back to the heap's pages, under the lock.
  5. What other processors give back is noted, and fetched page by page (`notes`).

    listed         <=>  used < the page's slots, its slab not put aside
    put aside      <=>  used = 0 of all pages of the slab

Limits: a cache with a limit does not find the slots that other processors have free; those come when they `drain`, or
are fetched (`collect`).

What made it fast (ns a call, net of the calling loop, on the traces of `bench/heap.py`):
  - Slabs belong to a processor. Before, a word of a bitmap was claimed, and all that was freed elsewhere took the lock.
    32 bytes freed at random: 20 to 6.
  - The stack makes branches predictable where pages are full and empty in turn: 6 to 3; 1,000 blocks of mixed sizes:
    8.7 to 3.3.
  - The bits lie in each page's own record, so that nothing waits for the slab's first page.
  - A bit for each grain, not for each slot: no multiplication, and the stack holds addresses only.
  - Frames are kept behind idle pages (`runs`): else growing and shrinking is what is measured.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import GRAIN_SHIFT, Cpu, Kern
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.kernel.core.locks import SLOW
from kernmalloc.kernel.heap.notes import (
    fetch_page,
    gives_open,
    heed,
    note,
    slot_refusal,
    slot_used,
    takes_open,
)
from kernmalloc.kernel.heap.slabs import (
    END,
    LISTED,
    STACKED_SHIFT,
    Cache,
    Magazine,
    Stacked,
    back_of,
    cache_at,
    magazine_at,
    magazine_of,
    own_magazine,
    owner_at,
    slab_page,
)
from kernmalloc.kernel.heap.slots import (
    first_slot,
    grain_at,
    grains_of,
    page_record,
    slot_grain,
    slots_at,
    slots_before,
    starts_at,
    starts_until,
    starts_word,
    word_mask,
)
from kernmalloc.kernel.heap.supply import empties_free, empty_pop, empty_push, slab_new
from kernmalloc.lang import clz, ctz, failed, inlined, kernel, poison, rare, shl, sure, unpoison
from kernmalloc.lang.status import LIMIT, OK

magazine_link, magazine_unlink = linked_list(
    "magazine",
    "a page with free slots (page + 1)",
    "kern: Kern, magazine: Magazine",
    first="magazine.list",
    next="slab_page(kern, {} - 1).next",
    prev="slab_page(kern, {} - 1).prev",
    namespace=globals(),
)


# --- pages and slabs with free slots


@kernel
def _list(kern: Kern, magazine: Magazine, page: int) -> int:
    """Put a page first on the list."""
    record = slab_page(kern, page)
    record.place = record.place | LISTED
    return magazine_link(kern, magazine, page + 1, 0)


@kernel
def _unlist(kern: Kern, magazine: Magazine, page: int) -> int:
    """Take a page off the list."""
    record = slab_page(kern, page)
    record.place = record.place & ~LISTED
    return magazine_unlink(kern, magazine, page + 1)


@kernel
def _use_empty(kern: Kern, magazine: Magazine) -> int:
    """Put the empty slab to use that was put aside last: list its pages, the first one first."""
    page = empty_pop(kern, magazine)
    for i in range(slab_page(kern, page).pages - 1, -1, -1):
        if slots_at(kern, page + i) > 0:
            _list(kern, magazine, page + i)
    return OK


@kernel
def is_empty(kern: Kern, head: int) -> int:
    """1 if all slots of the slab are free whose first page is `head`."""
    for i in range(slab_page(kern, head).pages):
        if slab_page(kern, head + i).used != 0:
            return 0
    return 1


@kernel
def _retire(kern: Kern, magazine: Magazine, head: int) -> int:
    """Put the empty slab aside whose first page is `head`. Its pages leave the list."""
    for i in range(slab_page(kern, head).pages):
        if slab_page(kern, head + i).place & LISTED != 0:
            _unlist(kern, magazine, head + i)
    return empty_push(kern, magazine, head)


@inlined
def settle(kern: Kern, magazine: Magazine, page: int, count: int) -> int:
    """Count so many slots of a page as free, whose bits are clear."""
    record = slab_page(kern, page)
    used = record.used - count
    record.used = used
    return OK if used != 0 and record.place & LISTED != 0 else _settle_edge(kern, magazine, page)


@rare
def _settle_edge(kern: Kern, magazine: Magazine, page: int) -> int:
    """Let a page be found that was full before slots came back; put its slab aside if all its slots are free now."""
    record = slab_page(kern, page)
    if record.used == 0 and is_empty(kern, page - back_of(record)) != 0:
        return _retire(kern, magazine, page - back_of(record))
    return _list(kern, magazine, page) if record.place & LISTED == 0 else OK


# --- the stack


@kernel
def half_of(magazine: Magazine) -> int:
    """Bytes of half a stack, rounded up to whole slots."""
    return (magazine.end - magazine.bottom + Stacked.size) >> 1 & -Stacked.size


@inlined
def _bottom(magazine: Magazine) -> int:
    """Where the stack begins."""
    return magazine.bottom


@inlined
def _push(top: int, va: int) -> int:
    """Put a slot behind the top of a stack, which has room: where the top is then."""
    Stacked(top).va = va
    return top + Stacked.size


@inlined
def _top_set(magazine: Magazine, top: int) -> int:
    """Let the stack end there."""
    magazine.top = top
    return OK


@inlined
def _stacked(magazine: Magazine) -> int:
    """How many slots are on the stack."""
    return (magazine.top - magazine.bottom) >> STACKED_SHIFT


@inlined
def _draws(magazine: Magazine) -> int:
    """How many slots are drawn at once, at most."""
    return max(half_of(magazine) >> STACKED_SHIFT, 1)


@kernel
def finds(kern: Kern, magazine: Magazine) -> int:
    """1 if a page is on the list. If none was, an empty slab is put to use; 0: there is none."""
    if magazine.list == 0:
        if magazine.empties == 0:
            return 0
        _use_empty(kern, magazine)
    return 1


@kernel
def draw(kern: Kern, magazine: Magazine) -> int:
    """Draw free slots from the first page on the list: take the last one, the lowest, whose VA it is. The others come
    onto the empty stack."""
    page = magazine.list - 1
    record = slab_page(kern, page)
    cache = cache_at(kern, record.cache)
    behind = slots_before(cache, (back_of(record) + 1) << kern.page_shift)
    left = behind - first_slot(kern, page) - record.used
    count = min(left, _draws(magazine))
    record.used = record.used + count
    if count == left:
        _unlist(kern, magazine, page)
    step = cache.size >> GRAIN_SHIFT
    first = grains_of(kern, page)
    at = slot_grain(kern, page, behind - 1)
    mask = word_mask(kern)
    word = starts_word(record, at, mask)
    top = _bottom(magazine)
    free = 0
    base = 0
    bit = 0
    va = 0
    for i in range(count):
        if i > 0:
            top = _push(top, va)
        while free == 0:
            starts = starts_until(cache, first, at)
            word = starts_word(record, at, mask)
            free = starts & ~word.bits
            base = at & -64
            at = base + ctz(starts) - step
        bit = 63 - clz(free)
        free = free ^ shl(1, bit)
        va = kern.heap + ((base + bit) << GRAIN_SHIFT)
    _top_set(magazine, top)
    word.bits = word.bits | shl(1, bit)
    unpoison(va, magazine.size)
    return va


@kernel
def _settle_lowest(kern: Kern, magazine: Magazine, bytes: int) -> int:
    """Settle the slots in the lowest `bytes` bytes of a processor's stack."""
    start = magazine.bottom + bytes
    for at in range(magazine.bottom, start, Stacked.size):
        settle(kern, magazine, (Stacked(at).va - kern.heap) >> kern.page_shift, 1)
    for at in range(start, magazine.top, Stacked.size):
        Stacked(at - bytes).va = Stacked(at).va
    magazine.top = magazine.top - bytes
    return OK


@kernel
def _flush(cpu: Cpu, id: int) -> int:
    """Settle all slots on a processor's stack."""
    magazine = own_magazine(cpu, id)
    return _settle_lowest(cpu.kern, magazine, magazine.top - magazine.bottom)


@inlined
def slot_pop(cpu: Cpu, magazine: Magazine) -> int:
    """The slot on top of the stack, which is not empty: its VA. It is in use now."""
    top = magazine.top - Stacked.size
    va = Stacked(top).va
    grain = (va - cpu.heap) >> GRAIN_SHIFT
    word = starts_word(page_record(cpu, grain), grain, cpu.word_mask)
    magazine.top = top
    word.bits = word.bits | shl(1, grain & 63)
    unpoison(va, magazine.size)
    sure(va != SLOW)
    return va


@kernel
def slot_any(cpu: Cpu, magazine: Magazine) -> int:
    """A slot from the stack, or drawn from a magazine's slabs, which have one: its VA."""
    if magazine.top != magazine.bottom:
        return slot_pop(cpu, magazine)
    finds(cpu.kern, magazine)
    return draw(cpu.kern, magazine)


@inlined
def slot_take_quick(cpu: Cpu, id: int) -> int:
    """A slot of a cache from this processor's stack: its VA. SLOW: it is empty."""
    magazine = own_magazine(cpu, id)
    return SLOW if magazine.top == magazine.bottom else slot_pop(cpu, magazine)


@kernel
def slot_take_own(cpu: Cpu, id: int) -> int:
    """A slot of a cache from this processor's slabs, which also fill half of its empty stack: its VA. SLOW: they have
    none."""
    magazine = own_magazine(cpu, id)
    return draw(cpu.kern, magazine) if finds(cpu.kern, magazine) != 0 else SLOW


@kernel
def fetch_noted(kern: Kern, magazine: Magazine) -> int:
    """Give what other processors gave back, as the owner has seen, to the slabs of the magazine's owner."""
    while magazine.returned != 0:
        page = magazine.returned - 1
        record = slab_page(kern, page)
        magazine.returned = record.waiting if record.waiting != END else 0
        settle(kern, magazine, page, fetch_page(kern, page))
    return OK


@kernel
def finds_fetched(kern: Kern, magazine: Magazine) -> int:
    """Fetch what other processors gave back: 1 if a page is on the list then, or an empty slab is put to use."""
    fetch_noted(kern, magazine)
    return finds(kern, magazine)


@kernel
def slot_take(cpu: Cpu, id: int) -> int:
    """A slot of cache `id`: its VA. LIMIT, or what `run_get` says.

    It comes from the stack, else from the slabs there are, else from what other processors gave back, else from a new
    slab."""
    kern = cpu.kern
    takes_open(cpu)
    magazine = magazine_of(cpu, id)
    if _stacked(magazine) > 0:
        return slot_pop(cpu, magazine)
    if finds(kern, magazine) == 0 and finds_fetched(kern, magazine) == 0:
        page = slab_new(cpu, cache_at(kern, id))
        if failed(page):
            return page
        finds(kern, magazine)
    return draw(kern, magazine)


@inlined
def slot_give_quick(cpu: Cpu, va: int) -> int:
    """Put this processor's slot in use that starts at va on its stack: OK. SLOW: the stack is full."""
    grain = grain_at(cpu, va)
    record = page_record(cpu, grain)
    magazine = own_magazine(cpu, record.cache)
    top = magazine.top
    if top == magazine.end:
        return SLOW
    poison(va, magazine.size)
    word = starts_word(record, grain, cpu.word_mask)
    word.bits = word.bits ^ shl(1, grain & 63)
    Stacked(top).va = va
    magazine.top = top + Stacked.size
    return OK


@kernel
def slot_give_own(cpu: Cpu, va: int) -> int:
    """Settle half of the full stack that keeps this processor's slot in use that starts at va off it, and put the slot
    on it: OK. SLOW: so many slabs are put aside that some must go back."""
    magazine = own_magazine(cpu, page_record(cpu, grain_at(cpu, va)).cache)
    if magazine.empty_pages >= magazine.keep or magazine.top != magazine.end:
        return SLOW
    _settle_lowest(cpu.kern, magazine, half_of(magazine))
    return slot_give_quick(cpu, va)


@kernel
def _give(kern: Kern, magazine: Magazine, page: int, va: int) -> int:
    """Give the slot in use that starts at va back to its owner's slab."""
    grain = (va - kern.heap) >> GRAIN_SHIFT
    word = starts_at(kern, page, grain)
    word.bits = word.bits & ~shl(1, grain & 63)
    return settle(kern, magazine, page, 1)


@kernel
def settle_all(cpu: Cpu, magazine: Magazine) -> int:
    """Before this processor gives a slot back under the lock: settle its stack, and what others gave back, so that the
    next ones can be given back without."""
    gives_open(cpu)
    heed(cpu)
    fetch_noted(cpu.kern, magazine)
    return _settle_lowest(cpu.kern, magazine, magazine.top - magazine.bottom)


@kernel
def is_anothers(cpu: Cpu, owner: int) -> int:
    """1 if an owner is another processor."""
    return 1 if owner != 0 and owner != cpu.owner else 0


@kernel
def slot_give(cpu: Cpu, page: int, va: int) -> int:
    """Give the slot at va, in page `page` of a slab, back. INTERIOR, NOT_ALLOCATED: nothing changes."""
    kern = cpu.kern
    if slot_used(kern, page, va) == 0:
        return slot_refusal(kern, page, va)
    cache = cache_at(kern, slab_page(kern, page).cache)
    owner = owner_at(kern, page)
    poison(va, cache.size)
    if is_anothers(cpu, owner) != 0:
        return note(kern, page, va)
    magazine = magazine_at(kern, owner, cache.id)
    if owner != 0:
        settle_all(cpu, magazine)
    _give(kern, magazine, page, va)
    return empties_free(cpu, cache, cache.keep)


@kernel
def slots_missing(kern: Kern, magazine: Magazine, slots: int, count: int) -> int:
    """How many of `count` slots a magazine does not have free, at least; below 1: none. Its slabs have `slots` each."""
    left = count - _stacked(magazine)
    at = magazine.list
    while at != 0 and left > 0:
        record = slab_page(kern, at - 1)
        left -= slots_at(kern, at - 1) - record.used
        at = record.next
    at = magazine.empties
    while at != 0 and left > 0:
        left -= slots
        at = slab_page(kern, at - 1).next
    return left


@kernel
def slabs_lacking(cpu: Cpu, cache: Cache, count: int) -> int:
    """Slabs that must be made so that `count` slots can be taken; LIMIT if that is too many. Changes nothing."""
    left = slots_missing(cpu.kern, magazine_of(cpu, cache.id), cache.slots, count)
    slabs = 0
    while left > 0:
        left -= cache.slots
        slabs += 1
    return slabs if cache.slabs + slabs <= cache.limit else LIMIT


@kernel
def cache_drain(cpu: Cpu, cache: Cache) -> int:
    """Fetch what other processors gave back, and give back every empty slab of this processor that may go."""
    magazine = magazine_of(cpu, cache.id)
    _flush(cpu, cache.id)  # of a common cache there is none
    heed(cpu)
    fetch_noted(cpu.kern, magazine)
    return empties_free(cpu, cache, 0)
