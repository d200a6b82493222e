"""The free frames as /proc/buddyinfo counts them: blocks by order, each counted once, as large as it is."""

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.view import View
from kernmalloc.kernel.frames.bitmap import MAX_ORDER

ORDERS = MAX_ORDER + 1  # of blocks: 0 to MAX_ORDER
WORD_ORDER = 6  # log2 of the frames of a word of the bitmap
ALL = ~numpy.uint64(0)


def free_blocks(view: View) -> list[int]:
    """Free blocks of each order: element n counts the aligned blocks of 2 ** n frames that are free and not part of a
    larger one. Sum of count << order is the free frames. Recounted from the free bitmaps."""
    counts = numpy.zeros(ORDERS, numpy.int64)
    for region in view.regions():
        if region["area"]:
            bitmap = view.peek(int(region["words"]), int(region["word_count"]) * 8)
            counts += blocks(numpy.frombuffer(bitmap, numpy.int64))
    return counts.tolist()


def blocks(words: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """The same for one free bitmap, as 64-bit words whose bit 0 is aligned to the largest block."""
    bits = words.view(numpy.uint64)
    counts = numpy.zeros(ORDERS, numpy.int64)
    free = bits[(bits != 0) & (bits != ALL)]  # of each aligned block that is free, the first bit
    for order in range(WORD_ORDER):
        halves = numpy.uint64(1 << order)
        firsts = numpy.uint64(ALL // ((1 << 2 * int(halves)) - 1))  # the first bit of each block of the next order
        whole = free & free >> halves & firsts
        counts[order] = _ones(free) - 2 * _ones(whole)
        free = whole
    words_free = bits == ALL
    for order in range(WORD_ORDER, MAX_ORDER):
        pairs = len(words_free) & ~1
        both = words_free[0:pairs:2] & words_free[1:pairs:2]
        counts[order] = numpy.count_nonzero(words_free) - 2 * numpy.count_nonzero(both)
        words_free = both
    counts[MAX_ORDER] = numpy.count_nonzero(words_free)
    return counts


def _ones(words: NDArray[numpy.uint64]) -> int:
    return int(numpy.bitwise_count(words).sum(dtype=numpy.int64))
