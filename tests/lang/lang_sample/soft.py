"""One page table level over 4 KiB frames, and a TLB of 16 entries."""

from kernmalloc.lang import entry, i64, kernel, machine_record, record, u8
from lang_sample.lists import listed, push

TLB, TLB_ENTRY = 64, 16


@record(size=320)
class Soft:
    """The soft machine."""

    ram: i64 = "host address of frame 0"
    table: i64 = "host address of the page table: one i64 per page, frame number + 1"
    pages: i64 = "pages that the table holds"
    misses: i64 = "TLB misses"
    fault: i64 = "last address that was not mapped, 0 if none"
    spare: i64 * 3 = "unused"
    tlb: i64 * 32 = "16 entries: page + 1, distance from va to host address"


@record(size=16)
class Entry:
    """One TLB entry."""

    tag: i64 = "page + 1"
    delta: i64 = "host address less va"


@record(size=8)
class Pte:
    """One page table entry."""

    frame: i64 = "frame number + 1; 0 if not mapped"


@record(size=8)
class Byte:
    """A byte, addressed alone."""

    value: u8 = "it"


@kernel
def miss(va):
    s = Soft(machine_record())
    s.misses += 1
    page = va >> 12
    if page < 0 or page >= s.pages:
        s.fault = va
        return s.ram
    frame = Pte(s.table + (page << 3)).frame
    if frame == 0:
        s.fault = va
        return s.ram
    e = Entry(machine_record() + TLB + (page & 15) * TLB_ENTRY)
    e.tag = page + 1
    e.delta = s.ram + ((frame - 1 - page) << 12)
    return va + e.delta


@entry
def translate(va, write):
    page = va >> 12
    e = Entry(machine_record() + TLB + (page & 15) * TLB_ENTRY)
    if e.tag == page + 1:
        return va + e.delta
    return miss(va)


@entry
def fill(addr, value, n):
    for i in range(n):
        Byte(translate(addr + i, 1)).value = value
    return n


@entry
def count(cpu):
    """How many nodes the list at cpu holds, read as the host does."""
    return listed(cpu)


@entry
def push_all(cpu, n):
    """Drive the kernel: push nodes 0 to n - 1; how many went in."""
    pushed = 0
    for i in range(n):
        pushed += push(cpu, i) >= 0
    return pushed
