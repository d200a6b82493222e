"""Reader of /proc/meminfo: how much memory there is, and nothing of where.

    MemTotal:       16303428 kB

MemTotal lacks what Linux took for its image and its page structures before it began to count.
"""

import re

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.text import plain_lines

_TOTAL = re.compile(r"\bMemTotal:[ \t]+(\d{1,15}) kB\b")


def recognises(head: str) -> bool:
    """Whether `head` is /proc/meminfo."""
    return "MemTotal:" in head and bool(_TOTAL.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described, with a total instead of a map."""
    facts = Facts(file)
    facts.origin = "/proc/meminfo"
    for number, line in plain_lines(text):
        if match := _TOTAL.search(line[:200]):
            facts.total = int(match[1]) << 10
            facts.missing.append(Problem(number, "MemTotal is without what Linux took before it counted", line.strip()))
        elif line.strip():
            facts.ignored["amount of another kind"] += 1
    return [facts]
