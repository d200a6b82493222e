"""Heap pages: runs of them, which the heap takes, splits, joins, grows and gives back.

Concepts
  1. The heap is one stretch of the window, `heap_pages` long: a hard bound (C1). Every page below `top` has a record of
     64 bytes in the heap map, found by a shift.
  2. A run is contiguous pages in one use. A free run is IDLE (frames behind it), BARE (none) or KEPT (in the fixed part). Its first and last
     record carry its length, so that neighbours join in constant time (Knuth's boundary tags, kept out of the pages).
     The records in between are NONE: an address inside a run can be told from one at its start.
  3. Free runs are filed in bins by length: exact below 16 pages, then eight bins per doubling. Two bitmaps say which
     bins hold any, so that finding a run that fits takes a few counts of trailing zeros (Masmano's TLSF, 2004).
  4. Growing takes a bare run, or pages at `top`, and backs it with frames from page space, scattered as they come (E20).
     Shrinking gives frames back as soon as more than one growth step is idle (C11, E21), and lowers `top` again.

  5. An affine heap (C2 to C6) has a fixed part, the pages below `fixed`: mapped once, contiguous and in large pages, from
     frames that it keeps. It is used first. `release` gives the whole large pages at its end back, for good (C18).

    idle    = pages in IDLE runs                       <= growth
    kept    = pages in KEPT runs                       <= fixed
    backed  = pages of runs in use + idle + kept       <= top <= heap_pages
    map_pages * (page / 64) >= top                     and no page more than that needs

Everything here is validated first: when a run is taken, the frames for it, for its leaf tables and for its records have
been asked for before the first store.
"""

from kernmalloc.kernel.kern import UP, Cpu, Index, Kern, Word
from kernmalloc.kernel.kmap import back, map_large, tables_missing, unback, unmap_large
from kernmalloc.kernel.space import space_ask
from kernmalloc.lang import clz, ctz, i64, kernel, record, shl, u8, u16, u32
from kernmalloc.lang.status import NO_VA, OK
from kernmalloc.machine.mmu import INDEX_BITS
from kernmalloc.machine.primitives import zero

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
    """One page of the heap. In a free run or a LARGE one only the first and the last page's record mean anything."""

    use: u8 = "NONE, IDLE, BARE, SLAB, LARGE, TAIL"
    claim: u8 = "slab: the bitmap word that is in a magazine, plus 1; 0: none is"
    owner: u8 = "slab: number of the processor that has the claim"
    cache: u8 = "slab: number of its cache"
    back: u16 = "slab: pages from here back to the head"
    free: u16 = "slab: bits set in its bitmap"
    pages: u32 = "length of the run (first and last page; head of a slab)"
    size: u32 = "slab: bytes from one slot to the next"
    reciprocal: u32 = "slab: 2 ** 32 / size, rounded up: a slot's number without a division"
    slots: u32 = "slab: how many"
    next: u32 = "next free run of the bin, or next slab with free slots: page + 1"
    prev: u32 = "the one before: page + 1"
    bits: i64 * 4 = "slab: free slots"

    invariants = (
        "use > NONE and use < TAIL",
        "pages > 0 and pages == tally.tail_pages",
        "tally.page_errors == 0",
        "tally.joinable == 0",
        "use != SLAB or cache < kern.cache_count",
        "use != SLAB or free == tally.slab_free",
        "tally.listed == 1",
    )


BIN_BITS = Kern.offset("bin_bits")
BIN_HEADS = Kern.offset("bins")
BINS_SHIFT = 8  # log2 of BINS


@kernel
def record_of(kern, page):
    """VA of a heap page's record."""
    return Kern(kern).heap_map + (page << PAGE_RECORD_SHIFT)


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
def _longest(kern, use):
    """A run from the highest bin that holds one. There is one."""
    at = bits_of(kern, use)
    word = 3
    while Word(at + (word << 3)).bits == 0:
        word -= 1
    bin = (word << 6) + 63 - clz(Word(at + (word << 3)).bits)
    return Index(bin_at(kern, use, bin)).value - 1


@kernel
def _aligned_up(kern, page, align):
    """The first page from `page` on whose address is a multiple of `align` pages."""
    k = Kern(kern)
    first = k.heap >> k.page_shift
    return ((first + page + align - 1) & ~(align - 1)) - first


@kernel
def map_pages(kern, top):
    """Pages of the heap map that records below `top` need."""
    shift = Kern(kern).page_shift - PAGE_RECORD_SHIFT
    return (top + (1 << shift) - 1) >> shift


@kernel
def _map_growth(kern, top):
    """Pages that the heap map must grow by for a new `top`."""
    return max(map_pages(kern, top) - Kern(kern).map_pages, 0)


@kernel
def growth_cost(kern, start, pages, top):
    """Frames that it takes to back `pages` at page `start` and to raise the top to `top`: pages, records, leaf tables."""
    k = Kern(kern)
    records = _map_growth(kern, top)
    return (
        pages
        + records
        + tables_missing(kern, va_of(kern, start), pages)
        + tables_missing(kern, k.heap_map + (k.map_pages << k.page_shift), records)
    )


@kernel
def _raise_top(cpu, top):
    """Let the heap reach up to page `top`, backing the records that this needs, already asked for."""
    k = Kern(Cpu(cpu).kern)
    records = _map_growth(k.addr, top)
    back(cpu, k.heap_map + (k.map_pages << k.page_shift), records)
    k.map_pages = k.map_pages + records
    k.top = top
    return OK


@kernel
def _lower_top(cpu, top):
    """Let the heap end at page `top`, and give the records beyond back."""
    k = Kern(Cpu(cpu).kern)
    k.top = top
    keep = map_pages(k.addr, top)
    surplus = k.map_pages - keep
    if surplus > 0:
        k.map_pages = keep
        unback(cpu, k.heap_map + (keep << k.page_shift), surplus)
    return OK


@kernel
def grow(cpu, pages, align):
    """A run of `pages` newly backed, zeroed pages at a multiple of `align` pages: its first page. NO_VA, or as `ask` says."""
    k = Kern(Cpu(cpu).kern)
    kern = k.addr
    room = pages + align - 1
    bare = find_run(kern, BARE, room)
    start = _aligned_up(kern, k.top if bare == ABSENT else bare, align)
    top = max(k.top, start + pages)
    if top > k.heap_pages:
        return NO_VA
    status = space_ask(cpu, growth_cost(kern, start, pages, top))
    if status < 0:
        return status
    low = k.top
    end = start + pages
    if bare != ABSENT:
        low = bare
        end = bare + unfile_run(kern, bare)
    else:
        _raise_top(cpu, top)
    if start > low:
        file_run(kern, low, start - low, BARE)
    if end > start + pages:
        file_run(kern, start + pages, end - start - pages, BARE)
    back(cpu, va_of(kern, start), pages)
    k.backed = k.backed + pages
    return start


@kernel
def _file_bare(cpu, page, pages):
    """File pages whose frames are gone: join bare neighbours; at the top of the heap, lower the top instead."""
    k = Kern(Cpu(cpu).kern)
    kern = k.addr
    start = page
    end = page + pages
    if end < k.top:
        if HeapPage(record_of(kern, end)).use == BARE:
            end += unfile_run(kern, end)
    if start > 0:
        before = HeapPage(record_of(kern, start - 1))
        if before.use == BARE:
            start -= before.pages
            unfile_run(kern, start)
    if end < k.top:
        return file_run(kern, start, end - start, BARE)
    return _lower_top(cpu, start)


@kernel
def _shrink(cpu, page, pages):
    """Give back the frames behind pages that belong to no run just now."""
    k = Kern(Cpu(cpu).kern)
    k.backed = k.backed - pages
    unback(cpu, va_of(k.addr, page), pages)
    return _file_bare(cpu, page, pages)


@kernel
def trim(cpu, keep):
    """Give idle pages back until at most `keep` are left, the longest runs first, from their ends."""
    k = Kern(Cpu(cpu).kern)
    while k.idle > keep:
        page = _longest(k.addr, IDLE)
        pages = unfile_run(k.addr, page)
        surplus = min(k.idle - keep, pages)
        k.idle = k.idle - surplus
        if surplus < pages:
            file_run(k.addr, page, pages - surplus, IDLE)
        _shrink(cpu, page + pages - surplus, surplus)
    return OK


@kernel
def _count_free(kern, use, pages):
    """Add to the pages that are free with frames."""
    k = Kern(kern)
    if use == KEPT:
        k.kept = k.kept + pages
    else:
        k.idle = k.idle + pages
    return OK


@kernel
def _cut(cpu, use, pages, align):
    """A run out of the free ones with frames, or ABSENT; what is left of it before and behind stays free."""
    kern = Cpu(cpu).kern
    low = find_run(kern, use, pages + align - 1)
    if low == ABSENT:
        return ABSENT
    end = low + unfile_run(kern, low)
    start = _aligned_up(kern, low, align)
    if start > low:
        file_run(kern, low, start - low, use)
    if end > start + pages:
        file_run(kern, start + pages, end - start - pages, use)
    _count_free(kern, use, -pages)
    return start


@kernel
def take_pages(cpu, pages, align):
    """A run of backed pages at a multiple of `align` pages, contents unknown: its first page.

    From the fixed part, else from idle pages, else by growing: by a whole growth step, else by what is needed, else after
    giving all idle pages back, whose frames and room may be what is missing. NO_VA, or as `space_ask` says, if even that
    fails."""
    k = Kern(Cpu(cpu).kern)
    page = _cut(cpu, KEPT, pages, align)
    if page == ABSENT:
        page = _cut(cpu, IDLE, pages, align)
    if page != ABSENT:
        return page
    step = k.growth - k.idle if k.stage == UP else 0  # the boot counts frames: it takes no more than it needs
    if align == 1 and pages < step:
        page = grow(cpu, step, 1)
        if page >= 0:
            _file_free(cpu, page + pages, step - pages)
            return page
    return _take_new(cpu, pages, align)


@kernel
def _take_new(cpu, pages, align):
    """A run by growing, its pages zero."""
    page = grow(cpu, pages, align)
    if page < 0 and Kern(Cpu(cpu).kern).idle > 0:
        trim(cpu, 0)
        page = grow(cpu, pages, align)
    return page


@kernel
def take_zeroed(cpu, pages):
    """A run of pages of zeros: newly backed, or out of the fixed part, which is zero until the first run is given back."""
    k = Kern(Cpu(cpu).kern)
    page = _cut(cpu, KEPT, pages, 1)
    if page == ABSENT:
        return _take_new(cpu, pages, 1)
    if k.recycled != 0:
        zero(va_of(k.addr, page), pages << k.page_shift)
    return page


@kernel
def _file_free(cpu, page, pages):
    """File free pages that have frames, joined with neighbours that are free in the same way."""
    kern = Cpu(cpu).kern
    use = KEPT if page < Kern(kern).fixed else IDLE
    _count_free(kern, use, pages)
    start = page
    end = page + pages
    if end < Kern(kern).top:
        if HeapPage(record_of(kern, end)).use == use:
            end += unfile_run(kern, end)
    if start > 0:
        before = HeapPage(record_of(kern, start - 1))
        if before.use == use:
            start -= before.pages
            unfile_run(kern, start)
    return file_run(kern, start, end - start, use)


@kernel
def give_pages(cpu, page, pages):
    """Give a run back whose records its user has cleared: join free neighbours, then trim."""
    k = Kern(Cpu(cpu).kern)
    k.recycled = k.recycled + 1
    _file_free(cpu, page, pages)
    if k.idle > k.growth:
        trim(cpu, k.growth)
    return OK


@kernel
def fix_pages(cpu, pfn, pages):
    """Make the empty heap's first pages its fixed part: whole slots, on contiguous frames from pfn on, already taken."""
    k = Kern(Cpu(cpu).kern)
    map_large(cpu, k.heap, pfn, pages >> INDEX_BITS)
    _raise_top(cpu, pages)
    k.fixed = pages
    k.backed = pages
    return _file_free(cpu, 0, pages)


@kernel
def unfix_pages(cpu):
    """Give back the large pages at the end of the fixed part of which no page is in use: how many pages. Only whole ones.

    The bound goes down with it: what was given back is not taken again."""
    k = Kern(Cpu(cpu).kern)
    if k.fixed == 0 or k.top > k.fixed:
        return 0
    last = HeapPage(record_of(k.addr, k.fixed - 1))
    if last.use != KEPT:
        return 0
    start = k.fixed - last.pages
    keep = ((start + (1 << INDEX_BITS) - 1) >> INDEX_BITS) << INDEX_BITS
    pages = k.fixed - keep
    if pages == 0:
        return 0
    unfile_run(k.addr, start)
    k.kept = k.kept - pages
    if keep > start:
        file_run(k.addr, start, keep - start, KEPT)
    k.backed = k.backed - pages
    k.fixed = keep
    k.heap_pages = k.heap_pages - pages
    unmap_large(cpu, va_of(k.addr, keep), pages >> INDEX_BITS)
    _lower_top(cpu, keep)
    return pages
