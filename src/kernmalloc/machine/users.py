"""Processors as processes see them: a walk of their address space's tables, through a TLB of its own per processor.

Concepts
  1. A touch of an address looks in the processor's TLB, else walks the tables that the kernel wrote, and marks the leaf
     entry as used. What maps nothing, or not for writing, is a fault: the kernel is to be called.
  2. A translation stays in the TLB until the kernel has it forgotten: a kernel that took a frame without that would see
     processes write to it.
  3. A processor that is told to forget does so between two accesses, never inside one: `user_enter` and `user_leave`
     are put around a touch and its access. Who has a frame forgotten waits that long, as for the answer to an
     interrupt.

Machine code's side of `forget`; accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, field, i64, kernel
from kernmalloc.lang.atomics import cas32, pause, store_release32
from kernmalloc.machine.mmu import (
    Format,
    entry_pa,
    is_present,
    is_writable,
    leaf_entry_at,
    load_entry,
    swap_entry,
    with_use,
)

TRANSLATIONS = 256
TRANSLATION_SHIFT = 5
PER_PROCESSOR_SHIFT = 14  # bytes of one processor's TLB and, behind it, a word that says whether it is in use
BUSY = 1 << 13


class Translation(Record):
    """One translation of a processor's TLB."""

    root: i64 = field("physical address of the address space's root table; 0: none")
    va: i64 = field("address of the page")
    pa: i64 = field("of the frame")
    write: i64 = field("1 if it may be written to")


@kernel
def _translation(users: int, processor: int, page: int) -> int:
    return users + (processor << PER_PROCESSOR_SHIFT) + ((page & (TRANSLATIONS - 1)) << TRANSLATION_SHIFT)


@kernel
def user_enter(users: int, processor: int) -> int:
    """Have a processor's TLB to oneself."""
    while cas32(users + (processor << PER_PROCESSOR_SHIFT) + BUSY, 0, 1) == 0:
        pause()
    return 0


@kernel
def user_leave(users: int, processor: int) -> int:
    """Let it go."""
    return store_release32(users + (processor << PER_PROCESSOR_SHIFT) + BUSY, 0)


@kernel
def users_forget(users: int, processors: int, page_shift: int, root: int, va: int) -> int:
    """Drop the translation of one page from every processor's TLB."""
    for processor in range(processors):
        user_enter(users, processor)
        t = Translation(_translation(users, processor, va >> page_shift))
        if t.root == root and t.va == va:
            t.root = 0
        user_leave(users, processor)
    return 0


@kernel
def user_touch(format: Format, users: int, processor: int, phys: int, root: int, va: int, write: int) -> int:
    """Host address of va as a process on that processor, which is entered, reaches it; 0: a fault. `phys` is RAM's."""
    page = va & -(1 << format.page_shift)
    t = Translation(_translation(users, processor, va >> format.page_shift))
    if t.root != root or t.va != page or t.write < write:
        leaf = leaf_entry_at(format, phys, root, page)
        if leaf == 0:
            return 0
        bits = load_entry(format, leaf)
        if is_present(format, bits) == 0 or is_writable(format, bits) < write:
            return 0
        if swap_entry(format, leaf, bits, with_use(format, bits)) == 0:
            return 0  # the kernel changed the entry meanwhile
        t.root = root
        t.va = page
        t.pa = entry_pa(format, bits)
        t.write = is_writable(format, bits)
    return phys + t.pa + va - page
