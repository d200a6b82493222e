"""Found ranges: what a loader's memory map says, in bytes, and how what it hands over is read.

Concepts
  1. The caller says in a `LoaderMap` where physical memory can be read, and where ranges are to be put. Each protocol
     has one entry, `ranges_<protocol>`, which adds the ranges that it finds; `ranges_add` adds one that the caller
     knows, such as the kernel's image. `ranges_frames` (boot/ranges.py) makes of all together what the kernel boots
     with. Nothing here knows of frames, and nothing needs a kernel.
  2. A kind below RANGE_FIRMWARE says what memory is; where such ranges overlap the later kind of the list wins. The
     other kinds say who has RAM already when the kernel starts. They make no RAM where there is none.
  3. What is RANGE_TABLE is needed no longer than the loader's structures are, what is RANGE_INITRD no longer than the
     modules in it: `ram_add` takes both when the kernel has left them behind.
  4. An entry adds all or nothing. It refuses what is no structure of its protocol, what lies where nothing can be read,
     and a map that tells no RAM. A range that cannot be, empty or reaching to 2^63, is counted and dropped.
  5. Memory is read byte by byte: the structures are packed, and begin anywhere. A processor of either order reads them.

Time: linear in what is read, which is at most MOST_READ bytes for each table. No reading goes on forever, whatever the
memory holds.
"""

from __future__ import annotations

from kernmalloc.lang import Record, element, entry, failed, field, i64, kernel, shl, u8
from kernmalloc.lang.status import BAD_MAP, NO_ROOM, OK, UNREADABLE

RANGE_RAM = 1
RANGE_SOFT = 2  # for a special purpose, such as an accelerator's
RANGE_RESERVED = 3
RANGE_NVRAM = 4  # contents that belong to somebody: ACPI tables, persistent memory
RANGE_ROM = 5
RANGE_FIRMWARE = 8  # from here on, who has RAM: a device tree's reserved memory
RANGE_TABLE = 9  # what the loader has made or used: its structures, its own memory
RANGE_INITRD = 10  # modules, the initial ramdisk
RANGE_IMAGE = 11  # the kernel's image

MOST = (1 << 63) - 1
MOST_READ = 2 << 20  # bytes of a table; Linux takes no larger device tree, either
MOST_TEXT = 4096  # bytes of a string


class Octet(Record):
    """A byte."""

    value: u8 = field("what it is")


class LoaderRange(Record):
    """A range of physical addresses that a loader tells of."""

    base: i64 = field("first address")
    bytes: i64 = field("length")
    kind: i64 = field("what it is: RANGE_RAM, ...")


class LoaderMap(Record):
    """Where what a loader hands over can be read, and the ranges that were found in it."""

    direct: i64 = field("VA of physical address 0, where memory can be read")
    reach: i64 = field("first physical address that cannot be read there")
    ranges: LoaderRange = field("where ranges are put")
    room: i64 = field("ranges for which there is room")
    count: i64 = field("ranges there are")
    before: i64 = field("ranges there were before the call that adds some")
    dropped: i64 = field("ranges that cannot be, which were left out")


@kernel
def note(map: LoaderMap, base: int, bytes: int, kind: int) -> int:
    """Add a range: OK, also where it cannot be and is dropped. NO_ROOM."""
    if base < 0 or bytes <= 0 or bytes > MOST - base:
        map.dropped = map.dropped + 1
        return OK
    if map.count >= map.room:
        return NO_ROOM
    new = element(map.ranges, map.count)
    new.base = base
    new.bytes = bytes
    new.kind = kind
    map.count = map.count + 1
    return OK


@kernel
def note_end(map: LoaderMap, base: int, end: int, kind: int) -> int:
    """Note a range of which the first address behind it is told."""
    return note(map, base, end - base if base >= 0 and end >= 0 else 0, kind)


@kernel
def note_on(map: LoaderMap, base: int, bytes: int, kind: int) -> int:
    """Note a range, or lengthen one of the last two of this call that it touches: for maps of many entries."""
    for i in range(max(map.count - 2, map.before), map.count):
        last = element(map.ranges, i)
        if last.kind == kind and last.base + last.bytes == base and bytes > 0 and bytes <= MOST - base:
            last.bytes = last.bytes + bytes
            return OK
    return note(map, base, bytes, kind)


@kernel
def note_taken(map: LoaderMap, base: int, bytes: int, kind: int) -> int:
    """Add RAM that somebody has already: one range that says it is RAM, and one that says who has it. Both may
    go on."""
    status = note_on(map, base, bytes, RANGE_RAM)
    return status if failed(status) else note_on(map, base, bytes, kind)


@entry
def ranges_add(map: LoaderMap, base: int, bytes: int, kind: int) -> int:
    """Add a range that the caller knows: its own image, modules, memory that firmware keeps. NO_ROOM. BAD_MAP: no such
    kind, or no such range."""
    known = (kind >= RANGE_RAM and kind <= RANGE_ROM) or (kind >= RANGE_FIRMWARE and kind <= RANGE_IMAGE)
    if not known or base < 0 or bytes <= 0 or bytes > MOST - base:
        return BAD_MAP
    return note(map, base, bytes, kind)


@kernel
def begun(map: LoaderMap) -> int:
    """How reading begins: the ranges that there are stay as they are."""
    map.before = map.count
    return OK


@kernel
def ended(map: LoaderMap, status: int) -> int:
    """How reading ends of which `status` came: with RAM, or as if it had not been."""
    i = map.before
    while i < map.count:
        if element(map.ranges, i).kind == RANGE_RAM and not failed(status):
            return OK
        i += 1
    map.count = map.before
    return status if failed(status) else BAD_MAP


@kernel
def readable(map: LoaderMap, pa: int, bytes: int) -> int:
    """OK if so many bytes can be read at a physical address, else UNREADABLE; BAD_MAP: no table is so long."""
    if bytes < 0 or bytes > MOST_READ:
        return BAD_MAP
    return OK if pa >= 0 and pa <= map.reach - bytes else UNREADABLE


@kernel
def byte_at(map: LoaderMap, pa: int) -> int:
    """The byte at a physical address. The caller knows that it can be read."""
    return Octet(map.direct + pa).value


@kernel
def half_at(map: LoaderMap, pa: int) -> int:
    """The number of 16 bits there, least byte first."""
    return byte_at(map, pa) | byte_at(map, pa + 1) << 8


@kernel
def word_at(map: LoaderMap, pa: int) -> int:
    """The number of 32 bits there."""
    return half_at(map, pa) | half_at(map, pa + 2) << 16


@kernel
def long_at(map: LoaderMap, pa: int) -> int:
    """The number of 64 bits there; one from 2^63 on is negative, and thereby no address of a range."""
    return word_at(map, pa) | shl(word_at(map, pa + 4), 32)


@kernel
def physical(map: LoaderMap, va: int) -> int:
    """The physical address of a virtual one where memory can be read; -1 if it is none there."""
    if (va < 0) != (map.direct < 0):
        return -1
    return va - map.direct


@kernel
def note_text(map: LoaderMap, pa: int) -> int:
    """Add a string of the loader's, with the 0 at its end; address 0 is none. UNREADABLE, NO_ROOM. BAD_MAP: it does not
    end."""
    if pa == 0:
        return OK
    for i in range(MOST_TEXT):
        status = readable(map, pa, i + 1)
        if failed(status):
            return status
        if byte_at(map, pa + i) == 0:
            return note(map, pa, i + 1, RANGE_TABLE)
    return BAD_MAP


@kernel
def note_table(map: LoaderMap, pa: int, bytes: int) -> int:
    """Add a table of the loader's that is going to be read. UNREADABLE, BAD_MAP, NO_ROOM."""
    status = readable(map, pa, bytes)
    return status if failed(status) or bytes == 0 else note(map, pa, bytes, RANGE_TABLE)
