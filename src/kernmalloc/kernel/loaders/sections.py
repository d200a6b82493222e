"""Sections of the kernel's own ELF file, as a Multiboot loader hands them over: Multiboot 0.6.96, 3.3, and Multiboot2
2.0, 3.6.7; the headers are those of ELF (System V ABI, chapter 4).

What is loaded as part of the image is known to whoever knows the image, and its addresses are virtual. The others,
symbols and strings, lie wherever the loader found room.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.found import RANGE_TABLE, LoaderMap, long_at, note, note_table, word_at
from kernmalloc.lang import failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

HEADER_32, HEADER_64 = 40, 64  # bytes of a section's header
NO_BITS = 8  # type of a section that has no contents
LOADED = 2  # flag of one that is part of the image


@kernel
def note_sections(map: LoaderMap, pa: int, count: int, stride: int) -> int:
    """Add the sections that lie beside the image, and the table of all if it lies in memory. UNREADABLE, NO_ROOM.
    BAD_MAP: it has headers of another length."""
    if count == 0:
        return OK
    status = note_table(map, pa, count * min(stride, HEADER_64))
    return status if failed(status) else note_sections_in(map, pa, count, stride)


@kernel
def note_sections_in(map: LoaderMap, pa: int, count: int, stride: int) -> int:
    """Note sections whose table is part of something that is read already."""
    if stride != HEADER_32 and stride != HEADER_64:
        return BAD_MAP
    for i in range(count):
        at = pa + i * stride
        wide = stride == HEADER_64
        base = long_at(map, at + 16) if wide else word_at(map, at + 12)
        bytes = long_at(map, at + 32) if wide else word_at(map, at + 20)
        beside = word_at(map, at + 8) & LOADED == 0 and word_at(map, at + 4) != NO_BITS
        if beside and base != 0 and bytes != 0:
            status = note(map, base, bytes, RANGE_TABLE)
            if failed(status):
                return status
    return OK
