"""Recount of the page cache: pages by state, buckets and queues link by link, address spaces leaf by leaf.

Concepts
  1. What a reference leads to is looked at only after that has been found to be a record of its kind.
  2. Every mapping of a page has a depend entry, and every depend entry a mapping: each depend entry leads to a leaf
     that maps its page, and there are as many such leaves as depend entries.
  3. What else is mapped is held as often as it is mapped: blocks of callers, and frames of devices, one by one.
"""

from __future__ import annotations

from kernmalloc.kernel.check.recount import mix
from kernmalloc.kernel.check.rooms import goes_on, is_block, table_at
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import DIRTY, EMPTY, MAIN, REWRITTEN, SMALL, STATES, Cpu
from kernmalloc.kernel.devices import device_region
from kernmalloc.kernel.frames.regions import Region, described
from kernmalloc.kernel.frames.table import entry_of, head_of
from kernmalloc.kernel.heap.caches import DEPEND_CACHE, UMAP_CACHE, is_object
from kernmalloc.kernel.map.kmap import pfn_at
from kernmalloc.kernel.pages.depends import Depend, first_depend
from kernmalloc.kernel.pages.pages import (
    bucket_of,
    entry_at,
    holds_page,
    identity_of,
    is_linked,
    oid_fold,
    page_count,
    queue_of,
)
from kernmalloc.kernel.pages.source import in_flight
from kernmalloc.kernel.pages.umap import Umap, entries_in, entry_in_table, table_frame
from kernmalloc.lang import element, failed, kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.mmu import (
    WRITE_BACK,
    device_entry,
    entry_pa,
    is_large,
    is_present,
    is_upper,
    is_writable,
    large_pa,
    load_entry,
    span_shift,
    stride_at,
    user_large_entry,
    user_table_entry,
)


@kernel
def _root_of(cpu: Cpu, umap: Umap) -> int:
    """VA of the root table of an address space; 0 if there is none where it says."""
    root = umap.root
    found = table_at(cpu, pfn_at(cpu, root) << cpu.kern.page_shift)
    return root if found == root else 0


@kernel
def _leaf(cpu: Cpu, umap: Umap, va: int) -> int:
    """The leaf entry for va; 0 if a table on the way to it is none."""
    kern = cpu.kern
    table = _root_of(cpu, umap)
    shift = kern.format.root_shift
    while table != 0 and shift > kern.page_shift:
        entry = load_entry(kern.format, entry_in_table(kern, table, va, shift))
        table = table_at(cpu, entry_pa(kern.format, entry)) if is_present(kern.format, entry) != 0 else 0
        shift -= kern.format.index_bits
    return load_entry(kern.format, entry_in_table(kern, table, va, shift)) if table != 0 else 0


@kernel
def _maps(cpu: Cpu, depend: Depend, pfn: int) -> int:
    """1 if a depend entry leads to a leaf that maps the frame."""
    kern = cpu.kern
    if is_object(cpu, UMAP_CACHE, depend.umap.addr) == 0 or depend.va < 0 or depend.va >= kern.format.user_end:
        return 0
    if depend.va & ((1 << kern.page_shift) - 1) != 0:
        return 0
    entry = _leaf(cpu, depend.umap, depend.va)
    return 1 if is_present(kern.format, entry) != 0 and entry_pa(kern.format, entry) >> kern.page_shift == pfn else 0


@kernel
def count_page(cpu: Cpu, tally: Tally, pfn: int) -> int:
    """Count a page by its state, and its depend entries."""
    page = entry_at(cpu, pfn)
    tally.depend_errors = 0
    if page.state == EMPTY or page.state >= STATES:
        return OK
    tally.fold = oid_fold(identity_of(cpu, pfn).oid)
    tally.cached = tally.cached + 1
    state = element(tally.states, page.state)
    state.bits = state.bits + 1
    depend = first_depend(cpu, pfn)
    tally.steps = 0
    while depend != 0 and goes_on(cpu, tally, DEPEND_CACHE, depend.addr) != 0:
        if _maps(cpu, depend, pfn) == 0:
            tally.depend_errors = 1
        tally.depends = tally.depends + 1
        depend = depend.next
    if depend != 0:
        tally.depend_errors = 1
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
    tally.in_flight = in_flight(kern)
    ring = kern.pages.source.addr
    tally.source_errors = 1 - is_block(cpu, ring, 1 << kern.page_shift) if ring != 0 else min(tally.in_flight, 1)
    _count_buckets(cpu, tally)
    _count_queue(cpu, tally, SMALL)
    _count_queue(cpu, tally, MAIN)
    tally.queue_errors = tally.queue_errors + abs(tally.queued - linked)
    return OK


@kernel
def _device_errors(cpu: Cpu, tally: Tally, region: Region, entry: int) -> int:
    """1 if a leaf entry that maps a frame of a published range is not as one is made. It may be used."""
    format = cpu.kern.format
    pa = entry_pa(format, entry)
    tally.devices_mapped = tally.devices_mapped + mix(pa >> format.page_shift)
    due = device_entry(format, pa, is_writable(format, entry), region.attribute)
    return 1 if (entry ^ due) & ~format.leaf != 0 else 0


@kernel
def _leaf_errors(cpu: Cpu, tally: Tally, entry: int) -> int:
    """1 if a leaf entry of an address space maps no page, or gives rights that it must not give. It may be used."""
    format = cpu.kern.format
    pfn = entry_pa(format, entry) >> cpu.kern.page_shift
    device = device_region(cpu, pfn)
    if device != 0:
        return _device_errors(cpu, tally, device, entry)
    tally.leaves = tally.leaves + 1
    may = format.address | format.page | format.write_mask | format.used | format.leaf
    due = format.page & ~format.write_mask
    if entry & due != due or entry & ~may != 0 or holds_page(cpu, pfn) == 0:
        return 1
    state = entry_at(cpu, pfn).state
    return 1 if is_writable(format, entry) != 0 and state != DIRTY and state != REWRITTEN else 0


@kernel
def _block_errors(cpu: Cpu, tally: Tally, pfn: int, pages: int) -> int:
    """1 if the frames of a large page do not lie in one block."""
    region = described(cpu, pfn)
    if region == 0:
        return 1
    head = head_of(cpu, region, pfn)
    if failed(head):
        return 1
    tally.blocks_mapped = tally.blocks_mapped + mix(head)
    return 1 if head + (1 << entry_of(cpu, region, head).order) < pfn + pages else 0


@kernel
def _large_errors(cpu: Cpu, tally: Tally, at: int, entry: int) -> int:
    """1 if the upper entry of an address space that maps a large page, and lies at `at`, is not as one is made."""
    format = cpu.kern.format
    pa = large_pa(format, entry)
    pfn = pa >> format.page_shift
    pages = 1 << format.index_bits
    attribute = WRITE_BACK
    errors = 1 - is_upper(format, at, entry)
    device = device_region(cpu, pfn)
    if device == 0:
        errors = errors | _block_errors(cpu, tally, pfn, pages)
    else:
        attribute = device.attribute
        errors = errors | (1 if pfn + pages > device.base + device.count else 0)
        for frame in range(pfn, pfn + pages):
            tally.devices_mapped = tally.devices_mapped + mix(frame)
    both = format.large | format.large_write_mask
    return errors | (1 if (entry ^ user_large_entry(format, pa, 0, attribute)) & ~both != 0 else 0)


@kernel
def _count_tables(cpu: Cpu, tally: Tally, table: int, shift: int) -> int:
    """Count the pages and tables of an address space from a table down, itself included."""
    kern = cpu.kern
    format = kern.format
    tally.umap_tables = tally.umap_tables + 1
    if tally.umap_tables > kern.top:  # a table is a page of the heap
        return OK
    used = 0
    for i in range(entries_in(kern, shift)):
        at = table + (i << stride_at(format, shift))
        entry = load_entry(format, at)
        if entry == 0 and (shift == kern.page_shift or is_upper(format, at, 0) != 0):
            continue
        used += 1
        if shift == kern.page_shift:
            tally.umap_pages = tally.umap_pages + 1
            wrong = _leaf_errors(cpu, tally, entry)
            tally.umap_errors = tally.umap_errors + wrong
            continue
        if shift == span_shift(format) and is_present(format, entry) != 0 and is_large(format, entry) != 0:
            tally.umap_pages = tally.umap_pages + (1 << format.index_bits)
            wrong = _large_errors(cpu, tally, at, entry)
            tally.umap_errors = tally.umap_errors + wrong
            continue
        pa = entry_pa(format, entry)
        below = table_at(cpu, pa)
        if below == 0 or is_upper(format, at, user_table_entry(format, pa, shift)) == 0:
            tally.umap_errors = tally.umap_errors + 1
        else:
            _count_tables(cpu, tally, below, shift - format.index_bits)
    frame = table_frame(cpu, pfn_at(cpu, table))
    if frame.link != used:
        tally.umap_errors = tally.umap_errors + 1
    return OK


@kernel
def count_umap(cpu: Cpu, tally: Tally, umap: Umap, before: Umap) -> int:
    """Count the pages and tables of an address space, which was made before the address space `before`; what it maps
    must be pages."""
    kern = cpu.kern
    tally.umap_root = pfn_at(cpu, umap.root) << kern.page_shift
    tally.umap_pages = 0
    tally.umap_tables = 0
    tally.umap_errors = 0 if umap.prev == before else 1
    root = _root_of(cpu, umap)
    if root != 0:
        _count_tables(cpu, tally, root, kern.format.root_shift)
    tally.spaces = tally.spaces + tally.umap_tables
    return OK
