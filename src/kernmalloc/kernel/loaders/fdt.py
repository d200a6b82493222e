"""A flattened device tree: Devicetree Specification 0.4, chapters 3.4, 3.5 and 5; for what /chosen says of memory,
Linux' Documentation/devicetree/bindings.

    /memory@80000000      { device_type = "memory"; reg = <…>; }       RAM; `linux,usable-memory` goes before `reg`
    /reserved-memory/*    { reg = <…>; no-map; }                       RAM that somebody has, unless it is `reusable`
    /chosen               { linux,initrd-start = <…>; linux,initrd-end = <…>; linux,usable-memory-range = <…>; }
    /memreserve/, and the tree itself                                  RAM that is taken

RAM outside the first two ranges of `linux,usable-memory-range` is nobody's here. A node whose `status` is neither
"okay" nor "ok" is not there. `inputs/trees/devicetree.py` makes the same ranges of a tree; it reads devices, too, old
versions, and the memory of kernels that know their tree when they are built (`zephyr,sram`).

How often a loop runs is bounded by the length of the tree, but for the windows of a bus, of which there are few.
"""

from __future__ import annotations

from kernmalloc.kernel.loaders.flat import (
    VALUE,
    big_at,
    cell_at,
    node_child,
    node_end,
    node_in_use,
    node_number,
    node_property,
    node_text,
    place_behind,
    tree_end,
    tree_root,
    tree_whole,
    value_bytes,
)
from kernmalloc.kernel.loaders.found import (
    MOST,
    RANGE_FIRMWARE,
    RANGE_INITRD,
    RANGE_RAM,
    RANGE_RESERVED,
    LoaderMap,
    begun,
    byte_at,
    ended,
    note,
    note_end,
    note_table,
    readable,
)
from kernmalloc.kernel.loaders.names import UNIT, name_end, name_number, number_at, spelled
from kernmalloc.lang import entry, failed, kernel
from kernmalloc.lang.status import BAD_MAP, OK

MAGIC = 0xD00DFEED
HEADER = 40  # bytes
OLDEST, NEWEST = 16, 17  # versions that are read
CELLS = 4  # cells of a number at most, as in Linux
WINDOWS = 16  # entries of `ranges` at most
BITS, SIZE = 8, 255  # what `_cells` packs

ADDRESS_CELLS, SIZE_CELLS = spelled("#address-cells"), spelled("#size-cells")
REG, RANGES, DEVICE_TYPE, REUSABLE = spelled("reg"), spelled("ranges"), spelled("device_type"), spelled("reusable")
MEMORY, CHOSEN, RESERVED_MEMORY = spelled("memory"), spelled("chosen"), spelled("reserved-memory")
USABLE, USABLE_RANGE = spelled("linux,usable-memory"), spelled("linux,usable-memory-range")
INITRD_START, INITRD_END = spelled("linux,initrd-start"), spelled("linux,initrd-end")


@kernel
def _cells(map: LoaderMap, tree: int, node: int) -> int:
    """How addresses and sizes are told in what is in a node: bytes of an address << BITS | bytes of a size. 0: in cells
    so many that they are not read, or in none."""
    address = node_number(map, tree, node, ADDRESS_CELLS, 2)
    size = node_number(map, tree, node, SIZE_CELLS, 1)
    if address < 0 or size < 0 or address > CELLS or size > CELLS:
        return 0
    return address << 2 + BITS | size << 2


@kernel
def _base_at(map: LoaderMap, pa: int, cells: int) -> int:
    """The address of a pair of address and size."""
    return big_at(map, pa, cells >> BITS)


@kernel
def _bytes_at(map: LoaderMap, pa: int, cells: int) -> int:
    """The size of such a pair."""
    return big_at(map, pa + (cells >> BITS), cells & SIZE)


@kernel
def _step(cells: int) -> int:
    """Bytes of such a pair."""
    return (cells >> BITS) + (cells & SIZE)


@kernel
def _bounded(value: int) -> int:
    """An address that was read, or the end of all where it lies beyond."""
    return MOST if value < 0 else value


@kernel
def _range_end(base: int, bytes: int) -> int:
    """Where a range ends that was read."""
    return MOST if bytes < 0 or bytes > MOST - base else base + bytes


@kernel
def _note_outside(map: LoaderMap, base: int, end: int, low: int, high: int) -> int:
    """Add what of the RAM from `base` to `end` lies between `low` and `high`, as nobody's. NO_ROOM."""
    first = max(base, low)
    bytes = min(end, high) - first
    return note(map, first, bytes, RANGE_RESERVED) if bytes > 0 else OK


@kernel
def _note_unusable(map: LoaderMap, base: int, end: int, usable: int, cells: int) -> int:
    """Add what of the RAM from `base` to `end` is outside the property `usable`, which says what the kernel may use; 0:
    it may use all. NO_ROOM."""
    step = _step(cells)
    if usable == 0:
        return OK
    one = usable + VALUE
    other = one + step if value_bytes(map, usable) >= step << 1 else one
    one_base = _bounded(_base_at(map, one, cells))
    other_base = _bounded(_base_at(map, other, cells))
    one_end = _range_end(one_base, _bytes_at(map, one, cells))
    other_end = _range_end(other_base, _bytes_at(map, other, cells))
    status = _note_outside(map, base, end, 0, min(one_base, other_base))
    if not failed(status):
        lower_end = one_end if one_base <= other_base else other_end
        status = _note_outside(map, base, end, lower_end, max(one_base, other_base))
    return status if failed(status) else _note_outside(map, base, end, max(one_end, other_end), MOST)


@kernel
def _usable(map: LoaderMap, tree: int, cells: int) -> int:
    """The place of the property of /chosen that says what RAM the kernel may use; 0 if nothing does."""
    end = tree_end(map, tree)
    node = node_child(map, tree, place_behind(map, tree, tree_root(map, tree)))
    while node != 0 and number_at(map, node + 4, end) != CHOSEN:
        node = node_child(map, tree, node_end(map, tree, node))
    usable = node_property(map, tree, node, USABLE_RANGE) if node != 0 else 0
    return usable if cells != 0 and value_bytes(map, usable) >= _step(cells) else 0


@kernel
def _note_memory(map: LoaderMap, tree: int, node: int, usable: int, cells: int) -> int:
    """A node of memory: what the kernel may use of it, if that is told, else all. NO_ROOM."""
    value = node_property(map, tree, node, USABLE)
    if value_bytes(map, value) == 0:
        value = node_property(map, tree, node, REG)
    end = value + VALUE + value_bytes(map, value)
    at = value + VALUE
    while cells != 0 and _step(cells) <= end - at:
        base = _base_at(map, at, cells)
        bytes = _bytes_at(map, at, cells)
        status = note(map, base, bytes, RANGE_RAM) if bytes != 0 else OK
        if not failed(status) and base >= 0 and bytes > 0:
            status = _note_unusable(map, base, _range_end(base, bytes), usable, cells)
        if failed(status):
            return status
        at += _step(cells)
    return OK


@kernel
def _after(map: LoaderMap, one: int, other: int, bytes: int) -> int:
    """1 if the bytes at one place are a greater number than those at another."""
    for i in range(bytes):
        difference = byte_at(map, one + i) - byte_at(map, other + i)
        if difference != 0:
            return 1 if difference > 0 else 0
    return 0


@kernel
def _translated(map: LoaderMap, ranges: int, own: int, cells: int, address: int) -> int:
    """The processor's address for one on a bus right below the root, whose cells are `own`, by its property `ranges`;
    -1 if no window leads there."""
    if ranges == 0 or address < 0:
        return -1
    bytes = value_bytes(map, ranges)
    if bytes == 0:
        return address
    above = cells >> BITS
    step = _step(own) + above
    at = ranges + VALUE
    end = at + bytes
    window = 0  # of those that begin at or below this address the last
    while step <= end - at:
        here = _base_at(map, at, own)
        if here >= 0 and here <= address:
            if window == 0 or _after(map, at, window, step) != 0:
                window = at
        at += step
    if window == 0:
        return -1
    offset = address - _base_at(map, window, own)
    base = big_at(map, window + (own >> BITS), above)
    length = big_at(map, window + (own >> BITS) + above, own & SIZE)
    if (length >= 0 and offset >= length) or base < 0 or offset > MOST - base:
        return -1
    return base + offset


@kernel
def _note_reserved(map: LoaderMap, tree: int, node: int, ranges: int, own: int, cells: int) -> int:
    """A node of reserved memory: RAM that somebody has. NO_ROOM."""
    if node_in_use(map, tree, node) == 0 or node_property(map, tree, node, REUSABLE) != 0:
        return OK
    value = node_property(map, tree, node, REG)
    end = value + VALUE + value_bytes(map, value)
    at = value + VALUE
    while own != 0 and _step(own) <= end - at:
        base = _translated(map, ranges, own, cells, _base_at(map, at, own))
        bytes = _bytes_at(map, at, own)
        status = note(map, base, bytes, RANGE_FIRMWARE) if base >= 0 and bytes != 0 else OK
        if failed(status):
            return status
        at += _step(own)
    return OK


@kernel
def _note_reserved_memory(map: LoaderMap, tree: int, bus: int, cells: int) -> int:
    """The node /reserved-memory. NO_ROOM. BAD_MAP: it has too many windows."""
    if node_in_use(map, tree, bus) == 0:
        return OK
    own = _cells(map, tree, bus)
    ranges = node_property(map, tree, bus, RANGES)
    if value_bytes(map, ranges) > WINDOWS * (_step(own) + (cells >> BITS)):
        return BAD_MAP
    node = node_child(map, tree, place_behind(map, tree, bus))
    while node != 0:
        status = _note_reserved(map, tree, node, ranges, own, cells)
        if failed(status):
            return status
        node = node_child(map, tree, node_end(map, tree, node))
    return OK


@kernel
def _note_initrd(map: LoaderMap, tree: int, node: int) -> int:
    """The initial ramdisk of which /chosen tells. NO_ROOM."""
    end = node_number(map, tree, node, INITRD_END, 0)
    return note_end(map, node_number(map, tree, node, INITRD_START, 0), end, RANGE_INITRD) if end != 0 else OK


@kernel
def _note_node(map: LoaderMap, tree: int, node: int, usable: int, cells: int) -> int:
    """What a node right below the root tells of memory. NO_ROOM, BAD_MAP."""
    end = tree_end(map, tree)
    place = name_number(map, node + 4, name_end(map, node + 4, end, UNIT))
    if place == MEMORY or node_text(map, tree, node, DEVICE_TYPE) == MEMORY:
        return _note_memory(map, tree, node, usable, cells) if node_in_use(map, tree, node) != 0 else OK
    if place == CHOSEN:
        return _note_initrd(map, tree, node)
    if number_at(map, node + 4, end) == RESERVED_MEMORY:
        return _note_reserved_memory(map, tree, node, cells)
    return OK


@kernel
def _note_reservations(map: LoaderMap, tree: int) -> int:
    """The reservations beside the nodes. NO_ROOM. BAD_MAP: they do not end."""
    at = tree + cell_at(map, tree + 16)
    while at + 16 <= tree_end(map, tree):
        base = big_at(map, at, 8)
        bytes = big_at(map, at + 8, 8)
        if base == 0 and bytes == 0:
            return OK
        status = note(map, base, bytes, RANGE_FIRMWARE)
        if failed(status):
            return status
        at += 16
    return BAD_MAP


@kernel
def _readable(map: LoaderMap, tree: int) -> int:
    """OK if there is a tree that can be read, all of it. UNREADABLE, BAD_MAP."""
    status = readable(map, tree, HEADER)
    if failed(status):
        return status
    version = cell_at(map, tree + 20)
    if cell_at(map, tree) != MAGIC or version < OLDEST or cell_at(map, tree + 24) > NEWEST:
        return BAD_MAP
    if (tree | cell_at(map, tree + 8)) & 3 != 0 or cell_at(map, tree + 4) < HEADER:
        return BAD_MAP
    return readable(map, tree, cell_at(map, tree + 4))


@kernel
def _read(map: LoaderMap, tree: int) -> int:
    status = _readable(map, tree)
    if not failed(status):
        status = tree_whole(map, tree)
    if not failed(status):
        status = note_table(map, tree, cell_at(map, tree + 4))
    if not failed(status):
        status = _note_reservations(map, tree)
    if failed(status):
        return status
    root = tree_root(map, tree)
    cells = _cells(map, tree, root)
    usable = _usable(map, tree, cells)
    node = node_child(map, tree, place_behind(map, tree, root))
    while node != 0:
        status = _note_node(map, tree, node, usable, cells)
        if failed(status):
            return status
        node = node_child(map, tree, node_end(map, tree, node))
    return OK


@entry
def ranges_fdt(map: LoaderMap, pa: int) -> int:
    """Add the ranges of the flattened device tree at a physical address, a multiple of 4. UNREADABLE, NO_ROOM. BAD_MAP:
    it is none, is damaged, has cells or windows that are not read, or tells no RAM."""
    begun(map)
    status = _read(map, pa)
    return ended(map, status)
