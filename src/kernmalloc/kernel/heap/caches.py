"""Object caches: nodes, processes, depend entries, threads, and whatever else a profile names (E19, E22).

Concepts
  1. Each object type has a typed cache of its own: a `Cache` of slabs, as a size class is, but with a limit.
  2. How many objects there may be is the lesser of what the profile's ratio asks for and what the window holds. When
     the window is too small all types give way in the same proportion; `Plan.scale` keeps the share achieved.
  3. A static kernel (E2) makes all slabs at boot and keeps them. A demand kernel makes them when they are first needed.

    pages of all types at their limits <= heap_pages - top - headroom
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import CACHES, GRAIN_SHIFT, OWN_CACHES, SIZE_CLASSES, Cpu, Gate, Kern
from kernmalloc.kernel.core.locks import SLOW
from kernmalloc.kernel.heap.bins import SLAB
from kernmalloc.kernel.heap.fetch import others_hold
from kernmalloc.kernel.heap.magazines import (
    cache_drain,
    slot_give,
    slot_give_own,
    slot_give_quick,
    slot_take,
    slot_take_own,
    slot_take_quick,
)
from kernmalloc.kernel.heap.malloc import page_at
from kernmalloc.kernel.heap.notes import slot_used
from kernmalloc.kernel.heap.slabs import (
    MAX_SLAB_PAGES,
    Magazine,
    cache_at,
    cache_init,
    cache_seal,
    cpu_at,
    is_own,
    magazine_at,
    slab_page,
    slab_pages,
    slab_slots,
)
from kernmalloc.kernel.heap.slots import grain_at, is_own_slot, page_record
from kernmalloc.kernel.heap.supply import slab_new
from kernmalloc.lang import Record, element, failed, field, i64, inlined, kernel, small
from kernmalloc.lang.status import BAD_ADDRESS, BAD_ALIGN, BAD_CACHE, BAD_SIZE, BUSY, NOT_YOURS, OK
from kernmalloc.machine.primitives import zero

# the first typed caches are there in every kernel; all but the last of these are the memory manager's own
REGION_CACHE = SIZE_CLASSES
CHUNK_CACHE = SIZE_CLASSES + 1
LAST_CACHE = SIZE_CLASSES + 2  # the chunks and region records of last words
LAST_REGION_CACHE = SIZE_CLASSES + 3
UMAP_CACHE = SIZE_CLASSES + 4
DEPEND_CACHE = SIZE_CLASSES + 5
THREAD_CACHE = SIZE_CLASSES + 6
LAST_MAP_CACHE = SIZE_CLASSES + OWN_CACHES  # the mapping frames of last words, for callers to map devices with
FIRST_TYPE = LAST_MAP_CACHE + 1  # the first of those that the profile names

WHOLE = 65536  # the scale of a window that holds all that the ratios ask for
HEADROOM_SHIFT = 4  # a sixteenth of what the window has left is not promised to any object type
LARGEST_OBJECT = 65536  # bytes: a page of any format
GRAIN = 1 << GRAIN_SHIFT  # bytes
MOST = 1 << 36  # objects of a type: more than any window holds, few enough for a product with a scale


class ObjectType(Record):
    """What boot is told of one object type."""

    bytes: i64 = field("size of one object")
    wanted: i64 = field("how many the profile's ratio asks for on this machine")
    last: i64 = field("how many are kept for last words (C22)")


@kernel
def slot_bytes(bytes: int) -> int:
    """Bytes of the slot for an object."""
    return (bytes + GRAIN - 1) & -GRAIN


@kernel
def object_slabs(page_shift: int, bytes: int, count: int) -> int:
    """Slabs that hold `count` objects."""
    slots = slab_slots(slot_bytes(bytes), page_shift)
    slabs = 0
    step = 1 << 40
    while step > 0:  # count / slots, rounded up, without a division
        if (slabs + step) * slots <= count:
            slabs += step
        step = step >> 1
    return slabs + (1 if slabs * slots < count else 0)


@kernel
def object_pages(page_shift: int, bytes: int, count: int) -> int:
    """Heap pages that `count` objects of a type take."""
    return object_slabs(page_shift, bytes, count) * slab_pages(slot_bytes(bytes), page_shift)


@kernel
def _type_at(kern: Kern, index: int) -> ObjectType:
    """What boot was told of the object type of that number."""
    return element(kern.objects, index)


@kernel
def scaled(wanted: int, scale: int) -> int:
    """The share of `wanted` that a scale leaves, at least 1 of what is wanted at all."""
    return max((min(wanted, MOST) * scale) >> 16, min(wanted, 1))


@kernel
def objects_pages(kern: Kern, scale: int) -> int:
    """Heap pages that all object types take at a scale."""
    pages = 0
    for i in range(kern.object_count):
        type = _type_at(kern, i)
        pages += object_pages(kern.page_shift, type.bytes, scaled(type.wanted, scale))
    return pages


@kernel
def last_pages(kern: Kern) -> int:
    """Heap pages that the objects kept for last words take."""
    pages = 0
    for i in range(kern.object_count):
        type = _type_at(kern, i)
        pages += object_pages(kern.page_shift, type.bytes, type.last)
    return pages


@small
def objects_scale(kern: Kern, room: int) -> int:
    """The largest scale, in 1/65536, at which all types fit into `room` heap pages; -1 if one of each does not."""
    if objects_pages(kern, WHOLE) <= room:
        return WHOLE
    if objects_pages(kern, 0) > room:
        return -1
    low = 0
    step = WHOLE >> 1
    while step > 0:
        if objects_pages(kern, low + step) <= room:
            low += step
        step = step >> 1
    return low


@kernel
def common_create(cpu: Cpu, bytes: int, limit: int) -> int:
    """Make an object type whose slabs belong to all processors, so that its limit is exact: its number, or a status of
    `cache_create`."""
    return _create(cpu, bytes, limit, GRAIN, 1)


@kernel
def _is_destroyed(kern: Kern, id: int) -> int:
    """1 if the object type of that number was destroyed, and no other one has the number."""
    return 1 if cache_at(kern, id).limit == 0 else 0


@kernel
def _free_number(kern: Kern) -> int:
    """The first number of a cache that is free; CACHES if none is."""
    for id in range(SIZE_CLASSES, kern.cache_count):
        if _is_destroyed(kern, id) != 0:
            return id
    return kern.cache_count


@kernel
def _create(cpu: Cpu, bytes: int, limit: int, align: int, common: int) -> int:
    """Make an object type; `common`: its slabs belong to all processors."""
    kern = cpu.kern
    slot = (bytes + align - 1) & -align  # a slab begins with a page, so that each slot is aligned if its length is
    if bytes <= 0 or bytes > LARGEST_OBJECT or slot > MAX_SLAB_PAGES << kern.page_shift or limit <= 0:
        return BAD_SIZE
    id = _free_number(kern)
    if id == CACHES:
        return BAD_CACHE
    kern.cache_count = max(kern.cache_count, id + 1)
    cache_init(kern, id, slot, object_slabs(kern.page_shift, slot, limit), common)
    cache = cache_at(kern, id)
    cache.object = bytes
    cache.wanted = limit
    cache_seal(cache)
    return id


@kernel
def cache_create(cpu: Cpu, bytes: int, limit: int) -> int:
    """Make an object type of `bytes` bytes each and at most `limit` objects, rounded up to whole slabs: its number.

    BAD_SIZE: bytes is not 1 to 65536, or more than 32 pages, or limit is below 1. BAD_CACHE: there are as many types
    as can be.
    """
    return _create(cpu, bytes, limit, GRAIN, 0)


@kernel
def cache_create_aligned(cpu: Cpu, bytes: int, limit: int, align: int) -> int:
    """`cache_create`, and each object begins at a multiple of `align` bytes: its number.

    BAD_ALIGN: align is no power of two up to a page. Else a status of `cache_create`.
    """
    if align <= 0 or align > 1 << cpu.kern.page_shift or align & (align - 1) != 0:
        return BAD_ALIGN
    return _create(cpu, bytes, limit, max(align, GRAIN), 0)


@kernel
def cache_destroy(cpu: Cpu, id: int) -> int:
    """Give back all memory of object type number `id`, and its number, which another type may have then: OK.

    BUSY: objects of it are in use, or slabs of it are kept for good; or other processors may have some at hand, and the
    port has no barrier (`fetch`). BAD_CACHE: there is no such type. NOT_YOURS: its objects are the kernel's own, or for
    last words. It stays then.
    """
    kern = cpu.kern
    status = type_ok(kern, id)
    if failed(status):
        return status
    if OWN_CACHES > 0 and id == LAST_MAP_CACHE:
        return NOT_YOURS
    cache = cache_at(kern, id)
    if cache.kept > 0 or others_hold(cpu) == 0:
        return BUSY
    for number in range(kern.cpu_count):
        cache_drain(cpu_at(kern, number), cache)
    if cache.slabs > 0:
        return BUSY
    for owner in range(kern.cpu_count + 1):
        zero(magazine_at(kern, owner, id).addr, Magazine.size)
    cache.limit = 0
    cache.wanted = 0
    cache.object = 0
    return cache_seal(cache)


@kernel
def cache_fill(cpu: Cpu, id: int, count: int) -> int:
    """Make the slabs that `count` objects of a common type need and that are not there yet, and keep them for good.

    OK, or what `slab_new` says."""
    kern = cpu.kern
    cache = cache_at(kern, id)
    slabs = object_slabs(kern.page_shift, cache.object, count)
    while cache.slabs < slabs:
        status = slab_new(cpu, cache)
        if failed(status):
            return status
    cache.kept = slabs
    return cache_seal(cache)


@small
def objects_create(cpu: Cpu, index: int) -> int:
    """Make the caches of the profile's object type `index`. OK, or what the first step says that is refused.

    One is of as many objects as were planned, which a static kernel fills (E2); one is of those for last words."""
    kern = cpu.kern
    type = _type_at(kern, index)
    count = scaled(type.wanted, kern.plan.scale)
    status = OK
    if count > 0:
        id = _create(cpu, type.bytes, count, GRAIN, kern.static)
        if failed(id):
            return id
        cache_at(kern, id).wanted = type.wanted
        cache_seal(cache_at(kern, id))
        if kern.static != 0:
            status = cache_fill(cpu, id, count)
    if type.last > 0 and status == OK:
        id = common_create(cpu, type.bytes, type.last)
        if failed(id):
            return id
        status = cache_fill(cpu, id, type.last)
    return status


@kernel
def type_ok(kern: Kern, id: int) -> int:
    """OK if there is an object type of that number for callers. BAD_CACHE: there is none. NOT_YOURS."""
    if id < SIZE_CLASSES or id >= kern.cache_count:
        return BAD_CACHE
    if _is_destroyed(kern, id) != 0:
        return BAD_CACHE
    return NOT_YOURS if is_own(id) != 0 else OK


@kernel
def object_page(cpu: Cpu, id: int, va: int) -> int:
    """The page that va lies in, of a slab of object type `id`; BAD_ADDRESS if it lies in none."""
    page = page_at(cpu.kern, va)
    if failed(page):
        return page
    record = slab_page(cpu.kern, page)  # of any heap page, of which these fields are the same
    return page if record.use == SLAB and record.cache == id else BAD_ADDRESS


@kernel
def is_object(cpu: Cpu, id: int, va: int) -> int:
    """1 if an object of type `id` begins at va and is in use."""
    kern = cpu.kern
    page = object_page(cpu, id, va)
    if failed(page):
        return 0
    return slot_used(kern, page, va)


@kernel
def cache_get(cpu: Cpu, id: int) -> int:
    """Allocate an object of type number `id`, contents unknown: its VA.

    BAD_CACHE: there is no such type. NOT_YOURS: its objects are the kernel's own. LIMIT: it has as many slabs as it
    may. Else a status of `malloc`.
    """
    status = type_ok(cpu.kern, id)
    return slot_take(cpu, id) if status == OK else status


@inlined
def cache_get_quick(cpu: Cpu, id: int, gate: Gate) -> int:
    """Take an object from this processor's stack: its VA.

    SLOW: it is empty, it is no object type, or this processor must look at something first (`heed`)."""
    return slot_take_quick(cpu, id) if id >= SIZE_CLASSES and id < CACHES and gate.takes != 0 else SLOW


@kernel
def cache_get_own(cpu: Cpu, id: int, gate: Gate) -> int:
    """Fill a part of this processor's empty stack, and take an object: its VA.

    SLOW: its slabs have none, it is no object type, or this processor must look at something first (`heed`)."""
    return slot_take_own(cpu, id) if id >= SIZE_CLASSES and id < CACHES and gate.takes != 0 else SLOW


@kernel
def cache_put(cpu: Cpu, id: int, va: int) -> int:
    """Give back the object at va, of type number `id`: OK.

    BAD_CACHE: there is no such type. NOT_YOURS: its objects are the kernel's own. BAD_ADDRESS: no slab of that type
    lies there. INTERIOR: va lies inside an object. NOT_ALLOCATED: it is free already. Then nothing has changed.
    """
    status = type_ok(cpu.kern, id)
    if failed(status):
        return status
    page = object_page(cpu, id, va)
    return page if failed(page) else slot_give(cpu, page, va)


@inlined
def is_own_object(cpu: Cpu, id: int, va: int, gate: Gate) -> int:
    """1 if a slot as for `is_own_slot` starts at va that is of object type `id`."""
    if id < SIZE_CLASSES or is_own_slot(cpu, va, gate) == 0:
        return 0
    return 1 if page_record(cpu, grain_at(cpu, va)).cache == id else 0


@inlined
def cache_put_quick(cpu: Cpu, id: int, va: int, gate: Gate) -> int:
    """Put the object at va on this processor's stack.

    SLOW: the stack is full, it is none of this processor's objects that is in use, or it must look at something."""
    return slot_give_quick(cpu, va) if is_own_object(cpu, id, va, gate) != 0 else SLOW


@kernel
def cache_put_own(cpu: Cpu, id: int, va: int, gate: Gate) -> int:
    """Settle a part of this processor's full stack, and put the object at va on it.

    SLOW: it is none of this processor's objects that is in use, empty slabs must go back, or threads wait."""
    return slot_give_own(cpu, va) if is_own_object(cpu, id, va, gate) != 0 else SLOW
