"""Page-table entries in the target's own format: what the kernel writes and the walkers read.

i386 PAE and x86-64 share one entry format (Intel SDM vol. 3A, 5.4 and 5.5: 64-bit entries, 9 index bits a level, bit 7
for a large page) and differ in depth and in the rights bits of the root's entries. ColdFire V4e knows no tables: software
loads its TLB (MCF547x reference manual, chapter 5), and the tables are the kernel's own. An entry that maps is the word
that a miss handler puts into MMUDR, and in bit 0, which MMUDR does not use, MMUTR's valid bit; one without the right to
read leads to a table. An architecture with another format adds its number here and its case to each function;
nothing else in the kernel knows a bit of an entry, how large a page is, or how many entries a table has.

    shift of the index at each level     i386 PAE: 30, 21, 12      x86-64: 39, 30, 21, 12      ColdFire: 27, 20, 13
    bytes of a page, of a large page               4 KiB, 2 MiB            4 KiB, 2 MiB                 8 KiB, 1 MiB

How a page is cached is two or three bits of its leaf entry. On x86 they are an index into IA32_PAT (SDM vol. 3A, 12.12): as
it is after reset, but that whoever boots makes its seventh field, PA6, write combining (1); if nobody does, those pages are
uncached. ColdFire has cache modes (MMUDR's CM), and none that combines writes.

    bytes from one entry to the next = page >> index bits = 8; 64 on ColdFire, whose large pages are small:
    a table fills its frame, and tables side by side are one array
"""

from kernmalloc.lang import i64, kernel, record, shl

I386_PAE = 1
X86_64 = 2
COLDFIRE = 3
ARCH_NAMES = ("", "i386-pae", "x86_64", "coldfire")

# how a page is cached
WRITE_BACK = 0
WRITE_THROUGH = 1
UNCACHED = 2
WRITE_COMBINING = 3
ATTRIBUTES = 4
ATTRIBUTE_NAMES = ("write-back", "write-through", "uncached", "write-combining")

PRESENT = 1 << 0
WRITE = 1 << 1
USER = 1 << 2
PWT = 1 << 3  # with PCD and PAT the index into IA32_PAT, lowest bit first
PCD = 1 << 4
ACCESSED = 1 << 5
DIRTY = 1 << 6
LARGE = 1 << 7
PAT = 1 << 7  # of a leaf entry
GLOBAL = 1 << 8
ADDRESS = 0x000F_FFFF_FFFF_F000

# ColdFire: fields of MMUDR
CF_EXECUTE = 1 << 2
CF_WRITE = 1 << 3
CF_READ = 1 << 4
CF_SUPERVISOR = 1 << 5
CF_COPYBACK = 1 << 6
CF_INHIBITED = 2 << 6  # in order
CF_MODE = 3 << 6
CF_8KIB = 2 << 8  # size of the page; 0: 1 MiB
CF_USED = 1 << 10  # of the address bits that a page of 8 KiB leaves free: the miss handler's note
CF_ADDRESS = 0xFFFF_E000


@record(size=8)
class Entry:
    """One page-table entry."""

    bits: i64 = "address and rights, in the target's format"


@kernel
def page_shift(arch):
    """log2 of the bytes in a page."""
    if arch == COLDFIRE:
        return 13
    return 12


@kernel
def index_bits(arch):
    """log2 of the entries in a table, and of the pages in a large page."""
    if arch == COLDFIRE:
        return 7
    return 9


@kernel
def entry_shift(arch):
    """log2 of the bytes from one entry of a table to the next."""
    return page_shift(arch) - index_bits(arch)


@kernel
def root_shift(arch):
    """Shift of the index into the root table."""
    if arch == X86_64:
        return 39
    if arch == COLDFIRE:
        return 27
    return 30


@kernel
def index_at(arch, va, shift):
    """Offset in its table of the entry for va, at the level of that shift."""
    return ((va >> shift) & ((1 << index_bits(arch)) - 1)) << entry_shift(arch)


@kernel
def user_end(arch):
    """First address above what an address space may map: the kernel's share begins there, or the format ends."""
    if arch == X86_64:
        return 1 << 47
    return 0xC000_0000


@kernel
def root_entry(arch, pa):
    """The entry in the root that leads to the table at pa. PAE reserves the rights bits there (SDM 3A, table 5-8)."""
    if arch == X86_64:
        return table_entry(arch, pa)
    return pa | PRESENT


@kernel
def table_entry(arch, pa):
    """The entry that leads to the next table, at pa."""
    if arch == COLDFIRE:
        return pa | PRESENT
    return pa | PRESENT | WRITE | ACCESSED


@kernel
def leaf_entry(arch, pa):
    """The entry that maps the frame at pa for the kernel, writable; accessed and dirty already, to spare the walker."""
    if arch == COLDFIRE:
        return large_entry(arch, pa) | CF_8KIB
    return pa | PRESENT | WRITE | ACCESSED | DIRTY | GLOBAL


@kernel
def large_entry(arch, pa):
    """The directory entry that maps all pages of one leaf table, at pa, at once (SDM 3A, tables 4-9 and 4-18)."""
    if arch == COLDFIRE:
        return pa | PRESENT | CF_READ | CF_WRITE | CF_EXECUTE | CF_SUPERVISOR | CF_COPYBACK
    return pa | PRESENT | WRITE | ACCESSED | DIRTY | GLOBAL | LARGE


@kernel
def large_bit(arch):
    """The bit that a directory entry has if it maps a large page instead of leading to a leaf table."""
    if arch == COLDFIRE:
        return CF_READ
    return LARGE


@kernel
def user_table_entry(arch, pa):
    """The entry that leads to the next table of an address space; the rights are the leaf's to give."""
    if arch == COLDFIRE:
        return table_entry(arch, pa)
    return table_entry(arch, pa) | USER


@kernel
def write_bit(arch):
    """The bit of a leaf entry that lets its users write."""
    if arch == COLDFIRE:
        return CF_WRITE
    return WRITE


@kernel
def used_bit(arch):
    """The bit of a leaf entry that its use sets: by the processor (SDM 3A, 4.8), or by the handler that loads its TLB."""
    if arch == COLDFIRE:
        return CF_USED
    return ACCESSED


@kernel
def page_entry(arch, pa, write):
    """The entry that maps the page at pa for a process: not used yet, and writable if `write` is not 0."""
    rights = write_bit(arch) if write != 0 else 0
    if arch == COLDFIRE:
        return pa | PRESENT | CF_READ | CF_EXECUTE | CF_COPYBACK | CF_8KIB | rights
    return pa | PRESENT | USER | rights


@kernel
def with_presence(arch, entry):
    """The entry, present again."""
    return entry | PRESENT


@kernel
def entry_moved(arch, entry, pa):
    """The entry with another physical address and the same rights."""
    return entry - entry_pa(arch, entry) + pa


@kernel
def was_used(arch, entry):
    """1 if a processor has used the entry since `without_use`."""
    return 1 if entry & used_bit(arch) != 0 else 0


@kernel
def with_use(arch, entry):
    """The entry as a processor that uses it leaves it."""
    return entry | used_bit(arch)


@kernel
def without_use(arch, entry):
    """The entry, not used yet."""
    return entry & ~used_bit(arch)


@kernel
def is_writable(arch, entry):
    """1 if a process may write through a leaf entry."""
    return 1 if entry & write_bit(arch) != 0 else 0


@kernel
def without_write(arch, entry):
    """The entry, read only."""
    return entry & ~write_bit(arch)


@kernel
def is_large(arch, entry):
    """1 if a directory entry maps a large page instead of leading to a leaf table."""
    return 1 if entry & large_bit(arch) != 0 else 0


@kernel
def is_present(arch, entry):
    """1 if the entry leads anywhere."""
    return entry & PRESENT


@kernel
def entry_pa(arch, entry):
    """The physical address in an entry, present or not: `without_presence` keeps it."""
    if arch == COLDFIRE:
        return entry & CF_ADDRESS
    return entry & ADDRESS


@kernel
def without_presence(arch, entry):
    """The entry, no longer present, its address kept for whoever gives the frame back."""
    return entry & ~PRESENT


@kernel
def has_attribute(arch, attribute):
    """1 if a page can be cached that way on this architecture."""
    if arch == COLDFIRE and attribute == WRITE_COMBINING:
        return 0
    return 1 if attribute >= 0 and attribute < ATTRIBUTES else 0


@kernel
def with_attribute(arch, entry, attribute):
    """The leaf entry, its page cached in a way that the architecture has."""
    if arch == COLDFIRE:
        mode = CF_INHIBITED if attribute == UNCACHED else 0
        return (entry & ~CF_MODE) | (CF_COPYBACK if attribute == WRITE_BACK else mode)
    index = 0
    if attribute == WRITE_THROUGH:
        index = PWT
    elif attribute == UNCACHED:
        index = PCD | PWT
    elif attribute == WRITE_COMBINING:
        index = PAT | PCD
    return (entry & ~(PAT | PCD | PWT)) | index


@kernel
def page_inside(arch, entry, shift, va):
    """The leaf entry of the page that holds va, inside the large page of that shift that `entry` maps."""
    inside = shl(1, shift) - shl(1, page_shift(arch))  # in a large page's entry PAT is one of these bits
    small = (entry & ~inside) | (va & inside)
    if arch == COLDFIRE:
        return small | CF_8KIB
    return small & ~LARGE


@kernel
def walk(arch, phys, root, va):
    """The leaf entry that the tables at physical address `root` hold for target address va; 0 if none is present.

    `phys` is what turns a physical address into one that can be loaded from here. A large page's entry comes back as
    the leaf entry of the page inside it that holds va.
    """
    top = root_shift(arch)
    shift = top
    table = root
    while shift > page_shift(arch):
        entry = Entry(phys + table + index_at(arch, va, shift)).bits
        if is_present(arch, entry) == 0:
            return 0
        if is_large(arch, entry) != 0 and shift < top:
            return page_inside(arch, entry, shift, va)
        table = entry_pa(arch, entry)
        shift -= index_bits(arch)
    entry = Entry(phys + table + index_at(arch, va, shift)).bits
    return entry if is_present(arch, entry) != 0 else 0


@kernel
def leaf_entry_at(arch, phys, root, va):
    """Where the present leaf entry for va lies, in tables without large pages; 0 if none is present. `phys` as for `walk`."""
    shift = root_shift(arch)
    table = root
    while shift > page_shift(arch):
        entry = Entry(phys + table + index_at(arch, va, shift)).bits
        if is_present(arch, entry) == 0:
            return 0
        table = entry_pa(arch, entry)
        shift -= index_bits(arch)
    at = phys + table + index_at(arch, va, shift)
    return at if is_present(arch, Entry(at).bits) != 0 else 0
