"""Traces for the heap: int32 pairs (slot, bytes), as the harness replays them; bytes 0 frees the slot.

Recorded ones are read from files (`inputs.traces`); of a kernel's, what its heap and its caches gave, not its pages.
Six are shipped; `recorded/README.md` says what they are of.
Others are generated, and the same on every machine.

`kernel` is what a kernel of this design does: objects of four sizes, in phases (boot, processes that come and go,
mapping faults, a reclaim of node space, a flush and a burst of depend entries, the end). The others are of sizes spread
evenly over the logarithm from 8 to 8192 bytes, freed at random, in the order of allocation or against it, one by one or
in bulk; and two of one size each.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.traces import read_trace

DEPEND, THREAD, NODE, PROCESS = 32, 256, 584, 1216
LEAST, MOST = 8, 8192  # bytes
SHIPPED = Path(__file__).parent / "recorded"
MALLOC_LAB = "malloc-lab"  # its files are short: together they are one column


class Trace(NamedTuple):
    """A trace. `column`: the row of the tables that it counts for."""

    name: str
    column: str
    pairs: NDArray[numpy.int32]


class _Kinds:
    """Objects that are live, by size: added, and taken away at random or the last one first."""

    def __init__(self, seed: int) -> None:
        self.ops: list[tuple[int, int]] = []
        self.live: dict[int, list[int]] = {size: [] for size in (DEPEND, THREAD, NODE, PROCESS)}
        self._free: list[int] = []
        self._next, self._random = 0, Random(seed).random

    def add(self, size: int, count: int) -> None:
        for _ in range(count):
            if self._free:
                slot = self._free.pop()
            else:
                slot, self._next = self._next, self._next + 1
            self.live[size].append(slot)
            self.ops.append((slot, size))

    def drop(self, size: int, count: int, at_random: bool) -> None:
        live = self.live[size]
        for _ in range(count):
            if at_random:
                i = int(self._random() * len(live))
                live[i], live[-1] = live[-1], live[i]
            slot = live.pop()
            self.ops.append((slot, 0))
            self._free.append(slot)


def kernel(scale: int) -> NDArray[numpy.int32]:
    """The objects of a kernel with scale * 1000 processes at its start."""
    kinds = _Kinds(1)
    for _ in range(2 * scale):  # boot
        for size, count in ((PROCESS, 1), (THREAD, 1), (NODE, 7), (DEPEND, 30)):
            kinds.add(size, count)
    nodes, depends = len(kinds.live[NODE]), len(kinds.live[DEPEND])
    for _ in range(12):
        for i in range(3 * scale):  # a process comes, works, and it or another one goes
            one = ((PROCESS, 1), (THREAD, 1), (NODE, 6), (DEPEND, 12))
            for size, count in one:
                kinds.add(size, count)
            for _ in range(10):
                kinds.drop(DEPEND, 1, True)
                kinds.add(DEPEND, 1)
            for _ in range(2):
                kinds.drop(NODE, 1, True)
                kinds.add(NODE, 1)
            for size, count in one:
                kinds.drop(size, count, i % 2 == 0)
        kinds.drop(NODE, len(kinds.live[NODE]) * 3 // 10, True)
        kinds.drop(DEPEND, len(kinds.live[DEPEND]) // 2, True)
        kinds.add(DEPEND, 20 * scale)
        kinds.drop(DEPEND, 20 * scale, False)
        kinds.add(NODE, nodes - len(kinds.live[NODE]))
        kinds.add(DEPEND, depends - len(kinds.live[DEPEND]))
    for size, live in kinds.live.items():
        kinds.drop(size, len(live), True)
    return numpy.array(kinds.ops, numpy.int32)


def _sizes(random: numpy.random.Generator, count: int, size: int) -> NDArray[numpy.int32]:
    """Of one size, or, for 0, spread over the logarithm."""
    if size:
        return numpy.full(count, size, numpy.int32)
    return (LEAST * (MOST / LEAST) ** random.random(count)).astype(numpy.int32)


def steady(live: int, count: int, at_random: bool, size: int = 0) -> NDArray[numpy.int32]:
    """`live` blocks; `count` times one of them is freed, at random or the oldest, and another allocated."""
    random = numpy.random.default_rng(2)
    slots = random.integers(0, live, count) if at_random else numpy.arange(count) % live
    every = numpy.arange(live)
    zeros = numpy.zeros(live, numpy.int32)
    middle = numpy.empty((2 * count, 2), numpy.int32)
    middle[:, 0] = slots.repeat(2)
    middle[0::2, 1], middle[1::2, 1] = 0, _sizes(random, count, size)
    first, last = (every, _sizes(random, live, size)), (every, zeros)
    return numpy.concatenate([numpy.stack(first, 1), middle, numpy.stack(last, 1)]).astype(numpy.int32)


def stack(depth: int, count: int) -> NDArray[numpy.int32]:
    """Up to 64 allocations, up to 64 frees of the newest, and so on: at least `count` of both, `depth` live at most."""
    random = numpy.random.default_rng(3)
    slots: list[NDArray[numpy.int64]] = []
    up: list[NDArray[numpy.bool]] = []
    top = done = 0
    while done < count:
        rise, fall = random.integers(1, 65, 2)
        rise = min(rise, depth - top)
        fall = min(fall, top + rise)
        slots += [numpy.arange(top, top + rise), numpy.arange(top + rise - 1, top + rise - fall - 1, -1)]
        up += [numpy.ones(rise, bool), numpy.zeros(fall, bool)]
        top, done = top + rise - fall, done + rise + fall
    slots.append(numpy.arange(top - 1, -1, -1))
    up.append(numpy.zeros(top, bool))
    grows = numpy.concatenate(up)
    sizes = numpy.where(grows, _sizes(random, len(grows), 0), 0)
    return numpy.stack([numpy.concatenate(slots), sizes], 1).astype(numpy.int32)


def bulk(live: int, rounds: int, reversed: bool) -> NDArray[numpy.int32]:
    """`live` blocks are allocated, then all freed, the oldest or the newest first; so many rounds."""
    random = numpy.random.default_rng(4)
    every = numpy.arange(live)
    out = every[::-1] if reversed else every
    slots = numpy.tile(numpy.concatenate([every, out]), rounds)
    sizes = _sizes(random, 2 * live * rounds, 0)
    sizes.reshape(rounds, 2, live)[:, 1] = 0
    return numpy.stack([slots, sizes], 1).astype(numpy.int32)


def generated(share: float) -> list[Trace]:
    """All of them; `share` of the full length, and of what is live."""

    def n(full: int) -> int:
        return max(int(full * share), 8)

    made: dict[str, Callable[[], NDArray[numpy.int32]]] = {
        "kernel-like": lambda: kernel(n(1000)),
        "random, 1,000 live": lambda: steady(n(1000), n(500_000), True),
        "random, 10,000 live": lambda: steady(n(10_000), n(500_000), True),
        "random, 50,000 live": lambda: steady(n(50_000), n(500_000), True),
        "fifo, 10,000 live": lambda: steady(n(10_000), n(500_000), False),
        "lifo": lambda: stack(n(10_000), n(1_000_000)),
        "bulk, fifo": lambda: bulk(n(20_000), 25, False),
        "bulk, lifo": lambda: bulk(n(20_000), 25, True),
        "32 bytes": lambda: steady(n(20_000), n(500_000), True, 32),
        "584 bytes": lambda: steady(n(20_000), n(500_000), True, 584),
    }
    return [Trace(name, name, make()) for name, make in made.items()]


def shipped() -> list[Trace]:
    """The recorded ones that this project has."""
    return [_recorded(file) for file in sorted(SHIPPED.glob("*.zst"))]


def recorded(path: Path, unread: Callable[[InputError], object]) -> list[Trace]:
    """The trace in a file, or all that are in a folder and below: there, what is none goes to `unread`. InputError."""
    if not path.is_dir():
        return [_recorded(path)]
    found = []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        try:
            found.append(_recorded(file))
        except InputError as error:
            unread(error)
    if not found:
        raise InputError(str(path), 0, "there is no trace in this folder")
    return found


def _recorded(file: Path) -> Trace:
    trace = read_trace(file)
    pairs = numpy.ascontiguousarray(trace.pairs())
    if not len(pairs):
        raise InputError(str(file), 0, "nothing in this trace is of the heap or of a cache")
    name = Path(file.name.removesuffix(".zst").removesuffix(".gz")).stem
    return Trace(name, MALLOC_LAB if trace.form == MALLOC_LAB else name, pairs)
