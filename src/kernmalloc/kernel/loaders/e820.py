"""Types of memory that the BIOS call E820 numbers (ACPI 6.5, table 15.4); Multiboot, PVH and Linux have them, too."""

from __future__ import annotations

from kernmalloc.kernel.loaders.found import (
    RANGE_NVRAM,
    RANGE_RAM,
    RANGE_RESERVED,
    RANGE_SOFT,
    LoaderMap,
    long_at,
    note,
    readable,
    word_at,
)
from kernmalloc.lang import failed, kernel

KIB, LOW_END = 10, 1 << 20  # log2 of the bytes of a KiB; where high memory begins


@kernel
def e820_kind(type: int) -> int:
    """The kind of a range of a type. 12 and 0xEFFFFFFF are Linux's, for persistent memory and a special purpose."""
    if type == 1:
        return RANGE_RAM
    if type == 3 or type == 4 or type == 7 or type == 12:
        return RANGE_NVRAM
    return RANGE_SOFT if type == 0xEFFFFFFF else RANGE_RESERVED


@kernel
def note_entries(map: LoaderMap, pa: int, bytes: int, stride: int) -> int:
    """Add what so many bytes of entries tell, one every `stride` bytes: base and length of 64 bits, a type of 32. What
    is left over at the end is no entry. UNREADABLE, BAD_MAP, NO_ROOM."""
    status = readable(map, pa, bytes)
    end = pa + bytes
    at = pa
    while not failed(status) and stride <= end - at:
        status = note(map, long_at(map, at), long_at(map, at + 8), e820_kind(word_at(map, at + 16)))
        at += stride
    return status


@kernel
def note_sizes(map: LoaderMap, low: int, high: int) -> int:
    """Add RAM of which only sizes are told, in KiB: from address 0 up to 640 KiB at most, and from 1 MiB on.
    NO_ROOM."""
    status = note(map, 0, min(low, 640) << KIB, RANGE_RAM)
    return status if failed(status) else note(map, LOW_END, high << KIB, RANGE_RAM)
