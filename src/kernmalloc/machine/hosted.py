"""The hosted machine, in kernel Python: this computer's MMU does the mapping.

`flush` reads the entries that the kernel has just written, in the target's format, and makes the host agree: one mmap of
the memfd per run of pages that are contiguous in both spaces. Behind pages that no entry maps lies memory of nobody, so
that a wild access does not end the process; soft and twin tell of it. A process can hold about 65,000 separate runs
(vm.max_map_count), at most 256 MiB of entirely scattered frames: `failed` counts what the host refused beyond that.

Host-level code: its accesses are to the host's memory.
"""

from kernmalloc.lang import entry, i64, kernel, machine_record, primitive, record
from kernmalloc.machine.mmu import entry_pa, walk
from kernmalloc.machine.users import users_forget

mmap = primitive("mmap", 6, "The C library's.")
madvise = primitive("madvise", 3, "The C library's.")
memcpy = primitive("memcpy", 3, "The C library's.")
memset = primitive("memset", 3, "The C library's.")

READ_WRITE = 3
SHARED_FIXED = 0x11  # MAP_SHARED | MAP_FIXED
RESERVED_FIXED = 0x4032  # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE
HUGE_PAGE = 14  # MADV_HUGEPAGE
HUGE_BYTES = 1 << 21


@record(size=96)
class Hosted:
    """The host's side of one machine."""

    ram: i64 = "host address of physical address 0"
    fd: i64 = "the memfd that is the RAM"
    arch: i64 = "format of page-table entries"
    page_shift: i64 = "log2 of the bytes in a page"
    root: i64 = "physical address of the root table"
    window: i64 = "host address of the kernel's window"
    target: i64 = "VA of the window on the target, which the tables are indexed by"
    fresh: i64 = "1 if RAM was zero when the kernel was started"
    users: i64 = "host address of the TLBs of processors that run processes"
    processors: i64 = "how many there are"
    mapped: i64 = "mappings that the host was asked for: 2 us each"
    failed: i64 = "of those, refused"


@kernel
def _entry(h, va):
    m = Hosted(h)
    return walk(m.arch, m.ram, m.root, va - m.window + m.target)


@entry
def flush(va, pages):
    """Make the host's mappings of these pages what the entries say."""
    h = machine_record()
    m = Hosted(h)
    page = 1 << m.page_shift
    end = va + pages * page
    at = va
    while at < end:
        first = _entry(h, at)
        next = at + page
        step = 0 if first == 0 else page
        follows = first + step
        while next < end and _entry(h, next) == follows:
            next += page
            follows += step
        got = at
        if first == 0:
            got = mmap(at, next - at, READ_WRITE, RESERVED_FIXED, -1, 0)
        else:
            pa = entry_pa(m.arch, first)
            got = mmap(at, next - at, READ_WRITE, SHARED_FIXED, m.fd, pa)
            if next - at >= HUGE_BYTES and (at ^ pa) & (HUGE_BYTES - 1) == 0:
                madvise(at, next - at, HUGE_PAGE)
        m.mapped = m.mapped + 1
        if got != at:
            m.failed = m.failed + 1
        at = next
    return 0


@entry
def shootdown(va, pages):
    """There is one host for all processors."""
    return flush(va, pages)


@entry
def forget(root, va):
    """Drop the translation from every processor's TLB of address spaces."""
    m = Hosted(machine_record())
    return users_forget(m.users, m.processors, m.page_shift, root, va)


@entry
def zero(va, bytes):
    """Fill with zeros."""
    memset(va, 0, bytes)
    return 0


@entry
def copy(to, of, bytes):
    """Copy."""
    memcpy(to, of, bytes)
    return 0


@entry
def known_zero(pa, bytes):
    """Fresh memfd pages are zero."""
    return Hosted(machine_record()).fresh


@entry
def interrupts_save():
    """A process has no interrupts to take off."""
    return 0


@entry
def interrupts_restore(flags):
    """Nothing was taken off."""
    return 0
