"""Multiboot2 2.0, section 3.6: the information that %ebx leads to where %eax is 0x36D76289.

    total_size, reserved | tags, each at a multiple of 8: type, size, ... | a tag of type 0

Taken are the information, modules and sections that the loader put somewhere. Where there is no map of the BIOS' kind,
that of EFI is read; sizes alone are for want of both. While EFI's boot services run, the memory that they have is
theirs.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.e820 import note_entries, note_sizes
from kernmalloc.kernel.loaders.efi import note_descriptors
from kernmalloc.kernel.loaders.found import (
    RANGE_INITRD,
    LoaderMap,
    begun,
    ended,
    note_end,
    note_table,
    readable,
    word_at,
)
from kernmalloc.kernel.loaders.sections import HEADER_32, HEADER_64, note_sections_in
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

END, MODULE, SIZES, MAP, SECTIONS, EFI_MAP, EFI_RUNS = 0, 3, 4, 6, 9, 17, 18  # types of tags
NONE = -1
HEAD = 8  # bytes of type and size, and of what stands before the first tag
ENTRY = 24  # bytes of an entry of the map at least


@kernel
def _tag(map: LoaderMap, pa: int, type: int) -> int:
    """Where the first tag of a type is; 0 if there is none, as of NONE. BAD_MAP: tags reach beyond the end, or never
    end."""
    end = pa + word_at(map, pa)
    at = pa + HEAD
    while at + HEAD <= end:
        found = word_at(map, at)
        bytes = word_at(map, at + 4)
        if bytes < HEAD or bytes > end - at:
            return BAD_MAP
        if found == type:
            return at
        if found == END:
            return 0
        at += (bytes + 7) & -8
    return BAD_MAP


@kernel
def _note_map(map: LoaderMap, tag: int) -> int:
    """The entries of a map of the BIOS' kind."""
    bytes = word_at(map, tag + 4)
    if bytes < 16:
        return BAD_MAP
    stride = word_at(map, tag + 8)
    if stride < ENTRY:
        return BAD_MAP
    return note_entries(map, tag + 16, bytes - 16, stride)


@kernel
def _note_efi(map: LoaderMap, tag: int, runs: int) -> int:
    """The descriptors of EFI's map."""
    bytes = word_at(map, tag + 4)
    if bytes < 16:
        return BAD_MAP
    return note_descriptors(map, tag + 16, bytes - 16, word_at(map, tag + 8), runs)


@kernel
def _note_ram(map: LoaderMap, pa: int) -> int:
    """RAM, by the best map that there is."""
    tag = _tag(map, pa, MAP)
    if tag != 0:
        return _note_map(map, tag)
    tag = _tag(map, pa, EFI_MAP)
    if tag != 0:
        return _note_efi(map, tag, _tag(map, pa, EFI_RUNS))
    tag = _tag(map, pa, SIZES)
    if tag == 0 or word_at(map, tag + 4) < 16:
        return BAD_MAP
    return note_sizes(map, word_at(map, tag + 8), word_at(map, tag + 12))


@kernel
def _note_tag(map: LoaderMap, tag: int) -> int:
    """What a tag says of RAM that is taken."""
    type = word_at(map, tag)
    bytes = word_at(map, tag + 4)
    if type == MODULE:
        if bytes < 16:
            return BAD_MAP
        return note_end(map, word_at(map, tag + 8), word_at(map, tag + 12), RANGE_INITRD)
    if type == SECTIONS:
        if bytes < 20:
            return BAD_MAP
        count = word_at(map, tag + 8)
        stride = word_at(map, tag + 12)
        if stride != HEADER_32 and stride != HEADER_64:
            return BAD_MAP
        return note_sections_in(map, tag + 20, count, stride) if count * stride <= bytes - 20 else BAD_MAP
    return OK


@kernel
def _read(map: LoaderMap, pa: int) -> int:
    status = readable(map, pa, HEAD)
    if failed(status):
        return status
    status = note_table(map, pa, word_at(map, pa))
    if not failed(status):
        status = _tag(map, pa, NONE)  # from here on every tag is whole
    if not failed(status):
        status = _note_ram(map, pa)
    at = pa + HEAD
    while not failed(status) and word_at(map, at) != END:
        status = _note_tag(map, at)
        at += (word_at(map, at + 4) + 7) & -8
    return status


@entry
def ranges_multiboot2(map: LoaderMap, pa: int) -> int:
    """Add the ranges of Multiboot2's information at a physical address. UNREADABLE, NO_ROOM. BAD_MAP: it is damaged, or
    tells no RAM."""
    begun(map)
    status = _read(map, pa)
    return ended(map, status)
