"""The tally: what a check counts for itself, to hold the records against."""

from __future__ import annotations

from kernmalloc.kernel.core.kern import STATES, Word
from kernmalloc.lang import Record, array, field, i64

MOST_EQUATIONS = 64  # of a record


class Tally(Record):
    """What `check` counts for itself, slowly, to hold the records against; and what it found."""

    asserted: i64 = field("invariants that held")
    failed: i64 = field("the one that did not: record number * MOST_EQUATIONS + its index + 1; 0: none")
    culprit: i64 = field("VA of the record that broke it")
    # of the whole kernel
    free: i64 = field("FREE frames, from the entries and bitmaps")
    heap: i64 = field("HEAP frames, from the entries and bitmaps")
    mapping: i64 = field("MAPPING frames, from the entries and bitmaps")
    page: i64 = field("PAGE frames, from the entries and bitmaps")
    dma: i64 = field("DMA frames, from the entries and bitmaps")
    device: i64 = field("DEVICE frames, from the entries and bitmaps")
    reserved: i64 = field("RESERVED frames, from the entries and bitmaps")
    regions: i64 = field("regions")
    ram_errors: i64 = field("RAM regions that the list of them leaves out, and ends of it that are wrong")
    hit: i64 = field("1 if the last hit is no region")
    windows: i64 = field("VA where a processor's windows lie if no other processor's lie there")
    aim_errors: i64 = field("1 if the region that a processor's quick paths are aimed at is none they may be")
    stock_errors: i64 = field("groups of its stocks that are wrong")
    heap_sum: i64 = field("sum of the pfns of HEAP frames, hashed")
    unlisted: i64 = field("FREE frames that no bitmap lists, from the entries")
    unlisted_sum: i64 = field("sum of their pfns, hashed")
    stocked: i64 = field("frames in the processors' stocks")
    stock_sum: i64 = field("sum of their pfns, hashed")
    drawn: i64 = field("frames that the processors have drawn")
    mapped: i64 = field("pages of heap and heap map that have a frame")
    mapped_sum: i64 = field("sum of the pfns behind them, hashed")
    tables: i64 = field("leaf tables outside the boot area")
    table_errors: i64 = field("spans whose count, leaf table or frame is wrong")
    idle: i64 = field("pages in IDLE runs")
    kept: i64 = field("pages in KEPT runs")
    backed: i64 = field("pages in runs with frames")
    runs: i64 = field("free runs, from the pages")
    filed: i64 = field("free runs, from the bins")
    bin_errors: i64 = field("runs in the wrong bin, or bins whose bit is wrong")
    own: i64 = field("runs that are the kernel's own")
    owned: i64 = field("runs that the kernel's records lead to: core tables, hash, ring, tables of address spaces")
    user_tables: i64 = field("heap pages whose frames are mapping tables")
    states: Word = array(STATES, "pages by state")
    cached: i64 = field("pages")
    state_errors: i64 = field("pages that the counts by state are wrong by")
    named: i64 = field("pages in buckets")
    bucket_errors: i64 = field("links of buckets that lead to no page, or to one of another bucket")
    queued: i64 = field("pages in queues")
    queue_errors: i64 = field("links of queues that are wrong, and pages that should be in a queue and are not")
    depends: i64 = field("depend entries")
    leaves: i64 = field("leaf entries of address spaces")
    spaces: i64 = field("tables of address spaces")
    threads: i64 = field("threads")
    waiting: i64 = field("threads in the queue")
    ticketed: i64 = field("threads with a ticket")
    owed: i64 = field("frames owed to threads")
    run_errors: i64 = field("processors that run what is no thread, or may take what is not for it")
    wait_errors: i64 = field("links of threads and places in the queue that are wrong")
    overdue: i64 = field("threads that are stalled though what they wait for is there")
    # of the record at hand
    run_by: i64 = field("number of the processor that runs the thread, plus 1; 0: none")
    layout_errors: i64 = field("1 if the area is not laid out as the region's frames demand")
    region_free: i64 = field("bits set in the free bitmap")
    summary_errors: i64 = field("summary bits that are wrong, and bits outside the region")
    entry_errors: i64 = field("frames that no entry or bit accounts for, or that two do")
    order_errors: i64 = field("regions out of order in the tree")
    cut_errors: i64 = field(
        "1 if a region was cut off one that does not touch it, or that it should have been joined to again"
    )
    live: i64 = field("chunks in a region's tree")
    ready: i64 = field("chunks on its list")
    used: i64 = field("device frames in use")
    chunk_used: i64 = field("of those, in a chunk")
    device_count: i64 = field("frames of published ranges")
    depend_errors: i64 = field("1 if a page's depend entries do not lead to leaves that map it")
    umap_pages: i64 = field("pages that an address space maps")
    umap_tables: i64 = field("tables that it has")
    umap_root: i64 = field("physical address of its root table")
    umap_errors: i64 = field("of its pages, those that are none")
    tail_pages: i64 = field("length that the last page of a run says")
    page_errors: i64 = field("pages of a run whose record or frame is wrong")
    joinable: i64 = field("1 if the run before is free in the same way")
    slab_free: i64 = field("bits set in the first bitmap of a slab's page")
    stacked: i64 = field("slots of a slab's page that are on its magazine's stack")
    slab_errors: i64 = field(
        "1 if a slab's page is not as its cache makes them, or its bitmaps have bits that they must not have"
    )
    id: i64 = field("number of a cache")
    slabs: i64 = field("slabs of a cache")
    partial: i64 = field("pages of a cache that should be on a magazine's list")
    empty: i64 = field("slabs of a cache that should be put aside")
    given_back: i64 = field("pages of a cache with slots that others gave back")
    listed: i64 = field(
        "pages on its magazines' lists; of a run or a slab's page: 1 if it is on a list as it should be"
    )
    empties: i64 = field("empty slabs that its magazines put aside")
    returned: i64 = field("pages on the lists of what others gave back")
    pointed: i64 = field("1 if a magazine points at a word of a page of its own, and the slot of its bit 0 is right")
    stack_errors: i64 = field("slots on a magazine's stack that are not what they should be")
    magazine_size: i64 = field("bytes of the cache's slots, if the magazine ever had a slab")
    magazine_empty_pages: i64 = field("pages of the slabs that a magazine put aside")
