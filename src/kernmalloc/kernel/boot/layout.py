"""Layout: where everything lies in the kernel's window, and what is written there before paging is on.

Concepts
  1. The loader (`machine` here, a boot stub on a real target) puts a `BootInfo` record, the ranges of memory and the
     object types at the start of the boot area, and calls `layout`, which answers how long that area must be.
  2. `prepare` fills the area through physical addresses only. It writes the processor and kernel records, the page
     tables that must exist before there is a heap, and the leaf tables that map the image, the area itself and the
     table window. `phys` turns a physical address into one that can be loaded from at that time.
  3. The loader turns paging on with the root table, and calls `boot` with the processor record.
  4. A window lies on one side of 0: an address is negative in the high half of 64 bits, and the order of two addresses
     of one window never crosses the sign. It does not reach the last page, whose addresses would be statuses.

A span is what one leaf table maps. The boot area, from left to right; each part starts on a page:

    info, ranges, types | cpus | kern, region, span counts, caches, classes | root | directories | image tables
    | window tables | tables of the per-CPU windows

    heap_pages * 64 <= length of the heap map,   heap + heap_pages * page <= windows
    windows = end of the window - what is kept for per-CPU windows, at the start of a span
"""

from __future__ import annotations

from kernmalloc.kernel.boot.seal import seal_cpu
from kernmalloc.kernel.core.kern import (
    CACHES,
    CPUS,
    DONATE,
    LARGEST_CLASS,
    MAGIC,
    VERSION,
    WINDOWS_SHIFT,
    Byte,
    Cpu,
    Half,
    Kern,
)
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.stock import stock_init
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES
from kernmalloc.kernel.heap.slabs import Cache
from kernmalloc.lang import Record, element, entry, failed, field, i64, inline, kernel
from kernmalloc.lang.status import BAD_BOOT, NO_VA, OK
from kernmalloc.machine.mmu import Entry, Format, format_init, index_at, leaf_entry, root_entry, table_entry
from kernmalloc.machine.primitives import zero

LINE_SHIFT = 6  # log2 of the bytes in a cache line, on which records of the boot area start
LOW_HALF = (1 << 63) - 1  # a mask: addresses that are not negative


class BootRange(Record):
    """A range of physical memory, whole frames, as the loader found it."""

    base: i64 = field("first pfn")
    count: i64 = field("frames")
    kind: i64 = field("class of the region")


class BootInfo(Record):
    """What the loader tells the kernel, and what `layout` answers. Lengths are in bytes unless they say otherwise."""

    arch: i64 = field("number of the format of page tables (`machine/arch`)")
    page_shift: i64 = field("log2 of the bytes in a page")
    max_pfn: i64 = field("first pfn beyond the physical address limit")
    window: i64 = field("VA of the kernel's window as the kernel uses it")
    target: i64 = field(
        "VA where the tables put the window: the target's; `window` differs only where a host maps it elsewhere"
    )
    window_bytes: i64 = field("length of the window")
    cpu_windows: i64 = field("bytes at the end of the window kept for per-CPU windows (E15)")
    image_pa: i64 = field("physical address of the kernel image")
    image_bytes: i64 = field("length of the image, whole pages")
    area_pa: i64 = field("physical address of the boot area")
    info_bytes: i64 = field("length of the area's first part, this record and the arrays; whole pages")
    cpus: i64 = field("processors")
    stride: i64 = field("bytes from one core table entry to the next")
    identity: i64 = field("bytes per frame for page identities")
    growth: i64 = field("pages by which the heap grows")
    idle_most: i64 = field("the most pages that the heap keeps idle")
    bound: i64 = field("most pages that the heap may have; 0: what the window holds")
    static: i64 = field("1: all objects are allocated at boot")
    affine: i64 = field("1: the heap planned for the boot is contiguous and in large pages (C2 to C6)")
    growable: i64 = field("pages by which an affine heap may grow beyond that (C17)")
    excess: i64 = field("pages reserved at boot for `release` to give back (C18)")
    headroom: i64 = field("pages of an affine heap kept free for malloc")
    device_ranges: i64 = field("device ranges whose region records are allocated at boot")
    reserves: i64 = field("1: entries for device frames come from a reserve only (C15)")
    device_pages: i64 = field("device frames whose entries are reserved")
    last_frames: i64 = field("device frames whose entries are kept for last words (C22)")
    last_ranges: i64 = field("region records kept for them")
    last_maps: i64 = field("mapping frames kept for them")
    lenient: i64 = field("1: growth may break what the bank was promised")
    withheld: i64 = field("frames that are not promised to the bank: declared growth")
    promised: i64 = field("frames to promise; 0: all that are not withheld")
    cleaner_frames: i64 = field("free frames that only cleaners may take")
    ranges: i64 = field("offset of the ranges in the area")
    range_count: i64 = field("ranges")
    objects: i64 = field("offset of the object types in the area")
    object_count: i64 = field("object types")
    # the answers of `layout`: offsets in the boot area, and lengths
    cpu: i64 = field("offset of the first processor record")
    kern: i64 = field("offset of the kernel record")
    root: i64 = field("offset of the root table")
    directory: i64 = field("offset of the first directory")
    directories: i64 = field("directories")
    image_tables: i64 = field("leaf tables that map the image and the boot area")
    window_tables: i64 = field("leaf tables that map the table window")
    cpu_tables: i64 = field("leaf tables that map the per-CPU windows")
    leaf_tables: i64 = field("offset of the first of all these leaf tables")
    area_bytes: i64 = field("length of the boot area")
    tables: i64 = field("VA of the table window")
    heap_map: i64 = field("VA of the heap map")
    heap: i64 = field("VA of the heap")
    heap_pages: i64 = field("pages of the heap")
    region: i64 = field("offset of the first region record")
    spans: i64 = field("offset of the counts of present entries, one per span")
    windows: i64 = field("VA of the per-CPU windows")
    format: Format = inline("the format of the page tables")


@kernel
def _round(bytes: int, shift: int) -> int:
    """Bytes, rounded up to whole units of 2 ** shift."""
    return ((bytes + (1 << shift) - 1) >> shift) << shift


@kernel
def _touched(first: int, bytes: int, shift: int) -> int:
    """How many aligned units of 2 ** shift bytes the range [first, first + bytes) touches."""
    return ((first + bytes - 1) >> shift) - (first >> shift) + 1


@kernel
def _span_shift(info: BootInfo) -> int:
    """log2 of the bytes in a span."""
    return info.page_shift + info.format.index_bits


@kernel
def _may_lie_at(info: BootInfo, va: int) -> int:
    """1 if the window may lie at va: on a span, on one side of 0, and not in the last page of the address space."""
    span = 1 << _span_shift(info)
    end = -(1 << info.page_shift) if va < 0 else LOW_HALF & -span
    return 1 if va & (span - 1) == 0 and info.window_bytes <= end - va else 0


@kernel
def _lay_out_area(info: BootInfo) -> int:
    """Find where the parts of the boot area lie: their offsets in it."""
    page = info.page_shift
    bits = info.format.index_bits
    span_shift = _span_shift(info)
    spans = info.window_bytes >> span_shift
    info.cpu = info.info_bytes
    info.kern = info.cpu + _round(info.cpus * Cpu.size, page)
    info.region = info.kern + _round(Kern.size, LINE_SHIFT)
    info.spans = info.region + _round(Region.size, LINE_SHIFT)
    caches = info.spans + _round(spans * Half.size, LINE_SHIFT)
    info.root = info.kern + _round(caches - info.kern + CACHES * Cache.size + CLASS_TABLE_BYTES, page)
    uppers = 1  # the root, and the tables between it and the directories
    shift = span_shift + bits + bits
    while shift <= info.format.root_shift:
        uppers += _touched(info.target, info.window_bytes, shift)
        shift += bits
    info.directory = info.root + (uppers << page)
    info.directories = _touched(info.target, info.window_bytes, span_shift + bits)
    info.leaf_tables = info.directory + (info.directories << page)
    info.window_tables = _touched(0, spans << page, span_shift)
    info.cpu_tables = _touched(0, info.cpus << (WINDOWS_SHIFT + page), span_shift)
    area = info.leaf_tables + ((info.window_tables + info.cpu_tables) << page)
    info.image_tables = _touched(0, info.image_bytes + area, span_shift)
    while _touched(0, info.image_bytes + area + (info.image_tables << page), span_shift) > info.image_tables:
        info.image_tables = info.image_tables + 1  # the tables are part of what they map
    info.area_bytes = area + (info.image_tables << page)
    return OK


@entry
def layout(info: BootInfo) -> int:
    """Find where everything lies, for the request in `info`, which takes the answers: OK.

    BAD_BOOT: nobody knows the format; the window begins inside a span, crosses 0 or reaches the last page of the
    address space; there are no processors, or too many. NO_VA: the window is too small to have a heap at all.
    """
    if failed(format_init(info.format, info.arch)):
        return BAD_BOOT
    page = info.page_shift
    span_shift = _span_shift(info)
    if info.cpus < 1 or info.cpus > CPUS:
        return BAD_BOOT
    if _may_lie_at(info, info.window) == 0 or _may_lie_at(info, info.target) == 0:
        return BAD_BOOT
    if info.cpus << (WINDOWS_SHIFT + page) > info.cpu_windows:
        return NO_VA
    if info.cpu_windows > info.window_bytes or info.image_bytes > info.window_bytes:
        return NO_VA
    _lay_out_area(info)
    # offsets in the window, so that nothing passes its end before that is known
    tables = _round(info.image_bytes + info.area_bytes, span_shift)
    heap_map = tables + (info.window_tables << span_shift)
    windows = ((info.window_bytes - info.cpu_windows) >> span_shift) << span_shift
    if windows <= heap_map:
        return NO_VA
    heap = heap_map + _round(((windows - heap_map) >> page) * HeapPage.size, span_shift)
    pages = (windows - heap) >> page
    info.tables = info.window + tables
    info.heap_map = info.window + heap_map
    info.heap = info.window + heap
    info.windows = info.window + windows
    info.heap_pages = min(pages, info.bound) if info.bound > 0 else pages
    return OK if pages > 0 else NO_VA


@kernel
def _map_static(phys: int, info: BootInfo, span: int, pfn: int, first: int, count: int) -> int:
    """Map `count` frames from pfn on in the static leaf table of a span, from its entry `first` on."""
    table = span
    if span >= info.image_tables:
        table = info.image_tables + span - ((info.tables - info.window) >> _span_shift(info))
    at = phys + info.area_pa + info.leaf_tables + (table << info.page_shift)
    for i in range(count):
        Entry(at + ((first + i) << info.format.entry_shift)).bits = leaf_entry(
            info.format, (pfn + i) << info.page_shift
        )
    present = element(Half(phys + info.area_pa + info.spans), span)
    present.value = present.value + count
    return OK


@kernel
def _upper_tables(phys: int, info: BootInfo) -> int:
    """Fill the tables above the directories, from the root down."""
    bits = info.format.index_bits
    table = info.area_pa + info.root
    count = 1  # tables of a level, side by side; those that they lead to lie behind them
    shift = info.format.root_shift
    while shift > _span_shift(info):
        below = table + (count << info.page_shift)
        count = _touched(info.target, info.window_bytes, shift)
        first = phys + table + index_at(info.format, info.target, shift)
        for i in range(count):
            pa = below + (i << info.page_shift)
            entry = root_entry(info.format, pa) if shift == info.format.root_shift else table_entry(info.format, pa)
            Entry(first + (i << info.format.entry_shift)).bits = entry
        table = below
        shift -= bits
    return OK


@kernel
def _static_tables(phys: int, info: BootInfo) -> int:
    """Hang the static leaf tables into the directory and the table window, and map image and boot area."""
    bits = info.format.index_bits
    span_shift = _span_shift(info)
    inside = (1 << bits) - 1
    window_span = (info.tables - info.window) >> span_shift
    cpu_span = (info.windows - info.window) >> span_shift
    directory = phys + info.area_pa + info.directory + index_at(info.format, info.target, span_shift)
    table_pfn = (info.area_pa + info.leaf_tables) >> info.page_shift
    others = info.image_tables + info.window_tables
    for i in range(others + info.cpu_tables):
        span = i if i < info.image_tables else window_span + i - info.image_tables
        span = span if i < others else cpu_span + i - others
        entry = Entry(directory + (span << info.format.entry_shift))
        entry.bits = table_entry(info.format, (table_pfn + i) << info.page_shift)
        _map_static(phys, info, window_span + (span >> bits), table_pfn + i, span & inside, 1)
    pages = info.image_bytes >> info.page_shift
    for i in range(pages):
        _map_static(phys, info, i >> bits, (info.image_pa >> info.page_shift) + i, i & inside, 1)
    for i in range(info.area_bytes >> info.page_shift):
        at = pages + i
        _map_static(phys, info, at >> bits, (info.area_pa >> info.page_shift) + i, at & inside, 1)
    return OK


@kernel
def _fill_cpus(phys: int, info: BootInfo) -> int:
    """Fill the processors' records."""
    area = info.window + info.image_bytes
    for i in range(info.cpus):
        cpu = element(Cpu(phys + info.area_pa + info.cpu), i)
        cpu.kern = Kern(area + info.kern)
        cpu.id = i
        cpu.stride = info.stride
        cpu.quick = LARGEST_CLASS
        stock_init(cpu, element(Cpu(area + info.cpu), i))
        cpu.windows = info.windows + (i << (WINDOWS_SHIFT + info.page_shift))
        cpu.seal = seal_cpu(cpu)
        # the boot, on the first one, may take what it needs; there is enough left then (`plan`)
        cpu.reserve = info.cleaner_frames if i == 0 else 0
    return OK


@kernel
def _fill_kern(phys: int, info: BootInfo) -> int:
    """Fill the kernel record."""
    span_shift = _span_shift(info)
    area = info.window + info.image_bytes
    kern = Kern(phys + info.area_pa + info.kern)
    kern.magic = MAGIC
    kern.version = VERSION
    kern.layout = Kern.layout
    kern.address = area + info.kern
    format_init(kern.format, info.arch)
    kern.page_shift = info.page_shift
    kern.span_shift = span_shift
    kern.stage = DONATE
    kern.max_pfn = info.max_pfn
    kern.base = info.window
    kern.bytes = info.window_bytes
    kern.directory = area + info.directory + index_at(info.format, info.target, span_shift)
    kern.tables = info.tables
    kern.spans = Half(area + info.spans)
    kern.windows = info.windows
    kern.cpus = Cpu(area + info.cpu)
    kern.cpu_count = info.cpus
    kern.boot_region = Region(area + info.region)
    kern.stride = info.stride
    kern.identity = info.identity
    kern.heap = info.heap
    kern.heap_pages = info.heap_pages
    kern.heap_map = HeapPage(info.heap_map)
    kern.growth = info.growth
    kern.idle_most = info.idle_most
    kern.caches = Cache(kern.spans.addr + _round((info.window_bytes >> span_shift) * Half.size, LINE_SHIFT))
    kern.class_of = Byte(element(kern.caches, CACHES).addr)
    kern.info = BootInfo(area)
    kern.root = area + info.root
    kern.static_end = area + info.leaf_tables + (info.image_tables << info.page_shift)
    kern.ranges = BootRange(area + info.ranges)
    kern.range_count = info.range_count
    kern.range_next = info.range_count
    kern.objects = ObjectType(area + info.objects)
    kern.object_count = info.object_count
    kern.static = info.static
    kern.affine = info.affine
    kern.growable = info.growable
    kern.excess = info.excess
    kern.headroom = info.headroom
    kern.device_ranges = info.device_ranges
    kern.reserves = info.reserves
    kern.device_pages = info.device_pages
    kern.last_frames = info.last_frames
    kern.last_ranges = info.last_ranges
    kern.last_maps = info.last_maps
    kern.lenient = info.lenient
    kern.withheld = info.withheld
    kern.asked = info.promised
    kern.stalls.reserve = info.cleaner_frames
    return OK


@entry
def prepare(phys: int, info: BootInfo) -> int:
    """Fill the boot area, before paging is on: the VA of the first processor's record.

    `phys` is what turns a physical address into one that can be loaded from; `layout` has answered OK in `info`.
    """
    zero(phys + info.area_pa + info.info_bytes, info.area_bytes - info.info_bytes)
    _upper_tables(phys, info)
    _static_tables(phys, info)
    _fill_cpus(phys, info)
    _fill_kern(phys, info)
    return info.window + info.image_bytes + info.cpu
