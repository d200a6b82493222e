"""Stalls: calls that must wait, and what ends their wait (E26).

Concepts
  1. As in EROS a call that cannot be served is abandoned and its thread stalled; when what it lacks is there, the thread does
     the whole call again. The kernel keeps nothing of the call but what it lacked: `Thread.need`.
  2. At the end of every call, while threads wait, they are served in order: frames that are free are set aside for them, and
     those whose page has been read or whose request finds room are woken too. So no wake-up can be lost: nothing is
     remembered that happened, only looked at what there is.
  3. Where frames can have come, more are reclaimed for whoever is next. Where heap memory came, which may serve a call
     without a frame, all who lack frames try again, in order; who fails keeps his place.
  4. What was set aside for a thread is free again when its call is through, whatever it took, or when the thread gives up,
     is late or goes; and the next are served from it.
  5. A wait that nothing could ever end is refused: DEADLOCK. That is so when all threads wait, cleaners among them.

        RUNNABLE -> STALLED    its call must wait                     READY -> RUNNABLE   it is run, its call is through
        STALLED  -> READY      what it lacked is there, or may be     READY -> STALLED    the call must still wait
        STALLED  -> LATE       its time is up                         LATE  -> RUNNABLE   it is run, and told

Cost: nothing while nobody waits; else a walk of the queue per call.
Limits: frames in other processors' stocks come when these enter the kernel or `drain`, as they must before they idle: a
deadlock may be told while some are there. Room in the source's ring is not set aside for anyone, only frames are.
"""

from kernmalloc.kernel.caches import THREAD_CACHE, is_object
from kernmalloc.kernel.heap import free
from kernmalloc.kernel.kern import READING, REWRITTEN, WRITING, Cpu, Kern, Stalls
from kernmalloc.kernel.pages import ABSENT, page_count, page_find, page_of
from kernmalloc.kernel.frames import Page
from kernmalloc.kernel.reclaim import reclaim
from kernmalloc.kernel.heap import LARGEST_CLASS
from kernmalloc.kernel.magazines import slot_take
from kernmalloc.kernel.slabs import cpu_at
from kernmalloc.kernel.source import ring_room, source_poll
from kernmalloc.kernel.stock import stock_drain, stock_shut
from kernmalloc.kernel.threads import (
    LATE,
    READY,
    RUNNABLE,
    STALLED,
    STALLS,
    Thread,
    claimed,
    could_come,
    is_short,
    listed,
    owe,
    queue_join,
    queue_leave,
    short,
    spare_frames,
)
from kernmalloc.lang import kernel
from kernmalloc.lang.status import BAD_ADDRESS, BUSY, DEADLOCK, NO_FRAMES, NOT_ALLOCATED, OK, TIMED_OUT, WOULD_BLOCK
from kernmalloc.machine.primitives import zero

THREAD_BYTES = Thread.size


# --- serving those that wait


@kernel
def _reserve_of(kern, thread):
    """Frames of the reserve that a thread may take."""
    return Stalls(kern + STALLS).reserve if Thread(thread).cleaner != 0 else 0


@kernel
def being_read(cpu, oid):
    """1 if the page of an object id is being read."""
    pfn = page_find(cpu, oid)
    if pfn == ABSENT:
        return 0
    return 1 if Page(page_of(cpu, pfn)).state == READING else 0


@kernel
def _serve(cpu):
    """Wake the threads, in order, for which what they lack is there; what is in this processor's stock is for them, too."""
    kern = Cpu(cpu).kern
    if is_short(kern) != 0:
        stock_drain(cpu)
    room = ring_room(kern)
    behind = 0
    at = Stalls(kern + STALLS).first
    while at != 0:
        t = Thread(at)
        if t.state == STALLED:
            if t.need > 0:
                if spare_frames(kern, _reserve_of(kern, at), behind) >= t.need:
                    owe(kern, at, t.need)
                    t.state = READY
                elif t.need > could_come(kern, _reserve_of(kern, at)):
                    t.state = READY  # to be told so
            elif t.need < 0:
                t.state = STALLED if being_read(cpu, ~t.need) != 0 else READY
            elif room > 0:
                t.state = READY
        behind = 1 if t.need > t.owed else behind
        at = t.next
    s = Stalls(kern + STALLS)
    if is_short(kern) > s.short:
        for number in range(Kern(kern).cpu_count):
            stock_shut(cpu_at(kern, number))
    s.short = is_short(kern)
    Kern(kern).quick = LARGEST_CLASS if s.short == 0 else 0
    return OK


@kernel
def _first_short(kern):
    """The first thread in the queue that is stalled for want of frames, or 0."""
    at = Stalls(kern + STALLS).first
    while at != 0:
        t = Thread(at)
        if t.state == STALLED and t.need > 0:
            return at
        at = t.next
    return 0


@kernel
def _reclaim_for_next(cpu):
    """Reclaim frames for those who are stalled for want of them, in order, as far as that goes without waiting."""
    k = Kern(Cpu(cpu).kern)
    at = _first_short(k.addr)
    while at != 0:
        lacks = Thread(at).need - spare_frames(k.addr, _reserve_of(k.addr, at), claimed(k.addr, at))
        if claimed(k.addr, at) != 0 or reclaim(cpu, listed(k.addr) + lacks) < 0:
            return OK
        _serve(cpu)
        at = _first_short(k.addr)
    return OK


@kernel
def _all_wait(kern):
    """1 if all threads are stalled, and cleaners among them."""
    stalled = 0
    cleaners = 0
    at = Stalls(kern + STALLS).first
    while at != 0:
        t = Thread(at)
        if t.state == STALLED:
            stalled += 1
            cleaners += t.cleaner
        at = t.next
    return 1 if stalled == Stalls(kern + STALLS).count and cleaners > 0 else 0


@kernel
def _stall(cpu):
    """Let the thread that runs wait: WOULD_BLOCK, and nobody runs; DEADLOCK, and it runs on."""
    c = Cpu(cpu)
    s = Stalls(c.kern + STALLS)
    thread = c.thread
    t = Thread(thread)
    if t.ticket == 0:
        queue_join(c.kern, thread)
    owe(c.kern, thread, 0)
    t.need = Kern(c.kern).wanted
    t.state = STALLED
    t.processor = 0
    _serve(cpu)
    if _all_wait(c.kern) != 0:
        source_poll(cpu)  # a driver may have answered before it called
        _serve(cpu)
        _reclaim_for_next(cpu)
    if _all_wait(c.kern) != 0:
        queue_leave(c.kern, thread)
        t.processor = c.id + 1
        _serve(cpu)
        return DEADLOCK
    s.stalled = s.stalled + 1
    c.thread = 0
    c.reserve = 0
    return WOULD_BLOCK


# --- the end of every call


@kernel
def quiet(cpu):
    """1 if nobody waits, and the reserve is neither in use nor open to who runs here."""
    return 1 if short(Cpu(cpu).kern) == 0 and Cpu(cpu).reserve == 0 else 0


@kernel
def settled(cpu, result):
    """What a call says that was refused, or that ends while threads wait: WOULD_BLOCK instead of NO_FRAMES where frames are to
    come or are others', or a thread can wait for them; and then it does. Threads for which frames came are woken."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    status = result
    if result == NO_FRAMES and k.wanted > 0 and k.wanted <= could_come(c.kern, c.reserve):
        coming = page_count(c.kern, WRITING) + page_count(c.kern, REWRITTEN) + Stalls(c.kern + STALLS).waiting
        status = WOULD_BLOCK if coming > 0 or c.thread != 0 else NO_FRAMES
    if c.thread != 0:
        if status == WOULD_BLOCK:
            status = _stall(cpu)
        elif Thread(c.thread).ticket != 0:
            queue_leave(c.kern, c.thread)
    k.wanted = k.wanted if status == DEADLOCK else 0  # what the thread would have waited for stays, to be told
    if quiet(cpu) == 0:
        _serve(cpu)
    return status


@kernel
def frames_came(cpu, result):
    """The same after a call that may have given frames, or made pages clean: more are reclaimed for those who wait."""
    status = settled(cpu, result)
    _reclaim_for_next(cpu)
    return status


@kernel
def _try_again(cpu):
    """Wake all who lack frames."""
    at = Stalls(Cpu(cpu).kern + STALLS).first
    while at != 0:
        t = Thread(at)
        if t.state == STALLED and t.need > 0:
            t.state = READY
        at = t.next
    return OK


@kernel
def memory_came(cpu, result):
    """The same after a call that may have given heap memory: all who lack frames may try again."""
    status = frames_came(cpu, result)
    if status >= 0:
        _try_again(cpu)
    return status


@kernel
def looked_after(cpu, result):
    """The end of a call that is about threads, and no thread's own: as `frames_came`, but nobody's wait is through."""
    _serve(cpu)
    _reclaim_for_next(cpu)
    return result


# --- threads


@kernel
def _is_thread(cpu, thread):
    return is_object(cpu, THREAD_CACHE, thread)


@kernel
def thread_make(cpu, cleaner):
    """A thread; `cleaner` is 1 for one of a driver that writes pages back: its VA. As `malloc`."""
    thread = slot_take(cpu, THREAD_CACHE)
    if thread < 0:
        return thread
    zero(thread, THREAD_BYTES)
    s = Stalls(Cpu(cpu).kern + STALLS)
    t = Thread(thread)
    t.cleaner = 1 if cleaner != 0 else 0
    t.after = s.threads
    if s.threads != 0:
        Thread(s.threads).before = thread
    s.threads = thread
    s.count = s.count + 1
    s.made = s.made + 1
    t.number = s.made
    return thread


@kernel
def _elsewhere(cpu, thread):
    """1 if another processor runs a thread."""
    at = Thread(thread).processor
    return 1 if at != 0 and at != Cpu(cpu).id + 1 else 0


@kernel
def _put_down(cpu):
    """Run nobody: a thread that has not done its call again yet is to do so when it is run next."""
    c = Cpu(cpu)
    if c.thread != 0:
        t = Thread(c.thread)
        t.processor = 0
        t.state = READY if t.ticket != 0 else RUNNABLE
    c.thread = 0
    c.reserve = 0
    return OK


@kernel
def thread_run(cpu, thread):
    """From now on this processor runs `thread`, or nobody if that is 0. OK, or TIMED_OUT: it waited for too long, and its call
    has failed; in both cases it runs. BAD_ADDRESS; BUSY: it is stalled, or runs elsewhere."""
    if thread != 0 and _is_thread(cpu, thread) == 0:
        return BAD_ADDRESS
    if thread != 0:
        if Thread(thread).state == STALLED or _elsewhere(cpu, thread) != 0:
            return BUSY
    _put_down(cpu)
    if thread == 0:
        return OK
    c = Cpu(cpu)
    t = Thread(thread)
    status = TIMED_OUT if t.state == LATE else OK
    if t.state == LATE:
        queue_leave(c.kern, thread)
    t.state = RUNNABLE
    t.processor = c.id + 1
    c.thread = thread
    c.reserve = _reserve_of(c.kern, thread)
    return status


@kernel
def thread_next(cpu):
    """The thread to run next of those that were woken: its VA, 0 if there is none. DEADLOCK: nor will there ever be one."""
    kern = Cpu(cpu).kern
    at = Stalls(kern + STALLS).first
    while at != 0:
        t = Thread(at)
        if t.state == READY or t.state == LATE:
            return at
        at = t.next
    return DEADLOCK if _all_wait(kern) != 0 else 0


@kernel
def thread_limit(cpu, thread, until):
    """Let a thread stop waiting at a time, by the clock of `tick`; 0: never. BAD_ADDRESS."""
    if _is_thread(cpu, thread) == 0 or until < 0:
        return BAD_ADDRESS
    Thread(thread).until = until
    return OK


@kernel
def thread_cancel(cpu, thread):
    """Let a thread give its call up. BAD_ADDRESS; NOT_ALLOCATED: it has none to do again; BUSY: it does that, elsewhere."""
    if _is_thread(cpu, thread) == 0:
        return BAD_ADDRESS
    if Thread(thread).ticket == 0:
        return NOT_ALLOCATED
    if _elsewhere(cpu, thread) != 0:
        return BUSY
    return queue_leave(Cpu(cpu).kern, thread)


@kernel
def thread_free(cpu, thread):
    """Let a thread go, whatever it waits for. BAD_ADDRESS; BUSY: it runs on another processor."""
    if _is_thread(cpu, thread) == 0:
        return BAD_ADDRESS
    if _elsewhere(cpu, thread) != 0:
        return BUSY
    c = Cpu(cpu)
    if c.thread == thread:
        _put_down(cpu)
    t = Thread(thread)
    if t.ticket != 0:
        queue_leave(c.kern, thread)
    s = Stalls(c.kern + STALLS)
    if t.after != 0:
        Thread(t.after).before = t.before
    if t.before != 0:
        Thread(t.before).after = t.after
    else:
        s.threads = t.after
    s.count = s.count - 1
    free(cpu, thread)
    _serve(cpu)
    return _try_again(cpu)


@kernel
def tick(cpu, now):
    """It is `now`: threads whose time is up wait no longer. How many."""
    s = Stalls(Cpu(cpu).kern + STALLS)
    late = 0
    at = s.first
    while at != 0:
        t = Thread(at)
        if t.state == STALLED and t.until != 0 and t.until <= now:
            t.state = LATE
            t.need = 0
            late += 1
        at = t.next
    s.late = s.late + late
    return late
