"""Processors of a simulation: memory for their TLBs, laid out as the published geometry says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from kernmalloc.machine import tlb
from kernmalloc.machine.walker import hardware

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from kernmalloc.machine.arch.model import Format
    from kernmalloc.machine.arch.processors import Processor, Tlb

KINDS = {"data": tlb.DATA, "instruction": tlb.INSTRUCTION, "unified": tlb.DATA | tlb.INSTRUCTION}
REPLACEMENTS = {
    "lru": tlb.LRU,
    "pseudo-lru": tlb.PSEUDO_LRU,
    "random": tlb.RANDOM,
    "round-robin": tlb.ROUND_ROBIN,
}
LINE = 64
SEED = 0x2545F4914F6CDD1D  # of random replacement


def _aligned(count: int, kind: numpy.dtype[numpy.void]) -> NDArray[numpy.void]:
    """Zeroed records that begin on a line of the cache."""
    memory = numpy.zeros(count * kind.itemsize + LINE, numpy.uint8)
    start = -memory.ctypes.data % LINE
    records: NDArray[numpy.void] = memory[start : start + count * kind.itemsize].view(kind)
    return records


def _held(tlb: Tlb, page: int) -> int:
    """Bytes of the piece in which a TLB holds a page of so many; 0: it does not hold it."""
    return max((size for size in tlb.pages if size == page or (size < page and tlb.splits)), default=0)


class Cores:
    """So many processors of one kind, for pages of 2 ** page_shift bytes. Tables map pages of the sizes `pages`. None:
    they have no TLBs, for there are no tables. ValueError: its TLBs hold no such pages."""

    def __init__(self, processor: Processor | None, page_shift: int, pages: Iterable[int], count: int) -> None:
        self.processor, self.page_shift, self.pages, self.count = processor, page_shift, sorted(set(pages)), count
        self.records = _aligned(count, tlb.Core.dtype)
        self._tlbs = tlbs = processor.tlbs if processor else ()
        self.slots = _aligned(count * sum(each.entries for each in tlbs), tlb.Slot.dtype)
        self.slots["page"] = tlb.NONE
        self.shortcuts["read"] = self.shortcuts["write"] = tlb.NONE
        self.shortcuts["what"] = tlb.UNCOUNTED
        self.records["always"]["rights"], self.records["random"] = tlb.WRITABLE, SEED
        at = self.slots.ctypes.data
        for number in range(count):
            core = self.records[number]
            core["tlb_count"] = len(tlbs)
            if processor:
                core["drops"], core["drops_all"] = processor.asid_bits == 0, not processor.global_entries
            self.shortcuts["slot"][number] = self.address(number) + tlb.Core.offset("always")
            for record, each in zip(core["tlbs"], tlbs, strict=False):
                self._describe(record, each, at)
                at += each.entries * tlb.Slot.size
        if tlbs and not any(each["level"] == 1 and each["sizes"] & 1 for each in self.records[0]["tlbs"]):
            raise ValueError(f"no TLB of level 1 holds pages of {1 << page_shift} bytes")

    def _describe(self, record: numpy.void, each: Tlb, slots: int) -> None:
        below = [_held(tlb, page) for tlb in self._tlbs for page in self.pages if tlb.level == 2]
        sizes = {_held(each, page) for page in [*self.pages, *below] if page}
        record["slots"], record["sets"], record["ways"] = slots, each.sets, each.ways
        record["sizes"] = sum(1 << size.bit_length() - 1 - self.page_shift for size in sizes if size >> self.page_shift)
        record["splits"], record["level"] = each.splits, each.level
        record["kinds"], record["replacement"] = KINDS[each.kind], REPLACEMENTS[each.replacement]

    @classmethod
    def of(cls, processor: Processor | None, format: Format, count: int) -> Cores:
        """So many that walk the tables of a format."""
        pages = [1 << form.page for level in format.levels for form in level.forms if form.page]
        made = cls(processor, format.page_shift, pages, count)
        if format.has_tables:
            made.records["hardware"] = hardware(format, sets_used=False)
            made.records["marks"] = format.walking.sets_used
        return made

    @property
    def shortcuts(self) -> NDArray[numpy.void]:
        """By processor, those that it has."""
        shortcuts: NDArray[numpy.void] = self.records["shortcuts"]
        return shortcuts

    def address(self, number: int) -> int:
        """Where in this process the processor of that number is."""
        return int(self.records.ctypes.data) + number * tlb.Core.size

    @property
    def bytes(self) -> int:
        """Length of all of them, one behind the other."""
        return self.count * tlb.Core.size

    def reset(self) -> None:
        """Count from 0. What the TLBs hold stays."""
        self.records["traffic"] = 0
        self.records["operations"] = 0
        self.shortcuts["hits"] = 0

    def traffic(self) -> NDArray[numpy.int64]:
        """What was counted, of all processors: accesses, misses and walks by structure. Hits of shortcuts that are not
        settled are missing."""
        columns = [self.records["traffic"][name].sum(axis=0) for name in tlb.Traffic.fields]
        return numpy.stack(columns, axis=1).astype(numpy.int64)

    def held(self) -> NDArray[numpy.void]:
        """The slots of level 1 that translate something."""
        found = []
        per_core = len(self.slots) // self.count
        for number in range(self.count):
            at = number * per_core
            for record in self.records[number]["tlbs"][: self.records[number]["tlb_count"]]:
                entries = int(record["sets"] * record["ways"])
                if record["level"] == 1:
                    found.append(self.slots[at : at + entries])
                at += entries
        slots: NDArray[numpy.void] = numpy.concatenate([self.slots[:0], *found])
        slots = slots[slots["page"] != tlb.NONE]
        return slots
