"""Buses: which register of a machine's devices is behind which bridge.

A bridge between PCI buses forwards two windows of memory to what is behind it: one of 32 bits, and one for prefetchable
registers, of 64 bits (PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5.8 to 3.2.5.10).  What is behind what is
told by the addresses of devices (domain:bus:device.function) and by the bridges that a file tells (`Machine.bridges`):

- a bus that a bridge leads to is behind that bridge;
- one that no bridge leads to is a root bus, if the file tells bridges, and else behind a bridge of its own on bus 0;
- bus 0 is a root bus;
- a card that was added has no address and sits in a root port of its own: behind a bridge on bus 0.

An entry of /proc/iomem or of a device tree counts if its name is the address of a PCI device.  What is in a domain from
0x10000 on is inside a register of another device and wants no place of its own: Linux numbers so the domains that a
controller of Intel's (VMD) keeps in its registers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from kernmalloc.inputs.facts import Device
from kernmalloc.machine.memory_map import Machine

HIGH = 1 << 32
"""Where addresses begin that take 64 bits."""

_ADDRESS = re.compile(r"([0-9a-f]{4,8}:[0-9a-f]{2}):[0-9a-f]{2}\.[0-9a-f]+")
_INSIDE = 0x10000


class Register(NamedTuple):
    """A register of memory that wants a place: of device `name`, number `bar`, `size` bytes. `wide`: it takes addresses
    of 64 bits. `base` is where it is now."""

    name: str
    bar: int
    size: int
    wide: bool
    prefetch: bool
    base: int


class Bus:
    """A bus: the bridge that leads to it ("" for a root bus), its registers, and the buses behind bridges on it."""

    def __init__(self, bridge: str = ""):
        self.bridge = bridge
        self.registers: list[Register] = []
        self.buses: list[Bus] = []


def registers(machine: Machine) -> list[Register]:
    """Every register that wants a place.  One that is listed at several addresses is one; cards that were added under
    the same name are told apart by a number."""
    found: dict[tuple[str, int, int], Register] = {}
    cards: Counter[tuple[str, int]] = Counter()
    for device in machine.devices:
        name, on_pci = device.name, _ADDRESS.fullmatch(device.name)
        inside = on_pci and int(name.split(":")[0], 16) >= _INSIDE
        if inside or device.status == "disabled" or (device.kind == "resource" and not on_pci):
            continue
        if not on_pci and device.bar >= 0:
            cards[name, device.bar] += 1
            if cards[name, device.bar] > 1:
                name = f"{name} #{cards[name, device.bar]}"
        key = (name, device.bar, 0 if device.bar >= 0 else device.base or -device.line)
        if key not in found or found[key].size < device.size:
            found[key] = _register(name, device)
    return list(found.values())


def _register(name: str, device: Device) -> Register:
    """Where its bits are not told, an address above 4 GiB tells that a register takes 64, and is prefetchable."""
    high = not device.bits and device.base >= HIGH
    return Register(name, device.bar, device.size, device.bits == 64 or high, device.prefetch or high, device.base)


def root_buses(machine: Machine) -> dict[str, Bus]:
    """The root buses that have registers on or behind them, by "domain:bus"."""
    leads = {f"{b.name.split(':')[0]}:{b.bus:02x}": b.name for b in machine.bridges if b.bus > _number(b.name)}
    told = {key.split(":")[0] for key in leads}
    known: dict[str, Bus] = {}

    def bus(key: str) -> Bus:
        if key not in known:
            bridge, above = _above(key, leads, told)
            known[key] = Bus(bridge)
            if bridge:
                bus(above).buses.append(known[key])
        return known[key]

    for register in registers(machine):
        match = _ADDRESS.fullmatch(register.name)
        bus(match[1] if match else register.name).registers.append(register)
    return {key: found for key, found in known.items() if not found.bridge}


def _above(key: str, leads: dict[str, str], told: set[str]) -> tuple[str, str]:
    """The bridge that leads to a bus, and the bus that the bridge is on: both "" for a root bus."""
    if bridge := leads.get(key):
        return bridge, bridge[: bridge.rindex(":")]
    domain, _, number = key.rpartition(":")
    if not re.fullmatch(r"[0-9a-f]{4,8}", domain):
        return f"port of {key}", "0000:00"
    return ("", "") if domain in told or number == "00" else (f"bridge to {key}", f"{domain}:00")


def _number(address: str) -> int:
    """The bus of an address."""
    return int(address.split(":")[1], 16)


def behind(bus: Bus) -> Iterator[Bus]:
    """The buses behind bridges on a bus, and those behind these."""
    for each in bus.buses:
        yield each
        yield from behind(each)
