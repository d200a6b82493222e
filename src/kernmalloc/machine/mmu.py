"""Page-table entries in the target's own format: what the kernel writes and the walkers read.

i386 PAE and x86-64 share one entry format (Intel SDM vol. 3A, 5.4 and 5.5: 64-bit entries, 9 index bits a level, bit 7
for a large page) and differ in depth and in the rights bits of the root's entries. An architecture with another format
adds its number here and its case to each function; nothing else in the kernel knows a bit of an entry.

    levels    i386 PAE: 30, 21, 12      x86-64: 39, 30, 21, 12      (shift of the index at each level)
"""

from kernmalloc.lang import i64, kernel, record, shl

I386_PAE = 1
X86_64 = 2
ARCH_NAMES = ("", "i386-pae", "x86_64")

ENTRY_SHIFT = 3  # an entry has 8 bytes
INDEX_BITS = 9  # a table has 512 entries

PRESENT = 1 << 0
WRITE = 1 << 1
ACCESSED = 1 << 5
DIRTY = 1 << 6
LARGE = 1 << 7
GLOBAL = 1 << 8
ADDRESS = 0x000F_FFFF_FFFF_F000


@record(size=8)
class Entry:
    """One page-table entry."""

    bits: i64 = "address and rights, in the target's format"


@kernel
def root_shift(arch):
    """Shift of the index into the root table."""
    if arch == X86_64:
        return 39
    return 30


@kernel
def root_entry(arch, pa):
    """The entry in the root that leads to the table at pa. PAE reserves the rights bits there (SDM 3A, table 5-8)."""
    if arch == X86_64:
        return pa | PRESENT | WRITE | ACCESSED
    return pa | PRESENT


@kernel
def table_entry(arch, pa):
    """The entry that leads to the next table, at pa."""
    return pa | PRESENT | WRITE | ACCESSED


@kernel
def leaf_entry(arch, pa):
    """The entry that maps the frame at pa for the kernel, writable; accessed and dirty already, to spare the walker."""
    return pa | PRESENT | WRITE | ACCESSED | DIRTY | GLOBAL


@kernel
def large_entry(arch, pa):
    """The directory entry that maps all pages of one leaf table, at pa, at once (SDM 3A, tables 4-9 and 4-18)."""
    return leaf_entry(arch, pa) | LARGE


@kernel
def is_large(arch, entry):
    """1 if a directory entry maps a large page instead of leading to a leaf table."""
    return 1 if entry & LARGE != 0 else 0


@kernel
def is_present(arch, entry):
    """1 if the entry leads anywhere."""
    return entry & PRESENT


@kernel
def entry_pa(arch, entry):
    """The physical address in an entry, present or not: `without_presence` keeps it."""
    return entry & ADDRESS


@kernel
def without_presence(arch, entry):
    """The entry, no longer present, its address kept for whoever gives the frame back."""
    return entry & ~PRESENT


@kernel
def walk(arch, phys, root, va):
    """The leaf entry that the tables at physical address `root` hold for target address va; 0 if none is present.

    `phys` is what turns a physical address into one that can be loaded from here. A large page's entry comes back as
    the leaf entry of the page inside it that holds va.
    """
    shift = root_shift(arch)
    table = root
    while shift > 12:
        entry = Entry(phys + table + (((va >> shift) & 511) << ENTRY_SHIFT)).bits
        if entry & PRESENT == 0:
            return 0
        if entry & LARGE != 0 and shift < 39:
            inside = (shl(1, shift) - 1) & ADDRESS  # in a large page's entry PAT is one of these bits
            return (entry & ~(LARGE | inside)) | (va & inside)
        table = entry & ADDRESS
        shift -= INDEX_BITS
    entry = Entry(phys + table + (((va >> 12) & 511) << ENTRY_SHIFT)).bits
    if entry & PRESENT == 0:
        return 0
    return entry
