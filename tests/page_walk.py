"""Page tables read as a processor reads them, from the manual: nothing of the kernel's own code is used.

Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A: PAE paging 4.4 (tables 4-8 to 4-11), 4-level
paging 4.5 (tables 4-15 to 4-20)."""

from collections.abc import Iterator
from typing import NamedTuple

PAGE = 4096


class ReservedBit(Exception):
    """An entry that a processor refuses with a page fault or general protection."""


class Leaf(NamedTuple):
    """One mapped page: where it is, what is behind it, the entry's own address and the entry."""

    va: int
    pa: int
    at: int
    entry: int


class Table(NamedTuple):
    """One table below the root: its physical address, and the first address that it translates."""

    pa: int
    va: int
    level: int  # 1: its entries map pages


def entries(ram, pa: int, count: int = 512) -> Iterator[tuple[int, int, int]]:
    """(index, physical address, value) of the entries that are present."""
    table = bytes(ram[pa : pa + 8 * count])
    assert len(table) == 8 * count, f"a table at {pa:#x}, outside of memory"
    for i in range(count):
        entry = int.from_bytes(table[8 * i : 8 * i + 8], "little")
        if entry & 1:
            yield i, pa + 8 * i, entry


def address(entry: int, physical_bits: int, reserved: int = 0) -> int:
    """Bits 12 up to the address width; those above, up to 51, are reserved, and whatever else is said to be."""
    beyond = ((1 << 52) - 1) & ~((1 << physical_bits) - 1)
    if entry & (beyond | reserved):
        raise ReservedBit(f"{entry:#x}")
    return entry & ((1 << physical_bits) - 1) & ~(PAGE - 1)


def tables(ram, arch: str, root: int, physical_bits: int) -> Iterator[Table]:
    """Every table below the root, upper ones first."""
    if arch == "i386-pae":
        assert root % 32 == 0 and root < 1 << 32, "CR3 holds bits 31 to 5 of the address of four entries"
        # table 4-8: bits 2:1, 8:5 and those above the address are reserved in a PDPTE
        reserved = 0b110 | 0x1E0 | (0x7FF << 52) | (1 << 63)
        for i, _, entry in entries(ram, root, 4):
            yield Table(address(entry, physical_bits, reserved), i << 30, 2)
    else:
        for i, _, entry in entries(ram, root):
            va = (i << 39) - (1 << 48 if i >= 256 else 0)
            upper = Table(address(entry, physical_bits, 1 << 7), va, 3)
            yield upper
            for j, _, below in entries(ram, upper.pa):
                assert not below & 1 << 7, "no 1 GiB pages are expected"
                yield Table(address(below, physical_bits), va + (j << 30), 2)


def leaf_tables(ram, arch: str, root: int, physical_bits: int = 52) -> Iterator[Table]:
    """Every table whose entries map pages."""
    ignored = 0 if arch == "x86_64" else 0x7FF << 52  # bits 62:52 are reserved in PAE entries, ignored in 4-level ones
    for table in tables(ram, arch, root, physical_bits):
        if table.level == 2:
            for i, _, entry in entries(ram, table.pa):
                assert not entry & 1 << 7, "no 2 MiB pages are expected"
                yield Table(address(entry, physical_bits, ignored), table.va + (i << 21), 1)


def leaves(ram, arch: str, root: int, physical_bits: int = 52) -> Iterator[Leaf]:
    """Every mapped page, in order of tables."""
    reserved = 0 if arch == "x86_64" else 0x7FF << 52
    for table in leaf_tables(ram, arch, root, physical_bits):
        for i, at, entry in entries(ram, table.pa):
            yield Leaf(table.va + (i << 12), address(entry, physical_bits, reserved), at, entry)
