"""The processes of a scenario as the compiled loop wants them: records in the host's memory, and what pages must hold.

Concepts
  1. Object ids are dealt out in order: first the pages that a group shares, then those of each of its processes.
  2. Who likes which page by Zipf's law is drawn before: a table of as many entries as fit `TABLE`, each a page, those
     that are liked more more often. Which page is liked is a permutation by the seed.
  3. What pages must hold follows from their versions (`drivers/processes.py`), here for whole arrays of pages at once.
"""

from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.drivers.processes import NEVER, WHOLE, WORDS, Process, Processor, World
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.pages import AddressSpace
from kernmalloc.facade.source import Source
from kernmalloc.sim.scenario import Processes, Scenario

TABLE = 1 << 18
BASE = 0x40_0000  # where processes map their first page


class Member(NamedTuple):
    """One process: its group's place in the scenario, its address space, its record."""

    group: int
    space: AddressSpace
    record: numpy.void


class Crowd:
    """All processes and processors of a run. `world` is the address of the loop's record."""

    def __init__(self, scenario: Scenario, kernel: Kernel, kernels: list[Kernel], source: Source, timed: bool) -> None:
        self.versions = numpy.zeros(scenario.pages, numpy.uint32)
        self._tables: list[NDArray[numpy.uint32]] = []  # keeps them alive
        self._seeds = numpy.random.SeedSequence(scenario.seed)
        count = sum(group.count for group in scenario.processes)
        self.processes: NDArray[numpy.void] = numpy.zeros(count, Process.dtype)
        self.processors: NDArray[numpy.void] = numpy.zeros(len(kernels), Processor.dtype)
        self.worlds: NDArray[numpy.void] = numpy.zeros(1, World.dtype)
        self.members = self._members(scenario, kernel)
        order = numpy.argsort(numpy.arange(count) % len(kernels), kind="stable")  # dealt out to the processors in turn
        self.processes[:] = self.processes[order]
        self.members = [self.members[i]._replace(record=self.processes[at]) for at, i in enumerate(order)]
        self._deal(scenario, kernels, count)
        self.set_world(scenario, kernel, source, timed)

    @property
    def world(self) -> int:
        return self.worlds.ctypes.data

    def processor(self, number: int) -> int:
        """Address of a processor's record."""
        return self.processors.ctypes.data + number * Processor.size

    def set_world(self, scenario: Scenario, kernel: Kernel, source: Source, timed: bool) -> None:
        """What all share."""
        world = self.worlds[0]
        ram = kernel.view.ram
        world["phys"], world["format"] = ram.address, kernel.layout["format"]
        world["users"] = kernel.processors(len(self.processors))
        world["processors"], world["processor_count"] = self.processors.ctypes.data, len(self.processors)
        world["ring"], world["versions"] = ram.address + source.ring_pa, self.versions.ctypes.data
        world["planned"] = NEVER
        world["latency"], world["depth"] = scenario.source.latency, scenario.source.depth if timed else 0

    def _deal(self, scenario: Scenario, kernels: list[Kernel], count: int) -> None:
        """Give each processor its processes and its share of the touches."""
        first = 0
        for number, kernel in enumerate(kernels):
            pr = self.processors[number]
            pr["cpu"], pr["number"] = kernel.processor, number
            pr["count"] = (count - number + len(kernels) - 1) // len(kernels)
            pr["left"] = (scenario.touches - number + len(kernels) - 1) // len(kernels) if pr["count"] else 0
            pr["first"] = self.processes.ctypes.data + first * Process.size
            first += int(pr["count"])

    def _members(self, scenario: Scenario, kernel: Kernel) -> list[Member]:
        members: list[Member] = []
        oid = 0
        for index, group in enumerate(scenario.processes):
            shared, oid = oid, oid + group.shared
            for _ in range(group.count):
                space = kernel.pages.space()
                record = self.processes[len(members)]
                self._fill(record, group, numpy.random.default_rng(self._seeds.spawn(1)[0]))
                record["umap"], record["root"], record["base"] = space.va, space.root, BASE
                record["oid"], record["shared_oid"] = oid, shared
                oid += group.pages
                members.append(Member(index, space, record))
        return members

    def _fill(self, record: numpy.void, group: Processes, rng: numpy.random.Generator) -> None:
        """How a process of that group chooses pages."""
        record["pages"], record["shared"], record["length"] = group.pages, group.shared, group.loop_pages
        record["random"] = int(rng.integers(1, 1 << 62))
        record["cursor"] = int(rng.integers(group.pages))
        shares = numpy.cumsum([group.share, group.zipf, group.scan, group.loop])
        for name, share in zip(("to_shared", "to_zipf", "to_scan", "to_loop"), shares, strict=True):
            record[name] = min(round(share * WHOLE), WHOLE)
        record["writes"] = round(group.writes * WHOLE)
        if group.zipf:
            table = liked(group.pages, group.exponent, rng)
            self._tables.append(table)
            record["zipf"], record["zipf_mask"] = table.ctypes.data, len(table) - 1

    def expected(self, first: int, count: int) -> NDArray[numpy.int64]:
        """The words that `count` pages from object id `first` on must hold: a row each."""
        versions = self.versions[first : first + count].astype(numpy.int64)[:, None]
        word = numpy.arange(WORDS)
        last = versions - ((versions - word) & (WORDS - 1))  # the last write to each word
        oids = numpy.arange(first, first + count)[:, None]
        return (oids << 32 | last) * (last > 0)  # `drivers.processes.number` of each


def liked(pages: int, exponent: float, rng: numpy.random.Generator) -> NDArray[numpy.uint32]:
    """Pages as often as a Zipf law likes them, in any order: an array of u32 whose length is a power of two."""
    weights = numpy.arange(1, pages + 1, dtype=float) ** -exponent
    reached = numpy.cumsum(weights) / weights.sum()
    ranks = numpy.searchsorted(reached, (numpy.arange(TABLE) + 0.5) / TABLE)
    return rng.permutation(pages).astype(numpy.uint32)[numpy.minimum(ranks, pages - 1)]
