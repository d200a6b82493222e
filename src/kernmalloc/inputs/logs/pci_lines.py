"""PCI lines of a boot log: base address registers, bridges, and the windows of host bridges.

Linux has printed the same facts in many forms; the last statement about a register wins.

    pci 0000:04:00.0: [10de:2684] type 00 class 0x030000     what the device is for
    pci 0000:04:00.0: reg 0x10: [mem 0x…-0x… 64bit pref]     a register as found ("reg 10:" before 2013)
    pci 0000:04:00.0: BAR 0 [mem 0x…-0x… 64bit pref]         the same since 2023, "ROM" for number 6
    pci 0000:04:00.0: BAR 0: assigned [mem 0x…-0x…]          moved; since 2024 "BAR 0 [mem …]: assigned"
    pci 0000:04:00.0: BAR 0: no space for [mem size 0x…]     left without a place, and its newer forms
    pci 0000:00:1c.0: PCI bridge to [bus 02-05]              a bridge, and the buses behind it
    pci_bus 0000:00: root bus resource [mem 0x…-0x… window]  a host bridge's window
    pci_root PNP0A03:00: host bridge window [mem 0x…-0x…]    the same, long ago

A register at address 0 has only a size.  Numbers 0 to 5 are registers, 6 is the ROM; what follows belongs to virtual
functions and bridges, which forward memory and own none.
"""

import re

from kernmalloc.inputs.facts import Bridge, Device, Facts, Range, class_role

_FUNCTION = r"[0-9a-f][0-9a-f]{3,4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]:"
_SUBJECT = re.compile(r"([0-9a-f:.]+):\s+(.*)")
_WHERE = r"\[mem\s+(?:0x([0-9a-f]+)-0x([0-9a-f]+)|size 0x([0-9a-f]+))([^\]]*)\]"
_REGISTER = re.compile(
    r"reg (?:0x)?([0-9a-f]{2,3})((?: \d+bit mmio)?(?: pref)?): " + _WHERE.replace(r"mem\s+", r"(?:mem\s+)?")
)
_BAR = re.compile(
    r"(?:BAR (\d+)|(ROM)):? (?:(assigned|set to|reserving|releasing|no space for|failed to assign) )?"
    + _WHERE
    + r"(.*)"
)
_CLASS = re.compile(r"\[[0-9a-f]{4}:[0-9a-f]{4}\] type [0-9a-f]+ class (0x[0-9a-f]{6})")
_BRIDGE = re.compile(r"PCI bridge to \[bus ([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]")
_WINDOW = re.compile(
    r"(?:root bus resource|host bridge window) \[mem\s+0x([0-9a-f]+)-\s*0x([0-9a-f]+)([^\]]*)\](?! \(ignored\))"
)
BEGINNINGS = (
    _FUNCTION + r" +(?:reg|BAR|ROM|PCI bridge to|\[[0-9a-f]{4}:)",
    r"root bus resource",
    r"host bridge window",
)
"""How records of these forms begin."""


def fits(record: str) -> bool:
    """Whether a record has one of the forms told above."""
    subject = _SUBJECT.match(record)
    rest = subject[2] if subject else record
    return any(pattern.match(rest) for pattern in (_REGISTER, _BAR, _CLASS, _BRIDGE, _WINDOW))


_LOST = ("no space for", "failed to assign", "releasing")
_LOST_AFTER = (": can't assign", ": failed to assign", ": releasing")


class PciFacts:
    """Collects the registers, bridges and windows of one boot."""

    def __init__(self) -> None:
        self._registers: dict[tuple[str, int], Device] = {}
        self._roles: dict[str, str] = {}
        self._bridges: dict[str, Bridge] = {}
        self._windows: dict[tuple[int, int], Range] = {}

    def take(self, number: int, line: str) -> bool:
        """Use a line if it states a register, a bridge or a host bridge's window; whether it did."""
        if match := _SUBJECT.match(line):
            name, rest = match[1], match[2]
            if match := _REGISTER.match(rest):
                offset = int(match[1], 16)
                bar = 6 if offset in (0x30, 0x38) else (offset - 0x10) // 4
                first, last, size, flags = match.group(3, 4, 5, 6)
                return self._register(number, name, bar, first, last, size, match[2] + flags, False)
            if match := _BAR.match(rest):
                bar = 6 if match[2] else int(match[1])
                lost = match[3] in _LOST or match[8].startswith(_LOST_AFTER)
                first, last, size, flags = match.group(4, 5, 6, 7)
                return self._register(number, name, bar, first, last, size, flags, lost)
            if match := _BRIDGE.match(rest):
                bus, last = int(match[1], 16), int(match[2] or match[1], 16)
                self._bridges[name] = Bridge(name, bus, last)
                return True
            if match := _CLASS.match(rest):
                self._roles[name] = class_role(int(match[1], 16))
        elif match := _WINDOW.match(line):
            base, end = int(match[1], 16), int(match[2], 16) + 1
            if base < end:
                self._windows.setdefault((base, end), Range(base, end - base, "window", match[3].strip(), number))
            return True
        return False

    def _register(
        self,
        line: int,
        name: str,
        bar: int,
        first: str | None,
        last: str | None,
        size: str | None,
        flags: str,
        lost: bool,
    ) -> bool:
        if bar > 6:
            return False
        base = int(first, 16) if first else 0
        length = int(size, 16) if size else int(last, 16) + 1 - base if last else 0
        if length <= 0:
            return False
        if lost:
            base = 0
        status = "assigned" if base else "unassigned"
        kind, bits = "rom" if bar == 6 else "bar", 64 if "64bit" in flags else 32
        self._registers[name, bar] = Device(base, length, kind, name, bar, bits, "pref" in flags, status, line)
        return True

    def put(self, facts: Facts) -> None:
        """Add what was found to the facts."""
        facts.devices += self._registers.values()
        facts.windows += self._windows.values()
        facts.bridges += self._bridges.values()
        facts.roles |= self._roles
