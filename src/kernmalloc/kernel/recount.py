"""Recount: what the invariants are held against, counted from what no fast path keeps.

Concepts
  1. The bitmaps bit by bit, the core table entry by entry, the heap page by page, the tables entry by entry, the lists
     link by link; each count goes into the `Tally`.
  2. Records that describe others (a region its area) are compared with
     what they must say; what differs is counted, and nothing is read through a pointer before that.
"""

from kernmalloc.kernel.bins import BARE, LARGE, NONE, SLAB, TAIL, HeapPage, bin_at, bin_of, bits_of, record_of, va_of
from kernmalloc.kernel.bitmap import CHUNK_ORDER, origin_of, sum_count, test, word_count
from kernmalloc.kernel.devices import CHUNK_FRAMES, CHUNK_SHIFT, Chunk, entry_in
from kernmalloc.kernel.frames import Frame, entry_of, frame_type
from kernmalloc.kernel.kern import (
    BINS,
    DEVICE,
    DMA,
    FREE,
    HEAP,
    MAPPING,
    PAGE,
    RAM,
    WINDOWS_SHIFT,
    Cpu,
    Group,
    Half,
    Index,
    Kern,
    Stock,
    Tally,
    Word,
)
from kernmalloc.kernel.kmap import directory_of, pfn_at, slot_of, slot_pages
from kernmalloc.kernel.regions import Region, next_region
from kernmalloc.kernel.stock import BLOCKS, BOTTOM, SINGLES, STEP, group_shift, places
from kernmalloc.kernel.threads import short
from kernmalloc.lang import ctz, kernel, popcount, rest, shl, shr
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import Entry, entry_pa, entry_shift, is_large, is_present


@kernel
def mix(pfn):
    """A pfn hashed, so that sums over different sets of frames differ."""
    x = pfn & 0x7FFFFFFF
    return ((x * x) & 0xFFFFFFFF) ^ x


# --- regions and frames


@kernel
def layout_errors(cpu, region):
    """1 if a region's area is not laid out as its frames demand, or a hint points beyond it."""
    r = Region(region)
    k = Kern(Cpu(cpu).kern)
    sums = sum_count(r.word_count)
    if r.origin != origin_of(r.base, r.count) or r.word_count != word_count(r.base, r.count):
        return 1
    if (
        r.entries != r.area
        or r.identities != r.area + r.count * k.stride
        or r.words != r.identities + r.count * k.identity
    ):
        return 1
    if (
        r.sums != r.words + (r.word_count << 3)
        or r.tops != r.sums + (sums << 3)
        or r.full != r.tops + (sum_count(sums) << 3)
    ):
        return 1
    return 0 if r.hint >= 0 and r.hint < r.word_count and r.chunk_hint < sum_count(r.word_count >> 3) else 1


@kernel
def ram_errors(cpu, count):
    """How the list of RAM regions differs from the `count` of them in the tree."""
    k = Kern(Cpu(cpu).kern)
    left = count
    last = 0
    supply = 1 if k.supply == 0 else 0
    at = k.ram
    while at != 0 and left > 0:
        supply = 1 if at == k.supply else supply
        left -= 1 if Region(at).area != 0 else 0
        last = at
        at = Region(at).next
    return left + (1 if at != 0 or last != k.ram_last or supply == 0 else 0)


@kernel
def bits_in(words, count):
    """Bits set in so many words."""
    bits = 0
    for i in range(count):
        bits += popcount(Word(words + (i << 3)).bits)
    return bits


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
def count_bitmaps(region, tally):
    """Recount a region's bitmaps, word by word."""
    r = Region(region)
    t = Tally(tally)
    t.region_free = bits_in(r.words, r.word_count)
    errors = 0
    used = 0
    chunks = 0
    ones = 0
    for i in range(r.word_count):
        w = Word(r.words + (i << 3)).bits
        used += 1 if w != 0 else 0
        ones = (ones if i & 7 != 0 else 0) + (1 if w == -1 else 0)
        if test(r.sums, i) != (1 if w != 0 else 0) or w & _outside(region, i) != 0:
            errors += 1
        if i & 63 == 0 and test(r.tops, i >> 6) != (1 if Word(r.sums + ((i >> 6) << 3)).bits != 0 else 0):
            errors += 1
        if i & 7 == 7:
            chunks += 1 if ones == 8 else 0
            errors += 1 if test(r.full, i >> 3) != (1 if ones == 8 else 0) else 0
    sums = sum_count(r.word_count)
    stray = bits_in(r.sums, sums) - used + bits_in(r.full, sum_count(r.word_count >> 3)) - chunks
    for group in range(sums):
        stray -= test(r.tops, group)
    t.summary_errors = errors + abs(stray + bits_in(r.tops, sum_count(sums)))
    return OK


@kernel
def block_errors(cpu, region, pfn, count):
    """Frames behind the head of a block that are free or have an entry that is not all zeros, or lie outside the region."""
    r = Region(region)
    if pfn & (count - 1) != 0 or pfn + count > r.base + r.count:
        return 1
    errors = 0
    for i in range(pfn + 1, pfn + count):
        entry = entry_of(cpu, region, i)
        if test(r.words, i - r.origin) != 0 or Word(entry).bits != 0 or Word(entry + 8).bits != 0:
            errors += 1
    return errors


@kernel
def _aim_errors(cpu):
    """1 if a processor's quick paths are not aimed at a region of RAM that is described, or not shut while frames are short."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    if c.stride != k.stride:
        return 1
    errors = 1 if c.low != 0 or c.high != 0 or c.entries != 0 else 0  # 0: never aimed
    region = next_region(cpu, 0)
    while region != 0:
        r = Region(region)
        if r.area != 0 and c.low == r.base and c.entries == r.entries - r.base * k.stride:
            errors = 0 if c.high == c.low or (c.high == r.base + r.count and short(k.addr) == 0) else 1
        region = next_region(cpu, r.base + r.count)
    return errors


@kernel
def _count_stock(stock, order, tally):
    """Recount a stock; places of it that are wrong."""
    t = Tally(tally)
    s = Stock(stock)
    bottom = stock + BOTTOM
    end = bottom + places(order) * STEP
    if (
        s.top < bottom
        or s.top > end
        or s.last < bottom
        or s.last > end
        or (s.top | s.last) & (STEP - 1) != stock & (STEP - 1)
    ):
        return 1
    errors = 0 if Group(bottom).base == -1 and Group(bottom).bits == 0 else 1
    for at in range(bottom + STEP, end + STEP, STEP):
        g = Group(at)
        errors += 1 if (g.bits != 0) != (at <= s.top) or (order != 0 and shr(g.bits, 1) != 0) else 0
        errors += 1 if g.bits != 0 and g.base & ((1 << group_shift(order)) - 1) != 0 else 0
        bits = g.bits
        while bits != 0:
            pfn = g.base + (ctz(bits) << order)
            bits = rest(bits)
            t.stocked = t.stocked + (1 << order)
            for i in range(1 << order):
                t.stock_sum = t.stock_sum + mix(pfn + i)
    return errors


@kernel
def count_cpu(cpu, tally, number):
    """Recount what processor `number`, whose record `cpu` is, keeps at hand."""
    t = Tally(tally)
    t.id = number
    t.drawn = t.drawn + Cpu(cpu).drawn
    t.aim_errors = _aim_errors(cpu)
    t.stock_errors = _count_stock(cpu + SINGLES, 0, tally) + _count_stock(cpu + BLOCKS, CHUNK_ORDER, tally)
    return OK


# --- heap pages


@kernel
def linked(kern, page, head):
    """1 if the list that begins at `head` (page + 1) can have that page on it where it is: its neighbours lead back to it."""
    h = HeapPage(record_of(kern, page))
    top = Kern(kern).top
    if h.next > top or h.prev > top:
        return 0
    if h.next != 0:
        if HeapPage(record_of(kern, h.next - 1)).prev != page + 1:
            return 0
    if h.prev == 0:
        return 1 if head == page + 1 else 0
    return 1 if HeapPage(record_of(kern, h.prev - 1)).next == page + 1 else 0


@kernel
def listed(kern, page):
    """1 if a free run is linked in its bin; a LARGE one need not be."""
    h = HeapPage(record_of(kern, page))
    if h.use == LARGE or h.use == SLAB:
        return 1
    return linked(kern, page, Index(bin_at(kern, h.use, bin_of(h.pages))).value)


@kernel
def page_errors(cpu, page):
    """Pages of a run whose record or frame does not fit its use."""
    kern = Cpu(cpu).kern
    head = HeapPage(record_of(kern, page))
    errors = 0
    for i in range(head.pages):
        h = HeapPage(record_of(kern, page + i))
        if head.use == SLAB:
            if h.use != SLAB or (i > 0 and h.pages != 0):
                errors += 1
        elif h.more != 0 or (i > 0 and i < head.pages - 1 and h.use != NONE):
            errors += 1
        pfn = pfn_at(cpu, va_of(kern, page + i))
        if (pfn < 0) != (head.use == BARE):
            errors += 1
    last = HeapPage(record_of(kern, page + head.pages - 1)).use
    if head.use == LARGE:
        return errors + (1 if last != (TAIL if head.pages > 1 else LARGE) else 0)
    return errors + (1 if last != head.use else 0)


@kernel
def count_bins(cpu, tally, use):
    """Recount the bins of free runs, link by link."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    for bin in range(BINS):
        at = Index(bin_at(k.addr, use, bin)).value
        if test(bits_of(k.addr, use), bin) != (1 if at != 0 else 0):
            t.bin_errors = t.bin_errors + 1
        while at != 0 and at <= k.top and t.filed <= t.runs:
            h = HeapPage(record_of(k.addr, at - 1))
            if h.use != use or bin_of(h.pages) != bin:
                t.bin_errors = t.bin_errors + 1
            t.filed = t.filed + 1
            at = h.next
        if at > k.top:
            t.bin_errors = t.bin_errors + 1
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
def windows_at(cpu):
    """VA where a processor's windows lie: no other's lie there (E15)."""
    k = Kern(Cpu(cpu).kern)
    return k.windows + (Cpu(cpu).id << (WINDOWS_SHIFT + k.page_shift))


@kernel
def _in_page_space(cpu, pfn):
    """1 if a frame is of page space: nothing but a window may map it (E14, E16)."""
    type = frame_type(cpu, pfn)
    return 1 if type == FREE or type == PAGE or type == DMA else 0


@kernel
def _count_mapped(cpu, tally, va, pfn):
    """Count a page that is mapped for the heap, or the heap map."""
    t = Tally(tally)
    type = frame_type(cpu, pfn)
    if type == MAPPING:
        t.user_tables = t.user_tables + 1
        t.tables = t.tables + 1
        return OK
    if _in_heap(Cpu(cpu).kern, va) == 0 or type != HEAP:
        t.table_errors = t.table_errors + 1
    t.mapped = t.mapped + 1
    t.mapped_sum = t.mapped_sum + mix(pfn)
    return OK


@kernel
def _count_table(cpu, tally, slot, pfn):
    """Recount the leaf table of a slot, entry by entry; returns how many are present."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    table = k.tables + (slot << k.page_shift)
    dynamic = 1 if slot >= slot_of(k.addr, k.heap_map) and slot < slot_of(k.addr, k.windows) else 0
    if pfn_at(cpu, table) != pfn or (dynamic != 0 and frame_type(cpu, pfn) != MAPPING):
        t.table_errors = t.table_errors + 1
        return Half(k.slots + (slot << 1)).value
    t.tables = t.tables + dynamic
    present = 0
    step = entry_shift(k.arch)
    for i in range(slot_pages(k.addr)):
        e = Entry(table + (i << step)).bits
        if is_present(k.arch, e) != 0:
            present += 1
            if dynamic != 0:
                va = k.base + (slot << k.slot_shift) + (i << k.page_shift)
                _count_mapped(cpu, tally, va, entry_pa(k.arch, e) >> k.page_shift)
            elif _in_page_space(cpu, entry_pa(k.arch, e) >> k.page_shift) != 0:
                t.table_errors = t.table_errors + 1
    return present


@kernel
def count_slot(cpu, tally, slot):
    """Recount a slot: nothing, a leaf table, or a large page of the heap's fixed part."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    directory = Entry(directory_of(k.addr, slot)).bits
    va = k.base + (slot << k.slot_shift)
    present = 0
    if is_present(k.arch, directory) == 0:
        present = 0 if pfn_at(cpu, k.tables + (slot << k.page_shift)) < 0 else -1
    elif is_large(k.arch, directory) == 0:
        present = _count_table(cpu, tally, slot, entry_pa(k.arch, directory) >> k.page_shift)
    else:
        present = slot_pages(k.addr)
        if va < k.heap or va >= k.heap + (k.fixed << k.page_shift):
            t.table_errors = t.table_errors + 1
        for i in range(present):
            _count_mapped(cpu, tally, va + (i << k.page_shift), (entry_pa(k.arch, directory) >> k.page_shift) + i)
    if present != Half(k.slots + (slot << 1)).value:
        t.table_errors = t.table_errors + 1
    return OK


@kernel
def count_spares(region, tally):
    """Recount the chunks that wait on a published range's list."""
    r = Region(region)
    t = Tally(tally)
    t.spare = 0
    spare = r.spare
    while spare != 0 and t.spare <= r.spare_count:
        t.spare = t.spare + 1
        spare = Chunk(spare).left
    return OK


@kernel
def used_in(cpu, region, chunk):
    """Frames in use that a chunk of a range describes; a count below 0 if one of its entries makes no sense."""
    r = Region(region)
    used = 0
    for i in range(CHUNK_FRAMES):
        pfn = (Chunk(chunk).base << CHUNK_SHIFT) + i
        f = Frame(entry_in(Cpu(cpu).kern, chunk, pfn))
        if f.type == DEVICE and f.pins > 0 and pfn >= r.base and pfn < r.base + r.count:
            used += 1
        elif f.type != FREE or f.pins != 0:
            used -= CHUNK_FRAMES + 1
    return used
