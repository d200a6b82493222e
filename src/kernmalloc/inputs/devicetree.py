"""Reader of flattened device trees (Devicetree Specification 0.4), such as *.dtb and /sys/firmware/fdt.

    /memory@80000000        { device_type = "memory"; reg = <…>; }      RAM, in cells of the root's width
    /reserved-memory/*      { reg = <…>; }, /memreserve/, /chosen       RAM that is taken when the kernel starts
    /soc/serial@10000       { reg = <…>; status = "okay"; }             a device's window
    /pcie@30000000          { device_type = "pci"; ranges = <…>; }      what a host bridge forwards

An address in `reg` is of the bus that the node is on.  Each bus translates it by its `ranges` to an address of the bus
above, up to the root, whose addresses are the processor's; an empty `ranges` changes nothing, and without the property
a bus (I2C, SPI, processors) has no addresses that a processor can load from.  Cells are 32 bits, big-endian;
`#address-cells` and `#size-cells` of a node hold for its children and are 2 and 1 where they are not given.

Many boards leave the size of memory, or all of it, to the boot loader: then RAM is unknown, and `Facts.ram_base` is the
address in the memory node, if there is one.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .errors import UnreadableError
from .facts import Device, Facts, Range
from .sizes import size

if TYPE_CHECKING:
    from fdt import FDT, Node

MAGIC = b"\xd0\x0d\xfe\xed"
LIMIT, DEPTH = 2 << 20, 64
"""Bytes and nested nodes of a tree at most, as Linux takes it (Documentation/arch/arm64/booting.rst,
drivers/of/fdt.c)."""

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
    """How the children of a node are addressed: cells, whether the node is in use, the bus above (None: the root), and
    the windows into it as (address here, address above, size)."""

    address: int
    size: int
    used: bool = True
    above: "_Bus | None" = None
    windows: tuple[tuple[int, int, int], ...] = ()

    def to_cpu(self, address: int) -> int | None:
        """The processor's address; None if no window leads there."""
        bus = self
        while bus.above is not None:
            window = next((w for w in bus.windows if w[0] <= address < w[0] + w[2]), None)
            if window is None:
                return None
            address += window[1] - window[0]
            bus = bus.above
        return address


def recognises(head: bytes) -> bool:
    """Whether `head` begins as a flattened device tree does."""
    return head.startswith(MAGIC)


def read(data: bytes, file: str) -> list[Facts]:
    """The one machine described.  Raises UnreadableError for a tree that is damaged."""
    tree = _parsed(data, file)
    facts = Facts(file)
    facts.origin = "device tree"
    facts.name = _text(tree.root, "model") or _text(tree.root, "compatible") or facts.name
    facts.like_pc = False
    facts.lacks = ("the device tree leaves memory to the boot loader, even where it is", "give --ram SIZE@ADDRESS")
    facts.carved += (Range(entry["address"], entry["size"], "firmware", "memreserve") for entry in tree.entries)
    root = _Bus(_number(tree.root, "#address-cells", 2), _number(tree.root, "#size-cells", 1))
    level = [(node, root) for node in tree.root.nodes]
    for _ in range(DEPTH):
        level = [(child, below) for node, bus in level for below in (_take(facts, node, bus),) for child in node.nodes]
    if level:
        raise UnreadableError(file, 0, f"a device tree of more than {DEPTH} nested nodes")
    return [facts]


def _parsed(data: bytes, file: str) -> "FDT":
    """The tree.  `fdt` meets a damaged one with exceptions of every type."""
    import fdt  # late: nothing else needs it

    if len(data) > LIMIT:
        raise UnreadableError(file, 0, f"a device tree of more than {size(LIMIT)}")
    fdt.FDT().entries.clear()  # this list is one for all trees in fdt 0.3.3
    try:
        tree = fdt.parse_dtb(data)
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        advice = "dtc -I dtb -O dtb writes it without NOPs, which cannot be read" if why == "Unknown Tag: 4" else ""
        raise UnreadableError(file, 0, f"not a device tree that can be read: {why}", advice) from None
    if tree.root is None:
        raise UnreadableError(file, 0, "a device tree without a root")
    return tree


def _value(node: "Node", name: str) -> bytes | None:
    """The bytes of a property; None if the node has none of that name."""
    found = node.get_property(name)
    if found is None:
        return None
    blob = found.to_dtb("")[0]  # token, length and name's place, then the value, padded
    value: bytes = blob[12 : 12 + int.from_bytes(blob[4:8], "big")]
    return value


def _text(node: "Node", name: str) -> str:
    """The first string of a property, on one line; "" if the node has none of that name."""
    return " ".join((_value(node, name) or b"").split(b"\0")[0].decode("utf-8", "replace").split())


def _number(node: "Node", name: str, default: int = 0) -> int:
    value = _value(node, name)
    return int.from_bytes(value, "big") if value else default


def _cells(value: bytes, *widths: int) -> Iterator[tuple[int, ...]]:
    """Tuples of numbers of so many cells each; what is left over at the end is no tuple."""
    step = 4 * sum(widths)
    for at in range(0, len(value) - step + 1, step) if step else ():
        numbers = []
        for width in widths:
            numbers.append(int.from_bytes(value[at : at + 4 * width], "big"))
            at += 4 * width
        yield tuple(numbers)


def _take(facts: Facts, node: "Node", bus: _Bus) -> _Bus:
    """Take one node, which is on `bus`; returns the bus of its children."""
    kind, place = _text(node, "device_type"), node.name.partition("@")[0]
    used = bus.used and _text(node, "status") in ("", "ok", "okay")
    top = bus.above is None
    if kind == "cpu" or place == "cpu":
        processor = f"{_value(node, 'compatible')!r} {node.name} {_text(node, 'model')}"
        if facts.arch == "?":
            facts.arch = next((arch for arch, pattern in _ARCHITECTURES if pattern.search(processor)), "?")
    elif top and (kind == "memory" or place == "memory"):
        if used:
            _memory(facts, node, bus)
    elif top and place == "chosen":
        start, end = _number(node, "linux,initrd-start"), _number(node, "linux,initrd-end")
        if end:
            facts.carved.append(Range(start, end - start, "initrd", "initrd"))
    elif node.parent.name == "reserved-memory":
        if used:
            _reserved(facts, node, bus)
    else:
        status = "assigned" if used else "disabled"
        for base, size in _windows(facts, node, bus):
            facts.devices.append(Device(base, size, "resource", node.name, status=status))
    return _below(facts, node, bus, used, kind in _PCI)


def _below(facts: Facts, node: "Node", bus: _Bus, used: bool, pci: bool) -> _Bus:
    """The bus of a node's children; PCI devices on it have addresses when they are configured, not in the tree."""
    address, size = _number(node, "#address-cells", 2), _number(node, "#size-cells", 1)
    ranges = _value(node, "ranges")
    if not pci:
        if ranges == b"":
            return _Bus(address, size, used, bus, (_ALL,))
        told = _cells(ranges or b"", address, bus.address, size)
        return _Bus(address, size, used, bus, tuple((here, above, length) for here, above, length in told))
    for flags, _, base, length in _cells(ranges or b"", 1, 2, bus.address, size):
        where = bus.to_cpu(base)
        if used and where is not None and flags >> 24 & 3 in _PCI_MEMORY:
            facts.windows.append(Range(where, length, "window", node.name))
    return _Bus(address, size, used, bus)


def _windows(facts: Facts, node: "Node", bus: _Bus) -> Iterator[tuple[int, int]]:
    """Base and size of each window in `reg` that a processor can load from."""
    for base, length in _cells(_value(node, "reg") or b"", bus.address, bus.size):
        where = bus.to_cpu(base)
        if not length or where is None:
            facts.ignored["register of another bus" if length else "register without a size"] += 1
        else:
            yield where, length


def _memory(facts: Facts, node: "Node", bus: _Bus) -> None:
    """RAM: what the kernel may use of it, if that is told, else all."""
    value = _value(node, "linux,usable-memory") or _value(node, "reg") or b""
    for base, length in _cells(value, bus.address, bus.size):
        if length:
            facts.memory.append(Range(base, length, "ram", node.name))
        elif facts.ram_base is None:
            facts.ram_base = base
            facts.lacks = ("the device tree leaves the size of memory to the boot loader", "give --ram SIZE")


def _reserved(facts: Facts, node: "Node", bus: _Bus) -> None:
    """RAM that is somebody's, unless the kernel may use it in the meantime; what has no place yet is the kernel's."""
    if _value(node, "reusable") is not None:
        facts.ignored["reserved but reusable"] += 1
    else:
        facts.carved += (Range(base, size, "firmware", node.name) for base, size in _windows(facts, node, bus))
