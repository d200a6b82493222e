"""The map: what it costs to change it, and to reach what it does not show.

Concepts
  1. Works come in pairs that undo each other, so that a round leaves the kernel as it found it.
  2. What a work takes is shown as instructions of the freestanding object (`emulator`): exact, the same in every run,
     with filling pages and `invlpg` in it. That is what a kernel pays.
  3. Beside it stands the time in mode raw, most of which is this computer's part (`timed`).
"""

import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from kernmalloc.bench import emulator
from kernmalloc.bench.rows import OURS, Row
from kernmalloc.bench.timed import HOST, Call, Timed
from kernmalloc.facade.errors import checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA

RAM = 1 << 30
WARM = 2  # rounds that are not counted
LARGE = 512  # frames: 2 MiB

Script = Generator[tuple[str, str, tuple[int, ...]], int, None]
Cost = TypeVar("Cost")


class Things(NamedTuple):
    """What works are done on."""

    one: int  # frames of page space
    two: int
    block: int  # heap memory, a page
    space: int  # an address space
    oid: int  # a cached page


def _round(kernel: Kernel, things: Things) -> Script:
    """Yields (work, entry, arguments), and is sent what was answered."""
    page = kernel.profile.page
    va = yield "open a window on a page", "window_open", (things.one,)
    yield "close it", "window_close", (va,)
    yield "fill a page with zeros", "zero_frame", (things.one,)
    yield "copy a page", "copy_frame", (things.one, things.two)
    yield "copy 64 bytes out of a page", "copyin", (things.one, 128, things.block, 64)
    yield "map a page for a process", "umap_map", (things.space, page, things.oid, 0)
    yield "unmap it", "umap_unmap", (things.space, page)
    pfn = yield "get 2 MiB of zeros for DMA", "range_get", (LARGE, LARGE, 0, int(kernel.view.kern["max_pfn"]), 0, DMA)
    yield "put them", "range_put", (pfn, LARGE)
    step = kernel.profile.heap.growth_frames
    kernel.drain()  # nothing is idle: what is wanted next has to come from page space
    grown = yield f"grow the heap by {step} pages", "malloc", (step * page,)
    kernel.free(grown)
    yield "shrink it again", "drain", ()


def measure(kernel: Kernel, call: Callable[..., tuple[int, Cost]], runs: int) -> dict[str, list[Cost]]:
    """What each work cost in so many rounds; `call` runs an entry: what it answered, and what it cost."""
    found: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, kernel.pages.source(Path(folder) / "pages", pages=8):
        space = kernel.pages.space()
        frames = [kernel.frame_get("page") for _ in range(2)]
        things = Things(frames[0], frames[1], kernel.malloc(kernel.profile.page), space.va, 1)
        kernel.pages.get(things.oid)
        for number in range(-WARM, runs):
            script = _round(kernel, things)
            answer = None
            while (step := _next(script, answer)) is not None:
                work, entry, arguments = step
                answer, cost = call(entry, kernel.processor, *arguments)
                checked(answer, work)
                if number >= 0:
                    found.setdefault(work, []).append(cost)
        space.free()
        kernel.free(things.block)
        for pfn in frames:
            kernel.frame_put(pfn)
    return found


def _next(script: Script, answer: int | None) -> tuple[str, str, tuple[int, ...]] | None:
    """The next step of a script; None at its end."""
    try:
        return next(script) if answer is None else script.send(answer)
    except StopIteration:
        return None


def counted(runs: int) -> Iterator[Row]:
    """A row for each work: instructions. Missing."""
    with emulator.boot(RAM) as kernel:
        bare = emulator.processor(kernel)

        def call(entry: str, *arguments: int) -> tuple[int, int]:
            before = bare.counts.instructions
            answer = bare.call(entry, *arguments)
            return answer, bare.counts.instructions - before

        for work, costs in measure(kernel, call, runs).items():
            yield Row("map", f"instructions: {work}", OURS, "instructions", tuple(map(float, costs)))


def timed(runs: int) -> Iterator[Row]:
    """Two rows for each work: ns, and of these this computer's."""
    with Kernel.boot(emulator.machine(RAM), Profile.load("x86_64")) as kernel:
        clock = Timed(kernel)

        def call(entry: str, *arguments: int) -> tuple[int, Call]:
            done = clock.call(entry, *arguments)
            return done.answer, done

        for work, calls in measure(kernel, call, runs).items():
            yield Row("map", f"mode raw: {work}", OURS, "ns", tuple(float(each.ns) for each in calls), clock.way)
            yield Row("map", f"mode raw: {work}", HOST, "ns", tuple(map(clock.host, calls)), judged=False)
