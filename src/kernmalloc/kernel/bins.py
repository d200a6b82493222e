"""Heap pages and the bins that file free runs of them by length.

Concepts
  1. Every page of the heap below `top` has a record of 64 bytes in the heap map, found by a shift.
  2. A run is contiguous pages in one use. A free run is IDLE (frames behind it), BARE (none) or KEPT (in the fixed part).
     Its first and last record carry its length, so that neighbours join in constant time (Knuth's boundary tags, kept out
     of the pages). The records in between are NONE: an address inside a run can be told from one at its start.
  3. Free runs are filed in bins by length: exact below 16 pages, then eight bins per doubling. Two bitmaps say which
     bins hold any, so that finding a run that fits takes a few counts of trailing zeros (Masmano's TLSF, 2004).
"""

from kernmalloc.kernel.kern import Index, Kern, Word
from kernmalloc.lang import clz, ctz, i64, inlined, kernel, record, shl, u8, u16, u32
from kernmalloc.lang.status import OK

# the use of a run
NONE = 0  # inside a run
IDLE = 1  # free, with frames
BARE = 2  # free, without frames
KEPT = 3  # free, in the fixed part, whose frames stay
SLAB = 4  # slots of one cache; every page says so
LARGE = 5  # one allocation; the last page is its TAIL
TAIL = 6
USES = 7

PAGE_RECORD_SHIFT = 6
EXACT = 16
ABSENT = -1


@record(size=64)
class HeapPage:
    """One page of the heap. In a free run or a LARGE one only the first and the last page's record mean anything; those of a
    slab's pages are `SlabPage`."""

    pages: u32 = "length of the run (first and last page)"
    next: u32 = "next free run of the bin: page + 1"
    prev: u32 = "the one before: page + 1"
    use: u8 = "NONE, IDLE, BARE, SLAB, LARGE, TAIL"
    rest: u8 = "of a slab only"
    more: u16 = "0: no processor owns slots here"
    others: i64 * 6 = "of a slab only"

    invariants = (
        "use > NONE and use < TAIL",
        "pages > 0 and pages == tally.tail_pages",
        "tally.page_errors == 0",
        "tally.joinable == 0",
        "use == SLAB or tally.listed == 1",
    )


BIN_BITS = Kern.offset("bin_bits")
BIN_HEADS = Kern.offset("bins")
BINS_SHIFT = 8  # log2 of BINS


@kernel
def record_of(kern, page):
    """VA of a heap page's record."""
    return Kern(kern).heap_map + (page << PAGE_RECORD_SHIFT)


@inlined
def page_of_record(kern, record):
    """The heap page whose record lies at that VA."""
    return (record - Kern(kern).heap_map) >> PAGE_RECORD_SHIFT


@kernel
def va_of(kern, page):
    """VA of a heap page."""
    k = Kern(kern)
    return k.heap + (page << k.page_shift)


@kernel
def bin_of(pages):
    """The bin that files runs of that length: exact below 16, then eight to a doubling."""
    if pages < EXACT:
        return pages
    log = 63 - clz(pages)
    return EXACT + ((log - 4) << 3) + ((pages >> (log - 3)) & 7)


@kernel
def bin_holding(pages):
    """The first bin whose runs are all at least that long."""
    if pages < EXACT:
        return pages
    log = 63 - clz(pages)
    return bin_of(pages + (1 << (log - 3)) - 1)


@kernel
def bits_of(kern, use):
    """VA of the bitmap of the bins that hold free runs of one use."""
    return kern + BIN_BITS + ((use - IDLE) << 5)


@kernel
def bin_at(kern, use, bin):
    """VA of a bin: of its first run."""
    return kern + BIN_HEADS + ((((use - IDLE) << BINS_SHIFT) + bin) << 2)


@kernel
def file_run(kern, page, pages, use):
    """File a free run: mark its ends and put it first in its bin."""
    h = HeapPage(record_of(kern, page))
    last = HeapPage(record_of(kern, page + pages - 1))
    last.use = use
    last.pages = pages
    h.use = use
    h.pages = pages
    bin = bin_of(pages)
    head = Index(bin_at(kern, use, bin))
    h.prev = 0
    h.next = head.value
    if h.next != 0:
        HeapPage(record_of(kern, h.next - 1)).prev = page + 1
    head.value = page + 1
    w = Word(bits_of(kern, use) + ((bin >> 6) << 3))
    w.bits = w.bits | shl(1, bin & 63)
    return OK


@kernel
def unfile_run(kern, page):
    """Take a free run out of its bin and clear the records at its ends; returns its length."""
    h = HeapPage(record_of(kern, page))
    use = h.use
    pages = h.pages
    if h.next != 0:
        HeapPage(record_of(kern, h.next - 1)).prev = h.prev
    if h.prev != 0:
        HeapPage(record_of(kern, h.prev - 1)).next = h.next
    else:
        bin = bin_of(pages)
        Index(bin_at(kern, use, bin)).value = h.next
        if h.next == 0:
            w = Word(bits_of(kern, use) + ((bin >> 6) << 3))
            w.bits = w.bits & ~shl(1, bin & 63)
    clear_run(kern, page, pages)
    return pages


@kernel
def clear_run(kern, page, pages):
    """Forget the records at the ends of a run."""
    h = HeapPage(record_of(kern, page))
    h.use = NONE
    h.pages = 0
    h.next = 0
    h.prev = 0
    last = HeapPage(record_of(kern, page + pages - 1))
    last.use = NONE
    last.pages = 0
    return OK


@kernel
def _first_bin(kern, use, bin):
    """The first bin from `bin` on that holds a run, or ABSENT."""
    at = bits_of(kern, use)
    word = bin >> 6
    bits = Word(at + (word << 3)).bits & shl(-1, bin & 63)
    while bits == 0:
        word += 1
        if word == 4:
            return ABSENT
        bits = Word(at + (word << 3)).bits
    return (word << 6) + ctz(bits)


@kernel
def find_run(kern, use, pages):
    """A free run of at least that length, ABSENT if there is none: from the first bin where all fit, else its own bin."""
    bin = _first_bin(kern, use, bin_holding(pages))
    if bin != ABSENT:
        return Index(bin_at(kern, use, bin)).value - 1
    at = Index(bin_at(kern, use, bin_of(pages))).value
    while at != 0:
        h = HeapPage(record_of(kern, at - 1))
        if h.pages >= pages:
            return at - 1
        at = h.next
    return ABSENT


@kernel
def longest_run(kern, use):
    """A run from the highest bin that holds one. There is one."""
    at = bits_of(kern, use)
    word = 3
    while Word(at + (word << 3)).bits == 0:
        word -= 1
    bin = (word << 6) + 63 - clz(Word(at + (word << 3)).bits)
    return Index(bin_at(kern, use, bin)).value - 1
