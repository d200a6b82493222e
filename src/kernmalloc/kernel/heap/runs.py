"""Runs of heap pages: how the heap takes, splits, joins and gives them back, grows and shrinks.

Concepts
  1. The heap is one stretch of the window, `heap_pages` long: a hard bound (C1). Its free runs are filed in `bins`.
  2. The heap grows by taking a BARE run, or pages at `top`, and backing it with frames of page space, scattered as they
     come (E20). It grows by a growth step, the rest of which is idle, where it can.
  3. The heap shrinks as soon as more pages are idle than its profile allows, which is one growth step unless the
     profile says otherwise (C11, E21): frames go back to page space, and `top` goes down. When frames are short, what
     is idle beyond a growth step goes too (`reclaim`).
  4. An affine heap (C2 to C6) has a fixed part, the pages below `fixed`: it is mapped once, in large pages, to
     contiguous frames that it keeps. It is used first. `release` gives the whole large pages at its end back, for good
     (C18).
  5. In a direct map (`map/direct`) a page is its frame, and what the heap does not have is page space's: no page is
     BARE, and growing is taking a run of free frames.
  6. A run is validated before it is taken: the frames for its pages, its records and its leaf tables have been asked
     for before the first store.

    idle    = pages in IDLE runs                       <= idle_most
    kept    = pages in KEPT runs                       <= fixed
    backed  = pages of runs in use + idle + kept       <= top <= heap_pages
    map_pages << (page_shift - record_shift) >= top    and no page more than that needs; in a direct map as planned
    a page of an IDLE or KEPT run is poisoned; no other page is
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, UP, Cpu, Kern
from kernmalloc.kernel.core.locks import gate_raise, gates_lower
from kernmalloc.kernel.core.modes import has_tables
from kernmalloc.kernel.frames.space import has_host, space_ask
from kernmalloc.kernel.heap.bins import (
    BARE,
    IDLE,
    KEPT,
    file_run,
    find_run,
    longest_run,
    record_of,
    record_shift,
    unfile_run,
    va_of,
)
from kernmalloc.kernel.map.direct import free_run_at, is_free_run, is_heap, longest_free_run, run_disown, run_own, wiped
from kernmalloc.kernel.map.kmap import back, map_large, pfn_at, span_pages, tables_missing, unback, unmap_large
from kernmalloc.lang import failed, kernel, poison, unpoison
from kernmalloc.lang.status import NO_FRAMES, NO_VA, OK
from kernmalloc.machine.primitives import zero


@kernel
def _aligned_up(kern: Kern, page: int, align: int) -> int:
    """The first page from `page` on whose address is a multiple of `align` pages."""
    first = kern.heap >> kern.page_shift
    return ((first + page + align - 1) & ~(align - 1)) - first


@kernel
def record_pages(kern: Kern, pages: int) -> int:
    """Pages that hold the records of so many heap pages."""
    shift = kern.page_shift - record_shift(kern)
    return (pages + (1 << shift) - 1) >> shift


@kernel
def map_pages(kern: Kern, top: int) -> int:
    """Pages that the heap map has when the heap ends at page `top`: in a direct map, all that were planned."""
    return record_pages(kern, top) if has_tables(kern) != 0 else kern.plan.map


@kernel
def backed_at(cpu: Cpu, page: int) -> int:
    """1 if a heap page has a frame behind it that is the heap's."""
    kern = cpu.kern
    if has_tables(kern) == 0:
        return is_heap(cpu, page)
    return 1 if pfn_at(cpu, va_of(kern, page)) != ABSENT else 0


@kernel
def is_away(cpu: Cpu, page: int) -> int:
    """1 if a page below the top is of no run of the heap, not even a bare one: page space has its frame."""
    return 0 if has_tables(cpu.kern) != 0 else 1 - is_heap(cpu, page)


@kernel
def _map_growth(kern: Kern, top: int) -> int:
    """Pages by which the heap map must grow for a new `top`."""
    return max(map_pages(kern, top) - kern.map_pages, 0)


@kernel
def growth_cost(kern: Kern, start: int, pages: int, top: int) -> int:
    """Frames that it takes to back `pages` from page `start` on and to raise the top to `top`.

    They are for the pages, for their records, and for the leaf tables of both."""
    records = _map_growth(kern, top)
    return (
        pages
        + records
        + tables_missing(kern, va_of(kern, start), pages)
        + tables_missing(kern, kern.heap_map.addr + (kern.map_pages << kern.page_shift), records)
    )


@kernel
def _raise_top(cpu: Cpu, top: int) -> int:
    """Let the heap end at page `top`, and back the records that this needs. Their frames have been asked for."""
    kern = cpu.kern
    records = _map_growth(kern, top)
    back(cpu, kern.heap_map.addr + (kern.map_pages << kern.page_shift), records)
    kern.map_pages = kern.map_pages + records
    kern.top = top
    return gate_raise(cpu)


@kernel
def _lower_top(cpu: Cpu, top: int) -> int:
    """Let the heap end at page `top`, and give back the pages of records beyond it."""
    kern = cpu.kern
    kern.top = top
    keep = map_pages(kern, top)
    surplus = kern.map_pages - keep
    if surplus > 0:
        kern.map_pages = keep
        gates_lower(kern)
        unback(cpu, kern.heap_map.addr + (keep << kern.page_shift), surplus)
    return OK


@kernel
def _own(cpu: Cpu, page: int, pages: int) -> int:
    """Make a run of free frames of a direct map the heap's: its first page. They have been asked for."""
    kern = cpu.kern
    run_own(cpu, page, pages)
    kern.backed = kern.backed + pages
    return page


@kernel
def _grow_direct(cpu: Cpu, pages: int, align: int) -> int:
    """What `grow` does in a direct map."""
    kern = cpu.kern
    if pages > kern.heap_pages - kern.backed:
        return NO_VA
    status = space_ask(cpu, pages)
    if failed(status):
        return status
    kern.wanted = 0
    page = free_run_at(cpu, pages, align)
    if page == ABSENT:
        return NO_FRAMES
    return _own(cpu, page, pages)


@kernel
def _grow_into(cpu: Cpu, low: int, start: int, pages: int) -> int:
    """Back pages from `start` on, of the bare run at `low`, or behind the top, if that is `low`: the first of them.

    Their frames have been asked for."""
    kern = cpu.kern
    kern.wanted = 0  # a whole growth step may have been refused before
    end = start + pages
    if low < kern.top:
        end = low + unfile_run(kern, low)
    else:
        _raise_top(cpu, end)
    if start > low:
        file_run(kern, low, start - low, BARE)
    if end > start + pages:
        file_run(kern, start + pages, end - start - pages, BARE)
    back(cpu, va_of(kern, start), pages)
    kern.backed = kern.backed + pages
    return start


@kernel
def grow(cpu: Cpu, pages: int, align: int) -> int:
    """A run of newly backed pages, all zeros, at a multiple of `align` pages: its first page.

    NO_VA, or what `space_ask` says. In a direct map NO_FRAMES also where no free frames lie side by side."""
    kern = cpu.kern
    if has_tables(kern) == 0:
        return _grow_direct(cpu, pages, align)
    bare = find_run(kern, BARE, pages + align - 1)
    low = kern.top if bare == ABSENT else bare
    start = _aligned_up(kern, low, align)
    top = max(kern.top, start + pages)
    if top > kern.heap_pages:
        return NO_VA
    status = space_ask(cpu, growth_cost(kern, start, pages, top))
    if failed(status):
        return status
    return _grow_into(cpu, low, start, pages)


@kernel
def _file_bare(cpu: Cpu, page: int, pages: int) -> int:
    """File pages whose frames are gone, joined with bare neighbours; if they end at `top`, lower it instead."""
    kern = cpu.kern
    start = page
    end = page + pages
    if end < kern.top:
        if record_of(kern, end).use == BARE:
            end += unfile_run(kern, end)
    if start > 0:
        before = record_of(kern, start - 1)
        if before.use == BARE:
            start -= before.pages
            unfile_run(kern, start)
    if end < kern.top:
        return file_run(kern, start, end - start, BARE)
    return _lower_top(cpu, start)


@kernel
def _shrink(cpu: Cpu, page: int, pages: int) -> int:
    """Give back the frames behind pages that belong to no run at the moment."""
    kern = cpu.kern
    kern.backed = kern.backed - pages
    unpoison(va_of(kern, page), pages << kern.page_shift)  # the next frames behind them are zeroed
    if has_tables(kern) == 0:
        return run_disown(cpu, page, pages)
    unback(cpu, va_of(kern, page), pages)
    return _file_bare(cpu, page, pages)


@kernel
def trim(cpu: Cpu, keep: int) -> int:
    """Give the frames of idle pages back until at most `keep` are left: of the longest runs first, from their ends."""
    kern = cpu.kern
    while kern.idle > keep:
        page = longest_run(kern, IDLE)
        pages = unfile_run(kern, page)
        surplus = min(kern.idle - keep, pages)
        kern.idle = kern.idle - surplus
        if surplus < pages:
            file_run(kern, page, pages - surplus, IDLE)
        _shrink(cpu, page + pages - surplus, surplus)
    return OK


@kernel
def _count_free(kern: Kern, use: int, pages: int) -> int:
    """Add to the count of the pages in free runs of that use."""
    if use == KEPT:
        kern.kept = kern.kept + pages
    else:
        kern.idle = kern.idle + pages
    return OK


@kernel
def _cut(cpu: Cpu, use: int, pages: int, align: int) -> int:
    """A run out of the free ones of one use, which have frames: its first page, or ABSENT.

    What is left before it and behind it stays free."""
    kern = cpu.kern
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
    unpoison(va_of(kern, start), pages << kern.page_shift)
    return start


@kernel
def live_pages(kern: Kern) -> int:
    """Heap pages in use."""
    return kern.backed - kern.idle - kern.kept


@kernel
def taken(kern: Kern, page: int) -> int:
    """Note how many pages are in use, after a run was taken, or not: its first page, or the status that refused it."""
    kern.peak = max(kern.peak, live_pages(kern))
    return page


@kernel
def _can_grow_at(cpu: Cpu, page: int, pages: int) -> int:
    """1 if so many pages from `page` on can be backed: nobody has them, and there are frames for them."""
    kern = cpu.kern
    top = max(kern.top, page + pages)
    if top > kern.heap_pages or pages > kern.heap_pages - kern.backed:
        return 0
    if has_tables(kern) == 0:
        return 1 if is_free_run(cpu, page, pages) != 0 and not failed(space_ask(cpu, pages)) else 0
    if page < kern.top:
        bare = record_of(kern, page)
        if bare.use != BARE or bare.pages < pages:
            return 0
    return 0 if failed(space_ask(cpu, growth_cost(kern, page, pages, top))) else 1


@kernel
def _grow_at(cpu: Cpu, page: int, pages: int) -> int:
    """Grow by pages from `page` on, if they can be had: 1 or 0."""
    if _can_grow_at(cpu, page, pages) == 0:
        cpu.kern.wanted = 0  # nobody waits for these
        return 0
    if has_tables(cpu.kern) == 0:
        _own(cpu, page, pages)
    else:
        _grow_into(cpu, page, page, pages)
    return 1


@kernel
def extend_run(cpu: Cpu, page: int, pages: int, more: int) -> int:
    """Take the `more` pages behind a run in use: 1. They are free and have frames, or the heap grows by those that have
    none. 0: that cannot be."""
    kern = cpu.kern
    end = page + pages
    use = KEPT if page < kern.fixed else IDLE  # a run lies in the fixed part as a whole, or not at all
    free = 0
    if end < kern.top:
        behind = record_of(kern, end)
        free = behind.pages if behind.use == use else 0
    cut = min(free, more)
    if cut < more:
        if use == KEPT or _grow_at(cpu, end + cut, more - cut) == 0:
            return 0
    if cut > 0:
        unfile_run(kern, end)
        if free > cut:
            file_run(kern, end + cut, free - cut, use)
        _count_free(kern, use, -cut)
        unpoison(va_of(kern, end), cut << kern.page_shift)
    taken(kern, page)
    return 1


@kernel
def longest_growth(kern: Kern) -> int:
    """The most pages by which the heap can grow in one run, if there are frames for them: up to its bound, or as many
    as lie side by side in a direct map."""
    if has_tables(kern) != 0:
        return kern.heap_pages - kern.top
    return min(longest_free_run(kern), kern.heap_pages - kern.backed)


@kernel
def pages_ask(cpu: Cpu, pages: int) -> int:
    """OK if there are so many more pages, in any number of runs; NO_VA, or what `space_ask` says. Changes nothing."""
    kern = cpu.kern
    more = pages - kern.kept - kern.idle
    if more <= 0:
        return OK
    return NO_VA if more > kern.heap_pages - kern.backed else space_ask(cpu, more)


@kernel
def _cut_idle(cpu: Cpu, pages: int, align: int) -> int:
    """A run out of what is idle: its first page, or ABSENT."""
    return _cut(cpu, IDLE, pages, align)


@kernel
def cut_pages(cpu: Cpu, pages: int, align: int) -> int:
    """A free run whose pages have frames, from the fixed part, else from what is idle: its first page, or ABSENT."""
    page = _cut(cpu, KEPT, pages, align)
    return page if page != ABSENT else _cut_idle(cpu, pages, align)


@kernel
def _grow_or_trim(cpu: Cpu, pages: int, align: int) -> int:
    """Grow by a run: its first page, or what `grow` says.

    If that is refused, all idle pages are given back first: their frames and their room may be what is missing."""
    page = grow(cpu, pages, align)
    if failed(page) and cpu.kern.idle > 0:
        trim(cpu, 0)
        page = grow(cpu, pages, align)
    return page


@kernel
def new_pages(cpu: Cpu, pages: int, align: int) -> int:
    """Grow by a growth step, whose rest stays idle, else by a run alone: its first page, or what `grow` says."""
    kern = cpu.kern
    # whoever describes RAM counts frames, and takes no more than it needs
    step = kern.growth - kern.idle if kern.stage == UP and kern.coming == 0 else 0
    if align == 1 and pages < step:
        page = grow(cpu, step, 1)
        if not failed(page):
            _file_free(cpu, page + pages, step - pages)
            return page
    return _grow_or_trim(cpu, pages, align)


@kernel
def take_zeroed(cpu: Cpu, pages: int) -> int:
    """A run of pages of zeros: its first page, or what `grow` says.

    It comes from the fixed part, which is zero until a run is first given back, else from newly backed pages. Where RAM
    is added that holds its own structures, it comes from these alone."""
    kern = cpu.kern
    page = _cut(cpu, KEPT, pages, 1) if has_host(kern) == 0 else ABSENT
    if page == ABSENT:
        page = _grow_or_trim(cpu, pages, 1)
    elif kern.recycled != 0:
        zero(va_of(kern, page), pages << kern.page_shift)
    return taken(kern, page)


@kernel
def _file_free(cpu: Cpu, page: int, pages: int) -> int:
    """File free pages that have frames, joined with neighbours of the same use, and poison them."""
    kern = cpu.kern
    use = KEPT if page < kern.fixed else IDLE
    _count_free(kern, use, pages)
    poison(va_of(kern, page), pages << kern.page_shift)
    start = page
    end = page + pages
    if end < kern.top:
        if record_of(kern, end).use == use:
            end += unfile_run(kern, end)
    if start > 0:
        before = record_of(kern, start - 1)
        if before.use == use:
            start -= before.pages
            unfile_run(kern, start)
    return file_run(kern, start, end - start, use)


@kernel
def ready_pages(cpu: Cpu, top: int) -> int:
    """Grow to `top` pages at once, which are idle until they are taken. OK, or what `grow` says.

    Frames of records and leaf tables then lie between long runs of frames of heap pages, not after every 64th: a hosted
    kernel of 16 GiB needs a few mappings."""
    pages = top - cpu.kern.top
    if pages <= 0:
        return OK
    page = grow(cpu, pages, 1)
    if failed(page):
        return page
    _file_free(cpu, page, pages)
    return OK


@kernel
def give_pages(cpu: Cpu, page: int, pages: int) -> int:
    """Give a run back, whose records its user has cleared; what is idle beyond `idle_most` goes back to page space."""
    kern = cpu.kern
    kern.recycled = kern.recycled + 1
    _file_free(cpu, page, pages)
    if kern.idle > kern.idle_most:
        trim(cpu, kern.idle_most)
    return OK


@kernel
def _found(cpu: Cpu) -> int:
    """Begin the heap of a direct map: the donation is the heap map, and behind it the fixed part."""
    kern = cpu.kern
    kern.map_pages = kern.plan.map
    kern.donated_heap = kern.donation_frames
    kern.top = kern.heap_pages
    return wiped(cpu, kern.donation_pfn, kern.donation_frames)


@kernel
def fix_pages(cpu: Cpu, pfn: int, pages: int) -> int:
    """Make the first pages of the empty heap its fixed part: whole spans, on contiguous frames from pfn on."""
    kern = cpu.kern
    if has_tables(kern) != 0:
        map_large(cpu, kern.heap, pfn, pages >> kern.format.index_bits)
        _raise_top(cpu, pages)
    else:
        _found(cpu)
    kern.fixed = pages
    kern.backed = pages
    return _file_free(cpu, 0, pages)


@kernel
def keep_pages(cpu: Cpu, pages: int) -> int:
    """Make the empty heap one whose fixed part is all of it: so many pages, which hold anything."""
    kern = cpu.kern
    kern.heap_pages = pages
    kern.map_pages = map_pages(kern, pages)
    kern.top = pages
    kern.fixed = pages
    kern.backed = pages
    kern.recycled = 1
    return _file_free(cpu, 0, pages)


@kernel
def unfix_pages(cpu: Cpu) -> int:
    """Give back the whole large pages at the end of the fixed part of which no page is in use: how many pages.

    The heap's bound goes down by as much: what was given back is not taken again."""
    kern = cpu.kern
    if kern.fixed == 0 or kern.top > kern.fixed:
        return 0
    last = record_of(kern, kern.fixed - 1)
    if last.use != KEPT:
        return 0
    start = kern.fixed - last.pages
    span = span_pages(kern)
    keep = (start + span - 1) & -span
    pages = kern.fixed - keep
    if pages == 0:
        return 0
    unfile_run(kern, start)
    kern.kept = kern.kept - pages
    if keep > start:
        file_run(kern, start, keep - start, KEPT)
    kern.backed = kern.backed - pages
    kern.fixed = keep
    kern.heap_pages = kern.heap_pages - pages
    if has_tables(kern) != 0:
        unmap_large(cpu, va_of(kern, keep), pages >> kern.format.index_bits)
    else:
        run_disown(cpu, keep, pages)
    _lower_top(cpu, keep)
    return pages
