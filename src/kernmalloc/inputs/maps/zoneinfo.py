"""Reader of Linux's /proc/zoneinfo: where each zone of memory begins, how far it reaches, and how much of it is there.

    Node 0, zone    DMA32
            spanned  1044480                pages from the zone's first to its last
            present  782304                 of these there are
      start_pfn:           4096             the first, in pages of 4 KiB

Where a zone has holes nobody says where: on a PC they are under 1 MiB and at the zone's end, and that is assumed of
all.  Zones may overlap (Movable and Normal); the smaller one has its place first.  Excerpts often lack where zones
begin: they tell how much RAM there is.
"""

import re
from itertools import pairwise

from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.maps.printed import put
from kernmalloc.inputs.text import plain_lines

PAGE = 4096
_ZONE = re.compile(r"\bNode +(\d+), zone +(\w+)")
_FIELD = re.compile(r"(?<![\w-])(spanned|present|start_pfn:?)\s+(\d{1,15})\b")
_PRESENT = re.compile(r"(?<![\w-])present\s+\d{1,15}\s*$", re.M)
_MEBIBYTE = 256  # pages


def recognises(head: str) -> bool:
    """Whether `head` is /proc/zoneinfo."""
    return bool(_ZONE.search(head) and _PRESENT.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described."""
    facts = Facts(file)
    facts.origin, facts.lacks = "/proc/zoneinfo", ("no zone has memory and a start", "give the whole of /proc/zoneinfo")
    zones: list[tuple[int, str, dict[str, int]]] = []
    for number, raw in plain_lines(text):
        line = raw[:300]
        if match := _ZONE.search(line):
            zones.append((number, f"node {match[1]}, zone {match[2]}", {}))
        elif zones and (match := _FIELD.search(line)):
            zones[-1][2].setdefault(match[1].rstrip(":"), int(match[2]))
    if not any("start_pfn" in zone for _, _, zone in zones):
        facts.total = sum(zone.get("present", 0) for _, _, zone in zones) * PAGE
    placed: list[tuple[int, int]] = []
    for number, name, zone in sorted(zones, key=lambda each: each[2].get("spanned", 0)):
        if facts.total or not zone.get("present"):
            continue
        if "start_pfn" not in zone or "spanned" not in zone:
            facts.missing.append(Problem(number, "zone without its start or span: left out", name))
            continue
        if zone["present"] < zone["spanned"]:
            facts.missing.append(Problem(number, "zone with holes: where they are is assumed", name))
        for base, end in _fill(zone["start_pfn"], zone["spanned"], zone["present"], placed):
            put(facts, number, base * PAGE, (end - base) * PAGE, "ram", name)
            placed.append((base, end))
    if facts.memory or facts.total:
        facts.missing.append(Problem(0, "pages of 4 KiB are assumed: /proc/zoneinfo does not tell their size"))
    return [facts]


def _fill(start: int, spanned: int, present: int, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where `present` of the pages from `start` lie, outside what is taken: low ones first, but in a zone that begins
    under 1 MiB those above it first, and the rest from its start."""
    end = start + spanned
    split = min(max(start, _MEBIBYTE), end) if start < _MEBIBYTE else start
    parts = []
    for low, high in ((split, end), (start, split)):
        inside = sorted((max(a, low), min(b, high)) for a, b in taken if a < high and low < b)
        for (_, begin), (stop, _) in pairwise([(low, low), *inside, (high, high)]):
            count = min(present, stop - begin)
            if count > 0:
                parts.append((begin, begin + count))
                present -= count
    return sorted(parts)
