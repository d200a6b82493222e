"""A run of the benchmarks: what is measured, on how much, and what was to be reached."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kernmalloc.bench import frames, heap, objects, traces
from kernmalloc.bench.rows import Goal, Row
from kernmalloc.bench.traces import Trace

Progress = Callable[[str, float], None]


class Work(NamedTuple):
    """How much is done: frames managed, calls of each pair, share of the generated traces; and the recorded traces."""

    frames: int = 1 << 22
    calls: int = 2_000_000
    share: float = 1.0
    traces: Sequence[Trace] = ()

    def quick(self) -> "Work":
        """A hundredth of it."""
        few = [trace._replace(pairs=trace.pairs[:QUICK]) for trace in self.traces]
        return Work(1 << 14, self.calls // 100, self.share / 100, few)


QUICK = 10_000  # operations of each recorded trace


def _frames(work: Work, runs: int, progress: Progress) -> Iterator[Row]:
    return frames.run(work.frames, work.calls, runs, progress)


def _heap(work: Work, runs: int, progress: Progress) -> Iterator[Row]:
    progress("generating traces", 0)
    generated = traces.generated(work.share)
    yield from heap.run([*generated, *work.traces], work.calls // 4, runs, progress)
    yield from objects.run(generated[0], work.calls, runs, progress)


PARTS = {"frames": _frames, "heap": _heap}


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What was to be reached, for what there are rows of."""
    return [*frames.GOALS, *heap.goals(rows), *objects.GOALS]


def run(parts: Sequence[str], work: Work, runs: int, progress: Progress) -> Iterator[Row]:
    """The rows of some of PARTS, as they come; progress(what, share of its part)."""
    for part in parts:
        yield from PARTS[part](work, runs, progress)
