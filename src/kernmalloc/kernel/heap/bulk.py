"""Many objects of one type in one call: as many as a caller asks for, or none.

Concepts
  1. Addresses of objects stand in an array of the caller's: `cache_get_bulk` fills it, `cache_put_bulk` reads it.
  2. A get first looks whether so many slots are free. If this processor's slabs have them it takes no lock. Else it
     asks for the pages of all slabs that are missing, and makes these one by one.
  3. A put first takes each object of the array from its user: the bit of its slot is cleared, or, in another
     processor's slab, it is noted. An object that stands there twice is no slot in use by then. If one cannot be taken,
     those before it are in use again, and nothing has changed. Without the lock all slots come onto the stack then;
     under the lock those of a page are settled at once.

Limits: interrupts are off meanwhile, where the kernel takes them off at all. The array is the caller's memory, and is
not looked at: there must be room.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import CACHES, SIZE_CLASSES, Cpu, Gate, Kern, Word
from kernmalloc.kernel.core.locks import SLOW
from kernmalloc.kernel.heap.caches import is_own_object, object_page, type_ok
from kernmalloc.kernel.heap.magazines import (
    fetch_noted,
    is_anothers,
    settle_all,
    slabs_lacking,
    slot_any,
    slot_take,
    slots_missing,
    stack_all,
)
from kernmalloc.kernel.heap.notes import note, note_of, note_word, slot_refusal, slot_used, takes_open
from kernmalloc.kernel.heap.partial import settle
from kernmalloc.kernel.heap.runs import pages_ask
from kernmalloc.kernel.heap.slabs import Cache, Magazine, cache_at, magazine_at, magazine_of, own_magazine, owner_at
from kernmalloc.kernel.heap.slots import grain_at, start_turn, start_turn_quick
from kernmalloc.kernel.heap.supply import empties_free
from kernmalloc.lang import element, failed, kernel, poison, rare, shl
from kernmalloc.lang.status import BAD_SIZE, OK

MOST_BULK = 1 << 16  # objects in a call


@kernel
def _bulk_ok(kern: Kern, id: int, count: int) -> int:
    """OK if there can be so many objects of that type in a call. BAD_CACHE, NOT_YOURS, BAD_SIZE."""
    status = type_ok(kern, id)
    return BAD_SIZE if status == OK and (count <= 0 or count > MOST_BULK) else status


@kernel
def _may_be(id: int, count: int) -> int:
    """1 if a quick path can be asked for so many objects of that type."""
    return 1 if id >= SIZE_CLASSES and id < CACHES and count > 0 and count <= MOST_BULK else 0


@kernel
def _turn(cpu: Cpu, page: int, va: int) -> int:
    """Take the slot at va, in heap page `page`, from its user, or give it to the user again: OK."""
    kern = cpu.kern
    if is_anothers(cpu, owner_at(kern, page)) != 0:
        number = note_of(kern, page, va)
        word = note_word(kern, page, number)
        word.bits = word.bits ^ shl(1, number & 63)
        return OK
    return start_turn(kern, page, va)


@rare
def _turn_back(cpu: Cpu, count: int, objects: Word, why: int) -> int:
    """Give the first `count` objects to their users again: why the call is refused, or SLOW."""
    for i in range(count):
        va = element(objects, i).bits
        _turn(cpu, (va - cpu.kern.heap) >> cpu.kern.page_shift, va)
    return why


@kernel
def _give_all(cpu: Cpu, id: int, count: int, objects: Word) -> int:
    """Settle the slots of objects that were taken from their users, as many of a page at once as stand together."""
    kern = cpu.kern
    i = 0
    while i < count:
        page = (element(objects, i).bits - kern.heap) >> kern.page_shift
        owner = owner_at(kern, page)
        same = 0
        while i + same < count and (element(objects, i + same).bits - kern.heap) >> kern.page_shift == page:
            va = element(objects, i + same).bits
            poison(va, cache_at(kern, id).size)
            if is_anothers(cpu, owner) != 0:
                note(kern, page, va)
            same += 1
        if is_anothers(cpu, owner) == 0:
            settle(kern, magazine_at(kern, owner, id), page, same)
        i += same
    return OK


@kernel
def cache_put_bulk_own(cpu: Cpu, id: int, count: int, objects: Word, gate: Gate) -> int:
    """Give objects back to this processor's slabs: OK.

    SLOW: one is none of its objects that is in use, empty slabs must go back, or it must look at something."""
    if _may_be(id, count) == 0:
        return SLOW
    magazine = own_magazine(cpu, id)
    if magazine.empty_pages >= magazine.keep:
        return SLOW
    for i in range(count):
        va = element(objects, i).bits
        if is_own_object(cpu, id, va, gate) == 0:
            return _turn_back(cpu, i, objects, SLOW)
        start_turn_quick(cpu, grain_at(cpu, va))
    return stack_all(cpu.kern, magazine, count, objects)


@kernel
def cache_put_bulk(cpu: Cpu, id: int, count: int, objects: Word) -> int:
    """Give back the `count` objects of type number `id` whose VAs are in the array `objects`: OK.

    BAD_SIZE: count is not 1 to 65536. NOT_ALLOCATED: one is free already, or stands there twice. Else a status of
    `cache_put` for one of them. Then nothing has changed.
    """
    kern = cpu.kern
    status = _bulk_ok(kern, id, count)
    if failed(status):
        return status
    for i in range(count):
        va = element(objects, i).bits
        page = object_page(cpu, id, va)
        if failed(page):
            return _turn_back(cpu, i, objects, page)
        if slot_used(kern, page, va) == 0:
            return _turn_back(cpu, i, objects, slot_refusal(kern, page, va))
        _turn(cpu, page, va)
    cache = cache_at(kern, id)
    if cache.common == 0:
        settle_all(cpu, own_magazine(cpu, id))
    _give_all(cpu, id, count, objects)
    return empties_free(cpu, cache, cache.keep)


# --- gets


@kernel
def _take_all(cpu: Cpu, magazine: Magazine, count: int, into: Word) -> int:
    """Take so many slots, which are free: `count`."""
    for i in range(count):
        element(into, i).bits = slot_any(cpu, magazine)
    return count


@kernel
def cache_get_bulk_own(cpu: Cpu, id: int, count: int, into: Word, gate: Gate) -> int:
    """Take objects from this processor's slabs: `count`.

    SLOW: they have fewer, it is no object type, or this processor must look at something first (`heed`)."""
    if _may_be(id, count) == 0 or gate.takes == 0:
        return SLOW
    magazine = own_magazine(cpu, id)
    missing = slots_missing(cpu.kern, magazine, cache_at(cpu.kern, id).slots, count)
    return _take_all(cpu, magazine, count, into) if missing <= 0 else SLOW


@kernel
def _take_new(cpu: Cpu, cache: Cache, count: int, into: Word) -> int:
    """Take so many slots, of slabs that are made one by one: `count`; or none, and what `slot_take` says."""
    for i in range(count):
        va = slot_take(cpu, cache.id)
        if failed(va):
            _turn_back(cpu, i, into, OK)
            _give_all(cpu, cache.id, i, into)
            empties_free(cpu, cache, cache.keep)
            return va
        element(into, i).bits = va
    return count


@kernel
def cache_get_bulk(cpu: Cpu, id: int, count: int, into: Word) -> int:
    """Allocate `count` objects of type number `id`, contents unknown, and put their VAs into the array `into`: count.

    BAD_CACHE, NOT_YOURS: as `cache_get`. BAD_SIZE: count is not 1 to 65536. LIMIT: the type may not have the slabs that
    this takes. Else a status of `malloc`. Then none is allocated.
    """
    kern = cpu.kern
    status = _bulk_ok(kern, id, count)
    if failed(status):
        return status
    takes_open(cpu)
    cache = cache_at(kern, id)
    lacking = slabs_lacking(cpu, cache, count)
    if lacking != 0:
        fetch_noted(kern, magazine_of(cpu, id))
        lacking = slabs_lacking(cpu, cache, count)
    status = pages_ask(cpu, lacking * cache.pages) if lacking >= 0 else lacking
    return status if failed(status) else _take_new(cpu, cache, count, into)
