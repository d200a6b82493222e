"""The grand page space: all available frames, from which everything else is made (E28, E29).

Concepts
  1. The heap and the mapping tables take their frames here and give them back here; nothing else does.
  2. Before the first core table exists there is no free list: frames then come out of the donation (E35), of which the
     last part is for mapping tables. All of them are marked by hand once there are entries (E37).
  3. A caller asks for all that an operation will need before it stores anything; what it then takes cannot fail.

  4. The bank was promised frames when the boot was over (C13, C14). What would leave page space with fewer is refused,
     unless the profile lets growth break the promise. `Kern.opening` is what the ledger is reckoned from.

    promised <= free_frames + page_frames, unless lenient

`ask` answers WOULD_BLOCK where waiting helps: frames are short now, but pages that someone holds could be given back.
"""

from kernmalloc.kernel.frames import give, promise_holds, take_run
from kernmalloc.kernel.kern import LIST, MAPPING, UP, Cpu, Kern
from kernmalloc.kernel.regions import region_of
from kernmalloc.kernel.threads import could_come, kept_back, reserve_open, takeable
from kernmalloc.lang import kernel
from kernmalloc.lang.status import NO_FRAMES, OK, PROMISED, WOULD_BLOCK


@kernel
def frames_left(cpu):
    """Frames that `space_take` can give at once."""
    k = Kern(Cpu(cpu).kern)
    if k.stage < LIST:
        return k.donation_frames - k.donated_heap - k.donated_maps
    return takeable(cpu)


@kernel
def bank_open(cpu):
    """The boot is over: promise the bank every frame of page space, less what is declared to be needed and what is kept for
    cleaners, or as many as asked."""
    k = Kern(Cpu(cpu).kern)
    reserve_open(cpu)
    available = k.free_frames + k.page_frames
    k.opening = available
    k.opening_heap = k.heap_frames + k.mapping_frames
    most = max(available - k.withheld - kept_back(cpu), 0)
    k.promised = min(k.promised, most) if k.promised > 0 else most
    return OK


@kernel
def space_short(cpu, count):
    """Say that `count` free frames are wanted and are not there: WOULD_BLOCK if they could be had by waiting, else NO_FRAMES."""
    k = Kern(Cpu(cpu).kern)
    k.wanted = count
    return WOULD_BLOCK if count <= could_come(k.addr, Cpu(cpu).reserve) else NO_FRAMES


@kernel
def space_ask(cpu, count):
    """OK if `count` frames can be taken now; WOULD_BLOCK if they could be had by waiting; NO_FRAMES if not even so;
    PROMISED if the bank would be left with fewer than it was promised."""
    k = Kern(Cpu(cpu).kern)
    if k.stage == UP and promise_holds(cpu, count) == 0:
        return PROMISED
    left = frames_left(cpu)
    if count <= left:
        return OK
    return space_short(cpu, count)


@kernel
def space_take(cpu, most, type):
    """A run of contiguous frames, at most `most`, for the kernel: the first pfn, their number in `Cpu.run`.

    The caller has asked for them."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    if k.stage >= LIST:
        return take_run(cpu, most, type)
    c.run = most
    if type == MAPPING:
        k.donated_maps = k.donated_maps + most
        return k.donation_pfn + k.donation_frames - k.donation_maps + k.donated_maps - most
    k.donated_heap = k.donated_heap + most
    return k.donation_pfn + k.donated_heap - most


@kernel
def space_give(cpu, pfn):
    """Give one frame of the kernel's back."""
    return give(cpu, region_of(cpu, pfn), pfn)
