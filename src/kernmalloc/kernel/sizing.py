"""Sizing: what the boot will take of the heap and of memory, to the page, before it takes anything (C7, C8).

Concepts
  1. The heap's needs follow from the ranges of RAM and the profile alone, never from devices. Each structure has one
     sizing function, which stands with the code that makes the structure; here they are only added up, in the order of
     the boot. Whoever plans (`plan/`) and whoever boots (`boot`) read the same record.
  2. A heap that grows page by page takes, for `top` pages: the pages, their records, and the leaf tables that map both.
     While the boot describes memory, what is free is what was described less that; so the plan knows where a range must
     be cut because describing it whole could not be paid for.
  3. An affine heap is donated whole, in large pages: then nothing that the boot allocates takes a frame.

    heap_frames(top) = top + records(top) + slots(top) + slots(records(top))
    top = tables + regions + chunks + last words + pages + objects                  (+ spare + excess + padding, if affine)
"""

from kernmalloc.kernel.caches import (
    HEADROOM_SHIFT,
    last_pages,
    object_pages,
    objects_pages,
    objects_scale,
    object_slabs,
    slot_bytes,
)
from kernmalloc.kernel.coretable import area_pages
from kernmalloc.kernel.devices import chunk_bytes, chunks_for
from kernmalloc.kernel.heap import pages_for
from kernmalloc.kernel.kern import RAM, Kern, Plan, Stalls
from kernmalloc.kernel.kmap import slot_pages
from kernmalloc.kernel.layout import BootRange
from kernmalloc.kernel.pages import pages_bytes
from kernmalloc.kernel.regions import Region
from kernmalloc.kernel.runs import map_pages
from kernmalloc.kernel.slabs import slab_pages
from kernmalloc.kernel.threads import STALLS
from kernmalloc.lang import entry, kernel
from kernmalloc.lang.status import NO_FRAMES, NO_VA, OK, OVERLAP, TOO_SMALL, WRAPS
from kernmalloc.machine.mmu import index_bits

PLAN = Kern.offset("plan")
REGION_BYTES = Region.size
SPARE = 8  # frames that describing more takes at least: a slab of region records, a page of core table, what maps them
RANGES_SHIFT = 4  # and a frame for every 16 ranges, each of which may be one frame that pays just for its own table


@kernel
def range_at(kern, index):
    """VA of what boot was told of a range of memory."""
    return Kern(kern).ranges + (index << 5)


@kernel
def _slots(kern, pages):
    """Leaf tables that map so many pages from the start of a slot on."""
    return (pages + slot_pages(kern) - 1) >> index_bits(Kern(kern).arch)


@kernel
def heap_frames(kern, top):
    """Frames of a heap that has grown to `top` pages and has all of them: pages, records, leaf tables."""
    records = map_pages(kern, top)
    return top + records + _slots(kern, top) + _slots(kern, records)


@entry
def area_cost(kern, top, base, count):
    """Frames that describing frames [base, base + count) takes when the heap has `top` pages; for the first region, E35."""
    return heap_frames(kern, top + area_pages(kern, base, count)) - heap_frames(kern, top)


@kernel
def affordable(kern, top, left, base, count):
    """How many of the last frames of [base, base + count) can be described with `left` free frames."""
    if area_cost(kern, top, base, count) <= left:
        return count
    most = 0
    step = 1 << 40
    while step > 0:
        n = most + step
        if n < count:
            if area_cost(kern, top, base + count - n, n) <= left:
                most = n
        step = step >> 1
    return most


@kernel
def _ranges_ok(kern):
    """OK if the ranges ascend without overlap, below the address limit; BAD_BOOT's reasons otherwise: OVERLAP, WRAPS."""
    k = Kern(kern)
    end = 0
    for i in range(k.range_count):
        r = BootRange(range_at(kern, i))
        if r.base < 0 or r.count < 0 or r.count > k.max_pfn or r.base > k.max_pfn - r.count:
            return WRAPS
        if r.base < end:
            return OVERLAP
        end = r.base + r.count
    return OK


@kernel
def _donor(kern, spare):
    """The highest range of RAM that can hold its own core table and has `spare` frames left (E33). NO_VA, TOO_SMALL."""
    k = Kern(kern)
    for i in range(k.range_count - 1, -1, -1):
        r = BootRange(range_at(kern, i))
        if r.kind == RAM and r.count > 0:
            if area_pages(kern, r.base, r.count) > k.heap_pages:
                return NO_VA
            if area_cost(kern, 0, r.base, r.count) + spare <= r.count:
                return i
    return TOO_SMALL


@kernel
def block_in(kern, base, count, frames):
    """The highest pfn where `frames` fit into a range at a multiple of a large page; -1 if they do not."""
    if frames > count:
        return -1
    pfn = (base + count - frames) & -slot_pages(kern)
    return pfn if pfn >= base else -1


@kernel
def _block_donor(kern, frames):
    """The highest range of RAM that holds so many contiguous frames at a multiple of a large page. TOO_SMALL."""
    for i in range(Kern(kern).range_count - 1, -1, -1):
        r = BootRange(range_at(kern, i))
        if r.kind == RAM and block_in(kern, r.base, r.count, frames) >= 0:
            return i
    return TOO_SMALL


@kernel
def _region_slab(kern, number):
    """Heap pages that record number `number` of a region takes: a slab's, if it is the first in it."""
    shift = Kern(kern).page_shift
    bytes = slot_bytes(REGION_BYTES)
    first = object_slabs(shift, REGION_BYTES, number) != object_slabs(shift, REGION_BYTES, number - 1)
    return slab_pages(bytes, shift) if first else 0


@kernel
def _plan_growing(kern):
    """Plan the description of all ranges by a heap that grows page by page, cutting ranges as the boot does."""
    k = Kern(kern)
    p = Plan(kern + PLAN)
    donor = _donor(kern, SPARE + (k.range_count >> RANGES_SHIFT))
    if donor == TOO_SMALL:
        donor = _donor(kern, 0)
    if donor < 0:
        return donor
    r = BootRange(range_at(kern, donor))
    p.donor = donor
    p.tables = area_pages(kern, r.base, r.count)
    p.donation = heap_frames(kern, p.tables)
    p.donation_maps = p.donation - p.tables - map_pages(kern, p.tables)
    p.frames = r.count
    records = 0
    top = p.tables
    for i in range(k.range_count - 1, -1, -1):
        r = BootRange(range_at(kern, i))
        left = r.count if i != donor else 0
        while left > 0:
            records += 1
            slab = _region_slab(kern, records)
            p.regions = p.regions + slab
            top += slab
            if heap_frames(kern, top) > p.frames:
                return NO_FRAMES
            count = left
            if r.kind == RAM:
                count = affordable(kern, top, p.frames - heap_frames(kern, top), r.base, left)
                if count <= 0:
                    return NO_FRAMES
                pages = area_pages(kern, r.base + left - count, count)
                p.tables = p.tables + pages
                p.frames = p.frames + count
                top += pages
            if top > k.heap_pages:
                return NO_VA
            left -= count
    p.records = records
    return OK


@kernel
def _plan_affine(kern):
    """Plan the description of all ranges out of a heap that has all its pages from the start."""
    k = Kern(kern)
    p = Plan(kern + PLAN)
    records = 0
    for i in range(k.range_count):
        r = BootRange(range_at(kern, i))
        if r.count > 0:
            records += 1
            if r.kind == RAM:
                p.tables = p.tables + area_pages(kern, r.base, r.count)
                p.frames = p.frames + r.count
    p.records = records - 1  # the donor's lies in the boot area
    p.regions = object_pages(k.page_shift, REGION_BYTES, p.records)
    return OK


@kernel
def _last_words(kern):
    """Heap pages of all that is kept for last words (C22)."""
    k = Kern(kern)
    return (
        object_pages(k.page_shift, chunk_bytes(kern), chunks_for(k.last_frames))
        + object_pages(k.page_shift, REGION_BYTES, k.last_ranges)
        + object_pages(k.page_shift, 1 << k.page_shift, k.last_maps)
        + last_pages(kern)
    )


@kernel
def _plan_objects(kern):
    """Plan what is allocated once all memory is described: entry chunks, last words, objects."""
    k = Kern(kern)
    p = Plan(kern + PLAN)
    records = p.records + k.device_ranges
    slabs = object_slabs(k.page_shift, REGION_BYTES, records) - object_slabs(k.page_shift, REGION_BYTES, p.records)
    p.regions = p.regions + slabs * slab_pages(slot_bytes(REGION_BYTES), k.page_shift)
    p.chunks = object_pages(k.page_shift, chunk_bytes(kern), chunks_for(k.device_pages))
    p.last_words = _last_words(kern)
    p.pages = pages_for(kern, pages_bytes(p.frames))
    top = p.tables + p.regions + p.chunks + p.last_words + p.pages
    room = k.heap_pages - top - k.excess - k.spare - k.growable
    room -= room >> HEADROOM_SHIFT
    if k.static != 0:
        room = min(room, (p.frames - heap_frames(kern, top)) >> 1)
    p.scale = objects_scale(kern, room)
    if p.scale < 0:
        return NO_VA
    if k.static != 0:
        p.objects = objects_pages(kern, p.scale)
    p.top = top + p.objects
    return OK


@kernel
def _plan_fixed(kern):
    """Round an affine heap up to whole large pages, and find the range that can give it."""
    k = Kern(kern)
    p = Plan(kern + PLAN)
    p.excess = k.excess
    p.spare = k.spare
    used = p.top + p.spare + p.excess
    p.top = _slots(kern, used) * slot_pages(kern)
    p.padding = p.top - used
    if p.top > k.heap_pages:
        return NO_VA
    records = map_pages(kern, p.top)
    p.donation_maps = _slots(kern, records)
    p.donation = p.top + records + p.donation_maps
    p.donor = _block_donor(kern, p.donation)
    return p.donor


@kernel
def _boot_frames(kern):
    """Frames that the heap has when the boot is over."""
    return Plan(kern + PLAN).donation if Kern(kern).affine != 0 else heap_frames(kern, Plan(kern + PLAN).top)


@entry
def plan(kern):
    """Fill the kernel's `Plan`: OK, or the status that refuses this machine. Changes nothing else."""
    p = Plan(kern + PLAN)
    status = _ranges_ok(kern)
    if status == OK:
        status = _plan_affine(kern) if Kern(kern).affine != 0 else _plan_growing(kern)
    if status == OK:
        status = _plan_objects(kern)
    if status == OK and Kern(kern).affine != 0:
        status = _plan_fixed(kern)
    if status >= 0 and p.frames - _boot_frames(kern) < Stalls(kern + STALLS).reserve:
        status = NO_FRAMES
    p.status = min(status, OK)
    return p.status
