"""Runs of heap pages: which the heap takes, splits, joins, grows and gives back.

Concepts
  1. The heap is one stretch of the window, `heap_pages` long: a hard bound (C1). Its free runs are filed in `bins`.
  2. Growing takes a bare run, or pages at `top`, and backs it with frames from page space, scattered as they come (E20).
     Shrinking gives frames back as soon as more are idle than the profile lets the heap keep, one growth step unless it says
     otherwise (C11, E21), and lowers `top` again. What is beyond a growth step goes when frames are short (`reclaim`).
  3. An affine heap (C2 to C6) has a fixed part, the pages below `fixed`: mapped once, contiguous and in large pages, from
     frames that it keeps. It is used first. `release` gives the whole large pages at its end back, for good (C18).

    idle    = pages in IDLE runs                       <= idle_most
    kept    = pages in KEPT runs                       <= fixed
    backed  = pages of runs in use + idle + kept       <= top <= heap_pages
    map_pages * (page / 64) >= top                     and no page more than that needs

Everything here is validated first: when a run is taken, the frames for it, for its leaf tables and for its records have
been asked for before the first store.
"""

from kernmalloc.kernel.bins import (
    ABSENT,
    BARE,
    IDLE,
    KEPT,
    PAGE_RECORD_SHIFT,
    HeapPage,
    file_run,
    find_run,
    longest_run,
    record_of,
    unfile_run,
    va_of,
)
from kernmalloc.kernel.kern import UP, Cpu, Kern
from kernmalloc.kernel.kmap import back, map_large, slot_pages, tables_missing, unback, unmap_large
from kernmalloc.kernel.space import space_ask
from kernmalloc.lang import kernel
from kernmalloc.lang.status import NO_VA, OK
from kernmalloc.machine.mmu import index_bits
from kernmalloc.machine.primitives import zero


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
    k.wanted = 0  # it may have been refused for a whole growth step
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
        page = longest_run(k.addr, IDLE)
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
def pages_ask(cpu, pages):
    """OK if there may be so many more pages in use, in however many runs; NO_VA, or as `space_ask` says. Changes nothing."""
    k = Kern(Cpu(cpu).kern)
    more = pages - k.kept - k.idle
    if more <= 0:
        return OK
    return NO_VA if more > k.heap_pages - k.backed else space_ask(cpu, more)


@kernel
def cut_pages(cpu, pages, align):
    """A run of pages that have frames, from the fixed part, else from idle pages: its first page. ABSENT."""
    page = _cut(cpu, KEPT, pages, align)
    return page if page != ABSENT else _cut(cpu, IDLE, pages, align)


@kernel
def take_pages(cpu, pages, align):
    """A run of backed pages at a multiple of `align` pages, contents unknown: its first page.

    From the fixed part, else from idle pages, else by growing: by a whole growth step, else by what is needed, else after
    giving all idle pages back, whose frames and room may be what is missing. NO_VA, or as `space_ask` says, if even that
    fails."""
    k = Kern(Cpu(cpu).kern)
    page = cut_pages(cpu, pages, align)
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
def ready_pages(cpu, top):
    """Grow to `top` pages at once, idle until they are taken: then records and leaf tables lie between long runs of heap
    pages, not after every 64th, and a hosted kernel of 16 GiB needs a few mappings. As `grow`."""
    pages = top - Kern(Cpu(cpu).kern).top
    if pages <= 0:
        return OK
    page = grow(cpu, pages, 1)
    if page < 0:
        return page
    _file_free(cpu, page, pages)
    return OK


@kernel
def give_pages(cpu, page, pages):
    """Give a run back whose records its user has cleared: join free neighbours, then trim."""
    k = Kern(Cpu(cpu).kern)
    k.recycled = k.recycled + 1
    _file_free(cpu, page, pages)
    if k.idle > k.idle_most:
        trim(cpu, k.idle_most)
    return OK


@kernel
def fix_pages(cpu, pfn, pages):
    """Make the empty heap's first pages its fixed part: whole slots, on contiguous frames from pfn on, already taken."""
    k = Kern(Cpu(cpu).kern)
    map_large(cpu, k.heap, pfn, pages >> index_bits(k.arch))
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
    each = slot_pages(k.addr)
    keep = (start + each - 1) & -each
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
    unmap_large(cpu, va_of(k.addr, keep), pages >> index_bits(k.arch))
    _lower_top(cpu, keep)
    return pages
