"""What boot loaders hand over, made for tests, and read by the kernel's own functions in any life.

A structure is made as pieces of memory: {physical address: bytes}. Places are far apart from one another, so that what
is taken by each can be told.
"""

import struct
from collections.abc import Iterable
from types import SimpleNamespace

import numpy

import kernmalloc.kernel.boot.ranges  # noqa: F401
import kernmalloc.kernel.loaders.protocols  # noqa: F401
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.loader import plan_ram
from kernmalloc.kernel.boot.config import BootRange
from kernmalloc.kernel.core.kern import CARVED_MEMORY, RAM
from kernmalloc.kernel.loaders.found import RANGE_IMAGE, LoaderMap, LoaderRange
from kernmalloc.machine.lives import LIVES
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import Ram

Row = tuple[int, int, int]
Pieces = dict[int, bytes]

TOP = 1 << 20  # bytes of RAM to read from
ROOM = 64
MAP, RANGES, FRAMES = 0x1000, 0x2000, 0x8000
AT = 0x10000  # where a structure begins
COMMAND, MODULES, NAMES, TABLE, MORE = 0x20000, 0x21000, 0x22000, 0x30000, 0x40000


class Reader:
    """RAM of which the first part holds a LoaderMap and its arrays, and one life that works on it."""

    def __init__(self, mode: str = "twin", size: int = TOP) -> None:
        self.ram = Ram(size)
        self.life = LIVES[mode](self.ram)

    def close(self) -> None:
        self.life.close()
        self.ram.close()

    def read(self, protocol: str, pieces: Pieces, *args: int, room: int = ROOM, reach: int = TOP) -> int:
        """Put the pieces, and zeros around them, and read them as that protocol: its status."""
        self.ram.bytes[AT:TOP] = bytes(TOP - AT)
        for pa, data in pieces.items():
            self.ram.bytes[pa : pa + len(data)] = data
        self.clear(room, reach)
        return self.more(protocol, *args)

    def clear(self, room: int = ROOM, reach: int = TOP) -> None:
        """A map of nothing."""
        phys = self.life.phys
        self._map = numpy.frombuffer(self.ram.bytes, LoaderMap.dtype, 1, MAP)
        self._map[0] = (phys, reach, phys + RANGES, room, 0, 0, 0)

    def more(self, name: str, *args: int) -> int:
        """Call `ranges_<name>` on the map as it is."""
        return self.life.call(f"ranges_{name}", self.life.phys + MAP, *args)

    @property
    def dropped(self) -> int:
        return int(self._map[0]["dropped"])

    @property
    def rows(self) -> list[Row]:
        """The ranges found, in the order in which they were."""
        count = int(self._map[0]["count"])
        return [tuple(map(int, row)) for row in numpy.frombuffer(self.ram.bytes, LoaderRange.dtype, count, RANGES)]

    def frames(self, shift: int = 12, max_pfn: int = 1 << 40, room: int = 4 * ROOM, left: int = 0) -> list[Row] | int:
        """What the kernel would boot with, or a kind leaves, as (first pfn, frames, class), or the refusal."""
        arguments = self.life.phys + FRAMES, room, shift, max_pfn
        count = self.more("left", *arguments, left) if left else self.more("frames", *arguments)
        if count < 0:
            return count
        return [tuple(map(int, row)) for row in numpy.frombuffer(self.ram.bytes, BootRange.dtype, count, FRAMES)]


def entries(rows: Iterable[Row], form: str = "<QQI") -> bytes:
    """Entries of base, length and type, packed."""
    return b"".join(struct.pack(form, base & M64, size & M64, type) for base, size, type in rows)


M64 = (1 << 64) - 1


def multiboot(rows: Iterable[Row], modules: Iterable[tuple[int, int]] = (), extra: int = 0) -> Pieces:
    """Multiboot 1 with a map, whose entries have `extra` bytes more, a command line, a name and modules."""
    data = b"".join(struct.pack("<I", 20 + extra) + entries([row]) + bytes(extra) for row in rows)
    listed = b"".join(struct.pack("<IIII", first, end, NAMES, 0) for first, end in modules)
    flags = 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    info = struct.pack(
        "<IIIIIII4IIIIIII",
        *(flags, 640, 1024, 0, COMMAND, len(listed) // 16, MODULES, 0, 0, 0, 0),
        *(len(data), TABLE, 0, 0, 0, NAMES),
    )
    return {AT: info.ljust(116, b"\0"), COMMAND: b"quiet\0", MODULES: listed, NAMES: b"grub\0", TABLE: data}


def tag(type: int, body: bytes) -> bytes:
    whole = struct.pack("<II", type, 8 + len(body)) + body
    return whole + bytes(-len(whole) % 8)


def multiboot2(*tags: bytes) -> Pieces:
    """Multiboot2's information of these tags."""
    body = b"".join(tags) + tag(0, b"")
    return {AT: struct.pack("<II", 8 + len(body), 0) + body}


def multiboot2_map(rows: Iterable[Row], stride: int = 24) -> bytes:
    return tag(6, struct.pack("<II", stride, 0) + b"".join(entries([row]).ljust(stride, b"\0") for row in rows))


def efi(rows: Iterable[tuple[int, int, int, int]], stride: int = 48) -> bytes:
    """Descriptors of (type, base, pages, attributes)."""
    return b"".join(
        struct.pack("<IIQQQQ", type, 0, base & M64, 0, pages & M64, bits).ljust(stride, b"\xff")
        for type, base, pages, bits in rows
    )


def limine(rows: Iterable[Row], direct: int) -> Pieces:
    """A response, where physical address 0 is at `direct`."""
    told = list(rows)
    pointers = struct.pack(f"<{len(told)}Q", *((direct + TABLE + 24 * i) & M64 for i in range(len(told))))
    return {
        AT: struct.pack("<QQQ", 0, len(told), (direct + MODULES) & M64),
        MODULES: pointers,
        TABLE: entries(told, "<QQQ"),
    }


def pvh(rows: Iterable[Row], modules: Iterable[tuple[int, int]] = (), version: int = 1) -> Pieces:
    data = entries(((*row,) for row in rows), "<QQI4x")
    listed = b"".join(struct.pack("<QQQQ", base, size, NAMES, 0) for base, size in modules)
    info = struct.pack(
        "<IIIIQQQQII", 0x336EC578, version, 0, len(listed) // 32, MODULES, COMMAND, 0, TABLE, len(data) // 24, 0
    )
    return {AT: info, COMMAND: b"console=hvc0\0", MODULES: listed, NAMES: b"initrd\0", TABLE: data}


def linux(rows: Iterable[Row], more: Iterable[Row] = (), ramdisk: tuple[int, int] = (0, 0)) -> Pieces:
    """boot_params; what is in `more` is in the list of setup_data."""
    page = bytearray(4096)
    data = entries(rows)
    page[0x1E8] = len(data) // 20
    page[0x2D0 : 0x2D0 + len(data)] = data
    struct.pack_into("<IH", page, 0x202, 0x53726448, 0x20F)
    base, size = ramdisk
    for low, high, value in ((0x218, 0xC0, base), (0x21C, 0xC4, size), (0x228, 0xC8, COMMAND)):
        struct.pack_into("<I", page, low, value & 0xFFFFFFFF)
        struct.pack_into("<I", page, high, value >> 32)
    pieces = {AT: bytes(page), COMMAND: b"root=/dev/ram\0"}
    tail = entries(more)
    if tail:
        struct.pack_into("<Q", page, 0x250, MORE)
        pieces |= {AT: bytes(page), MORE: struct.pack("<QII", 0, 1, len(tail)) + tail}
    return pieces


def by_the_loader(machine: Machine, shift: int = 12, bits: int = 52) -> tuple[list[Row], Row | None]:
    """What the hosted loader makes of a machine's map, and the frame that it takes for an image of one frame; without
    free RAM there is none, and nothing is made."""
    image = SimpleNamespace(base=0, size=1)
    profile = SimpleNamespace(page_shift=shift, phys_bits=bits, image=image)
    try:
        plan = plan_ram(machine, profile)
    except TooSmall:
        return [], None
    spans = [(*span, RAM) for span in plan.ram] + [(*span, CARVED_MEMORY) for span in plan.reserved] + plan.firmware
    return joined((first, end - first, kind) for first, end, kind in spans), (*plan.image, RANGE_IMAGE)


def joined(rows: Iterable[Row]) -> list[Row]:
    """Ranges in order, of which no two of one class touch."""
    result: list[Row] = []
    for base, count, kind in sorted(rows):
        if result and result[-1][2] == kind and sum(result[-1][:2]) == base:
            base, count = result[-1][0], result.pop()[1] + count
        result.append((base, count, kind))
    return result


def united(rows: Iterable[Row]) -> list[Row]:
    """Ranges of each kind in order, of which none touches or overlaps another of that kind."""
    result: list[Row] = []
    for kind, base, size in sorted((kind, base, size) for base, size, kind in rows):
        if result and result[-1][2] == kind and sum(result[-1][:2]) >= base:
            first, length, _ = result.pop()
            base, size = first, max(length, base + size - first)
        result.append((base, size, kind))
    return result


def agrees(reader: Reader, machine: Machine, shift: int = 12, bits: int = 52) -> None:
    """The map that was read makes what the hosted loader makes of the same machine."""
    expected, image = by_the_loader(machine, shift, bits)
    if image:
        first, end, kind = image
        assert reader.more("add", first << shift, end - first << shift, kind) == 0
        assert reader.frames(shift, 1 << bits - shift) == expected
    else:
        assert all(kind != RAM for _, _, kind in reader.frames(shift, 1 << bits - shift))
