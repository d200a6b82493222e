"""What the soft machine's TLBs counted: accesses, misses and walks, by what was accessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernmalloc.machine.arch.processors import Processor

STRUCTURES = ("heap", "core table", "mapping frames", "windows", "text", "stack", "other", "processes")
"""What can be accessed. "other" is the boot area: the kernel's records and first tables. "processes" are those pages
that processes touch. Text and stack are those that the profile declares, touched once by each operation."""


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

    def per_thousand(self, count: int) -> float:
        """So many for each thousand operations."""
        return 1000 * count / self.operations if self.operations else 0.0
