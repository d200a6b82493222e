"""From the ranges of a loader's map to those that the kernel boots with: whole frames of one class, in order.

Concepts
  1. Where ranges overlap, what is no RAM wins over RAM, and of kinds that say what memory is the later one in their
     list. What touches and is of one class is one range. Order, overlaps and lengths of a loader's map do not matter.
  2. A frame is RAM if all of it is; it is carved if anybody has a byte of it. A frame with a byte that is no RAM is of
     that byte's class, and of the lowest such byte's if there are several. What else is only partly RAM is nothing.
  3. Frames from `max_pfn` on are left out.

Time: the square of the number of ranges. It is small, and nothing has to be moved or kept for it.
"""

from __future__ import annotations

from kernmalloc.kernel.boot.config import BootRange
from kernmalloc.kernel.core.kern import CARVED_MEMORY, NVRAM, RAM, RESERVED_MEMORY, ROM
from kernmalloc.kernel.loaders.found import (
    MOST,
    RANGE_FIRMWARE,
    RANGE_IMAGE,
    RANGE_NVRAM,
    RANGE_RAM,
    RANGE_ROM,
    LoaderMap,
)
from kernmalloc.lang import element, entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, NO_FRAMES, NO_ROOM

SHARED = -1


@kernel
def _class_at(map: LoaderMap, pa: int) -> int:
    """The class of the byte at a physical address; 0 if no range has it."""
    kind = 0
    for i in range(map.count):
        each = element(map.ranges, i)
        if each.kind > kind and each.kind < RANGE_FIRMWARE and each.base <= pa and pa - each.base < each.bytes:
            kind = each.kind
    if kind == 0:
        return 0
    if kind == RANGE_RAM:
        return RAM
    if kind == RANGE_NVRAM:
        return NVRAM
    return ROM if kind == RANGE_ROM else RESERVED_MEMORY


@kernel
def _edge(map: LoaderMap, pa: int) -> int:
    """Where, above a physical address, the next range that says what memory is begins or ends; MOST: nowhere."""
    edge = MOST
    for i in range(map.count):
        each = element(map.ranges, i)
        if each.kind < RANGE_FIRMWARE:
            if each.base > pa:
                edge = min(edge, each.base)
            elif each.base + each.bytes > pa:
                edge = min(edge, each.base + each.bytes)
    return edge


@kernel
def _put(out: BootRange, count: int, room: int, base: int, end: int, kind: int) -> int:
    """Put frames behind `count` ranges, the last of which they may go on: how many there are then. NO_ROOM."""
    if failed(count) or base >= end:
        return count
    if count > 0:
        last = element(out, count - 1)
        if last.kind == kind and last.base + last.count == base:
            last.count = end - last.base
            return count
    if count >= room:
        return NO_ROOM
    new = element(out, count)
    new.base = base
    new.count = end - base
    new.kind = kind
    return count + 1


@kernel
def _taker(map: LoaderMap, pfn: int, shift: int) -> int:
    """Who has a frame of RAM: a kind of range; 0: nobody, SHARED: ranges of several kinds."""
    kind = 0
    for i in range(map.count):
        each = element(map.ranges, i)
        if each.kind >= RANGE_FIRMWARE and each.base >> shift <= pfn and each.base + each.bytes - 1 >> shift >= pfn:
            kind = each.kind if kind == 0 or kind == each.kind else SHARED
    return kind


@kernel
def _taken_edge(map: LoaderMap, pfn: int, end: int, shift: int) -> int:
    """The next frame, up to `end`, at which a range begins or has ended that says who has RAM."""
    edge = end
    for i in range(map.count):
        each = element(map.ranges, i)
        if each.kind >= RANGE_FIRMWARE:
            first = each.base >> shift
            behind = (each.base + each.bytes - 1 >> shift) + 1
            if first > pfn:
                edge = min(edge, first)
            elif behind > pfn:
                edge = min(edge, behind)
    return edge


@kernel
def _put_ram(map: LoaderMap, out: BootRange, before: int, room: int, base: int, end: int, shift: int, left: int) -> int:
    """Put frames that are RAM, each as what it is: free for the kernel, or carved. With `left`, only those that a range
    of that kind has alone, as RAM. As `_put`."""
    count = before
    at = base
    while at < end:
        taker = _taker(map, at, shift)
        next = _taken_edge(map, at, end, shift)
        if left == 0:
            count = _put(out, count, room, at, next, RAM if taker == 0 else CARVED_MEMORY)
        elif taker == left:
            count = _put(out, count, room, at, next, RAM)
        at = next
    return count


@kernel
def _frames(map: LoaderMap, out: BootRange, room: int, shift: int, max_pfn: int, left: int) -> int:
    """Put all frames of a map; with `left`, as `_put_ram` has it. How many ranges there are. NO_ROOM."""
    count = 0
    floor = 0  # frames below have been looked at
    at = 0
    while at < MOST and not failed(count):
        kind = _class_at(map, at)
        end = _edge(map, at)
        while end < MOST and _class_at(map, end) == kind:
            end = _edge(map, end)
        if kind == RAM:
            first = at + (1 << shift) - 1 >> shift if at <= MOST - (1 << shift) else max_pfn
            count = _put_ram(map, out, count, room, first, min(end >> shift, max_pfn), shift, left)
        elif kind != 0:
            behind = (end - 1 >> shift) + 1
            if left == 0:
                count = _put(out, count, room, max(at >> shift, floor), min(behind, max_pfn), kind)
            floor = behind
        at = end
    return count


@entry
def ranges_frames(map: LoaderMap, out: BootRange, room: int, page_shift: int, max_pfn: int) -> int:
    """Make of a map the ranges that a configuration has, in pages of 2 ** page_shift bytes below `max_pfn`: how many
    there are. NO_ROOM: more than `room`."""
    return _frames(map, out, room, page_shift, max_pfn, 0)


@entry
def ranges_left(map: LoaderMap, out: BootRange, room: int, page_shift: int, max_pfn: int, kind: int) -> int:
    """The ranges of frames that only ranges of one kind keep from the kernel, such as RANGE_TABLE: when these are left
    behind, `ram_add` takes the frames. How many there are. NO_ROOM. BAD_MAP: no such kind."""
    if kind < RANGE_FIRMWARE or kind > RANGE_IMAGE:
        return BAD_MAP
    return _frames(map, out, room, page_shift, max_pfn, kind)


@entry
def ranges_find(ranges: BootRange, count: int, preferred: int, frames: int, low: int) -> int:
    """Where so many frames of RAM are free: `preferred` if they are free there, else the lowest place from pfn `low`
    on, else the lowest. Pfn of the first. NO_FRAMES: nowhere."""
    above = -1
    below = -1
    for i in range(count):
        each = element(ranges, i)
        if each.kind == RAM:
            end = each.base + each.count
            if each.base <= preferred and frames <= end - preferred:
                return preferred
            if above < 0 and frames <= end - max(each.base, low):
                above = max(each.base, low)
            if below < 0 and frames <= each.count:
                below = each.base
    if above >= 0:
        return above
    return below if below >= 0 else NO_FRAMES
