"""Processes that touch pages, on processors with a clock, beside a source that takes its time.

Concepts
  1. A process chooses a page, reaches for it through its processor's TLB and tables, and, where that faults, calls the
     kernel. WOULD_BLOCK: it waits, and does the same again when the source has answered (E26). A touch is one tick.
  2. What a page holds follows from its object id and its version, the number of writes to it: write number v puts
     `number(oid, v)` into word v mod WORDS. Every read is held against that, and so can the whole page be, at any time.
  3. The source does `depth` requests at a time, `latency` ticks each, in the order in which they were asked; the loop stops
     where the next one is due, or something that is `planned`, for what happens then is not compiled.
  4. One thread may run all processors in turn, which is the same every time; or one thread each (`depth` is 0 then: the
     source answers when it does).

All addresses but a process's own are the host's.
"""

from kernmalloc.kernel.calls import umap_map
from kernmalloc.kernel.kern import Index, Word
from kernmalloc.kernel.source import SLOTS
from kernmalloc.lang import i64, kernel, record, shl, shr
from kernmalloc.lang.atomics import load_acquire32
from kernmalloc.lang.status import WOULD_BLOCK
from kernmalloc.machine.users import user_enter, user_leave, user_touch

TURN = 32  # touches of one process before it is another's turn
WORDS = 512  # of a page that are used
WHOLE = 1 << 16  # shares are in parts of this
NEVER = 1 << 62  # a tick
DONE = -1  # no tick


@record(size=624)
class World:
    """What all processors share."""

    phys: i64 = "physical address 0"
    users: i64 = "TLBs of the processors"
    arch: i64 = "format of page-table entries"
    page_shift: i64 = "log2 of the bytes in a page"
    processors: i64 = "array of processors"
    processor_count: i64 = "how many"
    ring: i64 = "the source's ring"
    versions: i64 = "array of u32: writes to each page, by object id"
    polls: i64 = "how often the source's answers have been acted on"
    planned: i64 = "tick of the next thing that is not compiled"
    latency: i64 = "ticks that a request takes"
    depth: i64 = "requests that are done at a time; 0: nobody keeps time"
    noted: i64 = "requests that have a time at which they are due"
    answered: i64 = "requests answered"
    due: i64 * SLOTS = "tick at which a request is due, by its number mod SLOTS"


@record(size=64)
class Processor:
    """One processor and its processes."""

    cpu: i64 = "VA of the kernel's record of it"
    number: i64 = "of its TLB"
    clock: i64 = "ticks"
    left: i64 = "touches still to be done"
    first: i64 = "array of its processes"
    count: i64 = "how many"
    at: i64 = "whose turn it is"
    wrong: i64 = "reads that did not find what was written"


@record(size=240)
class Process:
    """One process: its address space, how it chooses pages, and how it fared."""

    umap: i64 = "VA of its address space, for the kernel"
    root: i64 = "physical address of its root table"
    base: i64 = "its address of its first page"
    pages: i64 = "its own pages"
    oid: i64 = "object id of the first; the others follow"
    shared: i64 = "pages that follow in its address space, which it shares and only reads"
    shared_oid: i64 = "object id of the first of them"
    random: i64 = "state of its random numbers"
    cursor: i64 = "page that the scan has reached"
    round: i64 = "page that the loop has reached"
    length: i64 = "pages of the loop"
    zipf: i64 = "array of u32: pages as often as they are liked"
    zipf_mask: i64 = "its length - 1"
    to_shared: i64 = "of WHOLE: touches of shared pages; these three add up"
    to_zipf: i64 = "those and touches by the table"
    to_scan: i64 = "those and touches of the scan"
    to_loop: i64 = "those and touches of the loop; the rest is anywhere"
    writes: i64 = "of WHOLE: touches of its own pages that write"
    page: i64 = "page that it reaches for"
    write: i64 = "1: to write to it"
    waiting: i64 = "1: it could not be had yet"
    tried: i64 = "World.polls before that was last found"
    since: i64 = "clock when it was first found"
    touches: i64 = "touches done"
    faults: i64 = "of those, calls of the kernel"
    waits: i64 = "touches that had to wait"
    waited: i64 = "ticks, together"
    longest: i64 = "ticks, the longest"
    refused: i64 = "touches that the kernel refused for good"
    status: i64 = "the last such status"


DUE = World.offset("due")
PROCESSOR_BYTES = Processor.size
PROCESS_BYTES = Process.size


@kernel
def number(oid, version):
    """What write number `version` to a page leaves in its word."""
    x = oid * 0x1E3779B97F4A7C15 + version * 0x3F58476D1CE4E5B9
    x = (x ^ shr(x, 31)) * 0x14D049BB133111EB
    return x ^ shr(x, 29)


@kernel
def _random(process):
    """64 random bits (xorshift64*, Vigna 2016)."""
    p = Process(process)
    x = p.random
    x = x ^ shr(x, 12)
    x = x ^ shl(x, 25)
    x = x ^ shr(x, 27)
    p.random = x
    return x * 0x2545F4914F6CDD1D


@kernel
def _below(r, n):
    """The upper half of random bits as a number below n."""
    return (shr(r, 33) * n) >> 31


@kernel
def _choose(process):
    """The page of the next touch, and whether it writes."""
    p = Process(process)
    r = _random(process)
    kind = r & (WHOLE - 1)
    if kind < p.to_shared:
        p.page = p.pages + _below(r, p.shared)
        p.write = 0
        return p.page
    if kind < p.to_zipf:
        p.page = Index(p.zipf + ((shr(r, 16) & p.zipf_mask) << 2)).value
    elif kind < p.to_scan:
        p.page = p.cursor
        p.cursor = p.cursor + 1 if p.cursor + 1 < p.pages else 0
    elif kind < p.to_loop:
        p.page = p.round
        p.round = p.round + 1 if p.round + 1 < p.length else 0
    else:
        p.page = _below(r, p.pages)
    p.write = 1 if shr(_random(process), 48) < p.writes else 0
    return p.page


@kernel
def _due_at(w, request):
    """Address of the time at which a request is due."""
    return w + DUE + ((request & (SLOTS - 1)) << 3)


@kernel
def note_requests(world, now):
    """Say when the requests that were put in since are due."""
    w = World(world)
    if w.depth == 0:
        return 0
    asked = load_acquire32(w.ring)
    while w.noted & 0xFFFFFFFF != asked:
        begins = now
        if w.noted >= w.depth:
            begins = max(begins, Word(_due_at(world, w.noted - w.depth)).bits)
        Word(_due_at(world, w.noted)).bits = begins + w.latency
        w.noted = w.noted + 1
    return 0


@kernel
def due_by(world, now):
    """Requests that the source has had time for: they are taken to be answered."""
    w = World(world)
    count = 0
    while w.answered != w.noted and Word(_due_at(world, w.answered)).bits <= now:
        w.answered = w.answered + 1
        count += 1
    return count


@kernel
def _event(world):
    """Tick at which the loop has to stop."""
    w = World(world)
    if w.answered == w.noted:
        return w.planned
    return min(w.planned, Word(_due_at(world, w.answered)).bits)


@kernel
def _use(world, processor, process, at):
    """Read or write the page at host address `at`."""
    p = Process(process)
    oid = p.oid + p.page if p.page < p.pages else p.shared_oid + p.page - p.pages
    version = Index(World(world).versions + (oid << 2))
    if p.write != 0:
        v = version.value + 1
        version.value = v
        Word(at + ((v & (WORDS - 1)) << 3)).bits = number(oid, v)
        return 0
    v = version.value
    if Word(at + ((v & (WORDS - 1)) << 3)).bits != (number(oid, v) if v > 0 else 0):
        Processor(processor).wrong = Processor(processor).wrong + 1
    return 0


@kernel
def _reach(world, processor, process, va):
    """Touch the page at va if the processor reaches it: 1, or 0: a fault."""
    w = World(world)
    p = Process(process)
    cpu = Processor(processor).number
    user_enter(w.users, cpu)
    at = user_touch(w.users, cpu, w.arch, w.page_shift, w.phys, p.root, va, p.write)
    if at != 0:
        _use(world, processor, process, at)
    user_leave(w.users, cpu)
    return 1 if at != 0 else 0


@kernel
def _waits(process, now):
    """A touch cannot be done yet."""
    p = Process(process)
    if p.waiting == 0:
        p.waiting = 1
        p.since = now
        p.waits = p.waits + 1
    return 0


@kernel
def _done(process, now):
    """A touch is over."""
    p = Process(process)
    if p.waiting != 0:
        p.waiting = 0
        p.waited = p.waited + now - p.since
        p.longest = max(p.longest, now - p.since)
    p.touches = p.touches + 1
    return 1


@kernel
def _touch(world, processor, process):
    """The next touch of a process: 1 if it is done, 0 if the process waits."""
    w = World(world)
    pr = Processor(processor)
    p = Process(process)
    if p.waiting == 0:
        _choose(process)
    va = p.base + (p.page << w.page_shift)
    oid = p.oid + p.page if p.page < p.pages else p.shared_oid + p.page - p.pages
    while _reach(world, processor, process, va) == 0:
        p.faults = p.faults + 1 - p.waiting
        p.tried = w.polls
        status = umap_map(pr.cpu, p.umap, va, oid, p.write)
        note_requests(world, pr.clock)
        if status == WOULD_BLOCK:
            return _waits(process, pr.clock)
        if status < 0:
            p.refused = p.refused + 1
            p.status = status
            break
    return _done(process, pr.clock)


@kernel
def run_one(world, processor):
    """Run a processor's processes until its touches are done, all of them wait or something is due: how many it did."""
    w = World(world)
    pr = Processor(processor)
    before = pr.left
    idle = 0
    while pr.left > 0 and idle < pr.count and pr.clock < _event(world):
        process = pr.first + pr.at * PROCESS_BYTES
        turn = TURN
        if Process(process).waiting != 0 and Process(process).tried == w.polls:
            turn = 0
            idle += 1
        while turn > 0 and pr.left > 0 and pr.clock < _event(world):
            if _touch(world, processor, process) == 0:
                break
            idle = 0
            turn -= 1
            pr.left = pr.left - 1
            pr.clock = pr.clock + 1
        pr.at = pr.at + 1 if pr.at + 1 < pr.count else 0
    return before - pr.left


@kernel
def choose_all(process, into, count):
    """Put the pages of the next `count` touches into an array of u32, without touching them."""
    for i in range(count):
        Index(into + (i << 2)).value = _choose(process)
    return 0


@kernel
def run_all(world):
    """Run all processors in turn: the tick at which something is due, or NEVER, and who waits for it has waited that long;
    or DONE."""
    w = World(world)
    left = 0
    for i in range(w.processor_count):
        run_one(world, w.processors + i * PROCESSOR_BYTES)
        left += Processor(w.processors + i * PROCESSOR_BYTES).left
    if left == 0:
        return DONE
    event = _event(world)
    if event < NEVER:
        for i in range(w.processor_count):
            pr = Processor(w.processors + i * PROCESSOR_BYTES)
            pr.clock = max(pr.clock, event) if pr.left > 0 else pr.clock
    return event
