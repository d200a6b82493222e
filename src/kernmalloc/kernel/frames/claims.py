"""Claims: who may take which of the free frames, and in which order.

Concepts
  1. A thread is what can wait. `Cpu.thread` is the thread that a processor runs; where it is 0 nobody is there to wait,
     and a refused call is just refused.
  2. Threads that wait stand in one queue, by ticket. A thread keeps its ticket until its call is through, however often
     the call has to be done again: nobody overtakes.
  3. Frames that come are owed to the first threads that lack some: set aside, for nobody else to take. While a thread
     lacks frames, those behind it and those without a ticket may take nothing but what is owed to them.
  4. A reserve of free frames is for cleaners, the threads of drivers that write pages back: what they do is what all
     others wait for (E26). A cleaner may take from the reserve past the queue. The bank was never promised it.
  5. Frames in stocks (`stock`) are their processors': free means here what the bitmaps list. While threads wait, or
     frames of the reserve are in use, stocks are not filled and serve nobody.

    takeable  = what is owed to the thread + unclaimed
    unclaimed = free - owed - reserve, or for a cleaner free - owed;  while others before it lack frames
                0,                     or for a cleaner what is left of the reserve

Cost: where nobody waits, a few loads and additions.
Limits: frames that come into another processor's stock while a wait begins are listed when it next enters the kernel.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.lang import Record, field, i64, kernel, u8, u16
from kernmalloc.lang.status import OK

# what a thread does
RUNNABLE = 0  # it runs, or could
STALLED = 1  # it waits
READY = 2  # it is to do its call again
LATE = 3  # its time was up


class Stalls(Record):
    """All threads, and the queue of those that wait."""

    threads: Thread = field("the thread made last")
    count: i64 = field("threads")
    made: i64 = field("threads ever made")
    first: Thread = field("the first thread that waits")
    last: Thread = field("the last one")
    waiting: i64 = field("threads that wait, or have not done their call again yet")
    tickets: i64 = field("places in the queue ever given out")
    owed: i64 = field("free frames that are set aside for threads in the queue")
    short: i64 = field("1: threads wait, or frames of the reserve are in use: stocks and quick takes are shut")
    reserve: i64 = field("free frames that only cleaners may take")
    stalled: i64 = field("calls that had to wait, ever")
    late: i64 = field("waits that ended because time was up, ever")

    invariants = (
        "count == tally.threads and waiting == tally.waiting and waiting == tally.ticketed",
        "owed == tally.owed and owed <= kern.free_frames - kern.stocked",
        "short == 1 or (short == 0 and waiting == 0 and kern.free_frames - kern.stocked >= reserve)",
        "tally.wait_errors == 0",
        "tally.run_errors == 0",
        "tally.overdue == 0",
    )


class Thread(Record):
    """One thread, and what it waits for."""

    next: Thread = field("the thread behind it in the queue")
    prev: Thread = field("the one before it")
    after: Thread = field("the thread made before it")
    before: Thread = field("the one made after it")
    number: i64 = field("which one it is, from 1")
    ticket: i64 = field("its place in the queue; 0: it is not there")
    need: i64 = field("what it waits for: frames; a page, ~object id; 0: room in the source's ring")
    owed: i64 = field("free frames that are set aside for it")
    until: i64 = field("when it stops waiting; 0: never")
    state: u8 = field("RUNNABLE, STALLED, READY, LATE")
    cleaner: u8 = field("1: it cleans pages, and may take the reserve")
    processor: u16 = field("number of the processor that runs it, plus 1; 0: none")

    invariants = (
        "state <= LATE and cleaner <= 1",
        "ticket != 0 or (state == RUNNABLE and next == 0 and prev == 0 and need == 0 and owed == 0)",
        "state == RUNNABLE or processor == 0",
        "state != RUNNABLE or ticket == 0 or processor != 0",
        "owed == 0 or (owed == need and state != STALLED)",
        "state != LATE or need == 0",
        "processor == tally.run_by",
    )


@kernel
def listed(kern: Kern) -> int:
    """Free frames that the bitmaps list: those that are in no stock."""
    return kern.free_frames - kern.stocked


@kernel
def short(kern: Kern) -> int:
    """1 if nothing may bypass the queue: `is_short` was 1 when it was last asked."""
    return kern.stalls.short


@kernel
def is_short(kern: Kern) -> int:
    """1 if threads wait, or frames of the reserve are in use."""
    stalls = kern.stalls
    return 1 if stalls.waiting != 0 or listed(kern) < stalls.reserve else 0


@kernel
def claimed(kern: Kern, thread: Thread) -> int:
    """1 if a thread before `thread` in the queue lacks frames. One without a ticket, or a null one, is behind all."""
    at = kern.stalls.first
    while at != 0 and at != thread:
        if at.need > at.owed:
            return 1
        at = at.next
    return 0


@kernel
def unclaimed(kern: Kern, reserve: int, behind: int) -> int:
    """Free frames, owed to nobody, that a thread may take to which so many frames of the reserve are open: all or none.
    `behind`: 1 if a thread before it lacks frames. Below 0: frames of the reserve are in use."""
    stalls = kern.stalls
    free = listed(kern) - stalls.owed
    return min(free, reserve) if behind != 0 else free - stalls.reserve + reserve


@kernel
def could_come(kern: Kern, reserve: int) -> int:
    """The most frames that a thread could have by waiting, to which so many frames of the reserve are open: those that
    are free, and all that can be given back."""
    return kern.free_frames - kern.stalls.reserve + reserve + kern.page_frames + kern.dma_frames


@kernel
def _takeable_in_turn(cpu: Cpu) -> int:
    """What is `takeable` while threads wait."""
    kern = cpu.kern
    thread = cpu.thread
    free = max(unclaimed(kern, cpu.reserve, claimed(kern, thread)), 0)
    if thread == 0:
        return free
    return thread.owed + free


@kernel
def kept_back(cpu: Cpu) -> int:
    """Frames of the reserve that are not open to whoever runs on this processor."""
    return cpu.kern.stalls.reserve - cpu.reserve


@kernel
def takeable(cpu: Cpu) -> int:
    """Free frames that whoever runs on this processor may take."""
    kern = cpu.kern
    if kern.stalls.waiting != 0:
        return _takeable_in_turn(cpu)
    return listed(kern) - kept_back(cpu)


@kernel
def reserve_open(cpu: Cpu) -> int:
    """The boot is over, to which the reserve was open: from now on it is open to cleaners only."""
    cpu.reserve = 0
    return OK


# --- the queue

wait_link, wait_unlink = linked_list(
    "wait",
    "a thread that waits",
    "stalls: Stalls",
    kind="Thread",
    first="stalls.first",
    last="stalls.last",
    next="{}.next",
    prev="{}.prev",
    namespace=globals(),
)


@kernel
def queue_join(kern: Kern, thread: Thread) -> int:
    """Put a thread at the end of the queue, with the next ticket."""
    stalls = kern.stalls
    stalls.tickets = stalls.tickets + 1
    thread.ticket = stalls.tickets
    stalls.waiting = stalls.waiting + 1
    return wait_link(stalls, thread, stalls.last)


@kernel
def owe(kern: Kern, thread: Thread, frames: int) -> int:
    """Set so many free frames aside for a thread, in place of those that were."""
    stalls = kern.stalls
    stalls.owed = stalls.owed - thread.owed + frames
    thread.owed = frames
    return OK


@kernel
def queue_leave(kern: Kern, thread: Thread) -> int:
    """Take a thread out of the queue: it can run, and nothing is owed to it."""
    stalls = kern.stalls
    owe(kern, thread, 0)
    wait_unlink(stalls, thread)
    thread.ticket = 0
    thread.need = 0
    thread.state = RUNNABLE
    stalls.waiting = stalls.waiting - 1
    return OK
