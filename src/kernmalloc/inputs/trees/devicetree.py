"""Reader of device trees (Devicetree Specification 0.4): *.dtb, /sys/firmware/fdt, the folder /proc/device-tree.

    /memory@80000000        { device_type = "memory"; reg = <…>; }      RAM, in cells of the root's width
    /reserved-memory/*      { reg = <…>; }, /memreserve/, /chosen       RAM that is taken when the kernel starts
    /soc/serial@10000       { reg = <…>; status = "okay"; }             a device's window
    /pcie@30000000          { device_type = "pci"; ranges = <…>; }      what a host bridge forwards

An address in `reg` is of the bus that the node is on.  Each bus translates it by its `ranges` to an address of the bus
above, up to the root, whose addresses are the processor's; an empty `ranges` changes nothing, and without the property
a bus (I2C, SPI, processors) has no addresses that a processor can load from.  Cells are 32 bits, big-endian;
`#address-cells` and `#size-cells` of a node hold for its children and are 2 and 1 where they are not given.

/chosen says what this boot makes of the machine.  `linux,usable-memory-range` is the RAM that the kernel may use: the
rest is somebody else's, and reserved here.  Zephyr has no memory nodes; its `zephyr,sram` is the path of the node whose
registers are RAM.

Many boards leave the size of memory, or all of it, to the boot loader: then RAM is unknown, and `Facts.ram_base` is the
address in the memory node, if there is one.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Device, Facts, Range
from kernmalloc.inputs.trees.flat_tree import MAGIC, Node, Tree, of_folder, parse

USABLE = 2
"""Ranges of `linux,usable-memory-range` that count, as in Linux (drivers/of/fdt.c)."""
CELLS = 4
"""Cells of an address or a size at most, as in Linux (include/linux/of.h)."""

OVERLAY = "an overlay, which changes another device tree", "fdtoverlay -i BOARD.dtb -o WHOLE.dtb FILE applies it"
"""Why there is no machine in an overlay, and what to do about it."""

_ALL = (0, 0, 1 << 128)  # the window of an empty `ranges`: every address is the same above
_PCI = ("pci", "pciex", "ht")
_PCI_MEMORY = (2, 3)  # space code in bits 24 and 25 of a PCI address: memory in 32 and in 64 bits
_ARCHITECTURES = tuple(
    (arch, re.compile(pattern))
    for arch, pattern in (
        ("riscv64", r"riscv"),
        ("ppc", r"PowerPC|powerpc"),
        (
            "arm64",
            r"arm,(?:armv[89]|cortex-(?:a3[45]|a5[357]|a6|a7[1-9]|a[1-9]\d\d|x)|neoverse)|apple,|apm,|cavium,thunder",
        ),
        ("arm", r"arm,|marvell,(?:pj4|sheeva|feroceon|mohawk)|qcom,(?:krait|scorpion)|faraday,|brcm,brahma"),
        ("mips", r"mips|img,|ingenic,|loongson,(?:gs|ls)"),
        ("loongarch", r"loongson,la"),
        ("arc", r"snps,arc"),
        ("openrisc", r"opencores,or1"),
        ("xtensa", r"xtensa"),
    )
)
"""Architectures by what the processors are or are compatible with."""


class _Bus(NamedTuple):
    """How the children of the node `name` are addressed: cells, whether the node is in use, the bus above (None: the
    root), and the windows into it as (address here, address above, size), sorted."""

    name: str
    address: int
    size: int
    used: bool = True
    above: "_Bus | None" = None
    windows: tuple[tuple[int, int, int], ...] = ()

    def to_cpu(self, address: int) -> int | None:
        """The processor's address; None if no window leads there."""
        bus = self
        while bus.above is not None:
            index = bisect_right(bus.windows, address, key=lambda window: window[0]) - 1
            here, above, size = bus.windows[index] if index >= 0 else (0, 0, 0)
            if address >= here + size:
                return None
            address += above - here
            bus = bus.above
        return address


def recognises(head: bytes) -> bool:
    """Whether `head` begins as a flattened device tree does."""
    return head.startswith(MAGIC)


def read(data: bytes, file: str) -> list[Facts]:
    """The one machine described.  Raises UnreadableError for a tree that is damaged."""
    return [_facts(parse(data, file), file)]


def recognises_folder(folder: Path) -> bool:
    """Whether a folder is a device tree as Linux shows it."""
    return (folder / "#address-cells").is_file()


def read_folder(folder: Path) -> list[Facts]:
    """The one machine described by a folder such as /proc/device-tree."""
    return [_facts(of_folder(folder), str(folder))]


def _facts(tree: Tree, file: str) -> Facts:
    root = tree.root
    if any(part.at("__overlay__") for part in root.children):
        raise UnreadableError(file, 0, *OVERLAY)
    facts = Facts(file)
    facts.origin = "device tree"
    facts.name = _text(root, "model") or _text(root, "compatible") or facts.name
    facts.like_pc = False
    facts.lacks = ("the device tree leaves memory to the boot loader, even where it is", "give --ram SIZE@ADDRESS")
    facts.carved += (Range(address, size, "firmware", "memreserve") for address, size in tree.reserved)
    top = _Bus("/", _number(root, "#address-cells", 2), _number(root, "#size-cells", 1))
    chosen = root.at("chosen") or Node("chosen", {}, [])
    sram = _text(chosen, "zephyr,sram")
    ram = root.at(sram) if sram else None
    level = [(node, top) for node in root.children]
    while level:
        below: list[tuple[Node, _Bus]] = []
        for node, bus in level:
            inner = _take(facts, node, bus, node is ram)
            below += ((child, inner) for child in node.children)
        level = below
    usable = list(_cells(chosen.properties.get("linux,usable-memory-range", b""), top.address, top.size))
    if usable:
        facts.memory = [part for bank in facts.memory for part in _parted(bank, usable[:USABLE])]
    return facts


def _text(node: Node, name: str) -> str:
    """The first string of a property, on one line; "" if the node has none of that name."""
    return " ".join(node.properties.get(name, b"").split(b"\0")[0].decode("utf-8", "replace").split())


def _number(node: Node, name: str, default: int = 0) -> int:
    value = node.properties.get(name)
    return int.from_bytes(value[:8], "big") if value else default


def _cells(value: bytes, *widths: int) -> Iterator[tuple[int, ...]]:
    """Tuples of numbers of so many cells each; what is left over at the end is no tuple."""
    step = 4 * sum(widths)
    for at in range(0, len(value) - step + 1, step) if step and max(widths) <= CELLS else ():
        numbers = []
        for width in widths:
            numbers.append(int.from_bytes(value[at : at + 4 * width], "big"))
            at += 4 * width
        yield tuple(numbers)


def _take(facts: Facts, node: Node, bus: _Bus, sram: bool) -> _Bus:
    """Take one node, which is on `bus` and perhaps Zephyr's RAM; returns the bus of its children."""
    kind, place = _text(node, "device_type"), node.name.partition("@")[0]
    used = bus.used and _text(node, "status") in ("", "ok", "okay")
    top = bus.above is None
    if kind == "cpu" or place == "cpu":
        processor = f"{node.properties.get('compatible')!r} {node.name} {_text(node, 'model')}"
        if facts.arch == "?":
            facts.arch = next((arch for arch, pattern in _ARCHITECTURES if pattern.search(processor)), "?")
    elif top and (kind == "memory" or place == "memory"):
        if used:
            _memory(facts, node, bus)
    elif sram:
        facts.memory += (Range(base, size, "ram", node.name) for base, size in _windows(facts, node, bus))
    elif top and place == "chosen":
        start, end = _number(node, "linux,initrd-start"), _number(node, "linux,initrd-end")
        if end:
            facts.carved.append(Range(start, end - start, "initrd", "initrd"))
    elif bus.name == "reserved-memory":
        if used:
            _reserved(facts, node, bus)
    else:
        status = "assigned" if used else "disabled"
        for base, size in _windows(facts, node, bus):
            facts.devices.append(Device(base, size, "resource", node.name, status=status))
    return _below(facts, node, bus, used, kind in _PCI)


def _below(facts: Facts, node: Node, bus: _Bus, used: bool, pci: bool) -> _Bus:
    """The bus of a node's children; PCI devices on it have addresses when they are configured, not in the tree."""
    address, size = _number(node, "#address-cells", 2), _number(node, "#size-cells", 1)
    ranges = node.properties.get("ranges")
    if not pci:
        if ranges == b"":
            return _Bus(node.name, address, size, used, bus, (_ALL,))
        told = _cells(ranges or b"", address, bus.address, size)
        return _Bus(
            node.name, address, size, used, bus, tuple(sorted((here, above, length) for here, above, length in told))
        )
    for flags, _, base, length in _cells(ranges or b"", 1, 2, bus.address, size):
        where = bus.to_cpu(base)
        if used and where is not None and flags >> 24 & 3 in _PCI_MEMORY:
            facts.windows.append(Range(where, length, "window", node.name))
    return _Bus(node.name, address, size, used, bus)


def _windows(facts: Facts, node: Node, bus: _Bus) -> Iterator[tuple[int, int]]:
    """Base and size of each window in `reg` that a processor can load from."""
    for base, length in _cells(node.properties.get("reg", b""), bus.address, bus.size):
        where = bus.to_cpu(base)
        if not length or where is None:
            facts.ignored["register of another bus" if length else "register without a size"] += 1
        else:
            yield where, length


def _parted(bank: Range, usable: list[tuple[int, ...]]) -> Iterator[Range]:
    """A bank of memory in parts: RAM where the kernel may use it, and reserved elsewhere."""
    edges = {bank.base, bank.end, *(edge for base, size in usable for edge in (base, base + size))}
    for low, high in pairwise(sorted(edge for edge in edges if bank.base <= edge <= bank.end)):
        if any(base <= low < base + size for base, size in usable):
            yield Range(low, high - low, "ram", bank.name)
        else:
            yield Range(low, high - low, "reserved", "outside linux,usable-memory-range")


def _memory(facts: Facts, node: Node, bus: _Bus) -> None:
    """RAM: what the kernel may use of it, if that is told, else all."""
    value = node.properties.get("linux,usable-memory") or node.properties.get("reg", b"")
    for base, length in _cells(value, bus.address, bus.size):
        if length:
            facts.memory.append(Range(base, length, "ram", node.name))
        elif facts.ram_base is None:
            facts.ram_base = base
            facts.lacks = ("the device tree leaves the size of memory to the boot loader", "give --ram SIZE")


def _reserved(facts: Facts, node: Node, bus: _Bus) -> None:
    """RAM that is somebody's, unless the kernel may use it in the meantime; what has no place yet is the kernel's."""
    if "reusable" in node.properties:
        facts.ignored["reserved but reusable"] += 1
    else:
        facts.carved += (Range(base, size, "firmware", node.name) for base, size in _windows(facts, node, bus))
