"""The kernel that a command is asked for: a profile, and options that say something else than it."""

import shlex
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kernmalloc.cli.options import KernelName, parsed

if TYPE_CHECKING:
    from kernmalloc.facade.profile import Profile


class Asked(NamedTuple):
    """A kernel, and the options that ask for it: words by the option's name, without its dashes."""

    profile: "Profile"
    options: dict[str, str]

    def line(self, machine: list[str], settings: dict[str, int]) -> str:
        """The command that boots it on what these words name, with settings by option name."""
        options = {**self.options, **settings}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return shlex.join(["kernmalloc", "boot", *machine, *words])


def asked_kernel(
    kernel: KernelName = "eros2",
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
    """The kernel, with what the options say instead of its profile.  Raises InputError for an option that its strategy
    does not know."""
    from kernmalloc.facade.profile import STRATEGIES, Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_size
    from kernmalloc.plan.advice import KNOWN_TO, tuned
    from kernmalloc.plan.plan import with_strategy

    options = {
        "device-frames": device_frames,
        "device-ranges": device_ranges,
        "growable": growable or None,
        "excess": excess or None,
        "withheld": withheld,
    }
    given = {name: value for name, value in options.items() if value is not None}
    profile = Profile.load(kernel)
    if strategy:
        if strategy not in STRATEGIES:
            raise InputError(f"--strategy {strategy}", 0, "no such strategy", f"one of {', '.join(STRATEGIES)}")
        profile = with_strategy(profile, strategy)
    settings = {}
    for name, value in given.items():
        if profile.strategy not in KNOWN_TO[name]:
            known = f"--strategy {' or '.join(KNOWN_TO[name])}"
            raise InputError(f"--{name} {value}", 0, f"strategy {profile.strategy} has no use for it", known)
        settings[name] = value if isinstance(value, int) else parsed(name, value, parse_size)
    words = {"kernel": kernel, "strategy": profile.strategy, **{name: str(value) for name, value in given.items()}}
    return Asked(tuned(profile, settings), words)
