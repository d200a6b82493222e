"""Options that commands share: machines, and a kernel for them.

A command whose parameter is made by a function (`made_by`) takes that function's options in its place, so that every option
is written once.
"""

import shlex
import sys
from collections.abc import Callable, Iterator
from inspect import Signature, signature
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

# What an option needs is imported when it is looked at, so that `--version` and `--help` answer at once.
if TYPE_CHECKING:
    from kernmalloc import Machine, Profile
    from kernmalloc.inputs.errors import InputError


def made_by(**makers: Callable) -> Callable:
    """A command whose parameters named here are made from options: those of their makers, which it takes in their place."""

    def decorate(command: Callable) -> Callable:
        options = {name: signature(maker).parameters for name, maker in makers.items()}

        def whole(**given: object) -> None:
            made = {name: maker(**{key: given.pop(key) for key in options[name]}) for name, maker in makers.items()}
            command(**made, **given)

        parameters = [
            option
            for name, own in signature(command).parameters.items()
            for option in (options[name].values() if name in options else (own,))
        ]
        whole.__name__, whole.__doc__ = command.__name__, command.__doc__
        whole.__signature__ = Signature(parameters)
        whole.__annotations__ = {option.name: option.annotation for option in parameters}
        return whole

    return decorate


class Found(NamedTuple):
    """A machine, or why it cannot be read; where it was found, if that is not obvious; whether it is the only one; the words
    that name it on a command line; and when work on it began."""

    machine: "Machine | InputError"
    origin: str
    alone: bool
    words: list[str]
    start: float

    @property
    def told(self) -> dict[str, str]:
        """How it is called in what is told of it."""
        return {"file": self.machine.file, "machine": getattr(self.machine, "name", "")}

    @property
    def seconds(self) -> float:
        """Since work on it began."""
        return perf_counter() - self.start


def found_machines(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Boot logs, /proc/iomem, device trees, lspci, machines in TOML; - is standard input. None: this computer.",
            show_default=False,
        ),
    ] = None,
    ram: Annotated[
        str, typer.Option(metavar="SIZE[@ADDRESS]", help="RAM of machines whose file tells none, such as 8GiB.")
    ] = "",
    devices: Annotated[
        str, typer.Option(metavar="FILE", help="The devices in this file, not those of the machines.")
    ] = "",
) -> Iterator[Found]:
    """Every machine in the files ("-" is standard input, no file this computer), with what the options say of all."""
    from kernmalloc import Machine
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_ram

    amount = parse_ram(ram) if ram else None
    other = Machine.read_devices(devices) if devices else None
    words = [word for name, value in (("--ram", ram), ("--devices", devices)) if value for word in (name, value)]
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
            yield Found(machine, origin, alone, [*filter(None, [file]), *words], start)
            start = perf_counter()


class Asked(NamedTuple):
    """A kernel, and the options that ask for it: words by the option's name, without its dashes."""

    profile: "Profile"
    options: dict[str, str]

    def line(self, found: Found, settings: dict[str, int]) -> str:
        """The command that boots it on a machine, with settings by option name."""
        options = {**self.options, **settings}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return shlex.join(["kernmalloc", "boot", *found.words, *words])


def asked_kernel(
    kernel: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="The kernel: a shipped profile, or yours.")
    ] = "eros2",
    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Heap strategy: static, demand, reserve, hybrid, release, reserve+release. By default the profile's.",
        ),
    ] = "",
    device_frames: Annotated[
        int | None,
        typer.Option(min=0, max=1 << 40, help="Device frames whose entries are reserved at boot.", show_default=False),
    ] = None,
    device_ranges: Annotated[
        int | None,
        typer.Option(min=0, max=1 << 20, help="Device ranges whose records are made at boot.", show_default=False),
    ] = None,
    growable: Annotated[
        str, typer.Option(metavar="SIZE", help="How far the heap of strategy hybrid may grow.", show_default=False)
    ] = "",
    excess: Annotated[
        str, typer.Option(metavar="SIZE", help="Heap reserved at boot for release to give back.", show_default=False)
    ] = "",
    withheld: Annotated[
        int | None,
        typer.Option(min=0, max=1 << 40, help="Frames not promised to the space bank.", show_default=False),
    ] = None,
) -> Asked:
    """The kernel, with what the options say instead of its profile. An option that its strategy does not know is refused."""
    from kernmalloc.facade.profile import STRATEGIES, Bytes, Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.advice import KNOWN_TO, tuned
    from kernmalloc.plan.plan import with_strategy

    given = {
        "device-frames": device_frames,
        "device-ranges": device_ranges,
        "growable": growable or None,
        "excess": excess or None,
        "withheld": withheld,
    }
    given = {name: value for name, value in given.items() if value is not None}
    profile = Profile.load(kernel)
    if strategy:
        if strategy not in STRATEGIES:
            raise InputError(f"--strategy {strategy}", 0, "no such strategy", f"one of {', '.join(STRATEGIES)}")
        profile = with_strategy(profile, strategy)
    settings = {}
    for name, value in given.items():
        if profile.strategy not in KNOWN_TO[name]:
            reason, advice = (
                f"strategy {profile.strategy} has no use for it",
                f"--strategy {' or '.join(KNOWN_TO[name])}",
            )
            raise InputError(f"--{name} {value}", 0, reason, advice)
        try:
            settings[name] = value if isinstance(value, int) else Bytes.parse(value)
        except ValueError as error:
            raise InputError(f"--{name} {value}", 0, str(error)) from None
    options = {"kernel": kernel, "strategy": profile.strategy, **{name: str(value) for name, value in given.items()}}
    return Asked(tuned(profile, settings), options)
