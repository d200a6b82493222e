"""Layout: where everything lies in the kernel's window, and what is written there before paging is on.

Concepts
  1. The loader (`facade` here, a boot stub on a real target) fills in a `Config` and calls `area_bytes`, which answers
     how long the boot area must be. Then it finds so much memory.
  2. `init` fills the area through physical addresses only. It writes a copy of what it was told, the processor and
     kernel records, the page tables that must exist before there is a heap, and the leaf tables that map the image, the
     area itself and the table window. `phys` turns a physical address into one that can be loaded from at that time.
  3. The loader turns paging on with the root table that `init` answered, and calls `start` (`steps`).
  4. A window lies on one side of 0: an address is negative in the high half of 64 bits, and the order of two addresses
     of one window never crosses the sign. It does not reach the last page, whose addresses would be statuses.

In a direct map (`core/modes`) there are no page tables, and nothing is mapped: image and area have addresses as they
are, and where the heap lies is found when it is planned.

A span is what one leaf table maps. The boot area, from left to right; each part starts on a page:

    info, ranges, types | cpus | kern, region, span counts, caches, classes | root | directories | image tables
    | window tables | tables of the per-CPU windows

Where there are two levels of tables, the root is the directory.

    heap_pages << record_shift <= length of the heap map,   heap + heap_pages * page <= windows
    windows = end of the window - what is kept for per-CPU windows, at the start of a span
"""

from __future__ import annotations

from kernmalloc.kernel.boot.config import (
    BootRange,
    Config,
    area_at,
    configured,
    ram_apart,
    ranges_ok,
    root_bytes,
    settled,
    version_ok,
)
from kernmalloc.kernel.boot.hang import hang, window_free
from kernmalloc.kernel.boot.seal import seal_cpu
from kernmalloc.kernel.core.kern import (
    CACHES,
    DONATE,
    MAGIC,
    MAP_SHIFT,
    VERSION,
    WINDOWS_SHIFT,
    Byte,
    Cpu,
    Half,
    Kern,
)
from kernmalloc.kernel.core.modes import allocates, has_tables, shadows, writes_tables
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.stock import stock_init
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES
from kernmalloc.kernel.heap.slabs import Cache
from kernmalloc.kernel.heap.slots import slots_aim
from kernmalloc.lang import element, entry, failed, kernel
from kernmalloc.lang.status import AREA_SMALL, BAD_BOOT, NO_PORT, NO_VA, OK
from kernmalloc.machine.mmu import (
    executable,
    index_at,
    leaf_entry,
    root_entry,
    store_entry,
    store_upper,
    table_entry,
)
from kernmalloc.machine.primitives import copy, known_zero, map_pages, reach, zero

LINE_SHIFT = 6  # log2 of the bytes in a cache line, on which records of the boot area start
LOW_HALF = (1 << 63) - 1  # a mask: addresses that are not negative


@kernel
def _round(bytes: int, shift: int) -> int:
    """Bytes, rounded up to whole units of 2 ** shift."""
    return ((bytes + (1 << shift) - 1) >> shift) << shift


@kernel
def _touched(first: int, bytes: int, shift: int) -> int:
    """How many aligned units of 2 ** shift bytes the range [first, first + bytes) touches."""
    return ((first + bytes - 1) >> shift) - (first >> shift) + 1


@kernel
def _span_shift(info: Config) -> int:
    """log2 of the bytes in a span."""
    return info.page_shift + info.format.index_bits


@kernel
def _lay_out_tables(info: Config) -> int:
    """Find where root and directories lie, and the first leaf table behind them."""
    page = info.page_shift
    bits = info.format.index_bits
    info.root = (info.root + root_bytes(info) - 1) & -root_bytes(info)
    info.directory = info.root
    info.directories = info.format.root_pages
    shift = _span_shift(info) + bits
    if shift <= info.format.root_shift:
        info.directory = info.root + root_bytes(info)
        info.directories = _touched(info.target, info.window_bytes, shift)
    shift += bits
    while shift <= info.format.root_shift:  # tables between the root and the directories
        info.directory = info.directory + (_touched(info.target, info.window_bytes, shift) << page)
        shift += bits
    info.leaf_tables = info.directory + (info.directories << page)
    return OK


@kernel
def _span_count(info: Config) -> int:
    """Spans of the window; none in a direct map."""
    return info.window_bytes >> _span_shift(info) if writes_tables(info.mode) != 0 else 0


@kernel
def _records(info: Config) -> int:
    """Region records of the boot area: one, or all, if there is no heap."""
    return 1 if allocates(info.mode) != 0 else max(info.range_count, 1)


@kernel
def _may_lie_at(info: Config, va: int) -> int:
    """1 if the window may lie at va: on a span, on one side of 0, and not in the last page of the address space."""
    span = 1 << _span_shift(info)
    end = -(1 << info.page_shift) if va < 0 else LOW_HALF & -span
    return 1 if va & (span - 1) == 0 and info.window_bytes <= end - va else 0


@kernel
def _objects_at(info: Config) -> int:
    """Where in the boot area the object types lie: behind the copy of the configuration and the ranges."""
    return Config.size + info.range_count * BootRange.size


@kernel
def _lay_out_area(info: Config) -> int:
    """Find where the parts of the boot area lie: their offsets in it."""
    page = info.page_shift
    span_shift = _span_shift(info)
    spans = _span_count(info)
    info.info_bytes = _round(_objects_at(info) + info.object_count * ObjectType.size, page)
    info.cpu = info.info_bytes
    info.kern = info.cpu + _round(info.cpus * Cpu.size, page)
    info.region = info.kern + _round(Kern.size, LINE_SHIFT)
    info.spans = info.region + _round(_records(info) * Region.size, LINE_SHIFT)
    caches = info.spans + _round(spans * Half.size, LINE_SHIFT)
    info.root = info.kern + _round(caches - info.kern + CACHES * Cache.size + CLASS_TABLE_BYTES, page)
    if writes_tables(info.mode) == 0:
        info.directory = info.root
        info.leaf_tables = info.root
        info.area_bytes = info.root
        return OK
    _lay_out_tables(info)
    info.window_tables = _touched(0, spans << page, span_shift)
    info.cpu_tables = _touched(0, info.cpus << (WINDOWS_SHIFT + page), span_shift)
    area = info.leaf_tables + ((info.window_tables + info.cpu_tables) << page)
    info.image_tables = _touched(0, info.image_bytes + area, span_shift)
    while _touched(0, info.image_bytes + area + (info.image_tables << page), span_shift) > info.image_tables:
        info.image_tables = info.image_tables + 1  # the tables are part of what they map
    info.area_bytes = area + (info.image_tables << page)
    return OK


@kernel
def _lay_out_direct(info: Config) -> int:
    """Say what is known of a direct map before the heap is planned. NO_VA: it does not reach the boot area."""
    info.tables = info.window
    info.heap_map = info.window
    info.heap = info.window
    info.windows = info.window + info.window_bytes
    info.heap_pages = info.window_bytes >> info.page_shift if allocates(info.mode) != 0 else 0
    return OK if info.area_bytes <= info.window_bytes - info.area_pa else NO_VA


@kernel
def layout(info: Config) -> int:
    """Find where everything lies, for the request in `info`, which takes the answers: OK, or what `area_bytes` says."""
    status = version_ok(info)
    if failed(status):
        return status
    if failed(configured(info.format, info)):
        return BAD_BOOT
    status = settled(info)
    if failed(status):
        return status
    page = info.page_shift
    span_shift = _span_shift(info)
    if _may_lie_at(info, info.window) == 0 or _may_lie_at(info, info.target) == 0:
        return BAD_BOOT
    if writes_tables(info.mode) == 0:
        _lay_out_area(info)
        return _lay_out_direct(info)
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
    heap = heap_map + _round(((windows - heap_map) >> page) << (page - MAP_SHIFT), span_shift)
    pages = (windows - heap) >> page
    info.tables = info.window + tables
    info.heap_map = info.window + heap_map
    info.heap = info.window + heap
    info.windows = info.window + windows
    info.heap_pages = min(pages, info.bound) if info.bound > 0 else pages
    return OK if pages > 0 else NO_VA


@entry
def area_bytes(info: Config) -> int:
    """The bytes of memory that the boot area takes with this configuration, which takes the answers, too.

    BAD_VERSION: it is filled in by another header. BAD_BOOT: nobody knows the format or the mode; the window begins
    inside a span, crosses 0 or reaches the last page of the address space; an address of memory is none of a page;
    there are no processors, or too many. NO_VA: the window is too small to have a heap at all, or a direct map does not
    reach the boot area.
    """
    status = layout(info)
    return status if failed(status) else info.area_bytes


@kernel
def _map_static(phys: int, info: Config, span: int, number: int, leaf: int) -> int:
    """Make entry `number` of the static leaf table of a span `leaf`."""
    table = span
    if span >= info.image_tables:
        table = info.image_tables + span - ((info.tables - info.window) >> _span_shift(info))
    at = phys + info.area_pa + info.leaf_tables + (table << info.page_shift)
    store_entry(info.format, at + (number << info.format.entry_shift), leaf)
    present = element(Half(phys + info.area_pa + info.spans), span)
    present.value = present.value + 1
    return OK


@kernel
def _upper_tables(phys: int, info: Config) -> int:
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
            store_upper(info.format, first + (i << info.format.upper_entry_shift), entry)
        table = below
        shift -= bits
    return OK


@kernel
def _static_tables(phys: int, info: Config) -> int:
    """Hang the static leaf tables into the directory and the table window, and map image and boot area."""
    bits = info.format.index_bits
    span_shift = _span_shift(info)
    inside = (1 << bits) - 1
    window_span = (info.tables - info.window) >> span_shift
    cpu_span = (info.windows - info.window) >> span_shift
    directory = phys + info.area_pa + info.directory + index_at(info.format, info.target, span_shift)
    others = info.image_tables + info.window_tables
    for i in range(others + info.cpu_tables):
        span = i if i < info.image_tables else window_span + i - info.image_tables
        span = span if i < others else cpu_span + i - others
        pa = info.area_pa + info.leaf_tables + (i << info.page_shift)
        at = directory + (span << info.format.upper_entry_shift)
        store_upper(info.format, at, table_entry(info.format, pa))
        _map_static(phys, info, window_span + (span >> bits), span & inside, leaf_entry(info.format, pa))
    pages = info.image_bytes >> info.page_shift
    for i in range(pages):
        leaf = leaf_entry(info.format, info.image_pa + (i << info.page_shift))
        _map_static(phys, info, i >> bits, i & inside, executable(info.format, leaf))
    for i in range(info.area_bytes >> info.page_shift):
        at = pages + i
        _map_static(phys, info, at >> bits, at & inside, leaf_entry(info.format, info.area_pa + (i << info.page_shift)))
    return OK


@kernel
def _shadow(info: Config) -> int:
    """Have what the static leaf tables map, mapped by the kernel around: image, boot area, these tables."""
    page = info.page_shift
    map_pages(info.window, info.image_pa, info.image_bytes >> page)
    map_pages(info.window + info.image_bytes, info.area_pa, info.area_bytes >> page)
    window_span = (info.tables - info.window) >> _span_shift(info)
    cpu_span = (info.windows - info.window) >> _span_shift(info)
    table = info.area_pa + info.leaf_tables
    map_pages(info.tables, table, info.image_tables)
    table += info.image_tables << page
    map_pages(info.tables + (window_span << page), table, info.window_tables)
    table += info.window_tables << page
    map_pages(info.tables + (cpu_span << page), table, info.cpu_tables)
    return OK


@kernel
def _fill_cpus(phys: int, info: Config) -> int:
    """Fill the processors' records. The kernel's is filled."""
    area = area_at(info)
    for i in range(info.cpus):
        cpu = element(Cpu(phys + info.area_pa + info.cpu), i)
        cpu.kern = Kern(area + info.kern)
        cpu.id = i
        cpu.stride = info.stride
        stock_init(cpu, element(Cpu(area + info.cpu), i))
        cpu.windows = info.windows + (i << (WINDOWS_SHIFT + info.page_shift))
        slots_aim(Kern(phys + info.area_pa + info.kern), cpu)
        cpu.seal = seal_cpu(cpu)
        # the boot, on the first one, may take what it needs; there is enough left then (`plan`)
        cpu.reserve = info.cleaner_frames if i == 0 else 0
    return OK


@kernel
def _fill_kern(phys: int, info: Config) -> int:
    """Fill the kernel record."""
    span_shift = _span_shift(info)
    area = area_at(info)
    kern = Kern(phys + info.area_pa + info.kern)
    kern.magic = MAGIC
    kern.version = VERSION
    kern.layout = Kern.layout
    kern.address = area + info.kern
    configured(kern.format, info)
    kern.page_shift = info.page_shift
    kern.span_shift = span_shift
    kern.stage = DONATE
    kern.mode = info.mode
    kern.max_pfn = info.max_pfn
    kern.base = info.window
    kern.bytes = info.window_bytes
    kern.directory = area + info.directory
    if has_tables(kern) != 0:
        kern.directory = kern.directory + index_at(info.format, info.target, span_shift)
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
    kern.record_shift = info.page_shift - MAP_SHIFT
    kern.growth = info.growth
    kern.idle_most = info.idle_most
    kern.caches = Cache(kern.spans.addr + _round(_span_count(info) * Half.size, LINE_SHIFT))
    kern.class_of = Byte(element(kern.caches, CACHES).addr)
    kern.info = Config(area)
    kern.root = area + info.root
    kern.static_end = area + info.leaf_tables + (info.image_tables << info.page_shift)
    kern.ranges = BootRange(area + Config.size)
    kern.range_count = info.range_count
    kern.range_next = info.range_count
    kern.objects = ObjectType(area + _objects_at(info))
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


@kernel
def _told(info: Config, phys: int) -> int:
    """Put what was told at the start of the boot area, if it is not there already, and zeros behind it:
    memory that was zero when the machine was started still is, but for what was told."""
    area = phys + info.area_pa
    objects = area + _objects_at(info)
    if info.ranges.addr != area + Config.size:
        copy(area + Config.size, info.ranges.addr, info.range_count * BootRange.size)
    if info.objects.addr != objects:
        copy(objects, info.objects.addr, info.object_count * ObjectType.size)
    end = objects + info.object_count * ObjectType.size
    if known_zero(info.area_pa, info.area_bytes) == 0:
        zero(end, area + info.area_bytes - end)
    if info.addr != area:
        copy(area, info.addr, Config.size)
    return OK


@kernel
def _may_init(info: Config) -> int:
    """OK if memory is as the configuration says. Changes nothing."""
    processors = reach()
    if info.cpus > processors:
        return NO_PORT
    if shadows(info.mode) != 0:
        if map_pages(info.window, info.image_pa, 0) == 0:
            return NO_PORT
    if info.area_room < info.area_bytes:
        return AREA_SMALL
    status = ranges_ok(info.ranges, info.range_count, info.max_pfn)
    if status == OK:
        status = ram_apart(info, info.area_pa, info.area_bytes)
    if status == OK:
        status = ram_apart(info, info.image_pa, info.image_bytes)
    return status


@entry
def init(info: Config, phys: int) -> int:
    """Fill the boot area, before paging is on: the physical address of the root of the page tables, if there are any.

    `phys` is what turns a physical address into one that can be loaded from. The configuration, and the ranges and
    object types behind it, may lie at the start of the area already, or outside. The statuses of `area_bytes`, and
    AREA_SMALL: the area has less room than it needs. OVERLAP: ranges overlap, or the area or the image lies in RAM that
    the kernel is to manage. WRAPS: something lies above the physical address limit. NO_PORT: there are more
    processors than the port's shootdown reaches, or mode SHADOW asks for a port that maps pages. WINDOW_USED: the
    tables that are there map something where the window would lie. Then nothing is written but the answers.
    """
    status = layout(info)
    if status == OK:
        status = _may_init(info)
    if status == OK:
        status = window_free(phys, info)
    if failed(status):
        return status
    _told(info, phys)
    made = Config(phys + info.area_pa)
    made.ranges = BootRange(area_at(info) + Config.size)
    made.objects = ObjectType(area_at(info) + _objects_at(info))
    if writes_tables(info.mode) != 0:
        _upper_tables(phys, made)
        _static_tables(phys, made)
    if shadows(info.mode) != 0:
        _shadow(made)
    _fill_kern(phys, made)
    _fill_cpus(phys, made)
    return hang(phys, made)
