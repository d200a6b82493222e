"""Replay a trace: what a kernel of ours does with what a real one allocated.

    from kernmalloc.inputs.traces import read_trace
    from kernmalloc.sim.replay import replay
    print(replay(read_trace("trace.txt")).fragmentation)

Concepts
  1. The trace's caches are made as typed caches, those first that are used most. Objects for which the kernel makes no
     cache, having no room for more or none for objects so large, get size classes. Then the heap is drained: what it
     has now is not counted.
  2. The first replay fills every block with a mark, keeps in a table which frames are owned, and notes what stands
     behind the heap after every operation: peaks are exact. Then all that is live is freed and the heap drained: every
     invariant must hold, and every frame be what it was before.
  3. Another kernel, booted alike, does the same up to the peak of backed memory, where the table of its caches is
     taken, and then the rest. On it the trace is timed, several times; in between all that is live is freed.

    live           bytes asked for and not freed, of heap blocks and objects
    backed         bytes of frames of the heap, its map and its mapping tables, beyond those at the start; of a heap
                   that is backed as a whole from the boot on, those of its pages in use
    fragmentation  share of the peak of backed bytes that the peak of live bytes does not fill

Pages are in none of these: each is a frame, and nothing stands beside it.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy
from numpy.typing import NDArray

from kernmalloc.drivers.replay import SPAN_SHIFT, WORD_SHIFT, Note
from kernmalloc.facade.errors import BadRequest, checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.tlb import TlbCounts
from kernmalloc.inputs.limits import hold
from kernmalloc.inputs.traces.trace import ORDERS, Skipped, Trace
from kernmalloc.lang import failed
from kernmalloc.lang import status as codes
from kernmalloc.machine.memory_map import Machine
from kernmalloc.results.shown import html
from kernmalloc.results.tables import row
from kernmalloc.sim.observer import Observer
from kernmalloc.sim.scenario import plain_pc
from kernmalloc.sim.slabinfo import CacheLine, cache_lines
from kernmalloc.sim.watch import WatchedReplay

if TYPE_CHECKING:
    import pyarrow

KERNEL = "x86_64"
TIMED = {"raw": 7, "soft": 1, "twin": 1}  # replays
CHUNK = 1 << 15  # operations that lie in the kernel's memory at once
ENDLESS = 1 << 30  # objects of a cache
MARKED = "marked"  # what the first replay is called where progress is told
SPARE_RAM = 128 << 20  # bytes, for a kernel and its core tables

Progress = Callable[[str, float], object]


class Replayed(msgspec.Struct, kw_only=True):
    """What became of a trace. Sizes are bytes. `status` is replayed, refused or unreadable; `reason` says why it is not
    the first. `ns` are nanoseconds per operation of each timed replay; `ns_per_operation` is their median. `refused`
    counts allocations by status. `clipped`: RAM above the kernel's address limit. `grown`: frames that the heap took,
    one time or another. `uncached` names the caches whose objects got size classes. `lost`: frames. `tlb_counted`: of
    the timed replays, frees of what is live at their end included, in mode soft."""

    file: str
    status: str = "replayed"
    reason: str = ""
    form: str = ""
    kernel: str = ""
    mode: str = ""
    machine: str = ""
    clipped: int = 0
    operations: int = 0
    skipped: Skipped | None = None
    live_at_end: int = 0
    ns_per_operation: float = 0.0
    ns: list[float] = []
    peak_live: int = 0
    peak_backed: int = 0
    fragmentation: float = 0.0
    peak_pages: int = 0
    grown: int = 0
    refused: dict[str, int] = {}
    caches: list[CacheLine] = []
    uncached: list[str] = []
    held: bool = False
    failure: str = ""
    assertions: int = 0
    lost: int = 0
    seconds: float = 0.0
    tlb_counted: TlbCounts | None = None

    _repr_html_ = html

    def to_arrow(self) -> "pyarrow.Table":
        """A table of one row; `table(CacheLine, replayed.caches)` has one for each cache. Raises NoArrow."""
        return row(self)


def replay(
    trace: Trace,
    profile: Profile | None = None,
    mode: str = "raw",
    machine: Machine | None = None,
    progress: Progress = lambda what, done: None,
    observer: Observer | None = None,
) -> Replayed:
    """Replay a trace on a kernel, by default x86_64, of a machine, by default a PC with RAM enough. `progress` is told
    what is done, and which share of it; `observer` looks during the first replay. Raises TooSmall, LifeError,
    KernelError where the operations have no room, UnreadableError where more is live at once than the limit, and what
    `observer` raises."""
    started = time.perf_counter()
    profile = profile or Profile.load(KERNEL)
    hold("live", _most_live(trace, profile.page), trace.file)
    machine = machine or roomy(trace, profile.page)
    result = Replayed(
        file=trace.file,
        form=trace.form,
        kernel=profile.name,
        mode=mode,
        machine=machine.name,
        operations=len(trace.ops),
        skipped=trace.skipped,
        live_at_end=trace.live_at_end,
    )
    try:
        with Kernel.boot(machine, profile, mode) as kernel:
            result.clipped = kernel.clipped
            peak = _marked(result, trace, Stage(kernel, trace), progress, observer)
        with Kernel.boot(machine, profile, mode) as kernel:
            _timed(result, trace, Stage(kernel, trace), peak, progress)
        result.held = True
    except Wrong as wrong:
        result.failure = str(wrong)
    result.seconds = time.perf_counter() - started
    return result


def _marked(result: Replayed, trace: Trace, stage: "Stage", progress: Progress, observer: Observer | None) -> int:
    """The first replay: how many operations lead to the peak of backed memory."""
    with WatchedReplay(observer, stage.kernel, trace) if observer else nullcontext() as watch:
        seen = (watch.step, watch.look) if watch else ()
        notes = stage.marked(trace.ops, lambda done: progress(MARKED, done), *seen)
    stage.end(result)
    result.uncached = stage.uncached
    return _peaks(result, trace, notes, stage.frames, stage.kernel.profile.page)


def _timed(result: Replayed, trace: Trace, stage: "Stage", peak: int, progress: Progress) -> None:
    """The second replay, with the table of caches after `peak` operations, and then those that are timed."""
    stage.marked(trace.ops[:peak], lambda done: progress("marked, to the peak", done))
    result.caches = list(cache_lines(stage.kernel, stage.names))
    stage.marked(trace.ops[peak:], lambda done: progress("marked, from the peak on", done))
    stage.end(result)
    stage.kernel.tlb_reset()
    for _ in range(TIMED[result.mode]):
        result.ns.append(stage.timed(trace.ops, lambda done: progress("timed", done)))
    result.tlb_counted = stage.kernel.tlb_counts()
    result.ns_per_operation = statistics.median(result.ns)
    stage.end(result)


def roomy(trace: Trace, page: int) -> Machine:
    """A PC with four times what the trace ever has live, and some more, of RAM: a power of two."""
    needed = 4 * _most_live(trace, page) + SPARE_RAM
    return plain_pc(1 << (needed - 1).bit_length())


def _most_live(trace: Trace, page: int) -> int:
    """Bytes that a trace ever has live, pages and all."""
    return int(trace.bytes(page).cumsum().max(initial=0))


def _peaks(result: Replayed, trace: Trace, notes: NDArray[numpy.void], frames: int, page: int) -> int:
    """What was refused, live and backed; there were `frames` at the start. Returns how many operations lead to the peak
    of backed memory: there, the most live."""
    refused = Counter(notes["refused"].tolist())
    result.refused = {codes.NAMES[-number]: count for number, count in sorted(refused.items()) if number}
    bytes = numpy.where(notes["refused"][trace.origins] != 0, 0, trace.bytes(page))  # what was refused was never live
    pages = (trace.kinds >= 0) & (trace.kinds < ORDERS)
    live, backed = numpy.where(pages, 0, bytes).cumsum(), notes["frames"].astype(numpy.int64) - frames
    result.peak_live, result.peak_backed = int(live.max(initial=0)), int(backed.max(initial=0)) * page
    result.peak_pages = int(numpy.where(pages, bytes, 0).cumsum().max(initial=0))
    result.grown = int(numpy.diff(backed, prepend=0).clip(min=0).sum())
    result.fragmentation = 1 - result.peak_live / result.peak_backed if result.peak_backed else 0.0
    return int(numpy.where(backed == backed.max(), live, -1).argmax()) + 1 if len(live) else 0


class Wrong(Exception):
    """A kernel did what none may do: one line."""


class Room:
    """Memory of a kernel's heap, at `va`, that this process fills and looks at. KernelError where there is none."""

    def __init__(self, kernel: Kernel, bytes: int) -> None:
        self.va = checked(kernel.call("malloc_zeroed", bytes), "room for the trace")
        self._ram, self._page = kernel.view.ram.bytes, kernel.profile.page
        self._pas = [kernel.view.pa(self.va + at) for at in range(0, bytes, self._page)]

    def put(self, array: NDArray[Any]) -> None:
        """Write an array at its beginning."""
        data, page = array.tobytes(), self._page
        for at, pa in zip(range(0, len(data), page), self._pas, strict=False):
            part = data[at : at + page]
            self._ram[pa : pa + len(part)] = part

    def get(self, kind: numpy.dtype[numpy.void], count: int) -> NDArray[numpy.void]:
        """So many elements from its beginning on."""
        pages = self._pas[: -(-count * kind.itemsize // self._page)]
        return numpy.frombuffer(b"".join(self._ram[pa : pa + self._page] for pa in pages), kind, count)


def _owned(kernel: Kernel, trace: Trace) -> Room:
    """The table of who owns frames (`drivers/replay.py`): a bit for each frame of RAM, if the trace has pages."""
    span = kernel.profile.page << SPAN_SHIFT
    ranges = kernel.machine.ram if ((trace.kinds >= 0) & (trace.kinds < ORDERS)).any() else ()
    parts = sorted({part for each in ranges for part in range(each.base // span, -(-each.end // span))})
    table = numpy.zeros(2 + max(parts, default=0), numpy.int64)
    table[0] = len(table) - 1
    size = 8 << (SPAN_SHIFT - WORD_SHIFT)
    for part in parts:
        table[part + 1] = checked(kernel.call("malloc_zeroed", size), "room for the trace")
    room = Room(kernel, table.nbytes)
    room.put(table)
    return room


class Run(NamedTuple):
    """What operations took, in nanoseconds, and how many allocations of them were refused."""

    ns: int
    refused: int


class Stage:
    """A kernel with a trace's caches, and with room for operations, slots and notes. KernelError where it has none.
    `ending` frees what is live after all operations."""

    def __init__(self, kernel: Kernel, trace: Trace) -> None:
        self.kernel, self.ending = kernel, trace.ending
        self._slots, self._ops, self._notes, self._ids = (
            Room(kernel, 8 * max(count, 1)) for count in (trace.slots, CHUNK, CHUNK, len(trace.caches))
        )
        self.names: dict[int, str] = {}  # of the trace's caches, by number
        self.uncached: list[str] = []
        self._owned = _owned(kernel, trace)
        self._make_caches(trace)
        kernel.drain()
        self.types = kernel.frames_by_type()
        self.frames = self.types["heap"] + self.types["mapping"] - int(kernel.view.kern["kept"])

    def _make_caches(self, trace: Trace) -> None:
        ids = numpy.zeros(len(trace.caches), numpy.int64)
        kinds = trace.kinds
        uses = numpy.bincount(kinds[kinds >= ORDERS] - ORDERS, minlength=len(ids))
        for number in numpy.argsort(-uses, kind="stable").tolist():
            cache = trace.caches[number]
            try:
                ids[number] = self.kernel.cache(cache.name, cache.size, ENDLESS).id
                self.names[int(ids[number])] = cache.name
            except BadRequest:
                ids[number] = -cache.size
                self.uncached.append(cache.name)
        self._ids.put(ids)

    def _chunks(
        self, ops: NDArray[numpy.void], progress: Callable[[float], object], most: int = CHUNK
    ) -> Iterator[int]:
        """Put the operations into the kernel's memory, some at a time: how many."""
        for at in range(0, len(ops), most):
            progress(at / len(ops))
            chunk = ops[at : at + most]
            self._ops.put(chunk)
            yield len(chunk)

    def marked(
        self,
        ops: NDArray[numpy.void],
        progress: Callable[[float], object] = lambda done: None,
        step: int = CHUNK,
        seen: Callable[[NDArray[numpy.void]], object] = lambda notes: None,
    ) -> NDArray[numpy.void]:
        """Replay, every block marked: a `Note` of each operation. After every `step` of them, or CHUNK, `seen` is told
        those notes. Raises Wrong."""
        notes: list[NDArray[numpy.void]] = [numpy.zeros(0, Note.dtype)]
        for count in self._chunks(ops, progress, min(step, CHUNK)):
            self._notes.put(numpy.zeros(count, Note.dtype))
            rooms = self._slots.va, self._ids.va, self._owned.va, self._notes.va
            status = self.kernel.call("replay_marked", self._ops.va, count, *rooms)
            found = self._notes.get(Note.dtype, count)
            if failed(status):
                number = sum(map(len, notes)) + int((found["frames"] == 0).argmax())
                raise Wrong(f"operation {number:,}: {codes.MEANINGS[status]} ({codes.NAMES[status]})")
            notes.append(found)
            seen(found)
        return numpy.concatenate(notes)

    def timed(self, ops: NDArray[numpy.void], progress: Callable[[float], object]) -> float:
        """Replay, then free what is live: nanoseconds per operation of the replay. Raises Wrong."""
        spent = self.run(ops, progress).ns
        self.run(self.ending, progress)
        return spent / len(ops) if len(ops) else 0.0

    def run(self, ops: NDArray[numpy.void], progress: Callable[[float], object] = lambda done: None) -> Run:
        """Replay, nothing marked but first words. Raises Wrong."""
        ns = refused = 0
        for count in self._chunks(ops, progress):
            begun = time.perf_counter_ns()
            status = self.kernel.call("replay", self._ops.va, count, self._slots.va, self._ids.va)
            ns += time.perf_counter_ns() - begun
            if failed(status):
                raise Wrong(f"a free: {codes.MEANINGS[status]} ({codes.NAMES[status]})")
            refused += status
        return Run(ns, refused)

    def end(self, result: Replayed) -> None:
        """Free what is live, give everything back that is only kept ready, and look at what is left. Raises Wrong."""
        self.marked(self.ending)
        self.kernel.drain()
        found = self.kernel.check()
        result.assertions += found.assertions
        if not found.passed:
            raise Wrong(f"check: {found.failure}")
        types = self.kernel.frames_by_type()
        result.lost = sum(self.types.values()) - sum(types.values())
        if types != self.types:
            raise Wrong(f"frames before and after: {self.types}, {types}")
