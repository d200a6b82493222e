"""Lists of ranges made consistent: what cannot be is dropped, overlaps are resolved, and what is odd is listed.

A list is *flat* if it is sorted and its ranges are disjoint.  Everything here takes time in proportion to the ranges
that go in and come out, but for sorting.
"""

import heapq
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from kernmalloc.inputs.facts import MAP_KINDS, Problem, Range
from kernmalloc.machine.ram_layout import PA_COMMON

PA_LIMIT = 1 << 63
"""End of the physical addresses that a kernel word (int64) can hold."""

LEAST_PAGE = 4096
"""Bytes of the smallest page of any architecture here."""


def sound(ranges: Iterable[Range], problems: list[Problem]) -> list[Range]:
    """The ranges that can be: not empty, not wrapped around, below 2^63."""
    sound = []
    for r in ranges:
        text = f"{r.base:#x} + {r.size:#x} {r.name or r.kind}"
        if r.size <= 0:
            problems.append(
                Problem(r.line, "empty range: dropped" if r.size == 0 else "ends before it starts: dropped", text)
            )
        elif r.end > PA_LIMIT:
            problems.append(Problem(r.line, "reaches above 2^63: dropped", text))
        else:
            if r.kind == "ram" and r.end > PA_COMMON:
                problems.append(Problem(r.line, "RAM above 2^52", text))
            sound.append(r)
    return sound


def once(memory: Iterable[Range], problems: list[Problem]) -> list[Range]:
    """Map entries, each once."""
    seen: dict[tuple[int, int, str, str], Range] = {}
    for r in memory:
        first = seen.setdefault((r.base, r.size, r.kind, r.name), r)
        if first is not r:
            problems.append(Problem(r.line, "duplicate: counted once", f"{r.base:#x} + {r.size:#x} {r.name or r.kind}"))
    return list(seen.values())


def note_overlaps(memory: list[Range], problems: list[Problem]) -> None:
    """One problem for each entry that overlaps an entry before it in address order."""
    reach = None
    for r in sorted(memory, key=lambda r: (r.base, r.line)):
        if reach and r.base < reach.end:
            won = max(r, reach, key=lambda r: MAP_KINDS.index(r.kind))
            problems.append(
                Problem(
                    r.line,
                    f"overlaps line {reach.line}: {won.kind} wins",
                    f"{r.base:#x}-{r.end - 1:#x} {r.name or r.kind}",
                )
            )
        if not reach or r.end > reach.end:
            reach = r


def flatten(ranges: list[Range], kinds: tuple[str, ...]) -> list[Range]:
    """Disjoint sorted ranges: on overlap the stronger kind wins, and what touches and is alike is merged."""
    edges = sorted({r.base for r in ranges} | {r.end for r in ranges})
    waiting = sorted(ranges, key=lambda r: r.base, reverse=True)
    flat: list[Range] = []
    active: list[tuple[int, int, Range]] = []  # a heap: the strongest kind first, of one kind the earlier
    for low, high in pairwise(edges):
        while waiting and waiting[-1].base == low:
            r = waiting.pop()
            heapq.heappush(active, (-kinds.index(r.kind), -len(waiting), r))
        while active and active[0][2].end <= low:
            heapq.heappop(active)
        if not active:
            continue
        top = active[0][2]
        last = flat[-1] if flat else None
        if last and last.end == low and last.kind == top.kind and (top.kind == "ram" or last.name == top.name):
            flat[-1] = msgspec.structs.replace(last, size=high - last.base)
        else:
            flat.append(Range(low, high - low, top.kind, top.name, top.line))
    return flat


def clip(ranges: Iterable[Range], within: Sequence[Range]) -> tuple[Range, ...]:
    """The parts of `ranges` that lie inside `within`; both sorted and disjoint."""
    parts, first = [], 0
    for r in ranges:
        while first < len(within) and within[first].end <= r.base:
            first += 1
        at = first
        while at < len(within) and within[at].base < r.end:
            low, high = max(r.base, within[at].base), min(r.end, within[at].end)
            parts.append(Range(low, high - low, r.kind, r.name, r.line))
            at += 1
    return tuple(parts)


def outside(ranges: Iterable[Range], holes: list[Range]) -> tuple[Range, ...]:
    """The parts of `ranges`, sorted and disjoint, that lie in no hole."""
    edges = [0, *(edge for hole in flatten(holes, ("removed",)) for edge in (hole.base, hole.end)), PA_LIMIT]
    return clip(ranges, [Range(low, high - low, "") for low, high in zip(edges[::2], edges[1::2], strict=True)])


def note_lost_pages(ranges: list[Range], problems: list[Problem]) -> None:
    """One problem for each end of RAM that misses a page's by a byte or two which nobody has: a loader took a last byte
    for an end, or an end for a last byte.  `ranges` are the whole map."""
    edges = {r.base for r in ranges if r.kind != "ram"} | {r.end for r in ranges if r.kind != "ram"}
    for r in ranges:
        before, after = r.base % LEAST_PAGE, -r.end % LEAST_PAGE
        for missed, what, edge in ((before, "begins {} after a page", r.base), (after, "ends {} before a page", r.end)):
            if r.kind == "ram" and 0 < missed <= 2 and edge not in edges:
                bytes_ = "1 byte" if missed == 1 else "2 bytes"
                reason = f"RAM {what.format(bytes_)} does, as by an off-by-one of a loader: that page is lost"
                problems.append(Problem(r.line, reason, f"{r.base:#x}-{r.end - 1:#x}"))
