"""What a caller says of the size of a block that it has: to free it, or to have it larger or smaller.

Concepts
  1. A slot stays where it is as long as the bytes asked for fit, and are more than half of it once they are rounded up
     to a size class. A run of pages loses its last pages, or takes those that follow it: free ones that have frames,
     and behind them bare ones, or the heap's top, for which frames are taken.
  2. What cannot be had in place is another block, and a copy. `calls` makes it: nobody holds the lock meanwhile.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import LARGEST_CLASS, Cpu, Gate, Kern
from kernmalloc.kernel.core.locks import SLOW
from kernmalloc.kernel.heap.bins import LARGE, clear_run, record_of
from kernmalloc.kernel.heap.magazines import slot_give_own, slot_give_quick
from kernmalloc.kernel.heap.malloc import class_for, free, mark, page_at, pages_for, size_of
from kernmalloc.kernel.heap.runs import extend_run, give_pages
from kernmalloc.kernel.heap.slabs import cache_at, own_magazine
from kernmalloc.kernel.heap.slots import grain_at, is_own_slot, page_record
from kernmalloc.lang import below, clz, failed, inlined, kernel, minus
from kernmalloc.lang.status import BAD_SIZE, NO_VA

MOVE = 0  # what `resize` says where another block is needed


@kernel
def product(count: int, bytes: int) -> int:
    """count * bytes. BAD_SIZE: one of them is below 1. NO_VA: it is more than any heap has."""
    if count <= 0 or bytes <= 0:
        return BAD_SIZE
    return count * bytes if clz(count) + clz(bytes) > 64 else NO_VA


@kernel
def free_sized(cpu: Cpu, va: int, bytes: int) -> int:
    """Give back the allocation at va, of which `bytes` bytes are in use: OK.

    BAD_SIZE: it cannot hold so many, or bytes is below 1. Else a status of `free`. Then nothing has changed.
    """
    room = size_of(cpu, va)
    if failed(room):
        return room
    return free(cpu, va) if bytes > 0 and bytes <= room else BAD_SIZE


@inlined
def _is_sized(cpu: Cpu, va: int, bytes: int, gate: Gate) -> int:
    """1 if a slot as for `is_own_slot` starts at va that can hold so many bytes."""
    if is_own_slot(cpu, va, gate) == 0:
        return 0
    return below(minus(bytes, 1), own_magazine(cpu, page_record(cpu, grain_at(cpu, va)).cache).size)


@inlined
def free_sized_quick(cpu: Cpu, va: int, bytes: int, gate: Gate) -> int:
    """Put the slot at va on this processor's stack. SLOW: where `free_quick` says so, or it is too small."""
    return slot_give_quick(cpu, va) if _is_sized(cpu, va, bytes, gate) != 0 else SLOW


@kernel
def free_sized_own(cpu: Cpu, va: int, bytes: int, gate: Gate) -> int:
    """Settle half of this processor's full stack, and put the slot at va on it. SLOW: where `free_own` says so, or it
    is too small."""
    return slot_give_own(cpu, va) if _is_sized(cpu, va, bytes, gate) != 0 else SLOW


@kernel
def _resize_run(cpu: Cpu, page: int, va: int, bytes: int) -> int:
    """`resize` of the run of pages that is the allocation at va."""
    kern = cpu.kern
    pages = record_of(kern, page).pages
    wanted = pages_for(kern, bytes)
    if wanted > pages and extend_run(cpu, page, pages, wanted - pages) == 0:
        return MOVE
    if wanted != pages:
        clear_run(kern, page, pages)
        mark(kern, page, wanted, LARGE)
        if wanted < pages:
            give_pages(cpu, page + wanted, pages - wanted)
    return va


@kernel
def _slot_fits(kern: Kern, cpu: Cpu, room: int, bytes: int) -> int:
    """1 if a slot of `room` bytes is not much too large for so many."""
    if bytes > room or bytes > LARGEST_CLASS:
        return 0
    return 1 if cache_at(kern, class_for(cpu, bytes)).size > room >> 1 else 0


@kernel
def resize(cpu: Cpu, va: int, bytes: int) -> int:
    """Let the allocation at va be one of `bytes` bytes, where it is: va. 0: another block is needed for that.

    BAD_SIZE: bytes is below 1. NO_VA: the heap's bound is below it. Else a status of `size_of`. Then nothing has
    changed.
    """
    kern = cpu.kern
    room = size_of(cpu, va)
    if failed(room):
        return room
    if bytes <= 0:
        return BAD_SIZE
    if bytes > kern.heap_pages << kern.page_shift:
        return NO_VA
    page = page_at(kern, va)
    if record_of(kern, page).use == LARGE:
        return _resize_run(cpu, page, va, bytes)
    return va if _slot_fits(kern, cpu, room, bytes) != 0 else MOVE
