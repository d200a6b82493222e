"""Memory map lines of a boot log, from every kind of firmware.

     BIOS-e820: 0000000000100000 - 00000000efff6500 (usable)          until 2012; the end is exclusive
    BIOS-e820: [mem 0x0000000000100000-0x00000000efff64ff] usable      since; inclusive.  Also BIOS-88, BIOS-e801
    user: …, modified: …, reserve setup_data: …                        the map after changes, in the same forms
    efi: mem00: type=7, attr=0xf, range=[0x0-0x9f000) (0MB)            ")" exclusive
    efi: mem00: [Conventional|…|WB|  ] range=[0x0-0x9efff] (0MB)       "]" inclusive
    efi:   0x000803f80000-0x00080404bfff [Reserved    |…]              arm64; inclusive
      node   0: [mem 0x0000000080000000-0x00000000ffffffff]            what any kernel made of device tree or map
    efi: Remove mem56: MMIO range=[0x…-0x…] (514MB) from e820 map      taken out again after the map was printed

A machine may tell several of these; `MapFacts.put` chooses.
"""

import re

from .errors import InputError
from .facts import Facts, Problem, Range

_SOURCE = r"(BIOS-\w+|Xen|user|modified|reserve setup_data|extended):\s+"
_NEW = re.compile(_SOURCE + r"\[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)\]\s*(.*)", re.I)
_OLD = re.compile(_SOURCE + r"(?:0x)?([0-9a-f]{6,16})\s*-\s*(?:0x)?([0-9a-f]{6,16}) (?:\((.*)\)|(type \d+))", re.I)
_GAP = re.compile(_SOURCE + r"\[gap ")
_BROKEN = re.compile(_SOURCE + r"(?:\[mem|0x|[0-9a-f]{6}).*", re.I)
_NODE = re.compile(r"node\s+\d+: \[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)\]")
_EFI = re.compile(r"efi: mem\d+: (?:type=(\d+),.*?|\[([^|\]]*)[^\]]*\] )range=\s*\[0x([0-9a-f]+)-0x([0-9a-f]+)([\])])")
_EFI_ARM = re.compile(r"efi:\s+0x([0-9a-f]+)-0x([0-9a-f]+) \[([^|\]]*)\|")
_REMOVED = re.compile(
    r"efi: Remove mem\d+: MMIO\s+range=\[0x([0-9a-f]+)-0x([0-9a-f]+)\]"
    r"|e820: remove \[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)\] (?:device )?reserved"
)
_TOTAL = re.compile(r"Memory: \d+[kK]/(\d+)[kK] available")
_RAMDISK = re.compile(r"RAMDISK: \[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)\]|RAMDISK: ([0-9a-f]{8,}) - ([0-9a-f]{8,})")
_INITRD_PPC64 = re.compile(r"Found initrd at 0x(c0[0-9a-f]{14}):0x(c0[0-9a-f]{14})")
_ACPI_TABLE = re.compile(r"ACPI: [A-Z][\w! ]{3} (?:0x)?([0-9a-f]{8,16}) (?:0x)?([0-9a-f]{5,6})(?: \(|$)", re.I)
_TABLE = re.compile(
    r"ACPI: Reserving \S+ table memory at \[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)\]"
    r"|found SMP MP-table at \[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)\]"
)
_RESERVED = re.compile(r"OF: reserved mem: 0x([0-9a-f]+)\.\.0x([0-9a-f]+) \(.*\) \w+ non-reusable (\S*)")
_IMAGE = re.compile(r"([0-9a-f]{8,16})-([0-9a-f]{8,16}) : Kernel (?:code|rodata|data|bss)$")

_TYPES = {
    "usable": "ram",
    "system ram": "ram",
    "acpi data": "nvram",
    "acpi nvs": "nvram",
    "acpi": "nvram",
    "persistent (type 7)": "nvram",
    "persistent (type 12)": "nvram",
    "type 7": "nvram",
    "type 12": "nvram",
}
_RESERVED_TYPE = re.compile(r"(?:soft |device |kernel )?reserved\b|unusable|type \d+|persistent", re.I)
_EFI_TYPES = {
    "loader code": "ram",
    "loader data": "ram",
    "boot code": "ram",
    "boot data": "ram",
    "conventional": "ram",
    "conventional memory": "ram",
    "1": "ram",
    "2": "ram",
    "3": "ram",
    "4": "ram",
    "7": "ram",
    "acpi reclaim": "nvram",
    "acpi mem nvs": "nvram",
    "persistent": "nvram",
    "9": "nvram",
    "10": "nvram",
    "14": "nvram",
}
_PREFERENCE = ("user", "modified", "BIOS", "Xen", "reserve setup_data", "extended", "node", "efi")


class MapFacts:
    """Collects the memory maps of one boot."""

    def __init__(self) -> None:
        self._maps: dict[str, list[Range]] = {}
        self._removed: list[tuple[int, int]] = []
        self._carved: list[Range] = []
        self._broken: dict[str, tuple[int, str]] = {}
        self._problems: list[Problem] = []
        self._total = 0

    @property
    def seen(self) -> frozenset[str]:
        """The sources of map entries seen so far."""
        return frozenset(self._maps)

    def take(self, number: int, line: str) -> bool:
        """Use a line if it is part of a memory map; whether it was."""
        if match := _NEW.match(line):
            self._entry(number, match[1], int(match[2], 16), int(match[3], 16) + 1, match[4])
        elif match := _OLD.match(line):
            self._entry(number, match[1], int(match[2], 16), int(match[3], 16), match[4] or match[5])
        elif match := _NODE.match(line):
            self._add(number, "node", int(match[1], 16), int(match[2], 16) + 1, "ram", "node range")
        elif match := _EFI.match(line):
            kind = (match[1] or match[2]).strip()
            self._add(
                number,
                "efi",
                int(match[3], 16),
                int(match[4], 16) + (match[5] == "]"),
                _EFI_TYPES.get(kind.lower(), "reserved"),
                kind,
            )
        elif match := _EFI_ARM.match(line):
            kind = match[3].strip()
            self._add(
                number, "efi", int(match[1], 16), int(match[2], 16) + 1, _EFI_TYPES.get(kind.lower(), "reserved"), kind
            )
        elif match := _REMOVED.match(line):
            self._removed.append((int(match[1] or match[3], 16), int(match[2] or match[4], 16) + 1))
        elif match := _TOTAL.match(line):
            self._total = int(match[1]) << 10
        elif match := _RAMDISK.match(line):
            first, last = (match[1], match[2]) if match[1] else (match[3], match[4])
            self._carve(number, int(first, 16), int(last, 16) + bool(match[1]), "initrd", "RAMDISK")
        elif match := _INITRD_PPC64.match(line):
            linear = 0xC << 60
            self._carve(number, int(match[1], 16) - linear, int(match[2], 16) - linear, "initrd", "initrd")
        elif match := _TABLE.match(line):
            self._carve(number, int(match[1] or match[3], 16), int(match[2] or match[4], 16) + 1, "table", "boot table")
        elif match := _ACPI_TABLE.match(line):
            base = int(match[1], 16)
            self._carve(number, base, base + int(match[2], 16), "table", "ACPI table")
        elif match := _RESERVED.match(line):
            self._carve(number, int(match[1], 16), int(match[2], 16) + 1, "firmware", match[3])
        elif match := _IMAGE.match(line):
            self._carve(number, int(match[1], 16), int(match[2], 16) + 1, "image", "Kernel image")
        elif (match := _BROKEN.match(line)) and not _GAP.match(line):
            self._broken.setdefault(_source(match[1]), (number, line))
        else:
            return False
        return True

    def _entry(self, line: int, source: str, base: int, end: int, kind: str | None) -> None:
        name = (kind or "").split("#")[0].strip()
        known = _TYPES.get(name.lower())
        if not known and not _RESERVED_TYPE.match(name):
            self._problems.append(Problem(line, "unknown type of map entry: taken as reserved", name or "no type"))
        self._add(line, _source(source), base, end, known or "reserved", name)

    def _add(self, line: int, source: str, base: int, end: int, kind: str, name: str) -> None:
        self._maps.setdefault(source, []).append(Range(base, end - base, kind, name, line))

    def _carve(self, line: int, base: int, end: int, kind: str, name: str) -> None:
        self._carved.append(Range(base, end - base, kind, name, line))

    def put(self, facts: Facts) -> None:
        """Add the map to the facts: the most final one that tells RAM, with the changes made after it was printed."""
        with_ram = (s for s in _PREFERENCE if s in self._broken or any(r.kind == "ram" for r in self._maps.get(s, ())))
        source = next(with_ram, None) or next((s for s in _PREFERENCE if s in self._maps), "")
        if source in self._broken:
            line, text = self._broken[source]
            facts.refusal = InputError(
                facts.file,
                line,
                f"map entry that cannot be read: {text}",
                "what it says about RAM is unknown: correct the line or take it out",
            )
        facts.memory = self._maps.get(source, [])
        facts.origin = source
        facts.carved = self._carved
        if source == "node":  # of a device tree or, on arm64, of a firmware map in which some of this RAM is not free
            facts.carved += [
                Range(r.base, r.size, "firmware", r.name, r.line) for r in self._maps.get("efi", ()) if r.kind != "ram"
            ]
        elif source != "efi":
            for base, end in self._removed:
                facts.memory = [part for r in facts.memory for part in _without(r, base, end)]
        facts.total = self._total
        facts.problems += self._problems
        facts.complete = bool(self._total or "node" in self._maps)


def _source(prefix: str) -> str:
    """The source that a line's prefix names: BIOS-e820, BIOS-88 and BIOS-e801 are one."""
    return "BIOS" if prefix.startswith("BIOS") else prefix


def _without(r: Range, base: int, end: int) -> list[Range]:
    """What is left of a firmware entry when [base, end) is taken out; RAM stays."""
    if r.kind == "ram" or r.end <= base or end <= r.base:
        return [r]
    parts = (Range(r.base, base - r.base, r.kind, r.name, r.line), Range(end, r.end - end, r.kind, r.name, r.line))
    return [part for part in parts if part.size > 0]
