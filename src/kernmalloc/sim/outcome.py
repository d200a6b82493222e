"""What a run of a scenario came to: figures, as a record that prints as JSON."""

from typing import TYPE_CHECKING, Any

import msgspec
import numpy

from kernmalloc.facade.blocks import free_blocks
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.tlb import TlbCounts
from kernmalloc.kernel.core.kern import Cpu
from kernmalloc.lang import status as codes
from kernmalloc.results import tables
from kernmalloc.results.shown import html
from kernmalloc.sim.crowd import Crowd
from kernmalloc.sim.loads import Loads
from kernmalloc.sim.scenario import Scenario

if TYPE_CHECKING:
    import pyarrow


class Load(msgspec.Struct, kw_only=True):
    """How one load fared. `waits`: calls that had to wait, together `waited` ticks, the longest `longest`. `refused`:
    calls that were refused for good, by status."""

    name: str
    kind: str
    got: int
    waits: int
    waited: int
    longest: int
    refused: dict[str, int]


class Outcome(msgspec.Struct, kw_only=True):
    """A run. Times are ticks unless they are called seconds; memory is frames."""

    scenario: str
    seed: int
    cpus: int
    mode: str
    kernel: str
    touches: int
    ticks: int
    # the page cache
    pages: int  # of the source
    cached: int  # at the end
    faults: int
    misses: int
    hit_rate: float
    evictions: int
    reads: int
    writes: int
    wrong: int  # reads that did not find what was last written
    # who had to wait
    loads: list[Load]
    blocked: int
    blocked_ticks: int
    longest: int
    # memory
    clipped: int  # bytes of RAM above the kernel's address limit
    frames: dict[str, int]
    free_blocks: list[int]
    fragmentation: float  # share of free frames that lie in no free block of 512
    promised: int
    available: int
    broken_by: int
    moved: int  # pages, out of the way of ranges
    windows: int  # opened by the kernel, to zero and copy frames
    # the end
    bad_pages: int = 0
    lost: int = 0
    held: bool = False
    failure: str = ""
    assertions: int = 0
    seconds: float = 0.0
    touch_seconds: float = 0.0
    tlb_counted: TlbCounts | None = None  # until the last touch, in mode soft

    _repr_html_ = html

    def to_arrow(self) -> "pyarrow.Table":
        """A table of one row; `table(Load, outcome.loads)` has one for each load. Raises NoArrow."""
        return tables.row(self)


LARGE = 9  # order of a block of 2 MiB


def fragmentation(blocks: list[int]) -> float:
    """Of the free frames, by blocks of each order, the share that lies in no block of 512."""
    free = sum(count << order for order, count in enumerate(blocks))
    large = sum(count << order for order, count in enumerate(blocks) if order >= LARGE)
    return 1 - large / free if free else 0.0


def outcome(scenario: Scenario, kernel: Kernel, crowd: Crowd, loads: Loads) -> Outcome:
    """The figures of a run that is over but for giving everything back."""
    state, ledger, blocks = kernel.pages.state, kernel.ledger, free_blocks(kernel.view)
    touches = int(crowd.processes["touches"].sum())
    misses = int(state["misses"])
    processors = kernel.view.read(Cpu, kernel.processor, int(kernel.layout["cpus"]))
    every = fared(scenario, crowd, loads)
    return Outcome(
        scenario=scenario.name,
        seed=scenario.seed,
        cpus=scenario.cpus,
        mode=kernel.mode,
        kernel=kernel.profile.name,
        touches=touches,
        ticks=int(crowd.processors["clock"].max()),
        pages=scenario.pages,
        cached=sum(kernel.pages.counts().values()),
        faults=int(crowd.processes["faults"].sum()),
        misses=misses,
        hit_rate=1 - misses / touches if touches else 0.0,
        evictions=int(state["evictions"]),
        reads=int(state["reads"]),
        writes=int(state["writes"]),
        wrong=int(crowd.processors["wrong"].sum()),
        loads=every,
        blocked=sum(load.waits for load in every),
        blocked_ticks=sum(load.waited for load in every),
        longest=max(load.longest for load in every),
        moved=int(kernel.view.kern["moved"]),
        windows=int(processors["opened"].sum()),
        clipped=kernel.clipped,
        frames=kernel.frames_by_type(),
        free_blocks=blocks,
        fragmentation=fragmentation(blocks),
        promised=ledger.promised,
        available=ledger.available,
        broken_by=ledger.broken_by,
    )


def fared(scenario: Scenario, crowd: Crowd, loads: Loads) -> list[Load]:
    """How all loads have fared until now: the groups of processes, then the others."""
    return _groups(scenario, crowd) + [
        Load(
            name=t.name,
            kind=t.kind,
            got=t.got,
            waits=t.waits,
            waited=t.waited,
            longest=t.longest,
            refused=dict(t.refused),
        )
        for t in loads.tallies
    ]


def _groups(scenario: Scenario, crowd: Crowd) -> list[Load]:
    """The processes, a load for each group."""
    loads = []
    for index, group in enumerate(scenario.processes):
        mine = numpy.array([member.group == index for member in crowd.members])
        rows: Any = crowd.processes[mine]
        refused: dict[str, int] = {}
        for row in rows[rows["refused"] > 0]:
            name = codes.NAMES[int(row["status"])]
            refused[name] = refused.get(name, 0) + int(row["refused"])
        loads.append(
            Load(
                name=group.name,
                kind="processes",
                got=int(rows["touches"].sum() - rows["refused"].sum()),
                waits=int(rows["waits"].sum()),
                waited=int(rows["waited"].sum()),
                longest=int(rows["longest"].max()),
                refused=refused,
            )
        )
    return loads
