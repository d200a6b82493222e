"""Reclaim: frames for the kernel and for new pages, out of the page cache (E30, E31, E39).

Concepts
  1. Two queues, after S3-FIFO (Yang et al., SOSP 2023): new pages enter SMALL, a twentieth of the cache. A page that was asked for
     again while it was there moves to MAIN; one that was not goes, and its ghost is remembered: when it comes back soon, it
     enters MAIN at once. So a scan passes through SMALL and leaves MAIN as it is. MAIN is a clock that
     counts the rounds in which a page was used, to 3, and one down for each in which it was not.
  2. Use through a mapping shows in the leaf entry only, as one bit. A page of SMALL that was used once goes round once more:
     the bit has told of its first use then, and tells of another one the next time.
  3. A dirty page whose turn has come is not waited for: the source is asked to write it, and the next page is looked at. When
     it has been written it is the first to go.
  4. What the heap keeps idle beyond one growth step goes first.
  5. Reclaim runs between operations, never inside one: a call that is short of frames is abandoned, frames are reclaimed, and
     the whole call is done again (E26). It takes what the call said that it wants, and no more.

Hit rates of 300,000 touches through mappings, cold ones among them, beside those of a plain clock with one bit a page
(`benchmarks/ageing.py`; Zipf's exponent is 0.9, the loop goes round 1608 pages):

    pages that fit              5 %            10 %            20 %            50 %      of them 1340 in memory
    Zipf                   56.8 (46.8)     63.6 (55.0)     71.6 (65.1)     85.5 (82.9)
    70 % Zipf, 30 % scan   40.1 (30.2)     45.8 (36.5)     53.4 (45.4)     70.5 (64.3)
    loop, a fifth too long 79.0 (0.0), whatever else there is
    all of these, random   43.5 (21.3)     49.3 (27.0)     56.7 (35.9)     72.9 (58.9)

A tenth for SMALL, or a MAIN that does not count, costs 0.5 to 7 points.

Cost: a page is looked at no more than five times before it goes or is being written; a call looks at that many at most, so
that it ends even if everything is pinned.
"""

from kernmalloc.kernel.depends import depends_clear, depends_used
from kernmalloc.kernel.frames import Page
from kernmalloc.kernel.kern import DIRTY, MAIN, SMALL, Cpu, Kern, Pages, Queue
from kernmalloc.kernel.pages import (
    PAGES,
    Identity,
    ghost_remember,
    identity_of,
    page_drop,
    page_link,
    page_link_last,
    page_of,
    page_unlink,
    queue_of,
)
from kernmalloc.kernel.runs import trim
from kernmalloc.kernel.source import ring_room, write_back
from kernmalloc.kernel.threads import claimed, listed, takeable
from kernmalloc.lang import kernel
from kernmalloc.lang.status import NO_FRAMES, OK, WOULD_BLOCK

SMALL_SHARE = 3277  # of 65536: a twentieth
MOST_USES = 3
LOOKS = 5


@kernel
def _next_queue(kern):
    """The queue whose last page is next: SMALL if it has more than its share."""
    small = Queue(queue_of(kern, SMALL)).count
    main = Queue(queue_of(kern, MAIN)).count
    return SMALL if main == 0 or small > ((small + main) * SMALL_SHARE) >> 16 else MAIN


@kernel
def _stays(cpu, pfn):
    """1 if a page whose turn has come goes round again: pinned, or used since."""
    f = Page(page_of(cpu, pfn))
    if f.pins > 0:
        return 1
    used = depends_used(cpu, pfn)
    uses = f.uses + used
    if f.queue == MAIN:
        f.uses = min(uses, MOST_USES) if used != 0 else max(uses - 1, 0)
        return 1 if uses > 0 else 0
    f.uses = 0 if uses > 1 else uses
    f.queue = MAIN if uses > 1 else SMALL
    return 1 if uses > 1 or used != 0 else 0


@kernel
def _evict(cpu, pfn):
    """Take the frame of a clean page that is in no queue: it is free."""
    kern = Cpu(cpu).kern
    depends_clear(cpu, pfn)
    if Page(page_of(cpu, pfn)).queue == SMALL:
        ghost_remember(kern, Identity(identity_of(cpu, pfn)).oid)
    p = Pages(kern + PAGES)
    p.evictions = p.evictions + 1
    return page_drop(cpu, pfn)


@kernel
def reclaim(cpu, free):
    """See to it that `free` frames are free: OK, or WOULD_BLOCK if that takes a write-back, or is not possible."""
    k = Kern(Cpu(cpu).kern)
    if listed(k.addr) < free and k.idle > k.growth:
        trim(cpu, k.growth)
    looks = (Queue(queue_of(k.addr, SMALL)).count + Queue(queue_of(k.addr, MAIN)).count) * LOOKS
    while listed(k.addr) < free and looks > 0:
        looks -= 1
        pfn = Queue(queue_of(k.addr, _next_queue(k.addr))).last - 1
        if pfn < 0:
            return WOULD_BLOCK
        page_unlink(cpu, pfn)
        if _stays(cpu, pfn) != 0:
            page_link(cpu, pfn)
        elif Page(page_of(cpu, pfn)).state != DIRTY:
            _evict(cpu, pfn)
        elif ring_room(k.addr) > 0:
            write_back(cpu, pfn)
        else:
            page_link_last(cpu, pfn)
            return WOULD_BLOCK
    return OK if listed(k.addr) >= free else WOULD_BLOCK


@kernel
def again(cpu, result):
    """1 if a call that was refused for want of frames can be done again, because they have been reclaimed. Not while others
    wait for frames: it is their turn."""
    k = Kern(Cpu(cpu).kern)
    if k.wanted <= 0 or (result != WOULD_BLOCK and result != NO_FRAMES) or claimed(k.addr, Cpu(cpu).thread) != 0:
        return 0
    return 1 if reclaim(cpu, listed(k.addr) + k.wanted - takeable(cpu)) == OK else 0
