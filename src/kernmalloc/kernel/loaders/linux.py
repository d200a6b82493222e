"""Linux's `struct boot_params`, the zero page: arch/x86/include/uapi/asm/bootparam.h, and
Documentation/arch/x86/boot.rst and zero-page.rst.

    0x1E8  number of entries of the table at 0x2D0: base and length of 64 bits, type of 32, and nothing between them
    0x1F1  the header of the kernel's file, in which loaders leave what they have loaded

Nothing says that a page is one: some monitors leave the header's "HdrS" out. Entries that do not fit into the table are
in the list of `setup_data`, as are other things of the loader's. Taken are the page, the initial ramdisk, the command
line, that list and EFI's memory map. Where the table is empty the sizes of older BIOS calls tell of RAM.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.e820 import note_entries, note_sizes
from kernmalloc.kernel.loaders.found import (
    RANGE_INITRD,
    RANGE_TABLE,
    LoaderMap,
    begun,
    byte_at,
    ended,
    half_at,
    long_at,
    note,
    note_text,
    readable,
    word_at,
)
from kernmalloc.lang import entry, failed, kernel, shl
from kernmalloc.lang.status import BAD_MAP, OK

PAGE = 4096  # bytes of the structure
ENTRIES, ENTRY = 128, 20  # entries that the table has room for; bytes of one
LOW = 0x9F000 >> 10  # KiB of RAM below 1 MiB that Linux takes where nobody tells
WITH_LIST = 0x209  # version of the protocol from which on there is a list
LIST_HEAD = 16  # bytes of a piece of the list before its data
LIST_MOST = 256  # pieces
MORE_ENTRIES, INDIRECT = 1, 1 << 31  # types of pieces


@kernel
def _joined(map: LoaderMap, low: int, high: int) -> int:
    """A number of 64 bits of which the halves lie at two places."""
    return word_at(map, low) | shl(word_at(map, high), 32)


@kernel
def _note_piece(map: LoaderMap, at: int) -> int:
    """A piece of the list, and what it leads to."""
    type = word_at(map, at + 8)
    bytes = word_at(map, at + 12)
    status = readable(map, at + LIST_HEAD, bytes)
    if not failed(status):
        status = note(map, at, LIST_HEAD + bytes, RANGE_TABLE)
    if failed(status):
        return status
    if type == MORE_ENTRIES:
        return note_entries(map, at + LIST_HEAD, bytes, ENTRY)
    if type == INDIRECT and bytes >= 24:
        return note(map, long_at(map, at + LIST_HEAD + 16), long_at(map, at + LIST_HEAD + 8), RANGE_TABLE)
    return OK


@kernel
def _note_list(map: LoaderMap, pa: int) -> int:
    """The list that begins with the piece at `pa`."""
    at = pa
    for _ in range(LIST_MOST):
        if at == 0:
            return OK
        status = readable(map, at, LIST_HEAD)
        if not failed(status):
            status = _note_piece(map, at)
        if failed(status):
            return status
        at = long_at(map, at)
    return BAD_MAP


@kernel
def _note_ram(map: LoaderMap, pa: int) -> int:
    """The table, or the sizes that stand for it."""
    count = byte_at(map, pa + 0x1E8)
    if count > ENTRIES:
        return BAD_MAP
    if count > 0:
        return note_entries(map, pa + 0x2D0, count * ENTRY, ENTRY)
    high = max(word_at(map, pa + 0x1E0), half_at(map, pa + 2))
    return note_sizes(map, LOW, high) if high > 0 else BAD_MAP


@kernel
def _note_taken(map: LoaderMap, pa: int) -> int:
    """The page and what it leads to, but for the list."""
    status = note(map, pa, PAGE, RANGE_TABLE)
    ramdisk = _joined(map, pa + 0x21C, pa + 0xC4)
    if ramdisk != 0 and not failed(status):
        status = note(map, _joined(map, pa + 0x218, pa + 0xC0), ramdisk, RANGE_INITRD)
    if not failed(status):
        status = note_text(map, _joined(map, pa + 0x228, pa + 0xC8))
    efi = word_at(map, pa + 0x1D4)
    if efi != 0 and not failed(status):
        status = note(map, _joined(map, pa + 0x1D0, pa + 0x1DC), efi, RANGE_TABLE)
    return status


@kernel
def _read(map: LoaderMap, pa: int) -> int:
    status = readable(map, pa, PAGE)
    if failed(status):
        return status
    status = _note_ram(map, pa)
    if not failed(status):
        status = _note_taken(map, pa)
    if failed(status) or half_at(map, pa + 0x206) < WITH_LIST:
        return status
    return _note_list(map, long_at(map, pa + 0x250))


@entry
def ranges_linux(map: LoaderMap, pa: int) -> int:
    """Add the ranges of Linux's boot_params at a physical address. UNREADABLE, NO_ROOM. BAD_MAP: it is none, its list
    does not end, or it tells no RAM."""
    begun(map)
    status = _read(map, pa)
    return ended(map, status)
