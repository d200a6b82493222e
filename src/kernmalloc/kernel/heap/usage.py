"""Usage: what the heap has, and what could be had, in figures that take no count to find.

live = backed - free pages that have frames: pages of blocks and slabs; the free slots of slabs are among them
peak = the most that live ever was
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.frames.claims import listed, takeable
from kernmalloc.kernel.heap.bins import BARE, IDLE, KEPT, longest_run, record_of
from kernmalloc.kernel.heap.runs import live_pages, longest_growth
from kernmalloc.lang import Record, field, i64, kernel
from kernmalloc.lang.status import OK


class Usage(Record):
    """What `usage` tells, in bytes and in frames."""

    bound: i64 = field("bytes that the heap may have at most")
    backed: i64 = field("bytes that have frames")
    live: i64 = field("bytes in use: of pages that a block or a slab has")
    peak: i64 = field("the most that these ever were")
    largest: i64 = field("bytes of the longest run of pages that could be had now, as far as frames last")
    frames: i64 = field("frames of RAM")
    free: i64 = field("of those, free ones that no processor has in stock")


@kernel
def _longest(kern: Kern, use: int, pages: int) -> int:
    """Pages of the longest free run of one use, of which there are so many pages."""
    return record_of(kern, longest_run(kern, use)).pages if pages > 0 else 0


@kernel
def usage(cpu: Cpu, into: Usage) -> int:
    """Tell at `into`, which is the caller's memory, what the heap has and could have: OK."""
    kern = cpu.kern
    shift = kern.page_shift
    ready = max(_longest(kern, KEPT, kern.kept), _longest(kern, IDLE, kern.idle))
    room = max(_longest(kern, BARE, kern.top - kern.backed), longest_growth(kern))
    into.bound = kern.heap_pages << shift
    into.backed = kern.backed << shift
    into.live = live_pages(kern) << shift
    into.peak = kern.peak << shift
    into.largest = max(ready, min(room, takeable(cpu))) << shift
    into.frames = kern.frames
    into.free = listed(kern)
    return OK
