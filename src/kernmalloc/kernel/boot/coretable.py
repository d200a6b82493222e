"""The core table: how a region's frames are described, with memory of the heap (E6, E34 to E38).

Concepts
  1. A RAM region is described by one allocation of zeroed heap pages, its area. The area holds the core table, which is
     one entry of `stride` bytes per frame; the identities, which name the pages that the frames hold; and the free
     bitmaps.
  2. An area of zeros says that its frames exist and are not free. Listing frames sets bits and changes no entry.

    area = count * stride + count * identity + bitmaps(base, count)
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.core.modes import has_heap, has_tables
from kernmalloc.kernel.frames.bitmap import bitmap_bytes, bitmap_init, bits_give
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.malloc import own_zeroed, pages_for
from kernmalloc.kernel.map.direct import direct_va, wiped
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import OK


@entry
def table_bytes(kern: Kern, base: int, count: int) -> int:
    """Bytes of the area that describes frames [base, base + count) of RAM: a closed form (E34)."""
    return count * kern.stride + count * kern.identity + bitmap_bytes(base, count)


@kernel
def area_pages(kern: Kern, base: int, count: int) -> int:
    """Heap pages of the area that describes frames [base, base + count)."""
    return pages_for(kern, table_bytes(kern, base, count))


@kernel
def _carve(cpu: Cpu, bytes: int) -> int:
    """Zeroed memory for `bytes` bytes, out of the donation: VA. It has been planned."""
    kern = cpu.kern
    pages = pages_for(kern, bytes)
    pfn = kern.donation_pfn + kern.donated_heap
    kern.donated_heap = kern.donated_heap + pages
    wiped(cpu, pfn, pages)
    return direct_va(kern, pfn)


@kernel
def area_make(cpu: Cpu, region: Region) -> int:
    """Describe a region's frames: malloc its area, or carve it. No frame is free yet. OK, or the status of
    `own_zeroed`."""
    bytes = table_bytes(cpu.kern, region.base, region.count)
    area = own_zeroed(cpu, bytes) if has_heap(cpu.kern) != 0 else _carve(cpu, bytes)
    return area if failed(area) else area_use(cpu, region, area)


@kernel
def area_use(cpu: Cpu, region: Region, area: int) -> int:
    """Describe a region's frames in the zeroed memory `area`, which is as long as they need. No frame is free yet."""
    kern = cpu.kern
    region.area = area
    region.entries = area
    region.identities = area + region.count * kern.stride
    bitmap_init(region, region.identities + region.count * kern.identity)
    kern.frames = kern.frames + region.count
    kern.free_frames = kern.free_frames + region.count  # a zeroed entry says FREE, whether or not a bitmap lists it
    if kern.ram == 0:
        kern.ram = region
        kern.ram_last = region
    elif has_tables(kern) != 0:
        kern.ram_last.next = region
        kern.ram_last = region
    else:
        region.next = kern.ram  # what comes first gives frames first, and the heap of a direct map grows in the last
        kern.ram = region
    return OK


@kernel
def list_frames(region: Region, pfn: int, count: int) -> int:
    """Put frames that no one owns on the free list: E38's remainder."""
    if count > 0:
        bits_give(region, pfn, count)
    return OK
