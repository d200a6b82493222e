"""Page-table entries in the target's own format: what the kernel writes, and its own idea of what they map.

Concepts
  1. A *format* is how page tables are written: how long an entry is, where it has its physical address, and what its
     other bits say. `machine/arch` describes each format, and says what every number means.
  2. A `Format` record holds these numbers where the kernel runs: in the boot information, in the kernel record, in the
     records of the machines. `format_init` fills the record in. It is made from what `machine/arch` registers.
  3. The functions here are arithmetic on the numbers. They have no case for any format, and nothing else in the kernel
     knows a bit of an entry, how large a page is, or how many entries a table has.
  4. An *upper* entry is one above the leaf tables: it leads to a table, or maps a large page. Where a processor's
     tables are smaller than a frame, an upper entry is a *group* of the processor's own, side by side, which lead to
     the parts of one frame, or map the parts of one large page.

    word i of an upper entry = entry + i * step,   0 <= i < group,   step = large_step or table_step
    pa = (entry & address) << pa_shift
    entries of a table * bytes from one entry to the next = a page

A new format is therefore a new module in `machine/arch` and its tests, and no line here. How a processor walks the
tables of a format is `machine/walker`.
"""

from __future__ import annotations

from kernmalloc.lang import Record, array, define, element, field, i64, kernel, shl, u8, u16, u32
from kernmalloc.lang.atomics import cas32, cas64
from kernmalloc.lang.layout import parameter
from kernmalloc.lang.status import BAD_BOOT, OK
from kernmalloc.machine.arch import ATTRIBUTE_NAMES, FORMATS

# how a page is cached
WRITE_BACK = 0
WRITE_THROUGH = 1
UNCACHED = 2
WRITE_COMBINING = 3
ATTRIBUTES = len(ATTRIBUTE_NAMES)

NARROW = 2  # word_shift of entries of four bytes

ONLY_FORMAT = parameter("ONLY_FORMAT", 0)
"""The number of the format that a build knows; 0: it knows all."""


class Entry(Record):
    """An entry of eight bytes, or a word of one."""

    bits: i64 = field("address and rights, in the target's format")


class NarrowEntry(Record):
    """An entry of four bytes."""

    bits: u32 = field("address and rights, in the target's format")


class Format(Record):
    """The numbers in which one format of page tables differs from another; the first cache line is for walks."""

    number: u16 = field("which format; 0: none yet")
    attributes: u16 = field("ways to cache a page, a bit for each that there is")
    page_shift: u8 = field("log2 of the bytes in a page")
    index_bits: u8 = field("log2 of the entries in a table, and of the pages in a large page")
    root_shift: u8 = field("shift of the index into the root table")
    root_bits: u8 = field("bits of that index")
    word_shift: u8 = field("log2 of the bytes that a processor reads of an entry")
    entry_shift: u8 = field("log2 of the bytes from one leaf entry to the next")
    upper_entry_shift: u8 = field("log2 of the bytes from one upper entry to the next")
    group: u8 = field("words of an upper entry")
    pa_shift: u8 = field("an address of memory stands in an entry shifted right by so much")
    root_pages: u8 = field("pages of the kernel's root table, which is aligned to its length")
    break_first: u16 = field("1: what an entry led to is forgotten before it leads elsewhere")
    address: i64 = field("the bits of an entry that are its physical address")
    present: i64 = field("the bits of which an entry that leads somewhere has one")
    large_mask: i64 = field("the bits that tell an upper entry that maps a large page from one that leads to a table")
    large_value: i64 = field("their value if it maps")
    used: i64 = field("the bit of a leaf entry that its use sets, by the processor or by whoever loads its TLB")
    write_mask: i64 = field("the bits of a leaf entry that say whether its users may write")
    read_only: i64 = field("their value if they may not; all are the other way if they may")
    user_end: i64 = field("first address above what an address space may map")
    root_end: i64 = field("first physical address above those at which a root can lie")
    execute_mask: i64 = field("the bits of a leaf entry that say whether the kernel may execute its page; 0: it may")
    execute_value: i64 = field("their value if it may; all are the other way if it may not")
    execute_large_mask: i64 = field("as execute_mask, of an entry that maps a large page")
    execute_large_value: i64 = field("their value if it may")
    root: i64 = field("an entry of the root that leads to a table, without its address")
    table: i64 = field("an entry below the root that leads to a table")
    user_root: i64 = field("an entry of a process's root that leads to a table")
    user_table: i64 = field("an entry below that root that leads to a table")
    leaf: i64 = field("an entry that maps a page for the kernel")
    large: i64 = field("an entry that maps a large page for the kernel")
    page: i64 = field("an entry that maps a page for a process: read only, not used yet")
    user_large: i64 = field("an entry that maps a large page for a process: read only, used already")
    table_step: i64 = field("from one word of an upper entry that leads to a table to the next")
    large_step: i64 = field("from one word of an upper entry that maps a large page to the next")
    cache_mask: i64 = field("the bits of a leaf entry that say how its page is cached")
    cache: Entry = array(ATTRIBUTES, "their value for each way to cache a page")
    large_write_mask: i64 = field("as write_mask, of an entry that maps a large page")
    large_read_only: i64 = field("as read_only, of an entry that maps a large page")
    large_cache_mask: i64 = field("as cache_mask, of an entry that maps a large page")
    large_cache: Entry = array(ATTRIBUTES, "as cache, of an entry that maps a large page")


_WAYS = ("cache", "large_cache")  # the arrays among them


def _filling() -> str:
    """The source of `format_init`."""
    lines = [
        "def format_init(format: Format, number: int) -> int:",
        '    """Fill in the numbers of a format; BAD_BOOT: no format has this number."""',
    ]
    for known in (each for each in FORMATS.values() if ONLY_FORMAT in (0, each.number)):
        lines.append(f"    if number == {known.number}:  # {known.name}")
        numbers = ((name, int(getattr(known, name))) for name in Format.fields if name not in _WAYS)
        lines += [f"        format.{name} = {_number(value)}" for name, value in numbers]
        for name in _WAYS:
            ways = enumerate(getattr(known, name))
            lines += [f"        element(format.{name}, {i}).bits = {_number(bits or 0)}" for i, bits in ways]
        lines.append("        return OK")
    return "\n".join([*lines, "    return BAD_BOOT", ""])


def _number(value: int) -> str:
    """A word of 64 bits as an int64 in source."""
    signed = value - (1 << 64) if value >> 63 else value
    return str(signed) if -64 < signed < 64 else hex(signed)


_NAMES = {
    "Format": Format,
    "element": element,
    "OK": OK,
    "BAD_BOOT": BAD_BOOT,
    "__name__": __name__,
}
format_init = kernel(define("format_init", _filling(), f"<formats of {__name__}>", _NAMES))


@kernel
def has_entries(format: Format) -> int:
    """1 if there are page tables in this format; 0: it says nothing but how large a page is."""
    return 1 if format.present != 0 else 0


@kernel
def span_shift(format: Format) -> int:
    """log2 of the bytes that one leaf table maps, or one large page."""
    return format.page_shift + format.index_bits


@kernel
def load_entry(format: Format, at: int) -> int:
    """The entry at an address; of an upper one, the first word."""
    return NarrowEntry(at).bits if format.word_shift == NARROW else Entry(at).bits


@kernel
def store_entry(format: Format, at: int, entry: int) -> int:
    """Write a leaf entry, or a word of an upper one."""
    if format.word_shift == NARROW:
        NarrowEntry(at).bits = entry
    else:
        Entry(at).bits = entry
    return OK


@kernel
def swap_entry(format: Format, at: int, old: int, new: int) -> int:
    """Write a leaf entry if it is `old`, in one step: 1, or 0 if somebody has changed it meanwhile."""
    return cas32(at, old, new) if format.word_shift == NARROW else cas64(at, old, new)


@kernel
def word_step(format: Format, entry: int) -> int:
    """From one word of an upper entry to the next."""
    if is_present(format, entry) == 0:
        return 0
    return format.large_step if is_large(format, entry) != 0 else format.table_step


@kernel
def store_upper(format: Format, at: int, entry: int) -> int:
    """Write an upper entry, all its words."""
    step = word_step(format, entry)
    for i in range(format.group):
        store_entry(format, at + (i << format.word_shift), entry + i * step)
    return OK


@kernel
def is_upper(format: Format, at: int, entry: int) -> int:
    """1 if the upper entry at an address is `entry`, in all its words."""
    step = word_step(format, entry)
    for i in range(format.group):
        if load_entry(format, at + (i << format.word_shift)) != entry + i * step:
            return 0
    return 1


@kernel
def stride_at(format: Format, shift: int) -> int:
    """log2 of the bytes from one entry to the next, in a table of the level of that shift."""
    return format.upper_entry_shift if shift > format.page_shift else format.entry_shift


@kernel
def index_at(format: Format, va: int, shift: int) -> int:
    """Offset in its table of the entry for va, at the level of that shift."""
    bits = format.root_bits if shift == format.root_shift else format.index_bits
    return ((va >> shift) & ((1 << bits) - 1)) << stride_at(format, shift)


@kernel
def root_entry(format: Format, pa: int) -> int:
    """The entry in the root that leads to the table at pa."""
    return (pa >> format.pa_shift) | format.root


@kernel
def table_entry(format: Format, pa: int) -> int:
    """The entry below the root that leads to the next table, at pa."""
    return (pa >> format.pa_shift) | format.table


@kernel
def user_table_entry(format: Format, pa: int, shift: int) -> int:
    """The entry, at the level of that shift, that leads to the next table of an address space; the rights are the
    leaf's to give."""
    return (pa >> format.pa_shift) | (format.user_root if shift == format.root_shift else format.user_table)


@kernel
def leaf_entry(format: Format, pa: int) -> int:
    """The entry that maps the frame at pa for the kernel, writable; used already, to spare the walker."""
    return (pa >> format.pa_shift) | format.leaf


@kernel
def large_entry(format: Format, pa: int) -> int:
    """The directory entry that maps all pages of one leaf table, at pa, at once."""
    return (pa >> format.pa_shift) | format.large


@kernel
def executable(format: Format, entry: int) -> int:
    """The kernel's leaf entry, whose page can be executed."""
    return (entry & ~format.execute_mask) | format.execute_value


@kernel
def page_entry(format: Format, pa: int, write: int) -> int:
    """The entry that maps the page at pa for a process: not used yet, and writable if `write` is not 0."""
    entry = (pa >> format.pa_shift) | format.page
    return with_write(format, entry) if write != 0 else entry


@kernel
def with_attribute(format: Format, entry: int, attribute: int) -> int:
    """The leaf entry, whose page is cached that way, which there is."""
    return (entry & ~format.cache_mask) | element(format.cache, attribute).bits


@kernel
def device_entry(format: Format, pa: int, write: int, attribute: int) -> int:
    """The entry that maps a device's page at pa for a process, cached that way: used already, for it never goes."""
    return with_attribute(format, page_entry(format, pa, write) | format.used, attribute)


@kernel
def user_large_entry(format: Format, pa: int, write: int, attribute: int) -> int:
    """The entry that maps the large page at pa for a process, cached that way: used already, for it never goes."""
    rights = (format.user_large & ~format.large_write_mask) | format.large_read_only
    rights = rights ^ (format.large_write_mask if write != 0 else 0)
    return (pa >> format.pa_shift) | (rights & ~format.large_cache_mask) | element(format.large_cache, attribute).bits


@kernel
def with_presence(format: Format, entry: int) -> int:
    """The leaf entry of a process, present again."""
    return entry | (format.page & format.present)


@kernel
def without_presence(format: Format, entry: int) -> int:
    """The entry, no longer present, its address kept for whoever gives the frame back."""
    return entry & ~format.present


@kernel
def is_present(format: Format, entry: int) -> int:
    """1 if the entry leads anywhere."""
    return 1 if entry & format.present != 0 else 0


@kernel
def entry_pa(format: Format, entry: int) -> int:
    """The physical address in an entry, present or not: `without_presence` keeps it."""
    return (entry & format.address) << format.pa_shift


@kernel
def large_pa(format: Format, entry: int) -> int:
    """The physical address of the large page that a directory entry maps, whose low bits may say something else."""
    return entry_pa(format, entry) & -(1 << span_shift(format))


@kernel
def entry_moved(format: Format, entry: int, pa: int) -> int:
    """The entry with another physical address and the same rights."""
    return (entry & ~format.address) | (pa >> format.pa_shift)


@kernel
def was_used(format: Format, entry: int) -> int:
    """1 if a processor has used the entry since `without_use`."""
    return 1 if entry & format.used != 0 else 0


@kernel
def with_use(format: Format, entry: int) -> int:
    """The entry as a processor that uses it leaves it."""
    return entry | format.used


@kernel
def without_use(format: Format, entry: int) -> int:
    """The entry, not used yet."""
    return entry & ~format.used


@kernel
def is_writable(format: Format, entry: int) -> int:
    """1 if a process may write through a leaf entry."""
    return 1 if entry & format.write_mask == format.write_mask ^ format.read_only else 0


@kernel
def with_write(format: Format, entry: int) -> int:
    """The entry, writable."""
    return (entry & ~format.write_mask) | (format.write_mask ^ format.read_only)


@kernel
def without_write(format: Format, entry: int) -> int:
    """The entry, read only."""
    return (entry & ~format.write_mask) | format.read_only


@kernel
def is_large(format: Format, entry: int) -> int:
    """1 if a present upper entry maps a large page instead of leading to a table."""
    return 1 if entry & format.large_mask == format.large_value else 0


@kernel
def has_attribute(format: Format, attribute: int) -> int:
    """1 if a page can be cached that way in this format."""
    return (format.attributes >> attribute) & 1 if attribute >= 0 and attribute < ATTRIBUTES else 0


@kernel
def page_inside(format: Format, entry: int, shift: int, va: int) -> int:
    """The leaf entry of the page that holds va, inside the large page of that shift that `entry` maps."""
    inside = shl(1, shift) - shl(1, format.page_shift)  # an entry's attributes may lie here, as PAT does on x86
    small = (entry & ~(inside >> format.pa_shift)) | ((va & inside) >> format.pa_shift)
    return (small & (format.leaf | ~format.large)) | (format.leaf & ~format.large)


@kernel
def walk(format: Format, phys: int, bytes: int, root: int, va: int) -> int:
    """The leaf entry that the tables at physical address `root` hold for target address va; 0 if none is present.

    `phys` is what turns a physical address into one that can be loaded from here, and `bytes` how far these go: a table
    beyond has no entries. A large page's entry comes back as the leaf entry of the page inside it that holds va.
    """
    shift = format.root_shift
    table = root
    while shift > format.page_shift:
        if table < 0 or table + (1 << format.page_shift) > bytes:
            return 0
        entry = load_entry(format, phys + table + index_at(format, va, shift))
        if is_present(format, entry) == 0:
            return 0
        if is_large(format, entry) != 0:
            return page_inside(format, entry, shift, va)
        table = entry_pa(format, entry)
        shift -= format.index_bits
    if table < 0 or table + (1 << format.page_shift) > bytes:
        return 0
    entry = load_entry(format, phys + table + index_at(format, va, shift))
    if is_present(format, entry) == 0:  # as one expression it is miscompiled by gcc 12.2 at -O2 (peephole2)
        return 0
    return entry
