"""`kernmalloc run`."""

from pathlib import Path
from typing import Annotated

import typer

from kernmalloc.cli.options import CompiledMode, KernelName, Mode, Perfetto, Seed, Touches
from kernmalloc.cli.output import BROKEN, HELD, say, say_all, say_json, write_whole
from kernmalloc.cli.page import Html, can_write, kernel_in, write


def run(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="The scenario: a shipped one, or yours.", show_default=False)
    ],
    kernel: KernelName = "",
    seed: Seed = None,
    touches: Touches = None,
    threads: Annotated[
        bool, typer.Option("--threads", help="Each processor is a thread: no two runs are alike.")
    ] = False,
    mode: Annotated[
        CompiledMode, typer.Option(help="The kernel's code: compiled, or compiled with page walks.")
    ] = CompiledMode.raw,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/json.md).")] = False,
    perfetto: Perfetto = "",
    html: Html = "",
) -> None:
    """Run a scenario: processes, drivers and devices at the kernel while memory is short; tell how all fared."""
    from kernmalloc.cli.progress import load_objects, touched
    from kernmalloc.facade.errors import KernelError, TooLarge, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.report import perfetto as traces
    from kernmalloc.report import run as report
    from kernmalloc.report.boot import chosen
    from kernmalloc.sim.observer import Observer
    from kernmalloc.sim.run import NoRoom, Stuck
    from kernmalloc.sim.run import run as simulate
    from kernmalloc.sim.scenario import Scenario
    from kernmalloc.web.over_time import over_time_part
    from kernmalloc.web.page import KERNEL

    named = str(Path(kernel).absolute()) if kernel.endswith(".toml") else kernel
    wanted = Scenario.load(scenario).with_changes(kernel=named or None, seed=seed, touches=touches)
    if perfetto:
        traces.can_write(perfetto)  # said now, not after the work
    if html:
        can_write(html)
    observer = Observer(slices=bool(perfetto)) if perfetto or html else None
    if not json:
        say(f"{wanted.name}: {wanted.summary}")
        say_all(chosen(wanted.choice().note))
    load_objects(Mode(mode))
    try:
        with touched(wanted.touches) as progress:
            done = simulate(wanted, mode, threads, progress, observer)
    except (TooLarge, TooSmall, LifeError, KernelError, Stuck, NoRoom) as error:
        raise InputError(wanted.file, 0, str(error)) from None
    say_json(done) if json else say_all(report.whole(done))
    if observer and perfetto:
        write_whole(perfetto, "perfetto", traces.trace(observer.samples))
    if observer and html:
        held = kernel_in(wanted.machine_made(), wanted.profile())
        parts = [over_time_part(observer.samples), *(KERNEL if held else ())]
        write(html, f"{wanted.name}: {wanted.summary}", [report.verdict(done)], parts, held)
    raise typer.Exit(HELD if done.held else BROKEN)
