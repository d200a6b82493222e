"""Configuration: what a kernel is told before it starts, and whether that can be.

Concepts
  1. Whoever loads the kernel fills in a `Config`: what the machine is, what the kernel shall be like, where memory is
     left for the boot area. A field that is 0 has its usual value, where it has one (`settled`).
  2. `layout` writes its answers into the last fields: where everything lies in the boot area and in the window.
  3. A configuration that cannot be is answered by a status of its own before anything else is written.

The first two fields say whose header the record was filled in by: another one has other fields.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import CPUS, MAX_PFN, RAM, VERSION, WINDOWS_SHIFT
from kernmalloc.kernel.core.modes import FIRST_MODE, LAST_MODE, allocates, shadows, writes_tables
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.lang import Record, element, failed, field, i64, inline, kernel, u32
from kernmalloc.lang.status import BAD_BOOT, BAD_VERSION, OK, OVERLAP, WRAPS
from kernmalloc.machine.mmu import Format, entry_pa, format_init, has_entries, span_shift

LAYOUT_SHIFT = 16  # a version is VERSION, and below it the layout of the configuration
USUAL_ENTRY = 16  # bytes of a core table entry, and of a page's identity
USUAL_GROWTH = 16  # pages
COUNT_BITS = 32  # of a number of ranges or object types
UPPER_ALIGN = 32  # bytes; the least of any format's root
LEAST_SHIFT = 12  # log2 of the bytes in a page, where the format does not say it
MOST_SHIFT = 16  # a page is no larger than an object of a cache


class BootRange(Record):
    """A range of physical memory, whole frames, as the loader found it."""

    base: i64 = field("first pfn")
    count: i64 = field("frames")
    kind: i64 = field("class of the region")


class Config(Record):
    """What the kernel is told, and what `layout` answers. Lengths are in bytes unless they say otherwise."""

    version: u32 = field("KM_VERSION, of the header by which it is filled in")
    bytes: u32 = field("length of this record")
    mode: i64 = field("whose page tables the window's are: OWNER, GUEST, SHADOW, ONLY_FRAMES (`core/modes`)")
    arch: i64 = field("number of the format of page tables (`machine/arch`)")
    page_shift: i64 = field("log2 of the bytes in a page; usually the format's")
    max_pfn: i64 = field("first pfn beyond the physical address limit; usually the format's")
    window: i64 = field("VA of the kernel's window as the kernel uses it; in a direct map it is `direct`")
    target: i64 = field("VA where the tables put the window, if a host maps it elsewhere; usually `window`")
    window_bytes: i64 = field("length of the window; in a direct map it is `direct_bytes`")
    cpu_windows: i64 = field("bytes at the end of the window kept for per-CPU windows (E15); usually what they need")
    upper: i64 = field("physical address of a root table into which the window's tables are hung; 0: an own one")
    no_execute: i64 = field("1: of the window only the image can be executed; the processor must know that bit")
    direct: i64 = field("VA of physical address 0 in the kernel's own map of memory, where it has one")
    direct_bytes: i64 = field("how far that map reaches")
    image_pa: i64 = field("physical address of the kernel image, which the start of the window maps")
    image_bytes: i64 = field("length of the image, whole pages; 0: it is mapped elsewhere")
    area_pa: i64 = field("physical address of the boot area")
    area_room: i64 = field("bytes of memory that the boot area may take")
    cpus: i64 = field("processors")
    stride: i64 = field("bytes from one core table entry to the next; usually 16")
    identity: i64 = field("bytes per frame for page identities; usually 16")
    no_pages: i64 = field("1: there is no page cache, and no page is named")
    growth: i64 = field("pages by which the heap grows; usually 16")
    idle_most: i64 = field("the most pages that the heap keeps idle; usually one growth")
    bound: i64 = field("most pages that the heap may have; 0: what the window holds")
    static: i64 = field("1: all objects are allocated at boot")
    affine: i64 = field("1: the heap planned for the boot is contiguous and in large pages (C2 to C6)")
    growable: i64 = field("pages by which an affine heap may grow beyond that (C17); a guest's usually by all")
    excess: i64 = field("pages reserved at boot for `release` to give back (C18)")
    headroom: i64 = field("pages of an affine heap kept free for malloc")
    device_ranges: i64 = field("device ranges whose region records are allocated at boot")
    reserves: i64 = field("1: entries for device frames come from a reserve only (C15)")
    device_pages: i64 = field("device frames whose entries are reserved")
    last_frames: i64 = field("device frames whose entries are kept for last words (C22)")
    last_ranges: i64 = field("region records kept for them")
    last_maps: i64 = field("mapping frames kept for them")
    lenient: i64 = field("1: growth may break what the bank was promised; in a direct map that is usual")
    withheld: i64 = field("frames that are not promised to the bank: declared growth")
    promised: i64 = field("frames to promise; 0: all that are not withheld")
    cleaner_frames: i64 = field("free frames that only cleaners may take")
    ranges: BootRange = field("the ranges of memory in ascending order, an array")
    range_count: i64 = field("how many")
    objects: ObjectType = field("the object types to make caches for, an array")
    object_count: i64 = field("how many")
    # the answers of `layout`: offsets in the boot area, and lengths
    info_bytes: i64 = field("length of the area's first part, this record and the arrays; whole pages")
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
    region: i64 = field("offset of the first region record; the others follow, where there is no heap")
    spans: i64 = field("offset of the counts of present entries, one per span")
    windows: i64 = field("VA of the per-CPU windows")
    format: Format = inline("the format of the page tables")


@kernel
def version_ok(config: Config) -> int:
    """OK if a configuration has the fields that this kernel knows; BAD_VERSION."""
    if config.version != VERSION << LAYOUT_SHIFT | Config.layout or config.bytes != Config.size:
        return BAD_VERSION
    return OK


@kernel
def configured(format: Format, config: Config) -> int:
    """Fill in the format of page tables as a configuration has it: OK. BAD_BOOT: there is none of its number, or it
    cannot keep pages from being executed."""
    if failed(format_init(format, config.arch)):
        return BAD_BOOT
    if config.no_execute == 0:
        return OK
    if format.execute_mask == 0:
        return BAD_BOOT
    format.leaf = (format.leaf & ~format.execute_mask) | (format.execute_mask ^ format.execute_value)
    mask = format.execute_large_mask
    format.large = (format.large & ~mask) | (mask ^ format.execute_large_value)
    return OK


@kernel
def area_at(config: Config) -> int:
    """VA of the boot area: behind the image, or where it lies in a direct map."""
    return config.window + (config.image_bytes if writes_tables(config.mode) != 0 else config.area_pa)


@kernel
def _settled_direct(config: Config) -> int:
    """Give fields their values in a direct map: it is the window, and the heap is affine. OK, or BAD_BOOT."""
    config.window = config.direct
    config.window_bytes = config.direct_bytes
    config.affine = 1
    if config.growable == 0 and config.static == 0:
        config.growable = MAX_PFN
    if config.promised == 0 and config.withheld == 0:
        config.lenient = 1
    if (config.upper | config.no_execute) != 0:
        return BAD_BOOT
    return OK if config.direct_bytes > 0 and config.growable >= 0 else BAD_BOOT


@kernel
def _settled_frames(config: Config) -> int:
    """Give fields their values where there is no heap: nothing is kept in it. OK, or BAD_BOOT."""
    config.growable = 0
    config.excess = 0
    config.headroom = 0
    config.device_ranges = 0
    config.device_pages = 0
    config.last_frames = 0
    config.last_ranges = 0
    config.last_maps = 0
    return OK if config.object_count == 0 else BAD_BOOT


@kernel
def root_bytes(config: Config) -> int:
    """Bytes of the kernel's root table, to which it is aligned, too."""
    return config.format.root_pages << config.page_shift


@kernel
def _upper_settled(config: Config) -> int:
    """OK if the window's tables can be hung into the client's: the root of two levels is the window's directory, which
    is the kernel's own. BAD_BOOT."""
    if shadows(config.mode) != 0 or config.format.root_shift == span_shift(config.format):
        return BAD_BOOT
    if config.upper < 0 or config.upper & (UPPER_ALIGN - 1) != 0:
        return BAD_BOOT
    return OK if config.upper >> config.page_shift < config.max_pfn else BAD_BOOT


@kernel
def settled(config: Config) -> int:
    """Give the fields that are 0 their usual values, where they have one: OK if the numbers agree then. BAD_BOOT.

    Its format is filled in.
    """
    if config.mode < FIRST_MODE or config.mode > LAST_MODE:
        return BAD_BOOT
    if writes_tables(config.mode) == 0 and failed(_settled_direct(config)):
        return BAD_BOOT
    if allocates(config.mode) == 0:
        config.no_pages = 1
    if config.page_shift == 0:
        config.page_shift = config.format.page_shift
    if config.max_pfn == 0:
        config.max_pfn = MAX_PFN
        if has_entries(config.format) != 0:
            config.max_pfn = min((entry_pa(config.format, -1) >> config.format.page_shift) + 1, MAX_PFN)
    if config.target == 0:
        config.target = config.window
    if config.stride == 0:
        config.stride = USUAL_ENTRY
    if config.identity == 0 or config.no_pages != 0:
        config.identity = USUAL_ENTRY
    if config.growth == 0:
        config.growth = USUAL_GROWTH
    if config.idle_most == 0:
        config.idle_most = config.growth
    if has_entries(config.format) == 0:
        if writes_tables(config.mode) != 0 or config.page_shift < LEAST_SHIFT or config.page_shift > MOST_SHIFT:
            return BAD_BOOT
    elif config.page_shift != config.format.page_shift:
        return BAD_BOOT
    if config.cpus < 1 or config.cpus > CPUS or config.max_pfn < 1 or config.max_pfn > MAX_PFN:
        return BAD_BOOT
    if config.cpu_windows == 0:
        config.cpu_windows = config.cpus << (WINDOWS_SHIFT + config.page_shift)
    page = 1 << config.page_shift
    if min(config.stride, config.identity) < USUAL_ENTRY or max(config.stride, config.identity) > page:
        return BAD_BOOT
    if (config.stride | config.identity) & 7 != 0 or config.growth < 1 or config.idle_most < config.growth:
        return BAD_BOOT
    places = config.image_pa | config.image_bytes | config.area_pa
    if places < 0 or places & (page - 1) != 0:
        return BAD_BOOT
    if config.upper != 0 and failed(_upper_settled(config)):
        return BAD_BOOT
    if config.area_pa & (root_bytes(config) - 1) != 0:
        return BAD_BOOT
    if (config.range_count | config.object_count) >> COUNT_BITS != 0:
        return BAD_BOOT
    status = OK if allocates(config.mode) != 0 else _settled_frames(config)
    if config.no_pages != 0:
        config.identity = 0
    return status


@kernel
def ranges_ok(ranges: BootRange, count: int, max_pfn: int) -> int:
    """OK if ranges ascend without overlap, below the address limit. OVERLAP, WRAPS."""
    end = 0
    for i in range(count):
        range_ = element(ranges, i)
        if range_.base < 0 or range_.count < 0 or range_.count > max_pfn:
            return WRAPS
        if range_.base > max_pfn - range_.count:
            return WRAPS
        if range_.base < end:
            return OVERLAP
        end = range_.base + range_.count
    return OK


@kernel
def ram_apart(config: Config, pa: int, bytes: int) -> int:
    """OK if no range of RAM that the kernel is to manage has a byte of [pa, pa + bytes). OVERLAP, WRAPS."""
    first = pa >> config.page_shift
    if first >= config.max_pfn:
        return WRAPS
    end = (pa + bytes + (1 << config.page_shift) - 1) >> config.page_shift
    if end > config.max_pfn:
        return WRAPS
    for i in range(config.range_count):
        range_ = element(config.ranges, i)
        if range_.kind == RAM and range_.base < end and first < range_.base + range_.count:
            return OVERLAP
    return OK
