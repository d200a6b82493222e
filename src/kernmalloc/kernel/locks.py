"""The kernel lock: who may be inside.

Concepts
  1. One lock guards all that processors share: the `Kern` record and whatever hangs off it. "For a Microkernel, a Big Lock
     Is Fine" (Peters and others, APSys 2015): what is called often takes no lock at all, the rest is short or rare.
  2. A call takes it in `enter` and lets go of it in `leave`; `calls` alone does so, around every call. Interrupts of this
     processor are off in between: nobody waits longer because the holder handles one. A processor that is inside enters
     again without waiting (`Cpu.depth`).
  3. Quick paths work on what is this processor's own: its stock of frames, its magazines and slabs, its own frames'
     entries. Of what is shared they read only words that cannot change as long as their caller owns what it gives back: the
     entry of its frame, whose slab the page of its slot is of. Where that is not enough they answer
     SLOW before they store anything, and the call goes on under the lock.

What may be held when: there is one lock, so there is no order among locks. Inside, nothing waits for another processor:
a call that must wait is abandoned first (E26). A shootdown is done inside; who waits for the lock must take it, so
processors that spin have interrupts as they were.

Limits: whoever spins is not served in order. Interrupt handlers do not call the kernel: a quick path may be under way.
"""

from kernmalloc.kernel.kern import Cpu, Kern
from kernmalloc.lang import cas32, kernel, load_acquire32, pause, store_release32
from kernmalloc.lang.status import BROKEN, OK
from kernmalloc.machine.primitives import interrupts_restore, interrupts_save

LOCK = Kern.offset("lock")
SLOW = -64  # what a quick path says that needs the lock; no call's result


@kernel
def enter(cpu):
    """Wait until this processor alone is inside; returns how often it is."""
    c = Cpu(cpu)
    depth = c.depth
    if depth == 0:
        lock = c.kern + LOCK
        flags = interrupts_save()
        while cas32(lock, 0, c.id + 1) == 0:
            interrupts_restore(flags)
            while load_acquire32(lock) != 0:
                pause()
            flags = interrupts_save()
        c.flags = flags
    c.depth = depth + 1
    return depth + 1


@kernel
def leave(cpu):
    """Undo one `enter`. BROKEN if this processor is not inside: nothing changes."""
    c = Cpu(cpu)
    lock = c.kern + LOCK
    if c.depth <= 0 or load_acquire32(lock) != c.id + 1:
        return BROKEN
    c.depth = c.depth - 1
    if c.depth == 0:
        flags = c.flags
        c.flags = 0
        store_release32(lock, 0)
        interrupts_restore(flags)
    return OK
