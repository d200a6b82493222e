"""Processors as processes see them: a walk of their address space's tables, through the TLBs of the processor.

Concepts
  1. A touch of an address looks in the processor's TLBs, else walks the tables that the kernel wrote, and marks the
     leaf entry as used. What maps nothing, or not for writing, is a fault: the kernel is to be called.
  2. A translation stays in a TLB until the kernel has it forgotten, or another takes its place: a kernel that took a
     frame without that would see processes write to it.
  3. A processor that is told to forget does so between two accesses, never inside one: `user_enter` and `user_leave`
     are put around a touch and its access. Who has a frame forgotten waits that long, as for the answer to an
     interrupt.
  4. On the soft machine these are the TLBs that the kernel uses on that processor, too.

Machine code's side of `forget`; accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import element, kernel, ram_at
from kernmalloc.lang.atomics import cas32, pause, store_release32
from kernmalloc.machine.mmu import Format, swap_entry
from kernmalloc.machine.tlb import (
    DATA,
    PROCESSES,
    READABLE,
    WRITABLE,
    Core,
    Slot,
    remember,
    shortcut_of,
    tlb_drop,
    tlb_enter,
    tlb_find,
    tlb_load,
    tlb_rights,
)
from kernmalloc.machine.walker import NOT_USED, READ, USER, WRITE, walk_hardware

PROCESS_TAG = 1 << 58  # of a tag: a page of a process
BUSY = Core.offset("busy")
MEMORY = 1 << 62  # bytes, more than there are: the kernel's tables lie in RAM


@kernel
def user_enter(users: Core, processor: int) -> int:
    """Have a processor's TLBs to oneself."""
    core = element(users, processor)
    while cas32(core.addr + BUSY, 0, 1) == 0:
        pause()
    if core.notes != 0:
        core.notes.core = core
    return 0


@kernel
def user_leave(users: Core, processor: int) -> int:
    """Let them go."""
    return store_release32(element(users, processor).addr + BUSY, 0)


@kernel
def users_forget(users: Core, processors: int, page_shift: int, root: int, va: int) -> int:
    """Drop the translation of one page from every processor's TLBs."""
    for processor in range(processors):
        user_enter(users, processor)
        tlb_drop(element(users, processor), root, va >> page_shift, 1)
        user_leave(users, processor)
    return 0


@kernel
def _walk(core: Core, format: Format, phys: int, root: int, va: int, access: int) -> int:
    """Walk for an access, and mark the entry as used: 0, or the fault. NOT_USED: the processor leaves that to software,
    or the kernel changed the entry meanwhile."""
    found = core.walked
    fault = walk_hardware(core.hardware, phys, MEMORY, root, va, access, found)
    if fault == NOT_USED and core.marks != 0:
        marked = found.entry | found.used | (found.dirty if access & WRITE != 0 else 0)
        if swap_entry(format, ram_at(phys, found.at), found.entry, marked) != 0:
            found.entry = marked
            return 0
    return fault


@kernel
def _load(core: Core, format: Format, phys: int, root: int, page: int, write: int) -> Slot:
    """Walk for a page, and load what is found; null: a fault."""
    shift = format.page_shift
    access = USER | (WRITE if write != 0 else READ)
    if _walk(core, format, phys, root, page << shift, access) != 0:
        return Slot(0)
    found = core.walked
    size = found.page - shift
    return tlb_load(core, shift, DATA, root, page, found.pa, size, tlb_rights(core, access), PROCESSES)


@kernel
def _miss(core: Core, format: Format, phys: int, root: int, va: int, write: int) -> int:
    """A touch that no shortcut leads to: the host address; 0: a fault. All are such where distances are noted."""
    shift = format.page_shift
    page = va >> shift
    tlb_enter(core, root)
    slot = tlb_find(core, shift, DATA, root, page, WRITABLE if write != 0 else READABLE, PROCESSES)
    if slot == 0:
        slot = _load(core, format, phys, root, page, write)
    if slot == 0:
        return 0
    delta = ram_at(phys, slot.pa + ((page - slot.page) << shift)) - (page << shift)
    remember(core, page + PROCESS_TAG, slot, root, PROCESSES, delta)
    return va + delta


@kernel
def user_touch(format: Format, users: Core, processor: int, phys: int, root: int, va: int, write: int) -> int:
    """Host address of va as a process on that processor, which is entered, reaches it; 0: a fault. `phys` is RAM's."""
    core = element(users, processor)
    tag = (va >> format.page_shift) + PROCESS_TAG
    known = shortcut_of(core, tag)
    slot = known.slot
    known_tag = known.write if write != 0 else known.read
    if known_tag == tag and known.space == root and core.space == root and slot.serial == known.serial:
        clock = core.clock + 1
        core.clock = clock
        slot.stamp = clock
        known.hits = known.hits + 1
        return va + known.delta
    return _miss(core, format, phys, root, va, write)
