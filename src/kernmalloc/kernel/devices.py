"""Devices: ranges of device memory that appear after boot, and the page structures for them (E5 to E7, C10, C15).

Concepts
  1. A published range is a region (E6). It costs its record, and the core table entries that its publication
     guarantees. The kernel maps nothing of it (E11).
  2. The entries of 32 frames are a chunk. The chunks of a region hang in a tree of its own (`tree`). A frame whose
     chunk is not there has no entry, and its region speaks for it: so a range of 256 GiB is published in constant
     time and space. The first use of a frame puts its chunk into the tree, and the last takes it out.
  3. `guarantee` frames are paid for when the range is published: their chunks wait on the region's list, ready for a
     first use. When none is ready, a first use takes a chunk of the reserve, or fails before anything is mapped, and
     says so.
  4. Chunks are objects of a typed cache. Strategies with a reserve (C15) fill it at boot and never grow it; the others
     let it grow with the heap.
  5. Last words (C22) are what console and boot devices need whatever has happened. Their tier has caches of its own,
     filled at boot: region records, chunks, mapping frames (a page of the heap each: mapped, and out of page space),
     and objects as the profile says (`caches`).
  6. Firmware often reserves the addresses that a device decodes. A range inside such a region is cut out of it: each
     cut takes a record, and the middle one is the device's. Withdrawing joins what was cut.
  7. All who map a device frame must agree on how it is cached (SDM vol. 3A, 12.12.4). So the range has an attribute,
     which changes only while no frame of it is in use. Devices are uncached unless they are said to bear more; ROM
     and NVRAM may be read from the cache, and are written through it.
  8. A publication first asks for all that it takes: slabs for its records and chunks. After that nothing fails.

    ready_count + live >= guaranteed     chunks on the region's list, chunks in its tree
    used = frames of the region in use;  a chunk hangs in the tree  <=>  one of its frames is in use
    link(device frame) = entries of address spaces that map it <= pins
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import DEVICE, DEVICE_MEMORY, FREE, NVRAM, RESERVED_MEMORY, ROM, Cpu, Kern
from kernmalloc.kernel.core.tree import Node, tree_add, tree_floor, tree_remove
from kernmalloc.kernel.frames.regions import (
    Region,
    place_in,
    region_add,
    region_merge,
    region_of,
    region_remove,
    region_split,
)
from kernmalloc.kernel.frames.table import MOST_PINS, Frame
from kernmalloc.kernel.heap.caches import CHUNK_CACHE, LAST_CACHE, LAST_REGION_CACHE, REGION_CACHE
from kernmalloc.kernel.heap.magazines import slabs_lacking, slot_take
from kernmalloc.kernel.heap.malloc import own_free
from kernmalloc.kernel.heap.runs import pages_ask
from kernmalloc.kernel.heap.slabs import cache_at
from kernmalloc.kernel.heap.supply import slabs_make, slabs_unmake
from kernmalloc.lang import Record, failed, field, i64, kernel
from kernmalloc.lang.status import BAD_FRAME, BAD_SIZE, BUSY, NOT_ALLOCATED, OK
from kernmalloc.machine.mmu import UNCACHED, WRITE_THROUGH, has_attribute
from kernmalloc.machine.primitives import zero

CHUNK_SHIFT = 5
CHUNK_FRAMES = 1 << CHUNK_SHIFT

# who published a region: the tier
UNPUBLISHED = 0
ANYONE = 1
LAST_WORDS = 2  # a driver whose range must fit whatever has happened (C22)


class Chunk(Record):
    """The head of a chunk; the entries of its frames follow. It begins as a `Node` does: a tree holds it."""

    left: Chunk = field("the chunks below; on a region's list: the next one")
    right: Chunk = field("the chunks above")
    base: i64 = field("first pfn / 32")
    used: i64 = field("frames of it in use")

    invariants = ("used > 0 and used <= CHUNK_FRAMES", "used == tally.chunk_used")


@kernel
def chunk_bytes(kern: Kern) -> int:
    """Bytes of a chunk: its head and an entry per frame."""
    return Chunk.size + (kern.stride << CHUNK_SHIFT)


@kernel
def chunks_for(frames: int) -> int:
    """Chunks that so many contiguous, aligned frames need."""
    return (frames + CHUNK_FRAMES - 1) >> CHUNK_SHIFT


@kernel
def chunks_guaranteed(base: int, count: int, guarantee: int) -> int:
    """Chunks that a publication takes: those of all its frames, or those of `guarantee` aligned frames."""
    if guarantee == count:
        return ((base + count - 1) >> CHUNK_SHIFT) - (base >> CHUNK_SHIFT) + 1
    return chunks_for(guarantee)


@kernel
def chunk_cache(tier: int) -> int:
    """The cache that the chunks of a tier are objects of."""
    return LAST_CACHE if tier == LAST_WORDS else CHUNK_CACHE


@kernel
def _region_cache(tier: int) -> int:
    return LAST_REGION_CACHE if tier == LAST_WORDS else REGION_CACHE


@kernel
def _push(region: Region, chunk: Chunk) -> int:
    """Put a chunk on the list of a region."""
    chunk.left = region.ready
    region.ready = chunk
    region.ready_count = region.ready_count + 1
    return OK


@kernel
def _pop(region: Region) -> Chunk:
    """Take a chunk off the region's list; null if it is empty."""
    chunk = region.ready
    if chunk != 0:
        region.ready = chunk.left
        region.ready_count = region.ready_count - 1
    return chunk


@kernel
def _give_ready(cpu: Cpu, region: Region) -> int:
    """Give all chunks on the region's list back."""
    chunk = _pop(region)
    while chunk != 0:
        own_free(cpu, chunk.addr)
        chunk = _pop(region)
    return OK


@kernel
def cuts_for(first: int, end: int, base: int, count: int) -> int:
    """Region records that it takes to cut frames [base, base + count) out of [first, end): one per cut."""
    return (1 if base > first else 0) + (1 if base + count < end else 0)


@kernel
def _reserve(cpu: Cpu, tier: int, records: int, chunks: int) -> int:
    """Make the slabs that so many records and chunks need. LIMIT, or what `malloc` says: then none is made."""
    kern = cpu.kern
    regions = cache_at(kern, _region_cache(tier))
    entries = cache_at(kern, chunk_cache(tier))
    of_regions = slabs_lacking(cpu, regions, records)
    if failed(of_regions):
        return of_regions
    of_chunks = slabs_lacking(cpu, entries, chunks)
    if failed(of_chunks):
        return of_chunks
    status = pages_ask(cpu, of_regions * regions.pages + of_chunks * entries.pages)
    if status == OK:
        status = slabs_make(cpu, regions, of_regions)
    if failed(status):
        return status
    status = slabs_make(cpu, entries, of_chunks)
    if failed(status):
        slabs_unmake(cpu, regions, of_regions)
    return status


@kernel
def _record(cpu: Cpu, tier: int) -> Region:
    """A zeroed region record, reserved before."""
    record = slot_take(cpu, _region_cache(tier))
    zero(record, Region.size)
    return Region(record)


@kernel
def _cut_out(cpu: Cpu, around: Region, base: int, count: int, tier: int) -> Region:
    """The record of frames [base, base + count), cut out of the firmware region around them."""
    region = around
    if base > around.base:
        region = _record(cpu, tier)
        region_split(cpu, around, region, base)
    if count < region.count:
        region_split(cpu, region, _record(cpu, tier), base + count)
    return region


@kernel
def publish(cpu: Cpu, base: int, count: int, kind: int, guarantee: int, tier: int) -> int:
    """Make frames [base, base + count) a region of class `kind`: OK.

    kind is DEVICE_MEMORY, ROM or NVRAM, tier ANYONE or LAST_WORDS; the entries of `guarantee` frames are paid for.
    WRAPS: the frames pass the physical address limit. OVERLAP: a region has some of them. BAD_SIZE: there is no such
    class or tier, or guarantee is not 0 to count. LIMIT: the reserve is used up. Else a status of `malloc`. Then
    nothing has changed.
    """
    found = place_in(cpu, base, count, RESERVED_MEMORY)
    if failed(found):
        return found
    around = Region(found)
    if kind != DEVICE_MEMORY and kind != ROM and kind != NVRAM:
        return BAD_SIZE
    if guarantee < 0 or guarantee > count or tier < ANYONE or tier > LAST_WORDS:
        return BAD_SIZE
    chunks = chunks_guaranteed(base, count, guarantee)
    records = 1
    if around != 0:
        records = cuts_for(around.base, around.base + around.count, base, count)
    status = _reserve(cpu, tier, records, chunks)
    if failed(status):
        return status
    if around == 0:
        region = _record(cpu, tier)
        region_add(cpu, region, base, count, kind)
    else:
        region = _cut_out(cpu, around, base, count, tier)
    region.under = RESERVED_MEMORY if around != 0 else 0
    region.kind = kind
    region.tier = tier
    region.attribute = UNCACHED if kind == DEVICE_MEMORY else WRITE_THROUGH
    region.guaranteed = chunks
    for i in range(chunks):
        _push(region, Chunk(slot_take(cpu, chunk_cache(tier))))
    kern = cpu.kern
    kern.device_count = kern.device_count + count
    return OK


@kernel
def _rejoin(cpu: Cpu, region: Region) -> int:
    """Make a withdrawn range firmware's again, and join it with its neighbours that it was cut from and that nobody
    has published."""
    region.kind = region.under
    region.under = 0
    region.tier = UNPUBLISHED
    region.attribute = 0
    region.guaranteed = 0
    above = region_merge(cpu, region)
    if above != 0:
        own_free(cpu, above.addr)
    if region.cut != 0:
        if region_merge(cpu, Region(tree_floor(cpu.kern.regions, region.base - 1).addr)) != 0:
            own_free(cpu, region.addr)
    return OK


@kernel
def device_region(cpu: Cpu, pfn: int) -> Region:
    """The published region that holds a frame; null if there is none."""
    region = region_of(cpu, pfn)
    if region == 0:
        return Region(0)
    return region if region.tier != UNPUBLISHED else Region(0)


@kernel
def withdraw(cpu: Cpu, base: int) -> int:
    """Take away the published range that starts at frame `base`: OK.

    BAD_FRAME: none starts there. BUSY: frames of it are in use.
    """
    region = device_region(cpu, base)
    if region == 0:
        return BAD_FRAME
    if region.base != base:
        return BAD_FRAME
    if region.used > 0:
        return BUSY
    kern = cpu.kern
    kern.device_count = kern.device_count - region.count
    _give_ready(cpu, region)
    if region.under != 0:
        return _rejoin(cpu, region)
    region_remove(cpu, region)
    return own_free(cpu, region.addr)


@kernel
def _chunk_of(region: Region, pfn: int) -> Chunk:
    """The chunk that holds a frame's entry; null if there is none."""
    node = tree_floor(region.chunks, pfn >> CHUNK_SHIFT)
    if node == 0:
        return Chunk(0)
    return Chunk(node.addr if node.base == pfn >> CHUNK_SHIFT else 0)


@kernel
def entry_in(kern: Kern, chunk: Chunk, pfn: int) -> Frame:
    """The entry of a frame in its chunk."""
    return Frame(chunk.addr + Chunk.size + (pfn & (CHUNK_FRAMES - 1)) * kern.stride)


@kernel
def _materialise(cpu: Cpu, region: Region, pfn: int) -> int:
    """Put a chunk into the tree for a frame that has none: one that is ready, or one of the reserve. Its VA, or what
    `slot_take` says."""
    chunk = _pop(region)
    if chunk == 0:
        taken = slot_take(cpu, chunk_cache(region.tier))
        if failed(taken):
            return taken
        chunk = Chunk(taken)
    zero(chunk.addr, chunk_bytes(cpu.kern))
    chunk.base = pfn >> CHUNK_SHIFT
    tree_add(region.chunks, Node(chunk.addr))
    region.live = region.live + 1
    return chunk.addr


@kernel
def device_get(cpu: Cpu, pfn: int) -> int:
    """Hold device frame `pfn` in place, as whoever maps it must: OK.

    BAD_FRAME: no published range has it. BUSY: it is held 65535 times. LIMIT: the reserve of entries is used up. Else a
    status of `malloc`. Then nothing has changed.
    """
    region = device_region(cpu, pfn)
    if region == 0:
        return BAD_FRAME
    chunk = _chunk_of(region, pfn)
    if chunk == 0:
        made = _materialise(cpu, region, pfn)
        if failed(made):
            return made
        chunk = Chunk(made)
    kern = cpu.kern
    frame = entry_in(kern, chunk, pfn)
    if frame.pins == MOST_PINS:
        return BUSY
    if frame.type == FREE:
        frame.type = DEVICE
        chunk.used = chunk.used + 1
        region.used = region.used + 1
        kern.device_frames = kern.device_frames + 1
    frame.pins = frame.pins + 1
    return OK


@kernel
def device_put(cpu: Cpu, pfn: int) -> int:
    """Let device frame `pfn` go, which `device_get` held: OK.

    BAD_FRAME: no published range has it. NOT_ALLOCATED: it is not held, but by address spaces that map it.
    """
    region = device_region(cpu, pfn)
    if region == 0:
        return BAD_FRAME
    chunk = _chunk_of(region, pfn)
    if chunk == 0:
        return NOT_ALLOCATED
    kern = cpu.kern
    frame = entry_in(kern, chunk, pfn)
    if frame.pins == frame.link:
        return NOT_ALLOCATED
    frame.pins = frame.pins - 1
    if frame.pins > 0:
        return OK
    frame.type = FREE
    region.used = region.used - 1
    kern.device_frames = kern.device_frames - 1
    chunk.used = chunk.used - 1
    if chunk.used > 0:
        return OK
    tree_remove(region.chunks, Node(chunk.addr))
    region.live = region.live - 1
    if region.live + region.ready_count < region.guaranteed:
        return _push(region, chunk)
    return own_free(cpu, chunk.addr)


@kernel
def device_unmap(cpu: Cpu, pfn: int, count: int) -> int:
    """Let device frames [pfn, pfn + count) go, each of which an address space mapped."""
    region = device_region(cpu, pfn)
    for at in range(pfn, pfn + count):
        frame = entry_in(cpu.kern, _chunk_of(region, at), at)
        frame.link = frame.link - 1
        device_put(cpu, at)
    return OK


@kernel
def device_map(cpu: Cpu, pfn: int, count: int) -> int:
    """Hold device frames [pfn, pfn + count), each for an address space that maps it: OK.

    BAD_FRAME: no published range has them all. Else a status of `device_get`. Then nothing has changed.
    """
    region = device_region(cpu, pfn)
    if region == 0:
        return BAD_FRAME
    if count > region.base + region.count - pfn:
        return BAD_FRAME
    for at in range(pfn, pfn + count):
        status = device_get(cpu, at)
        if failed(status):
            device_unmap(cpu, pfn, at - pfn)
            return status
        frame = entry_in(cpu.kern, _chunk_of(region, at), at)
        frame.link = frame.link + 1
    return OK


@kernel
def device_attribute(cpu: Cpu, pfn: int) -> int:
    """How a leaf entry that maps device frame `pfn` must cache it: WRITE_BACK to WRITE_COMBINING.

    BAD_FRAME: no published range has it.
    """
    region = device_region(cpu, pfn)
    return region.attribute if region != 0 else BAD_FRAME


@kernel
def device_cache(cpu: Cpu, base: int, attribute: int) -> int:
    """Let the pages of the published range that starts at frame `base` be cached as `attribute` says: OK.

    BAD_FRAME: none starts there. BAD_SIZE: this architecture has no such attribute. BUSY: frames of it are in use.
    """
    region = device_region(cpu, base)
    if region == 0:
        return BAD_FRAME
    if region.base != base:
        return BAD_FRAME
    if has_attribute(cpu.kern.format, attribute) == 0:
        return BAD_SIZE
    if region.used > 0:
        return BUSY
    region.attribute = attribute
    return OK


@kernel
def device_used(cpu: Cpu, base: int) -> int:
    """Frames in use of the published range that starts at frame `base`. BAD_FRAME: none starts there."""
    region = device_region(cpu, base)
    if region == 0:
        return BAD_FRAME
    return region.used if region.base == base else BAD_FRAME
