"""Recount of the page cache: pages by state, buckets and queues link by link, address spaces leaf by leaf.

Concepts
  1. What a reference leads to is looked at only after that has been found to be a record of its kind.
  2. Every mapping has a depend entry, and every depend entry a mapping: each depend entry leads to a leaf that maps its
     page, and there are as many leaves as depend entries.
"""

from __future__ import annotations

from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import EMPTY, MAIN, SMALL, STATES, Cpu
from kernmalloc.kernel.heap.caches import DEPEND_CACHE, UMAP_CACHE, is_object
from kernmalloc.kernel.map.kmap import pfn_at
from kernmalloc.kernel.pages.depends import DEPEND_SHIFT, Depend, first_depend
from kernmalloc.kernel.pages.pages import bucket_of, entry_at, holds_page, identity_of, is_linked, page_count, queue_of
from kernmalloc.kernel.pages.umap import Umap, leaf_in, next_leaf, table_below
from kernmalloc.lang import element, kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import Entry, entry_pa, is_present


@kernel
def _maps(cpu: Cpu, depend: Depend, pfn: int) -> int:
    """1 if a depend entry leads to a leaf that maps the frame."""
    kern = cpu.kern
    if is_object(cpu, UMAP_CACHE, depend.umap.addr) == 0 or depend.va < 0 or depend.va >= kern.format.user_end:
        return 0
    leaf = leaf_in(cpu, depend.umap, depend.va)
    if leaf == 0:
        return 0
    entry = leaf.bits
    return 1 if is_present(kern.format, entry) != 0 and entry_pa(kern.format, entry) >> kern.page_shift == pfn else 0


@kernel
def count_page(cpu: Cpu, tally: Tally, pfn: int) -> int:
    """Count a page by its state, and its depend entries."""
    page = entry_at(cpu, pfn)
    tally.depend_errors = 0
    if page.state == EMPTY or page.state >= STATES:
        return OK
    tally.cached = tally.cached + 1
    state = element(tally.states, page.state)
    state.bits = state.bits + 1
    depend = first_depend(cpu, pfn)
    most = cpu.kern.top << (cpu.kern.page_shift - DEPEND_SHIFT)  # depend entries that a heap of that size can hold
    while depend != 0 and tally.depends <= most:
        if is_object(cpu, DEPEND_CACHE, depend.addr) == 0:
            tally.depend_errors = 1
            return OK
        if _maps(cpu, depend, pfn) == 0:
            tally.depend_errors = 1
        tally.depends = tally.depends + 1
        depend = depend.next
    return OK


@kernel
def _count_buckets(cpu: Cpu, tally: Tally) -> int:
    """Recount every bucket, link by link."""
    kern = cpu.kern
    pages = kern.pages
    for i in range(pages.buckets):
        bucket = element(pages.heads, i)
        at = bucket.value
        while at != 0 and tally.named <= tally.cached:
            if holds_page(cpu, at - 1) == 0:
                tally.bucket_errors = tally.bucket_errors + 1
                break
            identity = identity_of(cpu, at - 1)
            if bucket_of(kern, identity.oid) != bucket:
                tally.bucket_errors = tally.bucket_errors + 1
            tally.named = tally.named + 1
            at = identity.next
    return OK


@kernel
def _count_queue(cpu: Cpu, tally: Tally, queue: int) -> int:
    """Recount a queue, link by link."""
    head = queue_of(cpu.kern, queue)
    count = 0
    before = 0
    at = head.first
    while at != 0 and count <= tally.cached:
        if holds_page(cpu, at - 1) == 0:
            tally.queue_errors = tally.queue_errors + 1
            break
        page = entry_at(cpu, at - 1)
        if page.queue != queue or is_linked(page.state) == 0 or identity_of(cpu, at - 1).prev != before:
            tally.queue_errors = tally.queue_errors + 1
        before = at
        count += 1
        at = page.link
    if count != head.count or head.last != before:
        tally.queue_errors = tally.queue_errors + 1
    tally.queued = tally.queued + count
    return OK


@kernel
def count_cache_of_pages(cpu: Cpu, tally: Tally) -> int:
    """Recount states, buckets and queues, and hold them against the frames, which have been counted."""
    kern = cpu.kern
    linked = 0
    for state in range(STATES):
        found = element(tally.states, state).bits
        tally.state_errors = tally.state_errors + abs(found - page_count(kern, state))
        linked += found if is_linked(state) != 0 else 0
    _count_buckets(cpu, tally)
    _count_queue(cpu, tally, SMALL)
    _count_queue(cpu, tally, MAIN)
    tally.queue_errors = tally.queue_errors + abs(tally.queued - linked)
    return OK


@kernel
def _count_tables(cpu: Cpu, table: int, shift: int) -> int:
    """Tables from `table` down to the leaf tables, itself included."""
    kern = cpu.kern
    count = 1
    below = shift - kern.format.index_bits
    if shift > kern.page_shift:
        for i in range(1 << kern.format.index_bits):
            entry = Entry(table + (i << kern.format.entry_shift)).bits
            if is_present(kern.format, entry) != 0:
                count += _count_tables(cpu, table_below(cpu, entry), below)
    return count


@kernel
def count_umap(cpu: Cpu, tally: Tally, umap: Umap) -> int:
    """Count the pages and tables of an address space; what it maps must be pages."""
    kern = cpu.kern
    root = pfn_at(cpu, umap.root)
    tally.umap_root = root << kern.page_shift
    tally.umap_pages = 0
    tally.umap_errors = 0
    end = kern.format.user_end
    va = next_leaf(cpu, umap, 0, end)
    while va < end:
        leaf = leaf_in(cpu, umap, va)
        if holds_page(cpu, entry_pa(kern.format, leaf.bits) >> kern.page_shift) == 0:
            tally.umap_errors = tally.umap_errors + 1
        tally.umap_pages = tally.umap_pages + 1
        va = next_leaf(cpu, umap, va + (1 << kern.page_shift), end)
    tally.umap_tables = _count_tables(cpu, umap.root, kern.format.root_shift)
    tally.leaves = tally.leaves + tally.umap_pages
    tally.spaces = tally.spaces + tally.umap_tables
    return OK
