"""Ranges: contiguous frames for drivers, whose devices add an offset and know no tables (E12, E13).

Concepts
  1. A range is any number of frames at a multiple of `align`, within [low, high), not across a multiple of `boundary`. It
     is stored as the aligned blocks that tile it; it needs no record of its own, and can be given back in parts.
  2. Free frames first: a search of the bitmaps, word by word. Where there is no such range, pages are moved: of all places
     where everything in the way can be moved, the one with the least to move. Pinned pages, blocks, DMA frames, the
     heap and mapping tables stay where they are.
  3. The search slides over the frames once. A frame costs 0 if it is free and 1 if it is a page that can be moved; it is
     added when the place's end reaches it and taken off when the start leaves it; one that must stay starts the search
     again behind it. Regions that touch are one stretch: a range may lie across them.
  4. All that the operation takes is made sure of before anything is stored: a free frame for each page that must go, two
     windows to copy through. Then the free frames of the place leave the bitmaps, so that no page is moved to where
     others must leave; each page is hidden, copied, and known by its new frame; what is left is zeroed and is the range.
  5. A frame is zeroed before it changes its owner, unless it is known that nobody ever had it.

    frames that are needed = count = free frames of the place + pages to move; those elsewhere take the pages

Cost: the search of the bitmaps is a fraction of a ns per frame; the sliding search looks at each frame at most twice, which
took 2 to 3 ns a frame of memory; a range costs a window and a zeroed page per frame, a move two windows and a copy more.

16 MiB ranges at multiples of 16 MiB, below 4 GiB, one after the other until one is refused, on 1 GiB of RAM whose pages
lie anywhere; and where a buddy allocator placed them while the load went up and down (`benchmarks/ranges.py`):

    load                                        10 %   30 %   50 %   70 %   90 %
    ranges that the free frames could make        56     44     31     18      6
    found here                                    56     44     31     18      6
      pages moved for one, on average: anywhere  407   1220   2029   2841   3655
                                       buddy     109    231    304    462   1827
    found by a buddy allocator, which cannot move
      pages anywhere                               0      0      0      0      0
      placed by itself                            53     41     28     15      3

    One page in 10,000 that must stay changes nothing at 50 %, one in 1,000 leaves 8 of the 31.

Limits: all pages are moved and zeroed in one call; 16 MiB took 30 to 130 ms in mode raw, where each window is an mmap. What
the kernel itself took stays where it is: a heap that grows from frames anywhere is in the way for good.
"""

from kernmalloc.kernel.bitmap import MAX_ORDER, NONE, bits_free, bits_take, find_range, first_free, place
from kernmalloc.kernel.frames import Frame, entry_of, give, is_public, puttable, set_type, spared, supply
from kernmalloc.kernel.kern import FREE, Cpu, Kern
from kernmalloc.kernel.kmap import fresh
from kernmalloc.kernel.movable import page_hide, page_movable, page_replace
from kernmalloc.kernel.regions import Region, next_region, region_of
from kernmalloc.kernel.space import frames_left, space_short
from kernmalloc.kernel.windows import duplicate, windows_left, wipe
from kernmalloc.lang import clz, ctz, kernel
from kernmalloc.lang.status import BAD_ALIGN, BAD_FRAME, BAD_SIZE, INTERIOR, NO_FRAMES, NO_VA, OK, PROMISED

MOVE_WINDOWS = 2


@kernel
def tile_order(pfn, count):
    """Order of the largest aligned block that starts at pfn and lies within count frames."""
    return min(min(ctz(pfn), 63 - clz(count)), MAX_ORDER)


@kernel
def _free_range(cpu, count, align, low, high, boundary):
    """A place where all frames are free, in one region: its first pfn, or NONE."""
    at = Kern(Cpu(cpu).kern).ram
    while at != 0:
        first = find_range(at, count, align, low, high, boundary)
        if first != NONE:
            return first
        at = Region(at).next
    return NONE


@kernel
def _cost(cpu, region, pfn):
    """Pages to move for a frame of a region: 0 or 1; -1 if it must stay."""
    if bits_free(region, pfn) != 0:
        return 0
    return 1 if page_movable(cpu, region, pfn) != 0 else -1


@kernel
def _cost_of(cpu, pfn, count):
    """Pages to move for frames that have been looked at."""
    cost = 0
    for i in range(pfn, pfn + count):
        cost += _cost(cpu, region_of(cpu, i), i)
    return cost


@kernel
def _cheapest_range(cpu, count, align, low, high, boundary):
    """The place with the least to move, the lowest of them: its first pfn, or NONE."""
    best = NONE
    least = count + 1
    start = place(low, count, align, boundary)
    end = start  # frames [start, end) have been looked at and cost `cost`
    cost = 0
    region = next_region(cpu, start)
    while region != 0 and start <= high - count:
        r = Region(region)
        here = -1
        next = end + 1
        if end >= r.base + r.count:
            region = next_region(cpu, end)
            next = end
            here = 0
        elif r.area == 0:
            next = r.base + r.count
        elif end < r.base:
            next = r.base
        else:
            here = _cost(cpu, region, end)
        if here < 0:
            start = place(next, count, align, boundary)
            end = start
            cost = 0
        else:
            cost += here
            end = next
            if end == start + count:
                if cost < least:
                    least = cost
                    best = start
                next = place(start + 1, count, align, boundary)
                cost = cost - _cost_of(cpu, start, next - start) if next < end else 0
                start = next
                end = max(end, start)
    return best


@kernel
def _move(cpu, pfn):
    """Move the page in a frame elsewhere; then no one owns the frame."""
    k = Kern(Cpu(cpu).kern)
    region = supply(cpu, 0)
    new = first_free(region)
    bits_take(region, new, 1)
    page_hide(cpu, pfn)
    duplicate(cpu, new, pfn)
    page_replace(cpu, pfn, new)
    k.moved = k.moved + 1
    return new


@kernel
def _claim(cpu, first, count):
    """Make frames that are free or hold pages that can be moved no one's, and listed nowhere: how many were moved."""
    for pfn in range(first, first + count):
        region = region_of(cpu, pfn)
        if bits_free(region, pfn) != 0:
            bits_take(region, pfn, 1)
    moved = 0
    for pfn in range(first, first + count):
        if Frame(entry_of(cpu, region_of(cpu, pfn), pfn)).type != FREE:
            _move(cpu, pfn)
            moved += 1
    return moved


@kernel
def _own(cpu, first, count, type):
    """Give frames that are no one's to an owner, as blocks."""
    pfn = first
    while pfn < first + count:
        r = Region(region_of(cpu, pfn))
        order = tile_order(pfn, min(first + count, r.base + r.count) - pfn)
        set_type(cpu, entry_of(cpu, r.addr, pfn), type, order)
        pfn += 1 << order
    return first


@kernel
def range_get(cpu, count, align, low, high, boundary, type):
    """`count` contiguous frames of zeros at a multiple of `align` frames, within [low, high), not across a multiple of
    `boundary` frames (0: any): the first pfn. Pages may be moved for it.

    align and boundary are powers of two. BAD_FRAME (the type), BAD_SIZE, BAD_ALIGN, PROMISED, NO_FRAMES (no such place);
    WOULD_BLOCK: there is one, but not enough free frames to move its pages to. NO_VA: the caller holds the windows."""
    k = Kern(Cpu(cpu).kern)
    if is_public(type) == 0:
        return BAD_FRAME
    if count <= 0 or count > k.frames:
        return BAD_SIZE
    if align <= 0 or align > k.max_pfn or align & (align - 1) != 0 or boundary < 0 or boundary & (boundary - 1) != 0:
        return BAD_ALIGN
    if boundary != 0 and count > boundary:
        return BAD_SIZE
    if spared(cpu, type, count) < 0:
        return PROMISED
    if windows_left(cpu) < MOVE_WINDOWS:
        return NO_VA
    lowest = min(max(low, 0), k.max_pfn)
    end = min(max(high, 0), k.max_pfn)
    first = _free_range(cpu, count, align, lowest, end, boundary)
    if first == NONE:
        first = _cheapest_range(cpu, count, align, lowest, end, boundary)
    if first == NONE:
        k.wanted = 0  # more free frames would not help
        return NO_FRAMES
    if frames_left(cpu) < count:
        return space_short(cpu, count)
    if _claim(cpu, first, count) != 0 or fresh(cpu, first << k.page_shift, count << k.page_shift) == 0:
        for pfn in range(first, first + count):
            wipe(cpu, pfn)
    return _own(cpu, first, count, type)


@kernel
def range_put(cpu, pfn, count):
    """Give back the blocks that tile [pfn, pfn + count) exactly. BAD_SIZE, INTERIOR, or as `frame_put`: nothing changes."""
    k = Kern(Cpu(cpu).kern)
    if count <= 0 or count > k.frames:
        return BAD_SIZE
    if pfn < 0 or pfn >= k.max_pfn:
        return BAD_FRAME
    at = pfn
    while at < pfn + count:
        region = region_of(cpu, at)
        status = puttable(cpu, region, at)
        if status < 0:
            return status
        at += 1 << Frame(entry_of(cpu, region, at)).order
    if at != pfn + count:
        return INTERIOR
    at = pfn
    while at < pfn + count:
        region = region_of(cpu, at)
        size = 1 << Frame(entry_of(cpu, region, at)).order
        give(cpu, region, at)
        at += size
    return OK
