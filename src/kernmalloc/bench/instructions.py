"""Instructions: what each malloc and each free of a trace costs, counted one by one in the freestanding object.

Concepts
  1. The count is exact and of nothing but the kernel: from the entry's first instruction to its return, on an emulated
     processor (`emulator`). It is the same in every run.
  2. What an operation did decides what it may cost:

         quick      it took no lock: this processor's magazine had what was wanted, or took it
         locked     it took the lock: a refill, a slab, a run of pages; whatever state the heap was in
         mapping    it changed the map by n pages as well: the heap grew or shrank. Frames must be found, mapped and
                    filled with zeros, or unmapped and given back, one by one: a cost per page, not part of the bound

  3. `BOUNDS` holds for every operation, in any state. The head of `kernel.heap.malloc` says where the terms come from:

         quick:    instructions <= bound.quick
         locked:   instructions <= bound.locked
         mapping:  instructions <= bound.locked + bound.page * n
"""

import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy
from numpy.typing import NDArray

from kernmalloc.bench import emulator
from kernmalloc.bench.emulator import BASE, COUNTS, IMAGE, MIB, ROOM, Counts, processor
from kernmalloc.bench.rows import LIMIT, OURS, Goal, Progress, Row
from kernmalloc.facade.kernel import Kernel
from kernmalloc.lang import backend
from kernmalloc.machine.arch import TARGETS

RAM = 1 << 30
LONGEST = 500_000  # operations of a trace that are counted: those it begins with
PAIR = "instructions of a pair: median"  # of malloc and of free, added
MOST, QUICK, PAGE = "maximum", "maximum without the lock", "maximum beyond that, each page mapped or unmapped"


class Bound(NamedTuple):
    """Instructions that an operation takes at most; `page` for each page that it maps or unmaps."""

    quick: int
    locked: int
    page: int


BOUNDS = {"malloc": Bound(quick=4500, locked=20_000, page=1300), "free": Bound(quick=15_000, locked=45_000, page=400)}
"""Of x86_64. The figures of other targets differ by what their instructions can do."""

# A loop over operations (slot, bytes), as machine code of the emulated processor: from one call to the next it keeps
# what was answered and what has been counted.
_REPLAY = """
define void @replay(i64 %cpu, ptr %malloc, ptr %free, ptr %ops, ptr %end, ptr %held, ptr %counts, ptr %done) {
start:
 br label %next
next:
 %op = phi ptr [ %ops, %start ], [ %op.next, %next ]
 %to = phi ptr [ %done, %start ], [ %to.next, %next ]
 %slot = load i32, ptr %op
 %bytes.at = getelementptr i32, ptr %op, i64 1
 %bytes = load i32, ptr %bytes.at
 %size = zext i32 %bytes to i64
 %place = getelementptr i64, ptr %held, i32 %slot
 %block = load i64, ptr %place
 %frees = icmp eq i32 %bytes, 0
 %entry = select i1 %frees, ptr %free, ptr %malloc
 %argument = select i1 %frees, i64 %block, i64 %size
 %answer = call i64 %entry(i64 %cpu, i64 %argument)
 store i64 %answer, ptr %place
 store i64 %answer, ptr %to
 %counted = load i192, ptr %counts
 %counted.to = getelementptr i64, ptr %to, i64 1
 store i192 %counted, ptr %counted.to
 %op.next = getelementptr i32, ptr %op, i64 2
 %to.next = getelementptr i64, ptr %to, i64 4
 %more = icmp ne ptr %op.next, %end
 br i1 %more, label %next, label %stop
stop:
 ret void
}
"""
DONE = numpy.dtype([("answer", "<i8"), *((name, "<i8") for name in Counts._fields)])
"""What became of an operation."""
STEPS = 1 << 18  # operations at a time
OPS = ROOM + MIB
RESULTS = OPS + STEPS * 8
HELD = RESULTS + STEPS * DONE.itemsize
SLOTS = (BASE + IMAGE - HELD) // 8


class Refused(Exception):
    """The kernel refused an operation of a trace: which, and the status."""


def replay(kernel: Kernel, pairs: NDArray[numpy.int32]) -> NDArray[numpy.void]:
    """An array of `DONE` for int32 pairs (slot, bytes), shape (n, 2): bytes > 0 allocates, 0 frees. Of a kernel that
    `emulator.boot` made. Refused."""
    if len(pairs) and int(pairs[:, 0].max()) >= SLOTS:
        raise Refused(f"{int(pairs[:, 0].max()) + 1} blocks at once: the emulated machine has room for {SLOTS}")
    bare = processor(kernel)
    target = backend.target_machine(TARGETS["x86_64"])
    code, symbols = emulator.link(io.BytesIO(target.emit_object(llvm.parse_assembly(_REPLAY))), ROOM)
    bare.write(ROOM, code)
    done = numpy.zeros(len(pairs), DONE)
    counted = bare.counts
    for at in range(0, len(pairs), STEPS):
        part = numpy.ascontiguousarray(pairs[at : at + STEPS], "<i4")
        bare.write(OPS, part.tobytes())
        entries = bare.symbols["km_call_malloc"], bare.symbols["km_call_free"]
        bare.run(symbols["replay"], kernel.processor, *entries, OPS, OPS + part.nbytes, HELD, COUNTS, RESULTS)
        done[at : at + STEPS] = numpy.frombuffer(bare.read(RESULTS, len(part) * DONE.itemsize), DONE)
    for name, before in zip(Counts._fields, counted, strict=True):
        done[name] = numpy.diff(done[name], prepend=before)
    wrong = numpy.flatnonzero((done["answer"] < 0) & (done["answer"] >= -4095))  # as `failed` asks
    if len(wrong):
        raise Refused(f"operation {int(wrong[0]) + 1}: status {int(done['answer'][wrong[0]])}")
    return done


class Cost(NamedTuple):
    """Instructions of the operations of one kind: `maps` pages each."""

    quick: NDArray[numpy.int64]
    locked: NDArray[numpy.int64]
    mapping: NDArray[numpy.int64]
    maps: NDArray[numpy.int64]

    @property
    def bounded(self) -> NDArray[numpy.int64]:
        """Of all that left the map as it was."""
        return numpy.concatenate([self.quick, self.locked])

    def excess(self, bound: Bound) -> NDArray[numpy.int64]:
        """By how much each operation exceeds its bound; none is positive."""
        over = self.mapping - bound.locked - bound.page * self.maps
        return numpy.concatenate([self.quick - bound.quick, self.locked - bound.locked, over])


def costs(pairs: NDArray[numpy.int32], done: NDArray[numpy.void]) -> dict[str, Cost]:
    """What the mallocs and the frees of a trace cost."""
    return {"malloc": _cost(done[pairs[:, 1] > 0]), "free": _cost(done[pairs[:, 1] == 0])}


def _cost(done: NDArray[numpy.void]) -> Cost:
    maps, locks = done["pages"] > 0, done["locks"] > 0
    spent = done["instructions"]
    return Cost(spent[~locks & ~maps], spent[locks & ~maps], spent[maps], done["pages"][maps])


def goals() -> list[Goal]:
    """The bounds, for `run`'s rows; and what a malloc and a free take together."""
    made = [Goal("heap", PAIR, 60, than=LIMIT)]
    for operation, bound in BOUNDS.items():
        for most, what in ((bound.quick, QUICK), (bound.locked, MOST), (bound.page, PAGE)):
            made.append(Goal("heap", _work(operation, what), most, than=LIMIT))
    return made


def run(traces: Mapping[str, NDArray[numpy.int32]], progress: Progress) -> Iterator[Row]:
    """Rows for all traces together, each on a kernel of its own, the first LONGEST operations of each: median, 99.9th
    percentile and maximum of what left the map alone; the maximum of what took no lock; of what changed the map, the
    most for each page beyond that. Missing, Refused."""
    found: list[dict[str, Cost]] = []
    for number, (name, pairs) in enumerate(traces.items()):
        progress(f"instructions of {name}", number / len(traces))
        with emulator.boot(RAM) as kernel:
            first = pairs[:LONGEST]
            found.append(costs(first, replay(kernel, first)))
    middles = []
    for operation, bound in BOUNDS.items():
        parts = [each[operation] for each in found]
        cost = Cost(*(numpy.concatenate(field) for field in zip(*parts, strict=True)))
        if len(cost.bounded):
            middles.append(float(numpy.median(cost.bounded)))
            yield _row(operation, "median", middles[-1])
            yield _row(operation, "99.9th percentile", numpy.percentile(cost.bounded, 99.9))
            yield _row(operation, MOST, cost.bounded.max())
        if len(cost.quick):
            yield _row(operation, QUICK, cost.quick.max())
        if len(cost.mapping):
            yield _row(operation, PAGE, max(0, ((cost.mapping - bound.locked) / cost.maps).max()))
    if len(middles) == len(BOUNDS):
        yield Row("heap", PAIR, OURS, "instructions", (sum(middles),))


def _work(operation: str, what: str) -> str:
    return f"instructions of {operation}: {what}"


def _row(operation: str, what: str, value: float) -> Row:
    return Row("heap", _work(operation, what), OURS, "instructions", (float(value),))
