"""Recount: what the invariants are held against, counted from what no fast path keeps.

Concepts
  1. The bitmaps are counted bit by bit, the core table and the page tables entry by entry, the heap page by page, the
     lists link by link. Each count goes into the `Tally`.
  2. A record that describes others, as a region does its area, is compared with what it must say first. What differs
     is counted. Nothing is read through a reference before it has been found to lead where it must.
"""

from __future__ import annotations

from kernmalloc.kernel.boot.config import BootRange
from kernmalloc.kernel.boot.coretable import area_pages, table_bytes
from kernmalloc.kernel.boot.sizing import range_at
from kernmalloc.kernel.check.rooms import goes_on, is_area, is_host, is_region
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import (
    ABSENT,
    DEVICE,
    DMA,
    EMPTY,
    LARGEST_CLASS,
    PAGE,
    RAM,
    RESERVED,
    Cpu,
    Kern,
    Word,
)
from kernmalloc.kernel.core.locks import gate_of, grains_mapped
from kernmalloc.kernel.devices import CHUNK_FRAMES, CHUNK_SHIFT, UNPUBLISHED, Chunk, chunk_cache, entry_in
from kernmalloc.kernel.frames.bitmap import CHUNK_ORDER, origin_of, sum_count, test, word_count
from kernmalloc.kernel.frames.claims import short
from kernmalloc.kernel.frames.regions import Region, next_region
from kernmalloc.kernel.frames.stock import Group, Stock, bottom_of, group_shift, places
from kernmalloc.kernel.frames.table import Frame, FrameWords, Page, entry_of
from kernmalloc.kernel.map.direct import direct_end
from kernmalloc.lang import ctz, element, kernel, popcount, rest, shl, shr
from kernmalloc.lang.status import OK


@kernel
def mix(pfn: int) -> int:
    """A pfn hashed, so that sums over different sets of frames differ."""
    x = (pfn ^ shr(pfn, 31) ^ shr(pfn, 62)) & 0x7FFFFFFF
    return (x * (2 * x + 1)) & 0xFFFFFFFF  # a permutation of 32 bits (Rivest and others, "The RC6 Block Cipher", 1998)


# --- regions and frames


@kernel
def layout_errors(cpu: Cpu, region: Region) -> int:
    """1 if a region's area is not laid out as its frames demand, or a hint points beyond it."""
    kern = cpu.kern
    if region.count <= 0 or region.base < 0 or region.base > kern.max_pfn - region.count:
        return 1
    own = area_pages(kern, region.base, region.count) if is_host(kern, region) != 0 else 0
    if own > region.count or (own > 0 and region.base + own > direct_end(kern)):
        return 1
    if own == 0 and is_area(cpu, region.area, table_bytes(kern, region.base, region.count)) == 0:
        return 1
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
    for pfn in range(region.base, region.base + own):
        if entry_of(cpu, region, pfn).type != RESERVED:
            return 1
    inside = region.hint >= 0 and region.hint < words and region.chunk_hint < sum_count(words >> 3)
    return 0 if inside else 1


@kernel
def blank_errors(region: Region) -> int:
    """1 if a region whose frames are not described says anything of a description."""
    lists = region.words.addr | region.sums.addr | region.tops.addr | region.full.addr | region.next.addr
    places = region.entries | region.identities | region.origin | region.word_count | region.free
    return 1 if (lists | places | region.hint | region.chunk_hint) != 0 else 0


@kernel
def _told(kern: Kern, pfn: int) -> BootRange:
    """The last range of memory that boot was told of and that begins at or below a frame; null if there is none."""
    low = -1
    high = kern.range_count
    while high - low > 1:
        middle = (low + high) >> 1
        if range_at(kern, middle).base <= pfn:
            low = middle
        else:
            high = middle
    return range_at(kern, low) if low >= 0 else BootRange(0)


@kernel
def told_errors(cpu: Cpu, tally: Tally, region: Region) -> int:
    """1 if a region is not of what boot was told, nor RAM or a device that came later. What is, is counted."""
    told = _told(cpu.kern, region.base)
    end = 0
    if told != 0:
        end = told.base + told.count
    if region.base >= end:
        return 0 if region.kind == RAM or (region.tier != UNPUBLISHED and region.under == 0) else 1
    tally.told = tally.told + region.count
    if region.base + region.count > end:
        return 1
    kind = region.kind if region.tier == UNPUBLISHED else region.under
    return 1 if kind != RAM and kind != told.kind else 0


@kernel
def told_frames(kern: Kern) -> int:
    """Frames that boot was told of."""
    frames = 0
    for i in range(kern.range_count):
        frames += range_at(kern, i).count
    return frames


@kernel
def ram_errors(cpu: Cpu, count: int) -> int:
    """Count how the list of RAM regions differs from the `count` of them in the tree."""
    kern = cpu.kern
    left = count
    last = Region(0)
    supply = 1 if kern.supply == 0 else 0
    at = kern.ram
    while left > 0 and is_region(cpu, at) != 0:
        supply = 1 if at == kern.supply else supply
        if at.area == 0:
            break
        left -= 1
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
    gate = gate_of(cpu)
    other = cpu.shared if kern.cpu_count == 1 else cpu.alone
    if cpu.stride != kern.stride or other.takes != 0 or other.gives != 0 or other.high != cpu.low:
        return 1
    if gate.gives < 0 or gate.gives > grains_mapped(kern) or (gate.gives > 0 and short(kern) != 0):
        return 1
    if gate.takes != (LARGEST_CLASS if gate.gives != 0 and cpu.noted == 0 else 0):
        return 1
    errors = 1 if cpu.low != 0 or gate.high != 0 or cpu.entries != 0 else 0  # 0: never aimed
    region = next_region(cpu, 0)
    while region != 0:
        if region.area != 0 and cpu.low == region.base and cpu.entries == region.entries - region.base * kern.stride:
            end = region.base + region.count
            errors = 0 if gate.high == cpu.low or (gate.high == end and short(kern) == 0) else 1
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
def count_cpu(cpu: Cpu, tally: Tally) -> int:
    """Recount what a processor keeps at hand."""
    tally.drawn = tally.drawn + cpu.drawn
    tally.aim_errors = _aim_errors(cpu)
    singles = _count_stock(cpu.frames, 0, tally)
    tally.stock_errors = singles + _count_stock(cpu.chunks, CHUNK_ORDER, tally)
    return OK


@kernel
def count_held(tally: Tally, frame: Frame, pfn: int) -> int:
    """Count how often a block of callers is held in place."""
    if frame.type == DMA or (frame.type == PAGE and Page(frame.addr).state == EMPTY):
        tally.blocks_held = tally.blocks_held + mix(pfn) * frame.pins
    return OK


# --- devices


@kernel
def count_ready(cpu: Cpu, region: Region, tally: Tally) -> int:
    """Recount the chunks that wait on a published range's list."""
    tally.ready = 0
    tally.steps = 0
    chunk = region.ready
    while chunk != 0 and goes_on(cpu, tally, chunk_cache(region.tier), chunk.addr) != 0:
        tally.ready = tally.ready + 1
        chunk = chunk.left
    tally.ready = ABSENT if chunk != 0 else tally.ready
    return OK


@kernel
def used_in(cpu: Cpu, region: Region, chunk: Chunk, tally: Tally) -> int:
    """Frames in use that a chunk of a range describes; a number below 0 if one of its entries makes no sense."""
    used = 0
    for i in range(CHUNK_FRAMES):
        pfn = (chunk.base << CHUNK_SHIFT) + i
        frame = entry_in(cpu.kern, chunk, pfn)
        inside = 1 if pfn >= region.base and pfn < region.base + region.count else 0
        if frame.type == DEVICE and frame.order == 0 and frame.pins > 0 and frame.link <= frame.pins and inside != 0:
            used += 1
            tally.devices_held = tally.devices_held + mix(pfn) * frame.link
        elif FrameWords(frame.addr).head != 0 or frame.owner != 0:
            used -= CHUNK_FRAMES + 1
    return used
