"""The kernel map: which frame lies behind each page of the kernel's virtual window.

Concepts
  1. Entries are real page-table entries in the target's format, written through the machine boundary (`machine/mmu`).
  2. A span is what one leaf table maps, or one large page: 2 MiB where an entry and a page have 8 bytes and 4 KiB. Leaf
     tables are mapping frames, which are themselves mapped (E17): the table of span s lies at page s of the table
     window, so that all leaf entries of the window form one array

         entry(va) = tables + (((va - base) >> page_shift) << entry_shift)

     and changing one opens no window and walks nothing. This needs no recursive table, which not every MMU permits.
  3. Directories above the leaf tables, and the tables that map the image and the table window itself, are part of the
     boot area and never go. All other leaf tables come when their span is first used and go when it is empty.
  4. A span of the heap's fixed part has no leaf table: its directory entry maps it whole, in one large page.
  5. Backing pages gives them frames from wherever they are (E9, E20), filled with zeros.

    spans[s] = pages mapped in span s
    a span of the heap or the heap map has a leaf table or is one large page  <=>  spans[s] > 0
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, HEAP, MAPPING, Cpu, Kern
from kernmalloc.kernel.core.modes import has_shadow, has_tables
from kernmalloc.kernel.frames.space import fresh, space_give, space_take
from kernmalloc.kernel.map.direct import direct_pfn
from kernmalloc.lang import ctz, element, kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    entry_pa,
    is_large,
    is_present,
    large_entry,
    large_pa,
    leaf_entry,
    load_entry,
    store_entry,
    store_upper,
    table_entry,
    without_presence,
)
from kernmalloc.machine.primitives import flush, map_pages, shootdown, unmap_pages, zero


@kernel
def leaf_at(kern: Kern, va: int) -> int:
    """Where the leaf entry that maps va lies."""
    return kern.tables + (((va - kern.base) >> kern.page_shift) << kern.format.entry_shift)


@kernel
def leaf_of(kern: Kern, va: int) -> int:
    """The leaf entry that maps va."""
    return load_entry(kern.format, leaf_at(kern, va))


@kernel
def directory_at(kern: Kern, span: int) -> int:
    """Where the directory entry of a span lies."""
    return kern.directory + (span << kern.format.upper_entry_shift)


@kernel
def directory_of(kern: Kern, span: int) -> int:
    """The directory entry of a span."""
    return load_entry(kern.format, directory_at(kern, span))


@kernel
def span_of(kern: Kern, va: int) -> int:
    """The number of the span that va lies in."""
    return (va - kern.base) >> kern.span_shift


@kernel
def spans_of(kern: Kern) -> int:
    """Spans of the window; none in a direct map."""
    return kern.bytes >> kern.span_shift if has_tables(kern) != 0 else 0


@kernel
def span_pages(kern: Kern) -> int:
    """Pages in a span."""
    return 1 << kern.format.index_bits


@kernel
def tables_missing(kern: Kern, va: int, pages: int) -> int:
    """Leaf tables that must be made before pages [va, va + pages) can be mapped."""
    if pages == 0:
        return 0
    missing = 0
    for span in range(span_of(kern, va), span_of(kern, va + (pages << kern.page_shift) - 1) + 1):
        if is_present(kern.format, directory_of(kern, span)) == 0:
            missing += 1
    return missing


@kernel
def _count_mapped(kern: Kern, span: int, change: int) -> int:
    """Count pages that were mapped in a span; below 0: unmapped. Returns how many are mapped there now."""
    mapped = element(kern.spans, span)
    now = mapped.value + change
    mapped.value = now
    return now


@kernel
def appear(kern: Kern, va: int, pfn: int, pages: int) -> int:
    """Let this processor see pages whose entries lead to frames from pfn on now. In mode SHADOW the kernel around maps
    them."""
    return flush(va, pages) if has_shadow(kern) == 0 else map_pages(va, pfn << kern.page_shift, pages)


@kernel
def vanish(kern: Kern, va: int, pages: int) -> int:
    """Let every processor forget pages whose entries lead nowhere now."""
    return shootdown(va, pages) if has_shadow(kern) == 0 else unmap_pages(va, pages)


@kernel
def map_run(cpu: Cpu, va: int, pfn: int, count: int) -> int:
    """Map frames pfn, pfn + 1, … at va, filled with zeros; their leaf tables exist."""
    kern = cpu.kern
    leaf = leaf_at(kern, va)
    step = kern.format.entry_shift
    for i in range(count):
        store_entry(kern.format, leaf + (i << step), leaf_entry(kern.format, (pfn + i) << kern.page_shift))
    at = va
    end = va + (count << kern.page_shift)
    while at < end:
        span = span_of(kern, at)
        behind = min(kern.base + ((span + 1) << kern.span_shift), end)
        _count_mapped(kern, span, (behind - at) >> kern.page_shift)
        at = behind
    appear(kern, va, pfn, count)
    if fresh(cpu, pfn << kern.page_shift, count << kern.page_shift) == 0:
        zero(va, count << kern.page_shift)
    return OK


@kernel
def map_large(cpu: Cpu, va: int, pfn: int, spans: int) -> int:
    """Map whole spans from va on, a large page each, to contiguous frames from pfn on, filled with zeros."""
    kern = cpu.kern
    each = span_pages(kern)
    pages = spans * each
    for i in range(spans):
        span = span_of(kern, va) + i
        entry = large_entry(kern.format, (pfn << kern.page_shift) + (i << kern.span_shift))
        store_upper(kern.format, directory_at(kern, span), entry)
        _count_mapped(kern, span, each)
    appear(kern, va, pfn, pages)
    if fresh(cpu, pfn << kern.page_shift, pages << kern.page_shift) == 0:
        zero(va, pages << kern.page_shift)
    return OK


@kernel
def unmap_large(cpu: Cpu, va: int, spans: int) -> int:
    """Take whole large pages out of the map and give their frames back."""
    kern = cpu.kern
    each = span_pages(kern)
    first = span_of(kern, va)
    for span in range(first, first + spans):
        pfn = large_pa(kern.format, directory_of(kern, span)) >> kern.page_shift
        store_upper(kern.format, directory_at(kern, span), 0)
        _count_mapped(kern, span, -each)
        vanish(kern, kern.base + (span << kern.span_shift), each)
        for i in range(each):
            space_give(cpu, pfn + i)
    return OK


@kernel
def _make_tables(cpu: Cpu, va: int, pages: int) -> int:
    """Make the leaf tables that pages [va, va + pages) lack, out of frames already asked for."""
    kern = cpu.kern
    for span in range(span_of(kern, va), span_of(kern, va + (pages << kern.page_shift) - 1) + 1):
        if is_present(kern.format, directory_of(kern, span)) == 0:
            pfn = space_take(cpu, 1, MAPPING)
            map_run(cpu, kern.tables + (span << kern.page_shift), pfn, 1)
            entry = table_entry(kern.format, pfn << kern.page_shift)
            store_upper(kern.format, directory_at(kern, span), entry)
    return OK


@kernel
def back(cpu: Cpu, va: int, pages: int) -> int:
    """Put zeroed frames behind pages [va, va + pages), scattered as they come. The caller has asked for them, and for
    those of `tables_missing`."""
    if pages == 0:
        return OK
    _make_tables(cpu, va, pages)
    done = 0
    while done < pages:
        pfn = space_take(cpu, pages - done, HEAP)
        map_run(cpu, va + (done << cpu.kern.page_shift), pfn, cpu.run)
        done += cpu.run
    return OK


@kernel
def _forget_tables(kern: Kern, span: int) -> int:
    """Let every processor forget that there was a leaf table of a span: of each of its own tables that this was, by one
    page."""
    part = kern.span_shift - ctz(kern.format.group)
    for i in range(kern.format.group):
        shootdown(kern.base + (span << kern.span_shift) + (i << part), 1)
    return OK


@kernel
def _drop_table(cpu: Cpu, span: int) -> int:
    """Take an empty leaf table out of the map and give its frame back."""
    kern = cpu.kern
    pfn = entry_pa(kern.format, directory_of(kern, span)) >> kern.page_shift
    table = kern.tables + (span << kern.page_shift)
    store_upper(kern.format, directory_at(kern, span), 0)
    store_entry(kern.format, leaf_at(kern, table), 0)
    _count_mapped(kern, span_of(kern, table), -1)
    if has_shadow(kern) == 0:
        _forget_tables(kern, span)
    vanish(kern, table, 1)
    return space_give(cpu, pfn)


@kernel
def unback(cpu: Cpu, va: int, pages: int) -> int:
    """Take the frames behind pages [va, va + pages) away and give them back to page space, once every processor has
    forgotten the pages."""
    kern = cpu.kern
    leaf = leaf_at(kern, va)
    step = kern.format.entry_shift
    for i in range(pages):
        at = leaf + (i << step)
        store_entry(kern.format, at, without_presence(kern.format, load_entry(kern.format, at)))
    vanish(kern, va, pages)
    for i in range(pages):
        at = leaf + (i << step)
        pfn = entry_pa(kern.format, load_entry(kern.format, at)) >> kern.page_shift
        store_entry(kern.format, at, 0)
        space_give(cpu, pfn)
        span = span_of(kern, va + (i << kern.page_shift))
        if _count_mapped(kern, span, -1) == 0:
            _drop_table(cpu, span)
    return OK


@kernel
def back_by(cpu: Cpu, va: int, pfn: int) -> int:
    """Put frame pfn, filled with zeros, behind a page in place of the frame that is there: that one, which every
    processor has forgotten."""
    kern = cpu.kern
    leaf = leaf_at(kern, va)
    old = entry_pa(kern.format, load_entry(kern.format, leaf)) >> kern.page_shift
    store_entry(kern.format, leaf, 0)
    vanish(kern, va, 1)
    store_entry(kern.format, leaf, leaf_entry(kern.format, pfn << kern.page_shift))
    appear(kern, va, pfn, 1)
    zero(va, 1 << kern.page_shift)
    return old


@kernel
def pfn_at(cpu: Cpu, va: int) -> int:
    """The frame behind a page of the window. ABSENT: there is none."""
    kern = cpu.kern
    if has_tables(kern) == 0:
        return direct_pfn(kern, va)
    if va < kern.base or va >= kern.base + kern.bytes:
        return ABSENT
    directory = directory_of(kern, span_of(kern, va))
    if is_present(kern.format, directory) == 0:
        return ABSENT
    if is_large(kern.format, directory) != 0:
        return (large_pa(kern.format, directory) + (va & ((1 << kern.span_shift) - 1))) >> kern.page_shift
    leaf = leaf_of(kern, va)
    if is_present(kern.format, leaf) == 0:
        return ABSENT
    return entry_pa(kern.format, leaf) >> kern.page_shift
