"""Reader of Linux boot logs, as dmesg, syslog, journald and mail have kept them.

One file may hold several boots: each is one `Facts`.  A boot begins where a second map of the same source begins.
"""

import re

from . import ignored_lines
from .facts import Facts, Problem
from .memory_lines import MapFacts
from .pci_lines import PciFacts
from .text import log_lines

_RECOGNISE = re.compile(
    r"BIOS-(?:e820|88|e801)|Linux version \d|root bus resource|pci(?:_bus|eport)? [0-9a-f]{4,5}:[0-9a-f]{2}"
    r"|Early memory node ranges|efi: +mem\d|Memory: \d+[kK]/"
)
_NAME = re.compile(
    r"DMI: (?!not present|Memory slots)(.+?)(?:, BIOS .*)?$"
    r"|(?:OF: fdt: )?Machine model: (.+)$|Hardware name: (.+)$"
)
_MAP_START = re.compile(r"BIOS-provided physical RAM map|Early memory node ranges")
_ARCHITECTURES = tuple(
    (arch, re.compile(pattern))
    for arch, pattern in (
        ("x86_64", r"BIOS-\w+: |x86_64|x86/|\[(?:mem|gap) [^\]]*\] available for PCI"),
        ("riscv64", r"riscv64|riscv-|\bSBI (?:spec|impl)|HiFive|riscv: "),
        ("ppc", r"[pP]owerpc|powernv|PowerMac|POWER\d|ppc64|hash-mmu|radix-mmu|fsl-pci|A-EON|PCI host bridge /p"),
        ("parisc", r"hppa|PA-RISC|\bLBA \d"),
        ("arm", r"ARMv[4-7]|\barmv7|arm-linux|CPU: ARM|    (?:lowmem|fixmap)  : |MiB at 0x[0-9a-f]{8}\b|mvebu-pcie"),
        ("mips", r"\bmips|\bMIPS\b|SGI-IP|Loongson|CPU0 revision is"),
        (
            "arm64",
            r"aarch64|\barm64\b|GICv3:|physical CPU 0x0000000000 \[|psci: |arm-smmu|MiB at 0x[0-9a-f]{16}\b|ITS@",
        ),
    )
)
"""What betrays an architecture, in the order of its weight; the log does not say it plainly."""

_I386 = re.compile(
    r"(?:HIGH|LOW)MEM available|HighMem +(?:\[mem|0x|zone)|non-PAE|i[3-6]86-linux|BIOS-(?:88|e801):"
    r"|Linux version 2\.4"
)
"""What betrays a 32-bit kernel among those of x86."""


def recognises(head: str) -> bool:
    """Whether `head` is a Linux boot log or an excerpt of one."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """One `Facts` for each boot in the log, in its order."""
    arch = next((arch for arch, pattern in _ARCHITECTURES if pattern.search(text)), "?")
    if arch == "x86_64" and _I386.search(text):
        arch = "i386"
    boots = [_Boot(file, arch)]
    for number, line in log_lines(text):
        if _MAP_START.match(line) and boots[-1].begins_again(line):
            boots.append(_Boot(file, arch))
        if line:
            boots[-1].take(number, line)
    return [boot.finish() for boot in boots]


class _Boot:
    """Collects the facts of one boot."""

    def __init__(self, file: str, arch: str) -> None:
        self.facts, self.map, self.pci = Facts(file), MapFacts(), PciFacts()
        self.facts.arch = arch
        self.named = False

    def begins_again(self, heading: str) -> bool:
        """Whether a heading of a memory map starts another boot: the map under it is there already.

        Node ranges follow a firmware map in the same boot, and logs pasted in pieces repeat them.
        """
        source = "BIOS" if heading.startswith("BIOS") else "node"
        return source in self.map.seen and (source == "BIOS" or "BIOS" not in self.map.seen)

    def take(self, number: int, line: str) -> None:
        if self.map.take(number, line) or self.pci.take(number, line):
            return
        if match := _NAME.match(line):
            if not self.named:
                self.named, self.facts.name = True, next(filter(None, match.groups()))
            return
        if reason := ignored_lines.reason(line):
            self.facts.ignored[reason] += 1
            if reason == "unclassified":
                self.facts.unread.append(Problem(number, "not understood", line))

    def finish(self) -> Facts:
        self.map.put(self.facts)
        self.pci.put(self.facts)
        return self.facts
