"""The PVH entry of Xen and QEMU: `struct hvm_start_info` that %ebx leads to (xen/include/public/arch-x86/hvm/
start_info.h), from version 1 on.

    magic, version, flags, modules (32 bits each) | module list, command line, RSDP, memory map (64 each) | map entries

Taken are the structure, the lists, strings and modules.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.e820 import note_entries
from kernmalloc.kernel.loaders.found import (
    RANGE_INITRD,
    RANGE_TABLE,
    LoaderMap,
    begun,
    ended,
    long_at,
    note,
    note_table,
    note_text,
    readable,
    word_at,
)
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

MAGIC = 0x336EC578
INFO, MODULE, ENTRY = 56, 32, 24  # bytes


@kernel
def _note_modules(map: LoaderMap, pa: int, count: int) -> int:
    """The modules, the list of them and their strings."""
    status = note_table(map, pa, count * MODULE)
    if failed(status):
        return status
    for i in range(count):
        at = pa + i * MODULE
        status = note(map, long_at(map, at), long_at(map, at + 8), RANGE_INITRD)
        if failed(status):
            return status
        status = note_text(map, long_at(map, at + 16))
        if failed(status):
            return status
    return OK


@kernel
def _read(map: LoaderMap, pa: int) -> int:
    status = readable(map, pa, INFO)
    if failed(status):
        return status
    if word_at(map, pa) != MAGIC or word_at(map, pa + 4) == 0:
        return BAD_MAP
    entries = long_at(map, pa + 40)
    bytes = word_at(map, pa + 48) * ENTRY
    status = note(map, pa, INFO, RANGE_TABLE)
    if not failed(status):
        status = note_table(map, entries, bytes)
    if not failed(status):
        status = note_entries(map, entries, bytes, ENTRY)
    if not failed(status):
        status = note_text(map, long_at(map, pa + 24))
    if failed(status) or word_at(map, pa + 12) == 0:
        return status
    return _note_modules(map, long_at(map, pa + 16), word_at(map, pa + 12))


@entry
def ranges_pvh(map: LoaderMap, pa: int) -> int:
    """Add the ranges of PVH's start information at a physical address. UNREADABLE, NO_ROOM. BAD_MAP: it is none, is of
    version 0, which has no map, or tells no RAM."""
    begun(map)
    status = _read(map, pa)
    return ended(map, status)
