"""What is said of an architecture: all that differs from one to another, as plain numbers and names.

Concepts
  1. A *format* is how page tables are written. An entry that is made is a physical address and a word of bits:
     `pa | leaf`. An entry that is read is masked: `entry & address`, `entry & large_bit`. So a format consists of
     numbers, and the code that uses them, `machine/mmu`, is the same for all.
  2. A level is named by the shift of its index: from `root_shift` down to `page_shift`, by `index_bits` a level. A
     table fills a frame, so from one entry to the next it is `1 << entry_shift` bytes.
  3. The lowest tables are leaf tables. An entry that leads to a leaf table may map a *large page* instead, which is as
     large as all pages of a leaf table together. In the root no entry maps.
  4. A *leaf* entry maps a page for the kernel, a *page* entry maps one for a process. `user_table` leads to a table of
     a process.
  5. An *architecture* has a format that the kernel knows, a target that LLVM knows, compilers of C, or some of these.

    the page that holds va, inside a large page = (entry & ~inside | va & inside) & ~large_only | leaf_only
    inside = (1 << shift) - (1 << page_shift),   large_only = large & ~leaf,   leaf_only = leaf & ~large

To add a format, write a module here that makes an `Arch` with it, and tests of its bits against the manual. Its number
is the next that is free. Nothing else changes: the kernel's `Format` record, profiles and the host take it from here.

Limits: a format has at least three levels, or no tables at all (`none`); an entry has the physical address at the bits
that it has in an address; one bit, set, tells the entry of a large page. RISC-V shifts the address, and ARM clears that
bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernmalloc.lang.target import Target


class Caching(NamedTuple):
    """Bits of a leaf entry for each way to cache its page, in the order of the kernel's numbers; None: there is no such
    way."""

    write_back: int
    write_through: int | None
    uncached: int | None
    write_combining: int | None


ATTRIBUTE_NAMES = tuple(name.replace("_", "-") for name in Caching._fields)
"""Ways to cache a page, by the kernel's number."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of page tables."""

    name: str  # as profiles say
    number: int  # as the kernel says
    va_bits: int  # width of a virtual address; where it exceeds 47, bit 47 is sign-extended
    phys_bits: int  # width of a physical address in an entry
    tlb: int = 0  # entries of a TLB that software loads; 0: the processor walks the tables itself

    page_shift: int  # log2 of the bytes in a page
    index_bits: int  # log2 of the entries in a table
    root_shift: int  # shift of the index into the root table
    user_end: int  # first address above what a process may map: the kernel's share begins there, or the format ends

    address: int  # where an entry has its physical address, present or not
    present_bit: int  # the entry leads somewhere
    write_bit: int  # of a leaf: its users may write
    used_bit: int  # of a leaf: it has been used; the processor says so, or the handler that loads its TLB
    large_bit: int  # of an entry above a leaf table: it maps a large page
    no_execute: int = 0  # number of the bit that keeps a page from being executed; 0: there is none
    break_first: bool = False  # a processor may not find another entry in place of one that it still knows

    root: int  # an entry of the root that leads to a table
    table: int  # an entry below the root that leads to a table
    user_table: int  # an entry of a process's tables that leads to a table; the page entry gives the rights
    leaf: int  # maps a page for the kernel, writable, and used already, to spare the walker
    large: int  # maps a large page for the kernel
    page: int  # maps a page for a process: read only, not used yet

    # the kernel maps write-back; what `device_attribute` tells is for whoever maps a device
    cache_mask: int  # the bits of a leaf that say how its page is cached
    caching: Caching

    @property
    def has_tables(self) -> bool:
        """Whether there are page tables in this format at all."""
        return self.present_bit != 0

    @property
    def entry_shift(self) -> int:
        """log2 of the bytes from one entry of a table to the next."""
        return self.page_shift - self.index_bits

    @property
    def large_page(self) -> int:
        """Bytes in a large page."""
        return 1 << self.page_shift + self.index_bits


class Compiler(NamedTuple):
    """A C compiler: gcc, by its prefix, with flags for a processor."""

    prefix: str
    flags: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        """What to run, for an object that a bare machine can hold."""
        return (f"{self.prefix}-gcc", "-ffreestanding", "-fno-pic", *self.flags)


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One architecture, in as far as there is something to say of it."""

    name: str
    format: Format | None = None
    target: Target | None = None
    instructions: str = ""  # LLVM IR of the primitives that no language has: `machine.bare` tells which
    compilers: tuple[Compiler, ...] = ()
    conventions: Mapping[str, int] = field(default_factory=dict)
    """Further ways to pass floating-point numbers, which linkers keep apart: name to bits of an object's e_flags."""
