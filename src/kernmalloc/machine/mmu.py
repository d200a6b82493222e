"""Page-table entries in the target's own format: what the kernel writes and the walkers read.

Concepts
  1. A *format* is how page tables are written: where an entry has its physical address, and what its other bits say.
     `machine/arch` describes each format by numbers, and says what every number means.
  2. A `Format` record holds these numbers where the kernel runs: in the boot information, in the kernel record, in the
     records of the machines. `format_init` fills the record in. It is made from what `machine/arch` registers.
  3. The functions here are arithmetic on the numbers. They have no case for any format, and nothing else in the kernel
     knows a bit of an entry, how large a page is, or how many entries a table has.

A new format is therefore a new module in `machine/arch` and its tests, and no line here.
"""

from __future__ import annotations

from kernmalloc.lang import Record, define, field, i64, kernel, shl, u16, u32
from kernmalloc.lang.status import BAD_BOOT, OK
from kernmalloc.machine.arch import ATTRIBUTE_NAMES, FORMATS

# how a page is cached
WRITE_BACK = 0
WRITE_THROUGH = 1
UNCACHED = 2
WRITE_COMBINING = 3
ATTRIBUTES = len(ATTRIBUTE_NAMES)


class Entry(Record):
    """One page-table entry."""

    bits: i64 = field("address and rights, in the target's format")


class Format(Record):
    """The numbers in which one format of page tables differs from another; two cache lines, the first for walks."""

    number: u32 = field("which format; 0: none yet")
    attributes: u16 = field("ways to cache a page, a bit for each that there is")
    break_first: u16 = field("1: what an entry led to is forgotten before it leads elsewhere")
    no_execute: i64 = field("number of the bit of an entry that keeps its page from being executed; 0: there is none")
    page_shift: u32 = field("log2 of the bytes in a page")
    index_bits: u32 = field("log2 of the entries in a table, and of the pages in a large page")
    entry_shift: u32 = field("log2 of the bytes from one entry of a table to the next")
    root_shift: u32 = field("shift of the index into the root table")
    address: i64 = field("the bits of an entry that are its physical address")
    present_bit: i64 = field("the bit of an entry that leads somewhere")
    large_bit: i64 = field("the bit of an entry that maps a large page instead of leading to a leaf table")
    used_bit: i64 = field("the bit of a leaf entry that its use sets, by the processor or by whoever loads its TLB")
    write_bit: i64 = field("the bit of a leaf entry that lets its users write")
    root: i64 = field("an entry of the root that leads to a table, without its address")
    table: i64 = field("an entry below the root that leads to a table")
    user_table: i64 = field("an entry in the tables of a process that leads to a table")
    leaf: i64 = field("an entry that maps a page for the kernel")
    large: i64 = field("an entry that maps a large page for the kernel")
    page: i64 = field("an entry that maps a page for a process: read only, not used yet")
    user_end: i64 = field("first address above what an address space may map")


def _filling() -> str:
    """The source of `format_init`."""
    lines = [
        "def format_init(format: Format, number: int) -> int:",
        '    """Fill in the numbers of a format; BAD_BOOT: no format has this number."""',
    ]
    for known in FORMATS.values():
        ways = sum(1 << i for i, bits in enumerate(known.caching) if bits is not None)
        lines.append(f"    if number == {known.number}:  # {known.name}")
        for name in Format.fields:
            value = ways if name == "attributes" else int(getattr(known, name))
            lines.append(f"        format.{name} = {value if value < 64 else hex(value)}")
        lines.append("        return OK")
    return "\n".join([*lines, "    return BAD_BOOT", ""])


_NAMES = {"Format": Format, "OK": OK, "BAD_BOOT": BAD_BOOT, "__name__": __name__}
format_init = kernel(define("format_init", _filling(), f"<formats of {__name__}>", _NAMES))


@kernel
def has_entries(format: Format) -> int:
    """1 if there are page tables in this format; 0: it says nothing but how large a page is."""
    return 1 if format.present_bit != 0 else 0


@kernel
def index_at(format: Format, va: int, shift: int) -> int:
    """Offset in its table of the entry for va, at the level of that shift."""
    return ((va >> shift) & ((1 << format.index_bits) - 1)) << format.entry_shift


@kernel
def root_entry(format: Format, pa: int) -> int:
    """The entry in the root that leads to the table at pa."""
    return pa | format.root


@kernel
def table_entry(format: Format, pa: int) -> int:
    """The entry below the root that leads to the next table, at pa."""
    return pa | format.table


@kernel
def user_table_entry(format: Format, pa: int) -> int:
    """The entry that leads to the next table of an address space; the rights are the leaf's to give."""
    return pa | format.user_table


@kernel
def leaf_entry(format: Format, pa: int) -> int:
    """The entry that maps the frame at pa for the kernel, writable; used already, to spare the walker."""
    return pa | format.leaf


@kernel
def large_entry(format: Format, pa: int) -> int:
    """The directory entry that maps all pages of one leaf table, at pa, at once."""
    return pa | format.large


@kernel
def executable(format: Format, entry: int) -> int:
    """The entry, whose page can be executed."""
    return entry & ~shl(1, format.no_execute) if format.no_execute != 0 else entry


@kernel
def page_entry(format: Format, pa: int, write: int) -> int:
    """The entry that maps the page at pa for a process: not used yet, and writable if `write` is not 0."""
    return pa | format.page | (format.write_bit if write != 0 else 0)


@kernel
def with_presence(format: Format, entry: int) -> int:
    """The entry, present again."""
    return entry | format.present_bit


@kernel
def without_presence(format: Format, entry: int) -> int:
    """The entry, no longer present, its address kept for whoever gives the frame back."""
    return entry & ~format.present_bit


@kernel
def is_present(format: Format, entry: int) -> int:
    """1 if the entry leads anywhere."""
    return 1 if entry & format.present_bit != 0 else 0


@kernel
def entry_pa(format: Format, entry: int) -> int:
    """The physical address in an entry, present or not: `without_presence` keeps it."""
    return entry & format.address


@kernel
def entry_moved(format: Format, entry: int, pa: int) -> int:
    """The entry with another physical address and the same rights."""
    return (entry & ~format.address) | pa


@kernel
def was_used(format: Format, entry: int) -> int:
    """1 if a processor has used the entry since `without_use`."""
    return 1 if entry & format.used_bit != 0 else 0


@kernel
def with_use(format: Format, entry: int) -> int:
    """The entry as a processor that uses it leaves it."""
    return entry | format.used_bit


@kernel
def without_use(format: Format, entry: int) -> int:
    """The entry, not used yet."""
    return entry & ~format.used_bit


@kernel
def is_writable(format: Format, entry: int) -> int:
    """1 if a process may write through a leaf entry."""
    return 1 if entry & format.write_bit != 0 else 0


@kernel
def without_write(format: Format, entry: int) -> int:
    """The entry, read only."""
    return entry & ~format.write_bit


@kernel
def is_large(format: Format, entry: int) -> int:
    """1 if a directory entry maps a large page instead of leading to a leaf table."""
    return 1 if entry & format.large_bit != 0 else 0


@kernel
def has_attribute(format: Format, attribute: int) -> int:
    """1 if a page can be cached that way in this format."""
    return (format.attributes >> attribute) & 1 if attribute >= 0 and attribute < ATTRIBUTES else 0


@kernel
def page_inside(format: Format, entry: int, shift: int, va: int) -> int:
    """The leaf entry of the page that holds va, inside the large page of that shift that `entry` maps."""
    inside = shl(1, shift) - shl(1, format.page_shift)  # an entry's attributes may lie here, as PAT does on x86
    small = (entry & ~inside) | (va & inside)
    return (small & (format.leaf | ~format.large)) | (format.leaf & ~format.large)


@kernel
def walk(format: Format, phys: int, bytes: int, root: int, va: int) -> int:
    """The leaf entry that the tables at physical address `root` hold for target address va; 0 if none is present.

    `phys` is what turns a physical address into one that can be loaded from here, and `bytes` how far these go: a table
    beyond has no entries. A large page's entry comes back as the leaf entry of the page inside it that holds va.
    """
    top = format.root_shift
    shift = top
    table = root
    while shift > format.page_shift:
        if table < 0 or table + (1 << format.page_shift) > bytes:
            return 0
        entry = Entry(phys + table + index_at(format, va, shift)).bits
        if is_present(format, entry) == 0:
            return 0
        if is_large(format, entry) != 0 and shift < top:
            return page_inside(format, entry, shift, va)
        table = entry_pa(format, entry)
        shift -= format.index_bits
    if table < 0 or table + (1 << format.page_shift) > bytes:
        return 0
    entry = Entry(phys + table + index_at(format, va, shift)).bits
    if is_present(format, entry) == 0:  # as one expression it is miscompiled by gcc 12.2 at -O2 (peephole2)
        return 0
    return entry


@kernel
def leaf_entry_at(format: Format, phys: int, root: int, va: int) -> int:
    """Where the present leaf entry for va lies, in tables without large pages; 0 if none is present.

    `phys` is what turns a physical address into one that can be loaded from here.
    """
    shift = format.root_shift
    table = root
    while shift > format.page_shift:
        entry = Entry(phys + table + index_at(format, va, shift)).bits
        if is_present(format, entry) == 0:
            return 0
        table = entry_pa(format, entry)
        shift -= format.index_bits
    at = phys + table + index_at(format, va, shift)
    return at if is_present(format, Entry(at).bits) != 0 else 0
