"""Reader of EFI memory maps in text: the UEFI shell's `memmap`, GRUB's `lsefimmap`, and the table of FreeBSD's loader.

    Available  0000000080000000-000000009DE76FFF 000000000001DE77 0000000000000008       type, first, last, pages
    conv-mem   0000000000001000-000000000009ffff 0000009f     636KiB UC WC WT WB
         ConventionalMemory 000000210000 000000000000 0002f156 WC WT WB                  type, first, virtual, pages

A page has 4 KiB.  The UEFI shell says Available for what the specification calls conventional memory.  What follows are
attributes; memory for a specific purpose (SP), an accelerator's, is no RAM of everybody's.
"""

import re

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.maps.printed import lines, put, rest
from kernmalloc.inputs.memory_words import EFI, EFI_WORDS, squeezed
from kernmalloc.inputs.text import clean

PAGE = 4096
_SHELL = re.compile(
    r"(?<![\w-])([a-z][\w-]{1,24}|[0-9A-F]{8})\s+([0-9a-f]{16})\s?-\s?([0-9a-f]{16})\s+([0-9a-f]{8,16})\b", re.I
)
_FREEBSD = re.compile(r"(?<![\w-])([a-z]\w{2,24})\s+([0-9a-f]{12})\s+(?:[0-9a-f]{12}|0)\s+([0-9a-f]{8})(?=\s|$)", re.I)
_BITS = re.compile(r"\s+([0-9a-f]{16})\b", re.I)
_SPECIAL, _SPECIAL_WORD = 0x40000, re.compile(r"\bSP\b")  # EFI_MEMORY_SP, memory for a specific purpose
_SIGNS = ("available", "conventional", "conv-mem", "bs_", "bootservices")
"""Kinds of memory, one of which is in every map; they are looked for sooner than entries."""

_HEADING = re.compile(r"\bType\s+(?:Physical )?start\b|\bType\s+Physical\s+Virtual\b", re.I)


def recognises(head: str) -> bool:
    """Whether `head` has an entry of an EFI memory map."""
    lower = head.lower()
    return any(sign in lower for sign in _SIGNS) and any(
        _known(match[1]) for form in (_SHELL, _FREEBSD) for match in form.finditer(head)
    )


def read(text: str, file: str) -> list[Facts]:
    """The machine described; once for each time that the map is printed."""
    boots = [_empty(file)]
    for number, line in lines(text):
        if take(boots[-1], number, line):
            continue
        if _HEADING.search(line) and boots[-1].memory:
            boots.append(_empty(file))
        else:
            rest(boots[-1], number, line)
    return boots


def take(facts: Facts, line: int, text: str) -> bool:
    """Use a line if it is an entry of an EFI memory map; whether it was."""
    if match := _SHELL.search(text):
        base, last, pages = (int(part, 16) for part in match.group(2, 3, 4))
        size = last + 1 - base
        if size != pages * PAGE:
            facts.unread.append(Problem(line, "pages and addresses contradict each other", clean(text)))
    elif match := _FREEBSD.search(text):
        base, size = int(match[2], 16), int(match[3], 16) * PAGE
    else:
        return False
    kind = _known(match[1])
    attributes = text[match.end() :]
    bits = _BITS.match(attributes)
    if kind == "ram" and (_SPECIAL_WORD.search(attributes) or (bits and int(bits[1], 16) & _SPECIAL)):
        kind = "soft"
    put(facts, line, base, size, kind, match[1])
    return True


def _empty(file: str) -> Facts:
    facts = Facts(file)
    facts.origin = "EFI memory map"
    return facts


def _known(word: str) -> str:
    """The kind of memory of a type by its name, or by its number where the specification has no name; "": unknown."""
    known = EFI_WORDS.get(squeezed(word), "")
    return known or (EFI.get(int(word, 16), "reserved") if re.fullmatch(r"[0-9a-f]{8}", word, re.I) else "")
