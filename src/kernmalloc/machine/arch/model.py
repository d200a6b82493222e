"""What is said of an architecture: all that differs from one to another, as fields of entries, numbers and names.

Concepts
  1. A *format* is how page tables are written: fields, forms, recipes and their meaning (`entries`).
  2. From these follow plain numbers, and they are what the kernel knows of a format:

         entry = (pa >> pa_shift) | leaf                  pa = (entry & address) << pa_shift
         it is present           <=>  entry & present != 0
         it maps a large page    <=>  entry & large_mask == large_value,  of a present entry above a leaf table
         it can be written       <=>  entry & write_mask == write_mask ^ read_only

     The code that uses them, `machine/mmu`, is the same for all formats.
  3. A level is named by the shift of its index. A table fills a frame. Where the processor's tables are smaller,
     `group` of its entries, adjacent, are one upper entry of the kernel, and as many of its tables one of the kernel's.
     A word of the upper entry differs from the next by `table_step`, or by `large_step` if it maps a large page.
  4. A large page of the kernel is as large as all pages of a leaf table together. A processor may know more sizes.
  5. An *architecture* has formats, a target that LLVM knows, compilers of C, or some of these.

To add a format, write it into the module of its family, or into a new one, and test its bits against the manual. Its
number is the next that is free. Nothing else changes: the kernel's `Format` record, profiles and the host take it from
here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kernmalloc.machine.arch.entries import (
    ADDRESS,
    KINDS,
    LARGE,
    LEAF,
    ROOT,
    TABLE,
    Caching,
    Field,
    Form,
    Made,
    Meaning,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy
    from numpy.typing import NDArray

    from kernmalloc.lang.target import Target
    from kernmalloc.machine.arch.entries import Level, Loading, Register, Walking

Word = TypeVar("Word", int, "NDArray[numpy.int64]")

ATTRIBUTE_NAMES = tuple(name.replace("_", "-") for name in Caching._fields)
"""Ways to cache a page, by the kernel's number."""


class Decoded(NamedTuple):
    """What an entry says."""

    kind: str
    pa: int  # of the table, or of the page
    page: int  # log2 of the bytes of the page; 0: it leads to a table
    fields: dict[str, int]  # all but the address
    reserved: int  # bits that are set, and that no field covers


@dataclass(frozen=True, kw_only=True, eq=False)
class Format:
    """One format of page tables."""

    name: str  # as profiles say
    number: int  # as the kernel says
    manual: str  # whose places the sources of fields are
    va_bits: int  # of a virtual address that the tables reach
    phys_bits: int  # width of a physical address in an entry
    root_phys_bits: int | None = None  # in the register that leads to the root; None: phys_bits
    tlb: int = 0  # entries of a TLB that software loads; 0: the processor walks the tables itself
    loading: Loading | None = None  # how software loads them
    user_end: int  # first address above what a process may map: the kernel's share begins there, or the format ends
    break_first: bool = False  # a processor may not find another entry in place of one that it still knows

    page_shift: int  # log2 of the bytes in a page
    word_shift: int = 3  # log2 of the bytes of an entry, as the processor reads it
    group: int = 1  # entries of the processor's upper tables that are one of the kernel
    levels: tuple[Level, ...]  # of the processor, from the root down; none: there are no tables

    fields: Mapping[str, tuple[Field, ...]]  # by kind of entry
    meaning: Meaning
    made: Made
    caching: Caching  # the kernel maps write-back; what else there is is for whoever maps a device
    walking: Walking
    registers: tuple[Register, ...] = ()

    @property
    def has_tables(self) -> bool:
        """Whether there are page tables in this format at all."""
        return bool(self.levels)

    # shapes

    @cached_property
    def index_bits(self) -> int:
        """log2 of the entries in a leaf table, and of the pages in a large page."""
        return self.levels[-1].bits + self._group_shift if self.levels else 0

    @cached_property
    def root_shift(self) -> int:
        """Shift of the kernel's index into the root."""
        if not self.levels:
            return self.page_shift
        return self.levels[0].shift + (self._group_shift if len(self.levels) > 1 else 0)

    @cached_property
    def root_bits(self) -> int:
        """Bits of the kernel's index into the root."""
        return self.levels[0].bits - self._group_shift if self.levels else 0

    @cached_property
    def entry_shift(self) -> int:
        """log2 of the bytes from one entry of a leaf table to the next."""
        return self.page_shift - self.index_bits

    @cached_property
    def upper_entry_shift(self) -> int:
        """log2 of the bytes from one of the kernel's entries to the next in every other table."""
        return self.entry_shift + self._group_shift

    @cached_property
    def root_pages(self) -> int:
        """Adjacent frames of the kernel's root, which is aligned to its length."""
        return max(1, (1 << self.root_bits << self.upper_entry_shift) >> self.page_shift)

    @property
    def root_end(self) -> int:
        """First physical address above those at which a root can lie."""
        return 1 << (self.phys_bits if self.root_phys_bits is None else self.root_phys_bits)

    @property
    def large_page(self) -> int:
        """Bytes in a large page."""
        return 1 << self.page_shift + self.index_bits

    @cached_property
    def _group_shift(self) -> int:
        return self.group.bit_length() - 1

    @cached_property
    def table_step(self) -> int:
        """From one word of an upper entry that leads to a table to the next."""
        return (1 << self.levels[-1].bits << self.word_shift) >> self.pa_shift if self.group > 1 else 0

    @cached_property
    def large_step(self) -> int:
        """From one word of an upper entry that maps a large page to the next."""
        return (self.large_page >> self._group_shift) >> self.pa_shift if self.group > 1 else 0

    # what an entry holds

    @cached_property
    def pa_shift(self) -> int:
        """An entry holds a physical address, shifted right by so much."""
        return self.page_shift - self.field(LEAF, ADDRESS).low if self.levels else 0

    @cached_property
    def address(self) -> int:
        """Where an entry has its physical address, present or not. In a large page's entry the bits below its size may
        say something else."""
        return self.mask(LEAF, [ADDRESS]) if self.levels else 0

    def pa(self, entry: Word) -> Word:
        """The physical address in an entry, or in an array of entries. Of one that maps a large page the bits below its
        size say something else."""
        return (entry & self.address) << self.pa_shift

    def is_large(self, entry: Any) -> Any:
        """Whether a present entry above a leaf table, or each of an array of them, maps a large page."""
        return entry & self.large_mask == self.large_value

    # what the kernel asks

    @cached_property
    def present(self) -> int:
        """The bits of which an entry that leads somewhere has one."""
        bits = 0
        for kind in KINDS if self.levels else ():
            bits |= self.mask(kind, [self.meaning.present])
        return bits

    @cached_property
    def large_mask(self) -> int:
        """The bits that tell an upper entry that maps a large page from one that leads to a table."""
        return self.mask(LARGE, self.meaning.large)

    @cached_property
    def large_value(self) -> int:
        """Their value if it maps."""
        return self.word(LARGE, self.meaning.large)

    @cached_property
    def used(self) -> int:
        """The bit of a leaf entry that its use sets."""
        return self.mask(LEAF, [self.meaning.used]) if self.levels else 0

    @cached_property
    def write_mask(self) -> int:
        """The bits of a leaf entry that say whether its users may write."""
        return self.mask(LEAF, self.meaning.writable)

    @cached_property
    def read_only(self) -> int:
        """Their value if they may not; all are the other way if they may."""
        return self.write_mask ^ self.word(LEAF, self.meaning.writable)

    @cached_property
    def large_write_mask(self) -> int:
        """`write_mask`, of an entry that maps a large page."""
        return self.mask(LARGE, self.meaning.writable)

    @cached_property
    def large_read_only(self) -> int:
        """`read_only`, of an entry that maps a large page."""
        return self.large_write_mask ^ self.word(LARGE, self.meaning.writable)

    @cached_property
    def execute_mask(self) -> int:
        """The bits of a leaf entry that say whether the kernel may execute its page; 0: it may."""
        return self.mask(LEAF, self.meaning.executable)

    @cached_property
    def execute_value(self) -> int:
        """Their value if it may; all are the other way if it may not."""
        return self.word(LEAF, self.meaning.executable)

    @cached_property
    def execute_large_mask(self) -> int:
        """`execute_mask`, of an entry that maps a large page."""
        return self.mask(LARGE, self.meaning.executable)

    @cached_property
    def execute_large_value(self) -> int:
        """`execute_value`, of an entry that maps a large page."""
        return self.word(LARGE, self.meaning.executable)

    # what the kernel makes

    @cached_property
    def root(self) -> int:
        """An entry of the root that leads to a table, without its address."""
        return self.word(ROOT, self.made.root)

    @cached_property
    def table(self) -> int:
        """An entry below the root that leads to a table."""
        return self.word(TABLE, self.made.table)

    @cached_property
    def user_root(self) -> int:
        """An entry in the root of a process that leads to a table."""
        return self.word(ROOT, self.made.user_root)

    @cached_property
    def user_table(self) -> int:
        """An entry below the root of a process that leads to a table."""
        return self.word(TABLE, self.made.user_table)

    @cached_property
    def leaf(self) -> int:
        """An entry that maps a page for the kernel."""
        return self.word(LEAF, self.made.leaf)

    @cached_property
    def large(self) -> int:
        """An entry that maps a large page for the kernel."""
        return self.word(LARGE, self.made.large)

    @cached_property
    def page(self) -> int:
        """An entry that maps a page for a process: read only, not used yet."""
        return self.word(LEAF, self.made.page)

    @cached_property
    def user_large(self) -> int:
        """An entry that maps a large page for a process: read only, used already."""
        return self.word(LARGE, self.made.user_large)

    # how a page is cached

    @cached_property
    def attributes(self) -> int:
        """Ways to cache a page, a bit for each that there is."""
        return sum(1 << i for i, way in enumerate(self.caching) if way is not None)

    @cached_property
    def cache_mask(self) -> int:
        """The bits of a leaf entry that say how its page is cached."""
        return self._cache_mask(LEAF)

    @cached_property
    def cache(self) -> tuple[int | None, ...]:
        """Their value for each way; None: there is no such way."""
        return tuple(None if way is None else self.word(LEAF, way) for way in self.caching)

    @cached_property
    def large_cache_mask(self) -> int:
        """`cache_mask`, of an entry that maps a large page."""
        return self._cache_mask(LARGE)

    @cached_property
    def large_cache(self) -> tuple[int | None, ...]:
        """`cache`, of an entry that maps a large page."""
        return tuple(None if way is None else self.word(LARGE, way) for way in self.caching)

    def _cache_mask(self, kind: str) -> int:
        return self.mask(kind, {name for way in self.caching for name in way or ()})

    # fields

    def field(self, kind: str, name: str) -> Field:
        """The field of that name in entries of a kind. KeyError: there is none."""
        for each in self.fields[kind]:
            if each.name == name:
                return each
        raise KeyError(f"{self.name}: a {kind} entry has no field {name!r}")

    def mask(self, kind: str, names: Iterable[str]) -> int:
        """The bits of these fields."""
        return sum(self.field(kind, name).mask for name in names)

    def has(self, kind: str, name: str) -> bool:
        """Whether entries of a kind have a field of that name."""
        return any(each.name == name for each in self.fields[kind])

    def covered(self, kind: str) -> int:
        """The bits that the fields of a kind cover; the others are reserved."""
        return sum(each.mask for each in self.fields[kind])

    def encode(self, kind: str, pa: int, **fields: int) -> int:
        """The entry of a kind with this physical address and these fields. KeyError: it has no such field. ValueError:
        an address or a value does not fit."""
        address = self.field(kind, ADDRESS)
        place = pa >> self.pa_shift
        if place << self.pa_shift != pa or place & ~address.mask:
            raise ValueError(f"{self.name}: {pa:#x} is no address that a {kind} entry can hold")
        return place | self.word(kind, fields)

    def form_of(self, entry: int, level: int) -> Form | None:
        """The form of an entry at a level, counted from the root. None: it has none, and leads nowhere."""
        for form in self.levels[level].forms:
            if entry & self.mask(form.kind, form.tells) == self.word(form.kind, form.tells):
                return form
        return None

    def decode(self, entry: int, level: int) -> Decoded | None:
        """What an entry at a level says, counted from the root. None: it leads nowhere."""
        form = self.form_of(entry, level)
        if form is None:
            return None
        low = (1 << form.page) - 1
        pa = (entry & self.mask(form.kind, [ADDRESS])) << self.pa_shift
        values = {each.name: each.get(entry) for each in self.fields[form.kind] if each.name != ADDRESS}
        return Decoded(form.kind, pa & ~low, form.page, values, entry & self.reserved(form))

    def reserved(self, form: Form) -> int:
        """The bits that are reserved in an entry of a form: those that no field covers, and below the size of a page
        those of the address."""
        word = (1 << (8 << self.word_shift)) - 1
        below = self.mask(form.kind, [ADDRESS]) & ((1 << form.page) - 1) >> self.pa_shift
        return word & ~self.covered(form.kind) | below

    def word(self, kind: str, recipe: Mapping[str, int]) -> int:
        """An entry of a kind with these fields, and nothing else."""
        return sum(self.field(kind, name).put(value) for name, value in recipe.items())


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
    formats: tuple[Format, ...] = ()
    target: Target | None = None
    instructions: str = ""  # LLVM IR of the primitives that no language has: `machine.bare` tells which
    compilers: tuple[Compiler, ...] = ()
    conventions: Mapping[str, int] = field(default_factory=dict)
    """Further ways to pass floating-point numbers, which linkers keep apart: name to bits of an object's e_flags."""
