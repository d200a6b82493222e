"""Object caches: nodes, processes, depend entries, threads, and whatever else a profile names (E19, E22).

Concepts
  1. Each object type has a typed cache of its own: a `Cache` of slabs like the heap's size classes, with a limit.
  2. How many of each there may be is the lesser of what the profile's ratio asks for and what the window holds: when the
     window is too small, all types give way in the same proportion, and the share achieved is kept in `Plan.scale`.
  3. A static kernel (E2) makes all slabs at boot and keeps them; a demand kernel makes them when they are first needed.

    pages of all types at their limits <= heap_pages - top - headroom
"""

from kernmalloc.kernel.bins import SLAB, record_of
from kernmalloc.kernel.heap import SIZE_CLASSES, page_at
from kernmalloc.kernel.kern import CACHES, Cpu, Kern, Plan
from kernmalloc.kernel.locks import SLOW
from kernmalloc.kernel.magazines import (
    slot_give,
    slot_give_next,
    slot_give_quick,
    slot_take,
    slot_take_next,
    slot_take_quick,
)
from kernmalloc.kernel.slabs import (
    Cache,
    SlabPage,
    cache_at,
    cache_init,
    slab_new,
    slab_pages,
    slab_slots,
    slot_free,
    slot_number,
)
from kernmalloc.kernel.threads import short
from kernmalloc.lang import i64, inlined, kernel, record
from kernmalloc.lang.status import BAD_ADDRESS, BAD_CACHE, BAD_SIZE, OK

# the first typed caches are the memory manager's own
REGION_CACHE = SIZE_CLASSES
CHUNK_CACHE = SIZE_CLASSES + 1
LAST_CACHE = SIZE_CLASSES + 2  # the chunks, region records and mapping frames of last words
LAST_REGION_CACHE = SIZE_CLASSES + 3
LAST_MAP_CACHE = SIZE_CLASSES + 4
UMAP_CACHE = SIZE_CLASSES + 5
DEPEND_CACHE = SIZE_CLASSES + 6
THREAD_CACHE = SIZE_CLASSES + 7
OWN_CACHES = 8

PLAN = Kern.offset("plan")
WHOLE = 65536  # the scale of a window that holds all that the ratios ask for
HEADROOM_SHIFT = 4  # a sixteenth of what the window has left is not promised to any object type
LARGEST_OBJECT = 32768
MOST = 1 << 36  # objects of a type: more than any window holds, few enough for a product with a scale


@record(size=32)
class ObjectType:
    """What boot is told of one object type."""

    bytes: i64 = "size of one object"
    wanted: i64 = "how many the profile's ratio asks for on this machine"
    last: i64 = "how many are kept for last words (C22)"
    spare: i64 = "up to 32 bytes"

    invariants = ("bytes > 0 and bytes <= LARGEST_OBJECT", "wanted >= 0 and last >= 0")


@kernel
def slot_bytes(bytes):
    """Bytes of the slot for an object."""
    return (bytes + 15) & ~15


@kernel
def object_slabs(page_shift, bytes, count):
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
def object_pages(page_shift, bytes, count):
    """Heap pages that `count` objects of a type take."""
    return object_slabs(page_shift, bytes, count) * slab_pages(slot_bytes(bytes), page_shift)


@kernel
def _type_at(kern, index):
    return Kern(kern).objects + (index << 5)


@kernel
def scaled(wanted, scale):
    """The share of `wanted` that a scale leaves, at least 1 of what is wanted at all."""
    return max((min(wanted, MOST) * scale) >> 16, min(wanted, 1))


@kernel
def objects_pages(kern, scale):
    """Heap pages that all object types take at a scale."""
    k = Kern(kern)
    pages = 0
    for i in range(k.object_count):
        t = ObjectType(_type_at(kern, i))
        pages += object_pages(k.page_shift, t.bytes, scaled(t.wanted, scale))
    return pages


@kernel
def last_pages(kern):
    """Heap pages that the objects kept for last words take."""
    k = Kern(kern)
    pages = 0
    for i in range(k.object_count):
        t = ObjectType(_type_at(kern, i))
        pages += object_pages(k.page_shift, t.bytes, t.last)
    return pages


@kernel
def objects_scale(kern, room):
    """The largest scale, in 1/65536, at which all object types fit into `room` heap pages; -1 if not one of each does."""
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
def common_create(cpu, bytes, limit):
    """`cache_create` of a type whose slabs belong to all processors: its limit is exact, whoever asks."""
    return _create(cpu, bytes, limit, 1)


@kernel
def _create(cpu, bytes, limit, common):
    k = Kern(Cpu(cpu).kern)
    if bytes <= 0 or bytes > LARGEST_OBJECT or limit <= 0:
        return BAD_SIZE
    if k.cache_count == CACHES:
        return BAD_CACHE
    id = k.cache_count
    k.cache_count = id + 1
    cache_init(k.addr, id, slot_bytes(bytes), object_slabs(k.page_shift, bytes, limit), common)
    c = Cache(cache_at(k.addr, id))
    c.object = bytes
    c.wanted = limit
    return id


@kernel
def cache_create(cpu, bytes, limit):
    """A new object type of `bytes` each, at most `limit` objects (rounded up to whole slabs): its number. BAD_SIZE, BAD_CACHE."""
    return _create(cpu, bytes, limit, 0)


@kernel
def cache_fill(cpu, id, count):
    """Make the slabs that `count` objects of a common type need, as far as they are not there, and keep them, whatever becomes
    of the heap."""
    k = Kern(Cpu(cpu).kern)
    c = Cache(cache_at(k.addr, id))
    slabs = object_slabs(k.page_shift, c.object, count)
    while c.slabs < slabs:
        status = slab_new(cpu, c.addr)
        if status < 0:
            return status
    c.kept = slabs
    return OK


@kernel
def objects_create(cpu, index):
    """Make the caches of the profile's object type `index`, at the scale planned; a static kernel fills it (E2)."""
    k = Kern(Cpu(cpu).kern)
    t = ObjectType(_type_at(k.addr, index))
    count = scaled(t.wanted, Plan(k.addr + PLAN).scale)
    status = OK
    if count > 0:
        id = _create(cpu, t.bytes, count, k.static)
        if id < 0:
            return id
        Cache(cache_at(k.addr, id)).wanted = t.wanted
        if k.static != 0:
            status = cache_fill(cpu, id, count)
    if t.last > 0 and status == OK:
        id = common_create(cpu, t.bytes, t.last)
        if id < 0:
            return id
        status = cache_fill(cpu, id, t.last)
    return status


@kernel
def _is_object_cache(kern, id):
    return 1 if id >= SIZE_CLASSES and id < Kern(kern).cache_count else 0


@inlined
def _of_type(cpu, id, va):
    """The page of type `id`'s slabs that va lies in; BAD_ADDRESS if that is none."""
    kern = Cpu(cpu).kern
    page = page_at(kern, va)
    if page < 0:
        return page
    h = SlabPage(record_of(kern, page))
    return page if h.use == SLAB and h.cache == id else BAD_ADDRESS


@kernel
def is_object(cpu, id, va):
    """1 if an object of type `id` that was given out lies at va."""
    kern = Cpu(cpu).kern
    page = _of_type(cpu, id, va)
    if page < 0:
        return 0
    slot = slot_number(kern, page, va)
    return 1 if slot >= 0 and slot_free(kern, page, slot) == 0 else 0


@kernel
def cache_get(cpu, id):
    """An object of type `id`, contents unknown: its VA. BAD_CACHE, LIMIT, or as `malloc`."""
    if _is_object_cache(Cpu(cpu).kern, id) == 0:
        return BAD_CACHE
    return slot_take(cpu, id)


@kernel
def cache_get_quick(cpu, id):
    """The same from this processor's stack. SLOW: from elsewhere, or not at all."""
    return slot_take_quick(cpu, id) if id >= SIZE_CLASSES and id < CACHES and Kern(Cpu(cpu).kern).quick != 0 else SLOW


@kernel
def cache_get_next(cpu, id):
    """The same from this processor's slabs. SLOW: as `cache_get_quick`."""
    return slot_take_next(cpu, id) if id >= SIZE_CLASSES and id < CACHES and Kern(Cpu(cpu).kern).quick != 0 else SLOW


@kernel
def cache_put(cpu, id, va):
    """Give an object of type `id` back. BAD_CACHE, BAD_ADDRESS (not of that type), INTERIOR, NOT_ALLOCATED."""
    if _is_object_cache(Cpu(cpu).kern, id) == 0:
        return BAD_CACHE
    page = _of_type(cpu, id, va)
    return slot_give(cpu, page, va) if page >= 0 else page


@inlined
def _page_quick(cpu, id, va):
    """The page of type `id`'s slabs that va lies in. SLOW: none, or threads wait for what is given back."""
    page = _of_type(cpu, id, va)
    return page if page >= 0 and id >= SIZE_CLASSES and short(Cpu(cpu).kern) == 0 else SLOW


@kernel
def cache_put_quick(cpu, id, va):
    """The same onto this processor's stack. SLOW: to elsewhere, or not at all."""
    page = _page_quick(cpu, id, va)
    return slot_give_quick(cpu, page, va) if page >= 0 else SLOW


@kernel
def cache_put_next(cpu, id, va):
    """The same into this processor's slabs. SLOW: as `cache_put_quick`."""
    page = _page_quick(cpu, id, va)
    return slot_give_next(cpu, page, va) if page >= 0 else SLOW
