"""Fields: which record, and which field of it, lies at a physical address of a kernel.

Concepts
  1. What lies where is found in the kernel itself: from its record references lead to others, and so on. How a record
     is divided its declaration says. So nothing here changes with the fields of records.
  2. In the memory that the kernel divides by itself, which are the boot area, the heap map, and what describes a
     region's frames, records lie in rows: each goes on until the next that something leads to.
  3. A record of an array is told without its number: `Cpu.magazines.top`. A row of plain numbers is called after the
     field that leads to it: `Region.words`.

Limits: of records that lie in slots of the heap, those are found that a reference leads to. All else is "memory".
"""

from bisect import bisect
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import MAPPING, Kern
from kernmalloc.kernel.frames.table import Frame
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.lang.records import RecordType

PER_PAGE = 64  # the record of a heap page takes so small a part of a page, at least
CORE_TABLE = "Region.entries"  # which leads to `Frame`s, as a number


class Place(NamedTuple):
    """Where a field leads to: records of a kind, or plain numbers."""

    va: int
    name: str
    record: RecordType | None
    stride: int


@cache
def field_at(record: RecordType, offset: int) -> str:
    """The path to the field at an offset; "": there is none."""
    for field in record.fields.values():
        if field.offset <= offset < field.offset + field.size:
            kind = field.kind
            if not field.inline or not isinstance(kind, RecordType) or len(kind.fields) == 1:
                return field.name
            inner = field_at(kind, (offset - field.offset) % kind.size)
            return f"{field.name}.{inner}" if inner else field.name
    return ""


def _numbers(record: RecordType, row: numpy.void) -> Iterator[tuple[str, int, RecordType | None]]:
    """Numbers and references of a record, and of those that lie in it once: name, value, what it leads to."""
    for name, field in record.fields.items():
        target = field.target
        if not field.inline:
            value = int(row[name])
            yield f"{record.name}.{name}", value if value < 1 << 63 else value - (1 << 64), target
        elif field.count == 1 and target and row.dtype[name].names:
            yield from _numbers(target, row[name])


class Fields:
    """What lies where in a kernel, as it is now."""

    def __init__(self, kernel: Kernel) -> None:
        self._view, loaded = kernel.view, kernel.handle.loaded
        self._page, self._stride = self._view.page, kernel.profile.core.stride
        heap_map = loaded.parts[1]
        map_bytes = len(self._view.heap_pages()) * max(HeapPage.size, self._page // PER_PAGE)
        self._grounds = [
            (loaded.area, loaded.area + int(loaded.info["area_bytes"])),
            (heap_map, heap_map + map_bytes),
            *((region.area, region.area + region.area_bytes) for region in kernel.regions),
        ]
        self._places: dict[int, Place] = {}
        self._follow("Kern", self._view.kern_va, Kern)
        self._starts = sorted(self._places)
        self._pages = {self._view.pa(va) & -self._page: va & -self._page for va in self._starts}
        for low, high in self._grounds:
            self._pages |= {self._view.pa(va): va for va in range(low & -self._page, high, self._page)}
        self._tables = {
            (base + int(index)) * self._page
            for base, entries in kernel.frames
            for index in numpy.flatnonzero(entries["type"] == MAPPING)
        }

    def at(self, pa: int) -> str:
        """What lies at a physical address: record and field."""
        page = self._pages.get(pa & -self._page)
        if page is None:
            return "page table" if pa & -self._page in self._tables else "memory"
        va = page + pa % self._page
        place = self._places[self._starts[max(bisect(self._starts, va) - 1, 0)]]
        if not (place.va <= va < place.va + place.stride or (self._ground(place.va) and self._ground(va))):
            return "memory"
        if place.record is None or len(place.record.fields) == 1:
            return place.name
        inner = field_at(place.record, (va - place.va) % place.stride)
        return f"{place.record.name}.{inner}" if inner else place.record.name

    def _ground(self, va: int) -> bool:
        return any(low <= va < high for low, high in self._grounds)

    def _follow(self, name: str, va: int, record: RecordType | None) -> None:
        """Note a place, and all that the first record there leads to."""
        record = Frame if name == CORE_TABLE else record
        known = self._places.get(va)
        if known and (known.record or not record):
            return
        try:
            self._view.pa(va)
        except KeyError:
            return  # nothing is mapped there
        stride = record.size if record else 1
        if record is Frame:
            stride = self._stride
        elif record is HeapPage:
            stride = max(stride, self._page // PER_PAGE)
        self._places[va] = Place(va, name, record, stride)
        if record and len(record.fields) > 1:
            for path, value, target in _numbers(record, self._view.read(record, va)[0]):
                if (target or self._ground(value)) and not va <= value < va + record.size:
                    self._follow(path, value, target)
