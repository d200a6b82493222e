"""The stock: frames that a processor keeps at hand, so that getting and putting a page takes no lock.

Concepts
  1. A stock is a stack of up to 64 pfns. Its frames are free, their entries all zeros, but no bitmap lists them: nobody
     else finds them. The frame put last is got first, while it is still in the processor's cache.
  2. Getting a page from the stock writes its entry and nothing else; putting it back clears the entry. The kernel's counts
     do not follow: they are right once what was drawn into stocks is reckoned with.
  3. An empty stock draws up to 32 frames from the bitmaps under the lock, one in eight when few are left; a full one puts
     32 back, the ones unused for longest. A call that finds frames short empties this processor's stock and is done
     again (`calls`); what other processors keep comes back when they `drain`, as they must before they idle.
  4. While threads wait for frames, or cleaners use the reserve, stocks are as good as off: each frame is drawn for itself, as
     far as whoever runs may take one (`threads`), and each put is a put to the bitmaps, so that waiters are served (E26).

    drawn of a processor = frames in its stock + pages that it got - pages that it put, through the stock
    free = free_frames - stocked + sum of stock,    pages = page_frames + stocked - sum of stock
    free_frames - stocked = frames that the bitmaps list
    a frame is free, and not listed  <=>  it is in exactly one stock

Limits: a frame that two processors put at the same moment is in both stocks, and only `check` sees it; one after the other
is refused like every wrong put.
"""

from kernmalloc.kernel.bitmap import bits_give, bits_take, first_free, run_length
from kernmalloc.kernel.frames import block_get, entry_of, give, puttable, supply
from kernmalloc.kernel.kern import FRAMES, PAGE, Cpu, Kern, Word
from kernmalloc.kernel.locks import SLOW
from kernmalloc.kernel.regions import Region, region_of
from kernmalloc.kernel.space import frames_left
from kernmalloc.kernel.threads import short
from kernmalloc.lang import kernel
from kernmalloc.lang.status import NO_FRAMES, OK

STOCK = Cpu.offset("frames")
BATCH = FRAMES >> 1


@kernel
def _ram_of(cpu, pfn):
    """VA of the described RAM region that holds a frame, or 0. Their list is complete before a second processor runs."""
    c = Cpu(cpu)
    at = c.ram
    if at != 0:
        last = Region(at)
        if pfn >= last.base and pfn < last.base + last.count:
            return at
    at = Kern(c.kern).ram
    while at != 0:
        r = Region(at)
        if pfn >= r.base and pfn < r.base + r.count:
            c.ram = at
            return at
        at = r.next
    return 0


@kernel
def _pop(cpu):
    """A page from the stock, which is not empty: its pfn."""
    c = Cpu(cpu)
    left = c.stock - 1
    pfn = Word(cpu + STOCK + (left << 3)).bits
    Word(entry_of(cpu, _ram_of(cpu, pfn), pfn)).bits = PAGE  # of order 0, without pins or link
    c.stock = left
    return pfn


@kernel
def frame_get_quick(cpu, type):
    """A page from the stock: its pfn. SLOW: from elsewhere."""
    c = Cpu(cpu)
    if type != PAGE or c.stock <= 0 or short(c.kern) != 0:
        return SLOW
    return _pop(cpu)


@kernel
def frame_put_quick(cpu, pfn):
    """Put a page into the stock. SLOW: elsewhere, or not at all."""
    c = Cpu(cpu)
    count = c.stock
    if count == FRAMES or short(c.kern) != 0:
        return SLOW
    region = _ram_of(cpu, pfn)
    if region == 0:
        return SLOW
    entry = entry_of(cpu, region, pfn)
    if Word(entry).bits != PAGE or Word(entry + 8).bits != 0:  # one that something leads to may be moved: under the lock
        return SLOW
    Word(entry).bits = 0
    Word(cpu + STOCK + (count << 3)).bits = pfn
    c.stock = count + 1
    return OK


@kernel
def _draw(cpu):
    """Fill the empty stock from the bitmaps, the first frame they list on top. NO_FRAMES if they list none."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    left = frames_left(cpu)
    if left <= 0:
        k.wanted = 1
        return NO_FRAMES
    single = short(k.addr) != 0 or c.reserve != 0  # nobody else shall have what is owed to a thread, or of the reserve
    count = 1 if single else min(BATCH, max(left >> 3, 1))
    to = count
    while to > 0:
        region = supply(cpu, 0)
        pfn = first_free(region)
        length = run_length(region, pfn, to)
        bits_take(region, pfn, length)
        for i in range(length):
            to -= 1
            Word(cpu + STOCK + (to << 3)).bits = pfn + i
    c.stock = count
    c.drawn = c.drawn + count
    k.stocked = k.stocked + count
    return OK


@kernel
def _put_back(cpu, count):
    """List the frames again that are lowest in the stock."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    for i in range(count):
        pfn = Word(cpu + STOCK + (i << 3)).bits
        bits_give(region_of(cpu, pfn), pfn, 1)
    for i in range(count, c.stock):
        Word(cpu + STOCK + ((i - count) << 3)).bits = Word(cpu + STOCK + (i << 3)).bits
    c.stock = c.stock - count
    c.drawn = c.drawn - count
    k.stocked = k.stocked - count
    k.returned = k.returned + count
    return count


@kernel
def stock_drain(cpu):
    """List all frames in this processor's stock again: how many."""
    return _put_back(cpu, Cpu(cpu).stock)


@kernel
def frame_get(cpu, type):
    """A free frame, now owned as PAGE or DMA: its pfn. NO_FRAMES, BAD_FRAME for another type."""
    if type != PAGE:
        return block_get(cpu, 0, type)
    if short(Cpu(cpu).kern) != 0:
        stock_drain(cpu)
    if Cpu(cpu).stock == 0:
        status = _draw(cpu)
        if status < 0:
            return status
    return _pop(cpu)


@kernel
def frame_put(cpu, pfn):
    """Give a frame or block back. NOT_ALLOCATED, INTERIOR, BUSY, BAD_FRAME (not the caller's, or nowhere)."""
    region = region_of(cpu, pfn)
    status = puttable(cpu, region, pfn)
    if status < 0:
        return status
    if Cpu(cpu).stock == FRAMES:
        _put_back(cpu, BATCH)
    status = frame_put_quick(cpu, pfn)
    return give(cpu, region, pfn) if status == SLOW else status
