"""Reader of Linux boot logs."""

import re

from .facts import Facts, Range
from .text import log_lines

_E820_NEW = re.compile(r"(BIOS-\w+|user|modified): \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]\s+(.*)")
_E820_OLD = re.compile(r"(BIOS-\w+|user|modified): ([0-9a-f]{16}) - ([0-9a-f]{16}) (?:\((.*)\)|(type \d+))")
_PCI_BAR = re.compile(r"pci (\S+): (?:reg 0x\w+: |BAR \d+ )\[mem 0x([0-9a-f]+)-0x([0-9a-f]+)")
_KIND = {"usable": "ram", "System RAM": "ram", "ACPI data": "nvram", "ACPI NVS": "nvram"}


def recognises(head: str) -> bool:
    return "BIOS-" in head or "Linux version" in head


def read(text: str, file: str) -> list[Facts]:
    facts = Facts(file)
    facts.origin = "BIOS-e820"
    for number, line, _ in log_lines(text):
        if match := _E820_NEW.match(line):
            base, end, kind = int(match[2], 16), int(match[3], 16) + 1, match[4].strip()
        elif match := _E820_OLD.match(line):
            base, end, kind = int(match[2], 16), int(match[3], 16), match[4] or match[5]
        else:
            continue
        facts.memory.append(Range(base, end - base, _KIND.get(kind, "reserved"), kind, number))
    return [facts]
