"""The hosted machine, in kernel Python: this computer's MMU does the mapping.

`flush` reads the entries that the kernel has just written, in the target's format, and makes the host agree: one mmap
of the memfd per run of pages that are contiguous in both spaces. Behind pages that no entry maps lies memory of nobody,
so that a wild access does not end the process; soft and twin tell of it. A process can hold about 65,000 separate runs
(vm.max_map_count), at most 256 MiB of entirely scattered frames: `failed` counts what the host refused beyond that.

Host-level code: its accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, field, i64, inline, kernel, machine_record, port, primitive
from kernmalloc.machine.mmu import Format, entry_pa, walk
from kernmalloc.machine.tlb import Core
from kernmalloc.machine.users import users_forget

mmap = primitive("mmap", 6, "The C library's.")
madvise = primitive("madvise", 3, "The C library's.")
memcpy = primitive("memcpy", 3, "The C library's.")
memset = primitive("memset", 3, "The C library's.")

syscall = primitive("syscall", 4, "The C library's.")

EXPEDITED = 8  # MEMBARRIER_CMD_PRIVATE_EXPEDITED
REGISTER = 16  # MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
READ_WRITE = 3
SHARED_FIXED = 0x11  # MAP_SHARED | MAP_FIXED
RESERVED_FIXED = 0x4032  # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE
HUGE_PAGE = 14  # MADV_HUGEPAGE
HUGE_BYTES = 1 << 21
ALL = 1 << 16  # processors: more than there are


class Hosted(Record):
    """The host's side of one machine."""

    ram: i64 = field("host address of physical address 0")
    ram_bytes: i64 = field("length of RAM")
    fd: i64 = field("the memfd that is the RAM")
    format: Format = inline("the format of the page tables")
    root: i64 = field("physical address of the root table")
    window: i64 = field("host address of the kernel's window")
    target: i64 = field("VA of the window on the target, which the tables are indexed by")
    fresh: i64 = field("1 if RAM was zero when the kernel was started")
    users: Core = field("the first of the processors that run processes")
    processors: i64 = field("how many there are")
    mapped: i64 = field("mappings that the host was asked for: 2 us each")
    failed: i64 = field("of those, refused")
    membarrier: i64 = field("number of that system call; 0: this host has none")


@kernel
def _entry(h: int, va: int) -> int:
    m = Hosted(h)
    return walk(m.format, m.ram, m.ram_bytes, m.root, va - m.window + m.target)


@port
def flush(va: int, pages: int) -> int:
    """Make the host's mappings of these pages what the entries say."""
    h = machine_record()
    m = Hosted(h)
    page = 1 << m.format.page_shift
    end = va + pages * page
    at = va
    while at < end:
        first = _entry(h, at)
        next = at + page
        step = 0 if first == 0 else page >> m.format.pa_shift  # from the entry of a page to that of the next
        follows = first + step
        while next < end and _entry(h, next) == follows:
            next += page
            follows += step
        got = at
        if first == 0:
            got = mmap(at, next - at, READ_WRITE, RESERVED_FIXED, -1, 0)
        else:
            pa = entry_pa(m.format, first)
            got = mmap(at, next - at, READ_WRITE, SHARED_FIXED, m.fd, pa)
            if next - at >= HUGE_BYTES and (at ^ pa) & (HUGE_BYTES - 1) == 0:
                madvise(at, next - at, HUGE_PAGE)
        m.mapped = m.mapped + 1
        if got != at:
            m.failed = m.failed + 1
        at = next
    return 0


@port
def shootdown(va: int, pages: int) -> int:
    """There is one host for all processors."""
    return flush(va, pages)


@port
def map(va: int, pa: int, pages: int) -> int:
    """The entries say it, too; what is mapped before there is a window is mapped with it."""
    if pages > 0 and Hosted(machine_record()).window != 0:
        flush(va, pages)
    return 1


@port
def unmap(va: int, pages: int) -> int:
    """There is one host for all processors."""
    return flush(va, pages)


@port
def reach() -> int:
    """There is one host for all processors."""
    return ALL


@port
def barrier() -> int:
    """Every thread of this process passes a barrier (membarrier(2)). A process asks for it once before the first."""
    number = Hosted(machine_record()).membarrier
    if number == 0:
        return 0
    if syscall(number, EXPEDITED, 0, 0) != 0:
        syscall(number, REGISTER, 0, 0)
        return 1 if syscall(number, EXPEDITED, 0, 0) == 0 else 0
    return 1


@port
def forget(root: int, va: int) -> int:
    """Drop the translation from every processor's TLB of address spaces."""
    m = Hosted(machine_record())
    return users_forget(m.users, m.processors, m.format.page_shift, root, va)


@port
def zero(va: int, bytes: int) -> int:
    """Fill with zeros."""
    memset(va, 0, bytes)
    return 0


@port
def zero_ram(pa: int, bytes: int) -> int:
    """All RAM lies in this process."""
    memset(Hosted(machine_record()).ram + pa, 0, bytes)
    return 1


@port
def copy(to: int, of: int, bytes: int) -> int:
    """Copy."""
    memcpy(to, of, bytes)
    return 0


@port
def known_zero(pa: int, bytes: int) -> int:
    """Fresh memfd pages are zero."""
    return Hosted(machine_record()).fresh


@port
def interrupts_save() -> int:
    """A process has no interrupts to take off."""
    return 0


@port
def interrupts_restore(flags: int) -> int:
    """Nothing was taken off."""
    return 0
