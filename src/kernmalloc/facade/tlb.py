"""What the soft machine's TLBs counted: accesses, misses and walks, by what was accessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy

from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.machine.lives import SoftLife

if TYPE_CHECKING:
    from kernmalloc.facade.handle import Handle
    from kernmalloc.facade.view import View
    from kernmalloc.machine.arch.processors import Processor

STRUCTURES = ("heap", "core table", "mapping frames", "windows", "text", "stack", "other", "processes")
"""What can be accessed. "other" is the boot area, with the kernel's records and first tables, and the heap's map.
"processes" are those pages that processes touch. Text and stack are those that the profile declares, touched once by
each operation."""


@dataclass(frozen=True)
class Traffic:
    """Accesses to one structure; of these, those that missed level 1, and those that no TLB had a translation for."""

    accesses: int = 0
    misses: int = 0
    walks: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.accesses + other.accesses, self.misses + other.misses, self.walks + other.walks)


@dataclass(frozen=True)
class TlbFigures:
    """What was counted since the boot or `Kernel.tlb_reset`, on all processors together. `held` are the entries that
    level 1 holds now, on all of them, by structure: of a large page, that of the access which loaded it."""

    processor: Processor
    operations: int  # calls of the kernel, by whoever
    by_structure: dict[str, Traffic]  # all of STRUCTURES
    held: dict[str, int]  # all of STRUCTURES
    locked: int  # of those held, entries that are never replaced

    @property
    def total(self) -> Traffic:
        """All structures together."""
        return sum(self.by_structure.values(), Traffic())

    @property
    def kernel(self) -> Traffic:
        """All but what processes touch."""
        return sum((each for name, each in self.by_structure.items() if name != "processes"), Traffic())

    def cycles(self, traffic: Traffic) -> int:
        """What these misses cost on this processor."""
        second = traffic.misses - traffic.walks
        return second * self.processor.second_cycles + traffic.walks * self.processor.walk_cycles

    def line(self) -> TlbCounts:
        """All of it in plain numbers."""
        return TlbCounts(
            processor=self.processor.name,
            operations=self.operations,
            accesses=self.total.accesses,
            misses=self.total.misses,
            walks=self.total.walks,
            cycles=self.cycles(self.total),
            structures={
                name: StructureCounts(each.accesses, each.misses, each.walks, self.held[name])
                for name, each in self.by_structure.items()
            },
        )


class StructureCounts(msgspec.Struct, frozen=True):
    """Accesses to one structure, misses of level 1, walks, and the entries that level 1 holds of it."""

    accesses: int
    misses: int
    walks: int
    held: int


class TlbCounts(msgspec.Struct, frozen=True):
    """`TlbFigures` as JSON has them. `operations` are calls of the kernel, `cycles` what all misses cost."""

    processor: str
    operations: int
    accesses: int
    misses: int
    walks: int
    cycles: int
    structures: dict[str, StructureCounts]


def figures(handle: Handle) -> TlbFigures | None:
    """What was counted; None: nothing is, for this is not the soft machine, or the kernel has no page tables."""
    life = handle.life
    if not isinstance(life, SoftLife) or life.cores.processor is None:
        return None
    tell_core_tables(handle)
    counted, slots = life.cores.traffic(), life.cores.held()
    held = numpy.bincount(slots["what"], minlength=len(STRUCTURES))
    return TlbFigures(
        processor=life.cores.processor,
        operations=int(life.cores.records["operations"].sum()),
        by_structure={name: Traffic(*counted[i].tolist()) for i, name in enumerate(STRUCTURES)},
        held={name: int(held[i]) for i, name in enumerate(STRUCTURES)},
        locked=int(slots["locked"].sum()),
    )


def counts(handle: Handle) -> TlbCounts | None:
    """`figures` in plain numbers."""
    found = figures(handle)
    return found.line() if found else None


def reset(handle: Handle, processor: Processor | None, locked: bool) -> None:
    """As `Kernel.tlb_reset`."""
    life, profile = handle.life, handle.profile
    if not isinstance(life, SoftLife) or not handle.loaded.has_tables:
        return
    used = processor or profile.processor
    if locked and not (used and used.locks):
        raise ValueError(f"{used.title if used else 'a direct map'} locks no entries of its TLB")
    life.cores.become(used)
    page, kern = profile.page, handle.view.kern
    image = int(handle.loaded.info["image_bytes"])
    stack = min(-(-profile.tlb.stack // page), image // page)
    text = min(-(-profile.tlb.text // page), image // page - stack)
    life.declare(text, stack, int(handle.loaded.info["window"]) + image)
    tell_core_tables(handle)
    if locked:
        life.call("tlb_fix", int(kern["heap"]), int(kern["fixed"]))
    life.cores.reset()


def tell_core_tables(handle: Handle) -> None:
    """Let the soft machine know which pages are core tables, of which it has counted accesses to the heap so far."""
    if isinstance(handle.life, SoftLife) and handle.loaded.has_tables:
        handle.life.core_tables(sorted(_core_tables(handle.view)))


def _core_tables(view: View) -> list[tuple[int, int]]:
    """Addresses of core tables: each is a run of heap pages, whose first record says how many."""
    kern, spans = view.kern, []
    for region in view.regions():
        if area := int(region["area"]):
            page = area - int(kern["heap"]) >> int(kern["page_shift"])
            record = view.read(HeapPage, int(kern["heap_map"]) + (page << int(kern["record_shift"])))[0]
            spans.append((area, area + int(record["pages"]) * view.page))
    return spans
