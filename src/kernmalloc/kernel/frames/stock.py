"""The stocks: frames that a processor keeps at hand, so that getting and putting a page takes no lock.

Concepts
  1. A processor has a stock of single frames and one of chunks, blocks of 512. What is in a stock is free and its
     entry all zeros, but no bitmap lists it: nobody else finds it.
  2. A stock is a stack of groups. A group is 64 aligned frames, or one chunk, with a bit for each block of it that is
     in the stock. A put sets a bit in the group on top, or puts another group on top. A get clears the lowest bit of
     the group on top: what was put last is got first, while it is still in the processor's cache.
  3. Getting a page from a stock writes its entry and nothing else; putting it back clears the entry. The kernel's
     counts do not follow: they are right once what was drawn into stocks is reckoned with.
  4. The quick paths of a processor are aimed at one region: they know where its frames begin and end, and where their
     entries are. A frame of another region goes under the lock, and they are aimed at that region.
  5. A stock has room for the groups that an eighth of what the bitmaps list would fill, one of single frames for one at
     least. An empty stock draws half as much from the bitmaps, under the lock and word by word; a full one puts half
     back, the groups unused for longest. A call that finds frames short empties this processor's stocks and is done
     again, then those of all processors (`calls`, `fetch`).
  6. While threads wait for frames, or frames of the reserve are in use, stocks serve nobody: each block is taken for
     itself, as far as whoever runs may take it (`claims`), and each put is a put to the bitmaps, so that waiters are
     served (E26). When that begins all gates are shut.

    drawn of a processor = frames in its stocks + pages that it got - pages that it put, through the stocks
    free = free_frames - stocked + frames in stocks
    pages = page_frames + stocked - frames in stocks
    free_frames - stocked = frames that the bitmaps list
    a frame is free, and not listed  <=>  it is in exactly one stock

Of processors that put one frame at the same moment one does, and the others are refused. Where there are others, a put
takes the frame from its owner by one atomic: its entry is zero then (`frame_put_shared`), or says that it is held in
place, so that no quick path puts it, until it is listed (`take_back`). A kernel for one processor needs no atomic.

Limits: a processor that is held up inside a quick put, while another one puts that frame and it becomes a page of the
cache, puts a cached page. A put of what is not its caller's any more is told apart otherwise.

What made it fast (a page got and put back takes 1.2 ns, a chunk 1.1; the rest is ns saved):
  - Whole words go to and from the bitmaps, up to 2048 frames at once: processors hardly meet at the lock.
  - Quick paths read nothing shared, not even a flag that says that frames are short: waiters pay for shutting them.
  - Groups are found by reference: with offsets a load waits for the store before it (1.3 a pair).
  - `rest` clears a bit (0.4 a get). What is rare is kept apart, so that quick paths save no registers (1 a put).
What did not help: empty groups left on top (0.5 more a pair); a quick path for frames and one for chunks in turn (1.3
more a pair of chunks); prefetching the words to be listed; 32 or 64 chunks in place of 16 (two threads that free all
chunks in order 28 in place of 49 ns, shuffled 102 in place of 105). What bounds it where frees are random: the entry,
16 bytes to fetch and to write back.

What bounds a put where there are several processors: its atomic, 3.5 of 4.3 ns. One thread alone takes as long as two
at once (order 0: 4.2 and 4.4 in order, 33 and 39 at random), and without the atomic 0.8. As long as any two may put one
frame it cannot be spared: which of them is first no loads and stores can decide (Herlihy, "Wait-Free Synchronization",
1991). Chunks meet at the lock, once for 8: two threads take 49 in place of 15, for lines of bitmaps and entries move.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import CHUNKS, FRAMES, PAGE, Cpu, Gate
from kernmalloc.kernel.core.locks import SLOW, gate_of
from kernmalloc.kernel.frames.bitmap import (
    CHUNK_ORDER,
    bits_give,
    bits_give_word,
    bits_take,
    bits_take_word,
    find_block,
)
from kernmalloc.kernel.frames.claims import short, takeable
from kernmalloc.kernel.frames.regions import Region, region_of
from kernmalloc.kernel.frames.table import (
    FrameWords,
    block_take,
    entry_of,
    give,
    head_word,
    puttable,
    supply,
    take_back,
)
from kernmalloc.lang import Record, cas64, ctz, element, failed, field, i64, inlined, kernel, popcount, rare, rest, shl
from kernmalloc.lang.status import NOT_ALLOCATED, OK

WHOLE_SHIFT = 6  # log2 of the frames in a group of single frames
WHOLE = 1 << WHOLE_SHIFT
SHARE_SHIFT = 3  # a stock has room for an eighth of what is left


class Group(Record):
    """64 aligned frames, or a chunk: blocks of it that are in a stock."""

    base: i64 = field("its first pfn")
    bits: i64 = field("bit i: the block i * 2 ** order frames further on is in the stock")


class Stock(Record):
    """Free blocks of one order that a processor keeps at hand: a stack of groups, which lie behind this record."""

    top: Group = field("the group on top; if it is `bottom_of` the stock, which has no bits, the stock is empty")
    last: Group = field("the highest group that a put may begin")


@kernel
def _stock_of(cpu: Cpu, order: int) -> Stock:
    """This processor's stock of blocks of an order, or null."""
    if order == 0:
        return cpu.frames
    return cpu.chunks if order == CHUNK_ORDER else Stock(0)


@kernel
def bottom_of(stock: Stock) -> Group:
    """The place below the first group of a stock: a group that has no bits and holds nothing."""
    return Group(stock.addr + Stock.size)


@kernel
def places(order: int) -> int:
    """Groups that a stock has room for."""
    return FRAMES if order == 0 else CHUNKS


@kernel
def group_shift(order: int) -> int:
    """log2 of the frames in a group of blocks of an order."""
    return WHOLE_SHIFT if order == 0 else order


@kernel
def _empty(stock: Stock, at: Stock) -> int:
    """Make a zeroed stock, which will be found at `at` once the window is on, an empty one without room."""
    stock.top = bottom_of(at)
    stock.last = bottom_of(at)
    bottom_of(stock).base = -1
    return OK


@kernel
def stock_init(cpu: Cpu, at: Cpu) -> int:
    """Make the stocks in a processor's zeroed record, which will be found at `at`, empty ones without room."""
    _empty(cpu.frames, at.frames)
    return _empty(cpu.chunks, at.chunks)


# --- the quick paths


@kernel
def _pop(cpu: Cpu, stock: Stock, order: int, gate: Gate) -> int:
    """A page from a stock: its pfn. SLOW if that is empty, or the frame is one of another region."""
    group = stock.top
    bits = group.bits
    if bits == 0:
        return SLOW
    pfn = group.base + (ctz(bits) << order)
    if pfn < cpu.low or pfn >= gate.high:
        return SLOW
    left = rest(bits)
    group.bits = left
    if left == 0:
        stock.top = element(group, -1)
    FrameWords(cpu.entries + pfn * cpu.stride).head = head_word(PAGE, order)
    return pfn


@kernel
def _begin(stock: Stock, base: int, bits: int) -> int:
    """Put a group on top. SLOW if there is no room."""
    if stock.top.addr >= stock.last.addr:
        return SLOW
    group = element(stock.top, 1)
    group.base = base
    group.bits = bits
    stock.top = group
    return OK


@kernel
def _push(cpu: Cpu, pfn: int, head: int) -> int:
    """Put a block into the stock of its order; `head` is the first word of its entry. SLOW: not there."""
    if head == head_word(PAGE, CHUNK_ORDER):
        return _begin(cpu.chunks, pfn, 1)
    if head != head_word(PAGE, 0):
        return SLOW
    base = pfn & -WHOLE
    bit = shl(1, pfn & (WHOLE - 1))
    group = cpu.frames.top
    if group.base == base:
        group.bits = group.bits | bit
        return OK
    return _begin(cpu.frames, base, bit)


@inlined
def frame_get_quick(cpu: Cpu, type: int, gate: Gate) -> int:
    """A page from the stock: its pfn. SLOW: from elsewhere."""
    if type != PAGE:
        return SLOW
    return _pop(cpu, cpu.frames, 0, gate)


@inlined
def block_get_quick(cpu: Cpu, order: int, type: int, gate: Gate) -> int:
    """A page that is a chunk from the stock: its first pfn. SLOW: from elsewhere."""
    if order != CHUNK_ORDER or type != PAGE:
        return SLOW
    return _pop(cpu, cpu.chunks, CHUNK_ORDER, gate)


@inlined
def frame_put_quick(cpu: Cpu, pfn: int, gate: Gate) -> int:
    """Put a page into its stock, in a kernel for one processor. SLOW: elsewhere, or not at all."""
    if pfn < cpu.low or pfn >= gate.high:
        return SLOW
    entry = FrameWords(cpu.entries + pfn * cpu.stride)
    if entry.owner != 0:  # one that something leads to may be moved: under the lock
        return SLOW
    if _push(cpu, pfn, entry.head) == SLOW:
        return SLOW
    entry.head = 0
    return OK


@kernel
def _fits(cpu: Cpu, pfn: int, head: int) -> int:
    """1 if the stock of its order has room for a block; `head` is the first word of its entry."""
    if head == head_word(PAGE, CHUNK_ORDER):
        return 1 if cpu.chunks.top.addr < cpu.chunks.last.addr else 0
    if head != head_word(PAGE, 0):
        return 0
    top = cpu.frames.top
    return 1 if top.base == pfn & -WHOLE or top.addr < cpu.frames.last.addr else 0


@inlined
def frame_put_shared(cpu: Cpu, pfn: int, gate: Gate) -> int:
    """Put a page into its stock, unless another processor puts it at this moment. SLOW: elsewhere, or not at all."""
    if pfn < cpu.low or pfn >= gate.high:
        return SLOW
    entry = FrameWords(cpu.entries + pfn * cpu.stride)
    head = entry.head
    if entry.owner != 0 or _fits(cpu, pfn, head) == 0:
        return SLOW
    return _push(cpu, pfn, head) if cas64(entry.addr, head, 0) != 0 else SLOW


# --- between stocks and bitmaps


@kernel
def _aim(cpu: Cpu, region: Region) -> int:
    """Aim this processor's quick paths at a region."""
    cpu.low = region.base
    cpu.alone.high = region.base
    cpu.shared.high = region.base
    gate_of(cpu).high = region.base + region.count
    cpu.entries = region.entries - region.base * cpu.stride
    return OK


@kernel
def stock_aim(cpu: Cpu, stock: Stock, order: int) -> int:
    """Aim this processor's quick paths at the region of the block that is next in a stock."""
    group = stock.top
    return _aim(cpu, region_of(cpu, group.base + (ctz(group.bits) << order)))


@kernel
def stock_drew(cpu: Cpu, count: int) -> int:
    """Count frames that went from the bitmaps into a stock; below 0: back."""
    kern = cpu.kern
    cpu.drawn = cpu.drawn + count
    kern.stocked = kern.stocked + count
    return count


@kernel
def _room(cpu: Cpu, stock: Stock, order: int) -> int:
    """Set how many groups a stock may hold from now on: that many."""
    room = 0
    if short(cpu.kern) == 0 and cpu.reserve == 0:
        share = max(takeable(cpu), 0) >> (SHARE_SHIFT + group_shift(order))
        room = min(places(order), max(share, 1) if order == 0 else share)
    stock.last = element(bottom_of(stock), room)
    return room


@kernel
def _sink(stock: Stock, top: Group, by: int) -> int:
    """Move the groups above the `by` lowest, up to `top`, down by so many places: they are the stock now."""
    to = bottom_of(stock)
    at = element(to, by)
    while at.addr < top.addr:
        to = element(to, 1)
        at = element(at, 1)
        to.base = at.base
        to.bits = at.bits
    stock.top = to
    while to.addr < top.addr:
        to = element(to, 1)
        to.bits = 0
    return OK


@kernel
def stock_draw(cpu: Cpu, stock: Stock, order: int) -> int:
    """Fill half of an empty stock from the bitmaps, what they list first on top: how many frames."""
    places_left = (_room(cpu, stock, order) + 1) >> 1
    top = element(bottom_of(stock), places_left)
    left = takeable(cpu)
    most = (left + (1 << SHARE_SHIFT)) >> (SHARE_SHIFT + 1) if order == 0 else left
    group = top
    count = 0
    while places_left > 0 and count < most:
        region = supply(cpu, order)
        if region == 0:
            break
        pfn = find_block(region, order)
        group.base = pfn & -(1 << group_shift(order))
        if order == 0:
            bits = bits_take_word(region, pfn, most - count)
            group.bits = bits
            count += popcount(bits)
        else:
            group.bits = 1
            count += bits_take(region, pfn, 1 << order)
        group = element(group, -1)
        places_left -= 1
    _sink(stock, top, places_left)
    return stock_drew(cpu, count)


@rare
def _list_each(cpu: Cpu, base: int, bits: int) -> int:
    """List frames of a group again, one by one: how many."""
    left = bits
    while left != 0:
        pfn = base + ctz(left)
        bits_give(region_of(cpu, pfn), pfn, 1)
        left = rest(left)
    return popcount(bits)


@kernel
def _list_group(cpu: Cpu, base: int, bits: int) -> int:
    """List frames of a group again: how many."""
    region = region_of(cpu, base + ctz(bits))
    if base < region.base or base + WHOLE > region.base + region.count:  # a group of more regions than one
        return _list_each(cpu, base, bits)
    return bits_give_word(region, base, bits)


@kernel
def _put_back(cpu: Cpu, stock: Stock, order: int, keep: int) -> int:
    """List the frames of all groups but the `keep` on top again: how many."""
    top = stock.top
    group = bottom_of(stock)
    end = element(top, -keep)
    given = 0
    count = 0
    while group.addr < end.addr:
        group = element(group, 1)
        given += 1
        if order == 0:
            count += _list_group(cpu, group.base, group.bits)
        else:
            region = region_of(cpu, group.base)
            count += bits_give(region, group.base, 1 << order)
    _sink(stock, top, given)
    kern = cpu.kern
    kern.returned = kern.returned + count
    stock_drew(cpu, -count)
    return count


@kernel
def stock_drain(cpu: Cpu) -> int:
    """List all frames in this processor's stocks again: how many."""
    singles = _put_back(cpu, cpu.frames, 0, 0)
    return singles + _put_back(cpu, cpu.chunks, CHUNK_ORDER, 0)


# --- under the lock


@kernel
def stock_next(cpu: Cpu, stock: Stock, order: int) -> int:
    """A page from a stock that is not empty, of whichever region: its pfn."""
    stock_aim(cpu, stock, order)
    return _pop(cpu, stock, order, gate_of(cpu))


@kernel
def block_get(cpu: Cpu, order: int, type: int) -> int:
    """Take 2 ** order free frames, aligned to their number, which are of type PAGE or DMA from now on: the first pfn.

    BAD_SIZE: order is not 0 to 18. Else a status of `frame_get`.
    """
    stock = _stock_of(cpu, order)
    if type != PAGE or stock == 0:
        return block_take(cpu, order, type)
    if short(cpu.kern) != 0:
        stock_drain(cpu)
    elif stock.top.bits == 0:
        stock_draw(cpu, stock, order)
    return block_take(cpu, order, type) if stock.top.bits == 0 else stock_next(cpu, stock, order)


@kernel
def frame_get(cpu: Cpu, type: int) -> int:
    """Take a free frame, which is of type PAGE or DMA from now on: its pfn.

    BAD_FRAME: `type` is another one. PROMISED: a DMA frame would leave the bank fewer than it was promised. NO_FRAMES,
    WOULD_BLOCK: none is free for the caller.
    """
    return block_get(cpu, 0, type)


@kernel
def put_held(cpu: Cpu, region: Region, pfn: int) -> int:
    """Give back the frame or block that starts at frame `pfn`, which `take_back` has taken from its owner: OK."""
    frame = entry_of(cpu, region, pfn)
    entry = FrameWords(frame.addr)
    order = frame.order
    stock = _stock_of(cpu, order)
    if stock != 0 and short(cpu.kern) == 0 and entry.owner == 0:
        _aim(cpu, region)
        if stock.top.addr >= stock.last.addr:
            _put_back(cpu, stock, order, _room(cpu, stock, order) >> 1)
        if _push(cpu, pfn, head_word(frame.type, order)) == OK:
            entry.head = 0
            return OK
    return give(cpu, region, pfn)


@kernel
def frame_put(cpu: Cpu, pfn: int) -> int:
    """Give back the frame or block that starts at frame `pfn`: OK.

    BAD_FRAME: nothing describes the frame, or it is not the caller's. NOT_ALLOCATED: it is free already. INTERIOR: it
    lies inside a block. BUSY: it is pinned. Then nothing has changed.
    """
    region = region_of(cpu, pfn)
    status = puttable(cpu, region, pfn)
    if failed(status):
        return status
    return put_held(cpu, region, pfn) if take_back(entry_of(cpu, region, pfn)) != 0 else NOT_ALLOCATED
