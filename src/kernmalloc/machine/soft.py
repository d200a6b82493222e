"""The soft machine, in kernel Python: every access walks the page tables that the kernel wrote, through a TLB.

The TLB is direct-mapped, with counts of hits' complements: a miss walks; what maps nothing is a fault, noted with its
address, and the access goes to a spare page so that the caller can be told. Before `root` is set, addresses are physical.

Host-level code: its accesses are to the host's memory.
"""

from kernmalloc.lang import entry, i64, kernel, machine_record, primitive, record
from kernmalloc.machine.mmu import entry_pa, walk
from kernmalloc.machine.users import users_forget

memcpy = primitive("memcpy", 3, "The C library's.")
memset = primitive("memset", 3, "The C library's.")

TLB_ENTRIES = 512
NO_ROOT = -1
NO_TAG = -1


@record(size=16)
class TlbEntry:
    """One translation."""

    tag: i64 = "page number, or NO_TAG"
    delta: i64 = "host address minus VA"


@record(size=8312)
class Soft:
    """The soft machine's state."""

    ram: i64 = "host address of physical address 0"
    ram_bytes: i64 = "length of RAM"
    arch: i64 = "format of page-table entries"
    page_shift: i64 = "log2 of the bytes in a page"
    root: i64 = "physical address of the root table; NO_ROOT: paging is off"
    window: i64 = "VA of the kernel's window as the kernel uses it"
    target: i64 = "VA of the window on the target"
    fresh: i64 = "1 if RAM was zero when the kernel was started"
    users: i64 = "host address of the TLBs of processors that run processes"
    processors: i64 = "how many there are"
    spare: i64 = "host address of a page that takes faulting accesses"
    faults: i64 = "accesses that nothing mapped"
    fault: i64 = "address of the first of them"
    misses: i64 = "walks"
    flushes: i64 = "translations dropped on the kernel's word"
    tlb: TlbEntry * 512 = "by the low bits of the page number"


TLB = Soft.offset("tlb")


@kernel
def miss(s, va):
    """Walk, and load the TLB: the host address."""
    m = Soft(s)
    m.misses = m.misses + 1
    shift = m.page_shift
    start = (va >> shift) << shift
    pa = start
    if m.root != NO_ROOT:
        entry = walk(m.arch, m.ram, m.root, va - m.window + m.target)
        pa = entry_pa(m.arch, entry) if entry != 0 else m.ram_bytes
    if pa < 0 or pa >= m.ram_bytes:
        if m.faults == 0:
            m.fault = va
        m.faults = m.faults + 1
        return m.spare + va - start
    page = va >> shift
    e = TlbEntry(s + TLB + ((page & (TLB_ENTRIES - 1)) << 4))
    e.tag = page
    e.delta = m.ram + pa - start
    return va + e.delta


@entry
def translate(va, write):
    """The host address of va."""
    s = machine_record()
    page = va >> Soft(s).page_shift
    e = TlbEntry(s + TLB + ((page & (TLB_ENTRIES - 1)) << 4))
    if e.tag == page:
        return va + e.delta
    return miss(s, va)


@entry
def flush(va, pages):
    """Drop the translations of these pages."""
    s = machine_record()
    Soft(s).flushes = Soft(s).flushes + pages
    first = va >> Soft(s).page_shift
    for page in range(first, first + min(pages, TLB_ENTRIES)):
        TlbEntry(s + TLB + ((page & (TLB_ENTRIES - 1)) << 4)).tag = NO_TAG
    return 0


@entry
def shootdown(va, pages):
    """There is one processor."""
    return flush(va, pages)


@entry
def forget(root, va):
    """Drop the translation from every processor's TLB of address spaces."""
    m = Soft(machine_record())
    return users_forget(m.users, m.processors, m.page_shift, root, va)


@entry
def zero(va, bytes):
    """Fill with zeros, page by page."""
    page = 1 << Soft(machine_record()).page_shift
    at = va
    while at < va + bytes:
        n = min(page - (at & (page - 1)), va + bytes - at)
        memset(translate(at, 1), 0, n)
        at += n
    return 0


@entry
def copy(to, of, bytes):
    """Copy, up to the next end of a page on either side at a time."""
    page = 1 << Soft(machine_record()).page_shift
    done = 0
    while done < bytes:
        n = page - max((to + done) & (page - 1), (of + done) & (page - 1))
        n = min(n, bytes - done)
        memcpy(translate(to + done, 1), translate(of + done, 0), n)
        done += n
    return 0


@entry
def known_zero(pa, bytes):
    """Fresh memory is zero."""
    return Soft(machine_record()).fresh


@entry
def interrupts_save():
    """The soft machine has no interrupts."""
    return 0


@entry
def interrupts_restore(flags):
    """Nothing was taken off."""
    return 0
