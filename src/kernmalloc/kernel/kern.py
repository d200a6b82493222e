"""The kernel's own records: all that it knows hangs off these.

Concepts
  1. `Kern`, one per kernel: where everything lies in its virtual window, the region tree, the frames by type, the heap.
  2. `Cpu`, one per processor: the context that every kernel function takes first. It leads to the `Kern` record and
     holds what only that processor touches, so that no lock guards it: its frames (`stock`), its magazines.
  3. `Magazine`, one per processor and cache: where that processor takes slots from. A common cache has one for all
     processors, guarded by the lock, so that its limit is exact.

All lie in the boot area (`layout`), a part of the kernel's image: they exist before the heap does. An address is
a kernel virtual address unless its name says `pa`; a frame is named by its number, `pfn`.

The kernel's virtual window, from left to right; `layout` finds the sizes:

    image | boot area | table window | heap map | heap ............................ | per-CPU windows

    tables   + ((va - base) >> page_shift) * 8     the leaf entry that maps va
    heap_map + ((va - heap) >> page_shift) * 64    the record of the heap page at va
"""

from kernmalloc.lang import i64, record, u8, u16, u32

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

# how far the boot has come; `boot` says what each stage does
DONATE = 0
TABLE = 1
MARK = 2
LIST = 3
REST = 4
OBJECTS = 5
UP = 6

SIZE_CLASSES = 72
CACHES = 128  # size classes and typed caches together
WINDOWS_SHIFT = 3  # log2 of the windows that a processor has
CPUS = 4096  # processors at most
STACK = 16  # slots on a magazine's stack
FRAMES = 64  # groups of single frames that a processor keeps at most
CHUNKS = 16  # chunks that it keeps
BINS = 256  # lists of free heap runs, by length

# what a page of the cache is
EMPTY = 0  # it holds none
READING = 1
CLEAN = 2
DIRTY = 3
WRITING = 4
REWRITTEN = 5  # being written back, and written to since
FAILED = 6
STATES = 7
SMALL = 0  # the queues of pages (`ageing`)
MAIN = 1

MAX_PFN = 1 << 40  # no machine has an address of more than 52 bits


@record(size=8)
class Word:
    """Eight bytes: a bitmap's word, a link."""

    bits: i64 = "the value"


@record(size=8)
class Index:
    """Four bytes: a heap page's number plus one, 0 for none; or any other small number. Arrays of them are packed."""

    value: u32 = "the value"


@record(size=8)
class Half:
    """Two bytes: a count in a packed array."""

    value: u16 = "the value"


@record(size=8)
class Byte:
    """One byte of a packed array."""

    value: u8 = "the value"


@record(size=720)
class Tally:
    """What `check` counts for itself, slowly, to hold the records against; and what it found."""

    asserted: i64 = "invariants that held"
    failed: i64 = "the one that did not: record number * 64 + its index + 1; 0: none"
    culprit: i64 = "VA of the record that broke it"
    # of the whole kernel
    free: i64 = "FREE frames, from the entries and bitmaps"
    heap: i64 = "HEAP frames, from the entries and bitmaps"
    mapping: i64 = "MAPPING frames, from the entries and bitmaps"
    page: i64 = "PAGE frames, from the entries and bitmaps"
    dma: i64 = "DMA frames, from the entries and bitmaps"
    device: i64 = "DEVICE frames, from the entries and bitmaps"
    reserved: i64 = "RESERVED frames, from the entries and bitmaps"
    regions: i64 = "regions"
    ram_errors: i64 = "RAM regions that the list of them leaves out, and ends of it that are wrong"
    hit: i64 = "1 if the last hit is no region"
    windows: i64 = "VA where a processor's windows lie if no other processor's lie there"
    aim_errors: i64 = "1 if the region that a processor's quick paths are aimed at is none they may be"
    stock_errors: i64 = "groups of its stocks that are wrong"
    heap_sum: i64 = "sum of the pfns of HEAP frames, hashed"
    unlisted: i64 = "FREE frames that no bitmap lists, from the entries"
    unlisted_sum: i64 = "sum of their pfns, hashed"
    stocked: i64 = "frames in the processors' stocks"
    stock_sum: i64 = "sum of their pfns, hashed"
    drawn: i64 = "frames that the processors have drawn"
    mapped: i64 = "pages of heap and heap map that have a frame"
    mapped_sum: i64 = "sum of the pfns behind them, hashed"
    tables: i64 = "leaf tables outside the boot area"
    table_errors: i64 = "slots whose count, leaf table or frame is wrong"
    idle: i64 = "pages in IDLE runs"
    kept: i64 = "pages in KEPT runs"
    backed: i64 = "pages in runs with frames"
    runs: i64 = "free runs, from the pages"
    filed: i64 = "free runs, from the bins"
    bin_errors: i64 = "runs in the wrong bin, or bins whose bit is wrong"
    user_tables: i64 = "heap pages whose frames are mapping tables"
    states: i64 * STATES = "pages by state"
    cached: i64 = "pages"
    state_errors: i64 = "pages that the counts by state are wrong by"
    named: i64 = "pages in buckets"
    bucket_errors: i64 = "links of buckets that lead to no page, or to one of another bucket"
    queued: i64 = "pages in queues"
    queue_errors: i64 = "links of queues that are wrong, and pages that should be in a queue and are not"
    depends: i64 = "depend entries"
    leaves: i64 = "leaf entries of address spaces"
    spaces: i64 = "tables of address spaces"
    threads: i64 = "threads"
    waiting: i64 = "threads in the queue"
    ticketed: i64 = "threads with a ticket"
    owed: i64 = "frames owed to threads"
    run_errors: i64 = "processors that run what is no thread, or may take what is not for it"
    wait_errors: i64 = "links of threads and places in the queue that are wrong"
    overdue: i64 = "threads that are stalled though what they wait for is there"
    # of the record at hand
    run_by: i64 = "number of the processor that runs the thread, plus 1; 0: none"
    layout_errors: i64 = "1 if the area is not laid out as the region's frames demand"
    region_free: i64 = "bits set in the free bitmap"
    summary_errors: i64 = "summary bits that are wrong, and bits outside the region"
    entry_errors: i64 = "frames that no entry or bit accounts for, or that two do"
    order_errors: i64 = "regions out of order in the tree"
    cut_errors: i64 = (
        "1 if a region was cut off one that does not touch it, or that it should have been joined to again"
    )
    live: i64 = "chunks in a region's tree"
    spare: i64 = "chunks on its list"
    used: i64 = "device frames in use"
    chunk_used: i64 = "of those, in a chunk"
    device_count: i64 = "frames of published ranges"
    depend_errors: i64 = "1 if a page's depend entries do not lead to leaves that map it"
    umap_pages: i64 = "pages that an address space maps"
    umap_tables: i64 = "tables that it has"
    umap_root: i64 = "physical address of its root table"
    umap_errors: i64 = "of its pages, those that are none"
    tail_pages: i64 = "length that the last page of a run says"
    page_errors: i64 = "pages of a run whose record or frame is wrong"
    joinable: i64 = "1 if the run before is free in the same way"
    slab_free: i64 = "bits set in the first bitmap of a slab's page"
    stacked: i64 = "slots of a slab's page that are on its magazine's stack"
    slab_errors: i64 = (
        "1 if a slab's page is not as its cache makes them, or its bitmaps have bits that they must not have"
    )
    id: i64 = "number of a cache"
    slabs: i64 = "slabs of a cache"
    partial: i64 = "pages of a cache that should be on a magazine's list"
    empty: i64 = "slabs of a cache that should be spare"
    waiting: i64 = "pages of a cache with slots that others gave back"
    listed: i64 = "pages on its magazines' lists; of a run or a slab's page: 1 if it is on a list as it should be"
    spares: i64 = "slabs that its magazines put aside"
    returned: i64 = "pages on the lists of what others gave back"
    pointed: i64 = "1 if a magazine points at a word of a page of its own, and the slot of its bit 0 is right"
    stack_errors: i64 = "slots on a magazine's stack that are not what they should be"
    magazine_size: i64 = "bytes of the cache's slots, if the magazine ever had a slab"
    magazine_spare: i64 = "pages of the slabs that a magazine put aside"


@record(size=136)
class Plan:
    """What the boot will take, computed before anything is allocated (C7, C8): heap pages, unless it says otherwise."""

    status: i64 = "OK, or the status that refuses the machine"
    donor: i64 = "the range of memory that gives the donation"
    donation: i64 = "frames of the donation"
    donation_maps: i64 = "of those, for mapping tables"
    frames: i64 = "frames of RAM that will be described"
    tables: i64 = "core tables, identities and bitmaps"
    records: i64 = "region records of RAM and firmware, a number"
    regions: i64 = "slabs of region records, those for device ranges included"
    objects: i64 = "slabs of objects that are allocated at boot"
    chunks: i64 = "slabs of entry chunks for device frames"
    last_words: i64 = "slabs that only last words may use"
    pages: i64 = "the hash of the page cache"
    spare: i64 = "kept free for malloc after boot"
    excess: i64 = "reserved for `release` to give back"
    padding: i64 = "up to a whole large page"
    top: i64 = "all of the above"
    scale: i64 = "share of the wanted objects that the window holds, in 1/65536"


@record(size=24)
class Queue:
    """A queue of pages, linked both ways through their entries and identities."""

    first: i64 = "the page put in last: pfn + 1"
    last: i64 = "the page put in first: pfn + 1"
    count: i64 = "how many"


@record(size=224)
class Pages:
    """The page cache: pages known by object id, found through a hash, aged in two queues."""

    heads: i64 = "VA of the hash: first page of each bucket, pfn + 1"
    buckets: i64 = "how many"
    ghosts: i64 = "VA of the fingerprints of pages evicted from the small queue"
    ghost_count: i64 = "how many there is room for"
    counts: i64 * STATES = "frames by state; EMPTY ones are not counted"
    queues: Queue * 2 = "SMALL and MAIN"
    umaps: i64 = "VA of the first address space"
    tables: i64 = "mapping tables of address spaces: heap pages whose frames are MAPPING"
    hits: i64 = "pages asked for that were there"
    misses: i64 = "pages asked for that had to be read"
    evictions: i64 = "pages whose frames were taken"
    reads: i64 = "reads done"
    writes: i64 = "writes done"
    source: i64 = "VA of the ring that the source answers in; 0: none is open"
    asked: i64 = "requests ever put into it"
    seen: i64 = "answers ever taken out of it"
    lies: i64 = "answers to what was not asked"

    invariants = (
        "kern.heap_frames == kern.backed + kern.map_pages - tables",
        "tables == tally.user_tables and tables == tally.spaces",
        "tally.state_errors == 0",
        "tally.named == tally.cached and tally.bucket_errors == 0",
        "tally.queue_errors == 0",
        "tally.leaves == tally.depends",
    )


@record(size=96)
class Stalls:
    """Threads, and the queue of those that wait (`threads`, `stalls`)."""

    threads: i64 = "VA of the thread made last"
    count: i64 = "threads"
    made: i64 = "threads ever made"
    first: i64 = "VA of the first thread that waits"
    last: i64 = "VA of the last one"
    waiting: i64 = "threads that wait, or have not done their call again yet"
    tickets: i64 = "places in the queue ever given out"
    owed: i64 = "free frames that are set aside for threads in the queue"
    short: i64 = "1: threads wait, or frames of the reserve are in use: what comes is not for stocks and magazines"
    reserve: i64 = "free frames that only cleaners may take"
    stalled: i64 = "calls that had to wait, ever"
    late: i64 = "waits that ended because time was up, ever"

    invariants = (
        "count == tally.threads and waiting == tally.waiting and waiting == tally.ticketed",
        "owed == tally.owed and owed <= kern.free_frames - kern.stocked",
        "short == 1 or (short == 0 and waiting == 0 and kern.free_frames - kern.stocked >= reserve)",
        "short == 0 or kern.quick == 0",
        "tally.wait_errors == 0",
        "tally.run_errors == 0",
        "tally.overdue == 0",
    )


@record(size=16)
class Stacked:
    """A slot on a magazine's stack."""

    va: i64 = "where it is"
    bit: i64 = "where its bit is: VA of the word * 8 + number in the word"


@record(size=64)
class Magazine:
    """Where slots of one size are taken from (`magazines`): by one processor, or of a common cache by all."""

    word: i64 = "VA of the bitmap's word that slots are taken from; 0: none"
    base: i64 = "VA of the slot of its bit 0"
    size: u32 = "bytes between slots, once there is a slab"
    list: u32 = "first of the other pages with free slots: page + 1"
    spares: u32 = "the empty slab put aside last: page + 1"
    spare: u32 = "pages of empty slabs that were put aside"
    keep: u32 = "how many of them may be kept"
    returned: u32 = "first page with slots that others gave back: page + 1"
    top: u32 = "bytes in the stack"
    depth: u32 = "how many it may hold"
    rest: i64 * 2 = "up to a cache line"

    invariants = (
        "word == 0 or tally.pointed == 1",
        "size == tally.magazine_size and spare == tally.magazine_spare",
        "top & 15 == 0 and top <= depth and tally.stack_errors == 0",
    )


@record(size=16)
class Group:
    """64 aligned frames, or a chunk: blocks of it that are in a stock."""

    base: i64 = "its first pfn"
    bits: i64 = "bit i: the block i * 2 ** order frames further on is in the stock"


@record(size=16)
class Stock:
    """Free blocks of one order that a processor keeps at hand: a stack of groups, which lie behind this record."""

    top: i64 = "VA of the group on top; of a group without bits, below the first: it is empty"
    last: i64 = "VA of the highest group that a put may begin"


@record(size=42432)
class Cpu:
    """One processor: the context of every kernel function. Records of two processors share no cache line."""

    kern: i64 = "VA of the kernel record"
    id: i64 = "number of this processor, from 0"
    run: i64 = "frames in the run that the last `take_run` returned"
    depth: i64 = "how often it has entered the kernel and not left it"
    flags: i64 = "whether interrupts were on when it entered"
    low: i64 = "first pfn of the region that the quick paths are aimed at"
    high: i64 = "first pfn beyond it; low: they are shut"
    entries: i64 = "VA that an entry of frame 0 would have in its core table"
    stride: i64 = "bytes from one core table entry to the next"
    drawn: i64 = "frames drawn from the bitmaps, less those put back: what is not in the stock became a page"
    windows: i64 = "VA of its windows"
    open: i64 = "which of them map a frame now: bit i is window i"
    opened: i64 = "windows ever opened"
    thread: i64 = "VA of the thread that runs, or 0: nobody who could wait"
    reserve: i64 = "of the frames that only cleaners may take, those that whoever runs may take: all or 0"
    spare: i64 = "up to a cache line"
    frames: Stock = "the stock of single frames"
    frame_groups: Group * (FRAMES + 1) = "its groups"
    chunks: Stock = "the stock of chunks"
    chunk_groups: Group * (CHUNKS + 1) = "its groups"
    magazines: Magazine * CACHES = "one per cache, by its number; those of common caches are not used"
    stacks: Stacked * (CACHES * STACK) = "the stacks of the magazines"

    invariants = (
        "id == tally.id",
        "run >= 0",
        "depth == 0",
        "tally.aim_errors == 0",
        "tally.stock_errors == 0",
        "windows == tally.windows",
        "open == 0",
    )


@record(size=13208)
class Kern:
    """The kernel: layout, regions, frames, heap, caches."""

    lock: u32 = "the number of the processor that is inside, plus 1; 0: none is"
    waiting: u32 * 15 = "up to a cache line: spinning on the lock disturbs nothing else"
    # the machine
    arch: u32 = "format of page-table entries (machine/mmu.py)"
    page_shift: u32 = "log2 of the bytes in a page"
    slot_shift: u32 = "log2 of the bytes that one leaf table maps: one slot of the window"
    stage: u32 = "how far the boot has come"
    max_pfn: i64 = "first pfn beyond the physical address limit"
    # the window
    base: i64 = "VA of the window"
    bytes: i64 = "length of the window"
    directory: i64 = "VA of the window's directory entries, one per slot"
    tables: i64 = "VA of the table window: all leaf entries, one per page of the window"
    slots: i64 = "VA of an array of u16: entries present, per slot"
    windows: i64 = "VA of the per-CPU windows, up to the end of the window"
    # processors
    cpus: i64 = "VA of the array of their records"
    cpu_count: i64 = "how many there are"
    # frames
    hit: i64 = "VA of the region that the last lookup found, or 0"
    regions: i64 = "root of the region tree"
    region_count: i64 = "regions in the tree"
    boot_region: i64 = "VA of the region record that lies in the boot area; 0 once it is used"
    ram: i64 = "first of the RAM regions: the donor, then the others from the highest down"
    ram_last: i64 = "last of them"
    supply: i64 = "the RAM region that gave the last frame"
    frames: i64 = "frames of RAM, reserved ones included"
    free_frames: i64 = "frames of type FREE"
    heap_frames: i64 = "frames of type HEAP"
    mapping_frames: i64 = "frames of type MAPPING"
    page_frames: i64 = "frames of type PAGE"
    dma_frames: i64 = "frames of type DMA"
    device_frames: i64 = "frames of type DEVICE: of published ranges, in use"
    reserved_frames: i64 = "frames of type RESERVED"
    stocked: i64 = "frames that processors have drawn into their stocks: they are FREE or PAGE, whatever the counts say"
    returned: i64 = "frames that went back to the free list, ever"
    moved: i64 = "pages that were moved out of the way of ranges, ever"
    stride: i64 = "bytes from one core table entry to the next"
    identity: i64 = "bytes per frame in the array that names cached pages"
    # the donation (E32 to E38)
    donation_pfn: i64 = "first donated frame"
    donation_frames: i64 = "how many were donated"
    donation_maps: i64 = "the last so many of them are for mapping tables, the others for the heap"
    donated_heap: i64 = "frames of the donation that the heap has taken"
    donated_maps: i64 = "frames of the donation that became mapping tables"
    # the heap
    heap: i64 = "VA of heap page 0"
    heap_pages: i64 = "pages that the heap may ever have: its hard bound (C1)"
    heap_map: i64 = "VA of the heap map: one record per heap page"
    top: i64 = "heap pages ever used are below this one"
    map_pages: i64 = "pages of the heap map that are backed"
    backed: i64 = "heap pages with a frame behind them"
    idle: i64 = "of those, pages in free runs"
    growth: i64 = "pages by which the heap grows"
    idle_most: i64 = "the most pages that it keeps idle"
    bin_bits: i64 * 12 = "which bins hold a run: four words each for IDLE, BARE and KEPT runs"
    bins: u32 * 768 = "first run of each bin, page + 1: BINS each for IDLE, BARE and KEPT runs"
    # the fixed part of an affine heap
    fixed: i64 = "heap pages below this one are mapped VA = PA + constant, in large pages, and keep their frames"
    kept: i64 = "of those, pages in free runs"
    recycled: i64 = "runs that were ever given back: before the first, free pages are as they were backed, zero"
    excess: i64 = "heap pages reserved at boot beyond what is planned, for `release` to give back"
    released: i64 = "heap pages that `release` gave back"
    spare: i64 = "heap pages kept free at boot, for malloc to use"
    growable: i64 = "heap pages that may follow the fixed part"
    affine: i64 = "1: the heap planned for the boot is its fixed part"
    # page space under pressure
    wanted: i64 = "what the last refused call was in need of: frames; a page, ~object id; 0: the source"
    pages: Pages = "the page cache"
    stalls: Stalls = "who waits"
    # the space bank (C13, C14)
    promised: i64 = "frames promised to the bank: page space never has fewer, unless lenient"
    lenient: i64 = "1: growth may break the promise, and the ledger says by how much"
    withheld: i64 = "frames not promised at boot: declared growth"
    opening: i64 = "free and page frames when the boot was over"
    opening_heap: i64 = "heap and mapping frames then"
    # devices
    device_ranges: i64 = "device ranges whose region records are allocated at boot"
    device_pages: i64 = "device frames whose entries are reserved at boot"
    reserves: i64 = "1: entries for device frames come from that reserve only (C15)"
    device_count: i64 = "frames of published device ranges"
    last_frames: i64 = "device frames whose entries only last words may use (C22)"
    last_ranges: i64 = "region records that only they may use"
    last_maps: i64 = "mapping frames that only they may use"
    # object caches
    caches: i64 = "VA of the array of caches; the first ones are the size classes"
    cache_count: i64 = "caches in use"
    quick: i64 = "bytes of the largest block that may be taken without the lock; 0: threads wait"
    class_of: i64 = "VA of an array of u8: the size class of (bytes + 15) / 16"
    common: Magazine * CACHES = "one per cache, for all processors; those of the others are not used"
    # what boot was told
    ranges: i64 = "VA of the ranges of memory, in ascending order"
    range_count: i64 = "how many"
    range_next: i64 = "ranges not yet described are below this one"
    objects: i64 = "VA of the object types to make caches for"
    object_count: i64 = "how many"
    static: i64 = "1 if all objects are allocated at boot (E2), 0 if on demand (E21)"
    plan: Plan = "what the boot was planned to take"
    checked: Tally = "the counts of the last check"

    invariants = (
        "promised <= free_frames + page_frames or lenient == 1",
        "device_count == tally.device_count and device_frames <= device_count",
        "lock == 0",
        "tally.hit == 0",
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
        "heap_frames == tally.mapped",
        "tally.heap_sum == tally.mapped_sum",
        "mapping_frames == tally.tables",
        "tally.table_errors == 0",
        "idle == tally.idle and idle <= idle_most",
        "kept == tally.kept and kept <= fixed",
        "backed == tally.backed",
        "top <= heap_pages and heap + (heap_pages << page_shift) <= base + bytes",
        "tally.runs == tally.filed",
        "tally.bin_errors == 0",
        "donated_heap + donated_maps == donation_frames",
        "cache_count <= CACHES",
    )
