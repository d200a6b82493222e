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

What may be held when: there is one lock, so there is no order among locks. Inside, nothing waits for a call of another
processor: a call that must wait is abandoned first (E26). A shootdown is done inside, and the processors that wait for
the lock must answer it: while they spin their interrupts are as they were.

Limits: whoever spins is not served in order. Interrupt handlers do not call the kernel: a quick path may be under way.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.lang import cas32, kernel, load_acquire32, pause, store_release32
from kernmalloc.lang.status import BROKEN, OK
from kernmalloc.machine.primitives import interrupts_restore, interrupts_save

LOCK = Kern.offset("lock")
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
