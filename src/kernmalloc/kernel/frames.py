"""Frames: the core table, and who owns each frame of memory.

Concepts
  1. Every frame of a RAM region has one core table entry (E6): ours is 16 bytes, the profile's stride may add a kernel's
     own fields behind it. Entries are found by arithmetic from the region: no search, no per-frame pointer.
  2. An entry of all zeros means: no owner. The free bitmaps (`bitmap`) are the authority on what is free; so a new core
     table is right as zeroed memory, and costs nothing where memory is known to be zero.
  3. A frame has a type. `set_type` is the only transition, and it alone keeps the counts.
  4. A block is 2 ** order aligned frames; its first entry, the head, speaks for all, the others stay zero. A range is
     any number of frames, stored as the aligned blocks that tile it (`ranges`).

    entry(pfn)        = entries + (pfn - base) * stride
    free(pfn)         = bit pfn - origin of words, and then the entry is zero
    sum of counts     = frames of RAM

Refusals: a free of what is free, of the inside of a block, or of what belongs to the kernel changes nothing.
"""

from kernmalloc.kernel.bitmap import (
    MAX_ORDER,
    NONE,
    bits_free,
    bits_give,
    bits_take,
    find_block,
    first_free,
    run_length,
)
from kernmalloc.kernel.kern import DEVICE, DMA, EMPTY, FREE, PAGE, TYPES, Cpu, Kern, Word
from kernmalloc.kernel.regions import Region, region_of
from kernmalloc.kernel.threads import kept_back, takeable
from kernmalloc.lang import i64, kernel, record, u8, u16, u32
from kernmalloc.lang.status import BAD_FRAME, BAD_SIZE, BUSY, INTERIOR, NO_FRAMES, NOT_ALLOCATED, OK, PROMISED

COUNTS = Kern.offset("free_frames")


@record(size=16)
class Frame:
    """Our part of a core table entry."""

    type: u8 = "what the frame is; FREE: no owner, or not the head of its block"
    order: u8 = "log2 of the frames in the block that starts here"
    pins: u16 = "users that hold the block where it is"
    link: u32 = "for the owner: position in its own structure"
    owner: i64 = "for the owner: whatever leads to it"

    invariants = (
        "type < TYPES",
        "order <= MAX_ORDER",
        "type != FREE or (order == 0 and pins == 0 and link == 0 and owner == 0)",
    )


@record(size=16)
class Page:
    """The same 16 bytes, of a frame in the page cache (`pages`)."""

    type: u8 = "PAGE"
    order: u8 = "0"
    pins: u16 = "users that hold the page where it is"
    link: u32 = "next page of its queue: pfn + 1"
    depends: u32 = "first depend entry: its number in the heap + 1"
    state: u8 = "EMPTY, READING, CLEAN, DIRTY, WRITING, REWRITTEN, FAILED"
    queue: u8 = "SMALL or MAIN; linked there if CLEAN or DIRTY"
    uses: u8 = "how often it was asked for of late, up to 3"

    invariants = (
        "state < STATES and queue <= MAIN and uses <= MOST_USES",
        "state == EMPTY or order == 0",
        "state != EMPTY or (link == 0 and depends == 0 and queue == 0 and uses == 0)",
        "tally.depend_errors == 0",
    )


@kernel
def entry_of(cpu, region, pfn):
    """VA of a frame's core table entry, in a region that has a core table."""
    r = Region(region)
    return r.entries + (pfn - r.base) * Kern(Cpu(cpu).kern).stride


@kernel
def set_type(cpu, frame, type, order):
    """The transition: the block of 2 ** order frames whose head entry is `frame` becomes `type`."""
    k = Kern(Cpu(cpu).kern)
    f = Frame(frame)
    old = Word(k.addr + COUNTS + (f.type << 3))
    old.bits = old.bits - (1 << order)
    new = Word(k.addr + COUNTS + (type << 3))
    new.bits = new.bits + (1 << order)
    f.type = type
    f.order = order if type != FREE else 0
    return type


@kernel
def take(cpu, region, pfn, order, type):
    """Give a free block to an owner."""
    bits_take(region, pfn, 1 << order)
    set_type(cpu, entry_of(cpu, region, pfn), type, order)
    return pfn


@kernel
def give(cpu, region, pfn):
    """Take a block from its owner: it is free again."""
    frame = entry_of(cpu, region, pfn)
    order = Frame(frame).order
    set_type(cpu, frame, FREE, order)
    Frame(frame).link = 0
    Frame(frame).owner = 0
    bits_give(region, pfn, 1 << order)
    k = Kern(Cpu(cpu).kern)
    k.returned = k.returned + (1 << order)
    return OK


@kernel
def supply(cpu, order):
    """VA of a RAM region with a free block of that order, or 0: the last supplier, else the first in the list from `Kern.ram`."""
    k = Kern(Cpu(cpu).kern)
    if k.supply != 0:
        if find_block(k.supply, order) != NONE:
            return k.supply
    at = k.ram
    while at != 0:
        if find_block(at, order) != NONE:
            k.supply = at
            return at
        at = Region(at).next
    return 0


@kernel
def is_public(type):
    """1 if callers from outside may own frames as that type."""
    return 1 if type == PAGE or type == DMA else 0


@kernel
def promise_holds(cpu, count):
    """1 if the bank keeps what it was promised when `count` frames leave page space, or may be broken the promise."""
    k = Kern(Cpu(cpu).kern)
    left = k.free_frames + k.page_frames - kept_back(cpu) - count
    return 1 if k.lenient != 0 or left >= k.promised else 0


@kernel
def spared(cpu, type, count):
    """OK if the bank can spare frames that become that type: pages are its own, DMA is a debit. PROMISED if not."""
    return OK if type == PAGE or promise_holds(cpu, count) != 0 else PROMISED


@kernel
def block_take(cpu, order, type):
    """2 ** order free frames from the bitmaps, aligned to their size: the first pfn. NO_FRAMES, BAD_SIZE, BAD_FRAME."""
    if is_public(type) == 0:
        return BAD_FRAME
    if order < 0 or order > MAX_ORDER:
        return BAD_SIZE
    if spared(cpu, type, 1 << order) < 0:
        return PROMISED
    region = supply(cpu, order) if takeable(cpu) >= 1 << order else 0
    if region == 0:
        Kern(Cpu(cpu).kern).wanted = 1 if order == 0 and type == PAGE else 0
        return NO_FRAMES
    return take(cpu, region, find_block(region, order), order, type)


@kernel
def head_of(cpu, region, pfn):
    """The head of the block that an owned frame lies in: its pfn."""
    for order in range(MAX_ORDER + 1):
        head = pfn & ~((1 << order) - 1)
        if head < Region(region).base:
            return NOT_ALLOCATED
        f = Frame(entry_of(cpu, region, head))
        if f.type != FREE:
            return head if head + (1 << f.order) > pfn else NOT_ALLOCATED
    return NOT_ALLOCATED


@kernel
def frame_type(cpu, pfn):
    """What a frame is: FREE, HEAP, … DEVICE in a published range; BAD_FRAME where nothing describes it."""
    region = region_of(cpu, pfn)
    if region < 0:
        return BAD_FRAME
    if Region(region).area == 0:
        return DEVICE if Region(region).tier != 0 else BAD_FRAME
    if bits_free(region, pfn) != 0:
        return FREE
    head = head_of(cpu, region, pfn)
    if head < 0:
        return FREE  # in a stock
    return Frame(entry_of(cpu, region, head)).type


@kernel
def puttable(cpu, region, pfn):
    """OK if a block that callers own starts at pfn; else why it cannot be put back."""
    if region < 0:
        return BAD_FRAME
    if Region(region).area == 0:
        return BAD_FRAME
    f = Frame(entry_of(cpu, region, pfn))
    if f.type == FREE:
        return NOT_ALLOCATED if frame_type(cpu, pfn) == FREE else INTERIOR
    if is_public(f.type) == 0 or (f.type == PAGE and Page(f.addr).state != EMPTY):
        return BAD_FRAME
    if f.pins != 0:
        return BUSY
    return OK


@kernel
@kernel
def take_run(cpu, most, type):
    """Contiguous free frames, at most `most`, each owned by itself: the first pfn, their number in `Cpu.run`.

    The caller has made sure that there is a free frame."""
    region = supply(cpu, 0)
    pfn = first_free(region)
    count = run_length(region, pfn, most)
    bits_take(region, pfn, count)
    for i in range(count):
        set_type(cpu, entry_of(cpu, region, pfn + i), type, 0)
    Cpu(cpu).run = count
    return pfn
