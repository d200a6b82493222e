"""Reader of FreeBSD's `pciconf -lb` (with or without -v and -c).

    vgapci0@pci0:0:2:0:     class=0x030000 card=… chip=… rev=0x35 hdr=0x00          domain:bus:slot:function, decimal
        bar   [18] = type Prefetchable Memory, range 64, base 0xc0000000, size 268435456, enabled

Registers whose `range` is 20 (bits: below 1 MiB) are no memory but a misreading of some uncore devices' configuration.
"""

import re

from kernmalloc.inputs.devices.pci_dump import address, comment, facts_of, lines, put, unknown
from kernmalloc.inputs.facts import Device, Facts, class_role

_HEADER = re.compile(r"[\w-]+@pci(?:(\d{1,5}):)?(\d{1,3}):(\d{1,2}):(\d):\s(?:.*\bclass=(0x[0-9a-f]{6})\b)?")
_RECOGNISE = re.compile(r"^[>|\t \xa0]*[\w-]+@pci\d+:\d+:\d+(?::\d+)?:\s", re.M)
_BAR = re.compile(
    r"bar +\[([0-9a-f]{1,2})\] = type ([\w/ ]+), range (\d{1,2}), base (0x[0-9a-f]{1,16}|0), "
    r"size +(\d{1,20}), (?:en|dis)abled$"
)
_CAPABILITY = re.compile(r"(?:e?cap|VPD|device|vendor|class|subclass)\b")


def recognises(head: str) -> bool:
    """Whether `head` is a list of PCI devices as pciconf prints it."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described; its RAM is not told, unless in a comment."""
    facts = facts_of(file, "pciconf")
    name = "0000:00:00.0"
    for number, line in lines(text):
        if match := _HEADER.match(line + " "):
            name = address(*(int(part or 0) for part in match.group(1, 2, 3, 4)))
            facts.roles[name] = class_role(int(match[5] or "0", 16))
        elif match := _BAR.match(line):
            _take(facts, number, name, *match.groups())
        elif _CAPABILITY.match(line):
            facts.ignored["description of a device"] += 1
        elif not comment(facts, line):
            unknown(facts, number, line)
    return [facts]


def _take(facts: Facts, line: int, name: str, offset: str, kind: str, bits: str, base: str, size: str) -> None:
    if "Memory" not in kind:
        facts.ignored["I/O ports"] += 1
    elif bits not in ("32", "64"):
        facts.ignored["register below 1 MiB"] += 1
    else:
        where = int(base, 16)
        put(
            facts,
            Device(
                where,
                int(size),
                "bar",
                name,
                (int(offset, 16) - 0x10) // 4,
                int(bits),
                "Pref" in kind,
                "assigned" if where else "unassigned",
                line,
            ),
        )
