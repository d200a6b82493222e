"""Placing: where firmware puts every register and every bridge's window, and how much room that takes.

The placer does what PciBusDxe of EDK II does, the PCI driver of OVMF
(MdeModulePkg/Bus/Pci/PciBusDxe/PciResourceSupport.c: InsertResourceNode, CalculateResourceAperture, DegradeResource):

- On a bus, what wants a place is sorted by alignment, the largest first; of equals, what leaves the least between its
  end and the next multiple comes first; of equals in both, the highest address.  Each is put after the one before, at
  the next multiple of its alignment: its size for a register, that of the largest register in it for a window.  Gaps
  are not filled.
- A bridge's window is as long as what is in it, rounded up to 1 MiB (the specification's unit, 3.2.5.8).
- Prefetchable registers of 64 bits go high; so do those of 64 bits that are not prefetchable, on a root bus.  Behind a
  bridge they go low, since the bridge's window for them has 32 bits.  Prefetchable registers of 32 bits share the other
  window with what is not prefetchable if the bridge has something high behind it, and have the bridge's prefetchable
  window, low, if not.
- On the root bus everything high is one block, and everything low is another.

No order takes less room than this if all lengths are multiples of their alignments, as registers' are, or if all
alignments are equal.  Otherwise there may be a better one: windows of 5 and 5 GiB that want multiples of 4, and one of
3 GiB that wants multiples of 1, take 16 GiB here, and 13 with the small one between the large.  OVMF does not look for
it, so that the room to be left is the larger one.

Linux, where it places itself (drivers/pci/setup-bus.c), sorts in the same way.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kernmalloc.fleet.buses import Bus, Register

GRAIN = 1 << 20
"""Unit of a bridge's windows, bytes."""

HOTPLUG = 2 << 20
"""Bytes that the low window of a bridge has at least, for what may be plugged in: OVMF gives so much to each root port
of QEMU (OvmfPkg/PciHotPlugInitDxe)."""

ROM = 6


class Request(NamedTuple):
    """What wants a place: a register (`window` ""), or the window of the bridge `name` (`window` "memory" or
    "prefetchable") with what is in it and its distance from the window's base."""

    name: str
    bar: int
    size: int
    align: int
    window: str = ""
    members: "tuple[tuple[int, Request], ...]" = ()


class Placed(NamedTuple):
    """A request at its place.  `behind` is the bridge whose window it is in, "" on a root bus."""

    base: int
    size: int
    name: str
    bar: int
    window: str
    behind: str

    @property
    def end(self) -> int:
        """First address after it."""
        return self.base + self.size


class Wants(NamedTuple):
    """What is to be placed on a bus and behind it: low, low but prefetchable, and high."""

    low: list[Request]
    prefetch: list[Request]
    high: list[Request]


def wants(buses: Iterable[Bus], hotplug: int = HOTPLUG) -> tuple[Request, Request]:
    """The low and the high block of root buses that share both; one that is empty has size 0."""
    low, high = [], []
    for bus in buses:
        found = _wants(bus, hotplug)
        low += found.low + found.prefetch
        high += found.high
    return _pack("", low), _pack("", high)


def window_of(bridge: str, window: str, requests: Iterable[Request], least: int) -> Request:
    """The window of a bridge that holds requests, at least `least` bytes, at a multiple of that."""
    block = _pack(bridge, requests)
    return block._replace(size=up(max(block.size, least), GRAIN), align=max(block.align, least), window=window)


def _pack(name: str, requests: Iterable[Request]) -> Request:
    """Requests in firmware's order, as one block."""
    members, end, align = [], 0, 1
    last_first = sorted(requests, key=lambda r: (r.name, r.bar), reverse=True)
    for request in sorted(last_first, key=lambda r: (-r.align, -(r.size % r.align or r.align))):
        base = up(end, request.align)
        members.append((base, request))
        end, align = base + request.size, max(align, request.align)
    return Request(name, -1, end, align, members=tuple(members))


def place(block: Request, base: int) -> Iterator[Placed]:
    """A block's members, and theirs, with the block at an address that is a multiple of its alignment."""
    for offset, member in block.members:
        yield Placed(base + offset, member.size, member.name, member.bar, member.window, block.name)
        yield from place(member, base + offset)


def up(value: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-value // unit) * unit


def _wants(bus: Bus, hotplug: int) -> Wants:
    low, prefetch, high = Wants([], [], [])
    for register in bus.registers:
        if register.wide and (register.prefetch or not bus.bridge):
            high.append(_request(register))
        else:
            (prefetch if register.prefetch and register.bar != ROM else low).append(_request(register))
    for each in bus.buses:
        inner = _wants(each, hotplug)
        if inner.high:
            inner = Wants(inner.low + inner.prefetch, [], inner.high)
        if inner.low or hotplug:
            low.append(window_of(each.bridge, "memory", inner.low, hotplug or GRAIN))
        for found, into in ((inner.prefetch, prefetch), (inner.high, high)):
            if found:
                into.append(window_of(each.bridge, "prefetchable", found, GRAIN))
    return Wants(low, prefetch, high)


def _request(register: Register) -> Request:
    return Request(register.name, register.bar, register.size, 1 << (register.size - 1).bit_length())
