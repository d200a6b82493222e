"""Processors as processes see them: a walk of their address space's tables, through a TLB of its own per processor.

Concepts
  1. A touch of an address looks in the processor's TLB, else walks the tables that the kernel wrote, and marks the leaf entry as
     used. What maps nothing, or not for writing, is a fault: the kernel is to be called.
  2. A translation stays in the TLB until the kernel has it forgotten: a kernel that took a frame without that would see
     processes write to it.

Machine code's side of `forget`; accesses are to the host's memory.
"""

from kernmalloc.lang import i64, kernel, record
from kernmalloc.machine.mmu import Entry, entry_pa, is_writable, leaf_entry_at, with_use

TRANSLATIONS = 256
TRANSLATION_SHIFT = 5
PER_PROCESSOR_SHIFT = 13  # bytes of one processor's TLB


@record(size=32)
class Translation:
    """One translation of a processor's TLB."""

    root: i64 = "physical address of the address space's root table; 0: none"
    va: i64 = "address of the page"
    pa: i64 = "of the frame"
    write: i64 = "1 if it may be written to"


@kernel
def _translation(users, processor, page):
    return users + (processor << PER_PROCESSOR_SHIFT) + ((page & (TRANSLATIONS - 1)) << TRANSLATION_SHIFT)


@kernel
def users_forget(users, processors, page_shift, root, va):
    """Drop the translation of one page from every processor's TLB."""
    for processor in range(processors):
        t = Translation(_translation(users, processor, va >> page_shift))
        if t.root == root and t.va == va:
            t.root = 0
    return 0


@kernel
def user_touch(users, processor, arch, page_shift, phys, root, va, write):
    """Host address of va as a process on that processor reaches it, or 0: a fault. `phys` is the host address of RAM."""
    page = va & -(1 << page_shift)
    t = Translation(_translation(users, processor, va >> page_shift))
    if t.root != root or t.va != page or t.write < write:
        leaf = leaf_entry_at(arch, phys, root, page)
        if leaf == 0:
            return 0
        e = Entry(leaf)
        writable = is_writable(arch, e.bits)
        if writable < write:
            return 0
        e.bits = with_use(arch, e.bits)
        t.root = root
        t.va = page
        t.pa = entry_pa(arch, e.bits)
        t.write = writable
    return phys + t.pa + va - page
