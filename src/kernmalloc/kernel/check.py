"""Check: every invariant of every record, held against a slow recount.

Concepts
  1. The equations are those that stand with the records; `verifier` makes each record's a function, word for word.
  2. What they are held against, the `Tally`, is counted from what no fast path keeps: the bitmaps bit by bit, the core
     table entry by entry, the heap page by page, the tables entry by entry, the lists link by link.
  3. The first equation that fails ends the check: `Tally.failed` says which, `Tally.culprit` where.

Time: linear in frames, heap pages and window slots; a few ns each.
"""

from kernmalloc.kernel.bitmap import MAX_ORDER, test
from kernmalloc.kernel.devices import CHUNK_FRAMES, CHUNK_SHIFT, CHUNKS, UNPUBLISHED, Chunk, entry_in
from kernmalloc.kernel.frames import Frame, entry_of, frame_type
from kernmalloc.kernel.kern import (
    BINS,
    CACHES,
    CLASSES,
    DEVICE,
    FREE,
    HEAP,
    MAPPING,
    RAM,
    TYPES,
    Cpu,
    Half,
    Index,
    Kern,
    Magazine,
    Tally,
    Word,
)
from kernmalloc.kernel.kmap import pfn_at, slot_of
from kernmalloc.kernel.regions import Region, next_region
from kernmalloc.kernel.runs import (
    BARE,
    IDLE,
    KEPT,
    LARGE,
    NONE,
    SLAB,
    TAIL,
    HeapPage,
    bin_at,
    bin_of,
    bits_of,
    record_of,
    va_of,
)
from kernmalloc.kernel.slabs import BITS, MAX_SLOTS, Cache, cache_at, magazine_of
from kernmalloc.kernel.tree import tree_above
from kernmalloc.lang import entry, kernel, popcount, shl, shr, verifier
from kernmalloc.lang.status import BROKEN, OK
from kernmalloc.machine.mmu import ENTRY_SHIFT, INDEX_BITS, Entry, entry_pa, is_large, is_present
from kernmalloc.machine.primitives import zero

PARTIAL = Cache.offset("partial")
CHECKED = Kern.offset("checked")
TALLY_BYTES = Tally.size
TALLY_COUNTS = Tally.offset("free")

RECORDS = (Kern, Cpu, Magazine, Region, Frame, HeapPage, Cache, Chunk)
KERN = 0
CPU = 1
MAGAZINE = 2
REGION = 3
FRAME = 4
HEAP_PAGE = 5
CACHE = 6
CHUNK = 7

verify_kern = verifier(Kern, namespace=globals(), tally=Tally)
verify_cpu = verifier(Cpu, namespace=globals())
verify_magazine = verifier(Magazine, namespace=globals(), tally=Tally)
verify_region = verifier(Region, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_frame = verifier(Frame, namespace=globals())
verify_heappage = verifier(HeapPage, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)
verify_chunk = verifier(Chunk, namespace=globals(), tally=Tally)
verify_cache = verifier(Cache, namespace=globals(), tally=Tally, kern=Kern, cpu=Cpu)


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
def _mix(pfn):
    """A pfn hashed, so that sums over different sets of frames differ."""
    x = pfn & 0x7FFFFFFF
    return ((x * x) & 0xFFFFFFFF) ^ x


# --- regions and frames


@kernel
def _outside(region, word):
    """Bits of a bitmap word that are not frames of the region."""
    r = Region(region)
    low = max(r.base - r.origin - (word << 6), 0)
    high = max(min(r.base + r.count - r.origin - (word << 6), 64), 0)
    if low >= high:
        return -1
    inside = shr(-1, 64 - (high - low))
    return ~shl(inside, low)


@kernel
def _count_bitmaps(region, tally):
    """Recount a region's bitmaps, word by word."""
    r = Region(region)
    t = Tally(tally)
    t.region_free = 0
    errors = 0
    ones = 0
    for i in range(r.word_count):
        w = Word(r.words + (i << 3)).bits
        t.region_free = t.region_free + popcount(w)
        ones = (ones if i & 7 != 0 else 0) + (1 if w == -1 else 0)
        if test(r.sums, i) != (1 if w != 0 else 0) or w & _outside(region, i) != 0:
            errors += 1
        if i & 63 == 0 and test(r.tops, i >> 6) != (1 if Word(r.sums + ((i >> 6) << 3)).bits != 0 else 0):
            errors += 1
        if i & 7 == 7 and test(r.full, i >> 3) != (1 if ones == 8 else 0):
            errors += 1
    t.summary_errors = errors
    return OK


@kernel
def _block_errors(cpu, region, pfn, count):
    """Frames behind the head of a block that are free or have an owner of their own, or lie outside the region."""
    r = Region(region)
    if pfn & (count - 1) != 0 or pfn + count > r.base + r.count:
        return 1
    errors = 0
    for i in range(pfn + 1, pfn + count):
        if test(r.words, i - r.origin) != 0 or Frame(entry_of(cpu, region, i)).type != FREE:
            errors += 1
    return errors


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
        if free != (1 if f.type == FREE else 0):
            t.entry_errors = t.entry_errors + 1
        elif f.type != FREE:
            count = 1 << f.order
            t.entry_errors = t.entry_errors + _block_errors(cpu, region, pfn, count)
        total = Word(tally + TALLY_COUNTS + (f.type << 3))
        total.bits = total.bits + count
        if f.type == HEAP:
            t.heap_sum = t.heap_sum + _mix(pfn)
        pfn += count
    return OK


@kernel
def _count_chunks(cpu, region, tally):
    """Recount the chunks of a published range. BROKEN if one breaks its own equations."""
    r = Region(region)
    t = Tally(tally)
    spare = r.spare
    while spare != 0 and t.spare <= r.spare_count:
        t.spare = t.spare + 1
        spare = Chunk(spare).left
    chunk = tree_above(region + CHUNKS, -1)
    while chunk != 0 and t.live <= r.live:
        c = Chunk(chunk)
        t.chunk_used = 0
        for i in range(CHUNK_FRAMES):
            pfn = (c.base << CHUNK_SHIFT) + i
            f = Frame(entry_in(Cpu(cpu).kern, chunk, pfn))
            if f.type == DEVICE and f.pins > 0 and pfn >= r.base and pfn < r.base + r.count:
                t.chunk_used = t.chunk_used + 1
            elif f.type != FREE or f.pins != 0:
                t.chunk_used = -CHUNK_FRAMES
        if _held(tally, CHUNK, chunk, verify_chunk(cpu, chunk, tally)) < 0:
            return BROKEN
        t.live = t.live + 1
        t.used = t.used + t.chunk_used
        chunk = tree_above(region + CHUNKS, c.base)
    return OK


@kernel
def _check_regions(cpu, tally):
    """Every region in order of address."""
    t = Tally(tally)
    end = 0
    region = next_region(cpu, 0)
    while region != 0:
        r = Region(region)
        t.order_errors = 1 if r.base < end else 0
        if r.left != 0:
            t.order_errors = t.order_errors + (1 if Region(r.left).base >= r.base else 0)
        if r.right != 0:
            t.order_errors = t.order_errors + (1 if Region(r.right).base <= r.base else 0)
        t.region_free = r.free
        t.summary_errors = 0
        t.entry_errors = 0
        t.live = 0
        t.spare = 0
        t.used = 0
        if r.tier != UNPUBLISHED:
            if _count_chunks(cpu, region, tally) < 0:
                return BROKEN
            t.device_count = t.device_count + r.count
            t.device = t.device + t.used
        if r.area != 0:
            _count_bitmaps(region, tally)
            if _count_frames(cpu, region, tally) < 0:
                return BROKEN
            t.frames = t.frames + r.count
        if _held(tally, REGION, region, verify_region(cpu, region, tally)) < 0:
            return BROKEN
        t.regions = t.regions + 1
        end = r.base + r.count
        region = next_region(cpu, end)
    return OK


# --- heap pages


@kernel
def _list_head(kern, page):
    """VA of the list head that a run or slab belongs under."""
    h = HeapPage(record_of(kern, page))
    if h.use == SLAB:
        return cache_at(kern, h.cache) + PARTIAL
    return bin_at(kern, h.use, bin_of(h.pages))


@kernel
def _listed(kern, page):
    """1 if a run or slab is linked on its list, or unlinked, as its state demands."""
    h = HeapPage(record_of(kern, page))
    if h.use == LARGE:
        return 1
    head = Index(_list_head(kern, page)).value
    if h.use == SLAB and (h.free == 0 or h.claim != 0):
        return 1 if h.next == 0 and h.prev == 0 and head != page + 1 else 0
    if h.next != 0:
        if HeapPage(record_of(kern, h.next - 1)).prev != page + 1:
            return 0
    if h.prev == 0:
        return 1 if head == page + 1 else 0
    return 1 if HeapPage(record_of(kern, h.prev - 1)).next == page + 1 else 0


@kernel
def _page_errors(cpu, page):
    """Pages of a run whose record or frame does not fit its use."""
    kern = Cpu(cpu).kern
    head = HeapPage(record_of(kern, page))
    errors = 0
    for i in range(head.pages):
        h = HeapPage(record_of(kern, page + i))
        if head.use == SLAB:
            if h.use != SLAB or h.back != i or h.cache != head.cache:
                errors += 1
        elif i > 0 and i < head.pages - 1 and h.use != NONE:
            errors += 1
        pfn = pfn_at(cpu, va_of(kern, page + i))
        if (pfn < 0) != (head.use == BARE):
            errors += 1
    last = HeapPage(record_of(kern, page + head.pages - 1)).use
    if head.use == LARGE:
        return errors + (1 if last != (TAIL if head.pages > 1 else LARGE) else 0)
    return errors + (1 if last != head.use else 0)


@kernel
def _slab_bits(page_record):
    """Bits set in a slab's bitmap."""
    bits = 0
    for i in range(4):
        bits += popcount(Word(page_record + BITS + (i << 3)).bits)
    return bits


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
            t.page_errors = _page_errors(cpu, page)
            t.tail_pages = h.pages if h.use == SLAB else HeapPage(record_of(k.addr, page + h.pages - 1)).pages
            t.listed = _listed(k.addr, page)
        t.joinable = 1 if free != 0 and h.use == before else 0
        t.slab_free = _slab_bits(h.addr)
        if _held(tally, HEAP_PAGE, h.addr, verify_heappage(cpu, h.addr, tally)) < 0:
            return BROKEN
        t.runs = t.runs + free
        t.idle = t.idle + (h.pages if h.use == IDLE else 0)
        t.kept = t.kept + (h.pages if h.use == KEPT else 0)
        t.backed = t.backed + (h.pages if h.use != BARE else 0)
        before = h.use
        page += h.pages
    return OK


@kernel
def _count_bins(cpu, tally, use):
    """Recount the bins of free runs, link by link."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    for bin in range(BINS):
        at = Index(bin_at(k.addr, use, bin)).value
        if test(bits_of(k.addr, use), bin) != (1 if at != 0 else 0):
            t.bin_errors = t.bin_errors + 1
        while at != 0 and t.filed <= t.runs:
            h = HeapPage(record_of(k.addr, at - 1))
            if h.use != use or bin_of(h.pages) != bin:
                t.bin_errors = t.bin_errors + 1
            t.filed = t.filed + 1
            at = h.next
    return OK


# --- caches and magazines


@kernel
def _count_cache(cpu, tally, id):
    """Recount the slabs of a cache, and the length of its list."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    t.slabs = 0
    t.empty = 0
    t.partial = 0
    page = 0
    while page < k.top:
        h = HeapPage(record_of(k.addr, page))
        if h.use == SLAB and h.cache == id:
            t.slabs = t.slabs + 1
            if h.free > 0 and h.claim == 0:
                t.partial = t.partial + 1
                t.empty = t.empty + (1 if h.free == h.slots else 0)
        page += h.pages
    t.listed = 0
    at = Cache(cache_at(k.addr, id)).partial
    while at != 0 and t.listed <= t.partial:
        t.listed = t.listed + 1
        at = HeapPage(record_of(k.addr, at - 1)).next
    return OK


@kernel
def _count_magazine(cpu, tally, magazine):
    """Hold a magazine against the slab that it claims a word of."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    m = Magazine(magazine)
    t.claim = 0
    t.claimed_bits = 0
    if m.slab == 0 or m.slab > k.top or m.word > 3 or m.word < 0:
        return OK
    h = HeapPage(record_of(k.addr, m.slab - 1))
    t.claim = h.claim
    here = max(min(h.slots - (m.word << 6), 64), 0)
    beyond = m.bits & ~(shr(-1, 64 - here) if here > 0 else 0)
    t.claimed_bits = popcount(m.bits & Word(h.addr + BITS + (m.word << 3)).bits) + popcount(beyond)
    return OK


@kernel
def _check_caches(cpu, tally):
    """Every cache, and this processor's magazine for it."""
    kern = Cpu(cpu).kern
    for id in range(Kern(kern).cache_count):
        cache = cache_at(kern, id)
        _count_cache(cpu, tally, id)
        if _held(tally, CACHE, cache, verify_cache(cpu, cache, tally)) < 0:
            return BROKEN
        magazine = magazine_of(cpu, id)
        _count_magazine(cpu, tally, magazine)
        if _held(tally, MAGAZINE, magazine, verify_magazine(cpu, magazine, tally)) < 0:
            return BROKEN
    return OK


# --- the kernel map


@kernel
def _in_heap(kern, va):
    """1 if va lies in the part of the heap or of the heap map that may be backed."""
    k = Kern(kern)
    if va >= k.heap:
        return 1 if va < k.heap + (k.top << k.page_shift) else 0
    return 1 if va >= k.heap_map and va < k.heap_map + (k.map_pages << k.page_shift) else 0


@kernel
def _count_mapped(cpu, tally, va, pfn):
    """Count a page that is mapped for the heap, or the heap map."""
    t = Tally(tally)
    if _in_heap(Cpu(cpu).kern, va) == 0 or frame_type(cpu, pfn) != HEAP:
        t.table_errors = t.table_errors + 1
    t.mapped = t.mapped + 1
    t.mapped_sum = t.mapped_sum + _mix(pfn)
    return OK


@kernel
def _count_table(cpu, tally, slot, pfn):
    """Recount the leaf table of a slot, entry by entry; returns how many are present."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    table = k.tables + (slot << k.page_shift)
    dynamic = 1 if slot >= slot_of(k.addr, k.heap_map) else 0
    if pfn_at(cpu, table) != pfn or (dynamic != 0 and frame_type(cpu, pfn) != MAPPING):
        t.table_errors = t.table_errors + 1
        return 0
    t.tables = t.tables + dynamic
    present = 0
    for i in range(1 << INDEX_BITS):
        e = Entry(table + (i << ENTRY_SHIFT)).bits
        if is_present(k.arch, e) != 0:
            present += 1
            if dynamic != 0:
                va = k.base + (slot << k.slot_shift) + (i << k.page_shift)
                _count_mapped(cpu, tally, va, entry_pa(k.arch, e) >> k.page_shift)
    return present


@kernel
def _count_slot(cpu, tally, slot):
    """Recount a slot: nothing, a leaf table, or a large page of the heap's fixed part."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    directory = Entry(k.directory + (slot << ENTRY_SHIFT)).bits
    va = k.base + (slot << k.slot_shift)
    present = 0
    if is_present(k.arch, directory) == 0:
        present = 0 if pfn_at(cpu, k.tables + (slot << k.page_shift)) < 0 else -1
    elif is_large(k.arch, directory) == 0:
        present = _count_table(cpu, tally, slot, entry_pa(k.arch, directory) >> k.page_shift)
    else:
        present = 1 << INDEX_BITS
        if va < k.heap or va >= k.heap + (k.fixed << k.page_shift):
            t.table_errors = t.table_errors + 1
        for i in range(present):
            _count_mapped(cpu, tally, va + (i << k.page_shift), (entry_pa(k.arch, directory) >> k.page_shift) + i)
    if present != Half(k.slots + (slot << 1)).value:
        t.table_errors = t.table_errors + 1
    return OK


@entry
def check(cpu):
    """Hold every invariant against a recount: OK, or BROKEN, and `Kern.checked` says which and where."""
    k = Kern(Cpu(cpu).kern)
    tally = k.addr + CHECKED
    zero(tally, TALLY_BYTES)
    if _check_regions(cpu, tally) < 0 or _check_pages(cpu, tally) < 0:
        return BROKEN
    _count_bins(cpu, tally, IDLE)
    _count_bins(cpu, tally, BARE)
    _count_bins(cpu, tally, KEPT)
    for slot in range(k.bytes >> k.slot_shift):
        _count_slot(cpu, tally, slot)
    if _held(tally, KERN, k.addr, verify_kern(cpu, k.addr, tally)) < 0:
        return BROKEN
    if _held(tally, CPU, cpu, verify_cpu(cpu, cpu, tally)) < 0:
        return BROKEN
    return _check_caches(cpu, tally)
