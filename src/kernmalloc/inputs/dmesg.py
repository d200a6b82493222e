"""Reader of Linux boot logs, as dmesg, syslog, journald and mail have kept them.

One file may hold several boots: each is one `Facts`.  A boot begins where a second map of the same source begins.
"""

import re

from .facts import Facts
from .memory_lines import MapFacts
from .pci_lines import PciFacts
from .text import log_lines

_RECOGNISE = re.compile(
    r"BIOS-(?:e820|88|e801)|Linux version \d|root bus resource|pci(?:_bus|eport)? [0-9a-f]{4,5}:[0-9a-f]{2}|"
    r"Early memory node ranges|efi: +mem\d|Memory: \d+[kK]/"
)
_NAME = re.compile(r"DMI: (.+?)(?:, BIOS .*)?$|(?:OF: fdt: |)Machine model: (.+)$|Hardware name: (.+)$")
_START = re.compile(r"BIOS-provided physical RAM map|Early memory node ranges")


def recognises(head: str) -> bool:
    """Whether `head` is a Linux boot log or an excerpt of one."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """One `Facts` for each boot in the log, in its order."""
    boots = [_Boot(file)]
    for number, line in log_lines(text):
        if not line:
            continue
        if _START.match(line):
            if line in boots[-1].started:
                boots.append(_Boot(file))
            boots[-1].started.add(line)
        boot = boots[-1]
        if boot.map.take(number, line) or boot.pci.take(number, line):
            continue
        if not boot.named and (match := _NAME.match(line)):
            boot.named, boot.facts.name = True, next(filter(None, match.groups()))
    return [boot.finish() for boot in boots]


class _Boot:
    def __init__(self, file: str) -> None:
        self.facts, self.map, self.pci = Facts(file), MapFacts(file), PciFacts()
        self.named = False
        self.started: set[str] = set()

    def finish(self) -> Facts:
        self.map.put(self.facts)
        self.pci.put(self.facts)
        return self.facts
