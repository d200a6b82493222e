"""Run a scenario: boot its machine, let processes and loads at the kernel, and hold what is left against what must be.

Concepts
  1. In turn: the compiled loop runs all processors until something is due; then the source answers what it has had time
     for, who waits tries again, and loads have their turn. The same scenario and seed give the same run to the tick.
  2. In threads: each processor is a thread of this process, in compiled code, and processor 0, one more, does the rest:
     driver, loads. There is no clock but theirs, and no two runs are alike.
  3. At the end everything dirty is written back and the file is read page by page: every word must be what the last
     write to it left. All is given back, and `check` recounts the kernel before and after.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import numpy

from kernmalloc.drivers.processes import DONE, NEVER
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.source import PageFile, Source
from kernmalloc.inputs.sizes import size
from kernmalloc.lang.status import OK
from kernmalloc.machine.lives import LifeError
from kernmalloc.sim.crowd import Crowd
from kernmalloc.sim.loads import Loads
from kernmalloc.sim.observer import Observer
from kernmalloc.sim.outcome import Outcome, outcome
from kernmalloc.sim.scenario import Scenario
from kernmalloc.sim.watch import WatchedRun

CHUNK = 4096  # pages that are held against what they must hold at once
PATIENCE = 0.0002  # seconds: a thread with nothing to do looks again after that
STUCK = "everybody waits, and nothing that could end it is under way"
LONGEST = 10_000_000  # ticks without a touch
SILENCE = 10.0  # seconds without one, where nobody keeps time

Progress = Callable[[int], object]


class Stuck(Exception):
    """No process can go on: one line."""


class NoRoom(Exception):
    """The pages of the source do not fit on the disk: one line."""


def run(
    scenario: Scenario,
    mode: str = "raw",
    threads: bool = False,
    progress: Progress = lambda done: None,
    observer: Observer | None = None,
) -> Outcome:
    """Run a scenario in mode raw or soft. `progress` is told how many touches are done, `observer` looks meanwhile.

    Raises InputError (machine or kernel cannot be read), TooSmall, LifeError (no such mode, or not with threads),
    KernelError (the machine is too small for the processes), Stuck, NoRoom (in the temporary folder)."""
    if threads and mode != "raw":
        raise LifeError(f"threads in mode {mode}: only in raw do processors run at the same time")
    started = time.perf_counter()
    with Kernel.boot(scenario.machine_made(), scenario.profile(), mode, cpus=scenario.cpus + threads) as kernel:
        kernel.tlb_reset()
        counts = []
        done = run_on(kernel, scenario, threads, progress, lambda: counts.append(kernel.tlb_counts()), observer)
        done.tlb_counted = counts[0]
    done.seconds = time.perf_counter() - started
    return done


def run_on(
    kernel: Kernel,
    scenario: Scenario,
    threads: bool = False,
    progress: Progress = lambda done: None,
    over: Callable[[], object] = lambda: None,
    observer: Observer | None = None,
) -> Outcome:
    """Run a scenario on a kernel that has been booted for its processors, and one more with threads. `over` is called
    when all touches are done, before anything is given back. Raises KernelError, Stuck, NoRoom, what `observer` raises.

    The observer looks where the run stops by itself: when the source answers, or a load has its turn."""
    started = time.perf_counter()
    with _folder() as folder, _source(kernel, Path(folder) / "pages", scenario.pages) as source:
        kernels = [kernel.cpu(number) for number in range(scenario.cpus + threads)]
        crowd = Crowd(scenario, kernel, kernels[-scenario.cpus :], source, timed=not threads)
        loads = Loads(scenario, kernel, *([observer.note] if observer else ()))
        watch = WatchedRun(observer, scenario, kernel, crowd, loads, source) if observer else None
        begun = time.perf_counter()
        with watch or nullcontext():
            (_in_threads if threads else _in_turn)(crowd, loads, source, kernel, progress, watch)
        seconds = time.perf_counter() - begun
        over()
        return _ended(scenario, kernel, source, crowd, loads, seconds, started)


ELSEWHERE = "TMPDIR names another folder"


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that ends with the run. Raises NoRoom."""
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:
        raise NoRoom(f"no temporary folder: {error.strerror} ({ELSEWHERE})") from None


def _source(kernel: Kernel, path: Path, pages: int) -> Source:
    """A new file as the kernel's source. Raises NoRoom."""
    try:
        return kernel.pages.source(path, pages)
    except OSError as error:
        wanted = size(pages * kernel.profile.page)
        raise NoRoom(f"no room for {wanted} of pages in {path.parent}: {error.strerror} ({ELSEWHERE})") from None


def _in_turn(
    crowd: Crowd, loads: Loads, source: Source, kernel: Kernel, progress: Progress, watch: WatchedRun | None
) -> None:
    world, address, left = crowd.worlds[0], crowd.world, crowd.processors["left"]
    total = int(left.sum())
    reported, moved, before = time.monotonic(), 0, 0
    world["planned"] = loads.next
    while True:
        now = kernel.run("processes_run", address)
        if now == DONE:
            if watch:
                watch.stopped()
            return
        if now == NEVER:
            raise Stuck(f"after {total - int(left.sum()):,} touches {STUCK}")
        turned = loads.run(now)
        due = kernel.run("requests_due", address, now)
        if watch:
            watch.turn(now, due)
        if due:
            source.run(due)
        if turned or loads.waiting:
            loads.retry(now)
            kernel.run("requests_noted", address, now)
            world["planned"] = loads.next
        world["polls"] += 1
        if time.monotonic() - reported > 0.1:
            reported, done = time.monotonic(), total - int(left.sum())
            progress(done)
            if done > before:
                moved, before = now, done
            elif now - moved > LONGEST:
                raise Stuck(f"after {done:,} touches {STUCK}")


def _in_threads(
    crowd: Crowd, loads: Loads, source: Source, kernel: Kernel, progress: Progress, watch: WatchedRun | None
) -> None:
    world, left = crowd.worlds[0], crowd.processors["left"]
    total, stop = int(left.sum()), Event()

    def processor(number: int) -> None:
        while left[number] and not stop.is_set():
            if not kernel.run("processor_run", crowd.world, crowd.processor(number)):
                time.sleep(PATIENCE)

    with ThreadPoolExecutor(len(left)) as pool:
        running = [pool.submit(processor, number) for number in range(len(left))]
        moved, before = time.monotonic(), total
        try:
            while left.any():
                now = int(crowd.processors["clock"].max())
                if source.run() + loads.run(now):
                    loads.retry(now)
                else:
                    time.sleep(PATIENCE)
                    progress(total - int(left.sum()))
                world["polls"] += 1
                if watch:
                    watch.look(now)
                for thread in running:
                    if thread.done():
                        thread.result()  # raises what ended it
                if left.sum() < before:
                    moved, before = time.monotonic(), int(left.sum())
                elif time.monotonic() - moved > SILENCE:
                    raise Stuck(f"after {total - before:,} touches {STUCK}")
        finally:
            stop.set()


def _ended(
    scenario: Scenario, kernel: Kernel, source: Source, crowd: Crowd, loads: Loads, seconds: float, started: float
) -> Outcome:
    """Look at what the run left, give everything back, and look again."""
    checked = kernel.check()
    result = outcome(scenario, kernel, crowd, loads)  # before all is given back
    kernel.pages.flush()
    bad = bad_pages(source.file, crowd)
    loads.end()
    for member in crowd.members:
        member.space.free()
    kernel.drain()
    again = kernel.check()
    spans, *_ = kernel.machine.ram_pages(int(kernel.layout["page_shift"]), kernel.profile.phys_bits)
    result.bad_pages = bad
    result.lost = sum(count for _, count in spans) - sum(kernel.frames_by_type().values())
    result.held = again.passed and checked.passed and not bad and not result.wrong and not result.lost
    result.failure = checked.failure or again.failure
    result.assertions = checked.assertions + again.assertions
    result.seconds, result.touch_seconds = time.perf_counter() - started, seconds
    return result


def bad_pages(file: PageFile, crowd: Crowd) -> int:
    """Pages of the file that are not what the last writes to them left, or whose checksum is not theirs."""
    bad, page = 0, file.page
    for first in range(0, file.pages, CHUNK):
        count = min(CHUNK, file.pages - first)
        data = bytearray(count * page)
        for i in range(count):
            bad += file.read(first + i, memoryview(data)[i * page : (i + 1) * page]) != OK
        found = numpy.frombuffer(data, numpy.int64).reshape(count, page // 8)
        expected = crowd.expected(first, count)
        bad += int((found[:, : expected.shape[1]] != expected).any(axis=1).sum())
    return bad
