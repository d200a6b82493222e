"""Page tables read as a processor reads them, from the manual: nothing of the kernel's own code is used.

Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A: PAE paging 4.4 (tables 4-8 to 4-11), 4-level
paging 4.5 (tables 4-15 to 4-20). ColdFire: MCF547x Reference Manual, 5.5.3.4 and 5.5.3.5 (MMUTR, MMUDR); its tables are
the kernel's own, three levels of 128 entries of 64 bytes each, of which the first word counts."""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

PAGE = 4096
Memory = bytearray | mmap.mmap


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


def entries(ram: Memory, pa: int, count: int = 512) -> Iterator[tuple[int, int, int]]:
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


def tables(ram: Memory, arch: str, root: int, physical_bits: int) -> Iterator[Table]:
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


def leaf_tables(ram: Memory, arch: str, root: int, physical_bits: int = 52) -> Iterator[Table]:
    """Every table whose entries map pages."""
    ignored = 0 if arch == "x86_64" else 0x7FF << 52  # bits 62:52 are reserved in PAE entries, ignored in 4-level ones
    for table in tables(ram, arch, root, physical_bits):
        if table.level == 2:
            for i, _, entry in entries(ram, table.pa):
                assert not entry & 1 << 7, "no 2 MiB pages are expected"
                yield Table(address(entry, physical_bits, ignored), table.va + (i << 21), 1)


def leaves(ram: Memory, arch: str, root: int, physical_bits: int = 52) -> Iterator[Leaf]:
    """Every mapped page, in order of tables."""
    reserved = 0 if arch == "x86_64" else 0x7FF << 52
    for table in leaf_tables(ram, arch, root, physical_bits):
        for i, at, entry in entries(ram, table.pa):
            yield Leaf(table.va + (i << 12), address(entry, physical_bits, reserved), at, entry)


class Translation(NamedTuple):
    """What a miss handler loads into ColdFire's TLB: MMUTR's address, MMUDR's address, bytes, and the word itself."""

    va: int
    pa: int
    size: int
    word: int


def coldfire(ram: Memory, root: int) -> Iterator[Translation]:
    """Every translation that the tables hold, by the levels' shifts 27, 20 and 13."""
    for table, start, shift in _coldfire_tables(ram, root):
        for i, word in _coldfire_words(ram, table):
            if shift == 13 or word & 0x10:  # R: it maps
                size = 1 << shift
                # SZ 9:8 is 10 for 8 KiB, 00 for 1 MiB; CM 7:6 is 01, copy back; SP, R, W, X; not locked; V
                assert word & 0x3FF == (0x27D if shift == 13 else 0x07D), f"{word:#x}"
                assert word & 0x1C00 == 0x400, "used already; the TLB ignores address bits below the page's size"
                pa = word & 0xFFFF_E000
                assert pa % size == 0 and word < 1 << 32, (
                    "MMUDR has 32 bits, and an entry's address is aligned to its size"
                )
                yield Translation(start + (i << shift), pa, size, word)


def _coldfire_tables(ram: Memory, root: int) -> Iterator[tuple[int, int, int]]:
    """(physical address, first VA, shift) of every table."""
    yield root, 0, 27
    for i, word in _coldfire_words(ram, root):
        assert word & 0x3FF == 1 and i < 32, "nothing maps 128 MiB, and addresses have 32 bits"
        directory, start = word & 0xFFFF_E000, i << 27
        yield directory, start, 20
        for j, below in _coldfire_words(ram, directory):
            if not below & 0x10:
                assert below & 0x1FFF == 1, "a table fills its frame"
                yield below & 0xFFFF_E000, start + (j << 20), 13


def _coldfire_words(ram: Memory, table: int) -> Iterator[tuple[int, int]]:
    for i in range(128):
        at = table + 64 * i
        word = int.from_bytes(bytes(ram[at : at + 8]), "little")
        if word & 1:
            yield i, word
