"""Rooms: where a reference may lead. Nothing is read through one that has not been found to lead there.

Concepts
  1. The addresses in the kernel's record are sealed. So it is known where the arrays of the boot area lie, and the heap
     and its map; a number in one of them is held against their length.
  2. All else that is followed lies in the heap: an object of a cache, or a block of the kernel's own. The heap map says
     what begins at an address. It may be wrong, too, but it is certain where it lies: what is wrong is found later.
  3. A walk goes on to nothing else, and not for longer than there can be objects (`goes_on`). In a tree the bases below
     a node lie between bounds, which become narrower: no walk down a tree meets a node twice.
"""

from __future__ import annotations

from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import MAPPING, Cpu, Kern
from kernmalloc.kernel.core.modes import has_heap, has_tables
from kernmalloc.kernel.core.tree import Link
from kernmalloc.kernel.frames.regions import Region, described
from kernmalloc.kernel.frames.table import entry_of
from kernmalloc.kernel.heap.bins import OWN, record_of, va_of
from kernmalloc.kernel.heap.caches import LAST_REGION_CACHE, REGION_CACHE, is_object
from kernmalloc.kernel.heap.malloc import page_at, pages_for
from kernmalloc.kernel.heap.slots import grains_of
from kernmalloc.kernel.map.direct import direct_va
from kernmalloc.kernel.map.kmap import pfn_at
from kernmalloc.lang import failed, kernel
from kernmalloc.lang.status import BROKEN


@kernel
def is_block(cpu: Cpu, va: int, bytes: int) -> int:
    """1 if a block of the kernel's own begins at va that was allocated for so many bytes."""
    kern = cpu.kern
    page = page_at(kern, va)
    if failed(page):
        return 0
    run = record_of(kern, page)
    if run.use != OWN or va != va_of(kern, page) or run.pages != pages_for(kern, bytes):
        return 0
    return 1 if run.pages <= kern.top - page else 0


@kernel
def _is_first(kern: Kern, va: int) -> int:
    """1 if a region record of the boot area is at va: the first one, or any, if there is no heap."""
    at = va - kern.boot_region.addr
    if at == 0 or has_heap(kern) != 0:
        return 1 if at == 0 else 0
    for i in range(1, kern.range_count):
        if at == i * Region.size:
            return 1
    return 0


@kernel
def is_area(cpu: Cpu, va: int, bytes: int) -> int:
    """1 if a region's area may lie at va: a block that was allocated for so many bytes, or a piece that was carved."""
    kern = cpu.kern
    if has_heap(kern) != 0:
        return is_block(cpu, va, bytes)
    first = pfn_at(cpu, va) - kern.donation_pfn
    if va & ((1 << kern.page_shift) - 1) != 0 or first < 0:
        return 0
    return 1 if first + pages_for(kern, bytes) <= kern.donation_frames else 0


@kernel
def is_host(kern: Kern, region: Region) -> int:
    """1 if a region's area lies in its own first frames, which are no heap pages: RAM that came, in a direct map."""
    if has_tables(kern) != 0 or has_heap(kern) == 0:
        return 0
    return 1 if region.area == direct_va(kern, region.base) else 0


@kernel
def is_region(cpu: Cpu, region: Region) -> int:
    """1 if a reference leads to a region: one of the boot area, or an object."""
    if _is_first(cpu.kern, region.addr) != 0:
        return 1
    return is_object(cpu, REGION_CACHE, region.addr) | is_object(cpu, LAST_REGION_CACHE, region.addr)


@kernel
def goes_on(cpu: Cpu, tally: Tally, id: int, va: int) -> int:
    """1 if a walk may go on to va: an object of type `id` begins there, and the walk is no longer than it can be."""
    tally.steps = tally.steps + 1
    return is_object(cpu, id, va) if tally.steps <= grains_of(cpu.kern, cpu.kern.top) else 0


@kernel
def nodes_in(cpu: Cpu, link: Link, id: int, other: int, low: int, high: int) -> int:
    """Nodes of the tree below a link. BROKEN: one is no object of types `id` or `other`, nor the region of the boot
    area, or its base is not between `low` and `high`."""
    node = link.node
    if node == 0:
        return 0
    if _is_first(cpu.kern, node.addr) == 0:
        if is_object(cpu, id, node.addr) == 0 and is_object(cpu, other, node.addr) == 0:
            return BROKEN
    if node.base <= low or node.base >= high:
        return BROKEN
    below = nodes_in(cpu, node.left, id, other, low, node.base)
    if failed(below):
        return BROKEN
    above = nodes_in(cpu, node.right, id, other, node.base, high)
    return BROKEN if failed(above) else below + above + 1


@kernel
def table_at(cpu: Cpu, pa: int) -> int:
    """VA of the table of an address space in the frame at pa; 0 if there is none in it."""
    kern = cpu.kern
    pfn = pa >> kern.page_shift
    region = described(cpu, pfn)
    if region == 0:
        return 0
    frame = entry_of(cpu, region, pfn)
    if frame.type != MAPPING or is_block(cpu, frame.owner, 1 << kern.page_shift) == 0:
        return 0
    return frame.owner if pfn_at(cpu, frame.owner) == pfn else 0
