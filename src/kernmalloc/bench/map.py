"""The map: what it costs to change it, and to reach what it does not show.

Concepts
  1. Works come in pairs that undo each other, so that a round leaves the kernel as it found it (`_round`). Two of each
     pair are shown: what they take of the freestanding object, in instructions, exact, filling with zeros and `invlpg`
     included (`emulator`); and in mode raw, in ns.
  2. In mode raw this computer's kernel is asked to map what our kernel has mapped, a system call for each run of pages, and
     meets each page once more when it is first touched. That is no part of the memory manager, and most of the time: how
     often it happened is counted, what one takes is measured beside, and the product stands under its time.
  3. From the time in mode raw is taken what a call that is refused at once takes: the way from Python and back.
"""

import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import NamedTuple

from kernmalloc.bench import emulator
from kernmalloc.bench.rows import OURS, Row
from kernmalloc.facade.errors import checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.kern import DMA, PAGE

HOST = "this computer's part of it"
RAM = 1 << 30
WARM = 2  # rounds that are not counted
LARGE = 512  # frames: 2 MiB

Progress = Callable[[str, float], None]
Script = Generator[tuple[str, str, tuple[int, ...]], int, None]


class _Things(NamedTuple):
    """What works are done on."""

    one: int  # frames of page space
    two: int
    block: int  # heap memory of a page
    space: int  # an address space
    oid: int  # a cached page


def _round(kernel: Kernel, things: _Things) -> Script:
    """Yields (work, entry, arguments), and is sent what was answered."""
    page = kernel.profile.page
    va = yield "open a window on a page", "window_open", (things.one,)
    yield "close it", "window_close", (va,)
    yield "fill a page with zeros", "zero_frame", (things.one,)
    yield "copy a page", "copy_frame", (things.one, things.two)
    yield "copy 64 bytes out of a page", "copyin", (things.one, 128, things.block, 64)
    yield "map a page for a process", "umap_map", (things.space, page, things.oid, 0)
    yield "unmap it", "umap_unmap", (things.space, page)
    pfn = yield "get 2 MiB of zeros for DMA", "range_get", (LARGE, LARGE, 0, kernel.view.kern["max_pfn"], 0, DMA)
    yield "put them", "range_put", (pfn, LARGE)
    step = kernel.profile.heap.growth_frames * page
    idle = kernel.malloc(step)  # what is idle now; so the next has to come from page space
    grown = yield "grow the heap by 16 pages", "malloc", (step,)
    kernel.free(idle)
    yield "shrink it again", "free", (grown,)


class Measured(NamedTuple):
    """One call: what it took, and for how many mappings this computer was asked, how many page faults it had."""

    cost: float
    mappings: int = 0
    faults: int = 0


def _measure(kernel: Kernel, call: Callable[..., tuple[int, Measured]], runs: int) -> dict[str, list[Measured]]:
    """Rounds of works; `call` runs an entry and says what it took."""
    found: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory() as folder, kernel.pages.source(Path(folder) / "pages", pages=8):
        space = kernel.pages.space()
        frames = [kernel.frame_get("page") for _ in range(2)]
        things = _Things(*frames, kernel.malloc(kernel.profile.page), space.va, 1)
        kernel.pages.get(things.oid)
        for number in range(-WARM, runs):
            script = _round(kernel, things)
            work, entry, arguments = next(script)
            while True:
                answer, took = call(entry, kernel.processor, *map(int, arguments))
                if number >= 0:
                    found.setdefault(work, []).append(took)
                try:
                    work, entry, arguments = script.send(checked(answer, work))
                except StopIteration:
                    break
        space.free()
        kernel.free(things.block)
        for pfn in frames:
            kernel.frame_put(pfn)
    return found


def _bare(runs: int) -> dict[str, list[Measured]]:
    with emulator.boot(RAM) as kernel:
        bare = emulator.processor(kernel)

        def call(entry: str, *arguments: int) -> tuple[int, Measured]:
            before = bare.counts.instructions
            answer = bare.call(entry, *arguments)
            return answer, Measured(bare.counts.instructions - before)

        return _measure(kernel, call, runs)


class Timed(NamedTuple):
    """What works take in mode raw, and of that, ns: the way to a call and back, this computer's mapping, its page fault."""

    works: dict[str, list[Measured]]
    way: float
    mapping: float
    fault: float

    def host(self, call: Measured) -> float:
        """This computer's part of a call."""
        return call.mappings * self.mapping + call.faults * self.fault


def _raw(runs: int) -> Timed:
    with Kernel.boot(emulator.machine(RAM), Profile.load("x86_64")) as kernel:
        life = kernel._life

        def call(entry: str, *arguments: int) -> tuple[int, Measured]:
            function = life.library.function(entry)
            mapped, faults = int(life.state["mapped"]), getrusage(RUSAGE_SELF).ru_minflt
            started = time.perf_counter_ns()
            answer = function(*arguments)
            spent = time.perf_counter_ns() - started
            faults = getrusage(RUSAGE_SELF).ru_minflt - faults
            return answer, Measured(spent, int(life.state["mapped"]) - mapped, faults)

        def usual(entry: str, *arguments: int) -> float:
            return median(call(entry, *arguments)[1].cost for _ in range(100))

        works = _measure(kernel, call, runs)
        pfn = kernel.frame_get("page")
        va = checked(kernel.call("window_open", pfn), "window_open")
        mappings, touches = zip(*((call("flush", va, 1), call("zero", va, 8)) for _ in range(100)), strict=True)
        way = usual("window_close", kernel.processor, 0)
        mapping = median(took.cost for _, took in mappings) - way
        fault = median(took.cost for _, took in touches) - usual("zero", va, 8)
        kernel.call("window_close", va)
        kernel.frame_put(pfn)
        return Timed(works, way, mapping, fault)


def run(runs: int, progress: Progress) -> Iterator[Row]:
    """Three rows for each work. LifeError: what emulates is not installed."""
    progress("the map, in instructions", 0)
    bare = _bare(runs)
    progress("the map, in mode raw", 0.5)
    raw = _raw(runs)
    for work, counted in bare.items():
        timed = raw.works[work]
        yield Row("map", work, OURS, "instructions", tuple(each.cost for each in counted))
        yield Row("map", work, OURS, "ns", tuple(each.cost for each in timed), raw.way)
        yield Row("map", work, HOST, "ns", tuple(map(raw.host, timed)), judged=False)
