"""The memory of a process that runs: /proc/PID/mem.

What it shares with itself, as the RAM of a hosted kernel, is a file that is mapped in several places. Such a file is
read itself, where it is found open, and counts as memory where the most of it is mapped. Of private memory only pages
that are there are read: a page that is asked for would be there afterwards. Memory that cannot be written to, and that
of devices, is passed over.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from kernmalloc.inputs.dumps.segments import Segment

PATH = re.compile(r"/proc/(\d+)/mem")
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)")
_DEVICE = re.compile(r"/dev/(?!shm/|zero \(deleted\))")  # neither of these is one
PAGE = os.sysconf("SC_PAGESIZE")
THERE = 3 << 62  # bits of /proc/PID/pagemap: in memory, or swapped out
AT_ONCE = 1 << 17  # entries of it


class Mapping(NamedTuple):
    """One line of /proc/PID/maps."""

    start: int
    end: int
    rights: str
    offset: int
    device: int
    inode: int


def read(folder: str, memory: int) -> tuple[list[Segment], list[int]]:
    """The segments of the process of that folder in /proc, whose mem is open; and the files opened for them. OSError:
    this user may not."""
    shared: dict[tuple[int, int], list[Mapping]] = {}
    private: list[Mapping] = []
    with open(f"{folder}/maps") as maps:
        for line in maps:
            for mapping in _mapping(line):
                if mapping.rights[3] == "s":
                    shared.setdefault((mapping.device, mapping.inode), []).append(mapping)
                else:
                    private.append(mapping)
    segments, opened = [], []
    for mappings in shared.values():
        view = _largest(mappings)
        file = _file(folder, view[0])
        if file is None:
            private += view
            continue
        opened.append(file)
        held = os.fstat(file).st_size
        for mapping in view:
            size = min(mapping.end - mapping.start, held - mapping.offset)
            segments.append(Segment(mapping.start, max(size, 0), file, mapping.offset))
    with open(f"{folder}/pagemap", "rb", buffering=0) as pagemap:
        for mapping in private:
            segments += (
                Segment(start, end - start, memory, start) for start, end in _present(pagemap.fileno(), mapping)
            )
    return sorted(segments), opened


def _mapping(line: str) -> Iterator[Mapping]:
    """What a line of maps tells, if it is memory that may hold a kernel."""
    match = _LINE.match(line)
    if match and match[3][:2] == "rw" and not _DEVICE.match(match[8]):
        start, end, offset = (int(match[i], 16) for i in (1, 2, 4))
        yield Mapping(start, end, match[3], offset, os.makedev(int(match[5], 16), int(match[6], 16)), int(match[7]))


def _largest(mappings: list[Mapping]) -> list[Mapping]:
    """Of the places where a file is mapped, that which shows the most of it; it may be in parts."""
    places: dict[int, list[Mapping]] = {}
    for mapping in mappings:
        places.setdefault(mapping.start - mapping.offset, []).append(mapping)
    return max(places.values(), key=lambda place: sum(mapping.end - mapping.start for mapping in place))


def _file(folder: str, mapping: Mapping) -> int | None:
    """The file behind a mapping, opened: one that the process has open, or by the mapping itself, which root may."""
    places = [f"{folder}/map_files/{mapping.start:x}-{mapping.end:x}"]
    with suppress(OSError):
        places += [f"{folder}/fd/{name}" for name in os.listdir(f"{folder}/fd")]
    for place in places:
        with suppress(OSError):
            found = os.stat(place)
            if (found.st_dev, found.st_ino) == (mapping.device, mapping.inode):
                return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _present(pagemap: int, mapping: Mapping) -> Iterator[tuple[int, int]]:
    """(start, end) of the pages of a mapping that are there."""
    import numpy

    start = 0
    end = 0
    for at in range(mapping.start, mapping.end, AT_ONCE * PAGE):
        count = (min(mapping.end, at + AT_ONCE * PAGE) - at) // PAGE
        entries = numpy.frombuffer(os.pread(pagemap, count * 8, at // PAGE * 8), numpy.uint64)
        there = numpy.flatnonzero(entries & numpy.uint64(THERE))
        edges = numpy.flatnonzero(numpy.diff(there) != 1)
        firsts, lasts = numpy.append(0, edges + 1), numpy.append(edges, len(there) - 1)
        if not len(there):
            continue
        for first, last in zip(there[firsts].tolist(), there[lasts].tolist(), strict=True):
            if at + first * PAGE != end:
                if end:
                    yield start, end
                start = at + first * PAGE
            end = at + (last + 1) * PAGE
    if end:
        yield start, end
