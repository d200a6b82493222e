"""Reader of the `resource` files of PCI devices in Linux's sysfs.

Each line is `start end flags`, the end included: six registers, the ROM, then what virtual functions and bridges have,
which forward memory and own none.  Which device the lines belong to is told by any line with its address, or by the
path before each line:

    device 0000:00:02.0 class=0x030000 …                                  a heading, also as head and tail print it
      0x00000000f0000000 0x00000000f03fffff 0x0000000000140204
    /sys/bus/pci/devices/0000:00:02.0/resource:0x00000000f0000000 …       grep . /sys/bus/pci/devices/*/resource
"""

import re
from pathlib import PurePath

from kernmalloc.inputs.devices.pci_dump import comment, facts_of, lines, put, unknown
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device, Facts, class_role

_ADDRESS = re.compile(r"\b[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b")
_LINE = re.compile(r"(?:(\S*[/:]resource):)?\s*0x([0-9a-f]{16}) 0x([0-9a-f]{16}) 0x([0-9a-f]{16})$")
_CLASS = re.compile(r"\bclass=(0x[0-9a-f]{6})\b")
_RECOGNISE = re.compile(r"^[>|\t \xa0]*(?:\S*[/:]resource:)?(?:0x[0-9a-f]{16} ?){3}$", re.M)
_MEMORY, _PREFETCH, _WIDE, _UNSET = 0x200, 0x3000, 0x100000, 0x20000000
"""Flags of a resource, as include/linux/ioport.h names them: IORESOURCE_MEM, _PREFETCH (0x1000 in old kernels, 0x2000
since), _MEM_64, _UNSET."""

LINES = 18
"""Lines of one device at most: six registers, the ROM, six of virtual functions, four or five bridge windows."""


def recognises(head: str) -> bool:
    """Whether `head` has lines of three 64-bit numbers."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described; its RAM is not told, unless in a comment.

    Raises InputError where lines of several devices follow each other and nothing tells whose they are.
    """
    facts = facts_of(file, "sysfs resource files")
    name, index = _name(file), 0
    for number, line in lines(text):
        if match := _LINE.match(line):
            if match[1] and _name(match[1]) != name:
                name, index = _name(match[1]), 0
            if index == LINES:
                raise InputError(
                    file,
                    number,
                    f"more than {LINES} lines without the address of a device before them",
                    "print them by grep . /sys/bus/pci/devices/*/resource",
                )
            _take(facts, number, name, index, *(int(part, 16) for part in match.group(2, 3, 4)))
            index += 1
        elif match := _ADDRESS.search(line):
            name, index = match[0], 0
            if told := _CLASS.search(line):
                facts.roles[name] = class_role(int(told[1], 16))
        elif not comment(facts, line):
            unknown(facts, number, line)
    return [facts]


def _name(path: str) -> str:
    """The device whose `resource` file this is: its folder's name."""
    match = _ADDRESS.search(str(PurePath(path).parent))
    return match[0] if match else "0000:00:00.0"


def _take(facts: Facts, line: int, name: str, index: int, start: int, end: int, flags: int) -> None:
    if not flags:
        return
    if not flags & _MEMORY:
        facts.ignored["I/O ports"] += 1
    elif index > 6:
        facts.ignored["window of a bridge or of virtual functions"] += 1
    else:
        base = 0 if flags & _UNSET else start
        put(
            facts,
            Device(
                base,
                end + 1 - start,
                "rom" if index == 6 else "bar",
                name,
                index,
                64 if flags & _WIDE else 32,
                bool(flags & _PREFETCH),
                "assigned" if base else "unassigned",
                line,
            ),
        )
