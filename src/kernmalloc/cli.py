"""The command line: `kernmalloc boot`, `plan`, `compare` and `check`.

Everything here is reachable in three lines of Python with `Machine`, `Profile` and `Kernel`; this file parses, prints
and chooses the exit status: 0 where every machine booted, or was refused for a stated reason of size; 1 where an
invariant did not hold; 2 where a file could not be read or anything else went wrong. What goes wrong is one line.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from kernmalloc import __version__

# What a command needs is imported by that command, so that `--version` and `--help` answer at once.
if TYPE_CHECKING:
    from kernmalloc import Machine, Profile
    from kernmalloc.inputs.errors import InputError

HELD, BROKEN, FAILED = 0, 1, 2  # exit status

app = typer.Typer(
    name="kernmalloc",
    help="The kernel memory manager that EROS v2 and Coyotos described, on the memory map of a real machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Mode(StrEnum):
    """How the kernel's code runs."""

    raw = "raw"
    soft = "soft"
    twin = "twin"


Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="Boot logs, /proc/iomem, device trees, lspci, machines in TOML; - is standard input. None: this computer.",
        show_default=False,
    ),
]
Amount = Annotated[
    str, typer.Option("--ram", metavar="SIZE[@ADDRESS]", help="RAM of machines whose file tells none, such as 8GiB.")
]
Devices = Annotated[
    str, typer.Option("--devices", metavar="FILE", help="The devices in this file, not those of the machines.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per machine (docs/json.md).")]

KernelName = Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="The kernel: a shipped profile, or yours.")]
Life = Annotated[Mode, typer.Option(help="Its code: compiled, compiled with page walks, or interpreted.")]
Strategy = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Heap strategy: static, demand, reserve, hybrid, release, reserve+release. By default the profile's.",
    ),
]
DeviceFrames = Annotated[
    int | None, typer.Option(min=0, help="Device frames whose entries are reserved at boot.", show_default=False)
]
DeviceRanges = Annotated[
    int | None, typer.Option(min=0, help="Device ranges whose records are made at boot.", show_default=False)
]
Growable = Annotated[
    str, typer.Option(metavar="SIZE", help="How far the heap of strategy hybrid may grow.", show_default=False)
]
Excess = Annotated[
    str, typer.Option(metavar="SIZE", help="Heap reserved at boot for release to give back.", show_default=False)
]
Withheld = Annotated[
    int | None, typer.Option(min=0, help="Frames not promised to the space bank.", show_default=False)
]
With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="CARD|SIZE", help="A card that is not there yet: a name, or its memory (24GiB).", show_default=False),
]
Shuffle = Annotated[
    int | None, typer.Option(metavar="SEED", help="Publish the devices in an order shuffled by that.", show_default=False)
]
Step = Annotated[bool, typer.Option("--step", help="Print the bootstrap one step at a time.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kernmalloc {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def boot(
    files: Files = None,
    kernel: KernelName = "eros2",
    strategy: Strategy = "",
    device_frames: DeviceFrames = None,
    device_ranges: DeviceRanges = None,
    growable: Growable = "",
    excess: Excess = "",
    withheld: Withheld = None,
    mode: Life = Mode.raw,
    ram: Amount = "",
    devices: Devices = "",
    json: Json = False,
    step: Step = False,
    shuffle: Shuffle = None,
) -> None:
    """Boot a kernel on each machine, publish its devices, use malloc, check every invariant, and tell what happened."""
    profile = _profile(kernel, strategy, device_frames, device_ranges, growable, excess, withheld)
    _load_objects(mode)
    status = HELD
    for found in _machines(files, ram, devices):
        status = max(status, _boot(found, profile, mode, json, step, shuffle))
    raise typer.Exit(status)


@app.command()
def plan(
    files: Files = None,
    kernel: KernelName = "eros2",
    strategy: Strategy = "",
    device_frames: DeviceFrames = None,
    device_ranges: DeviceRanges = None,
    growable: Growable = "",
    excess: Excess = "",
    withheld: Withheld = None,
    cards: With = None,
    ram: Amount = "",
    devices: Devices = "",
    json: Json = False,
    capacity: Annotated[bool, typer.Option("--capacity", help="How much RAM each shipped kernel carries in its window.")] = False,
) -> None:
    """Tell each machine's heap to the byte before anything boots, which devices will fit, and what to tune if not."""
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.advice import advise
    from kernmalloc.machine.cards import with_card
    from kernmalloc.plan.plan import plan as make
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as report
    from kernmalloc.report.outcome import Outcome
    from kernmalloc.report.text import columns

    if capacity:
        _print_all(_capacities())
        raise typer.Exit(HELD)
    profile = _profile(kernel, strategy, device_frames, device_ranges, growable, excess, withheld)
    status, rows = HELD, [report.HEAD]
    for found in _machines(files, ram, devices):
        machine, told = found.machine, {"file": found.machine.file, "machine": getattr(found.machine, "name", "")}
        try:
            if isinstance(machine, InputError):
                raise machine
            for card in cards or []:
                machine = with_card(machine, card)
            made = make(machine, profile)
            advice = advise(made) if json or found.alone else None
        except (InputError, TooSmall) as error:
            unreadable = isinstance(error, InputError)
            outcome = Outcome(
                **told, status="unreadable" if unreadable else "refused", reason=_reason(error) if unreadable else str(error),
                seconds=perf_counter() - found.start, strategy=profile.strategy,
            )
            status = max(status, FAILED if unreadable else HELD)
            _print(outcome.line() if json else f"{outcome.file}: {outcome.status}: {outcome.reason}", None if json else sys.stderr)
            continue
        if json:
            _print(Outcome.planned(made, advice, perf_counter() - found.start, **told).line())
        elif found.alone:
            _print_all(machines.opening(machine, found.origin))
            _print_all(report.whole(made, advice, _boot_line(machine.file, kernel, profile)))
        else:
            rows.append(report.row(made))
    if len(rows) > 1:
        _print(f"Kernel {profile.name}, strategy {profile.strategy}")
        _print_all(columns(rows))
    raise typer.Exit(status)


@app.command()
def compare(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Machines.", show_default=False)],
    kernel: KernelName = "eros2",
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
    _load_objects(Mode.soft)
    unreadable = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        reading = progress.add_task("reading", total=len(files))
        machines = list(machines_in(progress.track(files, task_id=reading), unreadable.append))
        planning = progress.add_task("planning", total=len(machines))
        found = run(machines, profile, processes, lambda done: progress.advance(planning, done))
    for error in unreadable:
        _print(str(error), sys.stderr)
    if json:
        for summary in found:
            _print(msgspec.json.encode(summary._asdict()).decode())
    else:
        _print(f"Kernel {profile.name}, {len(machines)} machines, {len(unreadable)} unreadable.")
        _print_all(report.tables(found))
    if picture:
        report.draw(found, profile.name, picture)
    raise typer.Exit(HELD if machines else FAILED)


def _profile(
    kernel: str, strategy: str, device_frames: int | None, device_ranges: int | None, growable: str, excess: str,
    withheld: int | None,
) -> "Profile":
    """The kernel, with what the options say instead of its profile."""
    from kernmalloc.facade.profile import Bytes, Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.advice import tuned
    from kernmalloc.plan.plan import with_strategy

    profile = Profile.load(kernel)
    try:
        if strategy:
            profile = with_strategy(profile, strategy)
        sizes = {name: Bytes.parse(size) for name, size in (("growable", growable), ("excess", excess)) if size}
    except ValueError as error:
        raise InputError("command line", 0, str(error)) from None
    settings = {"device-frames": device_frames, "device-ranges": device_ranges, "withheld": withheld, **sizes}
    return tuned(profile, {name: value for name, value in settings.items() if value is not None})


def _capacities() -> Iterable[str]:
    """The table of what the shipped kernels carry."""
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.capacity import capacity
    from kernmalloc.report.capacity import table

    profiles = [Profile.load(name) for name in Profile.shipped()]
    return table((profile, capacity(profile)) for profile in profiles)


def _boot_line(file: str, kernel: str, profile: "Profile") -> str:
    """The command that boots the same."""
    return " ".join(filter(None, ("kernmalloc boot", file, f"--kernel {kernel}", f"--strategy {profile.strategy}")))


@app.command()
def check(files: Files = None, ram: Amount = "", devices: Devices = "", json: Json = False) -> None:
    """Read each machine without booting it: its ranges, and what is wrong with it, line by line."""
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.report import machine as report
    from kernmalloc.report.outcome import Reading

    status = HELD
    for found in _machines(files, ram, devices):
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

    try:
        app()
    except InputError as error:
        _print(str(error), sys.stderr)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get("KERNMALLOC_TRACEBACK"):
            raise
        said = str(error).strip().split("\n")[-1]
        _print(f"kernmalloc: {type(error).__name__}: {said} (KERNMALLOC_TRACEBACK=1 tells where)", sys.stderr)
    sys.exit(FAILED)


def _print(text: str, stream=None) -> None:
    """One line, at once: whoever reads it through a pipe sees a machine as soon as it is done."""
    print(text, file=stream or sys.stdout, flush=True)


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        _print(line)


class _Found(NamedTuple):
    """A machine, or why it cannot be read; where it was found, if that is not obvious; whether it is the only one; and
    when work on it began."""

    machine: "Machine | InputError"
    origin: str
    alone: bool
    start: float


def _machines(files: list[str] | None, ram: str, devices: str) -> Iterator[_Found]:
    """Every machine in the files ("-" is standard input, no file this computer), with what the options say of all."""
    from kernmalloc import Machine
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_ram

    amount = parse_ram(ram) if ram else None
    other = Machine.read_devices(devices) if devices else None
    for file in files or [""]:
        start, origin = perf_counter(), ""
        try:
            if file:
                machines = list(Machine.read_all(sys.stdin.buffer if file == "-" else file, amount))
            elif amount:
                raise InputError(f"--ram {ram}", 0, "this computer tells its RAM itself", "name the file that does not")
            else:
                machine, origin = Machine.this_computer()
                machines = [machine]
        except InputError as error:
            machines = [error]
        alone = len(files or [""]) == len(machines) == 1
        for machine in machines:
            if other and isinstance(machine, Machine):
                machine = machine.with_devices(other)
            yield _Found(machine, origin, alone, start)
            start = perf_counter()


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


def _patience(mode: Mode) -> AbstractContextManager:
    """Interpreted, the check of a large machine takes minutes: something moves meanwhile."""
    if mode is not Mode.twin:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("checking every invariant, interpreted: minutes for a large machine")


def _boot(found: _Found, profile: "Profile", mode: Mode, json: bool, step: bool, shuffle: int | None) -> int:
    """One machine: boot, use, check, tell. Returns the exit status that it asks for."""
    from kernmalloc import Kernel
    from kernmalloc.facade.configure import FITS, configure
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

    machine, alone = found.machine, found.alone
    told = {"file": machine.file, "machine": getattr(machine, "name", "")}
    try:
        if isinstance(machine, InputError):
            raise machine
        if not json and (alone or step):
            _print_all(machines.opening(machine, found.origin))
        steps = count(1)
        observe = (lambda state: _print_all(report.step(state, next(steps)))) if step and not json else None
        with Kernel.boot(machine, profile, mode, observe=observe) as kernel:
            heap = kernel.heap
            done = configure(kernel, shuffle)
            with _patience(mode):
                operations = exercise(kernel)
                checked = kernel.check()
            outcome = Outcome.of(kernel, heap, done, checked, perf_counter() - found.start, **told)
            if alone and not json:
                _print_all(report.whole(kernel, heap, done, operations))
                if any(device.status != FITS for device in done.devices):
                    made = plan(machine, profile)
                    _print_all(plans.advised(made, advise(made), _boot_line(machine.file, profile.name, profile)))
                if mode is Mode.raw and room_for(kernel):
                    _print(report.rate(table_rate(kernel)))
            _print(outcome.line() if json else report.verdict(outcome))
            return HELD if checked.passed else BROKEN
    except InputError as error:
        status, reason, exit_status = "unreadable", _reason(error), FAILED
    except TooSmall as error:
        status, reason, exit_status = "refused", str(error), HELD
    except BrokenPipeError:
        raise
    except (LifeError, OSError) as error:
        status, reason, exit_status = "refused", str(error), FAILED
    outcome = Outcome(**told, status=status, reason=reason, seconds=perf_counter() - found.start)
    if json:
        _print(outcome.line())
    else:
        _print(report.verdict(outcome), sys.stderr if exit_status else sys.stdout)
    return exit_status


def _reason(error: "InputError") -> str:
    """Why, without the name of the file, which stands beside it."""
    place, reason = str(error)[len(error.file) :].split(": ", 1)
    return reason if not place else f"line {place[1:]}: {reason}"
