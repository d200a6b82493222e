"""Reader of what U-Boot says of its memory: `bdinfo`, and `lmb_dump_all`, which newer versions print with it.

    DRAM bank   = 0x0000000000000001
    -> start    = 0x0000000100000000
    -> size     = 0x00000002fc000000
    memstart    = 0x00000000                                           before there were banks, with memsize
     memory[0]      [0x200000-0xefffffff], 0xefe00000 bytes, flags: none     both ends included
     reserved[1]    [0xd4000000-0xd7ffffff], 0x4000000 bytes flags: 4        4, no-map: the device tree keeps it
     memory.reg[0x0].base   = 0x80000000                               older, with `.size` in the next line

Banks are what the board has, and are taken before what the memory allocator (lmb) made of them.  What it reserved
without no-map is U-Boot's own and free again once a kernel runs.
"""

import re

from kernmalloc.inputs.facts import Facts, Problem, Range
from kernmalloc.inputs.maps.printed import lines, put

_NUMBER = r"\s*[=:]\s*0x([0-9a-f]{1,16})\b"
_BANK = re.compile(r"\bDRAM bank" + _NUMBER, re.I)
_PAIRS = (
    ("bank", re.compile(r"-> start" + _NUMBER, re.I), re.compile(r"-> size" + _NUMBER, re.I)),
    ("memory", re.compile(r"\bmemstart" + _NUMBER, re.I), re.compile(r"\bmemsize" + _NUMBER, re.I)),
    (
        "lmb",
        re.compile(r"\bmemory\.reg\[0x[0-9a-f]+\]\.base" + _NUMBER, re.I),
        re.compile(r"(?<![\w\]])\.size" + _NUMBER, re.I),
    ),
)
"""What tells an address and what tells its size, in different lines; sooner listed is taken first."""

_LMB = re.compile(
    r"\b(memory|reserved)\[(?:0x)?[0-9a-f]+\]\s+\[0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\],?"
    r"(?:.*?flags:?\s*(?:0x)?([\w-]+(?:, [\w-]+)*))?",
    re.I,
)
_SIGNS = ("DRAM bank", "-> start", "memstart", "memory.reg[", "lmb_dump_all:", "memory[")
_RECOGNISE = re.compile(
    "|".join(form.pattern for form in (_BANK, *(start for _, start, _ in _PAIRS)))
    + r"|\blmb_dump_all:|\bmemory\[(?:0x)?[0-9a-f]+\]\s+\[0x",
    re.I,
)
_BUILD = re.compile(r"\bBuild\s+= (\d\d)-bit")
_ARM = re.compile(r"\b(?:arch_number|TLB addr)\s+=")
_RISCV = re.compile(r"\bboot hart\s+=")


def recognises(head: str) -> bool:
    """Whether `head` has a bank of memory or a region of U-Boot's allocator."""
    return any(sign in head for sign in _SIGNS) and bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one board described, as it was printed last."""
    facts = Facts(file)
    facts.like_pc = False
    facts.arch = _architecture(text)
    facts.lacks = "no bank of memory is complete", "give bdinfo as U-Boot prints it, or --ram SIZE@ADDRESS"
    found: dict[str, list[Range]] = {name: [] for name, _, _ in _PAIRS}
    started: dict[str, int] = {}
    for number, line in lines(text):
        if match := _LMB.search(line):
            _region(facts, found["lmb"], number, match)
        if (match := _BANK.search(line)) and int(match[1], 16) == 0:
            found["bank"].clear()
        for name, start, size in _PAIRS:
            if match := start.search(line):
                started[name] = int(match[1], 16)
            elif (match := size.search(line)) and name in started:
                found[name].append(Range(started.pop(name), int(match[1], 16), "ram", name, number))
    source = next((name for name, _, _ in _PAIRS if found[name]), "lmb")
    facts.origin = "U-Boot's lmb, or memblock" if source == "lmb" else "U-Boot's bdinfo"
    for each in found[source]:
        if each.size:  # a bank without memory is one that the board leaves empty
            put(facts, each.line, each.base, each.size, "ram", source)
    for name in started:
        facts.missing.append(Problem(0, "an address without a size: the text ends too soon", name))
    return [facts]


def _region(facts: Facts, memory: list[Range], line: int, match: re.Match[str]) -> None:
    base, size = int(match[2], 16), int(match[3], 16) + 1 - int(match[2], 16)
    flags = match[4] or ""
    if match[1].lower() == "memory":
        memory.append(Range(base, size, "ram", "memory", line))
    elif flags in ("4", "4h") or "no-map" in flags or "nomap" in flags:
        facts.carved.append(Range(base, size, "firmware", "no-map", line))
    else:
        facts.ignored["U-Boot's own memory"] += 1


def _architecture(text: str) -> str:
    """What the printed fields betray: only ARM has a TLB address or a machine number there."""
    build = _BUILD.search(text)
    if _RISCV.search(text):
        return "riscv64" if build and build[1] == "64" else "?"
    if _ARM.search(text):
        return "arm64" if build and build[1] == "64" else "arm"
    return "?"
