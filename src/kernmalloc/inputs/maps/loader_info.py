"""Reader of what a boot loader handed over, in binary, where one piece of memory is all of it.

    multiboot2     all that the register leads to; its first number is the length of all
    boot_params    Linux's zero page, as /sys/kernel/boot_params/data has it

What consists of several pieces, or does not say what it is, `loader_dump` reads.
"""

import struct

from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.maps.loader_memory import facts_of

_PAGE = 4096  # bytes of Linux's zero page
_ENTRIES, _ENTRY = 128, struct.Struct("<QQI")
_TYPES, _SOFT = 20, 0xEFFFFFFF  # types that E820 and Linux have
_AT = 1 << 60  # where the piece is taken to have been: where no RAM is, so that it takes none


def recognises(head: bytes) -> bool:
    """Whether `head` is one of them."""
    return _is_linux(head) or _is_multiboot2(head)


def read(data: bytes, file: str) -> list[Facts]:
    """The one machine. Raises UnreadableError."""
    protocol = "linux" if _is_linux(data) else "multiboot2"
    return [facts_of(file, 0, protocol, {_AT: data}, 0, _AT)]


def _is_linux(data: bytes) -> bool:
    """A page with a table of E820 in it; not every loader leaves the kernel's header there."""
    count = data[0x1E8] if len(data) == _PAGE else 0
    entries = list(_ENTRY.iter_unpack(data[0x2D0 : 0x2D0 + count * _ENTRY.size]))
    return 0 < count <= _ENTRIES and all(size and (0 < type <= _TYPES or type == _SOFT) for _, size, type in entries)


def _is_multiboot2(data: bytes) -> bool:
    """A length, zeros, and a last tag of type 0, which has 8 bytes."""
    length = int.from_bytes(data[:4], "little")
    return 16 <= length <= len(data) and not any(data[4:8]) and data[length - 8 : length] == b"\0\0\0\0\x08\0\0\0"
