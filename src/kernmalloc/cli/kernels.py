"""The kernel that a command is asked for: a profile, or each machine's own, and options that say something else than
it."""

import shlex
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kernmalloc.cli.options import KernelName, parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernmalloc.facade.profile import Profile
    from kernmalloc.machine.memory_map import Machine, Range
    from kernmalloc.plan.advice import Settings


class Asked(NamedTuple):
    """A kernel, the options that ask for it (words by the option's name, without its dashes), and what is to be said of
    how it was chosen."""

    profile: "Profile"
    options: dict[str, str]
    note: str = ""

    def line(self, machine: list[str], settings: "Settings") -> str:
        """The command that boots it on what these words name, with settings by option name. Options of which another
        strategy that is set has no use are left out."""
        from kernmalloc.plan.advice import KNOWN_TO

        options = {**self.options, **settings}
        options = {
            name: value
            for name, value in options.items()
            if name not in KNOWN_TO or options["strategy"] in KNOWN_TO[name]
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return shlex.join(["kernmalloc", "boot", *machine, *words])


class Wanted(NamedTuple):
    """What the options say: a kernel or none, a strategy or "" for its own, settings by option name, and the words for
    these."""

    kernel: Asked | None
    strategy: str
    settings: dict[str, int]
    words: dict[str, str]

    @property
    def typed(self) -> list[str]:
        """The words that ask for it on a command line."""
        options = {"kernel": self.kernel.options["kernel"] if self.kernel else "", "strategy": self.strategy}
        return [word for name, value in {**options, **self.words}.items() if value for word in (f"--{name}", value)]

    def on(self, machine: "Machine", more: "Sequence[Range]" = ()) -> Asked:
        """The kernel for a machine, which is given more RAM later."""
        if self.kernel:
            return self.kernel
        from kernmalloc.facade.choice import usual_kernel

        usual = usual_kernel(machine, more)
        return self.of(usual.profile, usual.profile.name)._replace(note=usual.note)

    def of(self, profile: "Profile", name: str) -> Asked:
        """A kernel of that name, with what the options say instead of its profile."""
        from kernmalloc.plan.advice import tuned
        from kernmalloc.plan.plan import with_strategy

        if self.strategy:
            profile = with_strategy(profile, self.strategy)
        words = {"kernel": name, "strategy": profile.strategy, **self.words}
        return Asked(tuned(profile, self.settings), words)


def asked_kernel(
    kernel: KernelName = "",
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
    window: Annotated[
        str,
        typer.Option(metavar="SIZE", help="The kernel's virtual window, which bounds its heap.", show_default=False),
    ] = "",
) -> Wanted:
    """What the options say.  Raises InputError for a kernel or strategy that there is not, and for an option that the
    strategy does not know, or that no strategy is named for."""
    from kernmalloc.facade.profile import STRATEGIES, Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_size
    from kernmalloc.plan.advice import KNOWN_TO

    options = {
        "device-frames": device_frames,
        "device-ranges": device_ranges,
        "growable": growable or None,
        "excess": excess or None,
        "withheld": withheld,
        "window": window or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    named = Profile.load(kernel) if kernel else None
    if strategy and strategy not in STRATEGIES:
        raise InputError(f"--strategy {strategy}", 0, "no such strategy", f"one of {', '.join(STRATEGIES)}")
    told = strategy or (named.strategy if named else "")
    settings = {}
    for name, value in given.items():
        if lacking := ({told} if told else {*STRATEGIES}) - {*KNOWN_TO[name]}:
            known = f"--strategy {' or '.join(KNOWN_TO[name])}"
            raise InputError(f"--{name} {value}", 0, f"strategy {min(lacking)} has no use for it", known)
        settings[name] = value if isinstance(value, int) else parsed(name, value, parse_size)
    wanted = Wanted(None, strategy, settings, {name: str(value) for name, value in given.items()})
    return wanted._replace(kernel=wanted.of(named, kernel)) if named else wanted
