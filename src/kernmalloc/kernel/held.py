"""Held memory in address spaces: large pages, and frames of devices (E13).

Concepts
  1. A page of the cache comes and goes (`pages/faults`). What is mapped here stays: somebody owns its frames, and
     nothing takes them away. So it has no depend entries, and no fault brings it.
  2. A large page is made of frames of one block that callers own: what `block_get` and `range_get` give, if aligned.
     Each address space that maps it holds the block in place. So the block cannot be put back before.
  3. Frames of a device are mapped one by one, or as a large page, and cached as their published range says. Each entry
     that maps a frame holds it, as `device_get` does. So while it is mapped the range stays published, and nobody
     changes how it is cached.
  4. What a mapping takes, tables and holds, is there before the first entry is written. Entries say that they have been
     used: nobody asks.
  5. A range of addresses is unmapped, whatever is mapped in it; of a large page all or nothing.

Limits: a process may execute what it may read, a device's memory, too. A device's frames and its large pages are mapped
by different calls.

    pins(block of callers)  = large pages of address spaces in it
    link(frame of a device) = entries of address spaces that map it, a large page's for each of its frames
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu
from kernmalloc.kernel.devices import device_attribute, device_map, device_region, device_unmap
from kernmalloc.kernel.frames.table import block_hold, block_release
from kernmalloc.kernel.heap.caches import UMAP_CACHE, is_object
from kernmalloc.kernel.pages.depends import depend_remove
from kernmalloc.kernel.pages.umap import (
    Umap,
    counted,
    entry_for,
    large_at,
    large_forget,
    leaf_in,
    next_leaf,
    table_drop,
    tables_make,
    umap_drop,
    umap_spans,
)
from kernmalloc.lang import failed, kernel
from kernmalloc.lang.status import BAD_ADDRESS, BAD_FRAME, BUSY, INTERIOR, NOT_ALLOCATED, OK
from kernmalloc.machine.mmu import (
    WRITE_BACK,
    device_entry,
    entry_pa,
    is_present,
    large_pa,
    load_entry,
    span_shift,
    store_entry,
    store_upper,
    user_large_entry,
)
from kernmalloc.machine.primitives import forget


@kernel
def _hold(cpu: Cpu, pfn: int, count: int) -> int:
    """Hold frames [pfn, pfn + count) for a large page: OK. BAD_FRAME, or what `device_map` says."""
    if device_region(cpu, pfn) != 0:
        return device_map(cpu, pfn, count)
    return block_hold(cpu, pfn, count)


@kernel
def _let_go(cpu: Cpu, pfn: int, count: int) -> int:
    """Let frames go that `_hold` held."""
    if device_region(cpu, pfn) != 0:
        return device_unmap(cpu, pfn, count)
    return block_release(cpu, pfn)


@kernel
def umap_map_large(cpu: Cpu, umap: Umap, va: int, pfn: int, write: int) -> int:
    """Map the large page of frames from pfn on at va in an address space, to stay there: OK.

    They are frames of one block of callers, which is held, or of one published range, and cached as that says. It can
    be written to if `write` is not 0. BAD_ADDRESS: there is no such address space, or va is no large page of a process.
    BAD_FRAME: pfn is not that of a large page, or there is no such block or range. BUSY: something is mapped there, or
    the frames are held 65535 times. LIMIT: the reserve of entries is used up. Else a status of `malloc`.
    """
    format = cpu.kern.format
    shift = span_shift(format)
    pages = 1 << format.index_bits
    if umap_spans(cpu, umap, va, 1, shift) == 0:
        return BAD_ADDRESS
    if pfn < 0 or pfn & (pages - 1) != 0:
        return BAD_FRAME
    end = va + (1 << shift)
    if next_leaf(cpu, umap, va, end) != end:
        return BUSY
    status = _hold(cpu, pfn, pages)
    if failed(status):
        return status
    status = tables_make(cpu, umap, va, end, shift)
    if failed(status):
        _let_go(cpu, pfn, pages)
        return status
    at = entry_for(cpu, umap, va, shift)
    if is_present(format, load_entry(format, at)) != 0:  # a table whose entries have gone
        table_drop(cpu, umap, va, at)
    attribute = device_attribute(cpu, pfn)
    pa = pfn << format.page_shift
    store_upper(format, at, user_large_entry(format, pa, write, WRITE_BACK if failed(attribute) else attribute))
    counted(cpu, at, 1)
    umap.pages = umap.pages + pages
    return OK


@kernel
def umap_map_device(cpu: Cpu, umap: Umap, va: int, pfn: int, count: int, write: int) -> int:
    """Map frames [pfn, pfn + count) of a published range from va on in an address space, cached as the range says: OK.

    They can be written to if `write` is not 0. BAD_ADDRESS: there is no such address space, or count pages from va on
    are none of a process. BAD_FRAME: no published range has them all. BUSY: something is mapped there, or a frame is
    held 65535 times. LIMIT: the reserve of entries is used up. Else a status of `malloc`.
    """
    format = cpu.kern.format
    shift = format.page_shift
    if umap_spans(cpu, umap, va, count, shift) == 0:
        return BAD_ADDRESS
    end = va + (count << shift)
    if next_leaf(cpu, umap, va, end) != end:
        return BUSY
    status = device_map(cpu, pfn, count)
    if failed(status):
        return status
    status = tables_make(cpu, umap, va, end, shift)
    if failed(status):
        device_unmap(cpu, pfn, count)
        return status
    attribute = device_attribute(cpu, pfn)
    for i in range(count):
        leaf = leaf_in(cpu, umap, va + (i << shift))
        store_entry(format, leaf, device_entry(format, (pfn + i) << shift, write, attribute))
        counted(cpu, leaf, 1)
    umap.pages = umap.pages + count
    return OK


@kernel
def _unmap_large(cpu: Cpu, umap: Umap, va: int, at: int) -> int:
    """Take the large page at va, whose entry lies at `at`, out of an address space."""
    format = cpu.kern.format
    pages = 1 << format.index_bits
    pfn = large_pa(format, load_entry(format, at)) >> format.page_shift
    store_upper(format, at, 0)
    counted(cpu, at, -1)
    umap.pages = umap.pages - pages
    large_forget(cpu, umap, va)
    return _let_go(cpu, pfn, pages)


@kernel
def _unmap_page(cpu: Cpu, umap: Umap, va: int) -> int:
    """Take the page at va out of an address space."""
    format = cpu.kern.format
    leaf = leaf_in(cpu, umap, va)
    pfn = entry_pa(format, load_entry(format, leaf)) >> format.page_shift
    if device_region(cpu, pfn) == 0:
        return depend_remove(cpu, pfn, umap, va)
    store_entry(format, leaf, 0)
    counted(cpu, leaf, -1)
    umap.pages = umap.pages - 1
    forget(umap.root_pa, va)
    return device_unmap(cpu, pfn, 1)


@kernel
def _unmap_all(cpu: Cpu, umap: Umap, va: int, end: int) -> int:
    """Take all that is mapped in [va, end) out of an address space; no large page crosses its ends."""
    at = next_leaf(cpu, umap, va, end)
    while at < end:
        upper = large_at(cpu, umap, at)
        if upper != 0:
            _unmap_large(cpu, umap, at, upper)
        else:
            _unmap_page(cpu, umap, at)
        at = next_leaf(cpu, umap, at, end)
    return OK


@kernel
def _cuts_large(cpu: Cpu, umap: Umap, va: int) -> int:
    """1 if va lies inside of a large page, not at its first address."""
    inside = va & ((1 << span_shift(cpu.kern.format)) - 1)
    return 1 if inside != 0 and large_at(cpu, umap, va) != 0 else 0


@kernel
def umap_unmap_range(cpu: Cpu, umap: Umap, va: int, count: int) -> int:
    """Take all that is mapped in `count` pages from va on out of an address space: OK.

    BAD_ADDRESS: there is no such address space, or they are no pages of a process. INTERIOR: they begin or end inside
    of a large page. NOT_ALLOCATED: nothing is mapped there.
    """
    shift = cpu.kern.page_shift
    if umap_spans(cpu, umap, va, count, shift) == 0:
        return BAD_ADDRESS
    end = va + (count << shift)
    if _cuts_large(cpu, umap, va) != 0:
        return INTERIOR
    if end < cpu.kern.format.user_end and _cuts_large(cpu, umap, end) != 0:
        return INTERIOR
    if next_leaf(cpu, umap, va, end) == end:
        return NOT_ALLOCATED
    return _unmap_all(cpu, umap, va, end)


@kernel
def umap_unmap(cpu: Cpu, umap: Umap, va: int) -> int:
    """Take the page at va out of an address space: OK.

    BAD_ADDRESS: there is no such address space, or va is no page of a process. INTERIOR: va lies in a large page.
    NOT_ALLOCATED: nothing is mapped there.
    """
    return umap_unmap_range(cpu, umap, va, 1)


@kernel
def umap_free(cpu: Cpu, umap: Umap) -> int:
    """Give back an address space, and all mappings in it: OK. BAD_ADDRESS: there is no such address space."""
    if is_object(cpu, UMAP_CACHE, umap.addr) == 0:
        return BAD_ADDRESS
    _unmap_all(cpu, umap, 0, cpu.kern.format.user_end)
    return umap_drop(cpu, umap)
