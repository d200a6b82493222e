"""Recount: what the invariants are held against, counted from what no fast path keeps.

Concepts
  1. The bitmaps are counted bit by bit, the core table and the page tables entry by entry, the heap page by page, the
     lists link by link. Each count goes into the `Tally`.
  2. A record that describes others, as a region does its area, is compared with what it must say first. What differs
     is counted. Nothing is read through a reference before it has been found to lead where it must.
"""

from __future__ import annotations

from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import (
    ABSENT,
    BINS,
    DEVICE,
    DMA,
    FREE,
    HEAP,
    MAPPING,
    PAGE,
    WINDOWS_SHIFT,
    Cpu,
    Kern,
    Word,
)
from kernmalloc.kernel.devices import CHUNK_FRAMES, CHUNK_SHIFT, Chunk, entry_in
from kernmalloc.kernel.frames.bitmap import CHUNK_ORDER, origin_of, sum_count, test, word_count
from kernmalloc.kernel.frames.claims import short
from kernmalloc.kernel.frames.regions import Region, next_region
from kernmalloc.kernel.frames.stock import Group, Stock, bottom_of, group_shift, places
from kernmalloc.kernel.frames.table import FrameWords, entry_of, frame_type
from kernmalloc.kernel.heap.bins import BARE, INSIDE, LARGE, OWN, SLAB, TAIL, bin_at, bin_of, bits_of, record_of, va_of
from kernmalloc.kernel.map.kmap import directory_of, pfn_at, span_of, span_pages
from kernmalloc.lang import ctz, element, kernel, popcount, rest, shl, shr
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import Entry, entry_pa, is_large, is_present


@kernel
def mix(pfn: int) -> int:
    """A pfn hashed, so that sums over different sets of frames differ."""
    x = pfn & 0x7FFFFFFF
    return ((x * x) & 0xFFFFFFFF) ^ x


# --- regions and frames


@kernel
def layout_errors(cpu: Cpu, region: Region) -> int:
    """1 if a region's area is not laid out as its frames demand, or a hint points beyond it."""
    kern = cpu.kern
    words = word_count(region.base, region.count)
    if region.origin != origin_of(region.base, region.count) or region.word_count != words:
        return 1
    sums = sum_count(words)
    if (
        region.entries != region.area
        or region.identities != region.area + region.count * kern.stride
        or region.words.addr != region.identities + region.count * kern.identity
    ):
        return 1
    if (
        region.sums != element(region.words, words)
        or region.tops != element(region.sums, sums)
        or region.full != element(region.tops, sum_count(sums))
    ):
        return 1
    inside = region.hint >= 0 and region.hint < words and region.chunk_hint < sum_count(words >> 3)
    return 0 if inside else 1


@kernel
def ram_errors(cpu: Cpu, count: int) -> int:
    """Count how the list of RAM regions differs from the `count` of them in the tree."""
    kern = cpu.kern
    left = count
    last = Region(0)
    supply = 1 if kern.supply == 0 else 0
    at = kern.ram
    while at != 0 and left > 0:
        supply = 1 if at == kern.supply else supply
        left -= 1 if at.area != 0 else 0
        last = at
        at = at.next
    return left + (1 if at != 0 or last != kern.ram_last or supply == 0 else 0)


@kernel
def bits_in(words: Word, count: int) -> int:
    """Bits set in so many words."""
    bits = 0
    for i in range(count):
        bits += popcount(element(words, i).bits)
    return bits


@kernel
def _outside(region: Region, word: int) -> int:
    """Bits of a bitmap word that are not frames of the region."""
    low = max(region.base - region.origin - (word << 6), 0)
    high = max(min(region.base + region.count - region.origin - (word << 6), 64), 0)
    if low >= high:
        return -1
    inside = shr(-1, 64 - (high - low))
    return ~shl(inside, low)


@kernel
def count_bitmaps(region: Region, tally: Tally) -> int:
    """Recount a region's bitmaps, word by word."""
    tally.region_free = bits_in(region.words, region.word_count)
    errors = 0
    used = 0
    chunks = 0
    ones = 0
    for i in range(region.word_count):
        word = element(region.words, i).bits
        used += 1 if word != 0 else 0
        ones = (ones if i & 7 != 0 else 0) + (1 if word == -1 else 0)
        if test(region.sums, i) != (1 if word != 0 else 0) or word & _outside(region, i) != 0:
            errors += 1
        if i & 63 == 0 and test(region.tops, i >> 6) != (1 if element(region.sums, i >> 6).bits != 0 else 0):
            errors += 1
        if i & 7 == 7:
            chunks += 1 if ones == 8 else 0
            errors += 1 if test(region.full, i >> 3) != (1 if ones == 8 else 0) else 0
    sums = sum_count(region.word_count)
    stray = bits_in(region.sums, sums) - used + bits_in(region.full, sum_count(region.word_count >> 3)) - chunks
    for group in range(sums):
        stray -= test(region.tops, group)
    tally.summary_errors = errors + abs(stray + bits_in(region.tops, sum_count(sums)))
    return OK


@kernel
def block_errors(cpu: Cpu, region: Region, pfn: int, count: int) -> int:
    """Frames behind the head of a block that are free, or whose entry is not all zeros, or outside the region."""
    if pfn & (count - 1) != 0 or pfn + count > region.base + region.count:
        return 1
    errors = 0
    for i in range(pfn + 1, pfn + count):
        entry = FrameWords(entry_of(cpu, region, i).addr)
        if test(region.words, i - region.origin) != 0 or entry.head != 0 or entry.owner != 0:
            errors += 1
    return errors


@kernel
def _aim_errors(cpu: Cpu) -> int:
    """1 if a processor's quick paths are aimed at no described region of RAM, or not shut while frames are short."""
    kern = cpu.kern
    if cpu.stride != kern.stride or (cpu.quick == 0) != (cpu.noted != 0 or short(kern) != 0):
        return 1
    errors = 1 if cpu.low != 0 or cpu.high != 0 or cpu.entries != 0 else 0  # 0: never aimed
    region = next_region(cpu, 0)
    while region != 0:
        if region.area != 0 and cpu.low == region.base and cpu.entries == region.entries - region.base * kern.stride:
            errors = 0 if cpu.high == cpu.low or (cpu.high == region.base + region.count and short(kern) == 0) else 1
        region = next_region(cpu, region.base + region.count)
    return errors


@kernel
def _count_stock(stock: Stock, order: int, tally: Tally) -> int:
    """Recount a stock: how many of its places are wrong."""
    bottom = bottom_of(stock)
    end = element(bottom, places(order))
    if stock.top.addr < bottom.addr or stock.top.addr > end.addr:
        return 1
    if stock.last.addr < bottom.addr or stock.last.addr > end.addr:
        return 1
    if ((stock.top.addr - bottom.addr) | (stock.last.addr - bottom.addr)) & (Group.size - 1) != 0:
        return 1
    errors = 0 if bottom.base == ABSENT and bottom.bits == 0 else 1
    for i in range(1, places(order) + 1):
        group = element(bottom, i)
        filled = 1 if group.bits != 0 else 0
        due = 1 if group.addr <= stock.top.addr else 0
        errors += 1 if filled != due or (order != 0 and shr(group.bits, 1) != 0) else 0
        errors += 1 if group.bits != 0 and group.base & ((1 << group_shift(order)) - 1) != 0 else 0
        bits = group.bits
        while bits != 0:
            pfn = group.base + (ctz(bits) << order)
            bits = rest(bits)
            tally.stocked = tally.stocked + (1 << order)
            for frame in range(pfn, pfn + (1 << order)):
                tally.stock_sum = tally.stock_sum + mix(frame)
    return errors


@kernel
def count_cpu(cpu: Cpu, tally: Tally, number: int) -> int:
    """Recount what processor `number`, whose record `cpu` is, keeps at hand."""
    tally.id = number
    tally.drawn = tally.drawn + cpu.drawn
    tally.aim_errors = _aim_errors(cpu)
    singles = _count_stock(cpu.frames, 0, tally)
    tally.stock_errors = singles + _count_stock(cpu.chunks, CHUNK_ORDER, tally)
    return OK


# --- heap pages


@kernel
def linked(kern: Kern, page: int, head: int) -> int:
    """1 if a page can be on the list that begins at `head` (page + 1): its neighbours there lead back to it."""
    record = record_of(kern, page)
    top = kern.top
    if record.next > top or record.prev > top:
        return 0
    if record.next != 0:
        if record_of(kern, record.next - 1).prev != page + 1:
            return 0
    if record.prev == 0:
        return 1 if head == page + 1 else 0
    return 1 if record_of(kern, record.prev - 1).next == page + 1 else 0


@kernel
def listed(kern: Kern, page: int) -> int:
    """1 if a free run is linked in its bin; a run in use need not be."""
    run = record_of(kern, page)
    if run.use == LARGE or run.use == OWN or run.use == SLAB:
        return 1
    return linked(kern, page, bin_at(kern, run.use, bin_of(run.pages)).value)


@kernel
def page_errors(cpu: Cpu, page: int) -> int:
    """Pages of a run whose record or frame does not fit its use."""
    kern = cpu.kern
    head = record_of(kern, page)
    errors = 0
    for i in range(head.pages):
        record = record_of(kern, page + i)
        if head.use == SLAB:
            if record.use != SLAB or (i > 0 and record.pages != 0):
                errors += 1
        elif record.owner != 0 or (i > 0 and i < head.pages - 1 and record.use != INSIDE):
            errors += 1
        pfn = pfn_at(cpu, va_of(kern, page + i))
        if (pfn == ABSENT) != (head.use == BARE):
            errors += 1
    last = record_of(kern, page + head.pages - 1).use
    if head.use == LARGE or head.use == OWN:
        return errors + (1 if last != (TAIL if head.pages > 1 else head.use) else 0)
    return errors + (1 if last != head.use else 0)


@kernel
def count_bins(cpu: Cpu, tally: Tally, use: int) -> int:
    """Recount the bins of free runs, link by link."""
    kern = cpu.kern
    for bin in range(BINS):
        at = bin_at(kern, use, bin).value
        if test(bits_of(kern, use), bin) != (1 if at != 0 else 0):
            tally.bin_errors = tally.bin_errors + 1
        while at != 0 and at <= kern.top and tally.filed <= tally.runs:
            run = record_of(kern, at - 1)
            if run.use != use or bin_of(run.pages) != bin:
                tally.bin_errors = tally.bin_errors + 1
            tally.filed = tally.filed + 1
            at = run.next
        if at > kern.top:
            tally.bin_errors = tally.bin_errors + 1
    return OK


# --- the kernel map


@kernel
def _in_heap(kern: Kern, va: int) -> int:
    """1 if va lies in the part of the heap or of the heap map that may be backed."""
    if va >= kern.heap:
        return 1 if va < kern.heap + (kern.top << kern.page_shift) else 0
    return 1 if va >= kern.heap_map.addr and va < kern.heap_map.addr + (kern.map_pages << kern.page_shift) else 0


@kernel
def windows_at(cpu: Cpu) -> int:
    """The VA where a processor's windows must lie, so that no other's lie there (E15)."""
    kern = cpu.kern
    return kern.windows + (cpu.id << (WINDOWS_SHIFT + kern.page_shift))


@kernel
def _in_page_space(cpu: Cpu, pfn: int) -> int:
    """1 if a frame is of page space: nothing but a window may map it (E14, E16)."""
    type = frame_type(cpu, pfn)
    return 1 if type == FREE or type == PAGE or type == DMA else 0


@kernel
def _count_mapped(cpu: Cpu, tally: Tally, va: int, pfn: int) -> int:
    """Count a page that is mapped for the heap, or the heap map."""
    type = frame_type(cpu, pfn)
    if type == MAPPING:
        tally.user_tables = tally.user_tables + 1
        tally.tables = tally.tables + 1
        return OK
    if _in_heap(cpu.kern, va) == 0 or type != HEAP:
        tally.table_errors = tally.table_errors + 1
    tally.mapped = tally.mapped + 1
    tally.mapped_sum = tally.mapped_sum + mix(pfn)
    return OK


@kernel
def _count_table(cpu: Cpu, tally: Tally, span: int, pfn: int) -> int:
    """Recount the leaf table of a span, entry by entry: how many are present."""
    kern = cpu.kern
    table = kern.tables + (span << kern.page_shift)
    dynamic = 1 if span >= span_of(kern, kern.heap_map.addr) and span < span_of(kern, kern.windows) else 0
    if pfn_at(cpu, table) != pfn or (dynamic != 0 and frame_type(cpu, pfn) != MAPPING):
        tally.table_errors = tally.table_errors + 1
        return element(kern.spans, span).value
    tally.tables = tally.tables + dynamic
    present = 0
    step = kern.format.entry_shift
    for i in range(span_pages(kern)):
        entry = Entry(table + (i << step)).bits
        if is_present(kern.format, entry) != 0:
            present += 1
            if dynamic != 0:
                va = kern.base + (span << kern.span_shift) + (i << kern.page_shift)
                _count_mapped(cpu, tally, va, entry_pa(kern.format, entry) >> kern.page_shift)
            elif _in_page_space(cpu, entry_pa(kern.format, entry) >> kern.page_shift) != 0:
                tally.table_errors = tally.table_errors + 1
    return present


@kernel
def count_span(cpu: Cpu, tally: Tally, span: int) -> int:
    """Recount a span, which has nothing, a leaf table, or a large page of the heap's fixed part."""
    kern = cpu.kern
    directory = directory_of(kern, span).bits
    va = kern.base + (span << kern.span_shift)
    present = 0
    if is_present(kern.format, directory) == 0:
        present = 0 if pfn_at(cpu, kern.tables + (span << kern.page_shift)) == ABSENT else -1
    elif is_large(kern.format, directory) == 0:
        present = _count_table(cpu, tally, span, entry_pa(kern.format, directory) >> kern.page_shift)
    else:
        present = span_pages(kern)
        if va < kern.heap or va >= kern.heap + (kern.fixed << kern.page_shift):
            tally.table_errors = tally.table_errors + 1
        for i in range(present):
            _count_mapped(
                cpu, tally, va + (i << kern.page_shift), (entry_pa(kern.format, directory) >> kern.page_shift) + i
            )
    if present != element(kern.spans, span).value:
        tally.table_errors = tally.table_errors + 1
    return OK


@kernel
def count_ready(region: Region, tally: Tally) -> int:
    """Recount the chunks that wait on a published range's list."""
    tally.ready = 0
    chunk = region.ready
    while chunk != 0 and tally.ready <= region.ready_count:
        tally.ready = tally.ready + 1
        chunk = chunk.left
    return OK


@kernel
def used_in(cpu: Cpu, region: Region, chunk: Chunk) -> int:
    """Frames in use that a chunk of a range describes; a number below 0 if one of its entries makes no sense."""
    used = 0
    for i in range(CHUNK_FRAMES):
        pfn = (chunk.base << CHUNK_SHIFT) + i
        frame = entry_in(cpu.kern, chunk, pfn)
        if frame.type == DEVICE and frame.pins > 0 and pfn >= region.base and pfn < region.base + region.count:
            used += 1
        elif frame.type != FREE or frame.pins != 0:
            used -= CHUNK_FRAMES + 1
    return used
