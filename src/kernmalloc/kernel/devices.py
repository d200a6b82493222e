"""Devices: ranges of device memory that appear after boot, and the page structures for them (E5 to E7, C10, C15).

Concepts
  1. A published range is a region (E6). It costs its record and the entries that its publication guarantees; the kernel
     maps nothing of it (E11).
  2. Entries come in chunks of 32 frames, which hang in a tree of the region's own (`tree`). A frame without a chunk has
     no entry of its own: its region speaks for it, so that a range of 256 GiB can be published in constant time and
     space. The first use of a frame gives its chunk a place in the tree; the last drops it again.
  3. `guarantee` frames are paid for when the range is published: their chunks wait on the region's list. Beyond that a
     first use takes a chunk from what is left of the reserve, or fails before anything is mapped, and says so.
  4. Chunks are objects of a typed cache. Strategies with a reserve (C15) fill it at boot and never grow it; the others
     let it grow with the heap.
  5. Last words (C22) are a tier of caches filled at boot, which only console and boot devices use: region records, chunks,
     mapping frames (a page of the heap each: mapped, and out of page space), and objects as the profile says (`caches`).
     What may be had of anything else does not matter to them.
  6. Firmware often reserves the addresses that a device decodes. A range inside such a region is cut out of it: a record
     for every cut, and the middle one is the device's. Withdrawing joins what was cut.

  7. All who map a device frame must agree on how it is cached (SDM vol. 3A, 12.12.4): so that is said of the range, and
     changed only while no frame of it is in use. Devices are uncached unless they are said to bear more; ROM and NVRAM may be
     read from the cache, and are written through it.

All that a publication takes is asked for first: slabs for its records and chunks. After that nothing fails.

    spare_count + live >= guaranteed     chunks on the region's list, chunks in its tree
    used    = frames of the region in use,  a chunk hangs in the tree  <=>  one of its frames is in use
"""

from kernmalloc.kernel.caches import CHUNK_CACHE, LAST_CACHE, LAST_REGION_CACHE, REGION_CACHE
from kernmalloc.kernel.frames import Frame
from kernmalloc.kernel.heap import free
from kernmalloc.kernel.kern import DEVICE, DEVICE_MEMORY, FREE, NVRAM, RESERVED_MEMORY, ROM, Cpu, Kern
from kernmalloc.kernel.regions import (
    ROOT,
    Region,
    next_region,
    range_ok,
    region_add,
    region_merge,
    region_of,
    region_remove,
    region_split,
)
from kernmalloc.kernel.runs import pages_ask
from kernmalloc.kernel.magazines import slabs_lacking, slot_take
from kernmalloc.kernel.slabs import Cache, cache_at, slabs_make, slabs_unmake
from kernmalloc.kernel.tree import tree_add, tree_floor, tree_remove
from kernmalloc.lang import i64, kernel, record
from kernmalloc.lang.status import BAD_FRAME, BAD_SIZE, BUSY, NOT_ALLOCATED, OK, OVERLAP
from kernmalloc.machine.mmu import UNCACHED, WRITE_THROUGH, has_attribute
from kernmalloc.machine.primitives import zero

CHUNK_SHIFT = 5
CHUNK_FRAMES = 1 << CHUNK_SHIFT

UNPUBLISHED = 0  # who published a region: nobody, any driver, or one whose range must fit whatever happened (C22)
ANYONE = 1
LAST_WORDS = 2


@record(size=32)
class Chunk:
    """The entries of 32 aligned device frames; they follow this head."""

    left: i64 = "VA of the chunks below; on a region's list: of the next one"
    right: i64 = "VA of the chunks above"
    base: i64 = "first pfn / 32"
    used: i64 = "frames of it in use"

    invariants = ("used > 0 and used <= CHUNK_FRAMES", "used == tally.chunk_used")


CHUNK_HEAD = Chunk.size
CHUNKS = Region.offset("chunks")
REGION_BYTES = Region.size


@kernel
def chunk_bytes(kern):
    """Bytes of a chunk: its head and an entry per frame."""
    return CHUNK_HEAD + (Kern(kern).stride << CHUNK_SHIFT)


@kernel
def chunks_for(frames):
    """Chunks that so many contiguous, aligned frames need."""
    return (frames + CHUNK_FRAMES - 1) >> CHUNK_SHIFT


@kernel
def chunks_guaranteed(base, count, guarantee):
    """Chunks that a publication takes: those of every frame if all are guaranteed, else for `guarantee` aligned ones."""
    if guarantee == count:
        return ((base + count - 1) >> CHUNK_SHIFT) - (base >> CHUNK_SHIFT) + 1
    return chunks_for(guarantee)


@kernel
def _chunk_cache(tier):
    return LAST_CACHE if tier == LAST_WORDS else CHUNK_CACHE


@kernel
def _region_cache(tier):
    return LAST_REGION_CACHE if tier == LAST_WORDS else REGION_CACHE


@kernel
def _push(region, chunk):
    """Put a chunk on the region's list."""
    r = Region(region)
    Chunk(chunk).left = r.spare
    r.spare = chunk
    r.spare_count = r.spare_count + 1
    return OK


@kernel
def _pop(region):
    """Take a chunk off the region's list; 0 if it is empty."""
    r = Region(region)
    chunk = r.spare
    if chunk != 0:
        r.spare = Chunk(chunk).left
        r.spare_count = r.spare_count - 1
    return chunk


@kernel
def _give_spares(cpu, region):
    """Give all chunks on the region's list back."""
    chunk = _pop(region)
    while chunk != 0:
        free(cpu, chunk)
        chunk = _pop(region)
    return OK


@kernel
def _place(cpu, base, count):
    """The firmware region that frames [base, base + count) lie in, 0 if they lie in none. WRAPS, OVERLAP otherwise."""
    status = range_ok(cpu, base, count)
    if status != OVERLAP:
        return status
    around = next_region(cpu, base)
    r = Region(around)
    if r.kind != RESERVED_MEMORY or base < r.base or base + count > r.base + r.count:
        return OVERLAP
    return around


@kernel
def cuts_for(first, end, base, count):
    """Region records that it takes to cut frames [base, base + count) out of [first, end): one per cut."""
    return (1 if base > first else 0) + (1 if base + count < end else 0)


@kernel
def _reserve(cpu, tier, records, chunks):
    """Make the slabs that so many records and chunks need. LIMIT, or as `malloc`: then none is made."""
    kern = Cpu(cpu).kern
    regions = cache_at(kern, _region_cache(tier))
    entries = cache_at(kern, _chunk_cache(tier))
    of_regions = slabs_lacking(cpu, regions, records)
    if of_regions < 0:
        return of_regions
    of_chunks = slabs_lacking(cpu, entries, chunks)
    if of_chunks < 0:
        return of_chunks
    status = pages_ask(cpu, of_regions * Cache(regions).pages + of_chunks * Cache(entries).pages)
    if status == OK:
        status = slabs_make(cpu, regions, of_regions)
    if status < 0:
        return status
    status = slabs_make(cpu, entries, of_chunks)
    if status < 0:
        slabs_unmake(cpu, regions, of_regions)
    return status


@kernel
def _record(cpu, tier):
    """A zeroed region record, reserved before."""
    region = slot_take(cpu, _region_cache(tier))
    zero(region, REGION_BYTES)
    return region


@kernel
def _cut_out(cpu, around, base, count, tier):
    """The record of frames [base, base + count), cut out of the firmware region around them."""
    region = around
    if base > Region(around).base:
        region = _record(cpu, tier)
        region_split(cpu, around, region, base)
    if count < Region(region).count:
        region_split(cpu, region, _record(cpu, tier), base + count)
    return region


@kernel
def publish(cpu, base, count, kind, guarantee, tier):
    """Make frames [base, base + count) a region of class `kind`, the entries of `guarantee` of them paid for.

    WRAPS, OVERLAP, BAD_SIZE (no such class, guarantee or tier), LIMIT (the reserve is used up) or as `malloc`; then
    everything is as it was."""
    around = _place(cpu, base, count)
    if around < 0:
        return around
    if kind != DEVICE_MEMORY and kind != ROM and kind != NVRAM:
        return BAD_SIZE
    if guarantee < 0 or guarantee > count or tier < ANYONE or tier > LAST_WORDS:
        return BAD_SIZE
    chunks = chunks_guaranteed(base, count, guarantee)
    records = 1
    if around != 0:
        records = cuts_for(Region(around).base, Region(around).base + Region(around).count, base, count)
    status = _reserve(cpu, tier, records, chunks)
    if status < 0:
        return status
    if around == 0:
        region = _record(cpu, tier)
        region_add(cpu, region, base, count, kind)
    else:
        region = _cut_out(cpu, around, base, count, tier)
    r = Region(region)
    r.under = RESERVED_MEMORY if around != 0 else 0
    r.kind = kind
    r.tier = tier
    r.attribute = UNCACHED if kind == DEVICE_MEMORY else WRITE_THROUGH
    r.guaranteed = chunks
    for i in range(chunks):
        _push(region, slot_take(cpu, _chunk_cache(tier)))
    k = Kern(Cpu(cpu).kern)
    k.device_count = k.device_count + count
    return OK


@kernel
def _rejoin(cpu, region):
    """Make a withdrawn range firmware's again, joined with what it was cut from as far as nobody has published that."""
    r = Region(region)
    r.kind = r.under
    r.under = 0
    r.tier = UNPUBLISHED
    r.attribute = 0
    r.guaranteed = 0
    above = region_merge(cpu, region)
    if above != 0:
        free(cpu, above)
    if r.cut != 0:
        if region_merge(cpu, tree_floor(Cpu(cpu).kern + ROOT, r.base - 1)) != 0:
            free(cpu, region)
    return OK


@kernel
def device_region(cpu, pfn):
    """VA of the published region that holds a frame, or BAD_FRAME."""
    region = region_of(cpu, pfn)
    if region < 0:
        return BAD_FRAME
    return region if Region(region).tier != UNPUBLISHED else BAD_FRAME


@kernel
def withdraw(cpu, base):
    """Take the published range that starts at frame `base` away. BAD_FRAME: none does. BUSY: frames of it are in use."""
    region = device_region(cpu, base)
    if region < 0:
        return BAD_FRAME
    r = Region(region)
    if r.base != base:
        return BAD_FRAME
    if r.used > 0:
        return BUSY
    k = Kern(Cpu(cpu).kern)
    k.device_count = k.device_count - r.count
    _give_spares(cpu, region)
    if r.under != 0:
        return _rejoin(cpu, region)
    region_remove(cpu, region)
    return free(cpu, region)


@kernel
def _chunk_of(region, pfn):
    """VA of the chunk that holds a frame's entry, 0 if there is none."""
    chunk = tree_floor(region + CHUNKS, pfn >> CHUNK_SHIFT)
    if chunk == 0:
        return 0
    return chunk if Chunk(chunk).base == pfn >> CHUNK_SHIFT else 0


@kernel
def entry_in(kern, chunk, pfn):
    """VA of a frame's entry in its chunk."""
    return chunk + CHUNK_HEAD + (pfn & (CHUNK_FRAMES - 1)) * Kern(kern).stride


@kernel
def _materialise(cpu, region, pfn):
    """A chunk for a frame that has none, in the tree: guaranteed, or from what is left of the reserve. As `slot_take`."""
    chunk = _pop(region)
    if chunk == 0:
        chunk = slot_take(cpu, _chunk_cache(Region(region).tier))
        if chunk < 0:
            return chunk
    zero(chunk, chunk_bytes(Cpu(cpu).kern))
    Chunk(chunk).base = pfn >> CHUNK_SHIFT
    tree_add(region + CHUNKS, chunk)
    Region(region).live = Region(region).live + 1
    return chunk


@kernel
def device_get(cpu, pfn):
    """Use a device frame: whoever maps it holds it in place. BAD_FRAME, LIMIT or as `malloc`; nothing is mapped then."""
    region = device_region(cpu, pfn)
    if region < 0:
        return BAD_FRAME
    chunk = _chunk_of(region, pfn)
    if chunk == 0:
        chunk = _materialise(cpu, region, pfn)
        if chunk < 0:
            return chunk
    k = Kern(Cpu(cpu).kern)
    f = Frame(entry_in(k.addr, chunk, pfn))
    if f.pins == 65535:
        return BUSY
    if f.type == FREE:
        f.type = DEVICE
        Chunk(chunk).used = Chunk(chunk).used + 1
        Region(region).used = Region(region).used + 1
        k.device_frames = k.device_frames + 1
    f.pins = f.pins + 1
    return OK


@kernel
def device_put(cpu, pfn):
    """Let a device frame go that `device_get` held. BAD_FRAME, NOT_ALLOCATED."""
    region = device_region(cpu, pfn)
    if region < 0:
        return BAD_FRAME
    chunk = _chunk_of(region, pfn)
    if chunk == 0:
        return NOT_ALLOCATED
    k = Kern(Cpu(cpu).kern)
    f = Frame(entry_in(k.addr, chunk, pfn))
    if f.pins == 0:
        return NOT_ALLOCATED
    f.pins = f.pins - 1
    if f.pins > 0:
        return OK
    f.type = FREE
    r = Region(region)
    r.used = r.used - 1
    k.device_frames = k.device_frames - 1
    c = Chunk(chunk)
    c.used = c.used - 1
    if c.used > 0:
        return OK
    tree_remove(region + CHUNKS, chunk)
    r.live = r.live - 1
    if r.live + r.spare_count < r.guaranteed:
        return _push(region, chunk)
    return free(cpu, chunk)


@kernel
def device_attribute(cpu, pfn):
    """How the page of a published frame is to be cached: what a leaf entry that maps it must say. BAD_FRAME."""
    region = device_region(cpu, pfn)
    return Region(region).attribute if region >= 0 else BAD_FRAME


@kernel
def device_cache(cpu, base, attribute):
    """Say how the pages of the published range that starts at frame `base` are cached. BAD_FRAME, BAD_SIZE (this architecture
    cannot), BUSY (frames of it are in use)."""
    region = device_region(cpu, base)
    if region < 0:
        return BAD_FRAME
    r = Region(region)
    if r.base != base:
        return BAD_FRAME
    if has_attribute(Kern(Cpu(cpu).kern).arch, attribute) == 0:
        return BAD_SIZE
    if r.used > 0:
        return BUSY
    r.attribute = attribute
    return OK


@kernel
def device_used(cpu, base):
    """Frames in use of the published range that starts at frame `base`. BAD_FRAME."""
    region = device_region(cpu, base)
    if region < 0:
        return BAD_FRAME
    return Region(region).used if Region(region).base == base else BAD_FRAME
