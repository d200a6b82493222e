"""Reader of `lsmem`: ranges of memory blocks, and whether they are online.

    0x0000000100000000-0x000000047fffffff  14G online       yes 32-143           both ends included
    RANGE="0x0000000100000000-0x000000047fffffff" … STATE="online" …             lsmem -P; -J has the same in JSON

A block is RAM as a whole to lsmem: what the firmware keeps inside is not told.
"""

import re

from .facts import Facts, Problem
from .printed import lines, put, rest

_BLOCKS = re.compile(
    r"(?<![\w-])0x([0-9a-f]{16})-0x([0-9a-f]{16})\b[^\n]{0,60}?\b(online|offline|going-offline|on->off)\b"
)
_ABOUT = re.compile(r"\b(?:RANGE|Address range|Memory block size|Total o(?:n|ff)line memory|block-size)\b", re.I)


def recognises(head: str) -> bool:
    """Whether `head` is a list of memory blocks."""
    return "line" in head and bool(_BLOCKS.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described: what is online is RAM; what is offline is kept among the firmware's ranges."""
    facts = Facts(file)
    facts.origin, facts.like_pc = "lsmem", False
    facts.lacks = "no memory is online", "give a boot log or sudo cat /proc/iomem"
    for number, line in lines(text):
        if match := _BLOCKS.search(line):
            base, end, online = int(match[1], 16), int(match[2], 16) + 1, match[3] == "online"
            put(facts, number, base, end - base, "ram" if online else "reserved", "" if online else "offline memory")
        elif not _ABOUT.search(line):
            rest(facts, number, line)
    if facts.memory:
        facts.missing.append(Problem(0, "tells whole memory blocks: what the firmware keeps inside them is not told"))
    return [facts]
