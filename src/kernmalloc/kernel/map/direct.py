"""The direct map: memory that the kernel around has mapped already, at VA = PA + a constant.

Concepts
  1. Here a heap page is its frame, and a frame has an address as it is: no table entry is read or written, no
     translation is ever forgotten, and a window is the map itself.
  2. The heap's pages are the frames of a stretch of physical memory: its fixed part, which is donated when the kernel
     boots, and behind it frames that the heap shares with page space. It grows by taking a run of those that are free,
     and needs nobody for that.
  3. The heap map has a record for every page of the stretch from the start. A page whose frame is page space's has a
     record of zeros: it belongs to no run. What its frame is says the core table.
  4. The stretch ends where the map ends, or before. RAM that the map does not reach is described like all other, and
     its frames can be got; the memory manager itself cannot look into them.

    va  = base + (pfn << page_shift)
    pfn of heap page 0 = (heap - base) >> page_shift
    the heap has page p  <=>  the frame of p is of type HEAP or MAPPING

Limits: a run of pages needs frames side by side. Where page space has one frame of them, the run is not to be had.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, HEAP, MAPPING, Cpu, Kern
from kernmalloc.kernel.frames.regions import described, region_of
from kernmalloc.kernel.frames.searches import highest_range, longest_range
from kernmalloc.kernel.frames.space import fresh, space_give
from kernmalloc.kernel.frames.table import entry_of, own_run
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK
from kernmalloc.machine.primitives import zero


@kernel
def direct_end(kern: Kern) -> int:
    """The first pfn that the map does not reach."""
    return kern.bytes >> kern.page_shift


@kernel
def direct_va(kern: Kern, pfn: int) -> int:
    """VA of a frame that the map reaches."""
    return kern.base + (pfn << kern.page_shift)


@kernel
def direct_pfn(kern: Kern, va: int) -> int:
    """The frame at va. ABSENT: the map does not reach there."""
    pfn = (va - kern.base) >> kern.page_shift
    return pfn if pfn >= 0 and pfn < direct_end(kern) else ABSENT


@kernel
def reaches_all(kern: Kern) -> int:
    """1 if the map reaches all RAM."""
    region = kern.ram
    while region != 0:
        if region.base + region.count > direct_end(kern):
            return 0
        region = region.next
    return 1


@kernel
def heap_pfn(kern: Kern, page: int) -> int:
    """The frame that is heap page `page`."""
    return ((kern.heap - kern.base) >> kern.page_shift) + page


@kernel
def is_heap(cpu: Cpu, page: int) -> int:
    """1 if the heap has the page; 0 if page space has its frame, or nobody."""
    pfn = heap_pfn(cpu.kern, page)
    region = described(cpu, pfn)
    if region == 0:
        return 0
    type = entry_of(cpu, region, pfn).type
    return 1 if type == HEAP or type == MAPPING else 0


@kernel
def free_run_at(cpu: Cpu, pages: int, align: int) -> int:
    """The heap page at which a run of free frames of the stretch begins, at a multiple of `align` pages. ABSENT."""
    kern = cpu.kern
    low = heap_pfn(kern, 0)
    skew = (kern.base >> kern.page_shift) & (align - 1)
    region = kern.ram
    while region != 0:
        pfn = highest_range(region, pages, align, skew, low, low + kern.heap_pages)
        if pfn != ABSENT:
            return pfn - low
        region = region.next
    return ABSENT


@kernel
def is_free_run(cpu: Cpu, page: int, pages: int) -> int:
    """1 if the frames of so many pages of the stretch, from `page` on, are free."""
    pfn = heap_pfn(cpu.kern, page)
    region = described(cpu, pfn)
    if region == 0:
        return 0
    return 1 if highest_range(region, pages, 1, 0, pfn, pfn + pages) == pfn else 0


@kernel
def longest_free_run(kern: Kern) -> int:
    """Pages in the longest run of free frames of the stretch."""
    low = heap_pfn(kern, 0)
    longest = 0
    region = kern.ram
    while region != 0:
        longest = max(longest, longest_range(region, low, low + kern.heap_pages))
        region = region.next
    return longest


@kernel
def run_own(cpu: Cpu, page: int, pages: int) -> int:
    """Make a run of free frames the heap's, filled with zeros. The caller has asked for them."""
    kern = cpu.kern
    pfn = heap_pfn(kern, page)
    own_run(cpu, region_of(cpu, pfn), pfn, pages, HEAP)
    return wiped(cpu, pfn, pages)


@kernel
def wiped(cpu: Cpu, pfn: int, count: int) -> int:
    """Fill frames that have just been taken with zeros, unless they are known to be zero."""
    kern = cpu.kern
    if fresh(cpu, pfn << kern.page_shift, count << kern.page_shift) == 0:
        zero(direct_va(kern, pfn), count << kern.page_shift)
    return OK


@kernel
def run_disown(cpu: Cpu, page: int, pages: int) -> int:
    """Give the frames of heap pages back to page space."""
    pfn = heap_pfn(cpu.kern, page)
    for i in range(pages):
        space_give(cpu, pfn + i)
    return OK
