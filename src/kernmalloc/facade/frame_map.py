"""The physical map at a glance: RAM in cells, and how many frames of each type lie in each.

Concepts
  1. All frames of RAM, those that the loader keeps included, stand in a row in the order of their numbers: holes and
     devices are left out. A cell is so many of them, one behind the other; the last one may be shorter.
  2. The free bitmaps say which core table entries need to be looked at: only those of frames that are not free. So a
     machine's core tables get no memory here that they had not before, and a large machine that is mostly free is fast.
  3. An entry speaks for its block of 2 ** order frames, which may lie in many cells. What no entry speaks for is free.

Nothing is asked of the kernel: all is read from its memory. RAM that comes later needs a new map.
"""

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.blocks import ALL, ORDERS, blocks
from kernmalloc.facade.state import core_entries
from kernmalloc.facade.view import View
from kernmalloc.kernel.core.kern import CARVED_MEMORY, FREE, RESERVED, TYPES


def _head(stride: int) -> numpy.dtype[numpy.void]:
    """An entry's type and order, its first two bytes, read at once."""
    return numpy.dtype({"names": ["head"], "formats": ["<u2"], "offsets": [0], "itemsize": stride})


class _Part:
    """A region of RAM: `first`, its place in the row of all frames; its core table and free bitmap, as they are."""

    def __init__(self, view: View, stride: int, region: numpy.void, first: int) -> None:
        self.first, self.count = first, int(region["count"])
        self.base = int(region["base"]) - int(region["origin"])  # bit of the first frame
        self._heads = core_entries(view, stride, region).view(_head(stride))["head"]
        words = view.shared(int(region["words"]), int(region["word_count"]) * 8)
        self.words: NDArray[numpy.uint64] = numpy.frombuffer(words, numpy.uint64)

    def taken(self) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.uint16]]:
        """Of each block that is not free: its first frame's place in the row, its frames, its type."""
        at = numpy.flatnonzero(self.words != ALL)
        not_free = numpy.unpackbits((~self.words[at]).view(numpy.uint8), bitorder="little")
        bits = numpy.flatnonzero(not_free)
        frames = (at[bits >> 6] << 6 | bits & 63) - self.base
        frames = frames[(frames >= 0) & (frames < self.count)]
        heads = self._heads[frames]
        types, orders = heads & 0xFF, heads >> 8
        owned = types != FREE  # else inside a block, or in a processor's stock
        return self.first + frames[owned], 1 << orders[owned].astype(numpy.int64), types[owned]


class FrameMap:
    """The frames of a kernel in at most `most` cells of `each` frames. `spans`: (first pfn, frames) of the ranges of
    RAM, from the lowest; cells are cut from these, one behind the other. `carved`: frames that the loader keeps."""

    def __init__(self, view: View, stride: int, most: int) -> None:
        self.spans: list[tuple[int, int]] = []
        self._parts: list[_Part] = []
        carved: list[tuple[int, int]] = []
        self.frames = 0
        for region in view.regions():
            base, count = int(region["base"]), int(region["count"])
            if region["area"]:
                self._parts.append(_Part(view, stride, region, self.frames))
            elif region["kind"] == CARVED_MEMORY:
                carved.append((self.frames, count))
            else:
                continue
            if self.spans and sum(self.spans[-1]) == base:
                self.spans[-1] = (self.spans[-1][0], self.spans[-1][1] + count)
            else:
                self.spans.append((base, count))
            self.frames += count
        self.each = max(-(-self.frames // most), 1)
        self.cells = -(-self.frames // self.each)
        self._ends = numpy.minimum(numpy.arange(self.cells + 1) * self.each, self.frames)
        starts, lengths = numpy.array(carved, numpy.int64).reshape(-1, 2).T
        self.carved = int(lengths.sum())
        self._carved = self._across(starts, lengths)

    def counts(self) -> NDArray[numpy.uint32]:
        """Frames by cell and type, as an array [cells, TYPES]: the numbers of types are those of `kernel.core.kern`."""
        counts = numpy.zeros((self.cells, TYPES), numpy.int64)
        counts[:, RESERVED] = self._carved
        for part in self._parts:
            starts, lengths, types = part.taken()
            cells = starts // self.each
            inside = cells == (starts + lengths - 1) // self.each
            at = cells[inside] * TYPES + types[inside]
            found = numpy.bincount(at, lengths[inside], self.cells * TYPES)
            counts += found.astype(numpy.int64).reshape(-1, TYPES)
            for type in numpy.unique(types[~inside]).tolist():
                these = ~inside & (types == type)
                counts[:, type] += self._across(starts[these], lengths[these])
        counts[:, FREE] = numpy.diff(self._ends) - counts.sum(axis=1)
        return counts.astype(numpy.uint32)

    def free_blocks(self) -> NDArray[numpy.int64]:
        """`facade.blocks.free_blocks`, of the bitmaps that this map has at hand."""
        parts = (blocks(part.words.view(numpy.int64)) for part in self._parts)
        return sum(parts, start=numpy.zeros(ORDERS, numpy.int64))

    def _across(self, starts: NDArray[numpy.int64], lengths: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
        """How many frames of blocks lie in each cell. Starts ascend, and no two blocks overlap."""
        before = numpy.concatenate([[0], lengths.cumsum()])
        block = numpy.searchsorted(starts, self._ends)  # blocks that begin below the end of a cell
        last = numpy.maximum(block - 1, 0)
        over = numpy.zeros_like(self._ends)
        if len(starts):
            over = numpy.where(block > 0, numpy.maximum(starts[last] + lengths[last] - self._ends, 0), 0)
        return numpy.diff(before[block] - over)
