"""Sizing: what the boot will take of the heap and of memory, to the page, before it takes anything (C7, C8).

Concepts
  1. The heap's needs follow from the ranges of RAM and the profile alone, never from devices. Each structure has one
     sizing function, which stands with the code that makes the structure. Here they are only added up, in the order of
     the boot. Whoever plans (`plan/`) and whoever boots (`steps`) read the same record.
  2. A heap that grows page by page takes, for `top` pages: the pages, their records, and the leaf tables that map both.
     While the boot describes memory, what is free is what was described less that. So the plan knows where a range must
     be cut because describing it whole could not be paid for.
  3. An affine heap is donated whole, in large pages: then nothing that the boot allocates takes a frame.
  4. The heap of a direct map is affine by its nature, whatever its strategy: what the boot allocates is donated. With
     it comes a heap map for all pages that there may ever be, as it cannot be made longer later. The donation is placed
     so that the heap can grow behind it.

    heap_frames(top) = top + records(top) + spans(top) + spans(records(top))
    top = tables + regions + chunks + last words + pages + objects
          + headroom + excess + padding, if affine
"""

from __future__ import annotations

from kernmalloc.kernel.boot.config import BootRange, ranges_ok
from kernmalloc.kernel.boot.coretable import area_pages
from kernmalloc.kernel.core.kern import ABSENT, RAM, Kern
from kernmalloc.kernel.core.modes import has_heap, has_tables
from kernmalloc.kernel.devices import chunk_bytes, chunks_for
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.caches import (
    HEADROOM_SHIFT,
    WHOLE,
    last_pages,
    object_pages,
    object_slabs,
    objects_pages,
    objects_scale,
    slot_bytes,
)
from kernmalloc.kernel.heap.malloc import pages_for
from kernmalloc.kernel.heap.runs import map_pages, record_pages
from kernmalloc.kernel.heap.slabs import slab_pages
from kernmalloc.kernel.map.direct import direct_end, direct_va
from kernmalloc.kernel.map.kmap import span_pages
from kernmalloc.kernel.map.windows import shown_end
from kernmalloc.kernel.pages.pages import pages_bytes
from kernmalloc.lang import Record, element, entry, failed, field, i64, kernel
from kernmalloc.lang.status import NO_FRAMES, NO_VA, OK, TOO_SMALL

GO_ON = 8  # frames that describing more takes at least: a slab of region records, a page of core table, what maps them
RANGES_SHIFT = 4  # and a frame for every 16 ranges, each of which may be one frame that pays just for its own table
MOST_SHIFT = 40  # log2 of more frames than a range has


class Plan(Record):
    """What the boot will take, computed before anything is allocated (C7, C8): heap pages, unless it says otherwise."""

    status: i64 = field("OK, or the status that refuses the machine")
    donor: i64 = field("the range of memory that gives the donation")
    donation: i64 = field("frames of the donation")
    first: i64 = field("the first of them")
    map: i64 = field("of those of an affine heap, for the heap map, a number")
    donation_maps: i64 = field("of those, for mapping tables")
    frames: i64 = field("frames of RAM that will be described")
    tables: i64 = field("core tables, identities and bitmaps")
    records: i64 = field("region records of RAM and firmware, a number")
    regions: i64 = field("slabs of region records, those for device ranges included")
    objects: i64 = field("slabs of objects that are allocated at boot")
    chunks: i64 = field("slabs of entry chunks for device frames")
    last_words: i64 = field("slabs that only last words may use")
    pages: i64 = field("the hash of the page cache")
    headroom: i64 = field("kept free for malloc after boot")
    excess: i64 = field("reserved for `release` to give back")
    padding: i64 = field("up to a whole large page")
    top: i64 = field("all of the above")
    scale: i64 = field("share of the wanted objects that the window holds, in 1/65536")


@kernel
def range_at(kern: Kern, index: int) -> BootRange:
    """What boot was told of a range of memory."""
    return element(kern.ranges, index)


@kernel
def _spans(kern: Kern, pages: int) -> int:
    """Spans that so many pages take from the start of one on: each has a leaf table, or is one large page."""
    return (pages + span_pages(kern) - 1) >> kern.format.index_bits


@kernel
def _leaf_tables(kern: Kern, pages: int) -> int:
    """Leaf tables that map so many pages from the start of a span on."""
    return _spans(kern, pages) if has_tables(kern) != 0 else 0


@kernel
def heap_frames(kern: Kern, top: int) -> int:
    """Frames of a heap that has grown to `top` pages and has all of them: pages, records, leaf tables."""
    records = map_pages(kern, top)
    return top + records + _leaf_tables(kern, top) + _leaf_tables(kern, records)


@entry
def area_cost(kern: Kern, top: int, base: int, count: int) -> int:
    """Frames that it takes to describe frames [base, base + count) when the heap has `top` pages (E35)."""
    return heap_frames(kern, top + area_pages(kern, base, count)) - heap_frames(kern, top)


@kernel
def affordable(kern: Kern, top: int, left: int, base: int, count: int) -> int:
    """How many of the last frames of [base, base + count) can be described with `left` free frames."""
    if area_cost(kern, top, base, count) <= left:
        return count
    most = 0
    step = 1 << MOST_SHIFT
    while step > 0:
        n = most + step
        if n < count:
            if area_cost(kern, top, base + count - n, n) <= left:
                most = n
        step = step >> 1
    return most


@kernel
def _donor(kern: Kern, left: int) -> int:
    """The number of the highest range of RAM that can hold its own core table and has `left` frames left (E33).

    NO_VA: its table exceeds the heap's bound. TOO_SMALL: no range can.
    """
    for i in range(kern.range_count - 1, -1, -1):
        range_ = range_at(kern, i)
        if range_.kind == RAM and range_.count > 0:
            if area_pages(kern, range_.base, range_.count) > kern.heap_pages:
                return NO_VA
            if area_cost(kern, 0, range_.base, range_.count) + left <= range_.count:
                return i
    return TOO_SMALL


@kernel
def block_in(kern: Kern, base: int, count: int, frames: int) -> int:
    """The highest pfn where `frames` fit into a range at a multiple of a large page; ABSENT if they do not. They lie
    where windows can show them, and not at address 0."""
    least = max(base, 1) if kern.base == 0 else base
    pfn = (min(base + count, shown_end(kern)) - frames) & -span_pages(kern)
    return pfn if pfn >= least else ABSENT


@kernel
def _block_donor(kern: Kern, frames: int) -> int:
    """The number of the highest range of RAM that holds so many frames in one piece, at a large page. TOO_SMALL."""
    for i in range(kern.range_count - 1, -1, -1):
        range_ = range_at(kern, i)
        if range_.kind == RAM and block_in(kern, range_.base, range_.count, frames) != ABSENT:
            return i
    return TOO_SMALL


@kernel
def _growth(kern: Kern) -> int:
    """Pages by which the heap of a direct map may grow: no more than there are frames, and than the map reaches."""
    return min(min(kern.growable, kern.plan.frames), direct_end(kern))


@kernel
def heap_at(kern: Kern) -> int:
    """VA of heap page 0: in a direct map, behind the heap map in the donation."""
    return kern.heap if has_tables(kern) != 0 else direct_va(kern, kern.plan.first + kern.plan.map)


@kernel
def heap_bound(kern: Kern) -> int:
    """The most pages that the heap may have, once it is planned (C1)."""
    planned = kern.plan
    if has_tables(kern) == 0:
        return min(planned.top + _growth(kern), direct_end(kern) - planned.first - planned.map)
    return min(kern.heap_pages, planned.top + kern.growable) if kern.affine != 0 else kern.heap_pages


@kernel
def _place(kern: Kern) -> int:
    """Place the donation of an affine heap as high as it can lie: OK, or TOO_SMALL.

    In a direct map the heap's growth shall lie behind it in the same range. Where no range holds both, it is placed as
    low as it can lie in the range that has the most room for it, the lowest of them."""
    planned = kern.plan
    behind = _growth(kern) if has_tables(kern) == 0 else 0
    donor = _block_donor(kern, planned.donation + behind)
    if donor == TOO_SMALL and behind > 0:
        behind = 0
        for i in range(kern.range_count):
            range_ = range_at(kern, i)
            pfn = block_in(kern, range_.base, range_.count, planned.donation)
            if range_.kind == RAM and pfn != ABSENT and (failed(donor) or pfn - range_.base > behind):
                behind = pfn - range_.base
                donor = i
        behind = behind & -span_pages(kern)
    if failed(donor):
        return donor
    planned.donor = donor
    range_ = range_at(kern, donor)
    planned.first = block_in(kern, range_.base, range_.count, planned.donation + behind)
    return OK


@kernel
def _region_slab(kern: Kern, number: int) -> int:
    """Heap pages that region record `number`, counted from 1, takes: those of a slab, if it is the first in it."""
    shift = kern.page_shift
    bytes = slot_bytes(Region.size)
    first = object_slabs(shift, Region.size, number) != object_slabs(shift, Region.size, number - 1)
    return slab_pages(bytes, shift) if first else 0


@kernel
def _plan_growing(kern: Kern) -> int:
    """Plan the description of all ranges by a heap that grows page by page, cutting ranges as the boot does."""
    planned = kern.plan
    donor = _donor(kern, GO_ON + (kern.range_count >> RANGES_SHIFT))
    if donor == TOO_SMALL:
        donor = _donor(kern, 0)
    if failed(donor):
        return donor
    range_ = range_at(kern, donor)
    planned.donor = donor
    planned.tables = area_pages(kern, range_.base, range_.count)
    planned.donation = heap_frames(kern, planned.tables)
    planned.donation_maps = planned.donation - planned.tables - map_pages(kern, planned.tables)
    planned.first = max(block_in(kern, range_.base, range_.count, planned.donation), range_.base)
    planned.frames = range_.count
    records = 0
    top = planned.tables
    for i in range(kern.range_count - 1, -1, -1):
        range_ = range_at(kern, i)
        left = range_.count if i != donor else 0
        while left > 0:
            records += 1
            slab = _region_slab(kern, records)
            planned.regions = planned.regions + slab
            top += slab
            if heap_frames(kern, top) > planned.frames:
                return NO_FRAMES
            count = left
            if range_.kind == RAM:
                count = affordable(kern, top, planned.frames - heap_frames(kern, top), range_.base, left)
                if count <= 0:
                    return NO_FRAMES
                pages = area_pages(kern, range_.base + left - count, count)
                planned.tables = planned.tables + pages
                planned.frames = planned.frames + count
                top += pages
            if top > kern.heap_pages:
                return NO_VA
            left -= count
    planned.records = records
    return OK


@kernel
def _plan_affine(kern: Kern) -> int:
    """Plan the description of all ranges out of a heap that has all its pages from the start."""
    planned = kern.plan
    records = 0
    for i in range(kern.range_count):
        range_ = range_at(kern, i)
        if range_.count > 0:
            records += 1
            if range_.kind == RAM:
                planned.tables = planned.tables + area_pages(kern, range_.base, range_.count)
                planned.frames = planned.frames + range_.count
    planned.records = records - 1  # the donor's lies in the boot area
    planned.regions = object_pages(kern.page_shift, Region.size, planned.records)
    return OK


@kernel
def _last_words(kern: Kern) -> int:
    """Heap pages of all that is kept for last words (C22)."""
    return (
        object_pages(kern.page_shift, chunk_bytes(kern), chunks_for(kern.last_frames))
        + object_pages(kern.page_shift, Region.size, kern.last_ranges)
        + object_pages(kern.page_shift, 1 << kern.page_shift, kern.last_maps)
        + last_pages(kern)
    )


@kernel
def _plan_objects(kern: Kern) -> int:
    """Plan what is allocated once all memory is described: entry chunks, last words, objects."""
    planned = kern.plan
    records = planned.records + kern.device_ranges
    more = object_pages(kern.page_shift, Region.size, records)
    planned.regions = planned.regions + more - object_pages(kern.page_shift, Region.size, planned.records)
    planned.chunks = object_pages(kern.page_shift, chunk_bytes(kern), chunks_for(kern.device_pages))
    planned.last_words = _last_words(kern)
    planned.pages = pages_for(kern, pages_bytes(kern, planned.frames))
    top = planned.tables + planned.regions + planned.chunks + planned.last_words + planned.pages
    room = kern.heap_pages - top - kern.excess - kern.headroom - kern.growable
    room -= room >> HEADROOM_SHIFT
    if kern.static == 0 and kern.affine != 0:
        room = _growth(kern)
    if kern.static != 0:
        room = min(room, (planned.frames - heap_frames(kern, top)) >> 1)  # objects leave half of the free frames
    planned.scale = objects_scale(kern, room)
    if planned.scale < 0:
        return NO_VA
    if kern.static != 0:
        planned.objects = objects_pages(kern, planned.scale)
    planned.top = top + planned.objects
    return OK


@kernel
def _plan_fixed(kern: Kern) -> int:
    """Round an affine heap up to whole large pages, and find the range that can give it."""
    planned = kern.plan
    planned.excess = kern.excess
    planned.headroom = kern.headroom
    used = planned.top + planned.headroom + planned.excess
    planned.top = _spans(kern, used) * span_pages(kern)
    planned.padding = planned.top - used
    if planned.top > kern.heap_pages:
        return NO_VA
    planned.map = record_pages(kern, planned.top + (_growth(kern) if has_tables(kern) == 0 else 0))
    planned.donation_maps = _leaf_tables(kern, planned.map)
    planned.donation = planned.top + planned.map + planned.donation_maps
    return _place(kern)


@kernel
def _plan_heap(kern: Kern) -> int:
    """Plan the heap: OK, or the status that refuses this machine."""
    status = _plan_affine(kern) if kern.affine != 0 else _plan_growing(kern)
    if status == OK:
        status = _plan_objects(kern)
    return _plan_fixed(kern) if status == OK and kern.affine != 0 else status


@kernel
def _boot_frames(kern: Kern) -> int:
    """Frames that the heap has when the boot is over."""
    return kern.plan.donation if kern.affine != 0 else heap_frames(kern, kern.plan.top)


@kernel
def _plan_carved(kern: Kern) -> int:
    """Plan what is carved where there is no heap: the areas of all regions, in one piece."""
    planned = kern.plan
    _plan_affine(kern)
    planned.records = 0
    planned.regions = 0
    planned.scale = WHOLE
    planned.donation = planned.tables
    return _place(kern)


@entry
def plan(kern: Kern) -> int:
    """Fill the kernel's `Plan`: OK, or the status that refuses this machine. Changes nothing else."""
    planned = kern.plan
    status = ranges_ok(kern.ranges, kern.range_count, kern.max_pfn)
    if status == OK:
        status = _plan_heap(kern) if has_heap(kern) != 0 else _plan_carved(kern)
    if status == OK and planned.frames - _boot_frames(kern) < kern.stalls.reserve:
        status = NO_FRAMES
    planned.status = status
    return status
