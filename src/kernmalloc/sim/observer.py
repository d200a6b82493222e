"""Who looks at a run or replay while it goes on, and notes what is to be seen.

Concepts
  1. What goes on is a `Subject`: a kernel, and figures that the kernel does not know. It tells its observer how much of
     its work is done, and the observer looks when as much is done as it is waiting for: at most MOMENTS times, evenly.
  2. A look only reads: the kernel's memory, and counts of the host. So a run has the same result whether somebody looks
     or not. Where a look is dear, at machines with much RAM, there are fewer.
  3. Between looks it is told of slices (`sim/samples.py`). It keeps of each kind the longest, LONGEST at most; which of
     those that are equally long is up to a number that is drawn by their order.
"""

import heapq
import time
from collections.abc import Callable
from typing import Protocol

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.frame_map import FrameMap
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import TYPE_NAMES, TYPES
from kernmalloc.sim.outcome import Load, fragmentation
from kernmalloc.sim.samples import MEANINGS, Column, Maps, Samples, Slice

MOMENTS = 1000
MAPS = 128
CELLS = 2048
FRAMES = 1 << 22  # a machine with more of them is looked at less often, in inverse proportion
FEWEST = (64, 8)  # moments and maps, however large it is
LONGEST = 40_000  # slices of each kind


class Subject(Protocol):
    """What is looked at. `kernel`, what its work is counted in, and how much of it there is to do."""

    kernel: Kernel
    title: str
    unit: str
    total: int

    def figures(self, kern: numpy.void) -> dict[str, float]:
        """What is to be noted beside what every kernel tells, whose record this is: names of `samples.MEANINGS`,
        always the same."""

    def loads(self) -> list[Load]:
        """How all have fared until now."""


Seen = Callable[[Subject, dict[str, float], NDArray[numpy.uint32] | None], object]


class Observer:
    """Looks at one run or replay: `samples` is what it saw. With `slices` it is told of processes and requests, too.
    `seen` is called at each moment with what was noted, and the frame map if one was taken; the work goes on when it
    returns, and ends if it raises."""

    def __init__(self, slices: bool = False, seen: Seen = lambda subject, figures, map: None) -> None:
        self.slices, self._seen = slices, seen
        self._rows: list[dict[str, float]] = []
        self._maps: list[NDArray[numpy.uint32]] = []
        self._mapped: list[int] = []
        self._kept: dict[str, list[tuple[int, int, Slice]]] = {}
        self._told = 0
        self._title, self._unit, self._total = "", "", 0
        self._each, self._spans = 1, list[tuple[int, int]]()
        self._map: FrameMap | None = None

    def begin(self, subject: Subject) -> None:
        """Look for the first time. Raises ValueError where it has looked at something else."""
        if self._rows:
            raise ValueError("an observer looks at one run: make another")
        kernel = subject.kernel
        self._title, self._unit, self._total = subject.title, subject.unit, subject.total
        self._map = FrameMap(kernel.view, kernel.profile.core.stride, CELLS)
        self._each, self._spans = self._map.each, self._map.spans
        rarer = max(self._map.frames / FRAMES, 1)
        moments, maps = (max(int(most / rarer), least) for most, least in zip((MOMENTS, MAPS), FEWEST, strict=True))
        self._step = max(-(-subject.total // (moments - 1)), 1)
        self._to_map = -(-moments // (maps - 1))
        self._begun = time.perf_counter()
        self._look(subject, 0, mapped=True)

    def look(self, subject: Subject, done: int) -> int:
        """So much is done: look, if it is time. Returns how much is to be done before the next look."""
        if done >= self._next:
            self._look(subject, done, mapped=len(self._rows) % self._to_map == 0)
        return self._next - done

    def end(self, subject: Subject, done: int) -> None:
        """It is over: look for the last time."""
        if self._rows[-1]["done"] < done:
            self._look(subject, done, mapped=True)

    def let_go(self) -> None:
        """Have nothing of the kernel's memory any more."""
        self._map = None

    def note(self, slice: Slice) -> None:
        """Keep a slice, if it is one of the longest of its kind."""
        kept = self._kept.setdefault(slice.kind, [])
        self._told += 1
        item = (slice.end - slice.begin, self._told * 0x9E3779B97F4A7C15 % (1 << 64), slice)
        if len(kept) < LONGEST:
            heapq.heappush(kept, item)
        else:
            heapq.heappushpop(kept, item)

    def _look(self, subject: Subject, done: int, mapped: bool) -> None:
        assert self._map is not None
        self._next = (done // self._step + 1) * self._step
        row = {"done": done, "seconds": time.perf_counter() - self._begun}
        kern = subject.kernel.view.kern
        row |= _of_kernel(subject.kernel, kern, self._map) | subject.figures(kern)
        if "misses" in row:
            row["hit_rate"] = self._hit_rate(row)
        map = self._map.counts() if mapped else None
        if map is not None:
            self._mapped.append(len(self._rows))
            self._maps.append(map)
        self._rows.append(row)
        self._seen(subject, row, map)

    def _hit_rate(self, row: dict[str, float]) -> float:
        """Of the touches since the moment before. A page is missed before its touch is done."""
        before = self._rows[-1] if self._rows else row
        touches, misses = (row[name] - before[name] for name in ("done", "misses"))
        return max(1 - misses / touches, 0.0) if touches else 1.0

    @property
    def samples(self) -> Samples:
        """What was seen until now."""
        names = [name for name in MEANINGS if self._rows and name in self._rows[0]]
        columns = {}
        for name in names:
            unit, meaning = MEANINGS[name]
            values = numpy.array([row[name] for row in self._rows])
            columns[name] = Column(unit or self._unit, meaning, values)
        counts = numpy.stack(self._maps) if self._maps else numpy.zeros((0, 0, TYPES), numpy.uint32)
        kept = [slice for kind in self._kept.values() for _, _, slice in kind]
        return Samples(
            title=self._title,
            unit=self._unit,
            total=self._total,
            columns=columns,
            map=Maps(counts, numpy.array(self._mapped, numpy.int64), self._each, self._spans),
            slices=sorted(kept, key=lambda slice: (slice.begin, slice.end, slice.track)),
            left_out=self._told - len(kept),
        )


def _of_kernel(kernel: Kernel, kern: numpy.void, map: FrameMap) -> dict[str, float]:
    """What every kernel tells."""
    page, frames = kernel.profile.page, kernel.view.frames()
    frames["reserved"] += map.carved
    blocks = map.free_blocks().tolist()
    return {
        "heap_used": (int(kern["backed"]) - int(kern["idle"]) - int(kern["kept"])) * page,
        "heap_backed": (int(kern["backed"]) + int(kern["map_pages"])) * page,
        **{f"frames_{name}": frames[name] for name in TYPE_NAMES},
        **{f"blocks_{order}": count for order, count in enumerate(blocks)},
        "fragmentation": fragmentation(blocks),
        "promised": int(kern["promised"]),
        "available": int(kern["free_frames"]) + int(kern["page_frames"]),
        "moved": int(kern["moved"]),
    }
