"""Before paging: the boot area, and where everything will lie in the kernel's window.

Concepts
  1. Whoever loads the kernel (`machine` here, a boot stub on a real target) puts a `BootInfo` record, the ranges of
     memory and the object types at the start of the boot area and calls `layout`, which says how long that area must be.
  2. `prepare` then fills the area, using physical addresses only: the processor and kernel records, the page tables that
     must exist before there is a heap, and the tables that map the image, the area itself and the table window.
     `phys` is what turns a physical address into one that can be loaded from at that time.
  3. The loader turns paging on with the root found and calls `boot` with the processor record.

The boot area, from left to right; each part starts on a page:

    info, ranges, types | cpus | kern, caches, classes, slot counts | root | directories | image tables | window tables
    | tables of the per-CPU windows

    heap_pages * 64 <= length of the heap map,   heap + heap_pages * page <= windows
    windows = end of the window - what is kept for per-CPU windows, at the start of a slot
"""

from kernmalloc.kernel.heap import CLASS_TABLE_BYTES
from kernmalloc.kernel.kern import CACHES, CPUS, DONATE, WINDOWS_SHIFT, Cpu, Half, Kern, Stalls
from kernmalloc.kernel.regions import Region
from kernmalloc.kernel.slabs import CACHE_SHIFT
from kernmalloc.kernel.stock import stock_init
from kernmalloc.kernel.threads import STALLS
from kernmalloc.lang import entry, i64, kernel, record
from kernmalloc.lang.status import BAD_BOOT, NO_VA, OK
from kernmalloc.machine.mmu import (
    X86_64,
    Entry,
    entry_shift,
    index_at,
    index_bits,
    leaf_entry,
    root_entry,
    table_entry,
)
from kernmalloc.machine.primitives import zero


@record(size=32)
class BootRange:
    """A range of physical memory, whole frames, as the loader found it."""

    base: i64 = "first pfn"
    count: i64 = "frames"
    kind: i64 = "class of the region"
    spare: i64 = "up to 32 bytes"

    invariants = ("base >= 0 and count >= 0",)


@record(size=424)
class BootInfo:
    """What the loader tells the kernel, and what `layout` answers."""

    arch: i64 = "format of page-table entries"
    page_shift: i64 = "log2 of the bytes in a page"
    max_pfn: i64 = "first pfn beyond the physical address limit"
    window: i64 = "VA of the kernel's window as the kernel uses it"
    target: i64 = "VA of the window on the target: the same, or where the tables put it for a hosted kernel"
    window_bytes: i64 = "length of the window"
    cpu_windows: i64 = "bytes at its end kept for per-CPU windows (E15)"
    image_pa: i64 = "physical address of the kernel image"
    image_bytes: i64 = "its length, whole pages"
    area_pa: i64 = "physical address of the boot area"
    info_bytes: i64 = "length of its first part: this record and the arrays; whole pages"
    cpus: i64 = "processors"
    stride: i64 = "bytes from one core table entry to the next"
    identity: i64 = "bytes per frame for page identities"
    growth: i64 = "pages by which the heap grows"
    idle_most: i64 = "the most pages that the heap keeps idle"
    bound: i64 = "most pages that the heap may have; 0: what the window holds"
    static: i64 = "1: all objects are allocated at boot"
    affine: i64 = "1: the heap planned for the boot is contiguous and in large pages (C2 to C6)"
    growable: i64 = "pages by which an affine heap may grow beyond that (C17)"
    excess: i64 = "pages reserved at boot for `release` to give back (C18)"
    spare: i64 = "pages of an affine heap kept free for malloc"
    device_ranges: i64 = "device ranges whose region records are allocated at boot"
    reserves: i64 = "1: entries for device frames come from a reserve only (C15)"
    device_pages: i64 = "device frames whose entries are reserved"
    last_frames: i64 = "device frames whose entries are kept for last words (C22)"
    last_ranges: i64 = "region records kept for them"
    last_maps: i64 = "mapping frames kept for them"
    lenient: i64 = "1: growth may break what the bank was promised"
    withheld: i64 = "frames that are not promised to the bank: declared growth"
    promised: i64 = "frames to promise; 0: all that are not withheld"
    cleaner_frames: i64 = "free frames that only cleaners may take"
    ranges: i64 = "offset of the ranges in the area"
    range_count: i64 = "how many"
    objects: i64 = "offset of the object types in the area"
    object_count: i64 = "how many"
    # the answers of `layout`: offsets in the boot area, and lengths
    cpu: i64 = "offset of the first processor record"
    kern: i64 = "offset of the kernel record"
    root: i64 = "offset of the root table"
    directory: i64 = "offset of the first directory"
    directories: i64 = "how many there are"
    image_tables: i64 = "how many leaf tables map the image and the boot area"
    window_tables: i64 = "how many leaf tables map the table window"
    cpu_tables: i64 = "how many map the per-CPU windows"
    leaf_tables: i64 = "offset of the first of all these"
    area_bytes: i64 = "length of the boot area"
    tables: i64 = "VA of the table window"
    heap_map: i64 = "VA of the heap map"
    heap: i64 = "VA of the heap"
    heap_pages: i64 = "pages of the heap"
    region: i64 = "offset of the first region record"
    slots: i64 = "offset of the slot counts"
    windows: i64 = "VA of the per-CPU windows"


CPU_BYTES = Cpu.size
KERN_BYTES = Kern.size
REGION_BYTES = Region.size


@kernel
def _round(bytes, shift):
    """Bytes, rounded up to whole units of 2 ** shift."""
    return ((bytes + (1 << shift) - 1) >> shift) << shift


@kernel
def _spans(first, bytes, shift):
    """How many aligned units of 2 ** shift bytes the range [first, first + bytes) touches."""
    return ((first + bytes - 1) >> shift) - (first >> shift) + 1


@entry
def layout(info):
    """Find where everything lies, for the request in `info`. NO_VA: the window is too small to have a heap at all."""
    b = BootInfo(info)
    page = b.page_shift
    bits = index_bits(b.arch)
    slot = page + bits
    if b.window & ((1 << slot) - 1) != 0 or b.target & ((1 << slot) - 1) != 0 or b.cpus < 1 or b.cpus > CPUS:
        return BAD_BOOT
    slots = b.window_bytes >> slot
    b.cpu = b.info_bytes
    b.kern = b.cpu + _round(b.cpus * CPU_BYTES, page)
    b.region = b.kern + _round(KERN_BYTES, 6)
    b.slots = b.region + _round(REGION_BYTES, 6)
    b.root = b.kern + _round(
        b.slots - b.kern + _round(slots << 1, 6) + (CACHES << CACHE_SHIFT) + CLASS_TABLE_BYTES, page
    )
    uppers = 1
    if b.arch == X86_64:
        uppers = 1 + _spans(b.target, b.window_bytes, slot + bits + bits)
    b.directory = b.root + (uppers << page)
    b.directories = _spans(b.target, b.window_bytes, slot + bits)
    b.leaf_tables = b.directory + (b.directories << page)
    b.window_tables = _spans(0, slots << page, slot)
    windows = b.cpus << (WINDOWS_SHIFT + page)
    if windows > b.cpu_windows or b.cpu_windows > b.window_bytes:
        return NO_VA
    b.cpu_tables = _spans(0, windows, slot)
    area = b.leaf_tables + ((b.window_tables + b.cpu_tables) << page)
    b.image_tables = _spans(0, b.image_bytes + area, slot)
    while _spans(0, b.image_bytes + area + (b.image_tables << page), slot) > b.image_tables:
        b.image_tables = b.image_tables + 1  # the tables are part of what they map
    b.area_bytes = area + (b.image_tables << page)
    b.tables = _round(b.window + b.image_bytes + b.area_bytes, slot)
    b.heap_map = b.tables + (b.window_tables << slot)
    b.windows = ((b.window + b.window_bytes - b.cpu_windows) >> slot) << slot
    left = b.windows - b.heap_map
    if left <= 0:
        return NO_VA
    b.heap = b.heap_map + _round((left >> page) << 6, slot)
    b.heap_pages = (b.windows - b.heap) >> page
    if b.bound > 0:
        b.heap_pages = min(b.heap_pages, b.bound)
    return OK if b.heap_pages > 0 else NO_VA


@kernel
def _map_static(phys, info, slot, pfn, first, count):
    """Map `count` frames from pfn on in the static leaf table of a slot, from its entry `first` on."""
    b = BootInfo(info)
    slot_shift = b.page_shift + index_bits(b.arch)
    table = slot if slot < b.image_tables else b.image_tables + slot - ((b.tables - b.window) >> slot_shift)
    at = phys + b.area_pa + b.leaf_tables + (table << b.page_shift)
    for i in range(count):
        Entry(at + ((first + i) << entry_shift(b.arch))).bits = leaf_entry(b.arch, (pfn + i) << b.page_shift)
    counts = Half(phys + b.area_pa + b.slots + (slot << 1))
    counts.value = counts.value + count
    return OK


@kernel
def _uppers(phys, info):
    """Fill the tables above the directories."""
    b = BootInfo(info)
    root = phys + b.area_pa + b.root
    bits = index_bits(b.arch)
    directory_shift = b.page_shift + bits + bits
    first = b.target >> directory_shift
    upper = root
    if b.arch == X86_64:
        upper = root + (1 << b.page_shift)
        top = b.target >> (directory_shift + bits)
        for i in range(_spans(b.target, b.window_bytes, directory_shift + bits)):
            pa = b.area_pa + b.root + ((1 + i) << b.page_shift)
            Entry(root + index_at(b.arch, top + i, 0)).bits = root_entry(b.arch, pa)
        first = first - (top << bits)  # counted from the first of the tables below the root
    for i in range(b.directories):
        pa = b.area_pa + b.directory + (i << b.page_shift)
        Entry(upper + ((first + i) << entry_shift(b.arch))).bits = root_entry(b.arch, pa)
    return OK


@kernel
def _static_tables(phys, info):
    """Hang the static leaf tables into the directory and the table window, and map image and boot area."""
    b = BootInfo(info)
    bits = index_bits(b.arch)
    slot_shift = b.page_shift + bits
    inside = (1 << bits) - 1
    window_slot = (b.tables - b.window) >> slot_shift
    directory = phys + b.area_pa + b.directory + index_at(b.arch, b.target, slot_shift)
    table_pfn = (b.area_pa + b.leaf_tables) >> b.page_shift
    cpu_slot = (b.windows - b.window) >> slot_shift
    others = b.image_tables + b.window_tables
    for i in range(others + b.cpu_tables):
        slot = i if i < b.image_tables else window_slot + i - b.image_tables
        slot = slot if i < others else cpu_slot + i - others
        Entry(directory + (slot << entry_shift(b.arch))).bits = table_entry(b.arch, (table_pfn + i) << b.page_shift)
        _map_static(phys, info, window_slot + (slot >> bits), table_pfn + i, slot & inside, 1)
    pages = b.image_bytes >> b.page_shift
    for i in range(pages):
        _map_static(phys, info, i >> bits, (b.image_pa >> b.page_shift) + i, i & inside, 1)
    for i in range(b.area_bytes >> b.page_shift):
        at = pages + i
        _map_static(phys, info, at >> bits, (b.area_pa >> b.page_shift) + i, at & inside, 1)
    return OK


@entry
def prepare(phys, info):
    """Fill the boot area, before paging is on; `layout` has been called. Returns the VA of the processor record."""
    b = BootInfo(info)
    zero(phys + b.area_pa + b.info_bytes, b.area_bytes - b.info_bytes)
    _uppers(phys, info)
    _static_tables(phys, info)
    slot_shift = b.page_shift + index_bits(b.arch)
    area = b.window + b.image_bytes
    for i in range(b.cpus):
        cpu = Cpu(phys + b.area_pa + b.cpu + i * CPU_BYTES)
        cpu.kern = area + b.kern
        cpu.id = i
        cpu.stride = b.stride
        stock_init(cpu.addr, area + b.cpu + i * CPU_BYTES)
        cpu.windows = b.windows + (i << (WINDOWS_SHIFT + b.page_shift))
        # the boot, on the first one, may take what it needs; there is enough left then (`plan`)
        cpu.reserve = b.cleaner_frames if i == 0 else 0
    k = Kern(phys + b.area_pa + b.kern)
    k.arch = b.arch
    k.page_shift = b.page_shift
    k.slot_shift = slot_shift
    k.stage = DONATE
    k.max_pfn = b.max_pfn
    k.base = b.window
    k.bytes = b.window_bytes
    k.directory = area + b.directory + index_at(b.arch, b.target, slot_shift)
    k.tables = b.tables
    k.slots = area + b.slots
    k.windows = b.windows
    k.cpus = area + b.cpu
    k.cpu_count = b.cpus
    k.boot_region = area + b.region
    k.stride = b.stride
    k.identity = b.identity
    k.heap = b.heap
    k.heap_pages = b.heap_pages
    k.heap_map = b.heap_map
    k.growth = b.growth
    k.idle_most = b.idle_most
    k.caches = k.slots + _round((b.window_bytes >> slot_shift) << 1, 6)
    k.class_of = k.caches + (CACHES << CACHE_SHIFT)
    k.ranges = area + b.ranges
    k.range_count = b.range_count
    k.range_next = b.range_count
    k.objects = area + b.objects
    k.object_count = b.object_count
    k.static = b.static
    k.affine = b.affine
    k.growable = b.growable
    k.excess = b.excess
    k.spare = b.spare
    k.device_ranges = b.device_ranges
    k.reserves = b.reserves
    k.device_pages = b.device_pages
    k.last_frames = b.last_frames
    k.last_ranges = b.last_ranges
    k.last_maps = b.last_maps
    k.lenient = b.lenient
    k.withheld = b.withheld
    k.promised = b.promised
    Stalls(k.addr + STALLS).reserve = b.cleaner_frames
    return area + b.cpu
