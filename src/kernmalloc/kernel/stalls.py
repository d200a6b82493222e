"""Stalls: calls that must wait, and what ends their wait (E26).

Concepts
  1. A call that cannot be served is abandoned, and its thread stalls (as in EROS). When what the call lacked is
     there, the thread does the whole call again. The kernel keeps nothing of the call but what it lacked:
     `Thread.need`.
  2. While threads wait, every call ends by serving them in order. Frames that are free are set aside for who lacks
     frames. Who waits for a page is woken when it has been read, and who waits for the source when its ring has room.
     The kernel looks at what is there, and remembers no event: so no wake-up is lost.
  3. After a call that may have brought frames, more are reclaimed for whoever is next. After a call that may have
     brought heap memory all who lack frames try again, in order, for it may do in their place; who fails keeps his
     ticket.
  4. What was set aside for a thread is free again when its call is through, whatever it took, or when the thread
     gives up, is late or goes. The next ones are served from it.
  5. A wait that nothing could ever end is refused: DEADLOCK. That is so when all threads wait, cleaners among them.

        RUNNABLE -> STALLED    its call must wait                     READY -> RUNNABLE   it is run, its call is through
        STALLED  -> READY      what it lacked is there, or may be     READY -> STALLED    the call must still wait
        STALLED  -> LATE       its time is up                         LATE  -> RUNNABLE   it is run, and told

Cost: nothing while nobody waits; else a walk of the queue per call.

Limits: frames are set aside for a thread, room in the ring is not.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, READING, REWRITTEN, WRITING, Cpu, Kern
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.kernel.core.locks import gate_shut
from kernmalloc.kernel.frames.claims import (
    LATE,
    READY,
    RUNNABLE,
    STALLED,
    Thread,
    claimed,
    could_come,
    is_short,
    listed,
    owe,
    queue_join,
    queue_leave,
    short,
    unclaimed,
)
from kernmalloc.kernel.frames.stock import stock_drain
from kernmalloc.kernel.heap.caches import THREAD_CACHE, is_object
from kernmalloc.kernel.heap.magazines import slot_take
from kernmalloc.kernel.heap.malloc import own_free
from kernmalloc.kernel.heap.notes import slots_open
from kernmalloc.kernel.heap.slabs import cpu_at
from kernmalloc.kernel.pages.pages import entry_at, page_count, page_find
from kernmalloc.kernel.pages.reclaim import reclaim
from kernmalloc.kernel.pages.source import ring_room, source_poll
from kernmalloc.lang import failed, kernel
from kernmalloc.lang.status import BAD_ADDRESS, BUSY, DEADLOCK, NO_FRAMES, NOT_ALLOCATED, OK, TIMED_OUT, WOULD_BLOCK
from kernmalloc.machine.primitives import zero

# --- serving those that wait


@kernel
def _reserve_of(kern: Kern, thread: Thread) -> int:
    """Frames of the reserve that a thread may take."""
    return kern.stalls.reserve if thread.cleaner != 0 else 0


@kernel
def being_read(cpu: Cpu, oid: int) -> int:
    """1 if the page of an object id is being read."""
    pfn = page_find(cpu, oid)
    if pfn == ABSENT:
        return 0
    return 1 if entry_at(cpu, pfn).state == READING else 0


@kernel
def _serve(cpu: Cpu) -> int:
    """Wake the threads, in order, for which what they lack is there. This processor's stock is for them, too."""
    kern = cpu.kern
    if is_short(kern) != 0:
        stock_drain(cpu)
    room = ring_room(kern)
    behind = 0
    at = kern.stalls.first
    while at != 0:
        if at.state == STALLED:
            if at.need > 0:
                if unclaimed(kern, _reserve_of(kern, at), behind) >= at.need:
                    owe(kern, at, at.need)
                    at.state = READY
                elif at.need > could_come(kern, _reserve_of(kern, at)):
                    at.state = READY  # to be told so
            elif at.need < 0:
                at.state = STALLED if being_read(cpu, ~at.need) != 0 else READY
            elif room > 0:
                at.state = READY
        behind = 1 if at.need > at.owed else behind
        at = at.next
    stalls = kern.stalls
    now = is_short(kern)
    if now != stalls.short:
        stalls.short = now
        for number in range(kern.cpu_count if now != 0 else 0):
            gate_shut(cpu_at(kern, number))
        slots_open(cpu)
    return OK


@kernel
def _first_short(kern: Kern) -> Thread:
    """The first thread in the queue that is stalled for want of frames; null if there is none."""
    at = kern.stalls.first
    while at != 0:
        if at.state == STALLED and at.need > 0:
            return at
        at = at.next
    return at


@kernel
def _reclaim_for_next(cpu: Cpu) -> int:
    """Reclaim frames for those who are stalled for want of them, in order, as far as that goes without waiting."""
    kern = cpu.kern
    thread = _first_short(kern)
    while thread != 0:
        lacks = thread.need - unclaimed(kern, _reserve_of(kern, thread), claimed(kern, thread))
        if claimed(kern, thread) != 0 or failed(reclaim(cpu, listed(kern) + lacks)):
            return OK
        _serve(cpu)
        thread = _first_short(kern)
    return OK


@kernel
def _all_wait(kern: Kern) -> int:
    """1 if all threads are stalled, and cleaners among them."""
    stalled = 0
    cleaners = 0
    at = kern.stalls.first
    while at != 0:
        if at.state == STALLED:
            stalled += 1
            cleaners += at.cleaner
        at = at.next
    return 1 if stalled == kern.stalls.count and cleaners > 0 else 0


@kernel
def _stall(cpu: Cpu) -> int:
    """Let the thread that runs wait: WOULD_BLOCK, and nobody runs; DEADLOCK, and it runs on."""
    stalls = cpu.kern.stalls
    thread = cpu.thread
    if thread.ticket == 0:
        queue_join(cpu.kern, thread)
    owe(cpu.kern, thread, 0)
    thread.need = cpu.kern.wanted
    thread.state = STALLED
    thread.processor = 0
    _serve(cpu)
    if _all_wait(cpu.kern) != 0:
        source_poll(cpu)  # a driver may have answered before it called
        _serve(cpu)
        _reclaim_for_next(cpu)
    if _all_wait(cpu.kern) != 0:
        queue_leave(cpu.kern, thread)
        thread.processor = cpu.id + 1
        _serve(cpu)
        return DEADLOCK
    stalls.stalled = stalls.stalled + 1
    cpu.thread = Thread(0)
    cpu.reserve = 0
    return WOULD_BLOCK


# --- the end of every call


@kernel
def quiet(cpu: Cpu) -> int:
    """1 if nobody waits, and the reserve is neither in use nor open to the thread that runs here."""
    return 1 if short(cpu.kern) == 0 and cpu.reserve == 0 else 0


@kernel
def settled(cpu: Cpu, result: int) -> int:
    """The end of a call that was refused, or that ends while threads wait: what it says.

    Where frames are to come, or a thread can wait for them, NO_FRAMES becomes WOULD_BLOCK. A thread whose call says
    WOULD_BLOCK stalls. Then those that wait are served."""
    kern = cpu.kern
    status = result
    if result == NO_FRAMES and kern.wanted > 0 and kern.wanted <= could_come(kern, cpu.reserve):
        coming = page_count(kern, WRITING) + page_count(kern, REWRITTEN) + kern.stalls.waiting
        status = WOULD_BLOCK if coming > 0 or cpu.thread != 0 else NO_FRAMES
    if cpu.thread != 0:
        if status == WOULD_BLOCK:
            status = _stall(cpu)
        elif cpu.thread.ticket != 0:
            queue_leave(kern, cpu.thread)
    kern.wanted = kern.wanted if status == DEADLOCK else 0  # what the thread would have waited for stays, to be told
    if quiet(cpu) == 0:
        _serve(cpu)
    return status


@kernel
def frames_came(cpu: Cpu, result: int) -> int:
    """`settled` after a call that may have freed frames, or made pages clean: more are reclaimed for those that
    wait."""
    status = settled(cpu, result)
    _reclaim_for_next(cpu)
    return status


@kernel
def _try_again(cpu: Cpu) -> int:
    """Wake all who lack frames."""
    at = cpu.kern.stalls.first
    while at != 0:
        if at.state == STALLED and at.need > 0:
            at.state = READY
        at = at.next
    return OK


@kernel
def memory_came(cpu: Cpu, result: int) -> int:
    """`frames_came` after a call that may have freed heap memory: all who lack frames may try again."""
    status = frames_came(cpu, result)
    if not failed(status):
        _try_again(cpu)
    return status


@kernel
def served(cpu: Cpu, result: int) -> int:
    """The end of a call about threads: those that wait are served, but the thread that runs keeps its ticket, for it
    has not done its own call again."""
    _serve(cpu)
    _reclaim_for_next(cpu)
    return result


# --- threads

thread_link, thread_unlink = linked_list(
    "thread",
    "a thread",
    "stalls: Stalls",
    kind="Thread",
    first="stalls.threads",
    next="{}.after",
    prev="{}.before",
    namespace=globals(),
)


@kernel
def _is_thread(cpu: Cpu, thread: Thread) -> int:
    return is_object(cpu, THREAD_CACHE, thread.addr)


@kernel
def thread_make(cpu: Cpu, cleaner: int) -> int:
    """Make a thread, which is what can wait: its VA, or a status of `malloc`.

    `cleaner` is 1 for a thread of a driver that writes pages back, else 0.
    """
    thread = slot_take(cpu, THREAD_CACHE)
    if failed(thread):
        return thread
    zero(thread, Thread.size)
    stalls = cpu.kern.stalls
    t = Thread(thread)
    t.cleaner = 1 if cleaner != 0 else 0
    thread_link(stalls, t, Thread(0))
    stalls.count = stalls.count + 1
    stalls.made = stalls.made + 1
    t.number = stalls.made
    return thread


@kernel
def _elsewhere(cpu: Cpu, thread: Thread) -> int:
    """1 if another processor runs a thread."""
    at = thread.processor
    return 1 if at != 0 and at != cpu.id + 1 else 0


@kernel
def _put_down(cpu: Cpu) -> int:
    """Run nobody. A thread that has not done its call again yet is to do so when it is run next."""
    thread = cpu.thread
    if thread != 0:
        thread.processor = 0
        thread.state = READY if thread.ticket != 0 else RUNNABLE
    cpu.thread = Thread(0)
    cpu.reserve = 0
    return OK


@kernel
def thread_run(cpu: Cpu, thread: Thread) -> int:
    """Let this processor run `thread` from now on, or nobody if it is 0: OK.

    TIMED_OUT: it runs, but waited for too long, and its call has failed. BAD_ADDRESS: there is no such thread. BUSY: it
    is stalled, or runs on another processor.
    """
    if thread != 0 and _is_thread(cpu, thread) == 0:
        return BAD_ADDRESS
    if thread != 0:
        if thread.state == STALLED or _elsewhere(cpu, thread) != 0:
            return BUSY
    _put_down(cpu)
    if thread == 0:
        return OK
    status = TIMED_OUT if thread.state == LATE else OK
    if thread.state == LATE:
        queue_leave(cpu.kern, thread)
    thread.state = RUNNABLE
    thread.processor = cpu.id + 1
    cpu.thread = thread
    cpu.reserve = _reserve_of(cpu.kern, thread)
    return status


@kernel
def thread_next(cpu: Cpu) -> int:
    """The woken thread that is to run next: its VA, 0 if there is none.

    DEADLOCK: all threads wait, and nothing could ever wake one.
    """
    kern = cpu.kern
    at = kern.stalls.first
    while at != 0:
        if at.state == READY or at.state == LATE:
            return at.addr
        at = at.next
    return DEADLOCK if _all_wait(kern) != 0 else 0


@kernel
def thread_limit(cpu: Cpu, thread: Thread, until: int) -> int:
    """Let a thread wait until time `until` at most, by the clock of `tick`; 0: for ever. OK.

    BAD_ADDRESS: there is no such thread, or until is negative.
    """
    if _is_thread(cpu, thread) == 0 or until < 0:
        return BAD_ADDRESS
    thread.until = until
    return OK


@kernel
def thread_cancel(cpu: Cpu, thread: Thread) -> int:
    """Let a thread give up the call that it waits for: OK.

    BAD_ADDRESS: there is no such thread. NOT_ALLOCATED: it waits for none. BUSY: it does its call again, on another
    processor.
    """
    if _is_thread(cpu, thread) == 0:
        return BAD_ADDRESS
    if thread.ticket == 0:
        return NOT_ALLOCATED
    if _elsewhere(cpu, thread) != 0:
        return BUSY
    return queue_leave(cpu.kern, thread)


@kernel
def thread_free(cpu: Cpu, thread: Thread) -> int:
    """Give back a thread, whatever it waits for: OK.

    BAD_ADDRESS: there is no such thread. BUSY: it runs on another processor.
    """
    if _is_thread(cpu, thread) == 0:
        return BAD_ADDRESS
    if _elsewhere(cpu, thread) != 0:
        return BUSY
    if cpu.thread == thread:
        _put_down(cpu)
    if thread.ticket != 0:
        queue_leave(cpu.kern, thread)
    stalls = cpu.kern.stalls
    thread_unlink(stalls, thread)
    stalls.count = stalls.count - 1
    own_free(cpu, thread.addr)
    _serve(cpu)
    return _try_again(cpu)


@kernel
def tick(cpu: Cpu, now: int) -> int:
    """Say that it is time `now`, by a clock of the caller's: how many threads wait no longer, as their time is up."""
    stalls = cpu.kern.stalls
    late = 0
    at = stalls.first
    while at != 0:
        if at.state == STALLED and at.until != 0 and at.until <= now:
            at.state = LATE
            at.need = 0
            late += 1
        at = at.next
    stalls.late = stalls.late + late
    return late
