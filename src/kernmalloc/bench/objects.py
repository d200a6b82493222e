"""Object caches: getting and putting objects of one type.

Pair: an object is got and put. Bulk: 64 are got, then put, as a processor does that fills a page. Kernel-like: the
generated trace of that name, each size in a cache of its own. Times are per call: a pair is two.
"""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy
from numpy.typing import NDArray

from kernmalloc.bench import native
from kernmalloc.bench.allocators import Heap, address, machine
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import LIMIT, OURS, Goal, Row
from kernmalloc.bench.traces import Trace
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile

MOST = 1 << 20  # objects of a cache
SIZE = 256  # bytes of the objects of pair and bulk
WORKS = {"pair": 1, "bulk of 64": 64}  # how many are held at once
REPLAY = "kernel-like"
GOALS = (
    Goal("heap", "object caches, per call: pair", 3.0, than=LIMIT, gross=True),
    Goal("heap", "object caches, per call: bulk of 64", 2.5, than=LIMIT, gross=True),
)


def run(trace: Trace, calls: int, runs: int, progress: Callable[[str, float], None]) -> Iterator[Row]:
    """So many runs, `calls` each; `trace`: of what is replayed. NoCompiler, Wrong."""
    harness = native.library("heap")
    sizes = sorted({int(size) for size in numpy.unique(trace.pairs[:, 1]) if size})
    ns: dict[tuple[str, bool], list[float]] = {}
    for run in range(runs):
        progress("object caches", run / runs)
        with Kernel.boot(machine(), Profile.load("x86_64")) as kernel:
            caches = {size: kernel.cache(f"bench-{size}", size, MOST).id for size in {*sizes, SIZE}}
            ops = numbered(trace.pairs, caches)
            for ours in (False, True):
                for work, bulk in WORKS.items():
                    h = _heap(harness, kernel, ours, ops, calls)
                    harness.heap_bulk(ctypes.byref(h), ctypes.c_int64(caches[SIZE]), ctypes.c_int64(bulk))
                    ns.setdefault((work, ours), []).append(_checked(h))
                h = _heap(harness, kernel, ours, ops, len(ops))
                harness.heap_objects(ctypes.byref(h))
                ns.setdefault((REPLAY, ours), []).append(_checked(h))
            if not (found := kernel.check()).passed:
                raise Wrong(f"{OURS}, object caches: {found.failure}")
    for work in (*WORKS, REPLAY):
        nothing = float(numpy.median(ns[work, False]))
        yield Row("heap", f"object caches, per call: {work}", OURS, "ns", tuple(ns[work, True]), nothing)


def numbered(pairs: NDArray[numpy.int32], caches: dict[int, int]) -> NDArray[numpy.int32]:
    """The trace with the number of a cache for each size, and its negative where a slot is freed."""
    ops = pairs.copy()
    for size, id in caches.items():
        ops[pairs[:, 1] == size, 1] = id
    by_slot = numpy.argsort(pairs[:, 0], kind="stable")
    freed = numpy.flatnonzero(pairs[by_slot, 1] == 0)  # in this order, what is freed stands just before
    ops[by_slot[freed], 1] = -ops[by_slot[freed - 1], 1]
    return ops


def _heap(harness: Any, kernel: Kernel, ours: bool, ops: NDArray[numpy.int32], calls: int) -> Heap:
    h = Heap.of(2, ops, 1, context=kernel.processor)
    h.count = calls
    entries = kernel.entry if ours else lambda name: address(harness, f"nothing_call_{name}")
    h.malloc, h.free = entries("cache_get"), entries("cache_put")
    return h


def _checked(h: Heap) -> float:
    h.check(OURS, "object caches")
    return float(h.warm)
