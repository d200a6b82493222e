"""Physical regions: which stretches of physical addresses exist, and what they are.

Concepts
  1. A region is a run of frames of one class. Regions never overlap; together they are the physical map.
  2. They hang in a treap: a search tree by base, a heap by a hash of the base. Find, add and remove take expected
     logarithmic time whatever the order in which devices come and go, and no record ever moves, so that the core
     table, the bitmaps and the processors may point at it.
  3. A RAM region owns one area of heap memory: its core table, its page identities and its free bitmaps (`coretable`).
     Only a region without an area is split or merged.

Structure: links are addresses of the field that points at a node, so that the root needs no case of its own.
The first record lies in the boot area, for the region that is described before there is a heap; the others are
objects of a typed cache (E22), hence any number of them.
"""

from kernmalloc.kernel.kern import CLASSES, MAX_PFN, RAM, Cpu, Kern, Word
from kernmalloc.lang import i64, kernel, record, u32
from kernmalloc.lang.status import BAD_FRAME, BUSY, OK, OVERLAP, WRAPS


@record(size=136)
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

    invariants = (
        "count > 0 and base >= 0 and base + count <= kern.max_pfn",
        "kind > 0 and kind < CLASSES",
        "area == 0 or kind == RAM",
        "tally.layout_errors == 0",
        "free == tally.region_free",
        "tally.summary_errors == 0",
        "tally.entry_errors == 0",
        "tally.order_errors == 0",
    )


LEFT = Region.offset("left")
RIGHT = Region.offset("right")
ROOT = Kern.offset("regions")


@kernel
def _priority(region):
    """A hash of the base: the heap order of the treap."""
    x = Region(region).base
    x = (x ^ (x >> 15)) & 0xFFFFFFF
    x = (x * 0x2C1B3C6D) & 0xFFFFFFFF
    x = x ^ (x >> 13)
    x = (x * 0x297A2D39) & 0xFFFFFFFF
    return x ^ (x >> 16)


@kernel
def region_of(cpu, pfn):
    """VA of the region that holds a frame, or BAD_FRAME."""
    c = Cpu(cpu)
    if c.hit != 0:
        last = Region(c.hit)
        if pfn >= last.base and pfn < last.base + last.count:
            return c.hit
    at = Kern(c.kern).regions
    while at != 0:
        r = Region(at)
        if pfn < r.base:
            at = r.left
        elif pfn >= r.base + r.count:
            at = r.right
        else:
            c.hit = at
            return at
    return BAD_FRAME


@kernel
def next_region(cpu, pfn):
    """VA of the lowest region that ends after pfn, or 0: from 0 on, this visits all in order."""
    found = 0
    at = Kern(Cpu(cpu).kern).regions
    while at != 0:
        r = Region(at)
        if r.base + r.count > pfn:
            found = at
            at = r.left
        else:
            at = r.right
    return found


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
    priority = _priority(region)
    link = k.addr + ROOT
    at = Word(link).bits
    while at != 0:
        if _priority(at) < priority:
            break
        link = at + (LEFT if base < Region(at).base else RIGHT)
        at = Word(link).bits
    Word(link).bits = region
    low = region + LEFT  # the subtree that was here is split by base: smaller ones to the left of `new`
    high = region + RIGHT
    while at != 0:
        r = Region(at)
        if r.base < base:
            Word(low).bits = at
            low = at + RIGHT
            at = r.right
        else:
            Word(high).bits = at
            high = at + LEFT
            at = r.left
    Word(low).bits = 0
    Word(high).bits = 0
    k.region_count = k.region_count + 1
    return OK


@kernel
def region_remove(cpu, region):
    """Take a region out of the tree; its record is the caller's again. BUSY if its frames are described."""
    c = Cpu(cpu)
    k = Kern(c.kern)
    gone = Region(region)
    if gone.area != 0:
        return BUSY
    link = k.addr + ROOT
    while Word(link).bits != region:
        at = Word(link).bits
        if at == 0:
            return BAD_FRAME
        link = at + (LEFT if gone.base < Region(at).base else RIGHT)
    low = gone.left
    high = gone.right
    while low != 0 and high != 0:
        if _priority(low) >= _priority(high):
            Word(link).bits = low
            link = low + RIGHT
            low = Region(low).right
        else:
            Word(link).bits = high
            link = high + LEFT
            high = Region(high).left
    Word(link).bits = low + high  # one of them is 0
    if c.hit == region:
        c.hit = 0
    k.region_count = k.region_count - 1
    return OK


@kernel
def region_split(cpu, region, upper, base):
    """Cut a region without an area in two at frame `base`; the zeroed record `upper` becomes the part from there on."""
    r = Region(region)
    if r.area != 0:
        return BUSY
    if base <= r.base or base >= r.base + r.count:
        return BAD_FRAME
    count = r.base + r.count - base
    r.count = base - r.base
    return region_add(cpu, upper, base, count, r.kind)


@kernel
def region_merge(cpu, region):
    """Join the next region onto this one where they touch and are of one class, without areas.

    Returns the VA of the record that is free again, or 0 if there was nothing to join."""
    r = Region(region)
    end = r.base + r.count
    above = next_region(cpu, end)
    if above == 0 or r.area != 0:
        return 0
    u = Region(above)
    if u.base != end or u.kind != r.kind or u.area != 0:
        return 0
    region_remove(cpu, above)
    r.count = r.count + u.count
    return above
