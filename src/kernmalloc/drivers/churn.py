"""Churn: processors that allocate and free as fast as they can, each other's memory included.

Concepts
  1. The box is an array of words in the heap, shared by all who churn. A word is 0, the address of a heap block,
     or pfn * 2 + 1 of a frame.
  2. One step picks a word at random. What it finds there it takes out and gives back, whoever allocated it; where it
     finds nothing it allocates, and puts that in. Words change hands by compare and swap, so that each is freed
     exactly once.
  3. A block carries its own address in its first word as long as it is allocated: two owners of one block are seen.
"""

from __future__ import annotations

from kernmalloc.drivers.xorshift import xorshift
from kernmalloc.kernel.calls import frame_get, frame_put, free, malloc
from kernmalloc.kernel.core.kern import PAGE, Cpu, Word
from kernmalloc.lang import cas64, entry, failed, kernel, load_acquire64
from kernmalloc.lang.status import BROKEN, OK

SIZES = 1023  # blocks have up to so many bytes, and 8


@kernel
def _give_back(cpu: Cpu, what: int) -> int:
    """Free what a word held."""
    if what & 1 != 0:
        return frame_put(cpu, what >> 1)
    if Word(what).bits != what:
        return BROKEN
    Word(what).bits = 0
    return free(cpu, what)


@kernel
def _get(cpu: Cpu, x: int) -> int:
    """Allocate a frame or a block, as a random number says: what the word will hold, or 0 where memory is short."""
    if x & 1 != 0:
        pfn = frame_get(cpu, PAGE)
        return 0 if failed(pfn) else (pfn << 1) | 1
    va = malloc(cpu, ((x >> 1) & SIZES) + 8)
    if failed(va):
        return 0
    Word(va).bits = va
    return va


@entry
def churn(cpu: Cpu, box: int, words: int, seed: int, steps: int) -> int:
    """So many steps on a box of `words` (a power of two): OK, or the status of a free that was refused."""
    x = seed
    for i in range(steps):
        x = xorshift(x)
        at = box + (((x >> 20) & (words - 1)) << 3)
        found = load_acquire64(at)
        new = _get(cpu, x) if found == 0 else 0
        changed = cas64(at, found, new)
        back = found if changed != 0 else new  # what is nobody's now
        if back != 0:
            status = _give_back(cpu, back)
            if failed(status):
                return status
    return OK


@entry
def churn_end(cpu: Cpu, box: int, words: int) -> int:
    """Take what is left out of the box: OK, or the status of a free that was refused."""
    for at in range(box, box + (words << 3), 8):
        left = Word(at).bits
        Word(at).bits = 0
        status = _give_back(cpu, left) if left != 0 else OK
        if failed(status):
            return status
    return OK


@entry
def churn_frames(cpu: Cpu, count: int) -> int:
    """Get a frame and put it back, so many times: OK, or the status of what was refused."""
    for i in range(count):
        pfn = frame_get(cpu, PAGE)
        if failed(pfn):
            return pfn
        status = frame_put(cpu, pfn)
        if failed(status):
            return status
    return OK


@entry
def churn_blocks(cpu: Cpu, bytes: int, count: int) -> int:
    """Allocate a block and free it, so many times: OK, or the status of what was refused."""
    for i in range(count):
        va = malloc(cpu, bytes)
        if failed(va):
            return va
        status = free(cpu, va)
        if failed(status):
            return status
    return OK
