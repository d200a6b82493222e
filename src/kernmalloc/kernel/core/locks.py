"""The kernel lock: who may be inside.

Concepts
  1. One lock guards all that processors share: the `Kern` record and whatever hangs off it. What is called often takes
     no lock, the rest is short or rare ("For a Microkernel, a Big Lock Is Fine", Peters and others, APSys 2015).
  2. A call takes it in `enter` and lets go of it in `leave`; `calls` alone does so, around every call. Interrupts of
     this processor are off in between: nobody waits longer because the holder handles one. A processor that is inside
     enters again without waiting (`Cpu.depth`).
  3. Quick paths work on what is this processor's own: its stock of frames, its magazines and slabs, the entries of its
     frames. Of what is shared they read only words that cannot change while the caller owns what it gives back: the
     entry of a frame, the record of the page that a slot lies in. Where that is not enough they answer SLOW before they
     store anything, and the call is done under the lock.
  4. A quick path passes its processor's gate: it reads what it may do, and answers SLOW if that is nothing. Any
     processor that is inside may shut a gate; its own one alone opens it, inside. `heap/fetch.py` says how another
     processor gets at what is this one's own.

Order of memory, for processors that keep less of it than x86 does (ARM, RISC-V):
  - The lock. `cas32` is acquire, `leave` stores with release: whoever enters sees all that was done by those who were
    inside before. On AArch64 these are ldaxr and stlxr, or casal, and stlr; on RISC-V lr and sc with aq, and a fence
    before the store. Nothing needs a cas to be release, too: gcc before 14 makes none of it on RISC-V.
  - The stock. Quick paths touch groups of their own processor, and the entry of a frame that their caller owns or
    that lies in the stock. An owner was given the frame by means that order memory, so he sees its entry. Two that
    put one frame at once meet at `cas64` on one word, whose changes have one order on every machine: one finds it
    changed. A put under the lock meets them there, too (`take_back`).
  - The magazine. Stacks, first bitmaps and lists are touched by their owner only. Of a page's record others read what
    never changes while the slab lives: who has a slot's address was given it after that was stored. Second bitmaps
    and lists of notes are touched inside only.
  - The hand-over of frees. A note is written inside; then the owner's takes are shut by a plain store. The owner may
    see that late. Until then it takes slots that are free in its first bitmap: no note is of such a slot, unless that
    was given back twice at once (`magazines`). Notes it reads inside.
  - Gates. A gate is opened by its own processor: no store of another one has to be seen with that. It is shut by
    others with a plain store. Who must know that this is seen, and that nothing is under way, uses a barrier
    (`heap/fetch.py`).

What may be held when: there is one lock, so there is no order among locks. Inside, nothing waits for a call of another
processor: a call that must wait is abandoned first (E26). A shootdown is done inside, and the processors that wait for
the lock must answer it: while they spin their interrupts are as they were.

Limits: whoever spins is not served in order. Handlers of interrupts do not call the kernel, unless it is built for that
(`calls`): a quick path may be under way, and is not done twice.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import GRAIN_SHIFT, MAP_SHIFT, Cpu, Gate, Kern
from kernmalloc.lang import cas32, element, inlined, kernel, load_acquire32, pause, store_before32, store_release32
from kernmalloc.lang.status import BROKEN, OK
from kernmalloc.machine.primitives import interrupts_restore, interrupts_save

LOCK = Kern.offset("lock")
BUSY = Cpu.offset("busy")
SLOW = -64  # what a quick path answers that needs the lock: no call's result, and no status


@kernel
def enter(cpu: Cpu) -> int:
    """Wait until this processor alone is inside. Returns how often it has entered and not left."""
    depth = cpu.depth
    if depth == 0:
        lock = cpu.kern.addr + LOCK
        flags = interrupts_save()
        while cas32(lock, 0, cpu.id + 1) == 0:
            interrupts_restore(flags)
            while load_acquire32(lock) != 0:
                pause()
            flags = interrupts_save()
        cpu.flags = flags
    cpu.depth = depth + 1
    return depth + 1


@kernel
def leave(cpu: Cpu) -> int:
    """Undo one `enter`. BROKEN if this processor is not inside: nothing changes."""
    lock = cpu.kern.addr + LOCK
    holder = load_acquire32(lock)
    if cpu.depth <= 0 or holder != cpu.id + 1:
        return BROKEN
    cpu.depth = cpu.depth - 1
    if cpu.depth == 0:
        flags = cpu.flags
        cpu.flags = 0
        store_release32(lock, 0)
        interrupts_restore(flags)
    return OK


# --- quick paths


@kernel
def gate_of(cpu: Cpu) -> Gate:
    """The gate that a processor's quick paths pass; the other one is always shut."""
    return cpu.alone if cpu.kern.cpu_count == 1 else cpu.shared


@kernel
def takes_shut(cpu: Cpu) -> int:
    """Shut a processor's quick takes: it must look at something first."""
    gate_of(cpu).takes = 0
    return OK


@kernel
def gate_shut(cpu: Cpu) -> int:
    """Shut a processor's quick paths. It opens them itself, under the lock (`heap/fetch.py` says why)."""
    takes_shut(cpu)
    gate = gate_of(cpu)
    gate.gives = 0
    gate.high = cpu.low
    return OK


@kernel
def grains_mapped(kern: Kern) -> int:
    """Grains of the heap whose pages have records in memory."""
    return kern.map_pages << (kern.page_shift + MAP_SHIFT - GRAIN_SHIFT)


@kernel
def gate_raise(cpu: Cpu) -> int:
    """Have this processor's gate know that the heap map is longer now. Others find that out when they need it."""
    gate = gate_of(cpu)
    gate.gives = grains_mapped(cpu.kern) if gate.gives != 0 else 0
    return OK


@kernel
def gates_lower(kern: Kern) -> int:
    """Have all open gates know how long the heap map is, before it becomes shorter."""
    bound = grains_mapped(kern)
    for number in range(kern.cpu_count):
        gate = gate_of(element(kern.cpus, number))
        if gate.gives > bound:
            gate.gives = bound
            gate.takes = gate.takes if bound > 0 else 0
    return OK


@inlined
def quick_begin(cpu: Cpu) -> int:
    """A quick path of this processor begins."""
    return store_before32(cpu.addr + BUSY, 1)


@inlined
def quick_end(cpu: Cpu) -> int:
    """It is over, and what it did can be seen."""
    return store_release32(cpu.addr + BUSY, 0)
