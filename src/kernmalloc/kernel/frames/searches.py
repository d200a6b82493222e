"""Searches for free frames that lie side by side, from above.

Pages take the lowest frames (`bitmap`), and the heap of a direct map the highest: so the two are in each other's way as
late as can be. A search passes over what is taken by the summaries: what it costs are the free runs that are too short.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT
from kernmalloc.kernel.frames.bitmap import mask, run_end
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang import clz, element, kernel, shl


@kernel
def last_free(region: Region, end: int) -> int:
    """The highest free frame of a region below `end`. ABSENT: there is none."""
    bits_below = min(end, region.base + region.count) - region.origin
    if bits_below <= 0:
        return ABSENT
    word = (bits_below - 1) >> 6
    bits = element(region.words, word).bits & mask(((bits_below - 1) & 63) + 1)
    if bits == 0:
        group = word >> 6
        sum = element(region.sums, group).bits & ~shl(-1, word & 63)
        if sum == 0:
            i = group >> 6
            top = element(region.tops, i).bits & ~shl(-1, group & 63)
            while top == 0:
                i -= 1
                if i < 0:
                    return ABSENT
                top = element(region.tops, i).bits
            group = (i << 6) + 63 - clz(top)
            sum = element(region.sums, group).bits
        word = (group << 6) + 63 - clz(sum)
        bits = element(region.words, word).bits
    return region.origin + (word << 6) + 63 - clz(bits)


@kernel
def highest_range(region: Region, count: int, align: int, skew: int, low: int, high: int) -> int:
    """The first of `count` free frames within [low, high), as high as can be, where pfn + skew is a multiple of
    `align`, a power of two. ABSENT: there are none."""
    least = max(low, region.base)
    last = last_free(region, high)
    while last >= least:
        pfn = ((last + 1 - count + skew) & -align) - skew
        if pfn < least:
            return ABSENT
        behind = run_end(region, pfn, count)
        if behind == pfn:
            return pfn
        last = last_free(region, behind - 1)
    return ABSENT


@kernel
def longest_range(region: Region, low: int, high: int) -> int:
    """Frames in the longest run of free frames within [low, high)."""
    least = max(low, region.base)
    longest = 0
    last = last_free(region, high)
    while last >= least:
        first = run_end(region, least, last + 1 - least)
        longest = max(longest, last + 1 - first)
        last = last_free(region, first)
    return longest
