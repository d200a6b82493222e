"""Object caches: getting and putting objects of one type; and what it saves to say of what size a block is.

Pair: an object is got and put. Bulk: 64 are got, then put, as a processor does that fills a page; at once: by one call
each. Kernel-like: the generated trace of that name, each size in a cache of its own. Times are per call, and of what is
done at once per object got or put: a pair is two.
Freeing: 64 blocks of the four sizes of that trace, in turn, are got, and then freed in that order; only that is timed,
by the processor's counter, 64 at a time, and the median taken.
"""

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy
from numpy.typing import NDArray

from kernmalloc.bench import native
from kernmalloc.bench.allocators import Heap, address, machine
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import LIMIT, OURS, SELF, Goal, Row
from kernmalloc.bench.traces import DEPEND, NODE, PROCESS, THREAD, Trace
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile

MOST = 1 << 20  # objects of a cache
SIZE = 256  # bytes of the objects of pair and bulk
WORKS = {"pair": 1, "bulk of 64": 64}  # how many are held at once
AT_ONCE = "bulk of 64 at once"
REPLAY = "kernel-like"
KINDS = DEPEND, THREAD, NODE, PROCESS  # bytes
FREES = {"free": "malloc", "free_sized": "malloc", "cache_put": "cache_get"}
"""Entries that free, in the order of c/heap.c's `how`, and those that give what they free."""
FREEING = "freeing, per block: "
GOALS = (
    Goal("heap", "object caches, per call: pair", 3.0, than=LIMIT, gross=True),
    Goal("heap", f"object caches, per call: {AT_ONCE}", 1.5, than=LIMIT, gross=True),
    *(Goal("heap", FREEING + entry, 0.8, than=SELF, other=f"{FREEING}free") for entry in ("free_sized", "cache_put")),
)


def run(trace: Trace, calls: int, runs: int, progress: Callable[[str, float], None]) -> Iterator[Row]:
    """So many runs, `calls` each; `trace`: of what is replayed. NoCompiler, Wrong."""
    harness = native.library("heap")
    sizes = sorted({int(size) for size in numpy.unique(trace.pairs[:, 1]) if size})
    ns: dict[tuple[str, bool], list[float]] = {}
    for run in range(runs):
        progress("object caches", run / runs)
        with Kernel.boot(machine(), Profile.load("x86_64")) as kernel:
            caches = {size: kernel.cache(f"bench-{size}", size, MOST).id for size in {*sizes, *KINDS, SIZE}}
            ops = numbered(trace.pairs, caches)
            for ours in (False, True):
                for work, bulk in WORKS.items():
                    h = _heap(harness, kernel, ours, ops, calls)
                    harness.heap_bulk(ctypes.byref(h), ctypes.c_int64(caches[SIZE]), ctypes.c_int64(bulk))
                    ns.setdefault((work, ours), []).append(_checked(h))
                h = Heap(context=kernel.processor, count=calls)
                h.malloc, h.free = _entries(harness, kernel, ours, "cache_get_bulk", "cache_put_bulk")
                harness.heap_at_once(ctypes.byref(h), ctypes.c_int64(caches[SIZE]), ctypes.c_int64(WORKS["bulk of 64"]))
                ns.setdefault((AT_ONCE, ours), []).append(_checked(h))
                h = _heap(harness, kernel, ours, ops, len(ops))
                harness.heap_objects(ctypes.byref(h))
                ns.setdefault((REPLAY, ours), []).append(_checked(h))
                for entry in FREES:
                    ns.setdefault((entry, ours), []).append(_freeing(harness, kernel, ours, entry, caches, calls))
            if not (found := kernel.check()).passed:
                raise Wrong(f"{OURS}, object caches: {found.failure}")
    for work in (*WORKS, AT_ONCE, REPLAY):
        nothing = float(numpy.median(ns[work, False]))
        yield Row("heap", f"object caches, per call: {work}", OURS, "ns", tuple(ns[work, True]), nothing)
    for entry in FREES:
        nothing = float(numpy.median(ns[entry, False]))
        yield Row("heap", FREEING + entry, OURS, "ns", tuple(ns[entry, True]), nothing)


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
    h.malloc, h.free = _entries(harness, kernel, ours, "cache_get", "cache_put")
    return h


def _freeing(harness: Any, kernel: Kernel, ours: bool, entry: str, caches: dict[int, int], calls: int) -> float:
    h = Heap(context=kernel.processor)
    h.malloc, h.free = _entries(harness, kernel, ours, FREES[entry], entry)
    kinds = (ctypes.c_int64 * len(KINDS))(*(caches[size] if entry == "cache_put" else size for size in KINDS))
    harness.heap_frees(ctypes.byref(h), list(FREES).index(entry), kinds, ctypes.c_int64(calls // 64))
    return _checked(h)


def _entries(harness: Any, kernel: Kernel, ours: bool, *names: str) -> Iterator[int]:
    """Addresses of entries, or of what is called as they are and does nothing."""
    return (kernel.entry(name) if ours else address(harness, f"nothing_call_{name}") for name in names)


def _checked(h: Heap) -> float:
    h.check(OURS, "object caches")
    return float(h.warm)
