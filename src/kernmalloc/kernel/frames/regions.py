"""Physical regions: which stretches of physical addresses exist, and what they are.

Concepts
  1. A region is a run of frames of one class. Regions never overlap; together they are the physical map.
  2. They hang in a tree by base (`tree`): find, add and remove take logarithmic time, and no record ever moves, so that
     the kernel and its processors may point at one.
  3. A RAM region owns one area, heap memory for its core table, its page identities and its free bitmaps (`coretable`).
     Only a region without an area is split; what was cut off is joined again, and nothing else is.

The first record lies in the boot area, for the region that is described before there is a heap. The others are objects
of a typed cache (E22), so there may be any number of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.kernel.core.kern import MAX_PFN, Cpu, Kern, Word
from kernmalloc.kernel.core.tree import Link, Node, tree_above, tree_add, tree_floor, tree_remove
from kernmalloc.lang import Record, field, i64, inline, kernel, rare, u16, u32
from kernmalloc.lang.status import BAD_FRAME, BUSY, OK, OVERLAP, WRAPS

if TYPE_CHECKING:  # records of rooms above
    from kernmalloc.kernel.devices import Chunk


class Region(Record):
    """A run of frames of one class, and where they are described."""

    left: Link = inline("the subtree below base")
    right: Link = inline("the subtree above")
    base: i64 = field("first pfn")
    count: i64 = field("frames")
    kind: u32 = field("class: RAM, ROM, NVRAM, device, reserved")
    chunk_hint: u32 = field("word of the `full` bitmap where the last order-9 search ended")
    area: i64 = field("VA of the heap memory that describes the frames; 0: none does")
    entries: i64 = field("VA of the core table entry of the first frame")
    origin: i64 = field("pfn of the first bit of the bitmaps: base, aligned down")
    word_count: i64 = field("words in the free bitmap")
    words: Word = field("the free bitmap, a bit per frame")
    sums: Word = field("its summary: a bit per word that is not 0")
    tops: Word = field("the summary's summary")
    full: Word = field("the bitmap of chunks: a bit per 512 aligned frames that are all free")
    free: i64 = field("bits set in the free bitmap")
    hint: i64 = field("word of the free bitmap where the last search ended")
    next: Region = field("the RAM region described after this one")
    identities: i64 = field("VA of the page identity of the first frame")
    # of a published device range (`devices`)
    tier: u16 = field("who published it: UNPUBLISHED, ANYONE, LAST_WORDS")
    under: u16 = field("class that the frames go back to when it is withdrawn; 0: to none")
    cut: u16 = field("1: was cut off the region below, to be joined to it again")
    attribute: u16 = field("how its pages are cached where they are mapped (machine/mmu.py)")
    chunks: Link = inline("root of the tree of its entry chunks")
    live: i64 = field("chunks in the tree")
    ready: Chunk = field("the first chunk that waits to be used")
    ready_count: i64 = field("how many wait")
    guaranteed: i64 = field("chunks that the publication paid for")
    used: i64 = field("frames in use")

    invariants = (
        "count > 0 and base >= 0 and base + count <= kern.max_pfn",
        "kind > 0 and kind < CLASSES",
        "(area != 0) == (kind == RAM)",
        "tally.layout_errors == 0",
        "free == tally.region_free",
        "tally.summary_errors == 0",
        "tally.entry_errors == 0",
        "tally.order_errors == 0",
        "tally.cut_errors == 0",
        "under == 0 or (under == RESERVED_MEMORY and tier != UNPUBLISHED)",
        "attribute < ATTRIBUTES and (attribute == 0 or tier != UNPUBLISHED)",
        "live == tally.live and ready_count == tally.ready",
        "live + ready_count == guaranteed or (ready_count == 0 and live > guaranteed)",
        "used == tally.used",
        "tally.told_errors == 0",
        "cut <= 1 and tier <= LAST_WORDS and (tier == UNPUBLISHED or (kind > RAM and kind <= DEVICE_MEMORY))",
    )


@rare
def _find(kern: Kern, pfn: int) -> Region:
    """The region that holds a frame, or null. The next lookup begins with it."""
    region = Region(tree_floor(kern.regions, pfn).addr)
    if region == 0:
        return region
    if pfn >= region.base + region.count:
        return Region(0)
    kern.hit = region
    return region


@kernel
def region_of(cpu: Cpu, pfn: int) -> Region:
    """The region that holds a frame, or null."""
    kern = cpu.kern
    if kern.hit != 0:
        last = kern.hit
        if pfn >= last.base and pfn < last.base + last.count:
            return last
    return _find(kern, pfn)


@kernel
def described(cpu: Cpu, pfn: int) -> Region:
    """The region that holds a frame, if a core table describes it; else null."""
    region = region_of(cpu, pfn)
    if region == 0:
        return region
    return region if region.area != 0 else Region(0)


@kernel
def next_region(cpu: Cpu, pfn: int) -> Region:
    """The lowest region that ends after pfn, or null: with pfn 0 and each region's end this visits all in order."""
    root = cpu.kern.regions
    region = Region(tree_floor(root, pfn).addr)
    if region != 0:
        if region.base + region.count > pfn:
            return region
    return Region(tree_above(root, pfn).addr)


@kernel
def range_ok(cpu: Cpu, base: int, count: int) -> int:
    """OK if frames [base, base + count) exist on this machine and no region has any of them; else WRAPS or OVERLAP."""
    if count <= 0 or base < 0 or base >= MAX_PFN or count > MAX_PFN or base + count > cpu.kern.max_pfn:
        return WRAPS
    above = next_region(cpu, base)
    if above != 0:
        if above.base < base + count:
            return OVERLAP
    return OK


@kernel
def place_in(cpu: Cpu, base: int, count: int, kind: int) -> int:
    """VA of the region of class `kind` that has all of frames [base, base + count); 0 if no region has any of them;
    else WRAPS or OVERLAP."""
    status = range_ok(cpu, base, count)
    if status != OVERLAP:
        return status
    around = next_region(cpu, base)
    if around.kind != kind or base < around.base or base + count > around.base + around.count:
        return OVERLAP
    return around.addr


@kernel
def region_add(cpu: Cpu, region: Region, base: int, count: int, kind: int) -> int:
    """Put the zeroed record `region` into the tree. The caller has checked `range_ok`."""
    kern = cpu.kern
    region.base = base
    region.count = count
    region.kind = kind
    tree_add(kern.regions, Node(region.addr))
    kern.region_count = kern.region_count + 1
    return OK


@kernel
def region_remove(cpu: Cpu, region: Region) -> int:
    """Take a region out of the tree: its record is the caller's again. BUSY: its frames are described. BAD_FRAME: it is
    not in the tree."""
    kern = cpu.kern
    if region.area != 0:
        return BUSY
    if tree_floor(kern.regions, region.base).addr != region.addr:
        return BAD_FRAME
    tree_remove(kern.regions, Node(region.addr))
    if kern.hit == region:
        kern.hit = Region(0)
    kern.region_count = kern.region_count - 1
    return OK


@kernel
def region_split(cpu: Cpu, region: Region, upper: Region, base: int) -> int:
    """Cut a region in two at frame `base`: the zeroed record `upper` becomes the part from there on, marked as cut off.
    BUSY: it has an area. BAD_FRAME: `base` does not lie inside it."""
    if region.area != 0:
        return BUSY
    if base <= region.base or base >= region.base + region.count:
        return BAD_FRAME
    count = region.base + region.count - base
    region.count = base - region.base
    upper.cut = 1
    return region_add(cpu, upper, base, count, region.kind)


@kernel
def region_merge(cpu: Cpu, region: Region) -> Region:
    """Join the next region to this one if it was cut off this one, is of its class again, and neither has an area.

    Returns the record that is the caller's again, or null if there was nothing to join."""
    end = region.base + region.count
    above = next_region(cpu, end)
    if above == 0 or region.area != 0:
        return Region(0)
    if above.base != end or above.cut == 0 or above.kind != region.kind or above.area != 0:
        return Region(0)
    region_remove(cpu, above)
    region.count = region.count + above.count
    return above
