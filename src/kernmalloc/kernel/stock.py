"""The stocks: frames that a processor keeps at hand, so that getting and putting a page takes no lock.

Concepts
  1. A processor has a stock of single frames and one of chunks, blocks of 512. What is in a stock is free, its entry all
     zeros, but no bitmap lists it: nobody else finds it.
  2. A stock is a stack of groups: 64 aligned frames, or one chunk, and a bit for each block of the group that is there. A put
     sets a bit in the group on top, or puts another one on top; a get clears the lowest bit of the group on top: what
     was put last is got first, while it is still in the processor's cache.
  3. Getting a page from a stock writes its entry and nothing else; putting it back clears the entry. The kernel's counts
     do not follow: they are right once what was drawn into stocks is reckoned with.
  4. A processor's quick paths know one region, the one they are aimed at: where its frames begin and end, and where their
     entries are. A frame of another one goes under the lock, and they are aimed at that.
  5. A stock has room for as many groups as an eighth of what the bitmaps list would fill; that of single frames for one at
     least. An empty one draws half of that from the bitmaps, under the lock and word by word; a full one puts half back,
     the groups unused for longest. A call that finds frames short empties this processor's stocks and is done again
     (`calls`); what other processors keep comes back when they `drain`, as they must before they idle.
  6. While threads wait for frames, or cleaners use the reserve, stocks are as good as off: each block is taken for itself, as
     far as whoever runs may take it (`threads`), and each put is a put to the bitmaps, so that waiters are served (E26).
     When that begins, every processor's quick paths are shut: aimed at no frame at all.

    drawn of a processor = frames in its stocks + pages that it got - pages that it put, through the stocks
    free = free_frames - stocked + frames in stocks,    pages = page_frames + stocked - frames in stocks
    free_frames - stocked = frames that the bitmaps list
    a frame is free, and not listed  <=>  it is in exactly one stock

What made it fast: ns for 16 GiB, one processor, the harness subtracted, beside a stack of 64 pfns that was here before (tenth
percentiles on a busy computer; its medians are up to a half more):

    bulk allocate 1.2 (1.7)   in order 0.9 (6.0)   shuffled 26 (29)   pair 1.2 (3.0)   random pair 50 (70)
    chunks: pair 1.1 (69)   random pair 7.5 (100)
    two processors: the same (bulk 9, in order 12, chunks 130), but for shuffled: 29 at best, 49 where others are at work, too:
    each lists words that the other wrote last

  - Whole words: in order, a frame costs a 64th of what listing it takes, and a batch is so large (up to 2048 frames) that
    two processors hardly meet at the lock.
  - Nothing shared is read: no region record, no flag that says that frames are short (shutting costs those who wait, not
    those who are quick), no word of the kernel's record, which others write.
  - Random frees wait for memory; as many are on their way as a processor can look ahead, some 300 instructions. Each that
    a pair saves is 1 % of it. `rest` instead of shifting a bit and masking: 0.4 ns a get.
  - VAs of groups: with offsets from the stock a pair takes 4.3 instead of 3.0 ns, for a processor forwards what it stored
    to a load only where both say the address in the simplest way.
  - What is rare is kept apart, so that quick paths and the loop over groups save no registers: 1 ns a put.

What did not help: groups left on top when they are empty (get 0.1 less, put 0.3 and pair 0.5 more); quick paths for frames and
for chunks one after the other (put in order 0.3 less, pairs of chunks 1.3 more); prefetching the words that are to be
listed (2 of 30 ns with two processors, else nothing). What bounds it: the entry, 16 bytes to fetch and to write back per frame,
and the round trip of a group's bits through the store queue.

Limits: a frame that two processors put at the same moment is in both stocks, and only `check` sees it; one after the other
is refused like every wrong put.
"""

from kernmalloc.kernel.bitmap import CHUNK_ORDER, bits_claim, bits_give, bits_list, bits_take, find_block
from kernmalloc.kernel.frames import Frame, block_take, entry_of, give, puttable, supply
from kernmalloc.kernel.kern import CHUNKS, FRAMES, PAGE, Cpu, Group, Kern, Stock, Word
from kernmalloc.kernel.locks import SLOW
from kernmalloc.kernel.regions import Region, region_of
from kernmalloc.kernel.threads import short, takeable
from kernmalloc.lang import ctz, kernel, popcount, rare, rest, shl
from kernmalloc.lang.status import OK

SINGLES = Cpu.offset("frames")  # the stocks in a processor's record
BLOCKS = Cpu.offset("chunks")
BOTTOM = Stock.size  # from a stock to the place below its first group, which has no bits and is nobody's group
STEP = Group.size
SHARE_SHIFT = 3  # a stock has room for an eighth of what is left


@kernel
def _stock_of(cpu, order):
    """VA of this processor's stock of blocks of an order, or 0."""
    if order == 0:
        return cpu + SINGLES
    return cpu + BLOCKS if order == CHUNK_ORDER else 0


@kernel
def places(order):
    """Groups that a stock has room for."""
    return FRAMES if order == 0 else CHUNKS


@kernel
def group_shift(order):
    """log2 of the frames in a group of blocks of an order."""
    return 6 if order == 0 else order


@kernel
def _empty(stock, va):
    """Make a zeroed stock, which will be at `va`, an empty one without room."""
    s = Stock(stock)
    s.top = va + BOTTOM
    s.last = va + BOTTOM
    Group(stock + BOTTOM).base = -1
    return OK


@kernel
def stock_init(cpu, va):
    """Make the stocks of a processor's zeroed record, which will be at `va`, empty ones without room."""
    _empty(cpu + SINGLES, va + SINGLES)
    return _empty(cpu + BLOCKS, va + BLOCKS)


# --- the quick paths


@kernel
def _pop(cpu, stock, order):
    """A page from a stock: its pfn. SLOW if that is empty, or the frame is one of another region."""
    c = Cpu(cpu)
    s = Stock(stock)
    g = Group(s.top)
    bits = g.bits
    if bits == 0:
        return SLOW
    pfn = g.base + (ctz(bits) << order)
    if pfn < c.low or pfn >= c.high:
        return SLOW
    left = rest(bits)
    g.bits = left
    if left == 0:
        s.top = g.addr - STEP
    Word(c.entries + pfn * c.stride).bits = PAGE | order << 8  # without pins or link
    return pfn


@kernel
def _begin(stock, base, bits):
    """Put a group on top. SLOW if there is no room."""
    s = Stock(stock)
    if s.top >= s.last:
        return SLOW
    g = Group(s.top + STEP)
    g.base = base
    g.bits = bits
    s.top = g.addr
    return OK


@kernel
def _push(cpu, pfn, head):
    """Put a block into the stock of its order; `head` is the first word of its entry. SLOW: not there."""
    if head == PAGE | CHUNK_ORDER << 8:
        return _begin(cpu + BLOCKS, pfn, 1)
    if head != PAGE:
        return SLOW
    base = pfn & -64
    bit = shl(1, pfn & 63)
    g = Group(Stock(cpu + SINGLES).top)
    if g.base == base:
        g.bits = g.bits | bit
        return OK
    return _begin(cpu + SINGLES, base, bit)


@kernel
def frame_get_quick(cpu, type):
    """A page from the stock: its pfn. SLOW: from elsewhere."""
    if type != PAGE:
        return SLOW
    return _pop(cpu, cpu + SINGLES, 0)


@kernel
def block_get_quick(cpu, order, type):
    """The same for a chunk."""
    if order != CHUNK_ORDER or type != PAGE:
        return SLOW
    return _pop(cpu, cpu + BLOCKS, CHUNK_ORDER)


@kernel
def frame_put_quick(cpu, pfn):
    """Put a page into its stock. SLOW: elsewhere, or not at all."""
    c = Cpu(cpu)
    if pfn < c.low or pfn >= c.high:
        return SLOW
    entry = c.entries + pfn * c.stride
    if Word(entry + 8).bits != 0:  # one that something leads to may be moved: under the lock
        return SLOW
    if _push(cpu, pfn, Word(entry).bits) < 0:
        return SLOW
    Word(entry).bits = 0
    return OK


# --- between stocks and bitmaps


@kernel
def _aim(cpu, region):
    """From now on this processor's quick paths find frames of that region."""
    c = Cpu(cpu)
    r = Region(region)
    c.low = r.base
    c.high = r.base + r.count
    c.entries = r.entries - r.base * c.stride
    return OK


@kernel
def stock_shut(cpu):
    """From now on a processor's quick paths find no frame."""
    Cpu(cpu).high = Cpu(cpu).low
    return OK


@kernel
def _drew(cpu, count):
    """So many frames went from the bitmaps into a stock."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    c.drawn = c.drawn + count
    k.stocked = k.stocked + count
    return count


@kernel
def _room(cpu, stock, order):
    """How many groups a stock may hold from now on."""
    room = 0
    if (
        short(Cpu(cpu).kern) == 0 and Cpu(cpu).reserve == 0
    ):  # nobody else shall have what is owed to a thread, or of the reserve
        share = max(takeable(cpu), 0) >> (SHARE_SHIFT + group_shift(order))
        room = min(places(order), max(share, 1) if order == 0 else share)
    Stock(stock).last = stock + BOTTOM + room * STEP
    return room


@kernel
def _sink(stock, top, by):
    """Move the groups up to the place `top` down by so many bytes, over the lowest ones: they are the stock."""
    at = stock + BOTTOM + by
    while at < top:
        at += STEP
        Group(at - by).base = Group(at).base
        Group(at - by).bits = Group(at).bits
    Stock(stock).top = top - by
    for above in range(top - by + STEP, top + STEP, STEP):
        Group(above).bits = 0
    return OK


@kernel
def _draw(cpu, stock, order):
    """Fill half of an empty stock from the bitmaps, the first group that they list on top: how many frames."""
    bottom = stock + BOTTOM
    top = bottom + ((_room(cpu, stock, order) + 1) >> 1) * STEP
    left = takeable(cpu)
    most = (left + (1 << SHARE_SHIFT)) >> (SHARE_SHIFT + 1) if order == 0 else left
    at = top
    count = 0
    while at > bottom and count < most:
        region = supply(cpu, order)
        if region == 0:
            break
        pfn = find_block(region, order)
        g = Group(at)
        g.base = pfn & -(1 << group_shift(order))
        if order == 0:
            g.bits = bits_claim(region, pfn, most - count)
            count += popcount(g.bits)
        else:
            g.bits = 1
            count += bits_take(region, pfn, 1 << order)
        at -= STEP
    _sink(stock, top, at - bottom)
    return _drew(cpu, count)


@rare
def _list_each(cpu, base, bits):
    """List frames of a group again, one by one: how many."""
    left = bits
    while left != 0:
        pfn = base + ctz(left)
        bits_give(region_of(cpu, pfn), pfn, 1)
        left = rest(left)
    return popcount(bits)


@kernel
def _list_group(cpu, base, bits):
    """List frames of a group again: how many. At its ends a region may share a group with another one."""
    region = region_of(cpu, base + ctz(bits))
    r = Region(region)
    if base < r.base or base + 64 > r.base + r.count:
        return _list_each(cpu, base, bits)
    return bits_list(region, base, bits)


@kernel
def _put_back(cpu, stock, order, keep):
    """List the frames of all groups but the `keep` on top again: how many."""
    top = Stock(stock).top
    bottom = stock + BOTTOM
    end = max(top - keep * STEP, bottom)
    at = bottom
    count = 0
    while at < end:
        at += STEP
        g = Group(at)
        if order == 0:
            count += _list_group(cpu, g.base, g.bits)
        else:
            count += bits_give(region_of(cpu, g.base), g.base, 1 << order)
    _sink(stock, top, end - bottom)
    k = Kern(Cpu(cpu).kern)
    k.returned = k.returned + count
    _drew(cpu, -count)
    return count


@kernel
def stock_drain(cpu):
    """List all frames in this processor's stocks again: how many."""
    return _put_back(cpu, cpu + SINGLES, 0, 0) + _put_back(cpu, cpu + BLOCKS, CHUNK_ORDER, 0)


# --- under the lock


@kernel
def block_get(cpu, order, type):
    """2 ** order free frames, aligned to their size: the first pfn. NO_FRAMES, BAD_SIZE, BAD_FRAME."""
    stock = _stock_of(cpu, order)
    if type != PAGE or stock == 0:
        return block_take(cpu, order, type)
    if short(Cpu(cpu).kern) != 0:
        stock_drain(cpu)
    elif Group(Stock(stock).top).bits == 0:
        _draw(cpu, stock, order)
    g = Group(Stock(stock).top)
    if g.bits == 0:
        return block_take(cpu, order, type)
    _aim(cpu, region_of(cpu, g.base + (ctz(g.bits) << order)))
    return _pop(cpu, stock, order)


@kernel
def frame_get(cpu, type):
    """A free frame, now owned as PAGE or DMA: its pfn. NO_FRAMES, BAD_FRAME for another type."""
    return block_get(cpu, 0, type)


@kernel
def frame_put(cpu, pfn):
    """Give a frame or block back. NOT_ALLOCATED, INTERIOR, BUSY, BAD_FRAME (not the caller's, or nowhere)."""
    region = region_of(cpu, pfn)
    status = puttable(cpu, region, pfn)
    if status < 0:
        return status
    entry = entry_of(cpu, region, pfn)
    order = Frame(entry).order
    stock = _stock_of(cpu, order)
    if stock != 0 and short(Cpu(cpu).kern) == 0 and Word(entry + 8).bits == 0:
        _aim(cpu, region)
        if Stock(stock).top >= Stock(stock).last:
            _put_back(cpu, stock, order, _room(cpu, stock, order) >> 1)
        if _push(cpu, pfn, Word(entry).bits) == OK:
            Word(entry).bits = 0
            return OK
    return give(cpu, region, pfn)
