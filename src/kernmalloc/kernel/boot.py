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

from kernmalloc.kernel.caches import cache_create, objects_create, objects_room, objects_scale
from kernmalloc.kernel.coretable import area_cost, area_fits, area_make, list_frames
from kernmalloc.kernel.frames import entry_of, set_type
from kernmalloc.kernel.heap import SIZE_CLASSES, classes_init
from kernmalloc.kernel.kern import DONATE, HEAP, LIST, MAPPING, MARK, OBJECTS, RAM, REST, TABLE, UP, Cpu, Kern
from kernmalloc.kernel.layout import BootRange
from kernmalloc.kernel.regions import Region, range_ok, region_add
from kernmalloc.kernel.coretable import area_bytes
from kernmalloc.kernel.heap import pages_for
from kernmalloc.kernel.slabs import slot_take
from kernmalloc.kernel.space import frames_left
from kernmalloc.lang import entry, kernel
from kernmalloc.lang.status import BAD_BOOT, NO_FRAMES, NO_VA, OK, TOO_SMALL
from kernmalloc.machine.mmu import INDEX_BITS
from kernmalloc.machine.primitives import zero

REGION_CACHE = SIZE_CLASSES  # the first typed cache
REGION_BYTES = Region.size
REGION_LIMIT = 1 << 24
SPARE = 8  # frames that describing more takes at least: a slab of region records, a page of core table, what maps them
RANGES_SHIFT = 4  # and a frame for every 16 ranges, each of which may be one frame that pays just for its own table


@kernel
def _range_at(kern, index):
    return Kern(kern).ranges + (index << 5)


@kernel
def _donor(cpu, spare):
    """Index of the highest range of RAM that can hold its own core table and has `spare` frames left. NO_VA, TOO_SMALL."""
    k = Kern(Cpu(cpu).kern)
    for i in range(k.range_count - 1, -1, -1):
        r = BootRange(_range_at(k.addr, i))
        if r.kind == RAM:
            status = range_ok(cpu, r.base, r.count)
            if status < 0:
                return status
            if area_fits(k.addr, r.base, r.count) == 0:
                return NO_VA
            if area_cost(k.addr, r.base, r.count) + spare <= r.count:
                return i
    return TOO_SMALL


@kernel
def _donate(cpu):
    """Choose the range and set the donation aside."""
    k = Kern(Cpu(cpu).kern)
    donor = _donor(cpu, SPARE + (k.range_count >> RANGES_SHIFT))
    if donor == TOO_SMALL:
        donor = _donor(cpu, 0)
    if donor < 0:
        return donor
    r = BootRange(_range_at(k.addr, donor))
    cost = area_cost(k.addr, r.base, r.count)
    k.top_range = donor
    k.donation_frames = cost
    k.donation_maps = cost - _heap_share(k.addr, r.base, r.count)
    k.donation_pfn = max((r.base + r.count - cost) & ~((1 << INDEX_BITS) - 1), r.base)
    return OK


@kernel
def _heap_share(kern, base, count):
    """Frames of the donation that the heap takes for the area and its records; the others become mapping tables."""
    pages = pages_for(kern, area_bytes(kern, base, count))
    return pages + pages_for(kern, pages << 6)


@kernel
def _top_table(cpu):
    """Describe the range with memory out of the donation (E36)."""
    k = Kern(Cpu(cpu).kern)
    r = BootRange(_range_at(k.addr, k.top_range))
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
def _affordable(cpu, base, count):
    """How many of the last frames of [base, base + count) can be described with the frames that are free now."""
    k = Kern(Cpu(cpu).kern)
    left = frames_left(cpu)
    if area_cost(k.addr, base, count) <= left:
        return count
    most = 0
    step = 1 << 40
    while step > 0:
        n = most + step
        if n < count:
            if area_cost(k.addr, base + count - n, n) <= left:
                most = n
        step = step >> 1
    return most


@kernel
def _rest(cpu):
    """Describe the last frames not yet described: a whole range, or as much of it as can be paid for (E39)."""
    k = Kern(Cpu(cpu).kern)
    index = k.range_next - 1
    r = BootRange(_range_at(k.addr, index))
    if index == k.top_range or r.count == 0:
        k.range_next = index
        return OK
    status = range_ok(cpu, r.base, r.count)
    if status < 0:
        return status
    if r.kind == RAM and area_fits(k.addr, r.base, r.count) == 0:
        return NO_VA
    region = slot_take(cpu, REGION_CACHE)  # E22; and before the frames are counted that are left for the table
    if region < 0:
        return region
    count = r.count
    if r.kind == RAM:
        count = _affordable(cpu, r.base, r.count)
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
def _objects(cpu):
    """Make the typed caches of the profile."""
    k = Kern(Cpu(cpu).kern)
    k.scale = objects_scale(cpu, objects_room(cpu))
    if k.scale < 0:
        return NO_VA
    for i in range(k.object_count):
        status = objects_create(cpu, i)
        if status < 0:
            return status
    return OK


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
        if cache_create(cpu, REGION_BYTES, REGION_LIMIT) != REGION_CACHE:
            status = BAD_BOOT
    elif stage == REST:
        if k.range_next > 0:
            status = _rest(cpu)
            if k.range_next > 0:
                stage -= 1
    elif stage == OBJECTS:
        status = _objects(cpu)
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
