"""Replay of a trace: the kernel's own calls, one operation after the other.

Concepts
  1. A word of the list is an operation as `inputs/traces/trace.py` writes it: the slot below, the code above. A slot
     of the table holds what the kernel returned: an address, a pfn, or the status of a call that was refused. It holds
     NOTHING once that was given back; what was refused is not given back.
  2. A cache of the trace has a number. A table has, by that number, the number of the kernel's cache for it; or,
     where a size class serves for it, the negative of the bytes of an object.
  3. A block is written to as soon as it is allocated: the mark is the address of its slot. `replay` is for timing,
     and marks the first word of a heap block. `replay_marked` marks all words of it, and looks at the marks before it
     gives a block back: two owners of any word are seen. It also notes the frames behind the heap after each operation,
     and what was refused.
  4. Of frames, `replay_marked` marks the first word of at most eight, evenly spread: each costs a window. Who owns a
     frame is a bit in a table, an `Owned`, so that two owners of any frame are seen when the second gets it.

List, tables and notes lie in the kernel's heap: one driver for every life.
"""

from __future__ import annotations

from kernmalloc.inputs.traces.trace import ORDERS
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
from kernmalloc.kernel.core.kern import PAGE, Cpu, Word
from kernmalloc.lang import Record, element, entry, failed, field, kernel, u32
from kernmalloc.lang.status import BROKEN, OK

MASK = (1 << 32) - 1
NOTHING = -1
SPAN_SHIFT = 15  # log2 of the frames of one part of the table of who owns frames
WORD_SHIFT = 5  # log2 of the frames of one of its words
MARKED_SHIFT = 3  # log2 of the frames of a block that are marked


class Note(Record):
    """What is noted of one operation."""

    frames: u32 = field("frames of heap, heap map and mapping tables after it, but for those that a fixed heap keeps")
    refused: u32 = field("the negative of the status of an allocation that was refused, or 0")


@kernel
def _take(cpu: Cpu, caches: Word, code: int) -> int:
    """Allocate what a code says: an address or pfn, or why it was refused."""
    if code > 0:
        return malloc(cpu, code)
    what = ~code >> 1
    if what == 0:
        return frame_get(cpu, PAGE)
    if what < ORDERS:
        return block_get(cpu, what, PAGE)
    id = element(caches, what - ORDERS).bits
    return cache_get(cpu, id) if id >= 0 else malloc(cpu, -id)


@kernel
def _give(cpu: Cpu, caches: Word, code: int, what: int) -> int:
    """Give back what a code says: OK, or why it was refused."""
    if code == 0:
        return free(cpu, what)
    kind = ~code >> 1
    if kind < ORDERS:
        return frame_put(cpu, what)
    id = element(caches, kind - ORDERS).bits
    return cache_put(cpu, id, what) if id >= 0 else free(cpu, what)


@kernel
def _allocates(code: int) -> int:
    """1 if an operation allocates."""
    return 1 if code > 0 or (code < 0 and code & 1 != 0) else 0


@kernel
def _order(code: int) -> int:
    """The order of the pages that a code is about; -1: it is about the heap."""
    what = ~code >> 1
    return what if code < 0 and what < ORDERS else -1


@entry
def replay(cpu: Cpu, ops: Word, count: int, slots: Word, caches: Word) -> int:
    """So many operations: how many allocations were refused; or the status of a free that was."""
    refused = 0
    for i in range(count):
        operation = element(ops, i).bits
        code = operation >> 32
        slot = element(slots, operation & MASK)
        if _allocates(code) != 0:
            got = _take(cpu, caches, code)
            slot.bits = got
            if failed(got):
                refused += 1
            elif _order(code) < 0:
                Word(got).bits = slot.addr
        elif not failed(slot.bits):
            status = _give(cpu, caches, code, slot.bits)
            if failed(status):
                return status
            slot.bits = NOTHING
    return refused


@kernel
def _mark_frame(cpu: Cpu, pfn: int, slot: int) -> int:
    """Write into a frame which slot owns it: OK, or why it cannot be reached."""
    window = window_open(cpu, pfn)
    if failed(window):
        return window
    Word(window).bits = slot
    return window_close(cpu, window)


@kernel
def _is_frame_of(cpu: Cpu, pfn: int, slot: int) -> int:
    """OK if a frame says that this slot owns it, BROKEN if not."""
    window = window_open(cpu, pfn)
    if failed(window):
        return window
    mark = Word(window).bits
    status = window_close(cpu, window)
    return BROKEN if mark != slot else status


@kernel
def _own(owned: Word, pfn: int, order: int, was: int) -> int:
    """Turn the bits of a block's frames: OK, or BROKEN where one is not what it was, all ones or 0, or is no frame.

    `owned` is the number of parts, then where each is, 0 if there is no RAM in it."""
    shift = min(order, WORD_SHIFT)
    for i in range(1 << (order - shift)):
        at = pfn + (i << shift)
        part = at >> SPAN_SHIFT
        if at < 0 or part >= owned.bits or element(owned, part + 1).bits == 0:
            return BROKEN
        word = element(Word(element(owned, part + 1).bits), (at >> WORD_SHIFT) & ((1 << (SPAN_SHIFT - WORD_SHIFT)) - 1))
        bits = ((1 << (1 << shift)) - 1) << (at & ((1 << WORD_SHIFT) - 1))
        if word.bits & bits != was & bits:
            return BROKEN
        word.bits = word.bits ^ bits
    return OK


@kernel
def _mark(cpu: Cpu, code: int, what: int, slot: int, owned: Word) -> int:
    """Write all over a new block which slot owns it: OK, or BROKEN if it is too small, or another's."""
    order = _order(code)
    if order >= 0:
        status = _own(owned, what, order, 0)
        if failed(status):
            return status
        shift = min(order, MARKED_SHIFT)
        for i in range(1 << shift):
            status = _mark_frame(cpu, what + (i << (order - shift)), slot)
            if failed(status):
                return status
        return OK
    size = size_of(cpu, what)
    if size < code:
        return BROKEN
    for at in range(what, what + size, 8):
        Word(at).bits = slot
    return OK


@kernel
def _is_marked(cpu: Cpu, code: int, what: int, slot: int, owned: Word) -> int:
    """OK if all of a block says that this slot owns it, BROKEN if not; of frames, nobody owns them then."""
    order = _order(code)
    if order >= 0:
        shift = min(order, MARKED_SHIFT)
        for i in range(1 << shift):
            status = _is_frame_of(cpu, what + (i << (order - shift)), slot)
            if failed(status):
                return status
        return _own(owned, what, order, -1)
    for at in range(what, what + size_of(cpu, what), 8):
        if Word(at).bits != slot:
            return BROKEN
    return OK


@entry
def replay_marked(cpu: Cpu, ops: Word, count: int, slots: Word, caches: Word, owned: Word, notes: Note) -> int:
    """`replay` with every block marked, and a note of each operation.

    BROKEN: a block had two owners, or is smaller than was asked for."""
    kern = cpu.kern
    note = notes
    for i in range(count):
        operation = element(ops, i).bits
        code = operation >> 32
        slot = element(slots, operation & MASK)
        status = OK
        note.refused = 0
        if _allocates(code) != 0:
            got = _take(cpu, caches, code)
            slot.bits = got
            note.refused = -got if failed(got) else 0
            status = _mark(cpu, code, got, slot.addr, owned) if not failed(got) else OK
        elif not failed(slot.bits):
            status = _is_marked(cpu, code, slot.bits, slot.addr, owned)
            if not failed(status):
                status = _give(cpu, caches, code, slot.bits)
            slot.bits = NOTHING
        if failed(status):
            return status
        note.frames = kern.heap_frames + kern.mapping_frames - kern.kept
        note = element(note, 1)
    return OK
