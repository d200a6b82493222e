"""Reader of /proc/iomem.

A resource inside another one is its child; the reader sees that from the addresses, so lost indentation does no
harm.  RAM is every "System RAM" entry, also one inside a reserved window (hot-plugged: `(kmem)`, `(virtio_mem)`).
What lies inside RAM is the running kernel's own: its image, which is carved out, and `reserved` and `Crash kernel`,
which are RAM to the next kernel.  Devices are PCI functions, named by bus address, and platform devices, named by
memory address.  Without privilege the kernel prints
every address as zero.
"""

import re
from collections.abc import Iterator

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Device, Facts, Problem, Range
from kernmalloc.inputs.text import plain_lines

_LINE = re.compile(r"[>|\s]*([0-9a-f]{4,16})-([0-9a-f]{4,16}) : ?(.*)", re.I)
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
    open_: list[_Entry] = []  # entries that enclose the current line, each in the one before
    entries = hidden = first = 0
    for number, raw in plain_lines(text):
        match = _LINE.match(raw)
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
            while open_ and not open_[-1].base <= base < end <= open_[-1].end:
                facts.memory += open_.pop().parts()
            outer = open_[-1] if open_ else None
            open_.append(_entry(facts, number, base, end, match[3].split("<-")[0].strip(), outer))
    facts.memory += (part for entry in open_ for part in entry.parts())
    facts.memory.sort(key=lambda r: (r.line, r.base))
    if hidden and hidden == entries:
        raise UnreadableError(
            file, first, f"all {hidden} addresses are zero: /proc/iomem was read without privilege", "read it as root"
        )
    if hidden:
        facts.ignored["zero address"] += hidden
    return [facts]


class _Entry:
    """A resource that may enclose others.  `kind` is that of its memory ("" for none), `in_ram` whether it is or lies
    in RAM, `memory` the nearest entry of memory around what it encloses, and `cuts` what such children take of it."""

    def __init__(self, base: int, end: int, name: str, line: int, kind: str, outer: "_Entry | None") -> None:
        self.base, self.end, self.name, self.line, self.kind = base, end, name, line, kind
        self.in_ram: bool = kind == "ram" or bool(outer and outer.in_ram)
        self.memory: _Entry | None = self if kind else outer and outer.memory
        self.cuts: list[tuple[int, int]] = []

    def parts(self) -> Iterator[Range]:
        """What of its memory is left: a child wins over its parent."""
        base = self.base
        for low, high in (*sorted(self.cuts), (self.end, self.end)) if self.kind else ():
            if base < low:
                yield Range(base, low - base, self.kind, self.name, self.line)
            base = max(base, high)


def _entry(facts: Facts, line: int, base: int, end: int, name: str, outer: _Entry | None) -> _Entry:
    """Take one resource into the facts, which lies in `outer`."""
    kind = "ram" if name.startswith("System RAM") else _MEMORY.get(name.lower(), "")
    taken = bool(outer and outer.in_ram)
    if name in _IMAGE:
        _image(facts, line, base, end)
    elif kind and not taken:
        if outer and outer.memory:
            outer.memory.cuts.append((base, end))
    elif _DEVICE.match(name):
        facts.devices.append(Device(base, end - base, "resource", name, line=line))
    elif name.startswith("PCI Bus "):
        facts.windows.append(Range(base, end - base, "window", name, line))
    elif taken:
        facts.ignored["taken by the running kernel"] += 1
    else:
        facts.ignored["other resource"] += 1
    return _Entry(base, end, name, line, "" if taken else kind, outer)


def _image(facts: Facts, line: int, base: int, end: int) -> None:
    """The kernel image is one range from the first of its sections to the end of the last."""
    if facts.carved:
        base, line = min(base, facts.carved[0].base), facts.carved[0].line
        end = max(end, facts.carved.pop().end)
    facts.carved.append(Range(base, end - base, "image", "Kernel image", line))


def _other(facts: Facts, line: int, raw: str) -> None:
    if _ADDRESS.search(raw):
        facts.ignored["unclassified"] += 1
        facts.unread.append(Problem(line, "not a resource: ignored", raw.strip()))
    elif raw.strip():
        facts.ignored["text without addresses"] += 1
