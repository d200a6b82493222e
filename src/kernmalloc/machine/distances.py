"""Reuse distances: in one pass, what fully associative TLBs of every size would miss.

Concepts
  1. A TLB that replaces what was used longest ago holds the pages that were used last. So one list of pages, the last
     used first, tells of all sizes at once: a page found at place `d`, counted from 0, is in every TLB of more than `d`
     entries, and in no smaller one (Mattson, Gecsei, Slutz and Traiger, Evaluation techniques for storage hierarchies,
     1970).
  2. A page is a translation: its first page's number, its size and its address space are what tells it. A large page is
     one.
  3. A translation that is dropped leaves a gap. In every TLB that is large enough to have it the gap is an entry of no
     use; the next page that such a TLB loads takes the first one, and what lies behind it stays where it is.
  4. Hits are counted by structure and place; `far` counts what is nowhere in the list, for the first time or again.

Host-level code: its accesses are to the host's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, array, element, field, i64, kernel, shl

PLACES = 1024
COUNTED = 8  # structures
GAP = -1
SIZE_BITS = 6


class Place(Record):
    """A place of the list."""

    key: i64 = field("number of the first page, and in the low bits log2 of the pages; or GAP")
    space: i64 = field("the address space")


class Count(Record):
    """How often."""

    count: i64 = field("accesses")


class Distances(Record):
    """The list, and what was counted."""

    used: i64 = field("places in use")
    places: Place = array(PLACES, "the last used first")
    near: Count = array(PLACES * COUNTED, "accesses found, by structure and place")
    far: Count = array(COUNTED, "accesses not found, by structure")


@kernel
def _found(d: Distances, what: int, at: int) -> int:
    c = element(d.near, what * PLACES + at)
    c.count = c.count + 1
    return at


@kernel
def _gap_left(d: Distances, key: int, space: int, first: int) -> int:
    """Where from a place on the page is, which leaves a gap; -1: nowhere."""
    for at in range(first, d.used):
        place = element(d.places, at)
        if place.key == key and place.space == space:
            place.key = GAP
            return at
    return -1


@kernel
def distance_noted(d: Distances, what: int, space: int, page: int, size: int) -> int:
    """An access to a translation of 2 ** size pages from `page` on: where it was found; -1: nowhere."""
    key = shl(page, SIZE_BITS) | size
    moved = key
    moved_space = space
    used = d.used
    at = 0
    while at < used:
        place = element(d.places, at)
        here = place.key
        there = place.space
        place.key = moved
        place.space = moved_space
        if here == key and there == space:
            return _found(d, what, at)
        if here == GAP:
            behind = _gap_left(d, key, space, at + 1)
            if behind >= 0:
                return _found(d, what, behind)
            break
        moved = here
        moved_space = there
        at += 1
    if at == used and used < PLACES:
        place = element(d.places, used)
        place.key = moved
        place.space = moved_space
        d.used = used + 1
    c = element(d.far, what)
    c.count = c.count + 1
    return -1


@kernel
def distances_dropped(d: Distances, space: int, first: int, pages: int) -> int:
    """Translations that an address space has of any of these pages are dropped: how many."""
    dropped = 0
    for at in range(d.used):
        place = element(d.places, at)
        if place.key != GAP and place.space == space:
            start = place.key >> SIZE_BITS
            length = shl(1, place.key & ((1 << SIZE_BITS) - 1))
            if start < first + pages and first < start + length:
                place.key = GAP
                dropped += 1
    return dropped


@kernel
def distances_cleared(d: Distances, spared: int) -> int:
    """All translations but those of one address space are dropped: how many."""
    dropped = 0
    for at in range(d.used):
        place = element(d.places, at)
        if place.key != GAP and place.space != spared:
            place.key = GAP
            dropped += 1
    return dropped
