"""The core table: describing a region's frames with memory of the heap (E6, E34 to E38).

Concepts
  1. What describes a RAM region is one allocation, its area: the core table (one entry of `stride` bytes per frame), the
     identities (for the page cache, RAM only) and the free bitmaps. It is malloc'd like everything else, as zeroed pages.
  2. Zeroed entries and bitmaps say: these frames exist and are not free. Listing them sets bits, not entries.

    area = count * stride + count * identity + bitmaps(base, count)
"""

from kernmalloc.kernel.bitmap import bitmap_bytes, bitmap_init, bits_give
from kernmalloc.kernel.heap import malloc_zeroed, pages_for
from kernmalloc.kernel.kern import Cpu, Kern
from kernmalloc.kernel.regions import Region
from kernmalloc.lang import entry, kernel
from kernmalloc.lang.status import OK


@entry
def area_bytes(kern, base, count):
    """Bytes of the area that describes frames [base, base + count) of RAM: a closed form (E34)."""
    k = Kern(kern)
    return count * k.stride + count * k.identity + bitmap_bytes(base, count)


@kernel
def area_pages(kern, base, count):
    """Heap pages of that area."""
    return pages_for(kern, area_bytes(kern, base, count))


@kernel
def area_make(cpu, region):
    """Describe a region's frames: malloc its area. Nothing in it is free yet. As `malloc_zeroed`."""
    k = Kern(Cpu(cpu).kern)
    r = Region(region)
    area = malloc_zeroed(cpu, area_bytes(k.addr, r.base, r.count))
    if area < 0:
        return area
    r.area = area
    r.entries = area
    r.identities = area + r.count * k.stride
    bitmap_init(region, r.identities + r.count * k.identity)
    k.frames = k.frames + r.count
    k.free_frames = k.free_frames + r.count  # no owner yet: that is what a zeroed entry says
    if k.ram == 0:
        k.ram = region
    else:
        Region(k.ram_last).next = region
    k.ram_last = region
    return OK


@kernel
def list_frames(region, pfn, count):
    """Put frames that no one owns on the free list: E38's remainder."""
    if count > 0:
        bits_give(region, pfn, count)
    return OK
