"""EFI's memory map: UEFI 2.10, section 7.2, GetMemoryMap, and table 7.10 for what becomes of each type.

A descriptor says how long it is only to whoever asked for the map: the caller passes that stride, which is not the
length that the specification gives it, and grows with versions.

    type | physical start | virtual start | pages of 4 KiB | attributes

Boot services are over: their memory is RAM. What the loader has is RAM that is taken, since the kernel and its modules
lie in it; memory that is not accepted yet is nothing, until the kernel accepts it and adds it (`ram_add`).
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.found import (
    MOST,
    RANGE_NVRAM,
    RANGE_RAM,
    RANGE_RESERVED,
    RANGE_SOFT,
    RANGE_TABLE,
    LoaderMap,
    begun,
    ended,
    long_at,
    note_on,
    note_table,
    note_taken,
    word_at,
)
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

LEAST = 40  # bytes of a descriptor
PAGE_SHIFT = 12
LOADER_CODE, LOADER_DATA, BOOT_CODE, BOOT_DATA, CONVENTIONAL = 1, 2, 3, 4, 7
ACPI_RECLAIM, ACPI_NVS, PERSISTENT, UNACCEPTED = 9, 10, 14, 15
SPECIAL_PURPOSE = 1 << 18  # attribute EFI_MEMORY_SP


@kernel
def _note_descriptor(map: LoaderMap, at: int, runs: int) -> int:
    """Add what one descriptor tells; where boot services run, `runs` is not 0."""
    type = word_at(map, at)
    pages = long_at(map, at + 24)
    base = long_at(map, at + 8)
    bytes = pages << PAGE_SHIFT if pages > 0 and pages <= MOST >> PAGE_SHIFT else 0
    if type == UNACCEPTED:
        return OK
    if type == LOADER_CODE or type == LOADER_DATA:
        return note_taken(map, base, bytes, RANGE_TABLE)
    if type == BOOT_CODE or type == BOOT_DATA:
        return note_on(map, base, bytes, RANGE_RAM) if runs == 0 else note_taken(map, base, bytes, RANGE_TABLE)
    if type == CONVENTIONAL:
        special = long_at(map, at + 32) & SPECIAL_PURPOSE
        return note_on(map, base, bytes, RANGE_RAM if special == 0 else RANGE_SOFT)
    kept = type == ACPI_RECLAIM or type == ACPI_NVS or type == PERSISTENT
    return note_on(map, base, bytes, RANGE_NVRAM if kept else RANGE_RESERVED)


@kernel
def note_descriptors(map: LoaderMap, pa: int, bytes: int, stride: int, runs: int) -> int:
    """Add what the descriptors of a map tell that is read already. NO_ROOM. BAD_MAP: the stride is none."""
    if stride < LEAST or bytes < 0:
        return BAD_MAP
    at = pa
    while stride <= pa + bytes - at:
        status = _note_descriptor(map, at, runs)
        if failed(status):
            return status
        at += stride
    return OK


@kernel
def _read(map: LoaderMap, pa: int, bytes: int, stride: int) -> int:
    status = note_table(map, pa, bytes)
    return status if failed(status) else note_descriptors(map, pa, bytes, stride, 0)


@entry
def ranges_efi(map: LoaderMap, pa: int, bytes: int, stride: int) -> int:
    """Add the ranges of EFI's memory map, of so many bytes at a physical address, with a descriptor every `stride`
    bytes. UNREADABLE, NO_ROOM. BAD_MAP: the stride is none, or the map tells no RAM."""
    begun(map)
    status = _read(map, pa, bytes, stride)
    return ended(map, status)
