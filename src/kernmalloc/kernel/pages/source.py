"""The source: where pages come from and go to. The kernel asks; a driver in user mode does the I/O.

Concepts
  1. Requests and answers lie in a ring: one heap page that the kernel shares with the driver. Each side adds to its own
     count and reads that of the other. Every request that is not answered has a place for its answer, so that neither
     side waits for the other.
  2. The driver is not trusted. The kernel acts on what it keeps itself: `Pages.asked`, `Pages.seen`, the states of
     pages. An answer to what was not asked is counted as a lie and changes nothing.

    requests in flight = pages in state READING, WRITING or REWRITTEN <= SLOTS
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import CLEAN, DIRTY, FAILED, LINKS, READING, REWRITTEN, WRITING, Cpu, Kern
from kernmalloc.kernel.core.modes import has_pages
from kernmalloc.kernel.heap.malloc import own_free, own_zeroed
from kernmalloc.kernel.pages.depends import depends_protect
from kernmalloc.kernel.pages.pages import (
    entry_at,
    holds_page,
    identity_of,
    page_count,
    page_link,
    page_link_last,
    page_state,
)
from kernmalloc.lang import Record, array, element, failed, field, i64, kernel, u32
from kernmalloc.lang.atomics import load_acquire32, store_release32
from kernmalloc.lang.status import BUSY, LIMIT, NO_PAGES, NO_SOURCE, OK

SLOTS = 64
READ = 0
WRITE = 1


class Request(Record):
    """What the driver is asked for."""

    oid: i64 = field("which page")
    frame: i64 = field("pfn * 2, plus 1 if it is to be written back")


class Answer(Record):
    """What became of a request."""

    frame: i64 = field("that of the request")
    status: i64 = field("0, or negative: it could not be done")


class Ring(Record):
    """What the kernel and the driver share."""

    asked: u32 = field("requests that the kernel has put in")
    answered: u32 = field("answers that the driver has put in")
    requests: Request = array(SLOTS, "by their number mod SLOTS", align=64)
    answers: Answer = array(SLOTS, "by their number mod SLOTS")


ASKED = Ring.offset("asked")
ANSWERED = Ring.offset("answered")


@kernel
def source_open(cpu: Cpu) -> int:
    """Make the ring that the kernel shares with a source of pages: its VA.

    NO_PAGES: there is no page cache. BUSY: it is open. LIMIT: RAM has frames that links cannot name. Else a status of
    `malloc`.
    """
    kern = cpu.kern
    pages = kern.pages
    if has_pages(kern) == 0:
        return NO_PAGES
    if pages.source != 0:
        return BUSY
    region = kern.ram
    while region != 0:
        if region.base + region.count >= LINKS:
            return LIMIT
        region = region.next
    ring = own_zeroed(cpu, 1 << kern.page_shift)
    if failed(ring):
        return ring
    pages.source = Ring(ring)
    pages.asked = 0
    pages.seen = 0
    pages.lies = 0
    return ring


@kernel
def source_close(cpu: Cpu) -> int:
    """Give the source's ring back: OK. NO_SOURCE: none is open. BUSY: requests are in flight."""
    kern = cpu.kern
    pages = kern.pages
    if pages.source == 0:
        return NO_SOURCE
    if in_flight(kern) > 0:
        return BUSY
    own_free(cpu, pages.source.addr)
    pages.source = Ring(0)
    return OK


@kernel
def in_flight(kern: Kern) -> int:
    """Requests that have not been answered."""
    return page_count(kern, READING) + page_count(kern, WRITING) + page_count(kern, REWRITTEN)


@kernel
def ring_room(kern: Kern) -> int:
    """Requests that can still be put in; 0 if no source is open."""
    return SLOTS - in_flight(kern) if kern.pages.source != 0 else 0


@kernel
def request(cpu: Cpu, pfn: int, what: int) -> int:
    """Ask the source to read or write the page in a frame; there is room."""
    pages = cpu.kern.pages
    asked = element(pages.source.requests, pages.asked & (SLOTS - 1))
    asked.oid = identity_of(cpu, pfn).oid
    asked.frame = (pfn << 1) + what
    pages.asked = pages.asked + 1
    return store_release32(pages.source.addr + ASKED, pages.asked)


@kernel
def write_back(cpu: Cpu, pfn: int) -> int:
    """Ask the source to write a DIRTY page back; there is room, and the page is in no queue."""
    depends_protect(cpu, pfn)
    page_state(cpu, pfn, WRITING)
    return request(cpu, pfn, WRITE)


@kernel
def _read(cpu: Cpu, pfn: int, status: int) -> int:
    """A page was read, or could not be: the driver's status is 0 or any negative number."""
    pages = cpu.kern.pages
    pages.reads = pages.reads + 1
    page_state(cpu, pfn, CLEAN if status >= 0 else FAILED)
    return page_link(cpu, pfn)


@kernel
def _written(cpu: Cpu, pfn: int, status: int) -> int:
    """A page was written back, or could not be. One that is clean now is the next to go."""
    pages = cpu.kern.pages
    pages.writes = pages.writes + 1
    if entry_at(cpu, pfn).state == WRITING and status >= 0:
        page_state(cpu, pfn, CLEAN)
        return page_link_last(cpu, pfn)
    page_state(cpu, pfn, DIRTY)
    return page_link(cpu, pfn)


@kernel
def _answer(cpu: Cpu, frame: int, status: int) -> int:
    """Act on an answer: 1, or 0 if this was not asked for."""
    pfn = frame >> 1
    if holds_page(cpu, pfn) == 0:
        return 0
    state = entry_at(cpu, pfn).state
    if frame & 1 == READ and state == READING:
        _read(cpu, pfn, status)
        return 1
    if frame & 1 == WRITE and (state == WRITING or state == REWRITTEN):
        _written(cpu, pfn, status)
        return 1
    return 0


@kernel
def source_poll(cpu: Cpu) -> int:
    """Act on the answers that the source has given: how many. NO_SOURCE: none is open."""
    pages = cpu.kern.pages
    if pages.source == 0:
        return NO_SOURCE
    done = 0
    for _ in range(SLOTS):
        answered = load_acquire32(pages.source.addr + ANSWERED)
        if pages.seen & 0xFFFFFFFF == answered:
            break
        answer = element(pages.source.answers, pages.seen & (SLOTS - 1))
        if _answer(cpu, answer.frame, answer.status) == 0:
            pages.lies = pages.lies + 1
        else:
            done += 1
        pages.seen = pages.seen + 1
    return done
