"""Heap pages and the bins that file free runs of them by length.

Concepts
  1. Every page of the heap below `top` has a record in the heap map, found by a shift. The record takes a 64th of the
     bytes of a page (in an arena of small pages, 64 bytes).
  2. A run is adjacent pages in one use. A free run is IDLE (it has frames), BARE (it has none) or KEPT (it lies in the
     fixed part, whose frames stay).
  3. The first and the last record of a run carry its length, so that neighbours join in constant time. These are
     Knuth's boundary tags, kept out of the pages. The records in between are INSIDE, which tells an address inside a
     run from one at its start. Every page of a slab says SLAB.
  4. Free runs are filed by use and length: a bin for each length below 16 pages, then eight bins per doubling. A bitmap
     for each use says which bins hold a run, so that one that fits is found by counting trailing zeros (Masmano's TLSF,
     2004).
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, BINS, FREE_USES, Index, Kern, Word
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.lang import Record, array, clz, ctz, element, field, inlined, kernel, shl, u8, u16, u32
from kernmalloc.lang.status import OK

# the use of a run
INSIDE = 0  # inside a run
IDLE = 1  # free, with frames
BARE = 2  # free, without frames
KEPT = 3  # free, in the fixed part, whose frames stay
SLAB = 4  # slots of one cache; every page says so
LARGE = 5  # one allocation; the last page is its TAIL
OWN = 6  # one allocation of the kernel's own; the last page is its TAIL
TAIL = 7
USES = 8
FIRST_FREE = KEPT + 1 - FREE_USES  # the first use of a free run that this layout has

SLAB_WORDS = 6  # of the record of a slab's page that other pages have no use for; more, where pages have over 4 KiB
EXACT = 16  # runs shorter than that have bins of their own


class HeapPage(Record, size=64):
    """One page of the heap. Of a run that is no slab, only the first and the last page's record mean anything.

    A page of a slab has a `SlabPage` in these bytes. The fields up to `owner` are at the same place in both: the quick
    free reads `owner` of any page, and finds 0 where there is no slab."""

    pages: u32 = field("length of the run (first and last page)")
    next: u32 = field("next free run of the bin: page + 1")
    prev: u32 = field("the one before: page + 1")
    use: u8 = field("INSIDE, IDLE, BARE, KEPT, SLAB, LARGE, OWN, TAIL")
    cache: u8 = field("of a slab only")
    owner: u16 = field("0: no processor owns slots here")
    slab: Word = array(SLAB_WORDS, "of a slab only")

    invariants = (
        "use > INSIDE and use < TAIL",
        "pages > 0 and pages == tally.tail_pages",
        "tally.page_errors == 0",
        "tally.joinable == 0",
        "use == SLAB or tally.listed == 1",
    )


BIN_WORDS = BINS // 64  # of the bitmap of one use


@inlined
def record_shift(kern: Kern) -> int:
    """log2 of the bytes of a heap page's record."""
    return kern.record_shift


@kernel
def record_of(kern: Kern, page: int) -> HeapPage:
    """The record of a heap page."""
    return HeapPage(kern.heap_map.addr + (page << record_shift(kern)))


@inlined
def page_of_record(kern: Kern, record: HeapPage) -> int:
    """The heap page that a record is of."""
    return (record.addr - kern.heap_map.addr) >> record_shift(kern)


@kernel
def va_of(kern: Kern, page: int) -> int:
    """VA of a heap page."""
    return kern.heap + (page << kern.page_shift)


@kernel
def bin_of(pages: int) -> int:
    """The bin of runs of that length."""
    if pages < EXACT:
        return pages
    log = 63 - clz(pages)
    return EXACT + ((log - 4) << 3) + ((pages >> (log - 3)) & 7)


@kernel
def bin_holding(pages: int) -> int:
    """The first bin of which every run is at least that long."""
    if pages < EXACT:
        return pages
    log = 63 - clz(pages)
    return bin_of(pages + (1 << (log - 3)) - 1)


@kernel
def bits_of(kern: Kern, use: int) -> Word:
    """The bitmap of the bins that hold free runs of one use: its first word."""
    return element(kern.bin_bits, (use - FIRST_FREE) * BIN_WORDS)


@kernel
def bin_at(kern: Kern, use: int, bin: int) -> Index:
    """A bin: its first run, page + 1."""
    return element(kern.bins, (use - FIRST_FREE) * BINS + bin)


bin_link, bin_unlink = linked_list(
    "bin",
    "a free run (page + 1)",
    "kern: Kern, bin: Index",
    first="bin.value",
    next="record_of(kern, {} - 1).next",
    prev="record_of(kern, {} - 1).prev",
    namespace=globals(),
)


@kernel
def file_run(kern: Kern, page: int, pages: int, use: int) -> int:
    """File a free run: mark its ends and put it first in its bin."""
    head = record_of(kern, page)
    head.use = use
    head.pages = pages
    last = record_of(kern, page + pages - 1)
    last.use = use
    last.pages = pages
    bin = bin_of(pages)
    bin_link(kern, bin_at(kern, use, bin), page + 1, 0)
    word = element(bits_of(kern, use), bin >> 6)
    word.bits = word.bits | shl(1, bin & 63)
    return OK


@kernel
def unfile_run(kern: Kern, page: int) -> int:
    """Take a free run out of its bin and clear the records at its ends; returns its length."""
    head = record_of(kern, page)
    use = head.use
    pages = head.pages
    bin = bin_of(pages)
    runs = bin_at(kern, use, bin)
    bin_unlink(kern, runs, page + 1)
    if runs.value == 0:
        word = element(bits_of(kern, use), bin >> 6)
        word.bits = word.bits & ~shl(1, bin & 63)
    clear_run(kern, page, pages)
    return pages


@kernel
def clear_run(kern: Kern, page: int, pages: int) -> int:
    """Forget the records at the ends of a run that is in no bin."""
    head = record_of(kern, page)
    head.use = INSIDE
    head.pages = 0
    last = record_of(kern, page + pages - 1)
    last.use = INSIDE
    last.pages = 0
    return OK


@kernel
def _first_bin(kern: Kern, use: int, bin: int) -> int:
    """The first bin from `bin` on that holds a run, or ABSENT."""
    bitmap = bits_of(kern, use)
    word = bin >> 6
    bits = element(bitmap, word).bits & shl(-1, bin & 63)
    while bits == 0:
        word += 1
        if word == BIN_WORDS:
            return ABSENT
        bits = element(bitmap, word).bits
    return (word << 6) + ctz(bits)


@kernel
def find_run(kern: Kern, use: int, pages: int) -> int:
    """A free run of at least that length: its first page, or ABSENT.

    It comes from the first bin of which every run fits; else from the bin of that length, run by run."""
    bin = _first_bin(kern, use, bin_holding(pages))
    if bin != ABSENT:
        return bin_at(kern, use, bin).value - 1
    at = bin_at(kern, use, bin_of(pages)).value
    while at != 0:
        run = record_of(kern, at - 1)
        if run.pages >= pages:
            return at - 1
        at = run.next
    return ABSENT


@kernel
def longest_run(kern: Kern, use: int) -> int:
    """A free run of that use from the highest bin that holds one: its first page. There is one."""
    bitmap = bits_of(kern, use)
    word = BIN_WORDS - 1
    while element(bitmap, word).bits == 0:
        word -= 1
    bin = (word << 6) + 63 - clz(element(bitmap, word).bits)
    return bin_at(kern, use, bin).value - 1
