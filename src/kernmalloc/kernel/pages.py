"""Pages: frames that hold the pages of objects, known by object id.

Concepts
  1. A page in the cache is a frame of type PAGE with a state. Its core table entry is read as a `Page`, and the region's
     array of identities says which page it is. A hash in the heap, planned and made at boot, finds the frame of an object id.
  2. States and what changes them; `page_state` is the only transition, and it alone keeps the counts:

         EMPTY    -> READING    a page is asked for that is not there (`faults`)
         READING  -> CLEAN      the source has read it; FAILED if it could not, until somebody has been told
         CLEAN    -> DIRTY      somebody may write to it
         DIRTY    -> WRITING    the source was asked to write it back; nobody may write to it
         WRITING  -> REWRITTEN  but somebody was allowed to, meanwhile
         WRITING  -> CLEAN, REWRITTEN -> DIRTY     it has; DIRTY if it could not
         CLEAN    -> EMPTY      its frame was taken for something else (`reclaim`)

  3. CLEAN, DIRTY and FAILED pages are linked in one of two queues; the source has the others.

    linked(page)  <=>  state = CLEAN, DIRTY or FAILED
    find(oid) = pfn  <=>  identity(pfn).oid = oid and state(pfn) != EMPTY
"""

from kernmalloc.kernel.frames import Page, entry_of, give
from kernmalloc.kernel.kern import CLEAN, DIRTY, EMPTY, FAILED, PAGE, Cpu, Half, Index, Kern, Pages, Queue, Word
from kernmalloc.kernel.regions import Region, region_of
from kernmalloc.lang import i64, kernel, record, u32
from kernmalloc.lang.status import OK

PAGES = Kern.offset("pages")
COUNTS = Pages.offset("counts")
QUEUES = Pages.offset("queues")
QUEUE_BYTES = Queue.size
ABSENT = -1
FRAMES_PER_BUCKET_SHIFT = 1
FRAMES_PER_GHOST_SHIFT = 1


@record(size=16)
class Identity:
    """Which page a frame holds; all zeros if none."""

    oid: i64 = "object id"
    next: u32 = "next page in its bucket: pfn + 1"
    prev: u32 = "previous page of its queue: pfn + 1"


@kernel
def page_of(cpu, pfn):
    """VA of the core table entry of a frame of RAM."""
    return entry_of(cpu, region_of(cpu, pfn), pfn)


@kernel
def identity_of(cpu, pfn):
    """VA of the identity of a frame of RAM."""
    r = Region(region_of(cpu, pfn))
    return r.identities + (pfn - r.base) * Kern(Cpu(cpu).kern).identity


# --- the hash


@kernel
def _mixed(oid):
    """31 bits of an object id, mixed."""
    x = (oid ^ (oid >> 31)) & 0x7FFFFFFF
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0x7FFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0x7FFFFFFF
    return x ^ (x >> 16)


@kernel
def bucket_of(kern, oid):
    """VA of the bucket that an object id is found in."""
    p = Pages(kern + PAGES)
    return p.heads + (((_mixed(oid) * p.buckets) >> 31) << 2)


@kernel
def page_find(cpu, oid):
    """The frame that holds a page, or ABSENT."""
    at = Index(bucket_of(Cpu(cpu).kern, oid)).value
    while at != 0:
        i = Identity(identity_of(cpu, at - 1))
        if i.oid == oid:
            return at - 1
        at = i.next
    return ABSENT


@kernel
def page_name(cpu, pfn, oid):
    """Let a frame be found by an object id that no other frame has."""
    head = Index(bucket_of(Cpu(cpu).kern, oid))
    i = Identity(identity_of(cpu, pfn))
    i.oid = oid
    i.next = head.value
    head.value = pfn + 1
    return OK


@kernel
def page_unname(cpu, pfn):
    """Let a frame be found no more."""
    i = Identity(identity_of(cpu, pfn))
    head = Index(bucket_of(Cpu(cpu).kern, i.oid))
    if head.value == pfn + 1:
        head.value = i.next
    else:
        before = Identity(identity_of(cpu, head.value - 1))
        while before.next != pfn + 1:
            before = Identity(identity_of(cpu, before.next - 1))
        before.next = i.next
    i.oid = 0
    i.next = 0
    return OK


# --- ghosts: which pages were here


@kernel
def _ghost_at(kern, oid):
    p = Pages(kern + PAGES)
    return p.ghosts + (((_mixed(oid) * p.ghost_count) >> 31) << 1)


@kernel
def _fingerprint(oid):
    """15 bits of an object id that its bucket does not tell, and 1 bit that is set."""
    return (_mixed(~oid) & 0xFFFE) | 1


@kernel
def ghost_remember(kern, oid):
    """Remember that a page was here; what its place remembered is forgotten."""
    Half(_ghost_at(kern, oid)).value = _fingerprint(oid)
    return OK


@kernel
def ghost_recall(kern, oid):
    """1 if a page was here of late; it is forgotten."""
    ghost = Half(_ghost_at(kern, oid))
    if ghost.value != _fingerprint(oid):
        return 0
    ghost.value = 0
    return 1


# --- the queues


@kernel
def queue_of(kern, queue):
    """VA of a queue."""
    return kern + PAGES + QUEUES + queue * QUEUE_BYTES


@kernel
def page_link(cpu, pfn):
    """Put a page in at the front of its queue: the last to be looked at."""
    f = Page(page_of(cpu, pfn))
    q = Queue(queue_of(Cpu(cpu).kern, f.queue))
    f.link = q.first
    Identity(identity_of(cpu, pfn)).prev = 0
    if q.first != 0:
        Identity(identity_of(cpu, q.first - 1)).prev = pfn + 1
    else:
        q.last = pfn + 1
    q.first = pfn + 1
    q.count = q.count + 1
    return OK


@kernel
def page_link_behind(cpu, pfn, before):
    """Put a page in behind the one at `before` (pfn + 1), which is looked at after it; 0: at the front."""
    if before == 0:
        return page_link(cpu, pfn)
    f = Page(page_of(cpu, pfn))
    q = Queue(queue_of(Cpu(cpu).kern, f.queue))
    ahead = Page(page_of(cpu, before - 1))
    f.link = ahead.link
    ahead.link = pfn + 1
    Identity(identity_of(cpu, pfn)).prev = before
    if f.link != 0:
        Identity(identity_of(cpu, f.link - 1)).prev = pfn + 1
    else:
        q.last = pfn + 1
    q.count = q.count + 1
    return OK


@kernel
def page_link_last(cpu, pfn):
    """Put a page in at the end of its queue: the next to be looked at."""
    q = Queue(queue_of(Cpu(cpu).kern, Page(page_of(cpu, pfn)).queue))
    return page_link_behind(cpu, pfn, q.last)


@kernel
def page_unlink(cpu, pfn):
    """Take a page out of its queue."""
    f = Page(page_of(cpu, pfn))
    i = Identity(identity_of(cpu, pfn))
    q = Queue(queue_of(Cpu(cpu).kern, f.queue))
    if f.link != 0:
        Identity(identity_of(cpu, f.link - 1)).prev = i.prev
    else:
        q.last = i.prev
    if i.prev != 0:
        Page(page_of(cpu, i.prev - 1)).link = f.link
    else:
        q.first = f.link
    q.count = q.count - 1
    f.link = 0
    i.prev = 0
    return OK


# --- states


@kernel
def holds_page(cpu, pfn):
    """1 if the frame of that number, which may be any number, is there and holds a page."""
    region = region_of(cpu, pfn)
    if region < 0:
        return 0
    if Region(region).area == 0:
        return 0
    f = Page(entry_of(cpu, region, pfn))
    return 1 if f.type == PAGE and f.state != EMPTY else 0


@kernel
def is_linked(state):
    """1 if pages in that state are in a queue."""
    return 1 if state == CLEAN or state == DIRTY or state == FAILED else 0


@kernel
def page_state(cpu, pfn, state):
    """The transition: the frame's page is in that state now; the caller links and unlinks it."""
    counts = Cpu(cpu).kern + PAGES + COUNTS
    f = Page(page_of(cpu, pfn))
    if f.state != EMPTY:
        old = Word(counts + (f.state << 3))
        old.bits = old.bits - 1
    if state != EMPTY:
        new = Word(counts + (state << 3))
        new.bits = new.bits + 1
    f.state = state
    return state


@kernel
def page_drop(cpu, pfn):
    """Give the frame of a page that is neither linked nor mapped back to the free list."""
    page_unname(cpu, pfn)
    page_state(cpu, pfn, EMPTY)
    f = Page(page_of(cpu, pfn))
    f.queue = 0
    f.uses = 0
    return give(cpu, region_of(cpu, pfn), pfn)


@kernel
def page_heir(cpu, old, new):
    """Let the frame `new`, of type PAGE and holding none, hold the page of frame `old` from now on: its name, its place in its
    queue, its state. `old` holds none then. What was copied and what is mapped is the caller's."""
    from_ = Page(page_of(cpu, old))
    oid = Identity(identity_of(cpu, old)).oid
    f = Page(page_of(cpu, new))
    f.queue = from_.queue
    f.uses = from_.uses
    f.depends = from_.depends
    state = from_.state
    before = Identity(identity_of(cpu, old)).prev
    page_unlink(cpu, old)
    page_unname(cpu, old)
    page_state(cpu, old, EMPTY)
    from_.queue = 0
    from_.uses = 0
    from_.depends = 0
    page_name(cpu, new, oid)
    page_state(cpu, new, state)
    return page_link_behind(cpu, new, before)


@kernel
def page_count(kern, state):
    """Pages in a state."""
    return Word(kern + PAGES + COUNTS + (state << 3)).bits


@kernel
def pages_bytes(frames):
    """Bytes of the hash and the ghosts for a machine with so many frames."""
    return _heads_bytes(frames) + (((frames >> FRAMES_PER_GHOST_SHIFT) + 1) << 1)


@kernel
def _heads_bytes(frames):
    return ((((frames >> FRAMES_PER_BUCKET_SHIFT) + 1) << 2) + 7) & ~7


@kernel
def pages_init(kern, at, frames):
    """Lay the hash and the ghosts out at `at`, in zeroed memory of `pages_bytes`."""
    p = Pages(kern + PAGES)
    p.heads = at
    p.buckets = (frames >> FRAMES_PER_BUCKET_SHIFT) + 1
    p.ghosts = at + _heads_bytes(frames)
    p.ghost_count = (frames >> FRAMES_PER_GHOST_SHIFT) + 1
    return OK
