"""What processors keep idle, and how another one fetches it: free frames in stocks, slots on stacks, empty slabs.

Concepts
  1. A stock, a magazine and its slabs are changed by their processor alone, without the lock. Another one may do so in
     its place, under the lock, while no quick path of it is under way and none can begin.
  2. So whoever fetches shuts the gates of the others, has all of them pass a barrier (`barrier`, a part of the port),
     and waits until none is busy: each quick path sets `Cpu.busy` when it begins and clears it when it ends (`calls`).

         a quick path: busy = 1;  read the gate;  ...;  busy = 0         fetching: shut the gate;  barrier;  read busy

     The barrier falls between two instructions of the quick path's processor. Before `busy = 1`: the gate is read after
     the barrier, and is shut. After it: `busy` is seen to be 1 until the quick path is over, and what it did is seen
     once it is 0 (store-release, load-acquire). No fence is needed in the quick path itself, on any machine.
  3. A gate that was shut for another processor is opened by its own, under the lock: whatever was done in its place
     happened before that. If the fetching one opened it, a quick path might see the open gate and old slabs (ARM,
     RISC-V).
  4. Then all that is idle goes back as in `drain`, for each processor in turn: what is in stocks is listed, notes of
     others are heeded, stacks settled, slabs of which all slots are free go to the heap's pages, and these to page
     space.
  5. A look at what others keep comes first, without any order: where they have nothing nobody is disturbed.

Cost: a barrier, and as many magazines as there are caches for each processor that has been at work. The others' next
call each takes the lock. A call does this before it says NO_FRAMES (`calls`); nothing in the heap does.

Limits: who fetches waits for a processor that is held up inside a quick path. A page of which a slot is in use stays.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.core.locks import BUSY, gate_shut
from kernmalloc.kernel.frames.stock import bottom_of, stock_drain
from kernmalloc.kernel.heap.magazines import cache_drain
from kernmalloc.kernel.heap.runs import trim, unfix_pages
from kernmalloc.kernel.heap.slabs import cache_at, cpu_at, own_magazine
from kernmalloc.lang import kernel, load_acquire32, pause
from kernmalloc.lang.status import OK
from kernmalloc.machine.primitives import barrier


@kernel
def until_quiet(cpu: Cpu) -> int:
    """Wait until no quick path of another processor is under way, and see what it did."""
    while load_acquire32(cpu.addr + BUSY) != 0:
        pause()
    return OK


@kernel
def others_hold(cpu: Cpu) -> int:
    """Keep all other processors out of what is their own, until this one leaves the kernel: 1, and what they did can be
    seen. 0: the port has no barrier, and they are not kept out."""
    kern = cpu.kern
    if kern.cpu_count == 1:
        return 1
    for number in range(kern.cpu_count):
        if number != cpu.id:
            gate_shut(cpu_at(kern, number))
    if barrier() == 0:
        return 0
    for number in range(kern.cpu_count):
        if number != cpu.id:
            until_quiet(cpu_at(kern, number))
    return 1


@kernel
def _keeps(kern: Kern, cpu: Cpu) -> int:
    """1 if a processor seems to keep something that a drain would bring. Quick paths of it may be under way."""
    if cpu.frames.top != bottom_of(cpu.frames) or cpu.chunks.top != bottom_of(cpu.chunks) or cpu.noted != 0:
        return 1
    for id in range(kern.cache_count):
        magazine = own_magazine(cpu, id)
        if magazine.list != 0 or magazine.top != magazine.bottom or magazine.empties != 0 or magazine.returned != 0:
            return 1
    return 0


@kernel
def processor_drain(cpu: Cpu) -> int:
    """Give what a processor keeps idle back. It is this one, or it is kept out (`others_hold`)."""
    kern = cpu.kern
    stock_drain(cpu)
    for id in range(kern.cache_count):
        cache_drain(cpu, cache_at(kern, id))
    return OK


@kernel
def drain(cpu: Cpu) -> int:
    """Make the heap as small as it can be: OK.

    This processor's stock goes back to the free list, its empty slabs and all idle pages to page space.
    """
    processor_drain(cpu)
    return trim(cpu, 0)


@kernel
def release(cpu: Cpu) -> int:
    """Give the whole large pages at the end of the fixed part that nobody uses to page space: how many pages (C18).

    The heap's bound goes down with them, for good.
    """
    drain(cpu)
    pages = unfix_pages(cpu)
    kern = cpu.kern
    kern.released = kern.released + pages
    return pages


@kernel
def fetch(cpu: Cpu) -> int:
    """Give back what all processors keep idle, if others seem to keep something: 1. 0: they do not, or cannot be kept
    out of it."""
    kern = cpu.kern
    kept = 0
    for number in range(kern.cpu_count):
        if number != cpu.id and kept == 0:
            kept = _keeps(kern, cpu_at(kern, number))
    if kept == 0 or others_hold(cpu) == 0:
        return 0
    for number in range(kern.cpu_count):
        processor_drain(cpu_at(kern, number))
    trim(cpu, 0)
    return 1
