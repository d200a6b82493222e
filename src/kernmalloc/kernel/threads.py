"""Threads: who may take which of the free frames, and in which order.

Concepts
  1. A thread is what can wait. The processor that runs one has its address in `Cpu.thread`; where that is 0, nobody is there
     to wait, and a refused call is just refused.
  2. Threads that wait stand in one queue, by ticket. A thread keeps its ticket until its call is through, however often that
     has to be done again: nobody overtakes.
  3. Frames that come are owed to the first who lack some. What is owed to a thread, and whatever comes while a thread lacks
     frames, nobody behind it may take, nor anybody who has no ticket.
  4. A reserve of free frames is for cleaners, the threads of drivers that write pages back: what they need is what everyone
     else waits for (E26). They may take it past the queue. The bank was never promised it.

  5. Frames in stocks (`stock`) are their processors', and not in these sums: free here is what the bitmaps list. While threads
     wait, or the reserve is in use, stocks are not filled and nobody is served from one.

    takeable = what is owed to the thread + free - owed - reserve, or for a cleaner free - owed; but
               while others before it lack frames: what is owed to it, and for a cleaner what is left of the reserve

Cost: where nobody waits, a few loads and additions.
Limits: what another processor has in its stock when a wait begins is listed again when that processor next enters the kernel.
"""

from kernmalloc.kernel.kern import Cpu, Kern, Stalls
from kernmalloc.lang import i64, kernel, record, u8, u16, u32
from kernmalloc.lang.status import OK

STALLS = Kern.offset("stalls")

# what a thread does
RUNNABLE = 0  # it runs, or could
STALLED = 1  # it waits
READY = 2  # it is to do its call again
LATE = 3  # its time was up


@record(size=80)
class Thread:
    """One thread, and what it waits for."""

    next: i64 = "VA of the thread behind it in the queue"
    prev: i64 = "VA of the one before it"
    after: i64 = "VA of the thread made before it"
    before: i64 = "VA of the one made after it"
    number: i64 = "which one it is, from 1"
    ticket: i64 = "its place in the queue; 0: it is not there"
    need: i64 = "what it waits for: frames; a page, ~object id; 0: room in the source's ring"
    owed: i64 = "free frames that are set aside for it"
    until: i64 = "when it stops waiting; 0: never"
    state: u8 = "RUNNABLE, STALLED, READY, LATE"
    cleaner: u8 = "1: it cleans pages, and may take the reserve"
    processor: u16 = "number of the processor that runs it, plus 1; 0: none"
    spare: u32 = "0"

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
def listed(kern):
    """Free frames that the bitmaps list: those that are in no stock."""
    return Kern(kern).free_frames - Kern(kern).stocked


@kernel
def short(kern):
    """1 if threads wait, or frames of the reserve are in use: then nothing may bypass the queue."""
    return Stalls(kern + STALLS).short


@kernel
def is_short(kern):
    """The same, found out."""
    s = Stalls(kern + STALLS)
    return 1 if s.waiting != 0 or listed(kern) < s.reserve else 0


@kernel
def claimed(kern, thread):
    """1 if threads that wait before `thread` lack frames; 0 as `thread` stands behind them all."""
    at = Stalls(kern + STALLS).first
    while at != 0 and at != thread:
        t = Thread(at)
        if t.need > t.owed:
            return 1
        at = t.next
    return 0


@kernel
def spare_frames(kern, reserve, behind):
    """Frames owed to nobody that a thread may take that may use `reserve` of the reserve; `behind`: others lack frames."""
    s = Stalls(kern + STALLS)
    free = listed(kern) - s.owed
    return min(free, reserve) if behind != 0 else free - s.reserve + reserve


@kernel
def could_come(kern, reserve):
    """Frames that whoever may use `reserve` of the reserve could ever have by waiting: the free ones, and all that may be given
    back."""
    k = Kern(kern)
    return k.free_frames - Stalls(kern + STALLS).reserve + reserve + k.page_frames + k.dma_frames


@kernel
def _takeable_in_turn(cpu):
    """`takeable` while threads wait."""
    c = Cpu(cpu)
    owed = 0
    if c.thread != 0:
        owed = Thread(c.thread).owed
    return owed + max(spare_frames(c.kern, c.reserve, claimed(c.kern, c.thread)), 0)  # the reserve may be in use


@kernel
def kept_back(cpu):
    """Frames of the reserve that whoever runs on this processor may not take."""
    return Stalls(Cpu(cpu).kern + STALLS).reserve - Cpu(cpu).reserve


@kernel
def takeable(cpu):
    """Free frames that whoever runs on this processor may take."""
    k = Kern(Cpu(cpu).kern)
    if Stalls(k.addr + STALLS).waiting != 0:
        return _takeable_in_turn(cpu)
    return listed(k.addr) - kept_back(cpu)


@kernel
def reserve_open(cpu):
    """The boot is over, which took what it needed: from now on the reserve is for cleaners."""
    Cpu(cpu).reserve = 0
    return OK


# --- the queue


@kernel
def queue_join(kern, thread):
    """Put a thread at the end of the queue, with the next ticket."""
    s = Stalls(kern + STALLS)
    t = Thread(thread)
    s.tickets = s.tickets + 1
    t.ticket = s.tickets
    t.prev = s.last
    if s.last != 0:
        Thread(s.last).next = thread
    else:
        s.first = thread
    s.last = thread
    s.waiting = s.waiting + 1
    return OK


@kernel
def owe(kern, thread, frames):
    """Set so many free frames aside for a thread, instead of what was."""
    s = Stalls(kern + STALLS)
    s.owed = s.owed - Thread(thread).owed + frames
    Thread(thread).owed = frames
    return OK


@kernel
def queue_leave(kern, thread):
    """Take a thread out of the queue: it can run, and nothing is owed to it."""
    s = Stalls(kern + STALLS)
    t = Thread(thread)
    owe(kern, thread, 0)
    if t.prev != 0:
        Thread(t.prev).next = t.next
    else:
        s.first = t.next
    if t.next != 0:
        Thread(t.next).prev = t.prev
    else:
        s.last = t.prev
    t.next = 0
    t.prev = 0
    t.ticket = 0
    t.need = 0
    t.state = RUNNABLE
    s.waiting = s.waiting - 1
    return OK
