"""Recount of the threads: who there is, who waits, in which order, for what, and whether it is there already.

As in `recount`: what lies behind a pointer is looked at only after the pointer has been found to be one.
"""

from kernmalloc.kernel.caches import THREAD_CACHE, is_object
from kernmalloc.kernel.kern import Cpu, Kern, Stalls, Tally
from kernmalloc.kernel.slabs import cpu_at
from kernmalloc.kernel.source import ring_room
from kernmalloc.kernel.stalls import being_read
from kernmalloc.kernel.threads import STALLED, STALLS, Thread, listed
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK


@kernel
def _wrong(cpu, record, before, back):
    """1 if there is no thread at `record`, or if its pointer back does not lead to the one before."""
    if is_object(cpu, THREAD_CACHE, record) == 0:
        return 1
    t = Thread(record)
    return 1 if (t.prev if back != 0 else t.before) != before else 0


@kernel
def _is_overdue(cpu, thread, spare):
    """1 if a thread is stalled though what it lacks is there; `spare` are the frames that are there for it."""
    t = Thread(thread)
    if t.state != STALLED:
        return 0
    if t.need > 0:
        return 1 if t.need <= spare else 0
    if t.need < 0:
        return 1 - being_read(cpu, ~t.need)
    return 1 if ring_room(Cpu(cpu).kern) > 0 else 0


@kernel
def count_waiting(cpu, tally):
    """Follow the queue: how many, what they are owed, the order of their tickets, and who is overdue."""
    k = Kern(Cpu(cpu).kern)
    s = Stalls(k.addr + STALLS)
    n = Tally(tally)
    before = 0
    ticket = 0
    at = s.first
    while at != 0 and n.wait_errors == 0:
        n.wait_errors = _wrong(cpu, at, before, 1)
        if n.wait_errors == 0:
            t = Thread(at)
            n.wait_errors = 1 if t.ticket <= ticket else 0
            n.waiting = n.waiting + 1
            n.owed = n.owed + t.owed
            ticket = t.ticket
            before = at
            at = t.next
    n.wait_errors = 1 if s.last != before or ticket > s.tickets else n.wait_errors
    return OK


@kernel
def count_overdue(cpu, tally):
    """Who is stalled though what it lacks is there; the queue is as it should be."""
    k = Kern(Cpu(cpu).kern)
    s = Stalls(k.addr + STALLS)
    n = Tally(tally)
    short = 0
    at = s.first
    while at != 0:
        t = Thread(at)
        free = listed(k.addr) - s.owed
        spare = 0 if short != 0 else free - s.reserve
        if t.cleaner != 0:
            spare = min(free, s.reserve) if short != 0 else free
        n.overdue = n.overdue + _is_overdue(cpu, at, spare)
        if t.need > t.owed:
            short = 1
        at = t.next
    return OK


@kernel
def count_running(cpu, tally):
    """Look at what the processor runs: a thread, or nobody; and the reserve is for cleaners."""
    n = Tally(tally)
    c = Cpu(cpu)
    reserve = 0
    if c.thread != 0:
        if is_object(cpu, THREAD_CACHE, c.thread) == 0:
            n.run_errors = n.run_errors + 1
            return OK
        if Thread(c.thread).cleaner != 0:
            reserve = Stalls(c.kern + STALLS).reserve
        if Thread(c.thread).processor != c.id + 1:
            n.run_errors = n.run_errors + 1
    if c.reserve != reserve:
        n.run_errors = n.run_errors + 1
    return OK


@kernel
def next_thread(cpu, tally, before, at):
    """Count the thread at `at`, made before `before`: its VA, or 0 where there is none; then Tally.wait_errors says if that is
    wrong."""
    n = Tally(tally)
    if at == 0 or n.wait_errors != 0:
        return 0
    n.wait_errors = _wrong(cpu, at, before, 0)
    if n.wait_errors != 0:
        return 0
    n.threads = n.threads + 1
    n.ticketed = n.ticketed + (1 if Thread(at).ticket != 0 else 0)
    n.run_by = 0
    for number in range(Kern(Cpu(cpu).kern).cpu_count):
        n.run_by = number + 1 if Cpu(cpu_at(Cpu(cpu).kern, number)).thread == at else n.run_by
    return at
