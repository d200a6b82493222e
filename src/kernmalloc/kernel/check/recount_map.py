"""Recount of the kernel map: the directory, the table window, and the leaf tables entry by entry.

Concepts
  1. `span_errors` holds the directory and the table window against each other: whatever is read through a leaf table is
     there then. This comes first of all.
  2. In a direct map there are none of these. The pages that the heap has are counted, and those of its map.
  3. An entry is either zero, or to the bit what the kernel writes for the frame in it. That frame is looked up.
"""

from __future__ import annotations

from kernmalloc.kernel.check.recount import mix
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import DMA, FREE, HEAP, MAPPING, PAGE, WINDOWS_SHIFT, Cpu, Kern
from kernmalloc.kernel.frames.regions import described
from kernmalloc.kernel.frames.table import FrameWords, entry_of, frame_type, head_word
from kernmalloc.kernel.heap.bins import va_of
from kernmalloc.kernel.heap.runs import backed_at
from kernmalloc.kernel.map.kmap import directory_at, directory_of, leaf_of, pfn_at, span_of, span_pages, spans_of
from kernmalloc.lang import element, kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    entry_pa,
    is_large,
    is_present,
    is_upper,
    large_entry,
    large_pa,
    leaf_entry,
    load_entry,
    table_entry,
)


@kernel
def _in_heap(kern: Kern, va: int) -> int:
    """1 if va lies in the part of the heap or of the heap map that may be backed."""
    if va >= kern.heap:
        return 1 if va < kern.heap + (kern.top << kern.page_shift) else 0
    return 1 if va >= kern.heap_map.addr and va < kern.heap_map.addr + (kern.map_pages << kern.page_shift) else 0


@kernel
def windows_at(kern: Kern, number: int) -> int:
    """The VA where the windows of processor `number` must lie, so that no other's lie there (E15)."""
    return kern.windows + (number << (WINDOWS_SHIFT + kern.page_shift))


@kernel
def _in_page_space(cpu: Cpu, pfn: int) -> int:
    """1 if a frame is of page space: nothing but a window may map it (E14, E16)."""
    type = frame_type(cpu, pfn)
    return 1 if type == FREE or type == PAGE or type == DMA else 0


@kernel
def _count_mapped(cpu: Cpu, tally: Tally, va: int, pfn: int) -> int:
    """Count a page that is mapped for the heap, or the heap map."""
    type = frame_type(cpu, pfn)
    if type == MAPPING:
        tally.user_tables = tally.user_tables + 1
        tally.tables = tally.tables + 1
        return OK
    if _in_heap(cpu.kern, va) == 0 or type != HEAP:
        tally.table_errors = tally.table_errors + 1
    tally.mapped = tally.mapped + 1
    tally.mapped_sum = tally.mapped_sum + mix(pfn)
    return OK


@kernel
def _is_leaf_table(cpu: Cpu, pfn: int) -> int:
    """1 if a frame is that of a leaf table of the window, of which nothing else is known."""
    region = described(cpu, pfn)
    if region == 0:
        return 0
    entry = FrameWords(entry_of(cpu, region, pfn).addr)
    return 1 if entry.head == head_word(MAPPING, 0) and entry.owner == 0 else 0


@kernel
def _count_static(cpu: Cpu, tally: Tally, span: int) -> int:
    """Recount a leaf table of the boot area, which maps no page space, and no window at rest: how many are present."""
    kern = cpu.kern
    table = kern.tables + (span << kern.page_shift)
    windows = 1 if span >= span_of(kern, kern.windows) else 0
    present = 0
    for i in range(span_pages(kern)):
        entry = load_entry(kern.format, table + (i << kern.format.entry_shift))
        if is_present(kern.format, entry) != 0:
            present += 1
            if _in_page_space(cpu, entry_pa(kern.format, entry) >> kern.page_shift) != 0:
                tally.table_errors = tally.table_errors + 1
        if windows != 0 and entry != 0:
            tally.table_errors = tally.table_errors + 1
    return present


@kernel
def _count_table(cpu: Cpu, tally: Tally, span: int, pfn: int) -> int:
    """Recount a leaf table of the heap or its map, entry by entry: how many are present."""
    kern = cpu.kern
    format = kern.format
    table = kern.tables + (span << kern.page_shift)
    if _is_leaf_table(cpu, pfn) == 0:
        tally.table_errors = tally.table_errors + 1
    tally.tables = tally.tables + 1
    present = 0
    for i in range(span_pages(kern)):
        entry = load_entry(format, table + (i << format.entry_shift))
        if entry != 0:
            present += 1
            pa = entry_pa(format, entry)
            if entry != leaf_entry(format, pa):
                tally.table_errors = tally.table_errors + 1
            va = kern.base + (span << kern.span_shift) + (i << kern.page_shift)
            _count_mapped(cpu, tally, va, pa >> kern.page_shift)
    return present


@kernel
def count_span(cpu: Cpu, tally: Tally, span: int) -> int:
    """Recount a span, which has nothing, a leaf table, or a large page of the heap's fixed part."""
    kern = cpu.kern
    directory = directory_of(kern, span)
    pfn = entry_pa(kern.format, directory) >> kern.page_shift
    va = kern.base + (span << kern.span_shift)
    present = 0
    if directory == 0:
        present = 0
    elif va < kern.heap_map.addr or va >= kern.windows:
        present = _count_static(cpu, tally, span)
    elif is_large(kern.format, directory) == 0:
        present = _count_table(cpu, tally, span, pfn)
    else:
        present = span_pages(kern)
        pfn = large_pa(kern.format, directory) >> kern.page_shift
        if va < kern.heap or va >= kern.heap + (kern.fixed << kern.page_shift):
            tally.table_errors = tally.table_errors + 1
        for i in range(present):
            _count_mapped(cpu, tally, va + (i << kern.page_shift), pfn + i)
    if present != element(kern.spans, span).value:
        tally.table_errors = tally.table_errors + 1
    return OK


@kernel
def count_direct(cpu: Cpu, tally: Tally) -> int:
    """Recount the pages of the heap and of its map in a direct map."""
    kern = cpu.kern
    for i in range(kern.map_pages):
        va = kern.heap_map.addr + (i << kern.page_shift)
        _count_mapped(cpu, tally, va, pfn_at(cpu, va))
    for page in range(kern.top):
        if backed_at(cpu, page) != 0:
            _count_mapped(cpu, tally, va_of(kern, page), pfn_at(cpu, va_of(kern, page)))
    return OK


@kernel
def span_errors(kern: Kern) -> int:
    """Entries of the directory and of the table window that are wrong: the two must agree on where the leaf table of
    each span is, to the bit."""
    format = kern.format
    errors = 0
    for span in range(spans_of(kern)):
        at = directory_at(kern, span)
        directory = directory_of(kern, span)
        pa = entry_pa(format, directory)
        leaf = leaf_of(kern, kern.tables + (span << kern.page_shift))
        if is_upper(format, at, 0) != 0:
            errors += 1 if leaf != 0 else 0
        elif is_upper(format, at, table_entry(format, pa)) != 0:
            errors += 1 if leaf != leaf_entry(format, pa) else 0
        elif is_upper(format, at, large_entry(format, large_pa(format, directory))) == 0 or leaf != 0:
            errors += 1
    if spans_of(kern) == 0:
        return 0
    for page in range(spans_of(kern), (kern.heap_map.addr - kern.tables) >> kern.page_shift):
        errors += 1 if leaf_of(kern, kern.tables + (page << kern.page_shift)) != 0 else 0
    return errors
