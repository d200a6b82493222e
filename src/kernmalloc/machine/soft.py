"""The soft machine, in kernel Python: every access walks the page tables that the kernel wrote, through a TLB.

The TLB is direct-mapped. Of its uses only misses are counted, each of which walks. An access that no entry maps is a
fault: its address is noted for the caller, and it goes to the sink, a page of no use. Where there is no root, addresses
are physical, counted from `window` on: that is a direct map, and at 0 it is a machine with paging off.

Host-level code: its accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, array, element, field, i64, inline, kernel, machine_record, port, primitive
from kernmalloc.machine.mmu import Format, entry_pa, walk
from kernmalloc.machine.users import users_forget

memcpy = primitive("memcpy", 3, "The C library's.")
memset = primitive("memset", 3, "The C library's.")

TLB_ENTRIES = 512
NO_ROOT = -1
NO_TAG = -1
ALL = 1 << 16  # processors: more than there are


class TlbEntry(Record):
    """One translation."""

    tag: i64 = field("page number, or NO_TAG")
    delta: i64 = field("host address minus VA")


class Soft(Record):
    """The soft machine's state."""

    ram: i64 = field("host address of physical address 0")
    ram_bytes: i64 = field("length of RAM")
    format: Format = inline("the format of the page tables")
    page_shift: i64 = field("log2 of the bytes in a page")
    root: i64 = field("physical address of the root table; NO_ROOT: there are no tables")
    window: i64 = field("VA of the kernel's window as the kernel uses it")
    target: i64 = field("VA of the window on the target")
    fresh: i64 = field("1 if RAM was zero when the kernel was started")
    users: i64 = field("host address of the TLBs of processors that run processes")
    processors: i64 = field("how many there are")
    sink: i64 = field("host address of a page that takes faulting accesses")
    faults: i64 = field("accesses that nothing mapped")
    fault: i64 = field("address of the first of them")
    misses: i64 = field("walks")
    flushes: i64 = field("translations dropped on the kernel's word")
    tlb: TlbEntry = array(TLB_ENTRIES, "by the low bits of the page number")


@kernel
def _entry_of(m: Soft, page: int) -> TlbEntry:
    """Where the translation of a page is, if it is anywhere."""
    return element(m.tlb, page & (TLB_ENTRIES - 1))


@kernel
def miss(m: Soft, va: int) -> int:
    """Walk, and load the TLB: the host address."""
    m.misses = m.misses + 1
    shift = m.page_shift
    start = (va >> shift) << shift
    pa = start - m.window
    if m.root != NO_ROOT:
        entry = walk(m.format, m.ram, m.ram_bytes, m.root, va - m.window + m.target)
        pa = entry_pa(m.format, entry) if entry != 0 else m.ram_bytes
    if pa < 0 or pa >= m.ram_bytes:
        if m.faults == 0:
            m.fault = va
        m.faults = m.faults + 1
        return m.sink + va - start
    page = va >> shift
    e = _entry_of(m, page)
    e.tag = page
    e.delta = m.ram + pa - start
    return va + e.delta


@port
def translate(va: int, write: int) -> int:
    """The host address of va."""
    m = Soft(machine_record())
    page = va >> m.page_shift
    e = _entry_of(m, page)
    if e.tag == page:
        return va + e.delta
    return miss(m, va)


@port
def flush(va: int, pages: int) -> int:
    """Drop the translations of these pages."""
    m = Soft(machine_record())
    m.flushes = m.flushes + pages
    first = va >> m.page_shift
    for page in range(first, first + min(pages, TLB_ENTRIES)):
        _entry_of(m, page).tag = NO_TAG
    return 0


@port
def shootdown(va: int, pages: int) -> int:
    """There is one processor."""
    return flush(va, pages)


@port
def map(va: int, pa: int, pages: int) -> int:
    """The entries say it, too."""
    flush(va, pages)
    return 1


@port
def unmap(va: int, pages: int) -> int:
    """The entries say it, too."""
    return flush(va, pages)


@port
def reach() -> int:
    """There is one TLB for all processors."""
    return ALL


@port
def barrier() -> int:
    """One thread runs all processors."""
    return 1


@port
def forget(root: int, va: int) -> int:
    """Drop the translation from every processor's TLB of address spaces."""
    m = Soft(machine_record())
    return users_forget(m.users, m.processors, m.page_shift, root, va)


@port
def zero(va: int, bytes: int) -> int:
    """Fill with zeros, page by page."""
    page = 1 << Soft(machine_record()).page_shift
    at = va
    while at < va + bytes:
        n = min(page - (at & (page - 1)), va + bytes - at)
        memset(translate(at, 1), 0, n)
        at += n
    return 0


@port
def copy(to: int, of: int, bytes: int) -> int:
    """Copy, up to the next end of a page on either side at a time."""
    page = 1 << Soft(machine_record()).page_shift
    done = 0
    while done < bytes:
        n = page - max((to + done) & (page - 1), (of + done) & (page - 1))
        n = min(n, bytes - done)
        there = translate(to + done, 1)
        here = translate(of + done, 0)
        memcpy(there, here, n)
        done += n
    return 0


@port
def known_zero(pa: int, bytes: int) -> int:
    """Fresh memory is zero."""
    return Soft(machine_record()).fresh


@port
def interrupts_save() -> int:
    """The soft machine has no interrupts."""
    return 0


@port
def interrupts_restore(flags: int) -> int:
    """Nothing was taken off."""
    return 0
