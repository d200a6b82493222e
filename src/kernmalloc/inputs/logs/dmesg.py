"""Reader of Linux boot logs, as dmesg, syslog, journald and mail have kept them.

One file may hold several boots: each is one `Facts`.  A boot begins where a second map of the same source begins.
"""

import re

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.logs import ignored_lines, memory_lines, pci_lines
from kernmalloc.inputs.logs.memory_lines import MapFacts
from kernmalloc.inputs.logs.pci_lines import PciFacts
from kernmalloc.inputs.maps import xen
from kernmalloc.inputs.text import Beginnings, Record, clean, records

_NAMES = (r"DMI: (?!not present|Memory slots)", r"Machine model: ", r"Hardware name: ")
_NAME = re.compile(rf"(?:{'|'.join(_NAMES)})(.+?)(?:, BIOS .*)?$")
_MAPS = {
    "BIOS-provided physical RAM map": "BIOS",
    "Early memory node ranges": "node",
    "Early memory PFN ranges": "node",
    "early_node_map": "node",
}
"""Headings of maps, and the source that the entries under each name."""

_BEGINNINGS = Beginnings(*memory_lines.BEGINNINGS, *pci_lines.BEGINNINGS, *_NAMES, *_MAPS)
_RANGE = re.compile(r"\[(?:mem|io|bus)\b[^\]]*\]")
_RECOGNISE = re.compile(
    r"Linux version \d|BIOS-(?:e820|88|e801)|BIOS-provided|efi: EFI v\d|init_memory_mapping: "
    r"|pci(?:_bus|eport)? [0-9a-f]{4,5}:[0-9a-f]{2}"
)
_ARCHITECTURES = tuple(
    (arch, re.compile(pattern))
    for arch, pattern in (
        (
            "x86_64",
            r"BIOS-\w+: |Xen-provided|(?:HIGH|LOW)MEM available|x86_64|x86/|\[(?:mem|gap) [^\]]*\] available for PCI",
        ),
        ("riscv64", r"riscv64|riscv-|\bSBI (?:spec|impl)|HiFive|riscv: "),
        ("ppc", r"[pP]owerpc|powernv|PowerMac|POWER\d|ppc64|hash-mmu|radix-mmu|fsl-pci|A-EON|PCI host bridge /p"),
        ("parisc", r"hppa|PA-RISC|\bLBA \d"),
        ("arm", r"ARMv[4-7]|\barmv7|arm-linux|CPU: ARM|    (?:vector|modules) +: 0x|MiB at 0x[0-9a-f]{8}\b|mvebu-pcie"),
        ("m68k", r"\bm68k|COLDFIRE"),
        ("mips", r"\bmips|\bMIPS\b|SGI-IP|Loongson|CPU0 revision is"),
        (
            "arm64",
            r"[aA][aA]rch64|\barm64\b|GICv3:|physical CPU 0x0000000000 \[|psci: |arm-smmu|MiB at 0x[0-9a-f]{16}\b|ITS@",
        ),
    )
)
"""What betrays an architecture, in the order of its weight; the log does not say it plainly."""

_PCS = ("x86_64", "i386", "?")
"""Architectures whose RAM, where only its amount is told, lies as on a PC."""

_I386 = re.compile(
    r"(?:HIGH|LOW)MEM available|HighMem +(?:\[mem|0x|zone)|non-PAE|i[3-6]86-linux|BIOS-(?:88|e801):"
    r"|Linux version 2\.4"
)
"""What betrays a 32-bit kernel among those of x86."""


def recognises(head: str) -> bool:
    """Whether `head` is a Linux boot log or an excerpt of one: whatever a line is read for, it is recognised by."""
    if _RECOGNISE.search(head):
        return True
    maps, pci = MapFacts(), PciFacts()
    return any(
        maps.take(0, r.text) or pci.take(0, r.text)
        for r in records(head, _BEGINNINGS, _goes_on)
        if r.known and " : Kernel" not in r.text  # which /proc/iomem tells, too
    )


def _goes_on(record: Record) -> bool:
    """Whether a record is wrapped, so that its rest is in the next line: it begins as a form does, and has none."""
    text = record.text
    if not record.known:
        return bool(ignored_lines.CUT.search(text))
    if memory_lines.lacks_end(text):
        return True
    whole = _RANGE.search(text) or _NAME.match(text) or text.startswith(tuple(_MAPS))
    return not (whole or memory_lines.fits(text) or pci_lines.fits(text))


def read(text: str, file: str) -> list[Facts]:
    """One `Facts` for each boot in the log, in its order."""
    arch = next((arch for arch, pattern in _ARCHITECTURES if pattern.search(text)), "?")
    if arch == "x86_64" and _I386.search(text):
        arch = "i386"
    boots = [_Boot(file, arch)]
    for record in records(text, _BEGINNINGS, _goes_on):
        if record.known and boots[-1].begins_again(record.text):
            boots.append(_Boot(file, arch))
        boots[-1].take(record)
    told = [boot.finish() for boot in boots]
    if xen.recognises(text):
        _put_beside(told, xen.read(text, file)[-1])
    return told


def _put_beside(boots: list[Facts], hypervisor: Facts) -> None:
    """The map that a hypervisor prints before its first domain boots is the machine's; the domain's is beside it."""
    for facts in boots:
        if hypervisor.memory and facts.memory and not facts.domain:
            facts.memory, facts.domain = hypervisor.memory, facts.memory
            facts.origin = f"{hypervisor.origin}; {facts.origin}"


class _Boot:
    """Collects the facts of one boot."""

    def __init__(self, file: str, arch: str) -> None:
        self.facts, self.map, self.pci = Facts(file), MapFacts(), PciFacts()
        self.facts.arch = arch
        self.named = False

    def begins_again(self, heading: str) -> bool:
        """Whether a record is the heading of another boot's memory map: the map under it is there already.

        Node ranges follow a firmware map in the same boot, and logs pasted in pieces repeat them.
        """
        source = next((source for words, source in _MAPS.items() if heading.startswith(words)), "")
        return source in self.map.seen and (source == "BIOS" or "BIOS" not in self.map.seen)

    def take(self, record: Record) -> None:
        if record.known:
            if self.map.take(record.line, record.text) or self.pci.take(record.line, record.text):
                return
            if match := _NAME.match(record.text):
                if not self.named:
                    self.named, self.facts.name = True, clean(match[1])
                return
        line = record.before + record.text
        if reason := ignored_lines.reason(line):
            self.facts.ignored[reason] += 1
            if reason == "unclassified":
                self.facts.unread.append(Problem(record.line, "not understood", clean(line)))

    def finish(self) -> Facts:
        self.map.put(self.facts)
        self.pci.put(self.facts)
        if self.facts.arch not in _PCS:
            self.facts.ram_base = 0
        return self.facts
