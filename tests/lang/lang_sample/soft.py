"""One page table level over 4 KiB frames, and a TLB of 16 entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.lang import Record, array, element, entry, field, i64, kernel, machine_record, port
from lang_sample.bare import Byte
from lang_sample.lists import listed, push

if TYPE_CHECKING:
    from lang_sample.records import Cpu


class Soft(Record, size=320):
    """The soft machine."""

    ram: i64 = field("host address of frame 0")
    table: Pte = field("the page table: one entry per page")
    pages: i64 = field("pages that the table holds")
    misses: i64 = field("TLB misses")
    fault: i64 = field("last address that was not mapped, 0 if none")
    first: i64 = field("number of the first page in the table")
    operations: i64 = field("calls of the kernel")
    tlb: Entry = array(16, "by the low bits of the page number", align=64)


class Entry(Record):
    """One TLB entry."""

    tag: i64 = field("page + 1")
    delta: i64 = field("host address less va")


class Pte(Record):
    """One page table entry."""

    frame: i64 = field("frame number + 1; 0 if not mapped")


@kernel
def soft() -> Soft:
    return Soft(machine_record())


@kernel
def miss(va: int) -> int:
    s = soft()
    s.misses += 1
    page = va >> 12
    if page < s.first or page >= s.first + s.pages:
        s.fault = va
        return s.ram
    frame = element(s.table, page - s.first).frame
    if frame == 0:
        s.fault = va
        return s.ram
    e = element(s.tlb, page & 15)
    e.tag = page + 1
    e.delta = s.ram + ((frame - 1 - page) << 12)
    return va + e.delta


@port
def translate(va: int, write: int) -> int:
    page = va >> 12
    e = element(soft().tlb, page & 15)
    if e.tag == page + 1:
        return va + e.delta
    return miss(va)


@port
def operation() -> int:
    s = soft()
    s.operations += 1
    return s.operations


@port
def fill(addr: int, value: int, n: int) -> int:
    for i in range(n):
        Byte(translate(addr + i, 1)).value = value
    return n


@entry
def count(cpu: Cpu) -> int:
    """How many nodes the list at cpu holds, read as the host does."""
    return listed(cpu)


@entry
def push_all(cpu: Cpu, n: int) -> int:
    """Drive the kernel: push nodes 0 to n - 1; how many went in."""
    pushed = 0
    for i in range(n):
        pushed += push(cpu, i) >= 0
    return pushed
