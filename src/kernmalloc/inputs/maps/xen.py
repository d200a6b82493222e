"""Reader of the memory maps that the Xen hypervisor prints, as `xl dmesg` and a serial line keep them.

    (XEN) Xen-e820 RAM map:
    (XEN)  [0000000000100000, 00000000cfe81fff] (usable)        since 4.14; the second is the last byte
    (XEN)  0000000000100000 - 00000000de59d000 (usable)         before; the second is the first byte after
    (XEN) RAM: 0000000040000000 - 00000000bfffffff              on ARM; the last byte
    (XEN) RESVD[0]: 0000000048000000 - 00000000480fffff         kept out of it by the device tree

The map is that of the whole machine.  Xen passes on what its guests print, which says nothing about it: no line counts
that names a domain before the entry.
"""

import re

from kernmalloc.inputs.facts import Facts, Range
from kernmalloc.inputs.maps.printed import lines, put, rest
from kernmalloc.inputs.memory_words import E820, E820_WORDS, squeezed

_HEADING = re.compile(r"\b(?:(?:Xen|Multiboot|PVH)-(?:e820|e801|88)|EFI) RAM map:")
_ENTRY = re.compile(
    r"(?<![\w:-])(?:\[([0-9a-f]{16}), ([0-9a-f]{16})\]|([0-9a-f]{16}) - ([0-9a-f]{16})) \(([a-z][\w ]{2,20})\)", re.I
)
_ARM = re.compile(r"(?<![\w:])(RAM|RESVD\[\d{1,3}\]): ([0-9a-f]{16}) - ([0-9a-f]{16})$", re.I)
_GUEST = re.compile(r"\((?:d\d|XEN\) HVM)")
_TYPE = re.compile(r"type (\d{1,5})$")
_RECOGNISE = re.compile(
    _HEADING.pattern
    + r"|\(XEN\)[^\n]{0,40}?(?:\s\[[0-9a-f]{16}, [0-9a-f]{16}\]| [0-9a-f]{16} - [0-9a-f]{16}) \("
    + r"|\(XEN\) (?:\[[^\]\n]{1,40}\] )?RAM: [0-9a-f]{16} - "
)


def recognises(head: str) -> bool:
    """Whether `head` has a memory map of the Xen hypervisor."""
    return ("RAM map:" in head or "(XEN)" in head) and bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The machine, once for each boot of the hypervisor."""
    boots = [_empty(file)]
    inside = False  # whether the line before was part of a map
    for number, line in lines(text):
        facts = boots[-1]
        if _GUEST.search(line):
            facts.ignored["what a guest printed"] += 1
        elif _HEADING.search(line):
            if facts.memory:
                boots.append(_empty(file))
            inside = True
        elif (inside or "(XEN)" in line) and (match := _ENTRY.search(line)):
            inside = True
            _take(facts, number, match)
        elif match := _ARM.search(line):
            _take_arm(facts, number, match)
        elif inside:
            inside = not line.strip()
            rest(facts, number, line)
    return boots


def _empty(file: str) -> Facts:
    facts = Facts(file)
    facts.origin, facts.arch = "the Xen hypervisor's map", "x86_64"
    return facts


def _take(facts: Facts, line: int, match: re.Match[str]) -> None:
    inclusive = bool(match[1])
    base = int(match[1] or match[3], 16)
    size = int(match[2] or match[4], 16) + inclusive - base
    word = match[5].strip()
    numbered = _TYPE.match(word)
    kind = E820.get(int(numbered[1]), "reserved") if numbered else E820_WORDS.get(squeezed(word), "")
    put(facts, line, base, size, kind, word)


def _take_arm(facts: Facts, line: int, match: re.Match[str]) -> None:
    base, size = int(match[2], 16), int(match[3], 16) + 1 - int(match[2], 16)
    facts.arch, facts.like_pc = "arm64", False
    if match[1] == "RAM":
        put(facts, line, base, size, "ram", "RAM")
    else:
        facts.carved.append(Range(base, size, "firmware", match[1], line))
