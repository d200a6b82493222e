"""The free frames as /proc/buddyinfo counts them: blocks by order, each counted once, as large as it is."""

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.view import View
from kernmalloc.kernel.frames.bitmap import MAX_ORDER


def free_blocks(view: View) -> list[int]:
    """Free blocks of each order: element n counts the aligned blocks of 2 ** n frames that are free and not part of a
    larger one. Sum of count << order is the free frames. Recounted from the free bitmaps."""
    counts = numpy.zeros(MAX_ORDER + 1, numpy.int64)
    for region in view.regions():
        if region["area"]:
            bitmap = view.peek(int(region["words"]), int(region["word_count"]) * 8)
            counts += blocks(numpy.frombuffer(bitmap, numpy.int64))
    return counts.tolist()


def blocks(words: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """The same for one free bitmap, as 64-bit words whose bit 0 is aligned to the largest block."""
    free = numpy.unpackbits(words.view(numpy.uint8), bitorder="little")
    counts = numpy.zeros(MAX_ORDER + 1, numpy.int64)
    for order in range(MAX_ORDER):
        whole = free[: len(free) & ~1].reshape(-1, 2).min(axis=1)
        counts[order] = int(free.sum()) - 2 * int(whole.sum())
        free = whole
    counts[MAX_ORDER] = int(free.sum())
    return counts
