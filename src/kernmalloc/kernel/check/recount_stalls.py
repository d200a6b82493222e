"""Recount of the threads: who there is, who waits, in which order, for what, and whether it is there already.

What a reference leads to is looked at only after that has been found to be a thread.
"""

from __future__ import annotations

from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import Cpu
from kernmalloc.kernel.frames.claims import STALLED, Thread, listed
from kernmalloc.kernel.heap.caches import THREAD_CACHE, is_object
from kernmalloc.kernel.heap.slabs import cpu_at
from kernmalloc.kernel.pages.source import ring_room
from kernmalloc.kernel.stalls import being_read
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK


@kernel
def _is_thread(cpu: Cpu, thread: Thread) -> int:
    """1 if a reference leads to a thread."""
    return is_object(cpu, THREAD_CACHE, thread.addr)


@kernel
def _is_overdue(cpu: Cpu, thread: Thread, there: int) -> int:
    """1 if a thread is stalled though what it lacks is there, of which `there` are frames."""
    if thread.state != STALLED:
        return 0
    if thread.need > 0:
        return 1 if thread.need <= there else 0
    if thread.need < 0:
        return 1 - being_read(cpu, ~thread.need)
    return 1 if ring_room(cpu.kern) > 0 else 0


@kernel
def count_waiting(cpu: Cpu, tally: Tally) -> int:
    """Recount the queue: how many wait, what they are owed, and whether their tickets are in order."""
    stalls = cpu.kern.stalls
    before = Thread(0)
    ticket = 0
    at = stalls.first
    while at != 0 and tally.wait_errors == 0:
        tally.wait_errors = 1
        if _is_thread(cpu, at) != 0:
            tally.wait_errors = 0 if at.prev == before and at.ticket > ticket else 1
            tally.waiting = tally.waiting + 1
            tally.owed = tally.owed + at.owed
            ticket = at.ticket
            before = at
            at = at.next
    tally.wait_errors = 1 if stalls.last != before or ticket > stalls.tickets else tally.wait_errors
    return OK


@kernel
def count_overdue(cpu: Cpu, tally: Tally) -> int:
    """Count who is stalled though what it lacks is there. The queue was found to be as it should be."""
    kern = cpu.kern
    stalls = kern.stalls
    short = 0
    at = stalls.first
    while at != 0:
        free = listed(kern) - stalls.owed
        there = 0 if short != 0 else free - stalls.reserve
        if at.cleaner != 0:
            there = min(free, stalls.reserve) if short != 0 else free
        overdue = _is_overdue(cpu, at, there)
        tally.overdue = tally.overdue + overdue
        if at.need > at.owed:
            short = 1
        at = at.next
    return OK


@kernel
def count_running(cpu: Cpu, tally: Tally) -> int:
    """Recount what a processor runs, which is a thread or nobody, and whether only a cleaner may take the reserve."""
    reserve = 0
    if cpu.thread != 0:
        if _is_thread(cpu, cpu.thread) == 0:
            tally.run_errors = tally.run_errors + 1
            return OK
        if cpu.thread.cleaner != 0:
            reserve = cpu.kern.stalls.reserve
        if cpu.thread.processor != cpu.id + 1:
            tally.run_errors = tally.run_errors + 1
    if cpu.reserve != reserve:
        tally.run_errors = tally.run_errors + 1
    return OK


@kernel
def next_thread(cpu: Cpu, tally: Tally, before: Thread, thread: Thread) -> Thread:
    """Count a thread that was made before the thread `before`: itself; null if there is none, or an error."""
    if thread == 0 or tally.wait_errors != 0:
        return Thread(0)
    tally.wait_errors = 1
    if _is_thread(cpu, thread) != 0:
        tally.wait_errors = 0 if thread.before == before else 1
    if tally.wait_errors != 0:
        return Thread(0)
    tally.threads = tally.threads + 1
    tally.ticketed = tally.ticketed + (1 if thread.ticket != 0 else 0)
    tally.run_by = 0
    for number in range(cpu.kern.cpu_count):
        tally.run_by = number + 1 if cpu_at(cpu.kern, number).thread == thread else tally.run_by
    return thread
