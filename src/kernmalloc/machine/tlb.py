"""The TLBs of one processor, entry by entry: who is found, who is replaced, and what that counts.

Concepts
  1. A `Core` has the TLBs of a processor (`arch/processors.py`), each a `Tlb` with its slots. An access looks in those
     of level 1, then in those of level 2, and is walked for if it misses both. What is found or walked for is loaded
     into the levels above.
  2. Time is the number of accesses and of locked entries. A slot notes when it was loaded and when it was last used;
     from that alone follows who is replaced, so that a hit is one store. A tree of most-recently-used bits says, at
     each node, which half was used last: that is the half with the later stamp.
  3. A slot of a page larger than a TLB's entries holds the piece of it that was accessed.
  4. A locked slot is never replaced, and its use says nothing about the others (MCF5475RM, 5.6.2).
  5. An address space is named by its root table; GLOBAL slots are of every one. Where a processor cannot tell address
     spaces apart, a change of the address space drops what is not global, or all.
  6. A `Shortcut` remembers in which slot a page was found. It holds as long as the slot's serial number does. So a hit
     takes one look, in a fully associative TLB, too. It counts its hits, and settles them when another takes its place.
  7. Where somebody asks, each access to data is noted, too, for what TLBs of other sizes would miss (`distances`). Then
     there are no shortcuts, and a hit is no slower where nobody asks.

Page numbers are of the page tables' smallest pages and of the target's addresses. Host-level code: its accesses are to
the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, array, clz, ctz, element, field, i64, inline, kernel, shl, shr, u8, u32
from kernmalloc.machine.distances import Distances, distance_noted, distances_cleared, distances_dropped
from kernmalloc.machine.walker import MAY_WRITE, USER, USERS_SHIFT, Hardware, Walked

NONE = 1 << 62  # no page
GLOBAL = 0
READABLE = 1
WRITABLE = 3  # and read
ALL_LOCKED = -1

# kinds, a bit each
DATA = 1
INSTRUCTION = 2

# replacement
LRU = 0
PSEUDO_LRU = 1
RANDOM = 2
ROUND_ROBIN = 3  # the slot that was loaded first

# what is accessed
HEAP = 0
CORE_TABLE = 1
MAPPING = 2
WINDOWS = 3
TEXT = 4
STACK = 5
OTHER = 6
PROCESSES = 7
UNCOUNTED = 8  # with paging off, and in a direct map
STRUCTURES = 9

TLBS = 8  # of a processor, at most
SHORTCUTS = 512


class Slot(Record, size=64):
    """One entry of a TLB."""

    page: i64 = field("number of its first page; NONE: it is empty")
    space: i64 = field("root table of its address space, or GLOBAL")
    pa: i64 = field("physical address of its first page")
    stamp: i64 = field("when it was last used")
    loaded: i64 = field("when it was loaded")
    serial: i64 = field("how often it has held something else")
    size: u8 = field("log2 of its pages")
    rights: u8 = field("READABLE; WRITABLE: it can be written to without another walk")
    what: u8 = field("what the access was for that loaded it")
    locked: u8 = field("1: never replaced")


class Tlb(Record):
    """One TLB: `sets` times `ways` slots, set by set."""

    slots: Slot = field("the first")
    sets: i64 = field("a power of two")
    ways: i64 = field("slots of a set")
    sizes: i64 = field("log2 of the pages that a slot can have, a bit for each")
    splits: u8 = field("1: a page of another size is held in pieces; 0: it is not held")
    level: u8 = field("1 or 2")
    kinds: u8 = field("DATA, INSTRUCTION or both")
    replacement: u8 = field("who is replaced")


class Traffic(Record):
    """What was counted of one structure."""

    accesses: i64 = field("accesses that are no shortcut's hits, and those that have been settled")
    misses: i64 = field("of them, those that no TLB of level 1 had")
    walks: i64 = field("of them, those that no TLB had")


class Shortcut(Record, size=64):
    """Where a page was found, by the low bits of its tag."""

    read: i64 = field("tag of the page; NONE: no page")
    write: i64 = field("tag of the page, if it can be written to; else NONE")
    delta: i64 = field("host address minus VA")
    slot: Slot = field("where it was found")
    serial: i64 = field("the slot's number then")
    hits: i64 = field("that are not settled")
    what: i64 = field("what they are counted as")
    space: i64 = field("root table of its address space, or GLOBAL")


class Core(Record):
    """One processor."""

    clock: i64 = field("time")
    operations: i64 = field("calls of the kernel")
    space: i64 = field("root table of the process that ran last; GLOBAL: none has")
    tlb_count: i64 = field("its TLBs")
    drops: u8 = field("1: a change of the address space drops what is not global")
    drops_all: u8 = field("1: it drops the kernel's, too")
    quiet: u8 = field("1: nothing happened to instruction TLBs since the text was last touched, and hit")
    random: i64 = field("state of random replacement, not 0")
    distances: Distances = field("what TLBs of other sizes would miss; null: nobody asks")
    notes: Noted = field("where the soft machine notes which processor runs; null: nobody asks")
    hardware: Hardware = inline("how it walks tables, but that such a walk marks nothing")
    marks: u8 = field("1: what it uses is marked as used, by the processor or by whoever loads its TLB")
    walked: Walked = inline("where the last walk led")
    busy: u32 = field("1: a processor that runs a process is inside its TLBs")
    always: Slot = array(1, "the slot of what needs no translation")
    tlbs: Tlb = array(TLBS, "its TLBs")
    traffic: Traffic = array(STRUCTURES, "what was counted")
    shortcuts: Shortcut = array(SHORTCUTS, "by the low bits of the tag", align=64)


class Noted(Record):
    """A reference to a processor."""

    core: Core = field("the processor that runs")


@kernel
def shortcut_of(core: Core, tag: int) -> Shortcut:
    """Where it would be remembered where a page was found."""
    return element(core.shortcuts, tag & (SHORTCUTS - 1))


@kernel
def settle(core: Core, shortcut: Shortcut) -> int:
    """Count a shortcut's hits."""
    traffic = element(core.traffic, shortcut.what)
    traffic.accesses = traffic.accesses + shortcut.hits
    shortcut.hits = 0
    return 0


@kernel
def settle_all(core: Core) -> int:
    """Count the hits of all shortcuts, and forget where pages were found."""
    for i in range(SHORTCUTS):
        shortcut = element(core.shortcuts, i)
        settle(core, shortcut)
        shortcut.read = NONE
        shortcut.write = NONE
    return 0


@kernel
def remember(core: Core, tag: int, slot: Slot, space: int, what: int, delta: int) -> int:
    """Make a shortcut to a slot that an access found. If somebody asks for distances, note the access instead: a slot
    that is locked takes no part in replacement."""
    if core.distances != 0 and what != UNCOUNTED:
        if slot.locked == 0:
            distance_noted(core.distances, what, slot.space, slot.page, slot.size)
        return 0
    shortcut = shortcut_of(core, tag)
    settle(core, shortcut)
    shortcut.read = tag
    shortcut.write = tag if slot.rights == WRITABLE else NONE
    shortcut.delta = delta
    shortcut.slot = slot
    shortcut.serial = slot.serial
    shortcut.what = what
    shortcut.space = space
    return 0


@kernel
def _set_of(tlb: Tlb, page: int, size: int) -> Slot:
    """The first slot of the set that a page of that size goes to."""
    return element(tlb.slots, ((page >> size) & (tlb.sets - 1)) * tlb.ways)


@kernel
def _in_set(tlb: Tlb, space: int, page: int, size: int) -> Slot:
    """The slot that translates a page, in the set where it is if its page has that size; null: there is none."""
    first = _set_of(tlb, page, size)
    for way in range(tlb.ways):
        slot = element(first, way)
        if (page >> slot.size) << slot.size == slot.page and slot.space == space:
            return slot
    return Slot(0)


@kernel
def _other_sizes(tlb: Tlb, sizes: int) -> int:
    """The sizes that are left to be looked for: one look in a fully associative TLB sees slots of all."""
    return sizes & (sizes - 1) if tlb.sets > 1 else 0


@kernel
def _find(core: Core, level: int, kind: int, space: int, page: int) -> Slot:
    """The slot of a level that translates a page; null: there is none."""
    for i in range(core.tlb_count):
        tlb = element(core.tlbs, i)
        if tlb.level == level and tlb.kinds & kind != 0:
            sizes = tlb.sizes
            while sizes != 0:
                slot = _in_set(tlb, space, page, ctz(sizes))
                if slot != 0:
                    return slot
                sizes = _other_sizes(tlb, sizes)
    return Slot(0)


@kernel
def _piece(tlb: Tlb, size: int) -> int:
    """log2 of the pages of a slot that takes a page of that size, or of a piece of it; negative: no slot does."""
    fitting = tlb.sizes & (shl(2, size) - 1)
    piece = 63 - clz(fitting) if fitting != 0 else -1
    return piece if tlb.splits != 0 or piece == size else -1


@kernel
def _tlb_for(core: Core, level: int, kind: int, size: int) -> Tlb:
    """The TLB of a level that takes a page of that size in the largest pieces; null: none does."""
    best = Tlb(0)
    for i in range(core.tlb_count):
        tlb = element(core.tlbs, i)
        if tlb.level == level and tlb.kinds & kind != 0:
            piece = _piece(tlb, size)
            if piece >= 0 and (best == 0 or piece > _piece(best, size)):
                best = tlb
    return best


@kernel
def _latest(first: Slot, count: int) -> int:
    """When one of these slots was last used; ALL_LOCKED: none of them can be replaced."""
    latest = ALL_LOCKED
    open = 0
    for i in range(count):
        slot = element(first, i)
        used = slot.loaded if slot.locked != 0 else slot.stamp
        latest = max(latest, used)
        open = open + 1 - slot.locked
    return latest if open > 0 else ALL_LOCKED


@kernel
def _pseudo_lru(first: Slot, ways: int) -> Slot:
    """Go down the tree to the half that was not used last. The left half of a node is the largest power of two of slots
    that leaves something for the right one."""
    left = first
    count = ways
    while count > 1:
        half = shl(1, 63 - clz(count - 1))
        right = element(left, half)
        used_left = _latest(left, half)
        used_right = _latest(right, count - half)
        if used_left == ALL_LOCKED or (used_right != ALL_LOCKED and used_right <= used_left):
            left = right
            count = count - half
        else:
            count = half
    return left


@kernel
def _oldest(first: Slot, ways: int, replacement: int) -> Slot:
    """The slot that was used, or loaded, first."""
    oldest = Slot(0)
    time = NONE
    for way in range(ways):
        slot = element(first, way)
        at = slot.stamp if replacement == LRU else slot.loaded
        if slot.locked == 0 and at < time:
            time = at
            oldest = slot
    return oldest


@kernel
def _random(core: Core, first: Slot, ways: int) -> Slot:
    """Any, or the next one that can be replaced."""
    x = core.random
    x = x ^ shl(x, 13)
    x = x ^ shr(x, 7)
    x = x ^ shl(x, 17)
    core.random = x
    way = (shr(x, 33) * ways) >> 31
    while element(first, way).locked != 0:
        way = way + 1 if way + 1 < ways else 0
    return element(first, way)


@kernel
def _replaced(core: Core, tlb: Tlb, first: Slot) -> Slot:
    """The slot of a set that takes a translation: the lowest empty one, else as the processor replaces."""
    for way in range(tlb.ways):
        slot = element(first, way)
        if slot.page == NONE:
            return slot
    if tlb.replacement == PSEUDO_LRU:
        return _pseudo_lru(first, tlb.ways)
    if tlb.replacement == RANDOM:
        return _random(core, first, tlb.ways)
    return _oldest(first, tlb.ways, tlb.replacement)


@kernel
def _put(
    core: Core,
    page_shift: int,
    level: int,
    kind: int,
    space: int,
    page: int,
    pa: int,
    size: int,
    rights: int,
    what: int,
) -> Slot:
    """Load a translation of `page`, which lies at pa in a page of that size, into a level: the slot; null: it takes no
    such page."""
    tlb = _tlb_for(core, level, kind, size)
    if tlb == 0:
        return Slot(0)
    piece = _piece(tlb, size)
    slot = _replaced(core, tlb, _set_of(tlb, page, piece))
    slot.page = (page >> piece) << piece
    slot.space = space
    slot.pa = pa - ((page - slot.page) << page_shift)
    slot.stamp = core.clock
    slot.loaded = core.clock
    slot.serial = slot.serial + 1
    slot.size = piece
    slot.rights = rights
    slot.what = what
    if kind & INSTRUCTION != 0:
        core.quiet = 0
    return slot


@kernel
def _empty(slot: Slot) -> int:
    """Drop what a slot holds."""
    slot.page = NONE
    if slot.locked != 0:
        slot.locked = 0
        slot.stamp = slot.loaded
    slot.serial = slot.serial + 1
    return 0


@kernel
def tlb_find(core: Core, page_shift: int, kind: int, space: int, page: int, rights: int, what: int) -> Slot:
    """Access a page, and count that: the slot of level 1 that translates it. Null: no TLB has it, or not with these
    rights, and it is to be walked for and loaded."""
    core.clock = core.clock + 1
    traffic = element(core.traffic, what)
    traffic.accesses = traffic.accesses + 1
    slot = _find(core, 1, kind, space, page)
    if slot != 0 and slot.rights >= rights:
        slot.stamp = core.clock
        return slot
    if slot != 0:
        _empty(slot)
    traffic.misses = traffic.misses + 1
    slot = _find(core, 2, kind, space, page)
    if slot != 0 and slot.rights >= rights:
        slot.stamp = core.clock
        pa = slot.pa + ((page - slot.page) << page_shift)
        return _put(core, page_shift, 1, kind, space, page, pa, slot.size, slot.rights, what)
    if slot != 0:
        _empty(slot)
    traffic.walks = traffic.walks + 1
    return Slot(0)


@kernel
def tlb_rights(core: Core, access: int) -> int:
    """What a slot lets do that is loaded with what the last walk found, for this access."""
    found = core.walked
    rights = found.rights >> USERS_SHIFT if access & USER != 0 else found.rights
    return WRITABLE if rights & MAY_WRITE != 0 and found.entry & found.dirty == found.dirty else READABLE


@kernel
def tlb_load(
    core: Core, page_shift: int, kind: int, space: int, page: int, pa: int, size: int, rights: int, what: int
) -> Slot:
    """Load what a walk found, `page` at pa in a page of 2 ** size pages, into both levels: the slot of level 1."""
    _put(core, page_shift, 2, kind, space, page, pa, size, rights, what)
    return _put(core, page_shift, 1, kind, space, page, pa, size, rights, what)


@kernel
def _drop_from(tlb: Tlb, space: int, first: int, pages: int) -> int:
    """Empty the slots of a TLB that translate any of these pages."""
    sizes = tlb.sizes
    while sizes != 0:
        size = ctz(sizes)
        units = ((first + pages - 1) >> size) - (first >> size) + 1
        for i in range(min(units, tlb.sets)):
            slots = _set_of(tlb, first + shl(i, size), size)
            for way in range(tlb.ways):
                slot = element(slots, way)
                if slot.space == space and slot.page < first + pages and slot.page + shl(1, slot.size) > first:
                    _empty(slot)
        sizes = _other_sizes(tlb, sizes)
    return 0


@kernel
def tlb_drop(core: Core, space: int, first: int, pages: int) -> int:
    """Forget these pages of an address space, or of the kernel."""
    core.quiet = 0
    if core.distances != 0:
        distances_dropped(core.distances, space, first, pages)
    for i in range(core.tlb_count):
        _drop_from(element(core.tlbs, i), space, first, pages)
    return 0


@kernel
def tlb_clear(core: Core, spared: int) -> int:
    """Forget everything but slots that are GLOBAL, if `spared` is GLOBAL, and those that are locked; else all."""
    core.quiet = 0
    if core.distances != 0:
        distances_cleared(core.distances, GLOBAL if spared == GLOBAL else NONE)
    for i in range(core.tlb_count):
        tlb = element(core.tlbs, i)
        for number in range(tlb.sets * tlb.ways):
            slot = element(tlb.slots, number)
            if slot.page != NONE and slot.locked == 0 and (slot.space != GLOBAL or spared != GLOBAL):
                _empty(slot)
    return 0


@kernel
def tlb_enter(core: Core, space: int) -> int:
    """The processor runs a process of that address space now."""
    if core.space != space:
        core.space = space
        if core.drops != 0:
            tlb_clear(core, NONE if core.drops_all != 0 else GLOBAL)
    return 0


@kernel
def tlb_lock(core: Core, page_shift: int, page: int, pa: int, size: int) -> int:
    """Lock a translation of the kernel into level 1 for data: 1; 0: no set has room for it beside one that is not
    locked."""
    core.clock = core.clock + 1
    slot = _find(core, 1, DATA, GLOBAL, page)
    if slot == 0:
        slot = _put(core, page_shift, 1, DATA, GLOBAL, page, pa, size, WRITABLE, HEAP)
    if slot == 0:
        return 0
    tlb = _tlb_for(core, 1, DATA, size)
    first = _set_of(tlb, page, slot.size)
    open = 0
    for way in range(tlb.ways):
        open = open + 1 - element(first, way).locked
    if open <= 1:
        return 0
    slot.locked = 1
    slot.loaded = core.clock
    return 1
