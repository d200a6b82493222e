"""Reader of the memory table that coreboot prints while it boots, as `cbmem -c` and a serial line keep it.

    [DEBUG]   1. 0000000000001000-000000000009ffff: RAM            both ends included
    [DEBUG]   7. 0000000076ab2000-0000000076c12fff: RAMSTAGE       coreboot's own, which it leaves behind

A log may hold several boots, and a boot may print its table twice: each is one `Facts`.
"""

import re

from kernmalloc.inputs.facts import Facts
from kernmalloc.inputs.maps.printed import lines, put, rest
from kernmalloc.inputs.memory_words import COREBOOT_WORDS, squeezed

_ENTRY = re.compile(r"(?<![\w.-])(\d{1,3})\. ([0-9a-f]{16})-([0-9a-f]{16}): (\w[\w ]{1,30})", re.I)
_DAMAGED = re.compile(r"(?<![\w.-])\d{1,3}\. [0-9a-f]{8}", re.I)
_TYPE = re.compile(r"type \d+$", re.I)


def recognises(head: str) -> bool:
    """Whether `head` has coreboot's memory table, with RAM in it."""
    return ": RAM" in head and bool(_ENTRY.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The machine, once for each table printed."""
    boots = [_empty(file)]
    for number, line in lines(text):
        if match := _ENTRY.search(line):
            if match[1] == "0" and boots[-1].memory:
                boots.append(_empty(file))
            base, last, word = int(match[2], 16), int(match[3], 16), match[4].strip()
            kind = "reserved" if _TYPE.match(word) else COREBOOT_WORDS.get(squeezed(word), "")
            put(boots[-1], number, base, last + 1 - base, kind, word)
        elif _DAMAGED.search(line):
            rest(boots[-1], number, line)
    return boots


def _empty(file: str) -> Facts:
    facts = Facts(file)
    facts.origin = "coreboot's table"
    return facts
