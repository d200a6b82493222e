"""Bootstrap: how the heap comes out of the memory that it is needed to describe (E32 to E39).

The circle: core table entries come from malloc; malloc takes frames that it finds through core table entries.

    stage    what one step does
    DONATE   the highest range of RAM that can hold its own core table, with a few frames left to go on from: compute that
             table's size and cost, set exactly so many of its frames aside for the heap. They are the donation; there is
             no other.
    TABLE    malloc the table. The heap grows into the donation and uses it up to the last frame.
    MARK     by hand, make the donated frames' entries say HEAP or MAPPING.
    LIST     put the remaining frames on the free list. The circle is closed: malloc finds frames through the core table.
    REST     describe the other ranges without any donation, the highest first. A range whose table would cost more than
             the free frames is cut: its upper part is described first, and pays for the rest.
    OBJECTS  make the typed caches, as many objects as the profile's ratios ask for and the window holds.
    UP       done.

Nothing here knows of devices (E5): the loader passes ranges of memory only.
"""

from kernmalloc.kernel.caches import (
    CHUNK_CACHE,
    DEPEND_CACHE,
    LAST_CACHE,
    LAST_MAP_CACHE,
    LAST_REGION_CACHE,
    REGION_CACHE,
    THREAD_CACHE,
    UMAP_CACHE,
    common_create,
    cache_fill,
    objects_create,
)
from kernmalloc.kernel.coretable import area_make, list_frames
from kernmalloc.kernel.depends import Depend
from kernmalloc.kernel.devices import CHUNK_SHIFT, chunk_bytes, chunks_for
from kernmalloc.kernel.frames import entry_of, set_type
from kernmalloc.kernel.heap import classes_init, malloc_zeroed
from kernmalloc.kernel.kern import DONATE, HEAP, LIST, MAPPING, MARK, OBJECTS, RAM, REST, TABLE, UP, Cpu, Kern, Plan
from kernmalloc.kernel.layout import BootRange
from kernmalloc.kernel.pages import pages_bytes, pages_init
from kernmalloc.kernel.regions import Region, range_ok, region_add
from kernmalloc.kernel.runs import fix_pages, ready_pages
from kernmalloc.kernel.sizing import PLAN, affordable, block_in, plan, range_at
from kernmalloc.kernel.magazines import slot_take
from kernmalloc.kernel.space import bank_open, frames_left
from kernmalloc.kernel.threads import Thread
from kernmalloc.kernel.umap import Umap
from kernmalloc.lang import entry, kernel
from kernmalloc.lang.status import BAD_BOOT, NO_FRAMES, OK
from kernmalloc.machine.primitives import zero

REGION_BYTES = Region.size
UMAP_BYTES = Umap.size
DEPEND_BYTES = Depend.size
THREAD_BYTES = Thread.size
ENDLESS = 1 << 34  # objects of a cache that only the heap's bound limits


@kernel
def _donate(cpu):
    """Plan the boot, and set the donation aside: in the donor, as high as it can lie at the start of a large page."""
    k = Kern(Cpu(cpu).kern)
    status = plan(k.addr)
    if status < 0:
        return status
    p = Plan(k.addr + PLAN)
    r = BootRange(range_at(k.addr, p.donor))
    k.donation_frames = p.donation
    k.donation_maps = p.donation_maps
    k.donation_pfn = max(block_in(k.addr, r.base, r.count, p.donation), r.base)
    if k.affine != 0:
        k.heap_pages = min(k.heap_pages, p.top + k.growable)
    return OK


@kernel
def _top_table(cpu):
    """Describe the range with memory out of the donation (E36)."""
    k = Kern(Cpu(cpu).kern)
    p = Plan(k.addr + PLAN)
    r = BootRange(range_at(k.addr, p.donor))
    if k.affine != 0:
        k.donated_heap = p.top
        fix_pages(cpu, k.donation_pfn, p.top)
    region_add(cpu, k.boot_region, r.base, r.count, RAM)
    status = area_make(cpu, k.boot_region)
    if status < 0:
        return status
    if k.donated_heap + k.donated_maps != k.donation_frames:
        return BAD_BOOT
    return OK


@kernel
def _mark(cpu):
    """Mark the donated frames by hand (E37)."""
    k = Kern(Cpu(cpu).kern)
    maps = k.donation_pfn + k.donation_frames - k.donation_maps
    for pfn in range(k.donation_pfn, k.donation_pfn + k.donation_frames):
        set_type(cpu, entry_of(cpu, k.boot_region, pfn), HEAP if pfn < maps else MAPPING, 0)
    return OK


@kernel
def _list(cpu):
    """Put the remainder on the free list (E38)."""
    k = Kern(Cpu(cpu).kern)
    r = Region(k.boot_region)
    end = k.donation_pfn + k.donation_frames
    list_frames(k.boot_region, r.base, k.donation_pfn - r.base)
    return list_frames(k.boot_region, end, r.base + r.count - end)


@kernel
def _rest(cpu):
    """Describe the last frames not yet described: a whole range, or as much of it as can be paid for (E39)."""
    k = Kern(Cpu(cpu).kern)
    index = k.range_next - 1
    r = BootRange(range_at(k.addr, index))
    if index == Plan(k.addr + PLAN).donor or r.count == 0:
        k.range_next = index
        return OK
    status = range_ok(cpu, r.base, r.count)
    if status < 0:
        return status
    region = slot_take(cpu, REGION_CACHE)  # E22; and before the frames are counted that are left for the table
    if region < 0:
        return region
    count = r.count
    if r.kind == RAM and k.affine == 0:
        count = affordable(k.addr, k.top, frames_left(cpu), r.base, r.count)
        if count == 0:
            return NO_FRAMES
    base = r.base + r.count - count
    zero(region, REGION_BYTES)
    region_add(cpu, region, base, count, r.kind)
    if r.kind == RAM:
        status = area_make(cpu, region)
        if status < 0:
            return status
        list_frames(region, base, count)
    r.count = r.count - count
    if r.count == 0:
        k.range_next = index
    return OK


@kernel
def _own_caches(cpu):
    """Make the caches that the memory manager itself needs: region records, entry chunks, and those of last words."""
    k = Kern(Cpu(cpu).kern)
    if common_create(cpu, REGION_BYTES, ENDLESS) != REGION_CACHE:
        return BAD_BOOT
    reserve = k.device_pages if k.reserves != 0 else ENDLESS << CHUNK_SHIFT
    if common_create(cpu, chunk_bytes(k.addr), max(chunks_for(reserve), 1)) != CHUNK_CACHE:
        return BAD_BOOT
    if common_create(cpu, chunk_bytes(k.addr), max(chunks_for(k.last_frames), 1)) != LAST_CACHE:
        return BAD_BOOT
    if common_create(cpu, REGION_BYTES, max(k.last_ranges, 1)) != LAST_REGION_CACHE:
        return BAD_BOOT
    if common_create(cpu, 1 << k.page_shift, max(k.last_maps, 1)) != LAST_MAP_CACHE:
        return BAD_BOOT
    if common_create(cpu, UMAP_BYTES, ENDLESS) != UMAP_CACHE:
        return BAD_BOOT
    if common_create(cpu, DEPEND_BYTES, ENDLESS) != DEPEND_CACHE:
        return BAD_BOOT
    if common_create(cpu, THREAD_BYTES, ENDLESS) != THREAD_CACHE:
        return BAD_BOOT
    return OK


@kernel
def _page_cache(cpu):
    """Make the hash of the page cache, for all memory described. As `malloc_zeroed`."""
    k = Kern(Cpu(cpu).kern)
    at = malloc_zeroed(cpu, pages_bytes(k.frames))
    if at < 0:
        return at
    return pages_init(k.addr, at, k.frames)


@kernel
def _objects(cpu):
    """Allocate what is allocated at boot: the reserve of entry chunks, last words, and the profile's objects."""
    k = Kern(Cpu(cpu).kern)
    p = Plan(k.addr + PLAN)
    status = _page_cache(cpu)
    if status == OK:
        status = ready_pages(cpu, p.top)
    if status == OK:
        status = cache_fill(cpu, REGION_CACHE, p.records + k.device_ranges)
    if status == OK:
        status = cache_fill(cpu, CHUNK_CACHE, chunks_for(k.device_pages))
    if status == OK:
        status = cache_fill(cpu, LAST_CACHE, chunks_for(k.last_frames))
    if status == OK:
        status = cache_fill(cpu, LAST_REGION_CACHE, k.last_ranges)
    if status == OK:
        status = cache_fill(cpu, LAST_MAP_CACHE, k.last_maps)
    i = 0
    while status == OK and i < k.object_count:
        status = objects_create(cpu, i)
        i += 1
    return status


@entry
def boot_step(cpu):
    """One step of the bootstrap: the stage reached, UP in the end. A negative status refuses the machine."""
    k = Kern(Cpu(cpu).kern)
    stage = k.stage
    status = OK
    if stage == DONATE:
        classes_init(cpu)
        status = _donate(cpu)
    elif stage == TABLE:
        status = _top_table(cpu)
    elif stage == MARK:
        status = _mark(cpu)
    elif stage == LIST:
        status = _list(cpu)
        if status == OK:
            status = _own_caches(cpu)
    elif stage == REST:
        if k.range_next > 0:
            status = _rest(cpu)
            if k.range_next > 0:
                stage -= 1
    elif stage == OBJECTS:
        status = _objects(cpu)
        bank_open(cpu)
    else:
        return UP
    if status < 0:
        return status
    k.stage = stage + 1
    return k.stage


@entry
def boot(cpu):
    """All steps: UP, or the status that refuses the machine."""
    stage = boot_step(cpu)
    while stage >= 0 and stage < UP:
        stage = boot_step(cpu)
    return stage
