"""Check: every invariant of every record, held against a slow recount.

Concepts
  1. The equations are those that stand with the records; `verifier` makes each record's a function, word for word.
  2. What they are held against, the `Tally`, is counted by `recount` from what no fast path keeps.
  3. The first equation that fails ends the check: `Tally.failed` says which, `Tally.culprit` where.

Whoever checks stops the other processors first: a quick path that is under way is neither done nor undone.

Time: linear in frames, heap pages and window slots; a few ns each.
"""

from kernmalloc.kernel.bins import BARE, IDLE, KEPT, NONE, SLAB, TAIL, HeapPage, record_of
from kernmalloc.kernel.bitmap import MAX_ORDER, test
from kernmalloc.kernel.caches import LARGEST_OBJECT, ObjectType
from kernmalloc.kernel.devices import CHUNK_FRAMES, CHUNKS, UNPUBLISHED, Chunk
from kernmalloc.kernel.frames import Frame, Page, entry_of
from kernmalloc.kernel.kern import (
    CACHES,
    CLASSES,
    EMPTY,
    FRAMES,
    FREE,
    HEAP,
    MAIN,
    PAGE,
    RAM,
    RESERVED_MEMORY,
    SIZE_CLASSES,
    STATES,
    TYPES,
    Cpu,
    Kern,
    Magazine,
    Pages,
    Stalls,
    Tally,
    Word,
)
from kernmalloc.kernel.layout import BootRange
from kernmalloc.kernel.pages import PAGES
from kernmalloc.kernel.reclaim import MOST_USES
from kernmalloc.kernel.recount import (
    bits_in,
    block_errors,
    count_bins,
    count_bitmaps,
    count_cpu,
    count_slot,
    count_spares,
    layout_errors,
    listed,
    mix,
    page_errors,
    ram_errors,
    used_in,
    windows_at,
)
from kernmalloc.kernel.recount_pages import count_cache_of_pages, count_page, count_umap
from kernmalloc.kernel.recount_slabs import (
    bits_set,
    count_cache,
    count_magazine,
    count_stacked,
    is_spare,
    slab_page_errors,
    slab_page_listed,
)
from kernmalloc.kernel.recount_stalls import count_overdue, count_running, count_waiting, next_thread
from kernmalloc.kernel.regions import Region, next_region
from kernmalloc.kernel.slabs import MAX_SLOTS, RETURNED_BYTES, Cache, SlabPage, cache_at, cpu_at, magazine_at
from kernmalloc.kernel.threads import LATE, RUNNABLE, STALLED, STALLS, Thread
from kernmalloc.kernel.tree import tree_above
from kernmalloc.kernel.umap import Umap
from kernmalloc.lang import entry, kernel, verifier
from kernmalloc.lang.status import BROKEN, OK
from kernmalloc.machine.mmu import ATTRIBUTES
from kernmalloc.machine.primitives import zero

CHECKED = Kern.offset("checked")
TALLY_BYTES = Tally.size
TALLY_COUNTS = Tally.offset("free")
RANGE_BYTES = BootRange.size
TYPE_BYTES = ObjectType.size

RECORDS = (
    Kern, Cpu, Magazine, Region, Frame, HeapPage, Cache, BootRange, ObjectType, Chunk, Page, Pages, Umap, Stalls, Thread,
    SlabPage,
)  # fmt: skip
KERN = 0
CPU = 1
MAGAZINE = 2
REGION = 3
FRAME = 4
HEAP_PAGE = 5
CACHE = 6
RANGE = 7
TYPE = 8
CHUNK = 9
PAGE_IN = 10
PAGES_IN = 11
UMAP = 12
STALLS_IN = 13
THREAD = 14
SLAB_PAGE = 15

verify_kern = verifier(Kern, namespace=globals(), tally=Tally)
verify_cpu = verifier(Cpu, namespace=globals(), tally=Tally)
verify_magazine = verifier(Magazine, namespace=globals(), tally=Tally)
verify_region = verifier(Region, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_frame = verifier(Frame, namespace=globals())
verify_heappage = verifier(HeapPage, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_slabpage = verifier(SlabPage, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_cache = verifier(Cache, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_chunk = verifier(Chunk, namespace=globals(), tally=Tally)
verify_page = verifier(Page, namespace=globals(), tally=Tally)
verify_pages = verifier(Pages, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_umap = verifier(Umap, namespace=globals(), tally=Tally)
verify_stalls = verifier(Stalls, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_thread = verifier(Thread, namespace=globals(), tally=Tally)
verify_bootrange = verifier(BootRange, namespace=globals())
verify_objecttype = verifier(ObjectType, namespace=globals())


@kernel
def _held(tally, record, addr, verdict):
    """Note what a verifier said of a record: BROKEN if one of its equations does not hold."""
    t = Tally(tally)
    if verdict < 0:
        t.failed = (record << 6) - verdict
        t.culprit = addr
        return BROKEN
    t.asserted = t.asserted + verdict
    return OK


@kernel
def _count_frames(cpu, region, tally):
    """Recount a region's frames by type, entry by entry. BROKEN if an entry breaks its own equations."""
    r = Region(region)
    t = Tally(tally)
    t.entry_errors = 0
    pfn = r.base
    while pfn < r.base + r.count:
        entry = entry_of(cpu, region, pfn)
        f = Frame(entry)
        if _held(tally, FRAME, entry, verify_frame(cpu, entry, tally)) < 0:
            return BROKEN
        count = 1
        free = test(r.words, pfn - r.origin)
        if f.type == FREE and free == 0:
            t.unlisted = t.unlisted + 1
            t.unlisted_sum = t.unlisted_sum + mix(pfn)
        elif free != (1 if f.type == FREE else 0):
            t.entry_errors = t.entry_errors + 1
        elif f.type != FREE:
            count = 1 << f.order
            t.entry_errors = t.entry_errors + block_errors(cpu, region, pfn, count)
        total = Word(tally + TALLY_COUNTS + (f.type << 3))
        total.bits = total.bits + count
        if f.type == HEAP:
            t.heap_sum = t.heap_sum + mix(pfn)
        pfn += count
    return OK


@kernel
def _check_chunks(cpu, region, tally):
    """Every chunk in a published range's tree, in order."""
    t = Tally(tally)
    chunk = tree_above(region + CHUNKS, -1)
    while chunk != 0 and t.live <= Region(region).live:
        t.chunk_used = used_in(cpu, region, chunk)
        if _held(tally, CHUNK, chunk, verify_chunk(cpu, chunk, tally)) < 0:
            return BROKEN
        t.live = t.live + 1
        t.used = t.used + t.chunk_used
        chunk = tree_above(region + CHUNKS, Chunk(chunk).base)
    return OK


@kernel
def _check_regions(cpu, tally):
    """Every region in order of address, and the list of those that are RAM."""
    t = Tally(tally)
    hit = Kern(Cpu(cpu).kern).hit  # recounting looks frames up, too
    t.hit = 1 if hit != 0 else 0
    end = 0
    ram = 0
    below = UNPUBLISHED
    region = next_region(cpu, 0)
    while region != 0:
        r = Region(region)
        t.order_errors = 1 if r.base < end else 0
        if r.left != 0:
            t.order_errors = t.order_errors + (1 if Region(r.left).base >= r.base else 0)
        if r.right != 0:
            t.order_errors = t.order_errors + (1 if Region(r.right).base <= r.base else 0)
        t.cut_errors = 0
        if r.cut != 0:
            t.cut_errors = 1 if r.base != end or (r.tier == UNPUBLISHED and below == UNPUBLISHED) else 0
        t.region_free = r.free
        t.summary_errors = 0
        t.entry_errors = 0
        t.layout_errors = layout_errors(cpu, region) if r.area != 0 else 0
        t.live = 0
        t.spare = 0
        t.used = 0
        if r.tier != UNPUBLISHED:
            count_spares(region, tally)
            if _check_chunks(cpu, region, tally) < 0:
                return BROKEN
            t.device_count = t.device_count + r.count
            t.device = t.device + t.used
        if r.area != 0 and t.layout_errors == 0:
            ram += 1
            count_bitmaps(region, tally)
            if _count_frames(cpu, region, tally) < 0:
                return BROKEN
        if _held(tally, REGION, region, verify_region(cpu, region, tally)) < 0:
            return BROKEN
        t.hit = 0 if region == hit else t.hit
        t.regions = t.regions + 1
        end = r.base + r.count
        below = r.tier
        region = next_region(cpu, end)
    t.ram_errors = ram_errors(cpu, ram)
    return OK


@kernel
def _check_cpus(kern, tally):
    """Every processor."""
    for number in range(Kern(kern).cpu_count):
        cpu = cpu_at(kern, number)
        count_cpu(cpu, tally, number)
        Tally(tally).windows = windows_at(cpu)
        if _held(tally, CPU, cpu, verify_cpu(cpu, cpu, tally)) < 0:
            return BROKEN
    return OK


@kernel
def _check_slab(cpu, tally, head):
    """Every page of a slab."""
    kern = Cpu(cpu).kern
    t = Tally(tally)
    before = 0
    for i in range(SlabPage(record_of(kern, head)).pages):
        h = SlabPage(record_of(kern, head + i))
        t.slab_errors = 1
        t.slab_free = 0
        t.listed = 0
        if h.cache < Kern(kern).cache_count:
            t.slab_errors = slab_page_errors(cpu, head + i, head, before)
        if t.slab_errors == 0:
            t.slab_free = bits_set(h.addr)
            count_stacked(cpu, tally, h.addr)
            t.listed = slab_page_listed(kern, head + i, is_spare(kern, head))
        if _held(tally, SLAB_PAGE, h.addr, verify_slabpage(cpu, h.addr, tally)) < 0:
            return BROKEN
        before += h.slots
    return OK


@kernel
def _check_pages(cpu, tally):
    """Every run of heap pages, from the first to the top."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    before = NONE
    page = 0
    while page < k.top:
        h = HeapPage(record_of(k.addr, page))
        free = 1 if h.use == IDLE or h.use == BARE or h.use == KEPT else 0
        t.page_errors = 1
        if h.pages > 0 and page + h.pages <= k.top:
            t.page_errors = page_errors(cpu, page)
            t.tail_pages = h.pages if h.use == SLAB else HeapPage(record_of(k.addr, page + h.pages - 1)).pages
            t.listed = listed(k.addr, page)
        t.joinable = 1 if free != 0 and h.use == before else 0
        if _held(tally, HEAP_PAGE, h.addr, verify_heappage(cpu, h.addr, tally)) < 0:
            return BROKEN
        if h.use == SLAB and _check_slab(cpu, tally, page) < 0:
            return BROKEN
        t.runs = t.runs + free
        t.idle = t.idle + (h.pages if h.use == IDLE else 0)
        t.kept = t.kept + (h.pages if h.use == KEPT else 0)
        t.backed = t.backed + (h.pages if h.use != BARE else 0)
        before = h.use
        page += h.pages
    return OK


@kernel
def _check_caches(cpu, tally):
    """Every cache, and every magazine for it: of each processor, or of all."""
    kern = Cpu(cpu).kern
    for id in range(Kern(kern).cache_count):
        cache = cache_at(kern, id)
        count_cache(cpu, tally, id)
        common = Cache(cache).common
        for owner in range(1 - common, 1 if common != 0 else Kern(kern).cpu_count + 1):
            magazine = magazine_at(kern, owner, id)
            count_magazine(cpu, tally, magazine, owner)
            if _held(tally, MAGAZINE, magazine, verify_magazine(cpu, magazine, tally)) < 0:
                return BROKEN
        if _held(tally, CACHE, cache, verify_cache(cpu, cache, tally)) < 0:
            return BROKEN
    return OK


@kernel
def _check_cached(cpu, tally):
    """Every frame of type PAGE."""
    at = Kern(Cpu(cpu).kern).ram
    while at != 0:
        r = Region(at)
        for pfn in range(r.base, r.base + r.count):
            entry = entry_of(cpu, at, pfn)
            if Frame(entry).type == PAGE:
                count_page(cpu, tally, pfn)
                if _held(tally, PAGE_IN, entry, verify_page(cpu, entry, tally)) < 0:
                    return BROKEN
        at = r.next
    return OK


@kernel
def _check_page_cache(cpu, tally):
    """Every page, every address space, and then the cache as a whole. The regions have been found to be right."""
    kern = Cpu(cpu).kern
    if Kern(kern).page_frames + Kern(kern).stocked > 0:
        if _check_cached(cpu, tally) < 0:
            return BROKEN
    umap = Pages(kern + PAGES).umaps
    while umap != 0 and Tally(tally).spaces <= Pages(kern + PAGES).tables:
        count_umap(cpu, tally, umap)
        if _held(tally, UMAP, umap, verify_umap(cpu, umap, tally)) < 0:
            return BROKEN
        umap = Umap(umap).next
    count_cache_of_pages(cpu, tally)
    return _held(tally, PAGES_IN, kern + PAGES, verify_pages(cpu, kern + PAGES, tally))


@kernel
def _check_threads(cpu, tally):
    """Every thread, and the queue of those that wait."""
    kern = Cpu(cpu).kern
    s = Stalls(kern + STALLS)
    before = 0
    at = next_thread(cpu, tally, 0, s.threads)
    while at != 0:
        if _held(tally, THREAD, at, verify_thread(cpu, at, tally)) < 0:
            return BROKEN
        before = at
        at = next_thread(cpu, tally, before, Thread(at).after)
    for number in range(Kern(kern).cpu_count):
        count_running(cpu_at(kern, number), tally)
    count_waiting(cpu, tally)
    if Tally(tally).wait_errors == 0:
        count_overdue(cpu, tally)
    return _held(tally, STALLS_IN, s.addr, verify_stalls(cpu, s.addr, tally))


@kernel
def _check_boot(cpu, tally):
    """What boot was told: ranges of memory and object types."""
    k = Kern(Cpu(cpu).kern)
    for i in range(k.range_count):
        at = k.ranges + i * RANGE_BYTES
        if _held(tally, RANGE, at, verify_bootrange(cpu, at, tally)) < 0:
            return BROKEN
    for i in range(k.object_count):
        at = k.objects + i * TYPE_BYTES
        if _held(tally, TYPE, at, verify_objecttype(cpu, at, tally)) < 0:
            return BROKEN
    return OK


@entry
def check(cpu):
    """Hold every invariant against a recount: OK, or BROKEN, and `Kern.checked` says which and where."""
    k = Kern(Cpu(cpu).kern)
    tally = k.addr + CHECKED
    zero(tally, TALLY_BYTES)
    if _check_regions(cpu, tally) < 0 or _check_cpus(k.addr, tally) < 0 or _check_pages(cpu, tally) < 0:
        return BROKEN
    count_bins(cpu, tally, IDLE)
    count_bins(cpu, tally, BARE)
    count_bins(cpu, tally, KEPT)
    for slot in range(k.bytes >> k.slot_shift):
        count_slot(cpu, tally, slot)
    if _held(tally, KERN, k.addr, verify_kern(cpu, k.addr, tally)) < 0:
        return BROKEN
    if _check_page_cache(cpu, tally) < 0 or _check_caches(cpu, tally) < 0 or _check_threads(cpu, tally) < 0:
        return BROKEN
    return _check_boot(cpu, tally)
