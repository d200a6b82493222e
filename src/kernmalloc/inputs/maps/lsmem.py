"""Reader of `lsmem`: ranges of memory blocks, and whether they are online.

    0x0000000100000000-0x000000047fffffff  14G online       yes 32-143           both ends included
    RANGE="0x0000000100000000-0x000000047fffffff" … STATE="online" …             lsmem -P
    "range": "0x0000000100000000-0x000000047fffffff", … "state": "online", …     lsmem -J, also each in its own line

A block is RAM as a whole to lsmem: what the firmware keeps inside is not told.
"""

import re
from collections.abc import Iterator

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.maps.printed import lines, put, rest

_BLOCKS = re.compile(
    r"(?<![\w-])0x([0-9a-f]{16})-0x([0-9a-f]{16})\b(?:[^\n]{0,60}?|\",[^}]{0,120}?\"state\":\s*\")"
    r"\b(online|offline|going-offline|on->off)\b"
)
_LONGEST = 1000  # characters of a record of JSON
_ABOUT = re.compile(r"\b(?:RANGE|Address range|Memory block size|Total o(?:n|ff)line memory|block-size)\b", re.I)


def recognises(head: str) -> bool:
    """Whether `head` is a list of memory blocks."""
    return "line" in head and bool(_BLOCKS.search(head))


def _rows(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line; a record of JSON is one, also where it is spread over several."""
    start, record = 0, ""
    for number, line in lines(text):
        if record:
            record += line.strip()
        elif '"range"' in line and not _BLOCKS.search(line):
            start, record = number, line
        else:
            yield number, line
        if record and ("}" in line or len(record) > _LONGEST):
            yield start, record
            record = ""


def read(text: str, file: str) -> list[Facts]:
    """The one machine described: what is online is RAM; what is offline is kept among the firmware's ranges."""
    facts = Facts(file)
    facts.origin, facts.like_pc = "lsmem", False
    facts.lacks = "no memory is online", "give a boot log or sudo cat /proc/iomem"
    for number, line in _rows(text):
        if match := _BLOCKS.search(line):
            base, end, online = int(match[1], 16), int(match[2], 16) + 1, match[3] == "online"
            put(facts, number, base, end - base, "ram" if online else "reserved", "" if online else "offline memory")
        elif not _ABOUT.search(line):
            rest(facts, number, line)
    if facts.memory:
        facts.missing.append(Problem(0, "tells whole memory blocks: what the firmware keeps inside them is not told"))
    return [facts]
