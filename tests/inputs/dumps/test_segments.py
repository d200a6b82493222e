"""Segments of files: parts, and data without holes."""

import os
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs.dumps.segments import Segment, data_in

BLOCK = 4096


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 300), st.integers(0, 300))
def test_a_part_is_what_lies_between(address, size, start, end):
    segment = Segment(address, size, 3, 1000)
    part = segment.part(start, end)
    bytes = [at for at in range(address, segment.end) if start <= at < end]
    assert part.size == len(bytes)
    if bytes:
        assert (part.address, part.offset) == (bytes[0], 1000 + bytes[0] - address) and part.end == bytes[-1] + 1


@settings(max_examples=60)
@given(blocks=st.sets(st.integers(0, 40)), start=st.integers(0, 45), end=st.integers(0, 45), near=st.integers(0, 4))
def test_data_in_a_file_with_holes(tmp_path_factory, blocks, start, end, near):
    """Every byte that is not zero is in it, in order and apart; what is left out is zero, and longer than `near`."""
    with open(tmp_path_factory.mktemp("file") / "sparse", "w+b") as file:
        file.truncate(42 * BLOCK)
        for block in blocks:
            os.pwrite(file.fileno(), b"x" * BLOCK, block * BLOCK)
        found = list(data_in(file.fileno(), start * BLOCK, end * BLOCK, near * BLOCK))
    held = {block for first, after in found for block in range(first // BLOCK, -(-after // BLOCK))}
    assert {block for block in blocks if start <= block < end} <= held <= set(range(start, end))
    assert all(first - before > near * BLOCK for (_, before), (first, _) in pairwise(found))


def test_what_tells_no_holes_is_data_as_a_whole():
    with open("/proc/self/mem", "rb") as memory:
        assert list(data_in(memory.fileno(), 100, 200)) == [(100, 200)]
