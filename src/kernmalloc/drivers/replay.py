"""Replay of a trace: the kernel's own calls, one operation after the other.

Concepts
  1. A word of the list is an operation as `inputs/trace.py` writes it: the slot below, the code above. A slot of the table
     holds what the kernel returned: an address, a pfn, or the status of a call that was refused; NOTHING once that was
     given back. What was refused is not.
  2. A cache of the trace has a number, and by it in a table the number of the kernel's cache for it; or the negative of an
     object's bytes, for objects that get a size class.
  3. Whoever is given a block writes into it, and what it writes tells which slot it is in. `replay` is for timing: it writes
     the first word. `replay_marked` writes all of them, and the first of each frame, and looks whether they are still there
     before it gives a block back: two owners of any word are seen. It notes the frames that stand behind the heap after each
     operation, and what was refused.

List, tables and notes lie in the kernel's heap: one driver for every life.
"""

from kernmalloc.inputs.trace import ORDERS
from kernmalloc.kernel.calls import (
    block_get,
    cache_get,
    cache_put,
    frame_get,
    frame_put,
    free,
    malloc,
    size_of,
    window_close,
    window_open,
)
from kernmalloc.kernel.kern import PAGE, Cpu, Kern, Word
from kernmalloc.lang import entry, kernel, record, u32
from kernmalloc.lang.status import BROKEN, OK

MASK = (1 << 32) - 1
NOTHING = -1


@record(size=8)
class Note:
    """What is noted of one operation."""

    frames: u32 = "frames of the heap, its map and its mapping tables after it, but for what a fixed heap keeps free"
    refused: u32 = "the negative of the status of an allocation that was refused, or 0"


@kernel
def _take(cpu, caches, code):
    """Allocate what a code says: as the call that does it."""
    if code > 0:
        return malloc(cpu, code)
    what = ~code >> 1
    if what == 0:
        return frame_get(cpu, PAGE)
    if what < ORDERS:
        return block_get(cpu, what, PAGE)
    id = Word(caches + ((what - ORDERS) << 3)).bits
    return cache_get(cpu, id) if id >= 0 else malloc(cpu, -id)


@kernel
def _give(cpu, caches, code, what):
    """Give back what a code says: as the call that does it."""
    if code == 0:
        return free(cpu, what)
    kind = ~code >> 1
    if kind < ORDERS:
        return frame_put(cpu, what)
    id = Word(caches + ((kind - ORDERS) << 3)).bits
    return cache_put(cpu, id, what) if id >= 0 else free(cpu, what)


@kernel
def _allocates(code):
    """1 if an operation allocates."""
    return 1 if code > 0 or (code < 0 and code & 1 != 0) else 0


@kernel
def _order(code):
    """The order of the pages that a code is about; -1: it is about the heap."""
    what = ~code >> 1
    return what if code < 0 and what < ORDERS else -1


@entry
def replay(cpu, ops, count, slots, caches):
    """So many operations: OK, or the status of a free that was refused."""
    for at in range(ops, ops + (count << 3), 8):
        operation = Word(at).bits
        code = operation >> 32
        slot = slots + ((operation & MASK) << 3)
        if _allocates(code) != 0:
            got = _take(cpu, caches, code)
            Word(slot).bits = got
            if got >= 0 and _order(code) < 0:
                Word(got).bits = slot
        elif Word(slot).bits >= 0:
            status = _give(cpu, caches, code, Word(slot).bits)
            if status < 0:
                return status
            Word(slot).bits = NOTHING
    return OK


@kernel
def _mark_frame(cpu, pfn, slot):
    """Write into a frame whose it is: OK, or why it cannot be reached."""
    window = window_open(cpu, pfn)
    if window < 0:
        return window
    Word(window).bits = slot
    return window_close(cpu, window)


@kernel
def _is_frame_of(cpu, pfn, slot):
    """OK if it is there still, BROKEN if not."""
    window = window_open(cpu, pfn)
    if window < 0:
        return window
    mark = Word(window).bits
    status = window_close(cpu, window)
    return BROKEN if mark != slot else status


@kernel
def _mark(cpu, code, what, slot):
    """Write all over a new block whose it is: OK, or BROKEN if it is too small."""
    order = _order(code)
    if order >= 0:
        for pfn in range(what, what + (1 << order)):
            status = _mark_frame(cpu, pfn, slot)
            if status < 0:
                return status
        return OK
    size = size_of(cpu, what)
    if size < code:
        return BROKEN
    for at in range(what, what + size, 8):
        Word(at).bits = slot
    return OK


@kernel
def _is_marked(cpu, code, what, slot):
    """OK if all of a block says that it is this slot's; BROKEN if not."""
    order = _order(code)
    if order >= 0:
        for pfn in range(what, what + (1 << order)):
            status = _is_frame_of(cpu, pfn, slot)
            if status < 0:
                return status
        return OK
    for at in range(what, what + size_of(cpu, what), 8):
        if Word(at).bits != slot:
            return BROKEN
    return OK


@entry
def replay_marked(cpu, ops, count, slots, caches, notes):
    """The same, with every block marked, and notes taken. BROKEN: a block had two owners, or is smaller than asked for."""
    k = Kern(Cpu(cpu).kern)
    note = notes
    for at in range(ops, ops + (count << 3), 8):
        operation = Word(at).bits
        code = operation >> 32
        slot = slots + ((operation & MASK) << 3)
        status = OK
        n = Note(note)
        n.refused = 0
        if _allocates(code) != 0:
            got = _take(cpu, caches, code)
            Word(slot).bits = got
            n.refused = -got if got < 0 else 0
            status = _mark(cpu, code, got, slot) if got >= 0 else OK
        elif Word(slot).bits >= 0:
            status = _is_marked(cpu, code, Word(slot).bits, slot)
            if status >= 0:
                status = _give(cpu, caches, code, Word(slot).bits)
            Word(slot).bits = NOTHING
        if status < 0:
            return status
        n.frames = k.heap_frames + k.mapping_frames - k.kept
        note += 8
    return OK
