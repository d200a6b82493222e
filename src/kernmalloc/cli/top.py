"""`kernmalloc top`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.options import CompiledMode, KernelName, Mode, Seed, Touches
from kernmalloc.cli.output import BROKEN, HELD, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernmalloc.cli.live import Told, Work
    from kernmalloc.sim.observer import Observer


def top(
    scenario: Annotated[
        str,
        typer.Argument(metavar="[NAME|FILE.toml|TRACE]", help="A scenario, shipped or yours; or a recorded trace."),
    ] = "steady",
    kernel: KernelName = "",
    seed: Seed = None,
    touches: Touches = None,
    mode: Annotated[
        CompiledMode, typer.Option(help="The kernel's code: compiled, or compiled with page walks.")
    ] = CompiledMode.raw,
) -> None:
    """Watch a kernel while a scenario or a replay runs: frames, heap, caches, and who waits. Keys stand below."""
    from kernmalloc.cli.progress import load_objects
    from kernmalloc.inputs.errors import InputError

    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("kernmalloc top", 0, "there is no terminal", "kernmalloc run tells what came of a scenario")
    work = _work(scenario, kernel, seed, touches, mode)
    load_objects(Mode(mode))
    told = watch(work, scenario)
    if told:
        say(told.verdict)
    raise typer.Exit(BROKEN if told and not told.held else HELD)


def watch(work: "Work", name: str) -> "Told | None":
    """Show it until it is over and whoever watches has seen it: what came of it, None if it was ended before.  Raises
    InputError where it ended by itself."""
    from kernmalloc.cli.live import Live
    from kernmalloc.cli.top_screen import Top
    from kernmalloc.facade.errors import KernelError, TooLarge, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.sim.run import NoRoom, Stuck

    live = Live(work)
    try:
        Top(live).run()
    finally:
        live.end()
    if isinstance(live.error, (TooLarge, TooSmall, LifeError, KernelError, Stuck, NoRoom)):
        raise InputError(name, 0, str(live.error)) from None
    if live.error:
        raise live.error
    return live.told


def _work(name: str, kernel: str, seed: int | None, touches: int | None, mode: CompiledMode) -> "Work":
    """What a name stands for: a scenario, or a trace where it is that of a file and does not end in .toml.  Raises
    InputError."""
    from pathlib import Path

    from kernmalloc.sim.scenario import Scenario

    if name in Scenario.shipped() or name.endswith(".toml") or not Path(name).exists():
        return of_scenario(name, kernel, seed, touches, mode)
    return of_trace(name, kernel, seed, touches, mode)


def of_scenario(name: str, kernel: str, seed: int | None, touches: int | None, mode: CompiledMode) -> "Work":
    """The run of a scenario.  Raises InputError."""
    from pathlib import Path

    from kernmalloc.cli.live import Told
    from kernmalloc.report.run import verdict
    from kernmalloc.sim.run import run
    from kernmalloc.sim.scenario import Scenario

    named = str(Path(kernel).absolute()) if kernel.endswith(".toml") else kernel
    scenario = Scenario.load(name).with_changes(kernel=named or None, seed=seed, touches=touches)
    scenario.profile()  # what cannot be read is told now

    def work(observer: "Observer", says: "Callable[[str], None]") -> "Told":
        done = run(scenario, mode, progress=lambda _: says(""), observer=observer)
        return Told(done.held, verdict(done))

    return work


def of_trace(name: str, kernel: str, seed: int | None, touches: int | None, mode: CompiledMode) -> "Work":
    """The replay of a trace.  Raises InputError."""
    from kernmalloc.cli.live import Told
    from kernmalloc.facade.profile import Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.traces import read_trace
    from kernmalloc.report.replay import verdict
    from kernmalloc.sim.replay import KERNEL, MARKED, replay

    for option, value in (("seed", seed), ("touches", touches)):
        if value is not None:
            raise InputError(f"--{option} {value}", 0, f"{name} is a trace, and no scenario", "leave it out")
    trace, profile = read_trace(name), Profile.load(kernel or KERNEL)

    def work(observer: "Observer", says: "Callable[[str], None]") -> "Told":
        def progress(what: str, share: float) -> None:
            says("" if what == MARKED else f"{what}, {share:.0%}")

        done = replay(trace, profile, mode, progress=progress, observer=observer)
        return Told(done.held, verdict(done))

    return work
