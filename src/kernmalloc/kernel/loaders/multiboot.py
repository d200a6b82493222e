"""Multiboot 0.6.96, section 3.3: the information that %ebx leads to where %eax is 0x2BADB002.

    flags | mem_lower mem_upper | boot_device | cmdline | mods_count mods_addr | symbols × 4
    | mmap_length mmap_addr | drives_length drives_addr | config_table | boot_loader_name | ...

A bit of `flags` says whether a field is there. All fields have 32 bits and all addresses are physical. Taken are the
information and all that it leads to: the map, strings, modules, symbols, sections that the loader put somewhere,
drives.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.e820 import e820_kind, note_sizes
from kernmalloc.kernel.loaders.found import (
    RANGE_INITRD,
    LoaderMap,
    begun,
    ended,
    long_at,
    note,
    note_end,
    note_table,
    note_text,
    word_at,
)
from kernmalloc.kernel.loaders.sections import note_sections
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

INFO = 116  # bytes of the information
SIZES, COMMAND, MODULES, SYMBOLS, SECTIONS, MAP, DRIVES, NAME = (
    1 << 0,
    1 << 2,
    1 << 3,
    1 << 4,
    1 << 5,
    1 << 6,
    1 << 7,
    1 << 9,
)
ENTRY = 20  # bytes of an entry of the map, behind its own length
MODULE = 16  # bytes of a module's


@kernel
def _note_map(map: LoaderMap, pa: int, bytes: int) -> int:
    """The memory map: entries that each say how long they are."""
    status = note_table(map, pa, bytes)
    if failed(status):
        return status
    end = pa + bytes
    at = pa
    while at < end:
        if at + 4 + ENTRY > end:
            return BAD_MAP
        length = word_at(map, at)
        if length < ENTRY:
            return BAD_MAP
        at += 4
        status = note(map, long_at(map, at), long_at(map, at + 8), e820_kind(word_at(map, at + 16)))
        if failed(status):
            return status
        at += length
    return OK


@kernel
def _note_modules(map: LoaderMap, pa: int, count: int) -> int:
    """The modules, and the list of them."""
    status = note_table(map, pa, count * MODULE)
    if failed(status):
        return status
    for i in range(count):
        at = pa + i * MODULE
        status = note_end(map, word_at(map, at), word_at(map, at + 4), RANGE_INITRD)
        if failed(status):
            return status
        status = note_text(map, word_at(map, at + 8))
        if failed(status):
            return status
    return OK


@kernel
def _note_symbols(map: LoaderMap, pa: int, flags: int) -> int:
    """A symbol table with its strings, or sections."""
    if flags & SECTIONS:
        return note_sections(map, word_at(map, pa + 36), word_at(map, pa + 28), word_at(map, pa + 32))
    if flags & SYMBOLS:
        return note_table(map, word_at(map, pa + 36), word_at(map, pa + 28) + word_at(map, pa + 32) + 8)
    return OK


@kernel
def _note_rest(map: LoaderMap, pa: int, flags: int) -> int:
    """Strings and drives."""
    if flags & COMMAND:
        status = note_text(map, word_at(map, pa + 16))
        if failed(status):
            return status
    if flags & NAME:
        status = note_text(map, word_at(map, pa + 64))
        if failed(status):
            return status
    return note_table(map, word_at(map, pa + 56), word_at(map, pa + 52)) if flags & DRIVES else OK


@kernel
def _read(map: LoaderMap, pa: int) -> int:
    status = note_table(map, pa, INFO)
    if failed(status):
        return status
    flags = word_at(map, pa)
    if flags & MAP:
        status = _note_map(map, word_at(map, pa + 48), word_at(map, pa + 44))
    elif flags & SIZES:
        status = note_sizes(map, word_at(map, pa + 4), word_at(map, pa + 8))
    else:
        return BAD_MAP
    if flags & MODULES and not failed(status):
        status = _note_modules(map, word_at(map, pa + 24), word_at(map, pa + 20))
    if not failed(status):
        status = _note_symbols(map, pa, flags)
    return status if failed(status) else _note_rest(map, pa, flags)


@entry
def ranges_multiboot(map: LoaderMap, pa: int) -> int:
    """Add the ranges of Multiboot's information at a physical address. UNREADABLE, NO_ROOM. BAD_MAP: it is damaged, or
    tells no RAM."""
    begun(map)
    status = _read(map, pa)
    return ended(map, status)
