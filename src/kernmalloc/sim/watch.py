"""A run of a scenario, and the first replay of a trace, as their observer sees them.

Processes wait inside the compiled loop, which notes sums only. When the loop stops, each process has begun one wait at
most since the stop before, and ended one at most, for it tries again only after a stop: so the sums tell each of them.
In threads they do not, and the source keeps no time: there, processes and requests are in no slices.
"""

from typing import Self

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.source import Source
from kernmalloc.inputs.traces.trace import ORDERS, Trace
from kernmalloc.kernel.core.kern import DIRTY, EMPTY
from kernmalloc.kernel.pages.source import SLOTS
from kernmalloc.lang import status as codes
from kernmalloc.sim.crowd import Crowd
from kernmalloc.sim.loads import Loads
from kernmalloc.sim.observer import Observer
from kernmalloc.sim.outcome import Load, fared
from kernmalloc.sim.samples import Slice
from kernmalloc.sim.scenario import Scenario

DISK = "source"


class _Watched:
    """The subject of an observer, who looks for the first time where a `with` block begins, and for the last where it
    ends. `done`: work done by then."""

    unit: str

    def __init__(self, observer: Observer, kernel: Kernel, what: str, total: int) -> None:
        self.observer, self.kernel, self.total = observer, kernel, total
        self.title = f"{what}: {kernel.profile.name} on {kernel.machine.name}"

    @property
    def done(self) -> int:
        raise NotImplementedError

    def figures(self, kern: numpy.void) -> dict[str, float]:
        raise NotImplementedError

    def loads(self) -> list[Load]:
        return []

    def __enter__(self) -> Self:
        self.observer.begin(self)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if not kind:
                self.observer.end(self, self.done)
        finally:
            self.observer.let_go()


class WatchedReplay(_Watched):
    """The first replay of a trace."""

    unit = "operations"

    def __init__(self, observer: Observer, kernel: Kernel, trace: Trace) -> None:
        super().__init__(observer, kernel, trace.file, len(trace.ops))
        self._pages = (trace.kinds >= 0) & (trace.kinds < ORDERS)
        self._bytes, self._origins = trace.bytes(kernel.profile.page), trace.origins
        self._refused = numpy.zeros(self.total, bool)
        self._done = self._live = 0

    @property
    def done(self) -> int:
        return self._done

    @property
    def step(self) -> int:
        """Operations to the next look."""
        return self.observer.look(self, self._done)

    def look(self, notes: NDArray[numpy.void]) -> None:
        """So many operations more are done."""
        these = slice(self._done, self._done + len(notes))
        self._refused[these] = notes["refused"] != 0
        for at in numpy.flatnonzero(notes["refused"]).tolist():
            name, number = codes.NAMES[-int(notes["refused"][at])], self._done + at
            self.observer.note(
                Slice("allocations", "refusal", name, number, number, {"bytes": int(self._bytes[number])})
            )
        others = self._refused[self._origins[these]] | self._pages[these]
        self._live += int(numpy.where(others, 0, self._bytes[these]).sum())
        self._done = these.stop
        self.observer.look(self, self._done)

    def figures(self, kern: numpy.void) -> dict[str, float]:
        return {"live": self._live}


class WatchedRun(_Watched):
    """A run of a scenario."""

    unit = "touches"

    def __init__(
        self, observer: Observer, scenario: Scenario, kernel: Kernel, crowd: Crowd, loads: Loads, source: Source
    ) -> None:
        self._left = crowd.processors["left"]
        super().__init__(observer, kernel, scenario.name, int(self._left.sum()))
        self._scenario, self._crowd, self._loads, self._source = scenario, crowd, loads, source
        self._next = 0  # a tick: there is nothing to look at before
        groups = scenario.processes
        self._names = [f"{groups[member.group].name} {place}" for place, member in enumerate(crowd.members)]
        self._waited, self._since = (crowd.processes[name].copy() for name in ("waited", "since"))
        self._pages = [0] * len(crowd.members)  # for which each process waits, or waited last

    @property
    def done(self) -> int:
        return self.total - int(self._left.sum())

    def look(self, now: int) -> None:
        """Let the observer look, if as many touches are done as it waits for: a tick has one per processor at most."""
        if now >= self._next:
            rest = self.observer.look(self, self.done)
            self._next = now + -(-rest // len(self._left))

    def stopped(self) -> None:
        """The compiled loop stopped."""
        if self.observer.slices:
            self._waits()

    def turn(self, now: int, due: int) -> None:
        """It stopped at a tick, and so many requests are about to be answered."""
        self.stopped()
        if self.observer.slices:
            self._requests(due)
        self.look(now)

    def figures(self, kern: numpy.void) -> dict[str, float]:
        state, processes, tallies = kern["pages"], self._crowd.processes, self._loads.tallies
        counts = state["counts"]
        return {
            "live": self._loads.live,
            "ticks": int(self._crowd.processors["clock"].max()),
            "cached": int(counts.sum() - counts[EMPTY]),
            "dirty": int(counts[DIRTY]),
            **{name: int(state[name]) for name in ("misses", "evictions", "reads", "writes")},
            "waiting": int(processes["waiting"].sum()) + self._loads.waiting,
            "waits": int(processes["waits"].sum()) + sum(tally.waits for tally in tallies),
            "waited": int(processes["waited"].sum()) + sum(tally.waited for tally in tallies),
        }

    def loads(self) -> list[Load]:
        return fared(self._scenario, self._crowd, self._loads)

    def _waits(self) -> None:
        """Note the waits of processes that are over since the loop stopped last, and who has begun one since."""
        processes = self._crowd.processes
        waited, since = processes["waited"], processes["since"]
        for process in numpy.flatnonzero(waited != self._waited).tolist():
            begin = int(self._since[process])
            end = begin + int(waited[process] - self._waited[process])
            told = {"page": self._pages[process]}
            self.observer.note(Slice(self._names[process], "wait", "waits for a page", begin, end, told))
            self._waited[process] = waited[process]
        for process in numpy.flatnonzero(since != self._since).tolist():
            self._since[process], self._pages[process] = since[process], _wanted(processes[process])

    def _requests(self, due: int) -> None:
        """Note requests that the source has had time for."""
        world = self._crowd.worlds[0]
        for number, oid, writes in self._source.asked(due):
            end = int(world["due"][number % SLOTS])
            name, kind = ("writes a page back", "write") if writes else ("reads a page", "read")
            told = {"page": oid}
            self.observer.note(Slice(DISK, kind, name, end - int(world["latency"]), end, told))


def _wanted(process: numpy.void) -> int:
    """Object id of the page that a process reaches for."""
    page, pages = int(process["page"]), int(process["pages"])
    return int(process["oid"]) + page if page < pages else int(process["shared_oid"]) + page - pages
