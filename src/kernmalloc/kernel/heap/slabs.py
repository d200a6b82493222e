"""Slabs: runs of heap pages cut into equal slots, and the caches that own them.

Concepts
  1. A cache hands out slots of one size. There is one for each size class (`malloc`) and one for each type of kernel
     object (`caches`). Its memory is type-stable: as long as a slab lives, its slots hold nothing else.
  2. The record of a slab's page has a bit for each grain of 16 bytes of the page. It is set where a slot starts that is
     in use (`slots`). Nothing is written into free slots.
  3. A slab belongs to the processor that made it. That processor alone takes its slots, changes these bits and keeps
     the slab on its lists (`magazines`), and needs no lock for it.
  4. The slabs of a common cache belong to all processors, under the lock, so that what is free in them can be counted.
     Common are the kernel's own caches, and those of which a share is kept for somebody.
  5. A slot that another processor gives back keeps its bit until the owner has seen that (`notes`).

    size * slots <= pages * page
    slot in use    <=>  the bit of its first grain is set and no note is of it
    no other bit is set
    used of a page  =   its bits set + slots of it on the magazine's stack
    a free slot is poisoned; no other byte of a slab is
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import (
    CACHES,
    FULL_STACKS,
    GRAIN_SHIFT,
    LINKS,
    OWN_CACHES,
    SIZE_CLASSES,
    STACK,
    STACKS,
    Cpu,
    Kern,
    Word,
)
from kernmalloc.kernel.core.seals import folded, mixed  # noqa: F401 (`sealer` names it)
from kernmalloc.kernel.heap.bins import record_of
from kernmalloc.lang import (
    Record,
    array,
    element,
    field,
    i64,
    inlined,
    kernel,
    sealer,
    shl,
    shr,
    small,
    u8,
    u16,
    u32,
    usize,
)
from kernmalloc.lang.status import OK

MAX_SLAB_PAGES = 32
LOW = (1 << 32) - 1
NO_LIMIT = LINKS - 1  # slabs: there are no more pages
KEPT_SHIFT = 3  # a cache may keep an eighth of the pages that the heap keeps idle as empty slabs of a processor
STACKED_BYTES = 131072  # bytes of slots that a stack holds at most, if these are not fewer slots than
LEAST_STACK = 2  # what a stack holds in any case
STEP = 16  # slots that are drawn or settled at once, at most
NOTES = 64  # bits in the record of a page for notes of other processors
NOTES_SHIFT = 7  # a page of a cache for which these are too few has notes in its last 128th
LISTED = 1 << 7  # in the place of a page, which counts fewer pages than a slab may have
WAITS = 1 << 15  # in the owner of a page: others gave slots of it back (processors have lower numbers)


class Stacked(Record):
    """A slot on a magazine's stack."""

    va: usize = field("where it is")


class Magazine(Record, size=64, align=8):
    """Where slots of a cache are taken from (`magazines`): by one processor, or, of a common cache, by all."""

    top: usize = field("VA behind the slot on top of the stack")
    bottom: usize = field("VA of the stack; 0: it has none, or there never was a slab")
    end: usize = field("VA behind the stack's last place")
    size: u32 = field("bytes between slots, once there is a slab")
    list: u32 = field("first of the pages with free slots: page + 1")
    empties: u32 = field("the empty slab put aside last: page + 1")
    empty_pages: u32 = field("pages of the empty slabs that are put aside")
    keep: u32 = field("how many such pages may be kept")
    returned: u32 = field("first page with slots that others gave back, as the owner has seen: page + 1")

    invariants = (
        "size == tally.magazine_size and keep == tally.magazine_keep and empty_pages == tally.magazine_empty_pages",
        "bottom == tally.magazine_bottom and end == tally.magazine_end",
        "tally.stack_errors == 0",
    )


class Cache(Record):
    """Slots of one size: a size class, or a kernel object type."""

    size: u32 = field("bytes of a slot, a multiple of 16")
    reciprocal: u32 = field("2 ** 32 / size, rounded up")
    pattern: i64 = field("the bits of the grains where slots start, if one starts at bit 63 of a word")
    slots: u16 = field("slots in a slab")
    pages: u8 = field("pages in a slab")
    stack: u8 = field("slots that a magazine's stack can hold; 0: it has none")
    keep: u32 = field("pages of empty slabs that a processor keeps: one slab at least")
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
        "slots > 0 and size * slots <= pages << kern.page_shift",
        "size * (slots + 1) > (pages << kern.page_shift) - (pages << kern.page_shift >> NOTES_SHIFT)",
        "size * reciprocal >= 1 << 32 and size * (reciprocal - 1) < 1 << 32 and pattern < 0",
        "keep >= pages and common <= 1",
        "stack <= STACK and stack * common == 0",
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
        "pattern",
        "slots",
        "pages",
        "keep",
        "stack",
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
    owner: u16 = field("number of the processor that it belongs to, plus 1; 0: all of them; and WAITS or not")
    waiting: u32 = field("0: nothing was given back by others; else the next such page of its list: page + 1, or END")
    used: u16 = field("slots that start in it and are in use or on a stack")
    place: u8 = field("pages from here back to the first; and LISTED, if it is on its magazine's list")
    given: u8 = field("how many notes it has, the lower 8 bits of that")
    returned: Word = array(1, "notes: slots that others gave back, a bit for each 64th of the page")
    starts: Word = array(4, "where slots in use start, a bit for each grain; longer, where pages have over 4 KiB")

    invariants = (
        "cache < kern.cache_count",
        "tally.slab_errors == 0",
        "used == tally.slab_starts + tally.stacked",
        "tally.listed == 1",
    )


STACKED_SHIFT = Stacked.shift
seal_cache = sealer(Cache, namespace=globals())
END = 0xFFFFFFFF  # the last page with slots that others gave back; 0 says that a page has none


# --- caches, magazines, processors


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
def _halvings(id: int) -> int:
    """How often the room on a size class's stack is half of STACK."""
    return max((id - FULL_STACKS + 8) >> 3, 0)


@kernel
def stack_room(id: int) -> int:
    """Slots that have room on a processor's stack for a cache, by number."""
    return STACK >> _halvings(id) if id < SIZE_CLASSES else STACK >> 1


@kernel
def _stack_first(id: int) -> int:
    """Slots that have room on the stacks of the caches before one, by number."""
    if id >= SIZE_CLASSES:
        return STACKS - (CACHES - id) * (STACK >> 1)
    halvings = _halvings(id)
    if halvings == 0:
        return id * STACK
    return (FULL_STACKS + 8) * STACK - 8 * (STACK >> (halvings - 1)) + (id & 7) * (STACK >> halvings)


@small
def stack_at(kern: Kern, owner: int, id: int) -> int:
    """VA of the stack of an owner's magazine for a cache, by number; 0: common ones have none."""
    return 0 if is_all(owner) != 0 else element(cpu_at(kern, owner - 1).stacks, _stack_first(id)).addr


@kernel
def owner_of(cpu: Cpu, id: int) -> int:
    """Who owns the slabs that this processor takes slots of a cache from: its number plus 1; 0: all of them."""
    return 0 if cache_at(cpu.kern, id).common != 0 else cpu.owner


@kernel
def owner_at(kern: Kern, page: int) -> int:
    """Who owns a slab's page: the number of a processor plus 1; 0: all of them."""
    return slab_page(kern, page).owner & ~WAITS


@kernel
def back_of(page: SlabPage) -> int:
    """Pages from a slab's page back to the slab's first one."""
    return page.place & ~LISTED


@kernel
def magazine_of(cpu: Cpu, id: int) -> Magazine:
    """The magazine that this processor uses for a cache: its own, or that of all."""
    return magazine_at(cpu.kern, owner_of(cpu, id), id)


# --- how many slots


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
def pattern_of(size: int) -> int:
    """The bits of a word's grains where slots start, if one starts at bit 63."""
    bits = shl(1, 63)
    step = size >> GRAIN_SHIFT
    while step < NOTES:
        bits = bits | shr(bits, step)
        step = step << 1
    return bits


@kernel
def is_dense(size: int, page_shift: int) -> int:
    """1 if more slots of `size` may start in a page than its record has notes for. Slabs of them are of one page."""
    return 1 if size * NOTES < 1 << page_shift else 0


@kernel
def slots_in(size: int, pages: int, page_shift: int) -> int:
    """Slots of `size` that fit into a slab of so many pages, beside the notes."""
    notes = 1 << page_shift >> NOTES_SHIFT if is_dense(size, page_shift) != 0 else 0
    return (((pages << page_shift) - notes) * reciprocal_of(size)) >> 32


@small
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
def stack_slots(kern: Kern, cache: Cache, id: int) -> int:
    """Slots that a stack for cache `id` can hold: not more than the slabs have that it may keep."""
    if cache.common != 0:
        return 0
    kept = slots_in(cache.size, min(cache.keep, STACK * MAX_SLAB_PAGES), kern.page_shift)
    return min(min(max((STACKED_BYTES * cache.reciprocal) >> 32, LEAST_STACK), stack_room(id)), kept)


@small
def cache_init(kern: Kern, id: int, size: int, limit: int, common: int) -> int:
    """Make cache `id` one of slots of `size` bytes, with at most `limit` slabs; `common`: they belong to all."""
    cache = cache_at(kern, id)
    cache.size = size
    cache.reciprocal = reciprocal_of(size)
    cache.pattern = pattern_of(size)
    cache.pages = slab_pages(size, kern.page_shift)
    cache.slots = slab_slots(size, kern.page_shift)
    cache.keep = max(cache.pages, min(kern.idle_most >> KEPT_SHIFT, LOW))
    cache.common = common
    cache.stack = stack_slots(kern, cache, id)
    cache.limit = min(limit, NO_LIMIT)
    cache.id = id
    return cache_seal(cache)


@kernel
def cache_seal(cache: Cache) -> int:
    """Seal a cache, of which a constant was set."""
    cache.seal = folded(seal_cache(cache))
    return OK
