"""Ranges: contiguous frames for drivers, whose devices add an offset and know no tables (E12, E13).

Concepts
  1. A range is any number of frames at a multiple of `align`, within [low, high), not across a multiple of
     `boundary`. It is stored as the aligned blocks that tile it. It has no record of its own, and can be given back
     in parts.
  2. A range of free frames is looked for first: a search of the bitmaps, word by word. Where there is none, pages of
     the cache are moved. All that leads to such a page is known: its name, its place in a queue, its depend entries.
     So it moves, unless somebody holds it in place or the source works on it. Blocks, DMA frames, the heap and
     mapping tables stay where they are.
  3. A place is a range in which everything can be moved, and the cheapest has the least to move. The search slides
     over the frames once. A frame costs 0 if it is free and 1 if it holds a page that can be moved; its cost is added
     when the end of the place reaches it and taken off when the start leaves it. The search starts again behind a
     frame that must stay. Regions that touch are one stretch: a range may lie across them.
  4. All that the operation takes is made sure of before anything is stored: a free frame for each page that must go,
     and two windows to copy through. Then the free frames of the place leave the bitmaps, so that no page moves to
     where others must leave. Each page is hidden, copied, and known by its new frame. What is left is zeroed and is
     the range.
  5. A frame is zeroed before it changes its owner, unless it is known that nobody ever had it.

    frames that are needed = count = free frames of the place + pages to move; those elsewhere take the pages

Cost: a fraction of a ns per frame for the search of the bitmaps. The sliding search looks at each frame at most
twice, and takes 2 to 3 ns a frame of memory. A range costs a zeroed page per frame, and a window unless the
port fills RAM itself; a move two windows and a copy.

Limits: all pages are moved and zeroed in one call. In a direct map that does not reach all RAM, ranges lie within its
reach, and no page is moved. What the kernel itself took stays where it is: a heap that grows
from frames anywhere is in the way for good.

Ranges of 16 MiB at multiples of 16 MiB below 4 GiB, got until one is refused, on 1 GiB of RAM (`benchmarks/ranges.py`):

    load                                        10 %   30 %   50 %   70 %   90 %
    ranges that the free frames could make        56     44     31     18      6
    found here                                    56     44     31     18      6
      pages moved for each, placed anywhere      407   1220   2029   2841   3655
      pages moved for each, placed by a buddy    109    231    304    462   1827
    found by a buddy allocator, which cannot move
      among pages placed anywhere                  0      0      0      0      0
      among pages that it placed                  53     41     28     15      3

One page in 10,000 that must stay changes nothing at 50 %; one in 1,000 leaves 8 of the 31.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, FREE, PAGE, Cpu
from kernmalloc.kernel.frames.bitmap import MAX_ORDER, bits_free, bits_take, find_range, first_free, place
from kernmalloc.kernel.frames.regions import Region, next_region, region_of
from kernmalloc.kernel.frames.space import frames_left, fresh, space_short
from kernmalloc.kernel.frames.table import (
    Frame,
    Page,
    bank_lets,
    entry_of,
    give,
    is_public,
    puttable,
    set_type,
    supply,
    take_back,
)
from kernmalloc.kernel.map.windows import duplicate, shown_end, shows_all, windows_left, wipe
from kernmalloc.kernel.pages.depends import depends_hide, depends_move
from kernmalloc.kernel.pages.pages import entry_at, is_movable, page_heir
from kernmalloc.lang import clz, ctz, failed, kernel
from kernmalloc.lang.status import BAD_ALIGN, BAD_FRAME, BAD_SIZE, INTERIOR, NO_FRAMES, NO_VA, OK, PROMISED

MOVE_WINDOWS = 2
STAYS = -1  # the cost of a frame that cannot be moved


@kernel
def tile_order(pfn: int, count: int) -> int:
    """Order of the largest aligned block that starts at pfn and lies within count frames."""
    return min(min(ctz(pfn), 63 - clz(count)), MAX_ORDER)


@kernel
def _free_range(cpu: Cpu, count: int, align: int, low: int, high: int, boundary: int) -> int:
    """A place where all frames are free, in one region: its first pfn, or ABSENT."""
    region = cpu.kern.ram
    while region != 0:
        first = find_range(region, count, align, low, high, boundary)
        if first != ABSENT:
            return first
        region = region.next
    return ABSENT


@kernel
def _cost(cpu: Cpu, region: Region, pfn: int) -> int:
    """Pages to move for a frame of a region: 0 or 1, or STAYS."""
    if bits_free(region, pfn) != 0:
        return 0
    return 1 if is_movable(Page(entry_of(cpu, region, pfn).addr)) != 0 else STAYS


@kernel
def _cost_of(cpu: Cpu, pfn: int, count: int) -> int:
    """Pages to move for frames none of which must stay."""
    cost = 0
    for frame in range(pfn, pfn + count):
        cost += _cost(cpu, region_of(cpu, frame), frame)
    return cost


@kernel
def _cheapest_range(cpu: Cpu, count: int, align: int, low: int, high: int, boundary: int) -> int:
    """The place with the least to move, the lowest of them: its first pfn, or ABSENT."""
    best = ABSENT
    least = count + 1
    start = place(low, count, align, boundary)
    end = start  # frames [start, end) have been looked at and cost `cost`
    cost = 0
    region = next_region(cpu, start)
    while region != 0 and start <= high - count:
        here = STAYS
        next = end + 1
        if end >= region.base + region.count:
            region = next_region(cpu, end)
            next = end
            here = 0
        elif region.area == 0:
            next = region.base + region.count
        elif end < region.base:
            next = region.base
        else:
            here = _cost(cpu, region, end)
        if here == STAYS:
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
def _move(cpu: Cpu, pfn: int) -> int:
    """Move the page in a frame elsewhere; then no one owns the frame."""
    kern = cpu.kern
    region = supply(cpu, 0)
    new = first_free(region)
    bits_take(region, new, 1)
    depends_hide(cpu, pfn)  # no processor may write to it while it is copied
    duplicate(cpu, new, pfn)
    set_type(cpu, Frame(entry_at(cpu, new).addr), PAGE, 0)
    page_heir(cpu, pfn, new)
    set_type(cpu, Frame(entry_at(cpu, pfn).addr), FREE, 0)
    depends_move(cpu, new)
    kern.moved = kern.moved + 1
    return new


@kernel
def _claim(cpu: Cpu, first: int, count: int) -> int:
    """Take frames that are free, or hold pages that can be moved, out of all lists; then no one owns them. How many
    moved."""
    for pfn in range(first, first + count):
        region = region_of(cpu, pfn)
        if bits_free(region, pfn) != 0:
            bits_take(region, pfn, 1)
    moved = 0
    for pfn in range(first, first + count):
        if entry_of(cpu, region_of(cpu, pfn), pfn).type != FREE:
            _move(cpu, pfn)
            moved += 1
    return moved


@kernel
def _own(cpu: Cpu, first: int, count: int, type: int) -> int:
    """Give frames that no one owns an owner, as the blocks that tile them."""
    pfn = first
    while pfn < first + count:
        region = region_of(cpu, pfn)
        order = tile_order(pfn, min(first + count, region.base + region.count) - pfn)
        set_type(cpu, entry_of(cpu, region, pfn), type, order)
        pfn += 1 << order
    return first


@kernel
def range_get(cpu: Cpu, count: int, align: int, low: int, high: int, boundary: int, type: int) -> int:
    """Take `count` contiguous frames of zeros, which are of type PAGE or DMA from now on: the first pfn.

    It is a multiple of `align`; the frames lie in [low, high) and not across a multiple of `boundary`; all are numbers
    of frames, align and boundary powers of two, boundary 0 for none. Pages may be moved for it. BAD_FRAME: `type` is
    another one. BAD_SIZE: count is not 1 to all frames, or above boundary. BAD_ALIGN: align or boundary is no power of
    two. PROMISED: DMA frames would leave the bank fewer than it was promised. NO_VA: the caller holds the windows that
    moving takes. NO_FRAMES: there is no such place. WOULD_BLOCK: there is one, but not enough free frames to move its
    pages to.
    """
    kern = cpu.kern
    if is_public(type) == 0:
        return BAD_FRAME
    if count <= 0 or count > kern.frames:
        return BAD_SIZE
    if align <= 0 or align > kern.max_pfn or align & (align - 1) != 0 or boundary < 0 or boundary & (boundary - 1) != 0:
        return BAD_ALIGN
    if boundary != 0 and count > boundary:
        return BAD_SIZE
    if failed(bank_lets(cpu, type, count)):
        return PROMISED
    if windows_left(cpu) < MOVE_WINDOWS:
        return NO_VA
    lowest = min(max(low, 0), kern.max_pfn)
    end = min(max(high, 0), shown_end(kern))
    first = _free_range(cpu, count, align, lowest, end, boundary)
    if first == ABSENT and shows_all(kern) != 0:
        first = _cheapest_range(cpu, count, align, lowest, end, boundary)
    if first == ABSENT:
        kern.wanted = 0  # more free frames would not help
        return NO_FRAMES
    if frames_left(cpu) < count:
        return space_short(cpu, count)
    if _claim(cpu, first, count) != 0 or fresh(cpu, first << kern.page_shift, count << kern.page_shift) == 0:
        wipe(cpu, first, count)
    return _own(cpu, first, count, type)


@kernel
def range_put(cpu: Cpu, pfn: int, count: int) -> int:
    """Give back the blocks that tile frames [pfn, pfn + count) exactly: OK.

    BAD_SIZE: count is not 1 to all frames. INTERIOR: the last block is longer. Else a status of `frame_put`. Then
    nothing has changed.
    """
    kern = cpu.kern
    if count <= 0 or count > kern.frames:
        return BAD_SIZE
    if pfn < 0 or pfn >= kern.max_pfn:
        return BAD_FRAME
    at = pfn
    while at < pfn + count:
        region = region_of(cpu, at)
        status = puttable(cpu, region, at)
        if failed(status):
            return status
        at += 1 << entry_of(cpu, region, at).order
    if at != pfn + count:
        return INTERIOR
    at = pfn
    while at < pfn + count:
        region = region_of(cpu, at)
        size = 1 << entry_of(cpu, region, at).order
        if take_back(entry_of(cpu, region, at)) != 0:  # else another processor has put it since
            give(cpu, region, at)
        at += size
    return OK
