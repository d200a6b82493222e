"""Bootstrap: how the heap comes out of the memory that it is needed to describe (E32 to E39).

The circle: core table entries come from malloc, and malloc takes frames that it finds through core table entries.

    stage    what one step does
    DONATE   the highest range of RAM that can hold its own core table, with a few frames left to go on from, is the
             donor. Compute that table's size and cost, and set exactly so many of the donor's frames aside for the
             heap: the donation. There is no other.
    TABLE    malloc the table. The heap grows into the donation and uses it up to the last frame.
    MARK     by hand, make the donated frames' entries say HEAP or MAPPING.
    LIST     put the remaining frames on the free list. The circle is closed: malloc finds frames through the core
             table.
    REST     describe the other ranges without any donation, the highest first. A range whose table would cost more
             than the free frames is cut: its upper part is described first, and pays for the rest.
    OBJECTS  make the typed caches, with as many objects as the profile's ratios ask for and the window holds.
    UP       done.

Nothing here knows of devices (E5): the loader passes ranges of memory only.
"""

from __future__ import annotations

from kernmalloc.kernel.boot.config import Config, area_at
from kernmalloc.kernel.boot.coretable import area_make, list_frames
from kernmalloc.kernel.boot.seal import boot_seal, seal_cpu
from kernmalloc.kernel.boot.sizing import affordable, heap_at, heap_bound, plan, range_at
from kernmalloc.kernel.core.kern import DONATE, HEAP, LIST, MAPPING, MARK, OBJECTS, RAM, RESERVED, REST, TABLE, UP, Cpu
from kernmalloc.kernel.core.modes import has_heap, has_pages, has_tables
from kernmalloc.kernel.devices import CHUNK_SHIFT, chunk_bytes, chunks_for
from kernmalloc.kernel.frames.claims import Thread
from kernmalloc.kernel.frames.regions import Region, range_ok, region_add
from kernmalloc.kernel.frames.space import bank_open, frames_left
from kernmalloc.kernel.frames.table import entry_of, set_type
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.kernel.heap.caches import (
    CHUNK_CACHE,
    DEPEND_CACHE,
    LAST_CACHE,
    LAST_MAP_CACHE,
    LAST_REGION_CACHE,
    REGION_CACHE,
    THREAD_CACHE,
    UMAP_CACHE,
    cache_fill,
    common_create,
    objects_create,
)
from kernmalloc.kernel.heap.magazines import slot_take
from kernmalloc.kernel.heap.malloc import classes_init, own_zeroed
from kernmalloc.kernel.heap.runs import fix_pages, ready_pages
from kernmalloc.kernel.heap.slabs import cpu_at
from kernmalloc.kernel.heap.slots import slots_aim
from kernmalloc.kernel.pages.depends import Depend
from kernmalloc.kernel.pages.pages import pages_bytes, pages_init
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import element, entry, failed, kernel
from kernmalloc.lang.status import BAD_BOOT, BAD_CPU, NO_FRAMES, OK
from kernmalloc.machine.primitives import zero

ANY_NUMBER = 1 << 34  # objects of a cache that only the heap's bound limits


@kernel
def _donate(cpu: Cpu) -> int:
    """Plan the boot, and set the donation aside: in the donor, as high as it can lie at the start of a large page. The
    heap of a direct map lies in it."""
    kern = cpu.kern
    status = plan(kern)
    if failed(status):
        return status
    planned = kern.plan
    kern.donation_frames = planned.donation
    kern.donation_maps = planned.donation_maps
    kern.donation_pfn = planned.first
    kern.heap_pages = heap_bound(kern)
    if has_tables(kern) == 0:
        kern.heap = heap_at(kern)
        kern.heap_map = HeapPage(kern.heap - (planned.map << kern.page_shift))
        for number in range(kern.cpu_count):
            each = cpu_at(kern, number)
            slots_aim(kern, each)
            each.seal = seal_cpu(each)
    return OK


@kernel
def _top_table(cpu: Cpu) -> int:
    """Describe the donor with memory out of the donation (E36)."""
    kern = cpu.kern
    planned = kern.plan
    donor = range_at(kern, planned.donor)
    if kern.affine != 0 and has_heap(kern) != 0:
        kern.donated_heap = planned.top
        fix_pages(cpu, kern.donation_pfn, planned.top)
    region_add(cpu, kern.boot_region, donor.base, donor.count, RAM)
    status = area_make(cpu, kern.boot_region)
    if failed(status):
        return status
    if has_heap(kern) != 0 and kern.donated_heap + kern.donated_maps != kern.donation_frames:
        return BAD_BOOT
    return OK


@kernel
def _mark(cpu: Cpu) -> int:
    """Mark the donated frames by hand (E37)."""
    kern = cpu.kern
    maps = kern.donation_pfn + kern.donation_frames - kern.donation_maps
    for pfn in range(kern.donation_pfn, kern.donation_pfn + kern.donation_frames):
        type = HEAP if pfn < maps else MAPPING
        set_type(cpu, entry_of(cpu, kern.boot_region, pfn), type if has_heap(kern) != 0 else RESERVED, 0)
    return OK


@kernel
def _list(cpu: Cpu) -> int:
    """Put the donor's other frames on the free list (E38)."""
    kern = cpu.kern
    region = kern.boot_region
    end = kern.donation_pfn + kern.donation_frames
    list_frames(region, region.base, kern.donation_pfn - region.base)
    return list_frames(region, end, region.base + region.count - end)


@kernel
def _record(cpu: Cpu) -> int:
    """A region record: VA, or what `slot_take` says."""
    kern = cpu.kern
    return slot_take(cpu, REGION_CACHE) if has_heap(kern) != 0 else element(kern.boot_region, kern.region_count).addr


@kernel
def _rest(cpu: Cpu) -> int:
    """Describe the last frames that are not described yet: a whole range, or as much of it as can be paid for (E39)."""
    kern = cpu.kern
    index = kern.range_next - 1
    range_ = range_at(kern, index)
    left = kern.range_left if kern.range_left != 0 else range_.count
    if index == kern.plan.donor or left == 0:
        kern.range_next = index
        return OK
    status = range_ok(cpu, range_.base, left)
    if failed(status):
        return status
    taken = _record(cpu)  # E22; and before the frames are counted that are left for the table
    if failed(taken):
        return taken
    count = left
    if range_.kind == RAM and kern.affine == 0:
        count = affordable(kern, kern.top, frames_left(cpu), range_.base, left)
        if count == 0:
            return NO_FRAMES
    base = range_.base + left - count
    zero(taken, Region.size)
    region = Region(taken)
    region_add(cpu, region, base, count, range_.kind)
    if range_.kind == RAM:
        status = area_make(cpu, region)
        if failed(status):
            return status
        list_frames(region, base, count)
    kern.range_left = left - count
    if kern.range_left == 0:
        kern.range_next = index
    return OK


@kernel
def _own_caches(cpu: Cpu) -> int:
    """Make the caches that the memory manager itself needs: region records, entry chunks, and those of last words."""
    kern = cpu.kern
    if common_create(cpu, Region.size, ANY_NUMBER) != REGION_CACHE:
        return BAD_BOOT
    reserve = kern.device_pages if kern.reserves != 0 else ANY_NUMBER << CHUNK_SHIFT
    if common_create(cpu, chunk_bytes(kern), max(chunks_for(reserve), 1)) != CHUNK_CACHE:
        return BAD_BOOT
    if common_create(cpu, chunk_bytes(kern), max(chunks_for(kern.last_frames), 1)) != LAST_CACHE:
        return BAD_BOOT
    if common_create(cpu, Region.size, max(kern.last_ranges, 1)) != LAST_REGION_CACHE:
        return BAD_BOOT
    if common_create(cpu, Umap.size, ANY_NUMBER) != UMAP_CACHE:
        return BAD_BOOT
    if common_create(cpu, Depend.size, ANY_NUMBER) != DEPEND_CACHE:
        return BAD_BOOT
    if common_create(cpu, Thread.size, ANY_NUMBER) != THREAD_CACHE:
        return BAD_BOOT
    if common_create(cpu, 1 << kern.page_shift, max(kern.last_maps, 1)) != LAST_MAP_CACHE:
        return BAD_BOOT
    return OK


@kernel
def _page_cache(cpu: Cpu) -> int:
    """Make the hash of the page cache, if there is one, for all memory described: OK, or a status of `own_zeroed`."""
    kern = cpu.kern
    if has_pages(kern) == 0:
        return OK
    at = own_zeroed(cpu, pages_bytes(kern, kern.frames))
    if failed(at):
        return at
    return pages_init(kern, at, kern.frames)


@kernel
def _objects(cpu: Cpu) -> int:
    """Allocate what is allocated at boot: the reserve of entry chunks, last words, and the profile's objects."""
    kern = cpu.kern
    if has_heap(kern) == 0:
        return OK
    planned = kern.plan
    status = _page_cache(cpu)
    if status == OK:
        status = ready_pages(cpu, planned.top)
    if status == OK:
        status = cache_fill(cpu, REGION_CACHE, planned.records + kern.device_ranges)
    if status == OK:
        status = cache_fill(cpu, CHUNK_CACHE, chunks_for(kern.device_pages))
    if status == OK:
        status = cache_fill(cpu, LAST_CACHE, chunks_for(kern.last_frames))
    if status == OK:
        status = cache_fill(cpu, LAST_REGION_CACHE, kern.last_ranges)
    if status == OK:
        status = cache_fill(cpu, LAST_MAP_CACHE, kern.last_maps)
    i = 0
    while status == OK and i < kern.object_count:
        status = objects_create(cpu, i)
        i += 1
    return status


@entry
def boot_step(cpu: Cpu) -> int:
    """Do one step of the bootstrap: the stage reached, UP in the end.

    TOO_SMALL: no range of RAM can hold its own core table, or an affine heap in one piece. NO_FRAMES: what is free does
    not pay for the rest. NO_VA: the window is too small. OVERLAP, WRAPS: the ranges are wrong. BAD_BOOT: the boot does
    not come out as planned. The machine is refused then.
    """
    kern = cpu.kern
    stage = kern.stage
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
        if kern.range_next > 0:
            status = _rest(cpu)
            if kern.range_next > 0:
                stage -= 1
    elif stage == OBJECTS:
        status = _objects(cpu)
        bank_open(cpu)
    else:
        return UP
    if failed(status):
        return status
    kern.stage = stage + 1
    if kern.stage == UP:
        boot_seal(kern)
    return kern.stage


@entry
def start(info: Config) -> int:
    """Start the kernel once paging is on: the address of the first processor's record, or a status of `boot_step`.

    `info` is what `init` was told, or its copy at the start of the boot area.
    """
    cpu = Cpu(area_at(info) + info.cpu)
    status = boot(cpu)
    return status if failed(status) else cpu.addr


@entry
def cpu_online(cpu: Cpu, number: int) -> int:
    """The address of the record of processor `number`, counted from 0, with which it calls. BAD_CPU: there is none."""
    kern = cpu.kern
    if number < 0 or number >= kern.cpu_count:
        return BAD_CPU
    return element(kern.cpus, number).addr


@entry
def boot(cpu: Cpu) -> int:
    """Do all steps of the bootstrap: UP, or a status of `boot_step`, which refuses the machine."""
    stage = boot_step(cpu)
    while not failed(stage) and stage < UP:
        stage = boot_step(cpu)
    return stage
