"""What readers of printed memory maps share: their lines, and how a range is taken into the facts."""

import re
from collections.abc import Iterator

from kernmalloc.inputs.facts import Facts, Problem, Range
from kernmalloc.inputs.text import clean, decoded_lines

_LONGEST = 1000  # characters of a line that are looked at
_RANGE = re.compile(r"\b(?:0x)?[0-9a-f]{6,16}\]?(?: - |-|, |\s+)\[?(?:0x)?[0-9a-f]{8,16}\b", re.I)


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line, as it was before mail and terminals, and no longer than lines of a map are."""
    return ((number, raw[:_LONGEST].rstrip()) for number, raw in decoded_lines(text))


def put(facts: Facts, line: int, base: int, size: int, kind: str, name: str) -> None:
    """Take a range; `kind` is one of `facts.MAP_KINDS`, "image", or "" for a word that no table knows."""
    name = clean(name)
    if not kind:
        facts.unread.append(Problem(line, "unknown type of map entry: taken as reserved", name or "no type"))
        kind = "reserved"
    if kind == "image":
        facts.carved.append(Range(base, size, "image", name, line))
        kind = "ram"
    facts.memory.append(Range(base, size, kind, name, line))


def rest(facts: Facts, line: int, text: str) -> None:
    """A line inside a map that is no entry of it: a problem if it may be a damaged one."""
    if _RANGE.search(text):
        facts.ignored["unclassified"] += 1
        facts.unread.append(Problem(line, "not understood", clean(text)))
    elif text.strip():
        facts.ignored["text around the map"] += 1
