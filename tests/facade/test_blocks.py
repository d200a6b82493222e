"""Free blocks by order, against counting by hand."""

import numpy
from hypothesis import given
from hypothesis import strategies as some

from kernmalloc.facade.blocks import blocks
from kernmalloc.kernel.frames.bitmap import MAX_ORDER


def by_hand(bits):
    """Largest aligned free block first, as a person would cut it."""
    counts, bits = [0] * (MAX_ORDER + 1), list(bits)
    for order in range(MAX_ORDER, -1, -1):
        size = 1 << order
        for start in range(0, len(bits) - size + 1, size):
            if all(bits[start : start + size]):
                counts[order] += 1
                bits[start : start + size] = [0] * size
    return counts


@given(
    some.lists(some.sampled_from([0, -1, 1, 0xFF, 0x7FFF0000]), min_size=1, max_size=40)
    | some.lists(some.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=4)
)
def test_blocks_are_counted_once_as_large_as_they_are(words):
    words = numpy.array(words, numpy.int64)
    bits = numpy.unpackbits(words.view(numpy.uint8), bitorder="little")
    counts = blocks(words).tolist()
    assert counts == by_hand(bits)
    assert sum(count << order for order, count in enumerate(counts)) == bits.sum()
