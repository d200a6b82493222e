"""Reader of Windows' System Information: what `msinfo32` exports as text, or what was pasted of it.

    [System Summary]                                              names of sections and fields are in Windows' language
    Installed Physical Memory (RAM)<tab>16.0 GB                   how much RAM there is, not where
    [I/O]
    0x00000000-0x00000CF7<tab>PCI bus<tab>OK                      ports look like addresses, and end below 64 KiB
    [Memory]
    0x80000000-0xFEBFFFFF<tab>PCI bus<tab>OK                      a host bridge's window, with other ranges in it
    0xC1000000-0xC1FFFFFF<tab>PCI-to-PCI bridge<tab>OK            told of each bridge on the way, then of the device
    0xC1000000-0xC1FFFFFF<tab>NVIDIA GeForce 8200M G<tab>OK
    [Display]
    Name<tab>NVIDIA GeForce 8200M G
    Memory Address<tab>0xC1000000-0xC1FFFFFF

A pasted export has spaces for tabs.  A range that has others inside is no device's, in whatever language it is named.
"""

import re
from itertools import pairwise

from kernmalloc.inputs.devices.pci_dump import comment, facts_of, lines
from kernmalloc.inputs.facts import Device, Facts, Range

_SPAN = r"0x([0-9A-F]{1,16})-0x([0-9A-F]{1,16})"
_STATUS = r"(?:OK|\u041e\u041a|Error|Degraded|Unknown)"
_ROW = re.compile(rf"{_SPAN}[\t ]+(\S.*?)[\t ]+{_STATUS}$", re.I)
_OWN = re.compile(rf"Memory Address[\t ]+{_SPAN}$", re.I)
_NAME = re.compile(r"Name[\t ]+(\S.*)")
_RAM = re.compile(r"[^\t]*\(RAM\)[\t ]+(\d{1,6})(?:[.,](\d{1,2}))?[ \xa0]?([MGT])")
_TYPE = re.compile(r"[^\t\d]*[\t ](x64|x86|ARM64)-ba", re.I)
_RECOGNISE = re.compile(
    rf"^[ \t]*(?:{_SPAN}[\t ]+\S.*[\t ]{_STATUS}|Memory Address[\t ]+{_SPAN})[ \t\r]*$", re.I | re.M
)
_BRIDGE = re.compile(r"\bPCI(?: Express)?[ -](?:bus|root|.*bridge)|root port|motherboard resources|system board", re.I)
_PORTS = 1 << 16
_ARCHITECTURES = {"x64": "x86_64", "x86": "i386", "arm64": "arm64"}


def recognises(head: str) -> bool:
    """Whether `head` has resources as msinfo32 lists them."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described; of its RAM only how much there is."""
    facts = facts_of(file, "msinfo32")
    found: dict[tuple[int, int], Range] = {}
    name = ""
    for number, line in lines(text):
        if match := _ROW.match(line):
            owner, bridge = match[3], bool(_BRIDGE.search(match[3]))
        elif match := _OWN.match(line):
            owner, bridge = name, False
        else:
            name = named[1] if (named := _NAME.match(line)) else name
            if not comment(facts, line):
                _summary(facts, line)
            continue
        base, end = int(match[1], 16), int(match[2], 16) + 1
        if end <= _PORTS:
            facts.ignored["I/O ports"] += 1
        elif end <= base:
            facts.ignored["range that ends before it starts"] += 1
        elif not bridge or (base, end) not in found:
            found[base, end] = Range(base, end - base, "window" if bridge else "resource", owner, number)
    _share_out(facts, sorted(found.values(), key=lambda r: (r.base, -r.end)))
    return [facts]


def _summary(facts: Facts, line: str) -> None:
    """Take a line of the summary, if it is one of those that count."""
    if match := _RAM.match(line):
        unit = 1 << {"M": 20, "G": 30, "T": 40}[match[3]]
        facts.total = int(match[1]) * unit + int((match[2] or "0").ljust(2, "0")) * unit // 100
    elif match := _TYPE.match(line):
        facts.arch = _ARCHITECTURES[match[1].lower()]
    elif line.startswith("System Model"):
        facts.name = line.removeprefix("System Model").strip() or facts.name


def _share_out(facts: Facts, ranges: list[Range]) -> None:
    """Tell devices from what only forwards to them; `ranges` are sorted, what encloses another before that."""
    for outer, inner in pairwise([*ranges, Range(1 << 64, 1, "resource")]):
        if outer.kind == "window" or inner.end <= outer.end:
            facts.ignored["window of a bridge or of the board"] += 1
        else:
            facts.devices.append(Device(outer.base, outer.size, "resource", outer.name, line=outer.line))
