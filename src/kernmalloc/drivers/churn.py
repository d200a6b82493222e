"""Churn: processors that allocate and free as fast as they can, each other's memory included.

Concepts
  1. The box is an array of words in the heap, shared by all who churn. A word is 0, a heap block, or a frame (pfn * 2 + 1).
  2. One step picks a word at random. What it finds there it takes out and gives back, whoever allocated it; where it finds
     nothing it allocates, and puts that in. Words change hands by compare and swap, so that each is freed exactly once.
  3. A block carries its own address in its first word as long as it is allocated: two owners of one block are seen.
"""

from kernmalloc.kernel.calls import frame_get, frame_put, free, malloc
from kernmalloc.kernel.kern import PAGE, Word
from kernmalloc.lang import cas64, entry, kernel, load_acquire64, shl, shr
from kernmalloc.lang.status import BROKEN, OK

SIZES = 1023  # blocks have up to so many bytes, and 8


@kernel
def _random(x):
    """Marsaglia's xorshift: the next of 2 ** 64 - 1 numbers, none of them 0."""
    x = x ^ shl(x, 13)
    x = x ^ shr(x, 7)
    return x ^ shl(x, 17)


@kernel
def _give_back(cpu, what):
    """Free what a word held."""
    if what & 1 != 0:
        return frame_put(cpu, what >> 1)
    if Word(what).bits != what:
        return BROKEN
    Word(what).bits = 0
    return free(cpu, what)


@kernel
def _get(cpu, x):
    """Allocate a frame or a block, as a random number says: what the word will hold, or 0 where memory is short."""
    if x & 1 != 0:
        pfn = frame_get(cpu, PAGE)
        return 0 if pfn < 0 else pfn << 1 | 1
    va = malloc(cpu, ((x >> 1) & SIZES) + 8)
    if va < 0:
        return 0
    Word(va).bits = va
    return va


@entry
def churn(cpu, box, words, seed, steps):
    """So many steps on a box of `words` (a power of two): OK, or the status of a free that was refused."""
    x = seed
    for i in range(steps):
        x = _random(x)
        at = box + (((x >> 20) & (words - 1)) << 3)
        found = load_acquire64(at)
        new = _get(cpu, x) if found == 0 else 0
        changed = cas64(at, found, new)
        back = found if changed != 0 else new  # what is nobody's now
        if back != 0:
            status = _give_back(cpu, back)
            if status < 0:
                return status
    return OK


@entry
def churn_end(cpu, box, words):
    """Take what is left out of the box: OK, or the status of a free that was refused."""
    for at in range(box, box + (words << 3), 8):
        left = Word(at).bits
        Word(at).bits = 0
        status = _give_back(cpu, left) if left != 0 else OK
        if status < 0:
            return status
    return OK


@entry
def churn_frames(cpu, count):
    """Get a frame and put it back, so many times: OK, or the status of what was refused."""
    for i in range(count):
        pfn = frame_get(cpu, PAGE)
        if pfn < 0:
            return pfn
        status = frame_put(cpu, pfn)
        if status < 0:
            return status
    return OK


@entry
def churn_blocks(cpu, bytes, count):
    """Allocate a block and free it, so many times: OK, or the status of what was refused."""
    for i in range(count):
        va = malloc(cpu, bytes)
        if va < 0:
            return va
        status = free(cpu, va)
        if status < 0:
            return status
    return OK
