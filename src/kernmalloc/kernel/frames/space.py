"""The grand page space: all available frames, from which everything else is made (E28, E29).

Concepts
  1. The heap and the mapping tables take their frames here and give them back here; nothing else does.
  2. Before the first core table exists there is no free list: frames then come out of the donation (E35), of which the
     last part is for mapping tables. All of them are marked by hand once there are entries (E37).
     RAM that is added may pay for its own structures: then the heap takes those of its frames that are set aside.
  3. A caller asks for all that an operation will need before it stores anything: what it then takes is there.
  4. The bank was promised frames when the boot was over (C13, C14). What would leave page space with fewer is refused,
     unless the profile lets growth break the promise. The ledger begins with `Kern.opening`.

    promised <= free_frames + page_frames, unless lenient

`ask` answers WOULD_BLOCK where waiting helps: frames are short now, but pages that someone holds could be given back.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import LIST, MAPPING, UP, Cpu, Kern
from kernmalloc.kernel.core.modes import has_tables
from kernmalloc.kernel.frames.claims import could_come, kept_back, listed, reserve_open, takeable
from kernmalloc.kernel.frames.regions import region_of
from kernmalloc.kernel.frames.table import give, promise_holds, take_run
from kernmalloc.lang import kernel
from kernmalloc.lang.status import NO_FRAMES, OK, PROMISED, WOULD_BLOCK
from kernmalloc.machine.primitives import known_zero


@kernel
def has_host(kern: Kern) -> int:
    """1 if the heap takes frames of RAM that is being added, which are set aside for its structures (`added`)."""
    return 1 if has_tables(kern) != 0 and kern.adding.end != 0 else 0


@kernel
def frames_left(cpu: Cpu) -> int:
    """Frames that `space_take` can give at once: all that are listed, where more are being added."""
    kern = cpu.kern
    if has_host(kern) != 0:
        return kern.adding.high - kern.adding.low
    if kern.stage < LIST:
        return kern.donation_frames - kern.donated_heap - kern.donated_maps
    return takeable(cpu) if kern.coming == 0 else listed(kern)


@kernel
def bank_open(cpu: Cpu) -> int:
    """The boot is over: promise the bank as many frames as asked, or every frame of page space, but for declared growth
    and the reserve."""
    kern = cpu.kern
    reserve_open(cpu)
    available = kern.free_frames + kern.page_frames
    kern.opening = available
    kern.opening_heap = kern.heap_frames + kern.mapping_frames + kern.reserved_frames
    most = max(available - kern.withheld - kept_back(cpu), 0)
    kern.promised = min(kern.asked, most) if kern.asked > 0 else most
    return OK


@kernel
def bank_gains(cpu: Cpu, frames: int) -> int:
    """Page space has so many frames more, for good: they are promised to the bank, too, unless it has all it asked."""
    kern = cpu.kern
    most = kern.promised + frames
    kern.promised = max(min(kern.asked, most), kern.promised) if kern.asked > 0 else most
    return OK


@kernel
def space_short(cpu: Cpu, count: int) -> int:
    """Say that `count` free frames are wanted and not there. WOULD_BLOCK: they could be had by waiting. NO_FRAMES."""
    kern = cpu.kern
    kern.wanted = count
    return WOULD_BLOCK if count <= could_come(kern, cpu.reserve) else NO_FRAMES


@kernel
def space_ask(cpu: Cpu, count: int) -> int:
    """OK if `count` frames can be taken now. WOULD_BLOCK: they could be had by waiting. NO_FRAMES: not even so.
    PROMISED: the bank would be left with fewer than it was promised."""
    kern = cpu.kern
    if kern.stage == UP and has_host(kern) == 0 and promise_holds(cpu, count) == 0:
        return PROMISED
    left = frames_left(cpu)
    if count <= left:
        return OK
    return space_short(cpu, count)


@kernel
def _host_take(cpu: Cpu, most: int, type: int) -> int:
    """What `space_take` does where there is a host."""
    adding = cpu.kern.adding
    cpu.run = most
    if type == MAPPING:
        adding.high = adding.high - most
        return adding.high
    adding.low = adding.low + most
    return adding.low - most


@kernel
def space_take(cpu: Cpu, most: int, type: int) -> int:
    """A run of contiguous frames, at most `most`, for the kernel: the first pfn, their number in `Cpu.run`.

    The caller has asked for them."""
    kern = cpu.kern
    if has_host(kern) != 0:
        return _host_take(cpu, most, type)
    if kern.stage >= LIST:
        return take_run(cpu, most, type)
    cpu.run = most
    if type == MAPPING:
        kern.donated_maps = kern.donated_maps + most
        return kern.donation_pfn + kern.donation_frames - kern.donation_maps + kern.donated_maps - most
    kern.donated_heap = kern.donated_heap + most
    return kern.donation_pfn + kern.donated_heap - most


@kernel
def fresh(cpu: Cpu, pa: int, bytes: int) -> int:
    """1 if memory just taken is zero: the machine vouches for it, and no frame has ever been given back, or came."""
    if cpu.kern.returned != 0 or cpu.kern.adding.end != 0:
        return 0
    return known_zero(pa, bytes)


@kernel
def space_give(cpu: Cpu, pfn: int) -> int:
    """Give one frame of the kernel's back."""
    return give(cpu, region_of(cpu, pfn), pfn)
