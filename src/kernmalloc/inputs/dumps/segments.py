"""Segments: which bytes of a file are the memory at which addresses."""

import os
from collections.abc import Iterator
from errno import ENXIO
from typing import NamedTuple


class Segment(NamedTuple):
    """Memory at [address, address + size): the bytes of an open file from `offset` on."""

    address: int
    size: int
    file: int
    offset: int

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.address + self.size

    def part(self, start: int, end: int) -> "Segment":
        """What of it lies in [start, end)."""
        start, end = max(start, self.address), min(end, self.end)
        return self._replace(address=start, size=max(end - start, 0), offset=self.offset + start - self.address)


def data_in(file: int, start: int, end: int, near: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of what a file holds of a range, without its holes; those of up to `near` bytes count as data. All
    of the range where the file system does not tell."""
    at = _next(file, start, os.SEEK_DATA, end)
    while at < end:
        after = _next(file, at, os.SEEK_HOLE, end)
        data = _next(file, after, os.SEEK_DATA, end)
        while data < end and data - after <= near:
            after = _next(file, data, os.SEEK_HOLE, end)
            data = _next(file, after, os.SEEK_DATA, end)
        yield at, after
        at = data


def _next(file: int, at: int, what: int, end: int) -> int:
    """Where data or a hole is next, from `at` up to `end`."""
    if at >= end:
        return end
    try:
        return min(os.lseek(file, at, what), end)
    except OSError as error:
        return at if what == os.SEEK_DATA and error.errno != ENXIO else end
