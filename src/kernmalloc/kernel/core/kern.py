"""The kernel's own records: all that it knows hangs off these.

Concepts
  1. `Kern`, one per kernel: where everything lies in its virtual window, the region tree, the frames by type, the heap.
  2. `Cpu`, one per processor: the context that every kernel function takes first. It leads to the `Kern` record and
     holds what only that processor touches, so that no lock guards it: its frames (`stock`), its magazines.
  3. `Magazine`, one per processor and cache: where that processor takes slots from. A common cache has one for all
     processors, guarded by the lock, so that its limit is exact.

All lie in the boot area (`layout`), a part of the kernel's image: they exist before the heap does. An address is
a kernel virtual address (VA) unless its name says `pa`; a frame is named by its number, `pfn`. A span is what one leaf
table maps of the window.

The kernel's virtual window, from left to right; `layout` finds the sizes:

    image | boot area | table window | heap map | heap ............................ | per-CPU windows

    tables   + ((va - base) >> page_shift) * 8     the leaf entry that maps va
    heap_map + ((va - heap) >> page_shift << record_shift)    the record of the heap page at va

In a direct map (`modes`) the window is that map: base is the VA of physical address 0. There is no table window, image
and boot area lie where they are in RAM, and the heap map lies right below the heap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.kernel.core.tree import Link
from kernmalloc.lang import Record, array, field, i64, inline, parameter, u8, u16, u32, usize
from kernmalloc.machine.mmu import Format

if TYPE_CHECKING:  # records of the rooms above, which these lead to or hold
    from kernmalloc.kernel.boot.added import Adding
    from kernmalloc.kernel.boot.config import BootRange, Config
    from kernmalloc.kernel.boot.sizing import Plan
    from kernmalloc.kernel.check.tally import Tally
    from kernmalloc.kernel.frames.claims import Stalls, Thread
    from kernmalloc.kernel.frames.regions import Region
    from kernmalloc.kernel.frames.stock import Group, Stock
    from kernmalloc.kernel.heap.bins import HeapPage
    from kernmalloc.kernel.heap.caches import ObjectType
    from kernmalloc.kernel.heap.slabs import Cache, Magazine, Stacked
    from kernmalloc.kernel.pages.pages import Pages

MAGIC = 0x6C616D6B  # "kmal", where bytes go from the lowest up
VERSION = 1  # of what the fields mean, where their layout does not tell

# what a frame is. HEAP is the note's PtKernelHeap (E37); MAPPING has a type of its own (E18)
FREE = 0
HEAP = 1
MAPPING = 2
PAGE = 3
DMA = 4
DEVICE = 5
RESERVED = 6
TYPES = 7
TYPE_NAMES = ("free", "heap", "mapping", "page", "dma", "device", "reserved")

# what a region is ("Physical Memory Regions" of EROS v2)
RAM = 1
ROM = 2
NVRAM = 3
DEVICE_MEMORY = 4
RESERVED_MEMORY = 5
CARVED_MEMORY = 6  # RAM that the loader keeps: image, ramdisk, boot tables, boot area
CLASSES = 7
CLASS_NAMES = ("", "ram", "rom", "nvram", "device", "reserved", "carved")

# whose page tables the window's are
OWNER = 0  # the kernel's own
GUEST = 1  # the client's, and none are needed: the heap lies in its direct map
SHADOW = 2  # the client's: it maps and unmaps pages as it is told
ONLY_FRAMES = 3  # there is no heap
MODE_NAMES = ("owner", "guest", "shadow", "frames")

# how far the boot has come; `boot` says what each stage does
DONATE = 0
TABLE = 1
MARK = 2
LIST = 3
REST = 4
OBJECTS = 5
UP = 6

SIZE_CLASSES = parameter("SIZE_CLASSES", 72)  # 8 for each doubling: a multiple of 8, at least 16
LARGEST_CLASS = 256 << (SIZE_CLASSES // 8 - 2)  # bytes of the largest of them
OWN_CACHES = parameter("OWN_CACHES", 7)  # behind the size classes: what the kernel allocates in them is its own
CACHES = parameter("CACHES", 128)  # size classes and typed caches together
GRAIN_SHIFT = 4  # log2 of a grain: the bytes that every allocation begins at a multiple of
WINDOWS_SHIFT = 3  # log2 of the windows that a processor has
CPUS = 4096  # processors at most
STACK = parameter("STACK", 104)  # slots on a magazine's stack, at most
FULL_STACKS = 32  # size classes that have so many: those up to 1 KiB. The next 8 have half as many, and so on
# slots on all stacks of a processor; an object type's stack has half as many as STACK (`slabs`)
STACKS = (
    (FULL_STACKS + 8) * STACK
    - 8 * (STACK >> max((SIZE_CLASSES - FULL_STACKS) >> 3, 0))
    + (CACHES - SIZE_CLASSES) * (STACK >> 1)
)
FRAMES = 64  # groups of single frames that a processor keeps at most
CHUNKS = 16  # chunks that it keeps
MAP_SHIFT = parameter("MAP_SHIFT", 6)  # log2 of the bytes of the heap that a byte of the heap map is for
BINS = parameter("BINS", 256)  # lists of free heap runs of one use, by length
FREE_USES = parameter("FREE_USES", 3)  # of free heap runs: IDLE, BARE and KEPT, or the last ones of these

# what a page of the cache is
EMPTY = 0  # it holds none
READING = 1
CLEAN = 2
DIRTY = 3
WRITING = 4
REWRITTEN = 5  # being written back, and written to since
FAILED = 6
STATES = 7
SMALL = 0  # the queues of pages (`reclaim`)
MAIN = 1

ABSENT = -1  # no frame, no page, no run, no bit
LINKS = 1 << 32  # what a link of 32 bits can name
MAX_PFN = 1 << 40  # no machine has an address of more than 52 bits


class Word(Record):
    """Eight bytes: a bitmap's word, a link."""

    bits: i64 = field("the value")


class Index(Record):
    """Four bytes: a heap page's number plus one, 0 for none; or any other small number. Arrays of them are packed."""

    value: u32 = field("the value")


class Half(Record):
    """Two bytes: a count in a packed array."""

    value: u16 = field("the value")


class Byte(Record):
    """One byte of a packed array."""

    value: u8 = field("the value")


class Gate(Record):
    """What a processor's quick paths may do. Where all is 0, but for `high`, which is `Cpu.low`, it is shut."""

    takes: usize = field("bytes of the largest slot that they may take; 0: none, the processor must look at something")
    gives: usize = field("grains of the heap of which they may read the records, to give slots back; 0: none")
    high: i64 = field("first pfn beyond the region that they are aimed at")


class Cpu(Record, align=64):
    """One processor: the context of every kernel function. Records of two processors share no cache line."""

    kern: Kern = field("the kernel")
    id: u32 = field("number of this processor, from 0")
    depth: u32 = field("how often it has entered the kernel and not left it")
    run: i64 = field("frames in the run that the last `take_run` returned")
    open: u32 = field("which of its windows map a frame now: bit i is window i")
    flags: usize = field("whether interrupts were on when it entered")
    low: i64 = field("first pfn of the region that the quick paths are aimed at")
    entries: i64 = field("VA that an entry of frame 0 would have in its core table")
    stride: i64 = field("bytes from one core table entry to the next")
    drawn: i64 = field("frames drawn from the bitmaps, less those put back: what is not in the stock became a page")
    windows: i64 = field("VA of its windows")
    opened: i64 = field("windows ever opened, or spared where the port fills frames itself")
    thread: Thread = field("the thread that runs; 0: nobody who could wait")
    reserve: i64 = field("of the frames that only cleaners may take, those that whoever runs may take: all or 0")
    # what the quick paths to slots know of the heap
    owner: u32 = field("what the records of its slabs say: id + 1")
    heap: usize = field("VA of heap page 0")
    records: usize = field("VA of the heap map")
    record_mask: i64 = field("a mask: from a distance in the heap map to the start of a record")
    word_mask: i64 = field("a mask: from the bytes of a bit for each grain of the heap to a word of a page's own")
    classes: Byte = field("the class table")
    alone: Gate = inline("what its quick paths may do where it is the only processor")
    shared: Gate = inline("where there are others: each quick path is marked by `busy` then")
    noted: u32 = field("first page of its slabs with slots that others gave back and it has not seen: page + 1")
    busy: u32 = field("1: a marked quick path is under way, and may change what is its own")
    frames: Stock = inline("the stock of single frames", align=64)
    frame_groups: Group = array(FRAMES + 1, "its groups")
    chunks: Stock = inline("the stock of chunks")
    chunk_groups: Group = array(CHUNKS + 1, "its groups")
    magazines: Magazine = array(CACHES, "one per cache, by its number; those of common caches are not used", align=64)
    stacks: Stacked = array(STACKS, "the stacks of the magazines, by number of their cache")
    seal: i64 = field("made of its constants (`seals`)")

    invariants = (
        "id == tally.id",
        "windows == tally.windows",
        "seal == tally.seal",
        "run >= 0",
        "depth == 0",
        "busy == 0",
        "tally.aim_errors == 0",
        "tally.stock_errors == 0",
        "open == 0",
    )
    constants = (
        "kern",
        "id",
        "stride",
        "windows",
        "owner",
        "heap",
        "records",
        "record_mask",
        "word_mask",
        "classes",
    )


class Kern(Record):
    """The kernel: layout, regions, frames, heap, caches."""

    # the mark, by which the record is found in a dump of memory
    magic: u32 = field("MAGIC")
    version: u16 = field("VERSION")
    layout: u16 = field("made of the layouts of this record and of all that it leads to")
    address: i64 = field("VA of this record: 8 bytes in every layout")
    lock: u32 = field("the number of the processor that is inside, plus 1; 0: none is")
    # the machine
    format: Format = inline("the format of its page tables", align=64)
    page_shift: u32 = field("log2 of the bytes in a page")
    span_shift: u32 = field("log2 of the bytes in a span")
    stage: u32 = field("how far the boot has come")
    mode: u32 = field("whose page tables the window's are")
    max_pfn: i64 = field("first pfn beyond the physical address limit")
    # the window
    base: i64 = field("VA of the window")
    bytes: i64 = field("length of the window")
    directory: i64 = field("VA of the window's directory entries, one per span")
    tables: i64 = field("VA of the table window: all leaf entries, one per page of the window")
    spans: Half = field("leaf entries present in each span: an array")
    windows: i64 = field("VA of the per-CPU windows, up to the end of the window")
    # processors
    cpus: Cpu = field("their records, an array")
    cpu_count: usize = field("how many there are")
    # frames
    hit: Region = field("the region that the last lookup found; 0: none")
    regions: Link = inline("root of the region tree")
    region_count: i64 = field("regions in the tree")
    boot_region: Region = field("the region record that lies in the boot area; 0: it is used")
    ram: Region = field("first of the RAM regions: the donor, the others from the highest down, what came later")
    ram_last: Region = field("last of them")
    supply: Region = field("the RAM region that gave the last frame")
    frames: i64 = field("frames of RAM, reserved ones included")
    free_frames: i64 = field("frames of type FREE")
    heap_frames: i64 = field("frames of type HEAP")
    mapping_frames: i64 = field("frames of type MAPPING")
    page_frames: i64 = field("frames of type PAGE")
    dma_frames: i64 = field("frames of type DMA")
    device_frames: i64 = field("frames of type DEVICE: of published ranges, in use")
    reserved_frames: i64 = field("frames of type RESERVED")
    stocked: i64 = field(
        "frames that processors have drawn into their stocks: they are FREE or PAGE, whatever the counts say"
    )
    returned: i64 = field("frames that went back to the free list, ever")
    moved: i64 = field("pages that were moved out of the way of ranges, ever")
    stride: i64 = field("bytes from one core table entry to the next")
    identity: i64 = field("bytes per frame in the array that names cached pages")
    # the donation (E32 to E38)
    donation_pfn: i64 = field("first donated frame")
    donation_frames: i64 = field("how many were donated")
    donation_maps: i64 = field("the last so many of them are for mapping tables, the others for the heap")
    donated_heap: i64 = field("frames of the donation that the heap has taken")
    donated_maps: i64 = field("frames of the donation that became mapping tables")
    # the heap
    heap: usize = field("VA of heap page 0")
    heap_pages: usize = field("pages that the heap may ever have: its hard bound (C1)")
    heap_map: HeapPage = field("the heap map: the records of all heap pages")
    record_shift: u32 = field("log2 of the bytes of such a record")
    top: usize = field("heap pages ever used are below this one")
    map_pages: usize = field("pages of the heap map that are backed")
    backed: usize = field("heap pages with a frame behind them")
    idle: usize = field("of those, pages in free runs")
    peak: usize = field("the most heap pages that ever were in use")
    growth: i64 = field("pages by which the heap grows")
    idle_most: usize = field("the most pages that it keeps idle")
    bin_bits: Word = array(FREE_USES * BINS // 64, "which bins hold a run: a bit for each of them")
    bins: Index = array(FREE_USES * BINS, "first run of each bin, page + 1: BINS for each use")
    # the fixed part of an affine heap
    fixed: usize = field(
        "heap pages below this one are mapped VA = PA + constant, in large pages, and keep their frames"
    )
    kept: usize = field("of those, pages in free runs")
    recycled: usize = field(
        "runs that were ever given back: before the first, free pages are as they were backed, zero"
    )
    excess: i64 = field("heap pages reserved at boot beyond what is planned, for `release` to give back")
    released: i64 = field("heap pages that `release` gave back")
    headroom: i64 = field("heap pages kept free at boot, for malloc to use")
    growable: i64 = field("heap pages that may follow the fixed part")
    affine: i64 = field("1: the heap planned for the boot is its fixed part")
    # page space under pressure
    wanted: i64 = field("what the last refused call lacked: frames; a page, ~object id; 0: room in the source's ring")
    pages: Pages = inline("the page cache")
    stalls: Stalls = inline("who waits")
    # the space bank (C13, C14)
    promised: i64 = field("frames promised to the bank: page space never has fewer, unless lenient")
    lenient: i64 = field("1: growth may break the promise, and the ledger says by how much")
    withheld: i64 = field("frames not promised at boot: declared growth")
    opening: i64 = field("free and page frames when the boot was over")
    opening_heap: i64 = field("heap, mapping and reserved frames then")
    # devices
    device_ranges: i64 = field("device ranges whose region records are allocated at boot")
    device_pages: i64 = field("device frames whose entries are reserved at boot")
    reserves: i64 = field("1: entries for device frames come from that reserve only (C15)")
    device_count: i64 = field("frames of published device ranges")
    last_frames: i64 = field("device frames whose entries only last words may use (C22)")
    last_ranges: i64 = field("region records that only they may use")
    last_maps: i64 = field("mapping frames that only they may use")
    # object caches
    caches: Cache = field("the caches, an array; the first ones are the size classes")
    cache_count: usize = field("caches in use")
    class_of: Byte = field("the size class of so many bytes, at (bytes - 1) / 16: an array")
    common: Magazine = array(CACHES, "one per cache, for all processors; those of the others are not used", align=64)
    # what boot was told
    info: Config = field("what the loader told, and where all lies")
    ranges: BootRange = field("the ranges of memory, in ascending order: an array")
    range_count: i64 = field("how many")
    range_next: i64 = field("ranges not yet described are below this one")
    range_left: i64 = field("frames of the last of these that are left, if a part of it is described; else 0")
    objects: ObjectType = field("the object types to make caches for: an array")
    object_count: i64 = field("how many")
    static: i64 = field("1 if all objects are allocated at boot (E2), 0 if on demand (E21)")
    plan: Plan = inline("what the boot was planned to take")
    # RAM that comes after the boot
    asked: i64 = field("frames that the profile asks to be promised to the bank; 0: all that are not withheld")
    added: i64 = field("frames of RAM added after the boot, ever")
    coming: i64 = field("frames that are being added and not listed yet")
    adding: Adding = inline("what the last add was reckoned to take")
    # what is sealed (`seals`)
    root: i64 = field("VA of the root of the page tables; the others that never change follow, but for the directory")
    static_end: i64 = field("VA behind them")
    seal: i64 = field("made of the constants of this record; 0: the boot is not over")
    area_seal: i64 = field("made of what is told boot, those tables and the class table")
    checked: Tally = inline("the counts of the last check")

    invariants = (
        "(stage == UP) == (seal != 0)",
        "seal == tally.kern_seal and area_seal == tally.area_seal",
        "top >= 0 and top <= heap_pages",
        "heap + (heap_pages << page_shift) <= windows",
        "map_pages == tally.map_pages",
        "cache_count >= 0 and cache_count <= CACHES",
        "tally.span_errors == 0",
        "tally.link_errors == 0",
        "promised <= free_frames + page_frames or lenient == 1",
        "stage < UP or frames == opening + opening_heap + added",
        "coming == 0",
        "device_count == tally.device_count and device_frames <= device_count",
        "lock == 0",
        "stocked == tally.drawn",
        "tally.unlisted == tally.stocked and tally.unlisted_sum == tally.stock_sum",
        "free_frames - stocked + tally.stocked == tally.free",
        "heap_frames == tally.heap",
        "mapping_frames == tally.mapping",
        "page_frames + stocked - tally.stocked == tally.page",
        "dma_frames == tally.dma",
        "device_frames == tally.device",
        "reserved_frames == tally.reserved",
        "frames == free_frames + heap_frames + mapping_frames + page_frames + dma_frames + reserved_frames",
        "region_count == tally.regions",
        "tally.ram_errors == 0",
        "stage < UP or tally.told == tally.told_due",
        "heap_frames == tally.mapped",
        "tally.heap_sum == tally.mapped_sum",
        "mapping_frames == tally.tables",
        "tally.table_errors == 0",
        "idle == tally.idle and idle <= idle_most",
        "kept == tally.kept and kept <= fixed",
        "backed == tally.backed",
        "backed - idle - kept <= peak",
        "tally.runs == tally.filed",
        "tally.bin_errors == 0",
        "tally.own == tally.owned",
        "donated_heap + donated_maps == donation_frames",
        "tally.unused_errors == 0",
    )
    constants = (
        "magic",
        "version",
        "layout",
        "address",
        "format",
        "page_shift",
        "span_shift",
        "stage",
        "mode",
        "max_pfn",
        "base",
        "bytes",
        "directory",
        "tables",
        "spans",
        "windows",
        "cpus",
        "cpu_count",
        "boot_region",
        "stride",
        "identity",
        "donation_pfn",
        "donation_maps",
        "heap",
        "heap_pages + released",
        "heap_map",
        "record_shift",
        "growth",
        "idle_most",
        "fixed + released",
        "excess",
        "headroom",
        "growable",
        "affine",
        "pages.heads",
        "pages.buckets",
        "pages.ghosts",
        "pages.ghost_count",
        "stalls.reserve",
        "promised",
        "asked",
        "lenient",
        "withheld",
        "opening",
        "opening_heap",
        "device_ranges",
        "device_pages",
        "reserves",
        "last_frames",
        "last_ranges",
        "last_maps",
        "caches",
        "class_of",
        "info",
        "ranges",
        "range_count",
        "range_next",
        "range_left",
        "objects",
        "object_count",
        "static",
        "plan",
        "root",
        "static_end",
    )
