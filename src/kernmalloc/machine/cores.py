"""Processors of a simulation: memory for their TLBs, laid out as the published geometry says."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy

from kernmalloc.machine import tlb
from kernmalloc.machine.arch.processors import processor_for
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


@cache
def _described(of: Tlb, tlbs: tuple[Tlb, ...], page_shift: int, pages: tuple[int, ...]) -> dict[str, int]:
    """One of a processor's TLBs in numbers."""
    below = [_held(each, page) for each in tlbs for page in pages if each.level == 2]
    sizes = {_held(of, page) for page in [*pages, *below] if page}
    return {
        "sets": of.sets,
        "ways": of.ways,
        "sizes": sum(1 << size.bit_length() - 1 - page_shift for size in sizes if size >> page_shift),
        "splits": of.splits,
        "level": of.level,
        "kinds": KINDS[of.kind],
        "replacement": REPLACEMENTS[of.replacement],
    }


class Cores:
    """So many processors of one kind, for pages of 2 ** page_shift bytes. Tables map pages of the sizes `pages`. None:
    they have no TLBs, for there are no tables. ValueError: its TLBs hold no such pages."""

    def __init__(self, processor: Processor | None, page_shift: int, pages: Iterable[int], count: int) -> None:
        self.page_shift, self.pages, self.count = page_shift, sorted(set(pages)), count
        self.records = _aligned(count, tlb.Core.dtype)
        self.records["always"]["rights"] = tlb.WRITABLE
        for number in range(count):
            self.shortcuts["slot"][number] = self.address(number) + tlb.Core.offset("always")
        self.become(processor)

    def become(self, processor: Processor | None) -> None:
        """Have the TLBs of another processor. They are empty, and nothing is counted yet."""
        tlbs = processor.tlbs if processor else ()
        described = [_described(each, tlbs, self.page_shift, tuple(self.pages)) for each in tlbs]
        if tlbs and not any(each["level"] == 1 and each["sizes"] & 1 for each in described):
            raise ValueError(f"no TLB of level 1 holds pages of {1 << self.page_shift} bytes")
        self.processor = processor
        self.slots = _aligned(self.count * sum(each.entries for each in tlbs), tlb.Slot.dtype)
        self.slots["page"] = tlb.NONE
        self.shortcuts["read"] = self.shortcuts["write"] = tlb.NONE
        self.shortcuts["what"], self.records["random"] = tlb.UNCOUNTED, SEED
        self.records["clock"] = self.records["space"] = self.records["quiet"] = 0
        self.records["drops"] = processor is not None and processor.asid_bits == 0
        self.records["drops_all"] = processor is not None and not processor.global_entries
        self.records["tlb_count"] = len(tlbs)
        self.reset()
        at = self.slots.ctypes.data
        for core in self.records:
            for record, each in zip(core["tlbs"], described, strict=False):
                record["slots"], at = at, at + int(each["sets"] * each["ways"]) * tlb.Slot.size
                for name, value in each.items():
                    record[name] = value

    @classmethod
    def of(cls, format: Format, count: int) -> Cores:
        """So many of the kind that is usual for a format."""
        pages = [1 << form.page for level in format.levels for form in level.forms if form.page]
        made = cls(processor_for(format.name), format.page_shift, pages, count)
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
