"""Reader of /proc/iomem.

A resource inside another one is its child; the reader sees that from the addresses, so lost indentation does no
harm.  RAM is every "System RAM" entry, also one inside a reserved window (hot-plugged: `(kmem)`, `(virtio_mem)`).
What lies inside RAM is the running kernel's own: its image, which is carved out, and `reserved` and `Crash kernel`,
which are RAM to the next kernel.  Devices are PCI functions, named by bus address, and platform devices, named by
memory address.  Without privilege the kernel prints
every address as zero.
"""

import re

from .errors import UnreadableError
from .facts import Device, Facts, Problem, Range
from .text import plain_lines

_ENTRY = re.compile(r"[>|\s]*([0-9a-f]{4,16})-([0-9a-f]{4,16}) : ?(.*)", re.I)
_RECOGNISE = re.compile(r"^[>|\t \xa0]*[0-9a-f]{4,16}-[0-9a-f]{4,16} : ", re.I | re.M)
_OTHER_LIST = re.compile(
    r"^[>|\t \xa0]*[0-9a-f]{4,16}-[0-9a-f]{4,16} : (?:type\b|usable|available|free|conventional)", re.I | re.M
)
"""What Linux never calls a resource: a memory map in the form of /proc/iomem, printed by somebody else."""

_DEVICE = re.compile(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$|[0-9a-f]{6,16}\.[\w-]+")
_ADDRESS = re.compile(r"\b(?:0x)?[0-9a-f]{6,16}\b", re.I)
_MEMORY = {
    "reserved": "reserved",
    "soft reserved": "soft",
    "device reserved": "reserved",
    "unusable memory": "reserved",
    "unknown e820 type": "reserved",
    "acpi tables": "nvram",
    "acpi non-volatile storage": "nvram",
    "persistent memory": "nvram",
    "persistent memory (legacy)": "nvram",
    "video rom": "rom",
    "system rom": "rom",
    "adapter rom": "rom",
    "extension rom": "rom",
}
_IMAGE = ("Kernel code", "Kernel rodata", "Kernel data", "Kernel bss")


def recognises(head: str) -> bool:
    """Whether `head` is /proc/iomem: lines of `start-end : name`."""
    return bool(_RECOGNISE.search(head)) and (": System RAM" in head or not _OTHER_LIST.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described.  Raises UnreadableError where the addresses are hidden."""
    facts = Facts(file)
    facts.origin = "/proc/iomem"
    parents: list[tuple[int, int, str]] = []  # base, end and kind of the entries that enclose the current line
    entries = hidden = first = 0
    for number, raw in plain_lines(text):
        match = _ENTRY.match(raw)
        if not match:
            _other(facts, number, raw)
            continue
        entries += 1
        base, end = int(match[1], 16), int(match[2], 16) + 1
        if end == 1:
            hidden, first = hidden + 1, first or number
        elif end <= base:
            facts.problems.append(Problem(number, "ends before it starts: ignored", raw.strip()))
        else:
            while parents and not parents[-1][0] <= base < end <= parents[-1][1]:
                parents.pop()
            kind = _entry(facts, number, base, end, match[3].split("<-")[0].strip(), [k for _, _, k in parents])
            parents.append((base, end, kind))
    if hidden and hidden == entries:
        raise UnreadableError(
            file, first, f"all {hidden} addresses are zero: /proc/iomem was read without privilege", "read it as root"
        )
    if hidden:
        facts.ignored["zero address"] += hidden
    return [facts]


def _entry(facts: Facts, line: int, base: int, end: int, name: str, parents: list[str]) -> str:
    """Take one resource into the facts; returns its kind of memory ("" for none)."""
    kind = "ram" if name.startswith("System RAM") else _MEMORY.get(name.lower(), "")
    if name in _IMAGE:
        _image(facts, line, base, end)
    elif kind and "ram" in parents:
        facts.ignored["taken by the running kernel"] += 1
    elif kind:
        if any(parents):
            _cut_last(facts.memory, base, end)
        facts.memory.append(Range(base, end - base, kind, name, line))
    elif _DEVICE.match(name):
        facts.devices.append(Device(base, end - base, "resource", name, line=line))
    elif name.startswith("PCI Bus "):
        facts.windows.append(Range(base, end - base, "window", name, line))
    elif "ram" in parents:
        facts.ignored["taken by the running kernel"] += 1
    else:
        facts.ignored["other resource"] += 1
    return kind


def _image(facts: Facts, line: int, base: int, end: int) -> None:
    """The kernel image is one range from the first of its sections to the end of the last."""
    if facts.carved:
        base, line = min(base, facts.carved[0].base), facts.carved[0].line
        end = max(end, facts.carved.pop().end)
    facts.carved.append(Range(base, end - base, "image", "Kernel image", line))


def _cut_last(memory: list[Range], base: int, end: int) -> None:
    """Cut [base, end) out of the enclosing entries at the end of `memory`: a child wins over its parent."""
    for index in range(len(memory) - 1, -1, -1):
        outer = memory[index]
        if outer.base < end and base < outer.end:
            rest = (
                Range(outer.base, base - outer.base, outer.kind, outer.name, outer.line),
                Range(end, outer.end - end, outer.kind, outer.name, outer.line),
            )
            memory[index : index + 1] = [part for part in rest if part.size > 0]


def _other(facts: Facts, line: int, raw: str) -> None:
    if _ADDRESS.search(raw):
        facts.ignored["unclassified"] += 1
        facts.unread.append(Problem(line, "not a resource: ignored", raw.strip()))
    elif raw.strip():
        facts.ignored["text without addresses"] += 1
