"""Many frames in one call: as many as a caller asks for, or none.

Concepts
  1. Numbers of frames stand in an array of the caller's: `frames_get` fills it, `frames_put` reads it. What is got are
     pages, each a frame by itself, which may be given back one by one or together with others.
  2. A get is served from the stock if that has enough: a word of it at once, without the lock. Else it empties the
     stock, takes what is left straight from the bitmaps, word by word, and fills the stock again.
  3. A put first takes each frame of the array from its owner, as whoever puts one does (`stock`): a frame that stands
     there twice is nobody's by then. If one cannot be taken, those before it are their owner's again, and nothing has
     changed.

Cost: for a frame two stores, of its entry and of its number; of a whole word a get looks for nothing.
Limits: interrupts are off meanwhile, where the kernel takes them off at all. The array is the caller's memory, and is
not looked at: there must be room. Of two processors that put one frame at the same moment both may be refused.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import FRAMES, PAGE, Cpu, Gate, Word
from kernmalloc.kernel.core.locks import SLOW
from kernmalloc.kernel.frames.bitmap import bits_take_word, first_free
from kernmalloc.kernel.frames.claims import short, takeable
from kernmalloc.kernel.frames.regions import region_of
from kernmalloc.kernel.frames.space import space_short
from kernmalloc.kernel.frames.stock import (
    WHOLE,
    Group,
    Stock,
    bottom_of,
    put_held,
    stock_aim,
    stock_drain,
    stock_draw,
    stock_drew,
    stock_next,
)
from kernmalloc.kernel.frames.table import (
    FrameWords,
    entry_of,
    head_word,
    puttable,
    supply,
    take_back,
)
from kernmalloc.lang import cas64, clz, ctz, element, failed, inlined, kernel, popcount, rare, rest, shl
from kernmalloc.lang.status import BAD_SIZE, NOT_ALLOCATED, OK


@kernel
def _own(entries: int, stride: int, base: int, bits: int, most: int, into: Word) -> int:
    """Make the lowest frames of a group pages, at most `most`, and say which: the bits that are left. `entries`: where
    the entry of frame 0 would be."""
    entry = entries + base * stride
    if bits == -1 and most >= WHOLE:
        for i in range(WHOLE):
            FrameWords(entry + i * stride).head = head_word(PAGE, 0)
            element(into, i).bits = base + i
        return 0
    left = bits
    at = into
    for _ in range(min(popcount(bits), most)):
        bit = ctz(left)
        FrameWords(entry + bit * stride).head = head_word(PAGE, 0)
        at.bits = base + bit
        at = element(at, 1)
        left = rest(left)
    return left


@kernel
def frames_get_quick(cpu: Cpu, count: int, into: Word, gate: Gate) -> int:
    """Pages from the stock: `count`. SLOW: it has fewer, or some of another region."""
    if count <= 0:
        return SLOW
    stock = cpu.frames
    group = stock.top
    left = count
    while left > 0:
        bits = group.bits
        if bits == 0 or group.base + ctz(bits) < cpu.low or group.base + WHOLE - 1 - clz(bits) >= gate.high:
            return SLOW
        left -= popcount(bits)
        group = element(group, -1)
    group = stock.top
    done = 0
    while done < count:
        bits = group.bits
        others = _own(cpu.entries, cpu.stride, group.base, bits, count - done, element(into, done))
        group.bits = others
        done += popcount(bits ^ others)
        if others == 0:
            group = element(group, -1)
    stock.top = group
    return count


@kernel
def _stocked(stock: Stock, most: int) -> int:
    """How many single frames are in a stock, counted up to `most`."""
    count = 0
    group = stock.top
    while count < most and group != bottom_of(stock):
        count += popcount(group.bits)
        group = element(group, -1)
    return min(count, most)


@kernel
def frames_get(cpu: Cpu, count: int, into: Word) -> int:
    """Take `count` free frames, which are of type PAGE from now on, and put their pfns into the array at `into`: count.

    BAD_SIZE: count is not 1 to all frames. NO_FRAMES, WOULD_BLOCK: so many are not free for the caller.
    """
    if count <= 0 or count > cpu.kern.frames:
        return BAD_SIZE
    stock = cpu.frames
    if short(cpu.kern) != 0:
        stock_drain(cpu)
    held = _stocked(stock, count)
    if takeable(cpu) < count - held:
        return space_short(cpu, count)
    for i in range(held):
        element(into, i).bits = stock_next(cpu, stock, 0)
    done = held
    while done < count:
        region = supply(cpu, 0)
        pfn = first_free(region)
        bits = bits_take_word(region, pfn, count - done)
        entries = region.entries - region.base * cpu.stride
        _own(entries, cpu.stride, pfn & -WHOLE, bits, WHOLE, element(into, done))
        done += popcount(bits)
    stock_drew(cpu, done - held)
    if stock.top.bits == 0:
        stock_draw(cpu, stock, 0)
    if stock.top.bits != 0:
        stock_aim(cpu, stock, 0)
    return count


# --- puts


@rare
def _undo(cpu: Cpu, count: int, pfns: Word, group: Group, bits: int) -> int:
    """Make frames pages of the caller's again, and the stock what it was: the call is done in another way. `group`:
    where the last of them were to go; `bits`: what the group on top has."""
    for i in range(count):
        FrameWords(cpu.entries + element(pfns, i).bits * cpu.stride).head = head_word(PAGE, 0)
    at = group
    top = cpu.frames.top
    while at.addr > top.addr:
        at.bits = 0
        at = element(at, -1)
    top.bits = bits
    return SLOW


@inlined
def _taken(entry: FrameWords, alone: int) -> int:
    """1 if a page is taken from its owner: by an atomic, unless there is no other processor."""
    if entry.owner != 0:
        return 0
    if alone == 0:
        return cas64(entry.addr, head_word(PAGE, 0), 0)
    if entry.head != head_word(PAGE, 0):
        return 0
    entry.head = 0
    return 1


@kernel
def frames_put_quick(cpu: Cpu, count: int, pfns: Word, gate: Gate) -> int:
    """Put pages into the stock, unless another processor puts one of them. SLOW: elsewhere, or not at all."""
    if count <= 0 or count > FRAMES * WHOLE:
        return SLOW
    alone = 1 if cpu.kern.cpu_count == 1 else 0
    low = cpu.low
    high = gate.high
    entries = cpu.entries
    stride = cpu.stride
    last = cpu.frames.last.addr
    group = cpu.frames.top
    old = group.bits
    base = group.base
    bits = old
    for i in range(count):
        pfn = element(pfns, i).bits
        if pfn < low or pfn >= high:
            return _undo(cpu, i, pfns, group, old)
        if pfn & -WHOLE != base:
            if group.addr >= last:
                return _undo(cpu, i, pfns, group, old)
            group.bits = bits
            group = element(group, 1)
            base = pfn & -WHOLE
            group.base = base
            bits = 0
        if _taken(FrameWords(entries + pfn * stride), alone) == 0:
            return _undo(cpu, i, pfns, group, old)
        bits = bits | shl(1, pfn & (WHOLE - 1))
    group.bits = bits
    cpu.frames.top = group
    return OK


@kernel
def _hold(cpu: Cpu, pfn: int) -> int:
    """Take the frame or block that starts at frame `pfn` from its owner: OK, or why not."""
    region = region_of(cpu, pfn)
    status = puttable(cpu, region, pfn)
    if failed(status):
        return status
    return OK if take_back(entry_of(cpu, region, pfn)) != 0 else NOT_ALLOCATED


@rare
def _refused(cpu: Cpu, held: int, pfns: Word, status: int) -> int:
    """Let the frames go that were held before one could not be: its status, NOT_ALLOCATED if it stands there twice."""
    refused = element(pfns, held).bits
    result = status
    for i in range(held):
        pfn = element(pfns, i).bits
        entry_of(cpu, region_of(cpu, pfn), pfn).pins = 0
        if pfn == refused:
            result = NOT_ALLOCATED
    return result


@kernel
def frames_put(cpu: Cpu, count: int, pfns: Word) -> int:
    """Give back the `count` frames or blocks that start at the frames in the array `pfns`: OK.

    BAD_SIZE: count is not 1 to all frames. NOT_ALLOCATED: one is free already, or stands there twice. Else a status of
    `frame_put` for one of them. Then nothing has changed.
    """
    if count <= 0 or count > cpu.kern.frames:
        return BAD_SIZE
    for i in range(count):
        status = _hold(cpu, element(pfns, i).bits)
        if failed(status):
            return _refused(cpu, i, pfns, status)
    for i in range(count):
        pfn = element(pfns, i).bits
        put_held(cpu, region_of(cpu, pfn), pfn)
    return OK
