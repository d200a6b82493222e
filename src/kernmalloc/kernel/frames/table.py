"""The core table: who owns each frame of memory.

Concepts
  1. Every frame of a RAM region has one core table entry (E6). Ours is a `Frame` of 16 bytes; the profile's stride may
     add a kernel's own fields behind it. Entries are found by arithmetic from the region: no search, no pointers.
  2. An entry of all zeros means: no owner. The free bitmaps (`bitmap`) are the authority on what is free; so a new core
     table is right as zeroed memory, and costs nothing where memory is known to be zero.
  3. A frame has a type. `set_type` is the only transition, and it alone keeps the counts.
  4. A block is 2 ** order aligned frames; its first entry, the head, speaks for all, the others stay zero. A range is
     any number of frames, stored as the aligned blocks that tile it (`ranges`).
  5. Two other records overlay a `Frame`. A `Page` is the entry of a frame in the page cache: state, queue, uses and
     depends lie over `owner`. `FrameWords` are the same bytes as two words. A quick path reads these: one comparison
     tells type, order, pins and link, another one that nothing leads to the frame, be it an owner or a cached page.

    entry(pfn)        = entries + (pfn - base) * stride
    free(pfn)         = bit pfn - origin of words, and then the entry is zero
    sum of counts     = frames of RAM

Refusals: a free of what is free, of the inside of a block, or of what belongs to the kernel changes nothing.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, DEVICE, DMA, EMPTY, FREE, PAGE, Cpu, Kern, Word
from kernmalloc.kernel.frames.bitmap import (
    MAX_ORDER,
    bits_free,
    bits_give,
    bits_take,
    find_block,
    first_free,
    run_length,
)
from kernmalloc.kernel.frames.claims import kept_back, takeable
from kernmalloc.kernel.frames.regions import Region, described, region_of
from kernmalloc.lang import Record, cas64, element, failed, field, i64, inlined, kernel, little, u8, u16, u32
from kernmalloc.lang.status import BAD_FRAME, BAD_SIZE, BUSY, INTERIOR, NO_FRAMES, NOT_ALLOCATED, OK, PROMISED

COUNTS = Kern.offset("free_frames")  # of the counts of frames, one per type and in their order
MOST_PINS = (1 << 16) - 1  # what Frame.pins can count


class Frame(Record, size=16):
    """Our part of a core table entry (`Page` and `FrameWords` lie over the same bytes)."""

    type: u8 = field("what the frame is; FREE: no owner, or not the head of its block")
    order: u8 = field("log2 of the frames in the block that starts here")
    pins: u16 = field("users that hold the block where it is")
    link: u32 = field("for the owner: position in its own structure")
    owner: i64 = field("for the owner: whatever leads to it")

    invariants = (
        "type < TYPES",
        "order <= MAX_ORDER",
        "type != FREE or (order == 0 and pins == 0 and link == 0 and owner == 0)",
        "type != HEAP or (order == 0 and pins == 0 and link == 0 and owner == 0)",
        "type != MAPPING or (order == 0 and pins == 0)",
    )


class Page(Record, size=16):
    """The entry of a frame in the page cache (`pages`): what a `Frame` is, with the five last fields over its owner."""

    type: u8 = field("PAGE")
    order: u8 = field("0")
    pins: u16 = field("users that hold the page where it is")
    link: u32 = field("next page of its queue: pfn + 1")
    depends: u32 = field("first depend entry: its number in the heap + 1 (`depends`)")
    state: u8 = field("EMPTY, READING, CLEAN, DIRTY, WRITING, REWRITTEN, FAILED")
    queue: u8 = field("SMALL or MAIN; linked there if CLEAN or DIRTY")
    uses: u8 = field("how often it was asked for of late, up to 3")
    fold: u8 = field("the bytes of its object id, laid over each other")

    invariants = (
        "state < STATES and queue <= MAIN and uses <= MOST_USES",
        "state == EMPTY or order == 0",
        "state != EMPTY or (link == 0 and depends == 0 and queue == 0 and uses == 0 and fold == 0)",
        "state == EMPTY or fold == tally.fold",
        "state == EMPTY or state == CLEAN or state == DIRTY or state == FAILED or link == 0",
        "tally.depend_errors == 0",
    )


class FrameWords(Record, size=16):
    """The entry of a frame as two words, which the quick paths of `stock` compare and write at once."""

    head: i64 = field("type, order, pins and link of a `Frame`")
    owner: i64 = field("owner of a `Frame`, or the five last fields of a `Page`; 0: nothing leads to the frame")


ORDER_SHIFT = 8 * Frame.offset("order")  # the type is the lowest byte
PINS_SHIFT = 8 * Frame.offset("pins")


@inlined
def head_word(type: int, order: int) -> int:
    """The head of a block without pins and link."""
    return little(type | (order << ORDER_SHIFT))


@kernel
def entry_of(cpu: Cpu, region: Region, pfn: int) -> Frame:
    """A frame's core table entry, in a region that has a core table."""
    return Frame(region.entries + (pfn - region.base) * cpu.kern.stride)


@kernel
def _count_of(kern: Kern, type: int) -> Word:
    """Where the frames of a type are counted."""
    return element(Word(kern.addr + COUNTS), type)


@kernel
def set_type(cpu: Cpu, frame: Frame, type: int, order: int) -> int:
    """The transition: the block of 2 ** order frames whose head entry is `frame` becomes `type`."""
    kern = cpu.kern
    old = _count_of(kern, frame.type)
    old.bits = old.bits - (1 << order)
    new = _count_of(kern, type)
    new.bits = new.bits + (1 << order)
    frame.type = type
    frame.order = order if type != FREE else 0
    return type


@kernel
def take(cpu: Cpu, region: Region, pfn: int, order: int, type: int) -> int:
    """Give a free block to an owner."""
    bits_take(region, pfn, 1 << order)
    set_type(cpu, entry_of(cpu, region, pfn), type, order)
    return pfn


@kernel
def give(cpu: Cpu, region: Region, pfn: int) -> int:
    """Take a block from its owner: it is free again."""
    frame = entry_of(cpu, region, pfn)
    order = frame.order
    set_type(cpu, frame, FREE, order)
    frame.pins = 0
    frame.link = 0
    frame.owner = 0
    bits_give(region, pfn, 1 << order)
    kern = cpu.kern
    kern.returned = kern.returned + (1 << order)
    return OK


@kernel
def supply(cpu: Cpu, order: int) -> Region:
    """A RAM region with a free block of that order, or null: the last supplier, else the first from `Kern.ram` on."""
    kern = cpu.kern
    if kern.supply != 0:
        if find_block(kern.supply, order) != ABSENT:
            return kern.supply
    at = kern.ram
    while at != 0:
        if find_block(at, order) != ABSENT:
            kern.supply = at
            return at
        at = at.next
    return Region(0)


@kernel
def is_public(type: int) -> int:
    """1 if callers from outside may own frames as that type."""
    return 1 if type == PAGE or type == DMA else 0


@kernel
def promise_holds(cpu: Cpu, count: int) -> int:
    """1 if the bank has what it was promised when `count` more frames leave page space, or if that may be broken."""
    kern = cpu.kern
    left = kern.free_frames + kern.coming + kern.page_frames - kept_back(cpu) - count
    return 1 if kern.lenient != 0 or left >= kern.promised else 0


@kernel
def bank_lets(cpu: Cpu, type: int, count: int) -> int:
    """OK if `count` frames may become that type: pages stay the bank's, others leave page space. PROMISED."""
    return OK if type == PAGE or promise_holds(cpu, count) != 0 else PROMISED


@kernel
def block_take(cpu: Cpu, order: int, type: int) -> int:
    """2 ** order free frames from the bitmaps, aligned to their size: the first pfn. NO_FRAMES, BAD_SIZE, BAD_FRAME."""
    if is_public(type) == 0:
        return BAD_FRAME
    if order < 0 or order > MAX_ORDER:
        return BAD_SIZE
    if failed(bank_lets(cpu, type, 1 << order)):
        return PROMISED
    region = supply(cpu, order) if takeable(cpu) >= 1 << order else Region(0)
    if region == 0:
        cpu.kern.wanted = 1 if order == 0 and type == PAGE else 0
        return NO_FRAMES
    return take(cpu, region, find_block(region, order), order, type)


@kernel
def head_of(cpu: Cpu, region: Region, pfn: int) -> int:
    """The head of the block that an owned frame lies in: its pfn. NOT_ALLOCATED: it lies in none."""
    for order in range(MAX_ORDER + 1):
        head = pfn & ~((1 << order) - 1)
        if head < region.base:
            return NOT_ALLOCATED
        frame = entry_of(cpu, region, head)
        if frame.type != FREE:
            return head if head + (1 << frame.order) > pfn else NOT_ALLOCATED
    return NOT_ALLOCATED


@kernel
def frame_type(cpu: Cpu, pfn: int) -> int:
    """The type of frame `pfn`: FREE, HEAP, MAPPING, PAGE, DMA, RESERVED, or DEVICE in a published range.

    BAD_FRAME: nothing describes the frame.
    """
    region = region_of(cpu, pfn)
    if region == 0:
        return BAD_FRAME
    if region.area == 0:
        return DEVICE if region.tier != 0 else BAD_FRAME
    if bits_free(region, pfn) != 0:
        return FREE
    head = head_of(cpu, region, pfn)
    if failed(head):
        return FREE  # in a stock
    return entry_of(cpu, region, head).type


@kernel
def puttable(cpu: Cpu, region: Region, pfn: int) -> int:
    """OK if a block that callers own starts at pfn; else why it cannot be put back."""
    if region == 0:
        return BAD_FRAME
    if region.area == 0:
        return BAD_FRAME
    frame = entry_of(cpu, region, pfn)
    if frame.type == FREE:
        return NOT_ALLOCATED if frame_type(cpu, pfn) == FREE else INTERIOR
    if is_public(frame.type) == 0 or (frame.type == PAGE and Page(frame.addr).state != EMPTY):
        return BAD_FRAME
    if frame.pins != 0:
        return BUSY
    return OK


@kernel
def take_back(frame: Frame) -> int:
    """Take a block that is `puttable` from its owner: 1, and it is held in place until it is free. 0: another processor
    puts it at this moment."""
    entry = FrameWords(frame.addr)
    head = entry.head
    if head & little(255) == FREE or head & little(MOST_PINS << PINS_SHIFT) != 0:
        return 0
    return cas64(entry.addr, head, head | little(1 << PINS_SHIFT))


@kernel
def block_hold(cpu: Cpu, pfn: int, count: int) -> int:
    """Hold the block of callers that has frames [pfn, pfn + count) in place: OK.

    BAD_FRAME: there is none. BUSY: it is held 65535 times."""
    region = described(cpu, pfn)
    if region == 0:
        return BAD_FRAME
    head = head_of(cpu, region, pfn)
    if failed(head):
        return BAD_FRAME
    status = puttable(cpu, region, head)
    if failed(status) and status != BUSY:
        return BAD_FRAME
    frame = entry_of(cpu, region, head)
    if head + (1 << frame.order) < pfn + count:
        return BAD_FRAME
    pins = frame.pins
    if pins == MOST_PINS:
        return BUSY
    if pins == 0 and take_back(frame) == 0:
        return BAD_FRAME
    frame.pins = pins + 1  # what is held no other processor puts
    return OK


@kernel
def block_release(cpu: Cpu, pfn: int) -> int:
    """Let the block that has frame `pfn` go, which `block_hold` held."""
    region = region_of(cpu, pfn)
    frame = entry_of(cpu, region, head_of(cpu, region, pfn))
    frame.pins = frame.pins - 1
    return OK


@kernel
def own_run(cpu: Cpu, region: Region, pfn: int, count: int, type: int) -> int:
    """Give contiguous free frames of a region an owner, each by itself."""
    bits_take(region, pfn, count)
    for i in range(count):
        set_type(cpu, entry_of(cpu, region, pfn + i), type, 0)
    return pfn


@kernel
def take_run(cpu: Cpu, most: int, type: int) -> int:
    """Contiguous free frames, at most `most`, each owned by itself: the first pfn, their number in `Cpu.run`.

    The caller has made sure that there is a free frame."""
    region = supply(cpu, 0)
    pfn = first_free(region)
    cpu.run = run_length(region, pfn, most)
    return own_run(cpu, region, pfn, cpu.run, type)
