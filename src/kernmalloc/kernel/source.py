"""The source: where pages come from and go to. The kernel asks; a driver in user mode does the I/O.

Concepts
  1. Requests and answers lie in a ring of one heap page that the kernel shares with the driver. Each side only adds to
     its own count and reads the other's; a request in flight has its place in the answers, so that neither side waits.
  2. The driver is not trusted: what the kernel acts on it keeps itself (`Pages.asked`, `seen`, the states of pages). An
     answer to what was not asked is counted as a lie and changes nothing.

    requests in flight = pages in state READING, WRITING or REWRITTEN <= SLOTS
"""

from kernmalloc.kernel.depends import depends_protect
from kernmalloc.kernel.frames import Page
from kernmalloc.kernel.heap import free, malloc_zeroed
from kernmalloc.kernel.kern import CLEAN, DIRTY, FAILED, READING, REWRITTEN, WRITING, Cpu, Kern, Pages
from kernmalloc.kernel.pages import (
    PAGES,
    Identity,
    holds_page,
    identity_of,
    page_count,
    page_link,
    page_link_last,
    page_of,
    page_state,
)
from kernmalloc.kernel.regions import Region
from kernmalloc.lang import i64, kernel, record, u32
from kernmalloc.lang.atomics import load_acquire32, store_release32
from kernmalloc.lang.status import BUSY, LIMIT, NO_SOURCE, OK

SLOTS = 64
FARTHEST = 1 << 32  # links of pages are pfn + 1 in 32 bits: 16 TiB
SLOT_SHIFT = 4
READ = 0
WRITE = 1


@record(size=64)
class Ring:
    """The counts at the start of the shared page; SLOTS requests follow them, and SLOTS answers."""

    asked: u32 = "requests that the kernel has put in"
    answered: u32 = "answers that the driver has put in"
    spare: i64 * 7 = "up to a cache line"


@record(size=16)
class Request:
    """What the driver is asked for, in slot number `asked` mod SLOTS."""

    oid: i64 = "which page"
    frame: i64 = "pfn * 2, plus 1 if it is to be written back"


@record(size=16)
class Answer:
    """What became of a request, in slot number `answered` mod SLOTS."""

    frame: i64 = "that of the request"
    status: i64 = "0, or negative: it could not be done"


RING_BYTES = Ring.size
ANSWERED = Ring.offset("answered")


@kernel
def source_open(cpu):
    """Make the ring: its VA. BUSY: it is open. LIMIT: RAM has frames that links cannot name. As `malloc_zeroed`."""
    k = Kern(Cpu(cpu).kern)
    p = Pages(k.addr + PAGES)
    if p.source != 0:
        return BUSY
    at = k.ram
    while at != 0:
        if Region(at).base + Region(at).count >= FARTHEST:
            return LIMIT
        at = Region(at).next
    ring = malloc_zeroed(cpu, 1 << k.page_shift)
    if ring < 0:
        return ring
    p.source = ring
    p.asked = 0
    p.seen = 0
    return ring


@kernel
def source_close(cpu):
    """Give the ring back. NO_SOURCE; BUSY: requests are in flight."""
    kern = Cpu(cpu).kern
    p = Pages(kern + PAGES)
    if p.source == 0:
        return NO_SOURCE
    if in_flight(kern) > 0:
        return BUSY
    free(cpu, p.source)
    p.source = 0
    return OK


@kernel
def in_flight(kern):
    """Requests that have not been answered."""
    return page_count(kern, READING) + page_count(kern, WRITING) + page_count(kern, REWRITTEN)


@kernel
def ring_room(kern):
    """Requests that can still be put in; 0 if no source is open."""
    return SLOTS - in_flight(kern) if Pages(kern + PAGES).source != 0 else 0


@kernel
def request(cpu, pfn, what):
    """Ask the source to read or write the page in a frame; there is room."""
    p = Pages(Cpu(cpu).kern + PAGES)
    r = Request(p.source + RING_BYTES + ((p.asked & (SLOTS - 1)) << SLOT_SHIFT))
    r.oid = Identity(identity_of(cpu, pfn)).oid
    r.frame = (pfn << 1) + what
    p.asked = p.asked + 1
    return store_release32(p.source, p.asked)


@kernel
def write_back(cpu, pfn):
    """Ask the source to write a DIRTY page back; there is room, and the page is in no queue."""
    depends_protect(cpu, pfn)
    page_state(cpu, pfn, WRITING)
    return request(cpu, pfn, WRITE)


@kernel
def _read(cpu, pfn, status):
    """A page was read, or could not be."""
    p = Pages(Cpu(cpu).kern + PAGES)
    p.reads = p.reads + 1
    page_state(cpu, pfn, CLEAN if status >= 0 else FAILED)
    return page_link(cpu, pfn)


@kernel
def _written(cpu, pfn, status):
    """A page was written back, or could not be. One that is clean now is the next to go."""
    p = Pages(Cpu(cpu).kern + PAGES)
    p.writes = p.writes + 1
    if Page(page_of(cpu, pfn)).state == WRITING and status >= 0:
        page_state(cpu, pfn, CLEAN)
        return page_link_last(cpu, pfn)
    page_state(cpu, pfn, DIRTY)
    return page_link(cpu, pfn)


@kernel
def _answer(cpu, frame, status):
    """Act on an answer: 1, or 0 if nothing of the kind was asked."""
    pfn = frame >> 1
    if holds_page(cpu, pfn) == 0:
        return 0
    f = Page(page_of(cpu, pfn))
    if frame & 1 == READ and f.state == READING:
        _read(cpu, pfn, status)
        return 1
    if frame & 1 == WRITE and (f.state == WRITING or f.state == REWRITTEN):
        _written(cpu, pfn, status)
        return 1
    return 0


@kernel
def source_poll(cpu):
    """Act on the answers that have come: how many. NO_SOURCE."""
    p = Pages(Cpu(cpu).kern + PAGES)
    if p.source == 0:
        return NO_SOURCE
    done = 0
    for _ in range(SLOTS):
        if p.seen & 0xFFFFFFFF == load_acquire32(p.source + ANSWERED):
            break
        a = Answer(p.source + RING_BYTES + ((SLOTS + (p.seen & (SLOTS - 1))) << SLOT_SHIFT))
        if _answer(cpu, a.frame, a.status) == 0:
            p.lies = p.lies + 1
        else:
            done += 1
        p.seen = p.seen + 1
    return done
