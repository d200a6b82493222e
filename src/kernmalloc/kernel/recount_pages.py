"""Recount of the page cache: pages by state, buckets and queues link by link, depend entries and address spaces leaf by leaf.

Concepts
  1. As in `recount`: what lies behind a pointer is looked at only after the pointer has been found to be one.
  2. Every mapping has a depend entry and the other way round: each depend entry leads to a leaf that maps its page, and there
     are as many of the one as of the other.
"""

from kernmalloc.kernel.caches import DEPEND_CACHE, UMAP_CACHE, is_object
from kernmalloc.kernel.depends import Depend, first_depend
from kernmalloc.kernel.frames import Page
from kernmalloc.kernel.kern import EMPTY, MAIN, SMALL, STATES, Cpu, Index, Kern, Pages, Queue, Tally, Word
from kernmalloc.kernel.kmap import pfn_at
from kernmalloc.kernel.pages import (
    PAGES,
    Identity,
    bucket_of,
    holds_page,
    identity_of,
    is_linked,
    page_count,
    page_of,
    queue_of,
)
from kernmalloc.kernel.umap import Umap, leaf_in, next_leaf, table_below
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import Entry, entry_pa, entry_shift, index_bits, is_present, root_shift, user_end

STATE_COUNTS = Tally.offset("states")


@kernel
def _maps(cpu, depend, pfn):
    """1 if a depend entry leads to a leaf that maps the frame."""
    k = Kern(Cpu(cpu).kern)
    d = Depend(depend)
    if is_object(cpu, UMAP_CACHE, d.umap) == 0 or d.va < 0 or d.va >= user_end(k.arch):
        return 0
    leaf = leaf_in(cpu, d.umap, d.va)
    if leaf == 0:
        return 0
    entry = Entry(leaf).bits
    return 1 if is_present(k.arch, entry) != 0 and entry_pa(k.arch, entry) >> k.page_shift == pfn else 0


@kernel
def count_page(cpu, tally, pfn):
    """Count a page by its state, and its depend entries."""
    t = Tally(tally)
    f = Page(page_of(cpu, pfn))
    t.depend_errors = 0
    if f.state == EMPTY or f.state >= STATES:
        return OK
    t.cached = t.cached + 1
    state = Word(tally + STATE_COUNTS + (f.state << 3))
    state.bits = state.bits + 1
    at = first_depend(cpu, pfn)
    most = Kern(Cpu(cpu).kern).top << 7  # depend entries that a heap of that size can hold
    while at != 0 and t.depends <= most:
        if is_object(cpu, DEPEND_CACHE, at) == 0:
            t.depend_errors = 1
            return OK
        if _maps(cpu, at, pfn) == 0:
            t.depend_errors = 1
        t.depends = t.depends + 1
        at = Depend(at).next
    return OK


@kernel
def _count_buckets(cpu, tally):
    """Every bucket, link by link."""
    kern = Cpu(cpu).kern
    p = Pages(kern + PAGES)
    t = Tally(tally)
    for i in range(p.buckets):
        bucket = p.heads + (i << 2)
        at = Index(bucket).value
        while at != 0 and t.named <= t.cached:
            if holds_page(cpu, at - 1) == 0:
                t.bucket_errors = t.bucket_errors + 1
                break
            identity = Identity(identity_of(cpu, at - 1))
            if bucket_of(kern, identity.oid) != bucket:
                t.bucket_errors = t.bucket_errors + 1
            t.named = t.named + 1
            at = identity.next
    return OK


@kernel
def _count_queue(cpu, tally, queue):
    """A queue, link by link."""
    q = Queue(queue_of(Cpu(cpu).kern, queue))
    t = Tally(tally)
    count = 0
    before = 0
    at = q.first
    while at != 0 and count <= t.cached:
        if holds_page(cpu, at - 1) == 0:
            t.queue_errors = t.queue_errors + 1
            break
        f = Page(page_of(cpu, at - 1))
        if f.queue != queue or is_linked(f.state) == 0 or Identity(identity_of(cpu, at - 1)).prev != before:
            t.queue_errors = t.queue_errors + 1
        before = at
        count += 1
        at = f.link
    if count != q.count or q.last != before:
        t.queue_errors = t.queue_errors + 1
    t.queued = t.queued + count
    return OK


@kernel
def count_cache_of_pages(cpu, tally):
    """Hold the states, buckets and queues against what the frames say, which have been counted."""
    kern = Cpu(cpu).kern
    t = Tally(tally)
    linked = 0
    for state in range(STATES):
        found = Word(tally + STATE_COUNTS + (state << 3)).bits
        t.state_errors = t.state_errors + abs(found - page_count(kern, state))
        linked += found if is_linked(state) != 0 else 0
    _count_buckets(cpu, tally)
    _count_queue(cpu, tally, SMALL)
    _count_queue(cpu, tally, MAIN)
    t.queue_errors = t.queue_errors + abs(t.queued - linked)
    return OK


@kernel
def _count_tables(cpu, table, shift):
    """Tables from one down to the leaves."""
    k = Kern(Cpu(cpu).kern)
    count = 1
    below = shift - index_bits(k.arch)
    if shift > k.page_shift:
        for i in range(1 << index_bits(k.arch)):
            entry = Entry(table + (i << entry_shift(k.arch))).bits
            if is_present(k.arch, entry) != 0:
                count += _count_tables(cpu, table_below(cpu, entry), below)
    return count


@kernel
def count_umap(cpu, tally, umap):
    """Count the pages and tables of an address space; what it maps must be pages."""
    k = Kern(Cpu(cpu).kern)
    t = Tally(tally)
    t.umap_root = pfn_at(cpu, Umap(umap).root) << k.page_shift
    t.umap_pages = 0
    t.umap_errors = 0
    end = user_end(k.arch)
    va = next_leaf(cpu, umap, 0, end)
    while va < end:
        if holds_page(cpu, entry_pa(k.arch, Entry(leaf_in(cpu, umap, va)).bits) >> k.page_shift) == 0:
            t.umap_errors = t.umap_errors + 1
        t.umap_pages = t.umap_pages + 1
        va = next_leaf(cpu, umap, va + (1 << k.page_shift), end)
    t.umap_tables = _count_tables(cpu, Umap(umap).root, root_shift(k.arch))
    t.leaves = t.leaves + t.umap_pages
    t.spaces = t.spaces + t.umap_tables
    return OK
