"""Check: every invariant of every record, held against a slow recount.

Concepts
  1. The equations stand with the records. `verifier` makes those of each record a function, word for word.
  2. They are held against the `Tally`, which `recount` counts from what no fast path keeps.
  3. The first equation that fails ends the check: `Tally.failed` says which, `Tally.culprit` where.
  4. Memory may say anything. First come the seals of what the rest is reached by, then what leads elsewhere: `rooms`
     says how a reference is looked at before it is followed. So the check itself ends, and reads no other memory.

Whoever checks stops the other processors first: a quick path that is under way is neither done nor undone.

Time: linear in frames, heap pages and spans of the window; a few ns each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.kernel.boot.arena import next_of
from kernmalloc.kernel.boot.seal import seal_area, seal_cpu, seal_kern
from kernmalloc.kernel.check.recount import (
    blank_errors,
    block_errors,
    count_bitmaps,
    count_cpu,
    count_held,
    count_ready,
    layout_errors,
    mix,
    ram_errors,
    told_errors,
    told_frames,
    used_in,
)
from kernmalloc.kernel.check.recount_heap import count_bins, listed, page_errors
from kernmalloc.kernel.check.recount_map import count_direct, count_span, span_errors, windows_at
from kernmalloc.kernel.check.recount_pages import count_cache_of_pages, count_page, count_umap
from kernmalloc.kernel.check.recount_slabs import (
    count_cache,
    count_magazine,
    slab_page_errors,
    slab_page_listed,
    stacked_of,
    starts_set,
    unused_errors,
)
from kernmalloc.kernel.check.recount_stalls import count_overdue, count_running, count_waiting, next_thread
from kernmalloc.kernel.check.rooms import goes_on, is_block, is_host, is_region, nodes_in
from kernmalloc.kernel.check.tally import MOST_EQUATIONS, Tally
from kernmalloc.kernel.core.kern import (
    ABSENT,
    CACHES,
    CLASSES,
    CLEAN,
    DEVICE_MEMORY,
    DIRTY,
    EMPTY,
    FAILED,
    FREE,
    HEAP,
    LARGEST_CLASS,
    MAIN,
    MAPPING,
    PAGE,
    RAM,
    RESERVED_MEMORY,
    STACK,
    STATES,
    TYPES,
    UP,
    Cpu,
    Kern,
    Word,
)
from kernmalloc.kernel.core.modes import has_heap, has_tables
from kernmalloc.kernel.core.seals import folded
from kernmalloc.kernel.core.tree import tree_above
from kernmalloc.kernel.devices import CHUNK_FRAMES, LAST_WORDS, UNPUBLISHED, Chunk, chunk_cache
from kernmalloc.kernel.frames.bitmap import MAX_ORDER, test
from kernmalloc.kernel.frames.claims import LATE, RUNNABLE, STALLED, Stalls, Thread
from kernmalloc.kernel.frames.regions import Region, next_region
from kernmalloc.kernel.frames.table import Frame, Page, entry_of
from kernmalloc.kernel.heap.bins import BARE, FIRST_FREE, IDLE, INSIDE, KEPT, OWN, SLAB, TAIL, HeapPage, record_of
from kernmalloc.kernel.heap.caches import LAST_REGION_CACHE, REGION_CACHE, UMAP_CACHE
from kernmalloc.kernel.heap.partial import is_empty
from kernmalloc.kernel.heap.runs import is_away, map_pages
from kernmalloc.kernel.heap.slabs import (
    NOTES_SHIFT,
    Cache,
    Magazine,
    SlabPage,
    cache_at,
    cpu_at,
    is_all,
    magazine_at,
    seal_cache,
    slab_page,
)
from kernmalloc.kernel.map.kmap import spans_of
from kernmalloc.kernel.pages.pages import Pages
from kernmalloc.kernel.pages.reclaim import MOST_USES
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import Record, element, entry, failed, field, i64, kernel, verifier
from kernmalloc.lang.records import RecordType
from kernmalloc.lang.status import BAD_ADDRESS, BROKEN, OK
from kernmalloc.machine.mmu import ATTRIBUTES
from kernmalloc.machine.primitives import zero

if TYPE_CHECKING:
    from collections.abc import Callable

FOUNDATION = 1 + Kern.invariants.index("cache_count >= 0 and cache_count <= CACHES")
"""The first equations of the kernel's record, on which all the others stand."""
EQUATION_SHIFT = 6  # log2 of MOST_EQUATIONS
TALLY_COUNTS = Tally.offset("free")  # the counts of frames lie one behind the other, in the order of the types

RECORDS: list[RecordType] = []
"""What is checked: a record's number, as in `Tally.failed`, is its place."""


def _checked(record: RecordType) -> tuple[int, Callable[..., int]]:
    """The number of a record, and the function that holds its equations."""
    RECORDS.append(record)
    return len(RECORDS) - 1, verifier(record, namespace=globals(), cpu=Cpu, tally=Tally)


KERN, verify_kern = _checked(Kern)
CPU, verify_cpu = _checked(Cpu)
MAGAZINE, verify_magazine = _checked(Magazine)
REGION, verify_region = _checked(Region)
FRAME, verify_frame = _checked(Frame)
HEAP_PAGE, verify_heap_page = _checked(HeapPage)
CACHE, verify_cache = _checked(Cache)
CHUNK, verify_chunk = _checked(Chunk)
CACHED_PAGE, verify_cached_page = _checked(Page)
PAGE_CACHE, verify_page_cache = _checked(Pages)
UMAP, verify_umap = _checked(Umap)
STALLS, verify_stalls = _checked(Stalls)
THREAD, verify_thread = _checked(Thread)
SLAB_PAGE, verify_slab_page = _checked(SlabPage)


@kernel
def _held(tally: Tally, record: int, addr: int, verdict: int) -> int:
    """Note what the verifier of a record, by number, said of the one at addr: BROKEN if an equation does not hold."""
    if verdict < 0:
        tally.failed = record * MOST_EQUATIONS - verdict
        tally.culprit = addr
        return BROKEN
    tally.asserted = tally.asserted + verdict
    return OK


@kernel
def _count_frames(cpu: Cpu, region: Region, tally: Tally) -> int:
    """Recount a region's frames by type, entry by entry. BROKEN if an entry breaks its own equations."""
    tally.entry_errors = 0
    pfn = region.base
    while pfn < region.base + region.count:
        entry = entry_of(cpu, region, pfn)
        if failed(_held(tally, FRAME, entry.addr, verify_frame(cpu, entry, tally))):
            return BROKEN
        count = 1
        free = test(region.words, pfn - region.origin)
        if entry.type == FREE and free == 0:
            tally.unlisted = tally.unlisted + 1
            tally.unlisted_sum = tally.unlisted_sum + mix(pfn)
        elif free != (1 if entry.type == FREE else 0):
            tally.entry_errors = tally.entry_errors + 1
        elif entry.type != FREE:
            count_held(tally, entry, pfn)
            count = 1 << entry.order
            tally.entry_errors = tally.entry_errors + block_errors(cpu, region, pfn, count)
        total = element(Word(tally.addr + TALLY_COUNTS), entry.type)
        total.bits = total.bits + count
        if entry.type == HEAP:
            tally.heap_sum = tally.heap_sum + mix(pfn)
        pfn += count
    return OK


@kernel
def _check_chunks(cpu: Cpu, region: Region, tally: Tally) -> int:
    """Check every chunk in a published range's tree, in order, if the tree leads to chunks only."""
    cache = chunk_cache(region.tier)
    if failed(nodes_in(cpu, region.chunks, cache, cache, -1, region.base + region.count)):
        tally.live = ABSENT
        return OK
    chunk = Chunk(tree_above(region.chunks, -1).addr)
    while chunk != 0:
        tally.chunk_used = used_in(cpu, region, chunk, tally)
        if failed(_held(tally, CHUNK, chunk.addr, verify_chunk(cpu, chunk, tally))):
            return BROKEN
        tally.live = tally.live + 1
        tally.used = tally.used + tally.chunk_used
        chunk = Chunk(tree_above(region.chunks, chunk.base).addr)
    return OK


@kernel
def _check_regions(cpu: Cpu, tally: Tally) -> int:
    """Check every region in order of address, and the list of those that are RAM."""
    end = 0
    ram = 0
    below = UNPUBLISHED
    region = next_region(cpu, 0)
    while region != 0:
        tally.order_errors = 1 if region.base < end else 0
        if region.left.node != 0:
            tally.order_errors = tally.order_errors + (1 if region.left.node.base >= region.base else 0)
        if region.right.node != 0:
            tally.order_errors = tally.order_errors + (1 if region.right.node.base <= region.base else 0)
        tally.told_errors = told_errors(cpu, tally, region)
        tally.cut_errors = 0
        if region.cut != 0:
            tally.cut_errors = 1 if region.base != end or (region.tier == UNPUBLISHED and below == UNPUBLISHED) else 0
        tally.region_free = region.free
        tally.summary_errors = 0
        tally.entry_errors = 0
        tally.layout_errors = layout_errors(cpu, region) if region.area != 0 else blank_errors(region)
        tally.live = 0
        tally.ready = 0
        tally.used = 0
        count_ready(cpu, region, tally)
        if failed(_check_chunks(cpu, region, tally)):
            return BROKEN
        if region.tier != UNPUBLISHED:
            tally.device_count = tally.device_count + region.count
            tally.device = tally.device + tally.used
        if region.area != 0 and tally.layout_errors == 0:
            ram += 1
            tally.owned = tally.owned + has_heap(cpu.kern) - is_host(cpu.kern, region)
            count_bitmaps(region, tally)
            if failed(_count_frames(cpu, region, tally)):
                return BROKEN
        if failed(_held(tally, REGION, region.addr, verify_region(cpu, region, tally))):
            return BROKEN
        tally.regions = tally.regions + 1
        end = region.base + region.count
        below = region.tier
        region = next_region(cpu, end)
    tally.ram_errors = ram_errors(cpu, ram)
    return OK


@kernel
def _check_cpus(kern: Kern, tally: Tally) -> int:
    """Check every processor."""
    for number in range(kern.cpu_count):
        cpu = cpu_at(kern, number)
        tally.id = number
        tally.windows = windows_at(kern, number)
        tally.seal = seal_cpu(cpu)
        if cpu.seal == tally.seal:
            count_cpu(cpu, tally)
        if failed(_held(tally, CPU, cpu.addr, verify_cpu(cpu, cpu, tally))):
            return BROKEN
    return OK


@kernel
def _check_slab(cpu: Cpu, tally: Tally, head: int) -> int:
    """Check every page of the slab whose first page is `head`."""
    kern = cpu.kern
    for i in range(slab_page(kern, head).pages):
        page = slab_page(kern, head + i)
        tally.slab_errors = 1
        tally.slab_starts = 0
        tally.listed = 0
        if page.cache < kern.cache_count:
            tally.slab_errors = slab_page_errors(cpu, head + i, head)
        if tally.slab_errors == 0:
            tally.slab_starts = starts_set(kern, page)
            tally.stacked = stacked_of(kern, head + i)
            tally.listed = slab_page_listed(kern, head + i, is_empty(kern, head))
        if failed(_held(tally, SLAB_PAGE, page.addr, verify_slab_page(cpu, page, tally))):
            return BROKEN
    return OK


@kernel
def _check_pages(cpu: Cpu, tally: Tally) -> int:
    """Check every run of heap pages, from the first to the top."""
    kern = cpu.kern
    before = INSIDE
    page = 0
    while page < kern.top:
        while page < kern.top and is_away(cpu, page) != 0:
            before = INSIDE
            page += 1
        if page == kern.top:
            return OK
        run = record_of(kern, page)
        free = 1 if run.use == IDLE or run.use == BARE or run.use == KEPT else 0
        tally.page_errors = 1
        if run.use > INSIDE and run.use < TAIL and run.pages > 0 and page + run.pages <= kern.top:
            tally.page_errors = page_errors(cpu, page)
            tally.tail_pages = run.pages if run.use == SLAB else record_of(kern, page + run.pages - 1).pages
            tally.listed = listed(kern, page)
        tally.joinable = 1 if free != 0 and run.use == before else 0
        if failed(_held(tally, HEAP_PAGE, run.addr, verify_heap_page(cpu, run, tally))):
            return BROKEN
        if run.use == SLAB and failed(_check_slab(cpu, tally, page)):
            return BROKEN
        tally.runs = tally.runs + free
        tally.own = tally.own + (1 if run.use == OWN else 0)
        tally.idle = tally.idle + (run.pages if run.use == IDLE else 0)
        tally.kept = tally.kept + (run.pages if run.use == KEPT else 0)
        tally.backed = tally.backed + (run.pages if run.use != BARE else 0)
        before = run.use
        page += run.pages
    return OK


@kernel
def _check_caches(cpu: Cpu, tally: Tally) -> int:
    """Check every cache, and every magazine for it: of each processor, or of all."""
    kern = cpu.kern
    for id in range(kern.cache_count):
        cache = cache_at(kern, id)
        count_cache(cpu, tally, id)
        tally.seal = folded(seal_cache(cache))
        common = 1 if cache.common != 0 and is_all(0) != 0 else 0
        for owner in range(1 - common, 1 if common != 0 else kern.cpu_count + 1):
            magazine = magazine_at(kern, owner, id)
            count_magazine(cpu, tally, magazine, owner)
            if failed(_held(tally, MAGAZINE, magazine.addr, verify_magazine(cpu, magazine, tally))):
                return BROKEN
        if failed(_held(tally, CACHE, cache.addr, verify_cache(cpu, cache, tally))):
            return BROKEN
    return OK


@kernel
def _check_cached(cpu: Cpu, tally: Tally) -> int:
    """Check every frame of type PAGE."""
    region = cpu.kern.ram
    while region != 0:
        for pfn in range(region.base, region.base + region.count):
            entry = entry_of(cpu, region, pfn)
            if entry.type == PAGE:
                count_page(cpu, tally, pfn)
                if failed(_held(tally, CACHED_PAGE, entry.addr, verify_cached_page(cpu, Page(entry.addr), tally))):
                    return BROKEN
        region = region.next
    return OK


@kernel
def _check_page_cache(cpu: Cpu, tally: Tally) -> int:
    """Check every address space, every page, and then the cache as a whole. The regions were found to be right."""
    kern = cpu.kern
    before = Umap(0)
    umap = kern.pages.umaps
    tally.steps = 0
    while umap != 0 and goes_on(cpu, tally, UMAP_CACHE, umap.addr) != 0:
        count_umap(cpu, tally, umap, before)
        if failed(_held(tally, UMAP, umap.addr, verify_umap(cpu, umap, tally))):
            return BROKEN
        before = umap
        umap = umap.next
    if umap != 0:
        tally.spaces = ABSENT
    if kern.page_frames + kern.stocked > 0:
        if failed(_check_cached(cpu, tally)):
            return BROKEN
    count_cache_of_pages(cpu, tally)
    return _held(tally, PAGE_CACHE, kern.pages.addr, verify_page_cache(cpu, kern.pages, tally))


@kernel
def _check_threads(cpu: Cpu, tally: Tally) -> int:
    """Check every thread, and the queue of those that wait."""
    kern = cpu.kern
    stalls = kern.stalls
    thread = next_thread(cpu, tally, Thread(0), stalls.threads)
    while thread != 0:
        if failed(_held(tally, THREAD, thread.addr, verify_thread(cpu, thread, tally))):
            return BROKEN
        thread = next_thread(cpu, tally, thread, thread.after)
    for number in range(kern.cpu_count):
        count_running(cpu_at(kern, number), tally)
    count_waiting(cpu, tally)
    if tally.wait_errors == 0:
        count_overdue(cpu, tally)
    return _held(tally, STALLS, stalls.addr, verify_stalls(cpu, stalls, tally))


@kernel
def _check_kern(cpu: Cpu, tally: Tally) -> int:
    """Hold the equations of the kernel's record, as far as something was counted for them."""
    kern = cpu.kern
    return _held(tally, KERN, kern.addr, verify_kern(cpu, kern, tally))


@kernel
def _check_ways(cpu: Cpu, tally: Tally) -> int:
    """Check the tables through which memory is read, and the tree of regions."""
    kern = cpu.kern
    tally.span_errors = span_errors(kern)
    if tally.span_errors != 0:
        return _check_kern(cpu, tally)
    if failed(nodes_in(cpu, kern.regions, REGION_CACHE, LAST_REGION_CACHE, -1, kern.max_pfn)):
        tally.link_errors = 1
    if kern.hit != 0:
        tally.link_errors = tally.link_errors | (1 - is_region(cpu, kern.hit))
    return _check_kern(cpu, tally) if tally.link_errors != 0 else OK


@kernel
def _count_told(kern: Kern, tally: Tally) -> int:
    """Count the blocks of the page cache, and the frames that boot was told of."""
    pages = kern.pages
    tally.owned = tally.owned + tally.user_tables + (1 if pages.heads != 0 else 0) + (1 if pages.source != 0 else 0)
    tally.told_due = told_frames(kern)
    return OK


@kernel
def _check_foundation(cpu: Cpu, tally: Tally) -> int:
    """Hold what must be true before anything is followed: the seals, the bounds of what is numbered, the tables through
    which memory is read, the tree of regions."""
    kern = cpu.kern
    if kern.seal != 0:
        tally.kern_seal = seal_kern(kern)
        if tally.kern_seal == kern.seal:
            tally.area_seal = seal_area(kern)
    tally.map_pages = map_pages(kern, kern.top)
    verdict = verify_kern(cpu, kern, tally)
    if verdict < 0 and verdict >= -FOUNDATION:
        return _held(tally, KERN, kern.addr, verdict)
    return _check_ways(cpu, tally)


class Finding(Record):
    """The invariant that does not hold."""

    record: i64 = field("the kind of record that breaks it: its place among those that are checked")
    equation: i64 = field("which of its equations, from 0")
    address: i64 = field("VA of the record")


@kernel
def _check_all(cpu: Cpu) -> int:
    """`check`, of this kernel alone."""
    if cpu.seal != seal_cpu(cpu):
        return BAD_ADDRESS
    kern = cpu.kern
    tally = kern.checked
    zero(tally.addr, Tally.size)
    if failed(_check_foundation(cpu, tally)):
        return BROKEN
    if failed(_check_regions(cpu, tally)) or failed(_check_cpus(kern, tally)) or failed(_check_pages(cpu, tally)):
        return BROKEN
    for use in range(FIRST_FREE, KEPT + 1):
        count_bins(cpu, tally, use)
    for span in range(spans_of(kern)):
        count_span(cpu, tally, span)
    if has_tables(kern) == 0:
        count_direct(cpu, tally)
    _count_told(kern, tally)
    tally.unused_errors = unused_errors(cpu)
    if failed(_check_kern(cpu, tally)):
        return BROKEN
    if failed(_check_page_cache(cpu, tally)) or failed(_check_caches(cpu, tally)):
        return BROKEN
    return _check_threads(cpu, tally)


@entry
def check(cpu: Cpu) -> int:
    """Hold every invariant of every record against a recount: OK.

    BROKEN: `Kern.checked` says which one, and where. BAD_ADDRESS: the processor's own record is damaged, and may lead
    anywhere. Of several arenas the first broken one is told.
    """
    status = _check_all(cpu)
    while status == OK and next_of(cpu) != 0:
        cpu = next_of(cpu)
        status = _check_all(cpu)
    return status


@entry
def check_found(cpu: Cpu, finding: Finding) -> int:
    """`check`, and where that says BROKEN the invariant at `finding`, which is the caller's memory."""
    status = check(cpu)
    if status == BROKEN:
        while cpu.kern.checked.failed == 0:  # of several arenas
            cpu = next_of(cpu)
        which = cpu.kern.checked.failed - 1
        finding.record = which >> EQUATION_SHIFT
        finding.equation = which & (MOST_EQUATIONS - 1)
        finding.address = cpu.kern.checked.culprit
    return status
