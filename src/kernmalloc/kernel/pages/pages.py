"""Pages: frames that hold the pages of objects, known by object id.

Concepts
  1. A page in the cache is a frame of type PAGE with a state. Its core table entry is read as a `Page`, and the
     region's array of identities says which page it is. A hash in the heap, planned and made at boot, finds the frame
     of an object id.
  2. A page has one of these states. `page_state` is the only transition, and it alone keeps the counts:

         EMPTY    -> READING    a page is asked for that is not there (`faults`)
         READING  -> CLEAN      the source has read it
         READING  -> FAILED     the source could not read it; FAILED until somebody has been told
         CLEAN    -> DIRTY      somebody may write to it
         DIRTY    -> WRITING    the source was asked to write it back; nobody may write to it now
         WRITING  -> REWRITTEN  somebody may write to it again, and the source has not answered
         WRITING  -> CLEAN      the source has written it; DIRTY if it could not
         REWRITTEN -> DIRTY     the source has answered, whatever it says
         CLEAN    -> EMPTY      its frame was taken for something else (`reclaim`)

  3. CLEAN, DIRTY and FAILED pages are linked in one of two queues; the source works on the others.
  4. A ghost is a fingerprint of the object id of a page that left the cache: it tells that the page was here.

    linked(page)  <=>  state = CLEAN, DIRTY or FAILED
    find(oid) = pfn  <=>  identity(pfn).oid = oid and state(pfn) != EMPTY
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.kernel.core.kern import ABSENT, CLEAN, DIRTY, EMPTY, FAILED, PAGE, STATES, Cpu, Half, Index, Kern, Word
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.kernel.core.modes import has_pages
from kernmalloc.kernel.frames.regions import described, region_of
from kernmalloc.kernel.frames.table import Page, entry_of, give
from kernmalloc.lang import Record, array, element, field, i64, kernel, shr, u32
from kernmalloc.lang.status import OK

if TYPE_CHECKING:  # of what builds on this file
    from kernmalloc.kernel.pages.source import Ring
    from kernmalloc.kernel.pages.umap import Umap

FRAMES_PER_BUCKET_SHIFT = 1
FRAMES_PER_GHOST_SHIFT = 1


class Queue(Record):
    """A queue of pages, linked both ways through their entries and identities."""

    first: i64 = field("the page put in last: pfn + 1")
    last: i64 = field("the page put in first: pfn + 1")
    count: i64 = field("how many")


class Pages(Record):
    """The page cache: pages known by object id, found through a hash, aged in two queues."""

    heads: Index = field("the hash, an array: first page of each bucket, pfn + 1")
    buckets: i64 = field("how many")
    ghosts: Half = field("array: fingerprints of pages evicted from the small queue")
    ghost_count: i64 = field("how many there is room for")
    counts: Word = array(STATES, "frames by state; EMPTY ones are not counted")
    queues: Queue = array(2, "SMALL and MAIN")
    umaps: Umap = field("first address space")
    tables: i64 = field("mapping tables of address spaces: heap pages whose frames are MAPPING")
    hits: i64 = field("pages asked for that were there")
    misses: i64 = field("pages asked for that had to be read")
    evictions: i64 = field("pages whose frames were taken")
    reads: i64 = field("reads done")
    writes: i64 = field("writes done")
    source: Ring = field("ring that requests and answers lie in; 0: no source is open")
    asked: i64 = field("requests ever put into it")
    seen: i64 = field("answers ever taken out of it")
    lies: i64 = field("answers to what was not asked, since the source was opened")

    invariants = (
        "kern.heap_frames == kern.backed + kern.map_pages - tables",
        "tables == tally.user_tables and tables == tally.spaces",
        "tally.state_errors == 0",
        "tally.named == tally.cached and tally.bucket_errors == 0",
        "tally.queue_errors == 0",
        "tally.leaves == tally.depends",
        "tally.blocks_held == tally.blocks_mapped and tally.devices_held == tally.devices_mapped",
        "asked - seen + lies == tally.in_flight and tally.source_errors == 0",
    )


class Identity(Record):
    """Which page a frame holds; all zeros if none."""

    oid: i64 = field("object id")
    next: u32 = field("next page in its bucket: pfn + 1")
    prev: u32 = field("previous page of its queue: pfn + 1")


@kernel
def entry_at(cpu: Cpu, pfn: int) -> Page:
    """The core table entry of a frame of RAM, as that of a page."""
    return Page(entry_of(cpu, region_of(cpu, pfn), pfn).addr)


@kernel
def identity_of(cpu: Cpu, pfn: int) -> Identity:
    """The identity of a frame of RAM."""
    region = region_of(cpu, pfn)
    return Identity(region.identities + (pfn - region.base) * cpu.kern.identity)


# --- the hash


@kernel
def _mixed(oid: int) -> int:
    """31 bits of an object id, mixed."""
    x = (oid ^ (oid >> 31)) & 0x7FFFFFFF
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0x7FFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0x7FFFFFFF
    return x ^ (x >> 16)


@kernel
def bucket_of(kern: Kern, oid: int) -> Index:
    """The bucket that an object id is found in."""
    pages = kern.pages
    return element(pages.heads, (_mixed(oid) * pages.buckets) >> 31)


@kernel
def oid_fold(oid: int) -> int:
    """The bytes of an object id laid over each other: a wrong bit in an identity shows, which the hash may hide."""
    x = oid ^ shr(oid, 32)
    x = x ^ shr(x, 16)
    return (x ^ shr(x, 8)) & 0xFF


@kernel
def page_find(cpu: Cpu, oid: int) -> int:
    """The frame that holds a page, or ABSENT."""
    if has_pages(cpu.kern) == 0:
        return ABSENT
    at = bucket_of(cpu.kern, oid).value
    while at != 0:
        identity = identity_of(cpu, at - 1)
        if identity.oid == oid:
            return at - 1
        at = identity.next
    return ABSENT


@kernel
def page_name(cpu: Cpu, pfn: int, oid: int) -> int:
    """Let a frame be found by an object id that no other frame has."""
    head = bucket_of(cpu.kern, oid)
    identity = identity_of(cpu, pfn)
    identity.oid = oid
    identity.next = head.value
    head.value = pfn + 1
    page = entry_at(cpu, pfn)
    page.fold = oid_fold(oid)
    return OK


@kernel
def page_unname(cpu: Cpu, pfn: int) -> int:
    """Let a frame be found no more."""
    identity = identity_of(cpu, pfn)
    head = bucket_of(cpu.kern, identity.oid)
    if head.value == pfn + 1:
        head.value = identity.next
    else:
        before = identity_of(cpu, head.value - 1)
        while before.next != pfn + 1:
            before = identity_of(cpu, before.next - 1)
        before.next = identity.next
    identity.oid = 0
    identity.next = 0
    page = entry_at(cpu, pfn)
    page.fold = 0
    return OK


# --- ghosts


@kernel
def _ghost_at(kern: Kern, oid: int) -> Half:
    pages = kern.pages
    return element(pages.ghosts, (_mixed(oid) * pages.ghost_count) >> 31)


@kernel
def _fingerprint(oid: int) -> int:
    """15 bits of an object id that its place does not tell, and 1 bit that is set, for 0 is no fingerprint."""
    return (_mixed(~oid) & 0xFFFE) | 1


@kernel
def ghost_remember(kern: Kern, oid: int) -> int:
    """Remember that a page was here. The ghost that was in its place is forgotten."""
    _ghost_at(kern, oid).value = _fingerprint(oid)
    return OK


@kernel
def ghost_recall(kern: Kern, oid: int) -> int:
    """1 if a page was here of late. Its ghost is forgotten."""
    ghost = _ghost_at(kern, oid)
    if ghost.value != _fingerprint(oid):
        return 0
    ghost.value = 0
    return 1


# --- the queues


@kernel
def queue_of(kern: Kern, queue: int) -> Queue:
    """The queue SMALL or MAIN."""
    return element(kern.pages.queues, queue)


queue_link, queue_unlink = linked_list(
    "queue",
    "a page (pfn + 1)",
    "cpu: Cpu, queue: Queue",
    first="queue.first",
    last="queue.last",
    next="entry_at(cpu, {} - 1).link",
    prev="identity_of(cpu, {} - 1).prev",
    namespace=globals(),
)


@kernel
def page_link_behind(cpu: Cpu, pfn: int, ahead: int) -> int:
    """Put a page in behind the one at `ahead` (pfn + 1), which is looked at after it; 0: at the front."""
    page = entry_at(cpu, pfn)
    queue = queue_of(cpu.kern, page.queue)
    queue.count = queue.count + 1
    return queue_link(cpu, queue, pfn + 1, ahead)


@kernel
def page_link(cpu: Cpu, pfn: int) -> int:
    """Put a page in at the front of its queue: the last to be looked at."""
    return page_link_behind(cpu, pfn, 0)


@kernel
def page_link_last(cpu: Cpu, pfn: int) -> int:
    """Put a page in at the end of its queue: the next to be looked at."""
    page = entry_at(cpu, pfn)
    queue = queue_of(cpu.kern, page.queue)
    return page_link_behind(cpu, pfn, queue.last)


@kernel
def page_unlink(cpu: Cpu, pfn: int) -> int:
    """Take a page out of its queue."""
    page = entry_at(cpu, pfn)
    queue = queue_of(cpu.kern, page.queue)
    queue.count = queue.count - 1
    return queue_unlink(cpu, queue, pfn + 1)


# --- states


@kernel
def holds_page(cpu: Cpu, pfn: int) -> int:
    """1 if pfn, which may be any number, is that of a frame that holds a page."""
    region = described(cpu, pfn)
    if region == 0:
        return 0
    page = Page(entry_of(cpu, region, pfn).addr)
    return 1 if page.type == PAGE and page.state != EMPTY else 0


@kernel
def is_linked(state: int) -> int:
    """1 if pages in that state are in a queue."""
    return 1 if state == CLEAN or state == DIRTY or state == FAILED else 0


@kernel
def page_state(cpu: Cpu, pfn: int, state: int) -> int:
    """The transition: the frame's page is in that state now. The caller links and unlinks it."""
    counts = cpu.kern.pages.counts
    page = entry_at(cpu, pfn)
    if page.state != EMPTY:
        old = element(counts, page.state)
        old.bits = old.bits - 1
    if state != EMPTY:
        new = element(counts, state)
        new.bits = new.bits + 1
    page.state = state
    return state


@kernel
def page_drop(cpu: Cpu, pfn: int) -> int:
    """Give the frame of a page that is neither linked nor mapped back to the free list."""
    page_unname(cpu, pfn)
    page_state(cpu, pfn, EMPTY)
    page = entry_at(cpu, pfn)
    page.queue = 0
    page.uses = 0
    return give(cpu, region_of(cpu, pfn), pfn)


@kernel
def is_movable(page: Page) -> int:
    """1 if a frame holds a page that can be moved now: nobody holds it in place, and the source does not work on it."""
    return 1 if page.type == PAGE and is_linked(page.state) != 0 and page.pins == 0 else 0


@kernel
def page_heir(cpu: Cpu, old: int, new: int) -> int:
    """Let frame `new`, which is of type PAGE and holds none, hold the page of frame `old` from now on: its name, its
    place in its queue, its state, its depend entries. `old` holds no page then. The caller copies the page, and
    changes mappings."""
    source = entry_at(cpu, old)
    oid = identity_of(cpu, old).oid
    page = entry_at(cpu, new)
    page.queue = source.queue
    page.uses = source.uses
    page.depends = source.depends
    state = source.state
    before = identity_of(cpu, old).prev
    page_unlink(cpu, old)
    page_unname(cpu, old)
    page_state(cpu, old, EMPTY)
    source.queue = 0
    source.uses = 0
    source.depends = 0
    page_name(cpu, new, oid)
    page_state(cpu, new, state)
    return page_link_behind(cpu, new, before)


@kernel
def page_count(kern: Kern, state: int) -> int:
    """Pages in a state."""
    return element(kern.pages.counts, state).bits


@kernel
def _heads_bytes(frames: int) -> int:
    return (((frames >> FRAMES_PER_BUCKET_SHIFT) + 1) * Index.size + Word.size - 1) & -Word.size


@kernel
def pages_bytes(kern: Kern, frames: int) -> int:
    """Bytes of the hash and the ghosts for a machine with so many frames; 0 if there is no page cache."""
    if has_pages(kern) == 0:
        return 0
    return _heads_bytes(frames) + ((frames >> FRAMES_PER_GHOST_SHIFT) + 1) * Half.size


@kernel
def pages_init(kern: Kern, at: int, frames: int) -> int:
    """Lay the hash and the ghosts out from address `at` on, in `pages_bytes` of zeroed memory."""
    pages = kern.pages
    pages.heads = Index(at)
    pages.buckets = (frames >> FRAMES_PER_BUCKET_SHIFT) + 1
    pages.ghosts = Half(at + _heads_bytes(frames))
    pages.ghost_count = (frames >> FRAMES_PER_GHOST_SHIFT) + 1
    return OK


@kernel
def pages_few(kern: Kern, frames: int) -> int:
    """1 if the hash is too small for a machine with so many frames: its buckets would be more than twice as long as
    those of the hash that is made for them."""
    if has_pages(kern) == 0:
        return 0
    return 1 if frames >> (FRAMES_PER_BUCKET_SHIFT + 1) > kern.pages.buckets else 0


@kernel
def pages_move(cpu: Cpu, at: int, frames: int) -> int:
    """Find pages through a hash for so many frames from now on, which lies with the ghosts at `at` as `pages_init` has
    it: the VA of the one before, which is the caller's. Ghosts are forgotten."""
    kern = cpu.kern
    old = kern.pages.heads
    buckets = kern.pages.buckets
    pages_init(kern, at, frames)
    for i in range(buckets):
        link = element(old, i).value
        while link != 0:
            identity = identity_of(cpu, link - 1)
            behind = identity.next
            head = bucket_of(kern, identity.oid)
            identity.next = head.value
            head.value = link
            link = behind
    return old.addr
