"""Physical memory as a small map in characters, and what each character stands for.

RAM is drawn to scale: a character for so many frames. All else is shortened, and what is smaller than a character is
drawn once, as one: of neighbours that are, one of each kind. Where nothing is, nothing is drawn but a mark. So a
machine whose addresses are mostly holes fits a screen, and a piece of one frame is seen.
"""

from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import pairwise
from typing import NamedTuple

from kernmalloc.facade.physical import DONATED, EXTENT, KERNEL, Piece
from kernmalloc.inputs.sizes import size
from kernmalloc.report.text import columns, fitted, width
from kernmalloc.report.units import several

BROAD = 76  # columns of a row, its address among them, where there is room for them
LINES = 5  # rows that RAM may take
JUMPS = 4  # holes behind which a row begins, at most
SHORT = 3  # characters of what is not RAM, at most
SHORTENED = ("reserved", "device", EXTENT)
HOLE = "~"
MARKS = {
    DONATED: ("T", "donated to the kernel before any frame had an entry"),
    "heap": ("H", "taken for its heap since: core tables, objects"),
    "mapping": ("m", "page tables that map the heap"),
    KERNEL: ("K", "the kernel itself: its image, its first page tables"),
    "page": ("p", "pages in memory"),
    "dma": ("b", "buffers of devices"),
    "free": (".", "free"),
    "reserved": ("r", "reserved: the firmware's, not the kernel's"),
    "device": ("D", "devices, published: each frame has an entry"),
    EXTENT: ("d", "devices, published by extent: frames get entries as they are used"),
}
"""Of each kind of piece its character, and what that stands for."""


class Char(NamedTuple):
    """One character of the map: what it is, and the first frame that it stands for."""

    mark: str
    pfn: int


def physical_map(pieces: Sequence[Piece], page: int) -> Iterator[str]:
    """The map of pieces in frames of `page` bytes, from the lowest on, and its legend."""
    digits = max(8, *(len(f"{piece.pfn * page:x}") for piece in pieces))
    length = max(min(BROAD, width()) - digits - 2, 16)
    ram = sum(piece.frames for piece in pieces if piece.kind not in SHORTENED)
    scale = 1 << max(ram // (LINES * length), 1).bit_length() - 1
    while len(drawn := list(_chars(pieces, scale))) > LINES * length and scale < ram:
        scale *= 2
    for row in _rows(drawn, length, length * scale):
        yield f"{row[0].pfn * page:0{digits}x}  {''.join(char.mark for char in row)}"
    yield ""
    yield from columns([*_legend(pieces, page)], notes=True)
    yield from fitted(f"A character of RAM stands for {size(scale * page)}, or for less; all else is not to scale.")


def _chars(pieces: Sequence[Piece], scale: int) -> Iterator[Char]:
    """The characters, `scale` frames of RAM each."""
    small: dict[str, Char] = {}  # of pieces in a row that are smaller than a character, one of each kind
    end = pieces[0].pfn
    for piece in pieces:
        if piece.pfn - end >= scale:
            yield from small.values()
            small = {}
            yield Char(HOLE, end)
        end = piece.pfn + piece.frames
        mark = MARKS[piece.kind][0]
        if piece.frames < scale:
            small.setdefault(mark, Char(mark, piece.pfn))
            continue
        yield from small.values()
        small = {}
        count = round(piece.frames / scale)
        if piece.kind in SHORTENED:
            count = min(count, SHORT)
        for number in range(count):
            yield Char(mark, piece.pfn + number * piece.frames // count)
    yield from small.values()


def _rows(drawn: Sequence[Char], length: int, wide: int) -> Iterator[Sequence[Char]]:
    """The characters in rows of `length`; one begins also behind each of the largest holes of `wide` frames or more."""
    jumps = {at + 1: after.pfn - char.pfn for at, (char, after) in enumerate(pairwise(drawn)) if char.mark == HOLE}
    largest = nlargest(JUMPS, (at for at, frames in jumps.items() if frames >= wide), key=lambda at: jumps[at])
    for first, end in pairwise([0, *sorted(largest), len(drawn)]):
        for at in range(first, end, length):
            yield drawn[at : min(at + length, end)]


def _legend(pieces: Sequence[Piece], page: int) -> Iterator[tuple[str, str, str]]:
    """What each character that may occur stands for, and how much there is of it."""
    for kind, (mark, meaning) in MARKS.items():
        if frames := sum(piece.frames for piece in pieces if piece.kind == kind):
            yield mark, size(frames * page), meaning
    holes = [gap for before, after in pairwise(pieces) if (gap := after.pfn - before.pfn - before.frames)]
    if holes:
        yield HOLE, size(sum(holes) * page), f"nothing, in {several(len(holes), 'hole')}"
