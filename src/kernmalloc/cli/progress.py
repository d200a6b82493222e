"""What moves on standard error while a command works."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kernmalloc.cli.options import Mode
from kernmalloc.lang import objects
from kernmalloc.report.printable import printable

NOW_AND_THEN = 10.0  # seconds


def load_objects(mode: Mode) -> None:
    """Build the kernel's objects under a progress bar, if this version has none yet."""
    if mode is Mode.twin or objects.is_built(mode):
        return
    with Progress(*_elapsed("building the kernel, once: "), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        objects.load(mode, lambda stage, done: bar.update(task, description=stage, completed=done))


def load_module() -> None:
    """Build the module of the kernel that pages hold under a progress bar, if this version has none yet."""
    if not objects.is_built("wasm"):
        with Progress(*_elapsed("building the kernel for pages, once: "), console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=1.0)
            objects.built("wasm", lambda stage, done: bar.update(task, description=stage, completed=done))


def read(files: list[str]) -> Iterator[str]:
    """Files, under a progress bar of how many were taken."""
    with _on_terminal(*Progress.get_default_columns()) as bar:
        yield from bar.track(files, description="reading")


@contextmanager
def planned(machines: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of plans; it is told of how many machines they were made."""
    with _on_terminal(*Progress.get_default_columns()) as bar:
        task = bar.add_task("planning", total=machines)
        yield lambda done: bar.advance(task, done)


@contextmanager
def touched(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of page touches; it is told how many are done."""
    with _on_terminal(TextColumn("touches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def measured() -> Iterator[Callable[[str, float], None]]:
    """A progress bar of measurements; it is told what is measured, and how much of its part is done. Where there is no
    terminal, a line now and then says so."""
    if not Console(stderr=True).is_terminal:
        yield _lines()
        return
    with _on_terminal(*_elapsed(), per_second=1) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done: bar.update(task, description=printable(what), completed=done)


def _lines() -> Callable[[str, float], None]:
    """What writes a line if NOW_AND_THEN has passed since the last one."""
    last = monotonic()

    def line(what: str, done: float) -> None:
        nonlocal last
        if monotonic() - last >= NOW_AND_THEN:
            last = monotonic()
            print(f"measuring: {printable(what)}, {done:.0%} of its part", file=sys.stderr, flush=True)

    return line


def patience(mode: Mode) -> AbstractContextManager[object]:
    """Interpreted, the check of a large machine takes minutes: something moves meanwhile."""
    if mode is not Mode.twin:
        return nullcontext()
    return Console(stderr=True).status("checking every invariant, interpreted: minutes for a large machine")


def exporting() -> AbstractContextManager[object]:
    """Objects of a version are compiled once, in seconds each: something moves meanwhile."""
    return Console(stderr=True).status("compiling the kernel, once for each architecture")


def _elapsed(before: str = "") -> tuple[ProgressColumn, ...]:
    """Columns of a bar that tells what is done, and for how long."""
    return TextColumn(before + "{task.description}", markup=False), BarColumn(), TimeElapsedColumn()


def _on_terminal(*columns: ProgressColumn, per_second: float = 10) -> Progress:
    """A bar that is drawn on a terminal only, and leaves nothing there."""
    console = Console(stderr=True)
    return Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=per_second
    )
