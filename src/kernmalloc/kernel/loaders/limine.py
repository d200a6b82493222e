"""The Limine boot protocol's memory map: what the response to LIMINE_MEMMAP_REQUEST leads to (PROTOCOL.md, "Memory Map
Feature").

    response   revision, entry_count, entries        each of 64 bits
    entries    a pointer to each entry: base, length, type

Pointers are virtual, of the higher half direct map: `direct` of the map is the offset that Limine tells. The kernel and
its modules are RAM that is taken, and so is what the loader gives back: the page tables, stack and responses that the
kernel starts with lie there.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.found import (
    MOST_READ,
    RANGE_IMAGE,
    RANGE_NVRAM,
    RANGE_RAM,
    RANGE_RESERVED,
    RANGE_TABLE,
    LoaderMap,
    begun,
    ended,
    long_at,
    note_on,
    note_taken,
    physical,
    readable,
)
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

POINTER, RESPONSE, ENTRY = 8, 24, 24  # bytes
USABLE, ACPI_RECLAIM, ACPI_NVS, LOADER, EXECUTABLE = 0, 2, 3, 5, 6  # types


@kernel
def _note_entry(map: LoaderMap, at: int) -> int:
    """Add what one entry tells."""
    base = long_at(map, at)
    bytes = long_at(map, at + 8)
    type = long_at(map, at + 16)
    if type == LOADER:
        return note_taken(map, base, bytes, RANGE_TABLE)
    if type == EXECUTABLE:
        return note_taken(map, base, bytes, RANGE_IMAGE)
    if type == USABLE:
        return note_on(map, base, bytes, RANGE_RAM)
    return note_on(map, base, bytes, RANGE_NVRAM if type == ACPI_RECLAIM or type == ACPI_NVS else RANGE_RESERVED)


@kernel
def _read(map: LoaderMap, va: int) -> int:
    pa = physical(map, va)
    status = readable(map, pa, RESPONSE)
    if failed(status):
        return status
    count = long_at(map, pa + 8)
    if count < 0 or count > MOST_READ // POINTER:
        return BAD_MAP
    pointers = physical(map, long_at(map, pa + 16))
    status = readable(map, pointers, count * POINTER)
    for i in range(count if status == OK else 0):
        at = physical(map, long_at(map, pointers + i * POINTER))
        status = readable(map, at, ENTRY)
        if not failed(status):
            status = _note_entry(map, at)
        if failed(status):
            return status
    return status


@entry
def ranges_limine(map: LoaderMap, va: int) -> int:
    """Add the ranges of the response at a virtual address. UNREADABLE, NO_ROOM. BAD_MAP: it is none, or tells no
    RAM."""
    begun(map)
    status = _read(map, va)
    return ended(map, status)
