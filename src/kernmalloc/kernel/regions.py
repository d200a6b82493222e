"""Physical regions: which stretches of physical addresses exist, and what they are.

Concepts
  1. A region is a run of frames of one class. Regions never overlap; together they are the physical map.
  2. They hang in a tree by base (`tree`): find, add and remove take logarithmic time, and no record ever moves, so that
     the core table, the bitmaps and the processors may point at it.
  3. A RAM region owns one area of heap memory: its core table, its page identities and its free bitmaps (`coretable`).
     Only a region without an area is split; what was cut off is merged again, and nothing else is.

The first record lies in the boot area, for the region that is described before there is a heap; the others are
objects of a typed cache (E22), hence any number of them.
"""

from kernmalloc.kernel.kern import CLASSES, MAX_PFN, RAM, Cpu, Kern
from kernmalloc.kernel.tree import tree_above, tree_add, tree_floor, tree_remove
from kernmalloc.lang import i64, kernel, rare, record, u16, u32
from kernmalloc.lang.status import BAD_FRAME, BUSY, OK, OVERLAP, WRAPS


@record(size=192)
class Region:
    """A run of frames of one class, and where they are described."""

    left: i64 = "VA of the subtree below base"
    right: i64 = "VA of the subtree above"
    base: i64 = "first pfn"
    count: i64 = "frames"
    kind: u32 = "class: RAM, ROM, NVRAM, device, reserved"
    chunk_hint: u32 = "word of the `full` bitmap where the last order-9 search ended"
    area: i64 = "VA of the heap memory that describes the frames; 0 if none does"
    entries: i64 = "VA of the core table entry of the first frame"
    origin: i64 = "pfn of the first bit of the bitmaps: base, aligned down"
    word_count: i64 = "words in the free bitmap"
    words: i64 = "VA of the free bitmap, a bit per frame"
    sums: i64 = "VA of its summary: a bit per word that is not 0"
    tops: i64 = "VA of the summary's summary"
    full: i64 = "VA of the bitmap of chunks: a bit per 512 aligned frames that are all free"
    free: i64 = "bits set in the free bitmap"
    hint: i64 = "word of the free bitmap where the last search ended"
    next: i64 = "VA of the RAM region described after this one"
    identities: i64 = "VA of the page identity of the first frame"
    # of a published device range (`devices`)
    tier: u16 = "who published it: UNPUBLISHED, ANYONE, LAST_WORDS"
    under: u16 = "class that the frames go back to when it is withdrawn; 0: to none"
    cut: u16 = "1: was cut off the region below, to be joined to it again"
    attribute: u16 = "how its pages are cached where they are mapped (machine/mmu.py)"
    chunks: i64 = "root of the tree of its entry chunks"
    live: i64 = "chunks in the tree"
    spare: i64 = "VA of the first chunk that waits to be used"
    spare_count: i64 = "how many wait"
    guaranteed: i64 = "chunks that the publication paid for"
    used: i64 = "frames in use"

    invariants = (
        "count > 0 and base >= 0 and base + count <= kern.max_pfn",
        "kind > 0 and kind < CLASSES",
        "area == 0 or kind == RAM",
        "tally.layout_errors == 0",
        "free == tally.region_free",
        "tally.summary_errors == 0",
        "tally.entry_errors == 0",
        "tally.order_errors == 0",
        "tally.cut_errors == 0",
        "under == 0 or (under == RESERVED_MEMORY and tier != UNPUBLISHED)",
        "attribute < ATTRIBUTES and (attribute == 0 or tier != UNPUBLISHED)",
        "live == tally.live and spare_count == tally.spare",
        "live + spare_count >= guaranteed",
        "used == tally.used",
    )


ROOT = Kern.offset("regions")


@rare
def _find(kern, pfn):
    """The region that holds a frame, or BAD_FRAME; the next lookup starts there."""
    at = tree_floor(kern + ROOT, pfn)
    if at == 0:
        return BAD_FRAME
    if pfn >= Region(at).base + Region(at).count:
        return BAD_FRAME
    Kern(kern).hit = at
    return at


@kernel
def region_of(cpu, pfn):
    """VA of the region that holds a frame, or BAD_FRAME."""
    k = Kern(Cpu(cpu).kern)
    if k.hit != 0:
        last = Region(k.hit)
        if pfn >= last.base and pfn < last.base + last.count:
            return last.addr
    return _find(k.addr, pfn)


@kernel
def next_region(cpu, pfn):
    """VA of the lowest region that ends after pfn, or 0: from 0 on, this visits all in order."""
    root = Cpu(cpu).kern + ROOT
    at = tree_floor(root, pfn)
    if at != 0:
        if Region(at).base + Region(at).count > pfn:
            return at
    return tree_above(root, pfn)


@kernel
def range_ok(cpu, base, count):
    """OK if frames [base, base + count) exist on this machine and no region has any of them; else WRAPS or OVERLAP."""
    if count <= 0 or base < 0 or base >= MAX_PFN or count > MAX_PFN or base + count > Kern(Cpu(cpu).kern).max_pfn:
        return WRAPS
    above = next_region(cpu, base)
    if above != 0:
        if Region(above).base < base + count:
            return OVERLAP
    return OK


@kernel
def region_add(cpu, region, base, count, kind):
    """Put the zeroed record `region` into the tree. The caller has checked `range_ok`."""
    k = Kern(Cpu(cpu).kern)
    new = Region(region)
    new.base = base
    new.count = count
    new.kind = kind
    tree_add(k.addr + ROOT, region)
    k.region_count = k.region_count + 1
    return OK


@kernel
def region_remove(cpu, region):
    """Take a region out of the tree; its record is the caller's again. BUSY if its frames are described."""
    k = Kern(Cpu(cpu).kern)
    gone = Region(region)
    if gone.area != 0:
        return BUSY
    if tree_floor(k.addr + ROOT, gone.base) != region:
        return BAD_FRAME
    tree_remove(k.addr + ROOT, region)
    if k.hit == region:
        k.hit = 0
    k.region_count = k.region_count - 1
    return OK


@kernel
def region_split(cpu, region, upper, base):
    """Cut a region without an area in two at frame `base`; the zeroed record `upper` becomes the part from there on,
    marked as cut off."""
    r = Region(region)
    if r.area != 0:
        return BUSY
    if base <= r.base or base >= r.base + r.count:
        return BAD_FRAME
    count = r.base + r.count - base
    r.count = base - r.base
    Region(upper).cut = 1
    return region_add(cpu, upper, base, count, r.kind)


@kernel
def region_merge(cpu, region):
    """Join the next region onto this one if it was cut off it and is of its class again, without areas.

    Returns the VA of the record that is free again, or 0 if there was nothing to join."""
    r = Region(region)
    end = r.base + r.count
    above = next_region(cpu, end)
    if above == 0 or r.area != 0:
        return 0
    u = Region(above)
    if u.base != end or u.cut == 0 or u.kind != r.kind or u.area != 0:
        return 0
    region_remove(cpu, above)
    r.count = r.count + u.count
    return above
