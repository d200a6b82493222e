"""A run of the benchmarks: what is measured, on how much, and what was to be reached."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kernmalloc.bench import frames
from kernmalloc.bench.rows import Row

GOALS = (*frames.GOALS,)

Progress = Callable[[str, float], None]


class Size(NamedTuple):
    """How much work: frames managed, calls of each pair."""

    frames: int
    pairs: int


FULL = Size(frames=1 << 22, pairs=2_000_000)
QUICK = Size(frames=1 << 14, pairs=5_000)


def _frames(size: Size, runs: int, progress: Progress) -> Iterator[Row]:
    return frames.run(size.frames, size.pairs, runs, progress)


PARTS = {"frames": _frames}


def run(parts: list[str], size: Size, runs: int, progress: Progress) -> Iterator[Row]:
    """The rows of some of PARTS, as they come; progress(what, share of its part)."""
    for part in parts:
        yield from PARTS[part](size, runs, progress)
