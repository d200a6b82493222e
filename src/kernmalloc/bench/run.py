"""A run of the benchmarks: what is measured, on how much, and what was to be reached."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kernmalloc.bench import frames, heap, traces
from kernmalloc.bench.rows import Goal, Row

Progress = Callable[[str, float], None]


class Size(NamedTuple):
    """How much work: frames managed, calls of each pair, share of the generated traces."""

    frames: int
    pairs: int
    share: float


FULL = Size(frames=1 << 22, pairs=2_000_000, share=1)
QUICK = Size(frames=1 << 14, pairs=5_000, share=0.01)


def _frames(size: Size, runs: int, progress: Progress) -> Iterator[Row]:
    return frames.run(size.frames, size.pairs, runs, progress)


def _heap(size: Size, runs: int, progress: Progress) -> Iterator[Row]:
    return heap.run(traces.generated(size.share), runs, progress)


PARTS = {"frames": _frames, "heap": _heap}


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What was to be reached, for what there are rows of."""
    return [*frames.GOALS, *heap.goals(rows)]


def run(parts: list[str], size: Size, runs: int, progress: Progress) -> Iterator[Row]:
    """The rows of some of PARTS, as they come; progress(what, share of its part)."""
    for part in parts:
        yield from PARTS[part](size, runs, progress)
