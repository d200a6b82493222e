"""Added RAM: frames that come after the boot, by hot plug or because nobody needs what the loader left in them (E39).

Concepts
  1. Added RAM is described as the boot describes its later ranges: its region's record and its area come from the heap,
     which finds frames through the core table. There is no donation.
  2. It must be described before it can pay for that. Where the free frames are too few to describe all of it, it is
     cut: its upper part is described first and pays for the rest. So one add may make several regions.
  3. What it will take is reckoned before anything is changed, part by part, in an `Adding`: from the longest free run
     of the heap's fixed part, else from pages above the heap's top. It then takes that or less.
  4. An add that does not bring more frames than it takes is refused. So it need not wait for its turn: it may take all
     frames that are listed, be they owed to threads or kept in reserve, and the promise to the bank is kept with what
     is coming. What it brings is promised to the bank, too.
  5. Frames come out of nowhere, or out of a region of the loader's (CARVED_MEMORY), but for the kernel's own image and
     boot area. Nobody vouches for their being zero.
  6. The hash of the page cache is made anew when there are more than twice the frames that it was made for.
  7. Added RAM may be its own host: its structures lie in its own first frames, and it needs none of those that were
     there. This is the boot's circle once more. Frames are set aside; the heap grows into them before they have
     entries; they are marked by hand (E37), and the others are listed (E38). A host is one region, without parts. An
     affine heap grows behind its fixed part then, which gives nothing but a slab for the region's record.
  8. The heap of a direct map does not reach where RAM is added. There the area of a host lies in its first frames,
     which are RESERVED and no heap pages. The region's record and the hash come from the heap as ever.

    gained = count - frames that heap, mapping tables and the area of a host took > 0

Time: under the lock, linear in the frames that are added; if the hash is made anew, also in the pages of the cache.
Limits: what a profile asks for by the frames of the machine, objects and device entries, is that of the boot.
"""

from __future__ import annotations

from kernmalloc.kernel.boot.coretable import area_pages, area_use, list_frames, table_bytes
from kernmalloc.kernel.boot.seal import boot_seal
from kernmalloc.kernel.boot.sizing import GO_ON, affordable, area_cost, heap_frames
from kernmalloc.kernel.core.kern import CARVED_MEMORY, HEAP, LINKS, MAPPING, RAM, RESERVED, Cpu, Kern
from kernmalloc.kernel.core.modes import has_tables
from kernmalloc.kernel.core.tree import tree_floor
from kernmalloc.kernel.frames.regions import Region, place_in, region_add, region_of, region_remove, region_split
from kernmalloc.kernel.frames.space import bank_gains, frames_left, space_short
from kernmalloc.kernel.frames.table import entry_of, set_type
from kernmalloc.kernel.heap.bins import KEPT, longest_run, record_of
from kernmalloc.kernel.heap.caches import REGION_CACHE
from kernmalloc.kernel.heap.magazines import slabs_lacking, slot_take
from kernmalloc.kernel.heap.malloc import own_free, own_zeroed, pages_for
from kernmalloc.kernel.heap.runs import longest_growth, trim
from kernmalloc.kernel.heap.slabs import cache_at
from kernmalloc.kernel.heap.supply import slabs_make, slabs_unmake
from kernmalloc.kernel.map.direct import direct_end, direct_va, wiped
from kernmalloc.kernel.pages.pages import pages_bytes, pages_few, pages_move
from kernmalloc.lang import Record, failed, field, i64, kernel
from kernmalloc.lang.status import BAD_SIZE, BUSY, NO_FRAMES, NO_VA, OK, TOO_SMALL, WRAPS
from kernmalloc.machine.primitives import zero

# whose frames the structures of added RAM take
PAGE_SPACE = 0  # those that are there
ITSELF = 1  # its own: it is a host


class Adding(Record):
    """RAM that is being added: the frames that have not been reckoned with yet, and what there will be to take once
    those are described that have been."""

    base: i64 = field("first pfn")
    count: i64 = field("frames that have not been reckoned with: the lower ones")
    kept: i64 = field("pages of the longest free run of the heap's fixed part")
    top: i64 = field("heap pages from this one on can be had: there are as many in one run as would lie behind it")
    left: i64 = field("frames that can be taken")
    pages: i64 = field("heap pages that it takes: slabs of records, areas, the hash of the page cache")
    parts: i64 = field("regions that it makes")
    cost: i64 = field("frames that heap, mapping tables and the area of a host take for all that")
    host: i64 = field("whose frames these are: PAGE_SPACE, ITSELF")
    hosted: i64 = field("of them, frames of the RAM that is added")
    # of a host, while its structures are made
    low: i64 = field("first frame set aside that the heap has not taken")
    high: i64 = field("pfn behind the last that mapping tables have not taken: they have them from the end down")
    end: i64 = field("pfn behind the last that is set aside; 0: none are")


@kernel
def _grows(kern: Kern) -> int:
    """1 if the heap grows into a host."""
    return kern.adding.host if has_tables(kern) != 0 else 0


@kernel
def _spare(kern: Kern) -> int:
    """Frames that are set aside in a host beyond what was reckoned: bare runs of the heap may lack leaf tables."""
    return GO_ON if _grows(kern) != 0 else 0


@kernel
def _pay(kern: Kern, pages: int, kept: int) -> int:
    """Reckon with a run of so many heap pages, out of a free run of `kept` pages of the fixed part, or by growth: OK.
    NO_VA: the heap's bound is reached."""
    adding = kern.adding
    adding.pages = adding.pages + pages
    if pages <= kept:
        adding.kept = adding.kept - pages
        return OK
    top = adding.top + pages
    if top > kern.heap_pages:
        return NO_VA
    cost = heap_frames(kern, top) - heap_frames(kern, adding.top)
    adding.cost = adding.cost + cost
    adding.left = adding.left - cost
    adding.top = top
    if _grows(kern) != 0:
        adding.hosted = adding.hosted + cost
    return OK


@kernel
def _pay_own(kern: Kern, pages: int) -> int:
    """Reckon with a run for a structure that grows with memory, for which the heap grows into a host: OK, or NO_VA."""
    return _pay(kern, pages, 0 if _grows(kern) != 0 else kern.adding.kept)


@kernel
def _pay_area(kern: Kern, pages: int) -> int:
    """Reckon with an area of so many pages: OK. NO_VA: the heap's bound is reached, or a direct map does not reach the
    host."""
    adding = kern.adding
    if adding.host == PAGE_SPACE or has_tables(kern) != 0:
        return _pay_own(kern, pages)
    adding.cost = adding.cost + pages
    adding.hosted = pages
    return OK if adding.base + pages <= direct_end(kern) else NO_VA


@kernel
def _next_part(kern: Kern) -> int:
    """Reckon with the part that is described next, all that is left or its upper end: its frames.

    NO_FRAMES: none of it can be paid for. NO_VA."""
    adding = kern.adding
    count = adding.count
    if adding.host == PAGE_SPACE and area_pages(kern, adding.base, count) > adding.kept:
        if area_cost(kern, adding.top, adding.base, count) > adding.left:
            count = affordable(kern, adding.top, adding.left - GO_ON, adding.base, count)
    if count == 0:
        return NO_FRAMES
    status = _pay_area(kern, area_pages(kern, adding.base + adding.count - count, count))
    if failed(status):
        return status
    adding.count = adding.count - count
    adding.left = adding.left + count
    adding.parts = adding.parts + 1
    return count


@kernel
def _hash_pages(kern: Kern, frames: int) -> int:
    """Heap pages of the hash that a page cache for so many frames needs; 0: it has one that will do."""
    return pages_for(kern, pages_bytes(kern, frames)) if pages_few(kern, frames) != 0 else 0


@kernel
def _adding_from(kern: Kern, base: int, count: int, host: int, kept: int, room: int, left: int) -> int:
    """Begin to reckon with frames [base, base + count)."""
    adding = kern.adding
    adding.base = base
    adding.count = count
    adding.kept = kept
    adding.top = kern.heap_pages - room
    adding.left = left
    adding.pages = 0
    adding.parts = 0
    adding.cost = 0
    adding.host = host
    adding.hosted = 0
    return OK


@kernel
def reckon(kern: Kern, base: int, count: int, host: int, kept: int, room: int, left: int, slabs: int) -> int:
    """Reckon what adding frames [base, base + count) takes of `host`, PAGE_SPACE or ITSELF, beside `slabs` pages for
    records, where the heap's fixed part has a free run of `kept` pages, the heap can grow by a run of `room` pages, and
    `left` frames can be taken: OK. Changes nothing but `Kern.adding`.

    TOO_SMALL: they would not bring more frames than they take. NO_FRAMES: not even a part of them can be paid for.
    NO_VA: the heap's bound would be passed, or a direct map does not reach a host."""
    adding = kern.adding
    _adding_from(kern, base, count, host, kept, room, left)
    status = _pay(kern, slabs, kept) if slabs > 0 else OK
    while status == OK and adding.count > 0:
        frames = _next_part(kern)
        status = frames if failed(frames) else OK
    if status == OK:
        pages = _hash_pages(kern, kern.frames + count)
        status = _pay_own(kern, pages) if pages > 0 else OK
    if status == OK and adding.cost + _spare(kern) >= count:
        return TOO_SMALL
    return status


@kernel
def _kept_run(kern: Kern) -> int:
    """Pages of the longest free run of the heap's fixed part."""
    return record_of(kern, longest_run(kern, KEPT)).pages if kern.kept > 0 else 0


@kernel
def _touches(kern: Kern, base: int, count: int, pa: int, bytes: int) -> int:
    """1 if memory [pa, pa + bytes), whole pages, has one of frames [base, base + count)."""
    shift = kern.page_shift
    return 1 if base << shift < pa + bytes and pa < (base + count) << shift else 0


@kernel
def _has_kernel(kern: Kern, base: int, count: int) -> int:
    """1 if the kernel's image or boot area lies in one of frames [base, base + count)."""
    info = kern.info
    image = _touches(kern, base, count, info.image_pa, info.image_bytes)
    return image | _touches(kern, base, count, info.area_pa, info.area_bytes)


@kernel
def _records(cpu: Cpu) -> int:
    """A zeroed region record, of which there is one."""
    record = slot_take(cpu, REGION_CACHE)
    zero(record, Region.size)
    return record


@kernel
def _cut_off(cpu: Cpu, base: int, count: int) -> int:
    """Take frames [base, base + count) out of the loader's region that they lie in, if they do."""
    around = Region(tree_floor(cpu.kern.regions, base).addr)
    if around == 0:
        return OK
    if around.base + around.count <= base:
        return OK
    if around.base + around.count > base + count:
        above = Region(_records(cpu))
        region_split(cpu, around, above, base + count)
        above.cut = 0
    around.count = base - around.base
    if around.count > 0:
        return OK
    region_remove(cpu, around)
    return own_free(cpu, around.addr)


@kernel
def _area(cpu: Cpu, base: int, count: int) -> int:
    """Zeroed memory to describe frames [base, base + count) in: VA, or the status of `own_zeroed`."""
    kern = cpu.kern
    adding = kern.adding
    if adding.host == PAGE_SPACE or has_tables(kern) != 0:
        return own_zeroed(cpu, table_bytes(kern, base, count))
    adding.low = adding.high
    wiped(cpu, base, adding.low - base)
    return direct_va(kern, base)


@kernel
def _describe(cpu: Cpu, base: int, count: int) -> int:
    """Make frames [base, base + count) a region of RAM, all free but those that are set aside: OK, or the status of
    `own_zeroed`."""
    kern = cpu.kern
    area = _area(cpu, base, count)
    if failed(area):
        return area
    _cut_off(cpu, base, count)
    region = Region(_records(cpu))
    region_add(cpu, region, base, count, RAM)
    area_use(cpu, region, area)
    first = max(base, kern.adding.end)
    list_frames(region, first, base + count - first)
    kern.coming = kern.coming - count
    kern.added = kern.added + count
    kern.returned = kern.returned + count  # somebody may have written to them
    return OK


@kernel
def _set_aside(kern: Kern, base: int) -> int:
    """Set the first frames aside of a host that has been reckoned with."""
    adding = kern.adding
    if adding.host != PAGE_SPACE:
        adding.low = base
        adding.end = base + adding.hosted + _spare(kern)
        adding.high = adding.end
    return OK


@kernel
def _mark(cpu: Cpu, base: int) -> int:
    """Mark the frames set aside that a host's structures have taken by hand (E37), and list the others: how many were
    taken."""
    kern = cpu.kern
    adding = kern.adding
    end = adding.end
    if end == 0:
        return 0
    adding.end = 0
    region = region_of(cpu, base)
    type = HEAP if has_tables(kern) != 0 else RESERVED
    for pfn in range(base, end):
        if pfn < adding.low:
            set_type(cpu, entry_of(cpu, region, pfn), type, 0)
        elif pfn >= adding.high:
            set_type(cpu, entry_of(cpu, region, pfn), MAPPING, 0)
    list_frames(region, adding.low, adding.high - adding.low)
    return end - base - (adding.high - adding.low)


@kernel
def _describe_all(cpu: Cpu) -> int:
    """Describe what `Kern.adding` has not reckoned with yet, part by part, and make the hash of the page cache anew if
    there must be a longer one. How many frames a host gave, or the status that refuses the first part."""
    kern = cpu.kern
    adding = kern.adding
    while adding.count > 0:
        count = _next_part(kern)
        status = _describe(cpu, adding.base + adding.count, count)
        if failed(status):
            return status
    at = NO_VA
    if pages_few(kern, kern.frames) != 0:
        at = own_zeroed(cpu, pages_bytes(kern, kern.frames))
    hosted = _mark(cpu, adding.base)
    if not failed(at):
        own_free(cpu, pages_move(cpu, at, kern.frames))
    return hosted


@kernel
def _add_frames(cpu: Cpu, base: int, count: int, host: int, more: int) -> int:
    """Add frames, with so many region records more than parts: OK, or why not."""
    kern = cpu.kern
    adding = kern.adding
    cache = cache_at(kern, REGION_CACHE)
    records = 0
    slabs = 0
    status = OK
    adding.parts = 1
    while status == OK and adding.parts + more > records:
        records = adding.parts + more
        slabs = slabs_lacking(cpu, cache, records)
        room = longest_growth(kern)
        status = reckon(kern, base, count, host, _kept_run(kern), room, frames_left(cpu), slabs * cache.pages)
    if status == NO_FRAMES:
        # more than there are: who does the call again because so many were had would do so for ever
        return space_short(cpu, max(slabs * cache.pages + GO_ON, frames_left(cpu) + 1))
    if status == OK:
        _set_aside(kern, base)
        status = slabs_make(cpu, cache, slabs)
    if failed(status):
        adding.end = 0
        return status
    pages = adding.pages
    cost = adding.cost
    _adding_from(kern, base, count, host, _kept_run(kern), longest_growth(kern), frames_left(cpu))
    hosted = _describe_all(cpu)
    adding.pages = pages
    adding.cost = cost
    adding.hosted = max(hosted, 0)
    if failed(hosted):
        slabs_unmake(cpu, cache, slabs)
        return hosted
    return OK


@kernel
def ram_add(cpu: Cpu, base: int, count: int, host: int) -> int:
    """Make frames [base, base + count), which came after the boot or which the loader needs no more, page space: OK.

    `host`: whose frames their structures take, PAGE_SPACE (0) or their own, ITSELF (1).

    BAD_SIZE: another host. WRAPS: they pass the physical address limit, or what a page cache with a source can name.
    OVERLAP: a region that is not the loader's has some of them. BUSY: the kernel's image or boot area lies there.
    TOO_SMALL: describing them would take as many frames as they are, or nearly. NO_VA: the heap's bound would be
    passed, or a direct map does not reach a host. Else a status of `malloc`. Then nothing has changed.
    """
    kern = cpu.kern
    if host != PAGE_SPACE and host != ITSELF:
        return BAD_SIZE
    found = place_in(cpu, base, count, CARVED_MEMORY)
    if failed(found):
        return found
    if kern.pages.source != 0 and base + count >= LINKS:
        return WRAPS
    if found != 0 and _has_kernel(kern, base, count) != 0:
        return BUSY
    before = kern.free_frames + kern.page_frames
    idle = kern.idle
    kern.coming = count
    status = _add_frames(cpu, base, count, host, 1 if found != 0 else 0)
    kern.coming = 0
    trim(cpu, idle)
    if status == OK:
        bank_gains(cpu, kern.free_frames + kern.page_frames - before)
        boot_seal(kern)  # the promise, and the hash
    return status
