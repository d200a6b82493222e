"""Processes that touch pages, on processors with a clock, beside a source that takes its time.

Concepts
  1. A process chooses a page, reaches for it through its processor's TLB and tables, and, where that faults, calls the
     kernel. WOULD_BLOCK: it waits, and does the same again when the source has answered (E26). A touch is one tick.
  2. What a page holds follows from its object id and its version, the number of writes to it: write number v puts
     `number(oid, v)` into word v mod WORDS. Every read is held against that, and so can the whole page be, at any time.
  3. The source does `depth` requests at a time, `latency` ticks each, in the order in which they were asked. The loop
     stops at the tick at which one is due, or at which something is `planned`: what happens then is done in Python.
  4. One thread runs all processors in turn, and every run is like the last one; or each processor has a thread of its
     own, and the source answers when it does (`depth` is 0 then).

All addresses but a process's own are the host's.
"""

from __future__ import annotations

from kernmalloc.drivers.xorshift import xorshift
from kernmalloc.kernel.calls import umap_map
from kernmalloc.kernel.core.kern import Cpu, Index, Word
from kernmalloc.kernel.pages.source import ASKED, SLOTS, Ring
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import Record, array, element, failed, field, i64, inline, kernel, shr
from kernmalloc.lang.atomics import load_acquire32
from kernmalloc.lang.status import WOULD_BLOCK
from kernmalloc.machine.mmu import Format
from kernmalloc.machine.tlb import Core
from kernmalloc.machine.users import user_enter, user_leave, user_touch

TURN = 32  # touches of one process before it is another's turn
WORDS = 512  # of a page that are used
WHOLE = 1 << 16  # shares are in parts of this
NEVER = 1 << 62  # a tick
DONE = -1  # no tick


class World(Record):
    """What all processors share."""

    phys: i64 = field("physical address 0")
    users: Core = field("the first of the processors, as processes see them")
    format: Format = inline("the format of the page tables")
    processors: Processor = field("the first of its processors")
    processor_count: i64 = field("how many")
    ring: Ring = field("the source's ring")
    versions: Index = field("array: writes to each page, by object id")
    polls: i64 = field("how often the source's answers have been acted on")
    planned: i64 = field("tick of the next thing that is not compiled")
    latency: i64 = field("ticks that a request takes")
    depth: i64 = field("requests that are done at a time; 0: nobody keeps time")
    noted: i64 = field("requests that have a time at which they are due")
    answered: i64 = field("requests answered")
    due: Word = array(SLOTS, "tick at which a request is due, by its number mod SLOTS")


class Processor(Record):
    """One processor and its processes."""

    cpu: Cpu = field("the kernel's record of it")
    number: i64 = field("of its TLB")
    clock: i64 = field("ticks")
    left: i64 = field("touches still to be done")
    first: Process = field("the first of its processes")
    count: i64 = field("how many")
    at: i64 = field("whose turn it is")
    wrong: i64 = field("reads that did not find what was written")


class Process(Record):
    """One process: its address space, how it chooses pages, and how it fared."""

    umap: Umap = field("its address space")
    root: i64 = field("physical address of its root table")
    base: i64 = field("its address of its first page")
    pages: i64 = field("its own pages")
    oid: i64 = field("object id of the first; the others follow")
    shared: i64 = field("pages that follow in its address space, which it shares and only reads")
    shared_oid: i64 = field("object id of the first of them")
    random: i64 = field("state of its random numbers")
    cursor: i64 = field("page that the scan has reached")
    round: i64 = field("page that the loop has reached")
    length: i64 = field("pages of the loop")
    zipf: Index = field("array: pages as often as they are liked")
    zipf_mask: i64 = field("its length - 1")
    to_shared: i64 = field("of WHOLE: touches of shared pages; these three add up")
    to_zipf: i64 = field("those and touches by the table")
    to_scan: i64 = field("those and touches of the scan")
    to_loop: i64 = field("those and touches of the loop; the rest is anywhere")
    writes: i64 = field("of WHOLE: touches of its own pages that write")
    page: i64 = field("page that it reaches for")
    write: i64 = field("1: to write to it")
    waiting: i64 = field("1: it could not be had yet")
    tried: i64 = field("World.polls before that was last found")
    since: i64 = field("clock when it was first found")
    touches: i64 = field("touches done")
    faults: i64 = field("of those, calls of the kernel")
    waits: i64 = field("touches that had to wait")
    waited: i64 = field("ticks, together")
    longest: i64 = field("ticks, the longest")
    refused: i64 = field("touches that the kernel refused for good")
    status: i64 = field("the last such status")


@kernel
def number(oid: int, version: int) -> int:
    """What write number `version` to a page leaves in its word: no two writes leave one number."""
    return (oid << 32) | version


@kernel
def _random(process: Process) -> int:
    """64 random bits."""
    process.random = xorshift(process.random)
    return process.random


@kernel
def _below(bits: int, n: int) -> int:
    """A number below n, of the upper 31 of 64 random bits."""
    return (shr(bits, 33) * n) >> 31


@kernel
def _choose(process: Process) -> int:
    """The page of the next touch, and whether it writes."""
    bits = _random(process)
    kind = bits & (WHOLE - 1)
    if kind < process.to_shared:
        process.page = process.pages + _below(bits, process.shared)
        process.write = 0
        return process.page
    if kind < process.to_zipf:
        process.page = element(process.zipf, shr(bits, 16) & process.zipf_mask).value
    elif kind < process.to_scan:
        process.page = process.cursor
        process.cursor = process.cursor + 1 if process.cursor + 1 < process.pages else 0
    elif kind < process.to_loop:
        process.page = process.round
        process.round = process.round + 1 if process.round + 1 < process.length else 0
    else:
        process.page = _below(bits, process.pages)
    share = shr(_random(process), 48)
    process.write = 1 if share < process.writes else 0
    return process.page


@kernel
def _oid(process: Process) -> int:
    """Object id of the page that a process reaches for."""
    if process.page < process.pages:
        return process.oid + process.page
    return process.shared_oid + process.page - process.pages


@kernel
def _due_at(world: World, request: int) -> Word:
    """The time at which a request is due."""
    return element(world.due, request & (SLOTS - 1))


@kernel
def note_requests(world: World, now: int) -> int:
    """Say when the requests that were put in since are due."""
    if world.depth == 0:
        return 0
    asked = load_acquire32(world.ring.addr + ASKED)
    while world.noted & 0xFFFFFFFF != asked:
        begins = now
        if world.noted >= world.depth:
            begins = max(begins, _due_at(world, world.noted - world.depth).bits)
        _due_at(world, world.noted).bits = begins + world.latency
        world.noted = world.noted + 1
    return 0


@kernel
def due_by(world: World, now: int) -> int:
    """Requests that the source has had time for: they are taken to be answered."""
    count = 0
    while world.answered != world.noted and _due_at(world, world.answered).bits <= now:
        world.answered = world.answered + 1
        count += 1
    return count


@kernel
def _event(world: World) -> int:
    """Tick at which the loop has to stop."""
    if world.answered == world.noted:
        return world.planned
    return min(world.planned, _due_at(world, world.answered).bits)


@kernel
def _use(world: World, processor: Processor, process: Process, at: int) -> int:
    """Read or write the page at host address `at`: what its last write left, or the next write."""
    oid = _oid(process)
    version = element(world.versions, oid)
    if process.write != 0:
        next = version.value + 1
        version.value = next
        element(Word(at), next & (WORDS - 1)).bits = number(oid, next)
        return 0
    last = version.value
    if element(Word(at), last & (WORDS - 1)).bits != (number(oid, last) if last > 0 else 0):
        processor.wrong = processor.wrong + 1
    return 0


@kernel
def _reach(world: World, processor: Processor, process: Process, va: int) -> int:
    """Touch the page at va if the processor reaches it: 1, or 0: a fault."""
    number = processor.number
    user_enter(world.users, number)
    at = user_touch(world.format, world.users, number, world.phys, process.root, va, process.write)
    if at != 0:
        _use(world, processor, process, at)
    user_leave(world.users, number)
    return 1 if at != 0 else 0


@kernel
def _waits(process: Process, now: int) -> int:
    """A touch cannot be done yet."""
    if process.waiting == 0:
        process.waiting = 1
        process.since = now
        process.waits = process.waits + 1
    return 0


@kernel
def _done(process: Process, now: int) -> int:
    """A touch is over."""
    if process.waiting != 0:
        process.waiting = 0
        process.waited = process.waited + now - process.since
        process.longest = max(process.longest, now - process.since)
    process.touches = process.touches + 1
    return 1


@kernel
def _touch(world: World, processor: Processor, process: Process) -> int:
    """The next touch of a process: 1 if it is done, 0 if the process waits."""
    if process.waiting == 0:
        _choose(process)
    va = process.base + (process.page << world.format.page_shift)
    oid = _oid(process)
    while _reach(world, processor, process, va) == 0:
        process.faults = process.faults + 1 - process.waiting
        process.tried = world.polls
        status = umap_map(processor.cpu, process.umap, va, oid, process.write)
        note_requests(world, processor.clock)
        if status == WOULD_BLOCK:
            return _waits(process, processor.clock)
        if failed(status):
            process.refused = process.refused + 1
            process.status = status
            break
    return _done(process, processor.clock)


@kernel
def run_one(world: World, processor: Processor) -> int:
    """Run a processor's processes until its touches are done, all of them wait or something is due: how many it did."""
    before = processor.left
    idle = 0
    while processor.left > 0 and idle < processor.count and processor.clock < _event(world):
        process = element(processor.first, processor.at)
        turn = TURN
        if process.waiting != 0 and process.tried == world.polls:
            turn = 0
            idle += 1
        while turn > 0 and processor.left > 0 and processor.clock < _event(world):
            if _touch(world, processor, process) == 0:
                break
            idle = 0
            turn -= 1
            processor.left = processor.left - 1
            processor.clock = processor.clock + 1
        processor.at = processor.at + 1 if processor.at + 1 < processor.count else 0
    return before - processor.left


@kernel
def choose_all(process: Process, into: Index, count: int) -> int:
    """Put the pages of the next `count` touches into an array, without touching them."""
    for i in range(count):
        page = _choose(process)
        element(into, i).value = page
    return 0


@kernel
def run_all(world: World) -> int:
    """Run all processors in turn: the tick at which something is due, or NEVER, and who waits for it has waited that
    long; or DONE."""
    left = 0
    for i in range(world.processor_count):
        processor = element(world.processors, i)
        run_one(world, processor)
        left += processor.left
    if left == 0:
        return DONE
    event = _event(world)
    if event < NEVER:
        for i in range(world.processor_count):
            processor = element(world.processors, i)
            if processor.left > 0:
                processor.clock = max(processor.clock, event)
    return event
