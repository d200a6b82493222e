"""A run of the benchmarks: what is measured, on how much, and what was to be reached."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kernmalloc.bench import boot, frames, heap, instructions, map, objects, same, scaling, tlb, traces, zeros
from kernmalloc.bench.emulator import Missing
from kernmalloc.bench.rows import Goal, Progress, Row, Tell
from kernmalloc.bench.traces import Trace


class Work(NamedTuple):
    """How much is done: frames managed, calls of each pair, share of the generated traces; the recorded traces that are
    shipped, and further ones; GiB of the machines that are booted, bytes of the devices that are published; how many
    processors are emulated."""

    frames: int = 1 << 22
    calls: int = 2_000_000
    share: float = 1.0
    shipped: Sequence[Trace] = ()
    traces: Sequence[Trace] = ()
    machines: Sequence[int] = boot.MACHINES
    devices: Sequence[int] = boot.DEVICES
    processors: Sequence[int] = scaling.PROCESSORS

    def quick(self) -> "Work":
        """A hundredth of it, and of the shipped traces two."""
        two = self.shipped[:: len(self.shipped) // 2 or 1]
        shipped, more = ([t._replace(pairs=t.pairs[:QUICK]) for t in each] for each in (two, self.traces))
        fewest = self.machines[:1], self.devices[:1], self.processors[:1]
        return Work(1 << 14, self.calls // 100, self.share / 100, shipped, more, *fewest)


QUICK = 10_000  # operations of each recorded trace


def _frames(work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    return frames.run(work.frames, work.calls, runs, progress)


def _heap(work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    progress("generating traces", 0)
    generated = traces.generated(work.share)
    every = [*generated, *work.shipped, *work.traces]
    if not work.traces:
        tell("recorded traces: those that are shipped only (--traces FOLDER)")
    yield from heap.run(every, work.calls // 4, runs, progress, tell)
    yield from objects.run(generated[0], work.calls, runs, progress)
    yield from _emulated(instructions.run({trace.name: trace.pairs for trace in every}, progress), tell)


def _boot(work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    return boot.run(runs, work.machines, work.devices, progress, tell)


def _map(work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    progress("the map", 0)
    yield from _emulated(map.counted(runs), tell)
    yield from map.timed(runs)
    yield from zeros.run(runs)


def _tlb(work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    progress("generating traces", 0)
    long = [trace for trace in work.traces if trace.column != traces.MALLOC_LAB]
    if len(long) < len(work.traces):
        tell(f"the TLB under {traces.MALLOC_LAB}'s files, which are too short for it")
    return tlb.run([*tlb.generated(work.share), *long], work.calls, runs, progress, tell)


def _scaling(work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    return _emulated(scaling.run(work.processors, progress, tell), tell)


def _emulated(rows: Iterator[Row], tell: Tell) -> Iterator[Row]:
    """The rows, if what emulates is installed."""
    try:
        yield from rows
    except Missing as error:
        tell(error)


def _same(parts: Sequence[str], tell: Tell) -> Iterator[Row]:
    """Whether what is timed through pointers is what a bare machine runs."""
    try:
        yield from same.rows() if {"frames", "heap"} & set(parts) else ()
    except same.NoDisassembler as error:
        tell(f"the freestanding object's code: {error}")


PARTS = {"frames": _frames, "heap": _heap, "boot": _boot, "map": _map, "tlb": _tlb, "scaling": _scaling}


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What was to be reached, for what there are rows of."""
    return [
        *frames.GOALS,
        *heap.goals(rows),
        *objects.GOALS,
        *boot.GOALS,
        *instructions.goals(),
        *zeros.GOALS,
        *same.GOALS,
        *scaling.GOALS,
    ]


def run(parts: Sequence[str], work: Work, runs: int, progress: Progress, tell: Tell) -> Iterator[Row]:
    """The rows of some of PARTS, as they come; progress(what, share of its part); `tell` hears what cannot be
    measured."""
    yield from _same(parts, tell)
    for part in parts:
        yield from PARTS[part](work, runs, progress, tell)
