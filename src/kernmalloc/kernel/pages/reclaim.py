"""Reclaim: frames for the kernel and for new pages, out of the page cache (E30, E31, E39).

Concepts
  1. Pages age in two queues, after S3-FIFO (Yang et al., SOSP 2023). A new page enters SMALL, a twentieth of the
     cache. If it is asked for again while it is there, it moves to MAIN. If not, it goes, and its ghost is
     remembered: a page that comes back soon enters MAIN at once. So a scan passes through SMALL and leaves MAIN as it
     is.
  2. MAIN is a clock. It counts for each page the rounds in which the page was used, up to 3, and counts down in each
     round in which it was not; a page whose count is 0 goes.
  3. Use through a mapping shows as one bit of the leaf entry. The bit cannot tell the first use of a page, which
     brought it in, from a second one. So a page of SMALL that was used once goes round once more.
  4. Nobody waits for a dirty page whose turn has come: the source is asked to write it, and the next page is looked
     at. A page that has been written is the first to go.
  5. What the heap keeps idle beyond one growth step goes first.
  6. Reclaim runs between operations, never inside one. A call that is short of frames is abandoned, frames are
     reclaimed, and the whole call is done again (E26). Reclaim takes what the call said that it wants, and no more.

Cost: a page is looked at no more than five times before it goes or is being written. A call looks at that many at
most: it ends even if everything is pinned.

Hit rates of 300,000 touches through mappings, cold ones among them, beside those of a plain clock with one bit a page
(`benchmarks/ageing.py`; Zipf's exponent is 0.9, the loop goes round 1608 pages):

    pages that fit              5 %            10 %            20 %            50 %      of them 1340 in memory
    Zipf                   56.8 (46.9)     63.6 (55.0)     71.6 (65.1)     85.4 (82.8)
    70 % Zipf, 30 % scan   39.9 (30.1)     45.7 (36.4)     53.2 (45.3)     70.2 (64.1)
    loop, a fifth too long 77.8 (0.0), whatever else there is
    all of these, random   43.9 (21.3)     49.4 (26.9)     56.5 (35.8)     72.8 (59.6)

A tenth for SMALL, or a MAIN that does not count, costs 0.5 to 7 points.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, DIRTY, MAIN, SMALL, Cpu, Kern
from kernmalloc.kernel.frames.claims import claimed, listed, takeable
from kernmalloc.kernel.frames.stock import stock_drain
from kernmalloc.kernel.heap.fetch import drain, fetch
from kernmalloc.kernel.heap.runs import trim
from kernmalloc.kernel.pages.depends import depends_clear, depends_used
from kernmalloc.kernel.pages.pages import (
    entry_at,
    ghost_remember,
    identity_of,
    page_drop,
    page_link,
    page_link_last,
    page_unlink,
    queue_of,
)
from kernmalloc.kernel.pages.source import ring_room, write_back
from kernmalloc.lang import kernel
from kernmalloc.lang.status import NO_FRAMES, OK, WOULD_BLOCK

SMALL_SHARE = 3277  # of 65536: a twentieth
MOST_USES = 3
LOOKS = 5


@kernel
def _next_queue(kern: Kern) -> int:
    """The queue whose last page is next: SMALL if it has more than its share."""
    small = queue_of(kern, SMALL).count
    main = queue_of(kern, MAIN).count
    return SMALL if main == 0 or small > ((small + main) * SMALL_SHARE) >> 16 else MAIN


@kernel
def _stays(cpu: Cpu, pfn: int) -> int:
    """1 if a page whose turn has come goes round again: pinned, or used since."""
    page = entry_at(cpu, pfn)
    if page.pins > 0:
        return 1
    used = depends_used(cpu, pfn)
    uses = page.uses + used
    if page.queue == MAIN:
        page.uses = min(uses, MOST_USES) if used != 0 else max(uses - 1, 0)
        return 1 if uses > 0 else 0
    page.uses = 0 if uses > 1 else uses
    page.queue = MAIN if uses > 1 else SMALL
    return 1 if uses > 1 or used != 0 else 0


@kernel
def _evict(cpu: Cpu, pfn: int) -> int:
    """Take the frame of a page that is in no queue and has nothing to write: the frame is free."""
    kern = cpu.kern
    depends_clear(cpu, pfn)
    if entry_at(cpu, pfn).queue == SMALL:
        ghost_remember(kern, identity_of(cpu, pfn).oid)
    pages = kern.pages
    pages.evictions = pages.evictions + 1
    return page_drop(cpu, pfn)


@kernel
def reclaim(cpu: Cpu, free: int) -> int:
    """Take pages out of the cache until the bitmaps list `free` frames: OK, or WOULD_BLOCK if that takes a
    write-back, or is not possible."""
    kern = cpu.kern
    if listed(kern) < free and kern.idle > kern.growth:
        trim(cpu, kern.growth)
    looks = (queue_of(kern, SMALL).count + queue_of(kern, MAIN).count) * LOOKS
    while listed(kern) < free and looks > 0:
        looks -= 1
        pfn = queue_of(kern, _next_queue(kern)).last - 1
        if pfn == ABSENT:
            return WOULD_BLOCK  # both queues are empty
        page_unlink(cpu, pfn)
        if _stays(cpu, pfn) != 0:
            page_link(cpu, pfn)
        elif entry_at(cpu, pfn).state != DIRTY:
            _evict(cpu, pfn)
        elif ring_room(kern) > 0:
            write_back(cpu, pfn)
        else:
            page_link_last(cpu, pfn)
            return WOULD_BLOCK
    return OK if listed(kern) >= free else WOULD_BLOCK


@kernel
def collect(cpu: Cpu, frames: int) -> int:
    """Have `frames` free frames ready to be taken, as far as that goes without waiting: how many whoever runs may take
    now.

    They come, until there are so many, from this processor's stock; from what all processors keep idle, and the heap;
    from the page cache. This is what a kernel asks for before a large allocation, or when it idles.
    """
    if takeable(cpu) < frames:
        stock_drain(cpu)
    if takeable(cpu) < frames and fetch(cpu) == 0:
        drain(cpu)
    if takeable(cpu) < frames:
        reclaim(cpu, listed(cpu.kern) + frames - takeable(cpu))
    return max(takeable(cpu), 0)


@kernel
def again(cpu: Cpu, result: int) -> int:
    """1 if a call that was refused for want of frames can be done again, for they have been reclaimed. Never while
    others wait for frames: these are theirs."""
    kern = cpu.kern
    if kern.wanted <= 0 or (result != WOULD_BLOCK and result != NO_FRAMES) or claimed(kern, cpu.thread) != 0:
        return 0
    return 1 if reclaim(cpu, listed(kern) + kern.wanted - takeable(cpu)) == OK else 0
