"""What a format of page tables is made of: fields of entries, forms of entries at each level, and what they mean.

Concepts
  1. A *kind* of entry has a layout: its fields. `root` and `table` entries lead to a table, a `large` entry maps a page
     above the lowest tables, a `leaf` entry maps a page in them. A format may have kinds of its own beside these. What
     no field covers is reserved, and 0.
  2. A *form* says how the processor knows an entry of a kind at some level: by the values of fields.
  3. A *recipe* names fields with values: of an entry that the kernel makes, or of one that is recognised.
  4. A right, such as the one to write, is a recipe, too. It counts in every kind of entry that has its fields, and must
     be given at every level.
"""

from __future__ import annotations

from typing import NamedTuple

ROOT, TABLE, LARGE, LEAF = KINDS = ("root", "table", "large", "leaf")
"""Kinds that the kernel makes."""

ADDRESS = "address"
"""The name of the field that holds the physical address, in every kind of entry."""

Recipe = dict[str, int]
"""Values of fields, by name."""


class Field(NamedTuple):
    """Some bits of an entry."""

    name: str  # as the manual calls them, in letters of identifiers
    low: int  # number of the lowest bit
    width: int  # bits
    meaning: str
    source: str  # where the manual says so

    @property
    def mask(self) -> int:
        """The bits, in place."""
        return ((1 << self.width) - 1) << self.low

    def put(self, value: int) -> int:
        """A value, in place."""
        if not 0 <= value < 1 << self.width:
            raise ValueError(f"{self.name}: {value} does not fit {self.width} bits")
        return value << self.low

    def get(self, entry: int) -> int:
        """The value in an entry."""
        return (entry & self.mask) >> self.low


def layout(source: str, *fields: tuple[str, int, int, str]) -> tuple[Field, ...]:
    """Fields that one place of the manual tells: name, lowest bit, width, meaning."""
    return tuple(Field(*each, source) for each in fields)


class Form(NamedTuple):
    """One way to tell what an entry does."""

    kind: str
    tells: Recipe  # fields of the kind, with their values
    page: int = 0  # log2 of the bytes of the page that it maps; 0: it leads to a table


class Level(NamedTuple):
    """One level of tables, as the processor looks an entry up."""

    shift: int  # of the index in a virtual address
    bits: int  # of the index
    forms: tuple[Form, ...]  # in the order in which they are tried

    @property
    def pages(self) -> tuple[int, ...]:
        """log2 of the bytes of each page that an entry here may map."""
        return tuple(sorted({form.page for form in self.forms} - {0}))


class Meaning(NamedTuple):
    """Which fields say what the kernel asks of an entry."""

    present: str  # of every kind; 0 in all its bits: the entry leads nowhere
    large: Recipe  # of an upper entry that maps a page
    used: str  # of what maps: the processor sets it, or the handler that loads its TLB
    writable: Recipe  # of what maps
    executable: Recipe  # of what maps for the kernel; {}: it may execute whatever it maps


class Made(NamedTuple):
    """Recipes of the entries that the kernel makes."""

    root: Recipe  # of the root, leads to a table
    table: Recipe  # below the root, leads to a table
    user_root: Recipe  # of the root of a process, leads to a table; the page entry gives the rights
    user_table: Recipe  # below that root, leads to a table
    leaf: Recipe  # maps a page for the kernel, writable, and used already, to spare the walker
    large: Recipe  # maps a large page for the kernel, writable, and used already
    page: Recipe  # maps a page for a process: it may execute, not write; not used yet
    user_large: Recipe  # maps a large page for a process: it may execute, not write; used already


class Caching(NamedTuple):
    """What a leaf entry says for each way to cache its page, in the order of the kernel's numbers; None: there is no
    such way."""

    write_back: Recipe
    write_through: Recipe | None
    uncached: Recipe | None
    write_combining: Recipe | None


class Loading(NamedTuple):
    """How software loads a translation into a TLB: as two words, a tag, and data, which are a part of an entry that
    maps."""

    data: tuple[str, ...]  # fields of an entry that the data have, too, beside the address
    lock: str  # the field of an entry that locks, of the data: nothing replaces the translation
    valid: Field  # of the tag: there is a translation
    shared: Field  # of the tag: it holds in every address space
    space: Field  # of the tag: the number of its address space


class Register(NamedTuple):
    """A system register, or a field of one, that whoever boots must set for entries to mean what is said here."""

    name: str
    value: int
    why: str


class Walking(NamedTuple):
    """How a processor walks tables: who may do what, and what it makes of entries and addresses that are odd."""

    # the rights, each as fields that give it
    read: Recipe
    write: Recipe
    execute: Recipe  # by the supervisor
    user: Recipe  # users may access
    user_execute: Recipe

    dirty: str = ""  # the field that a write sets
    sets_used: bool = True  # it sets `used` and `dirty` itself; else it faults where they are not set
    used_first: bool = False  # that is found before a right that is lacking
    strict: bool = False  # reserved bits that are set fault
    formless: str = "reserved"  # the fault of a present entry that has no form
    beyond: str = "reserved"  # the fault of a physical address that the processor does not have
    halves: str = "none"  # of addresses: "none", "sign" as the highest bit, "both" zeros or ones above the width
    keeps_from_users_pages: bool = False  # the supervisor may not access what users may
    keeps_from_users_code: bool = False  # nor execute it
    keeps_from_users_data: bool = False  # nor execute what users may write
    execute_alone: bool = False  # users may execute what they may not access
