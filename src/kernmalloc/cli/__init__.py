"""The command line: `kernmalloc boot`, `plan`, `compare`, `run`, `replay` and `check`.

Everything here is reachable in three lines of Python with `Machine`, `Profile` and `Kernel`; this file parses, prints
and chooses the exit status: 0 where every machine booted, or was refused for a stated reason of size; 1 where an
invariant did not hold; 2 where a file could not be read or anything else went wrong; 141, as of a process that a closed
pipe ends, where whoever read had seen enough. What goes wrong is one line.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kernmalloc import __version__
from kernmalloc.cli.options import Asked, Found, asked_kernel, found_machines, made_by

# What a command needs is imported by that command, so that `--version` and `--help` answer at once.
if TYPE_CHECKING:
    from kernmalloc import Machine, Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.plan import Plan

HELD, BROKEN, FAILED, UNREAD = 0, 1, 2, 141  # exit status

app = typer.Typer(
    name="kernmalloc",
    help="The kernel memory manager that EROS v2 and Coyotos described, on the memory map of a real machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Mode(StrEnum):
    """How the kernel's code runs."""

    raw = "raw"
    soft = "soft"
    twin = "twin"


Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per machine (docs/json.md).")]
UsageError = typer.BadParameter.__base__


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kernmalloc {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(FAILED)


@app.command()
@made_by(machines=found_machines, asked=asked_kernel)
def boot(
    machines: Iterator[Found],
    asked: Asked,
    mode: Annotated[
        Mode, typer.Option(help="Its code: compiled, compiled with page walks, or interpreted.")
    ] = Mode.raw,
    json: Json = False,
    step: Annotated[bool, typer.Option("--step", help="Print the bootstrap one step at a time.")] = False,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Publish the devices in an order shuffled by that.", show_default=False),
    ] = None,
) -> None:
    """Boot a kernel on each machine, publish its devices, use malloc, check every invariant, and tell what happened."""
    _load_objects(mode)
    raise typer.Exit(max(_boot(found, asked, mode, json, step, shuffle) for found in machines))


@app.command()
@made_by(machines=found_machines, asked=asked_kernel)
def plan(
    machines: Iterator[Found],
    asked: Asked,
    cards: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="CARD|SIZE",
            help="A card that is not there yet: a name, or its memory (24GiB).",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="Of no machine: how much RAM each shipped kernel carries in its window.")
    ] = False,
) -> None:
    """Tell each machine's heap to the byte before anything boots, which devices will fit, and what to tune if not."""
    from kernmalloc.machine.cards import registers_of
    from kernmalloc.report import plan as report
    from kernmalloc.report.text import columns

    if capacity:
        _print_all(_capacities())
        raise typer.Exit(HELD)
    for card in cards or []:
        registers_of(card)  # refused once, not by every machine
    status, rows = HELD, []
    for found in machines:
        made = _plan(found, asked, cards or [], json)
        if isinstance(made, int):
            status = max(status, made)
        elif not json and not found.alone:
            rows.append(report.row(made))
    if rows:
        _print(f"Kernel {asked.profile.name}, strategy {asked.profile.strategy}")
        _print_all(columns([report.HEAD, *rows]))
    raise typer.Exit(status)


@app.command()
def compare(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Machines.", show_default=False)],
    kernel: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="The kernel: a shipped profile, or yours.")
    ] = "eros2",
    processes: Annotated[int, typer.Option(min=1, help="Processes that plan side by side.")] = os.cpu_count() or 1,
    picture: Annotated[str, typer.Option(metavar="FILE.svg", help="Draw the result, too.", show_default=False)] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per strategy and card.")] = False,
) -> None:
    """Plan every machine under every heap strategy, as it is and with large cards added, and sum up what becomes of them."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.compare import compare as run
    from kernmalloc.plan.compare import machines_in
    from kernmalloc.report import compare as report

    profile = Profile.load(kernel)
    if picture:
        report.can_draw(picture)  # said now, not after the work
    unreadable = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        machines = list(machines_in(progress.track(files, description="reading"), unreadable.append))
    for error in unreadable:
        _print(str(error), sys.stderr)
    if not machines:
        raise typer.Exit(FAILED)
    _load_objects(Mode.soft)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        planning = progress.add_task("planning", total=len(machines))
        found = run(machines, profile, processes, lambda done: progress.advance(planning, done))
    if json:
        for summary in found:
            _print(msgspec.json.encode(summary._asdict()).decode())
    else:
        _print(f"Kernel {profile.name}, {len(machines)} machines, {len(unreadable)} unreadable.")
        _print_all(report.tables(found))
    if picture:
        report.draw(found, profile.name, picture)


@app.command()
def run(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="The scenario: a shipped one, or yours.", show_default=False)
    ],
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, not the scenario's.", show_default=False)] = None,
    touches: Annotated[
        int | None, typer.Option(min=1, help="Page touches, not the scenario's.", show_default=False)
    ] = None,
    threads: Annotated[
        bool, typer.Option("--threads", help="Each processor is a thread: no two runs are alike.")
    ] = False,
    mode: Annotated[Mode, typer.Option(help="The kernel's code: compiled, or compiled with page walks.")] = Mode.raw,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/json.md).")] = False,
) -> None:
    """Run a scenario: processes, drivers and devices at the kernel while memory is short; tell how all of them fared."""
    from kernmalloc.facade.errors import KernelError, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.report import run as report
    from kernmalloc.sim.run import Stuck
    from kernmalloc.sim.run import run as simulate
    from kernmalloc.sim.scenario import Scenario

    wanted = Scenario.load(scenario).with_changes(seed=seed, touches=touches)
    if not json:
        _print(f"{wanted.name}: {wanted.summary}")
    _load_objects(mode)
    try:
        with _touched(wanted.touches) as progress:
            done = simulate(wanted, mode, threads, progress)
    except (TooSmall, LifeError, KernelError, Stuck) as error:
        raise InputError(wanted.file, 0, str(error)) from None
    _print_all([done.line()] if json else report.whole(done))
    raise typer.Exit(HELD if done.held else BROKEN)


@app.command()
def replay(
    traces: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE...",
            show_default=False,
            help="Linux kmem events (tracefs, trace-cmd report, perf script), malloc-lab .rep; - is standard input.",
        ),
    ],
    kernel: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="The kernel: a shipped profile, or yours.")
    ] = "x86_64",
    machine: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="The machine: a shipped one, or yours; by default a PC with RAM enough."
        ),
    ] = "",
    mode: Annotated[
        Mode, typer.Option(help="Its code: compiled, compiled with page walks, or interpreted.")
    ] = Mode.raw,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines: one object per trace (docs/json.md).")
    ] = False,
) -> None:
    """Replay what a real kernel or program allocated: how long it takes here, how much memory, and in which caches."""
    from kernmalloc import Machine, Profile
    from kernmalloc.machine.memory_map import shipped_names

    profile = Profile.load(kernel)
    on = (Machine.shipped(machine) if machine in shipped_names() else Machine.read(machine)) if machine else None
    _load_objects(mode)
    raise typer.Exit(max(_replay(file, profile, on, mode, json) for file in traces))


class Part(StrEnum):
    """What `bench` measures."""

    frames = "frames"
    heap = "heap"
    boot = "boot"
    map = "map"
    all = "all"


@app.command()
def bench(
    part: Annotated[Part, typer.Argument(help="What to measure.")] = Part.all,
    runs: Annotated[int, typer.Option(min=1, help="Runs of everything, in turns; the median counts.")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="On a hundredth of the work: to see that everything runs.")
    ] = False,
    recorded: Annotated[
        list[Path] | None,
        typer.Option("--traces", metavar="FILE|FOLDER", help="Recorded traces for the heap, too.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per row (docs/json.md).")] = False,
) -> None:
    """Measure this project and its peers on the same work, in one run, in turns."""
    from kernmalloc.bench import rows as benched
    from kernmalloc.bench import run as benches
    from kernmalloc.bench import traces
    from kernmalloc.report import bench as report

    _load_objects(Mode.raw)
    parts = list(benches.PARTS) if part is Part.all else [part.value]
    if not json:
        _print_all(report.opening(parts, runs))
    found, untold = [], []
    with _measured() as progress:
        progress("reading traces", 0)
        work = benches.Work(traces=[trace for path in recorded or [] for trace in traces.recorded(path, untold.append)])
        for row in benches.run(parts, work.quick() if quick else work, runs, progress, untold.append):
            found.append(row)
            if json:
                _print(report.line(row))
    judged = benched.judge(benches.goals(found), found)
    if json:
        _print_all(report.verdict_line(verdict) for verdict in judged)
    else:
        _print_all(report.tables(found))
        _print_all(report.verdicts(judged))
    for reason in untold:
        _print(f"not measured: {reason}", sys.stderr)


@app.command()
@made_by(machines=found_machines)
def check(machines: Iterator[Found], json: Json = False) -> None:
    """Read each machine without booting it: its ranges, and what is wrong with it, line by line."""
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.report import machine as report
    from kernmalloc.report.outcome import Reading

    status = HELD
    for found in machines:
        machine = found.machine
        if isinstance(machine, InputError):
            status = FAILED
            if json:
                _print(Reading(file=machine.file, status="unreadable", reason=_reason(machine)).line())
            else:
                _print(str(machine), sys.stderr)
            continue
        if json:
            _print(Reading.of(machine).line())
            continue
        _print_all(report.opening(machine, found.origin))
        _print_all(report.ranges(machine))
        _print_all(report.problems(machine))
        _print(report.verdict(machine))
    raise typer.Exit(status)


def main() -> NoReturn:
    """The console script."""
    from kernmalloc.inputs.errors import InputError

    status: int | None = FAILED
    try:
        status = app(standalone_mode=False, prog_name="kernmalloc")
    except InputError as error:
        _print(str(error), sys.stderr)
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "kernmalloc"
        _print(f"{where}: {' '.join(error.format_message().split())} ({where} --help)", sys.stderr)
    except Exception as error:
        if os.environ.get("KERNMALLOC_TRACEBACK"):
            raise
        said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".strip().split("\n")[-1]
        _print(f"kernmalloc: {said} (KERNMALLOC_TRACEBACK=1 tells where)", sys.stderr)
    sys.exit(status or HELD)


def _print(text: str, stream=None) -> None:
    """One line, at once: whoever reads it through a pipe sees a machine as soon as it is done."""
    try:
        print(text, file=stream or sys.stdout, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(UNREAD) from None


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        _print(line)


def _capacities() -> Iterable[str]:
    """The table of what the shipped kernels carry."""
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.capacity import capacity
    from kernmalloc.report.capacity import table

    profiles = [Profile.load(name) for name in Profile.shipped()]
    return table((profile, capacity(profile)) for profile in profiles)


def _load_objects(mode: Mode) -> None:
    """Build the kernel's objects with a progress bar, if this version has none yet."""
    from kernmalloc.lang import objects

    if mode is Mode.twin or objects.is_built():
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("building the kernel, once: {task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=1.0)
        objects.load(mode, lambda stage, done: progress.update(task, description=stage, completed=done))


@contextmanager
def _touched(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar of page touches; it is told how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("touches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _measured() -> Iterator[Callable[[str, float], object]]:
    """A progress bar of measurements; it is told what is measured, and how much of its part is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=1
    ) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, done: progress.update(task, description=what, completed=done)


def _patience(mode: Mode) -> AbstractContextManager:
    """Interpreted, the check of a large machine takes minutes: something moves meanwhile."""
    if mode is not Mode.twin:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("checking every invariant, interpreted: minutes for a large machine")


def _replay(file: str, profile: "Profile", machine: "Machine | None", mode: Mode, json: bool) -> int:
    """Replay one trace and tell it. Returns the exit status that it asks for."""
    from kernmalloc.facade.errors import KernelError, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.traces import read_stream, read_trace
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.report import replay as report
    from kernmalloc.sim.replay import Replayed
    from kernmalloc.sim.replay import replay as run

    try:
        with _measured() as progress:
            progress("reading", 0.0)
            trace = read_stream(sys.stdin.buffer, file) if file == "-" else read_trace(file)
            done = run(trace, profile, mode, machine, progress)
    except (InputError, TooSmall, LifeError, KernelError) as error:
        unread = isinstance(error, InputError)
        done = Replayed(
            file=file,
            kernel=profile.name,
            mode=mode,
            status="unreadable" if unread else "refused",
            reason=_reason(error) if unread else str(error),
        )
        if json:
            _print(done.line())
        else:
            _print(str(error) if unread else report.verdict(done), sys.stderr)
        return FAILED
    _print_all([done.line()] if json else report.whole(done))
    return HELD if done.held else BROKEN


def _plan(found: Found, asked: Asked, cards: list[str], json: bool) -> "Plan | int":
    """Plan one machine, with cards added, and tell it unless it is one of many: the plan, or an exit status if there is none."""
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.cards import with_card
    from kernmalloc.plan.advice import advise
    from kernmalloc.plan.plan import plan
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as report
    from kernmalloc.report.outcome import Outcome

    machine = found.machine
    try:
        if isinstance(machine, InputError):
            raise machine
        for card in cards:
            machine = with_card(machine, card)
        made = plan(machine, asked.profile)
        advice = advise(made) if json or found.alone else None
    except (InputError, TooSmall) as error:
        return _refused(found, asked, error, json)
    if json:
        _print(Outcome.planned(made, advice, found.seconds, **found.told).line())
    elif found.alone:
        _print_all(machines.opening(machine, found.origin))
        _print_all(report.whole(made, advice, asked.line(found, advice.settings if advice else {})))
    return made


def _boot(found: Found, asked: Asked, mode: Mode, json: bool, step: bool, shuffle: int | None) -> int:
    """One machine: boot, use, check, tell. Returns the exit status that it asks for."""
    from kernmalloc import Kernel
    from kernmalloc.facade.configure import configure
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.facade.exercise import exercise
    from kernmalloc.facade.measure import room_for, table_rate
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.plan.advice import advise
    from kernmalloc.plan.plan import plan
    from kernmalloc.report import boot as report
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as plans
    from kernmalloc.report.outcome import Outcome

    machine, profile, told = found.machine, asked.profile, not json and (found.alone or step)
    try:
        if isinstance(machine, InputError):
            raise machine
        if told:
            _print_all(machines.opening(machine, found.origin))
        steps = count(1)
        observe = (lambda state: _print_all(report.step(state, next(steps)))) if step and not json else None
        with Kernel.boot(machine, profile, mode, observe=observe) as kernel:
            heap = kernel.heap
            done = configure(kernel, shuffle)
            with _patience(mode):
                operations = exercise(kernel)
                checked = kernel.check()
            outcome = Outcome.of(kernel, heap, done, checked, found.seconds, **found.told)
            if found.alone and not json:
                _print_all(report.whole(kernel, heap, done, operations))
                made = plan(machine, profile)
                advice = advise(made)
                _print_all(plans.advised(made, advice, asked.line(found, advice.settings if advice else {})))
                if mode is Mode.raw and room_for(kernel):
                    _print(report.rate(table_rate(kernel)))
            _print(outcome.line() if json else report.verdict(outcome))
            return HELD if checked.passed else BROKEN
    except (InputError, TooSmall, LifeError, OSError) as error:
        return _refused(found, asked, error, json)


def _refused(found: Found, asked: Asked, error: Exception, json: bool) -> int:
    """Tell why there is no kernel on a machine, and what to do about it. Returns the exit status that it asks for."""
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.cards import NoPlaceError
    from kernmalloc.plan.advice import cure
    from kernmalloc.report.boot import verdict
    from kernmalloc.report.outcome import Outcome

    stated = isinstance(error, (TooSmall, NoPlaceError))
    reason = _reason(error) if isinstance(error, InputError) else str(error)
    if isinstance(error, TooSmall) and (advice := cure(found.machine, asked.profile)):
        reason += f"; {advice}"
    outcome = Outcome(
        **found.told,
        status="unreadable" if isinstance(error, InputError) and not stated else "refused",
        reason=reason,
        seconds=found.seconds,
        strategy=asked.profile.strategy,
    )
    _print(outcome.line() if json else verdict(outcome), sys.stdout if stated or json else sys.stderr)
    return HELD if stated else FAILED


def _reason(error: "InputError") -> str:
    """Why, without the name of the file, which stands beside it."""
    place, reason = str(error)[len(error.file) :].split(": ", 1)
    return reason if not place else f"line {place[1:]}: {reason}"
