"""`kernmalloc replay`."""

from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli import page as pages
from kernmalloc.cli.options import AnyMode, KernelName, Mode, Perfetto
from kernmalloc.cli.output import BROKEN, FAILED, HELD, complain, say_all, say_json, write_whole
from kernmalloc.cli.page import Html
from kernmalloc.cli.refusals import reason

if TYPE_CHECKING:
    from kernmalloc.facade.choice import Choice
    from kernmalloc.machine.memory_map import Machine


def replay(
    traces: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE...",
            show_default=False,
            help="Linux kmem events (tracefs, trace-cmd, perf, LTTng, bpftrace, memleak -t, systrace), malloc-lab .rep;"
            " - is standard input.",
        ),
    ],
    kernel: KernelName = "",
    machine: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="The machine: a shipped one, or yours; by default a PC with RAM enough."
        ),
    ] = "",
    mode: AnyMode = Mode.raw,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines: one object per trace (docs/json.md).")
    ] = False,
    perfetto: Perfetto = "",
    html: Html = "",
) -> None:
    """Replay what a real kernel or program allocated: how long it takes here, how much memory, and in which caches."""
    from kernmalloc.cli.progress import load_objects
    from kernmalloc.cli.sources import words_once
    from kernmalloc.facade.choice import Choice, usual_kernel
    from kernmalloc.facade.profile import Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.memory_map import Machine, located
    from kernmalloc.report.perfetto import can_write
    from kernmalloc.sim.replay import KERNEL

    if perfetto and len(traces) > 1:
        raise InputError(f"--perfetto {perfetto}", 0, "there are several traces", "name one")
    if perfetto:
        can_write(perfetto)  # said now, not after the work
    if html:
        pages.can_write(html, len(traces) == 1)

    on = Machine.read(located(machine)) if machine else None
    usual = Choice(Profile.load(KERNEL), "") if on is None else usual_kernel(on)
    choice = Choice(Profile.load(kernel), "") if kernel else usual
    words_once(traces)
    load_objects(mode)
    raise typer.Exit(max(_replay(file, choice, on, mode, json, perfetto, html) for file in traces))


def _replay(
    file: str, choice: "Choice", machine: "Machine | None", mode: Mode, json: bool, perfetto: str, html: str
) -> int:
    """Replay one trace and tell it.  Returns the exit status that it asks for."""
    from kernmalloc.cli.progress import measured
    from kernmalloc.cli.sources import standard_input
    from kernmalloc.facade.errors import KernelError, TooLarge, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.traces import read_stream, read_trace
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.report import perfetto as traces
    from kernmalloc.report import replay as report
    from kernmalloc.report.boot import chosen
    from kernmalloc.sim.observer import Observer
    from kernmalloc.sim.replay import Replayed
    from kernmalloc.sim.replay import replay as run
    from kernmalloc.web.over_time import over_time_part
    from kernmalloc.web.replay import caches_part

    profile = choice.profile
    observer = Observer() if perfetto or html else None
    failed = Replayed(file=file, kernel=profile.name, mode=mode)
    try:
        with measured() as progress:
            progress("reading", 0.0)
            trace = read_stream(standard_input(), file) if file == "-" else read_trace(file)
            done = run(trace, profile, mode, machine, progress, observer)
    except InputError as error:
        failed.status, failed.reason = "unreadable", reason(error)
        said = str(error)
    except (TooLarge, TooSmall, LifeError, KernelError) as error:
        failed.status, failed.reason = "refused", str(error)
        said = report.verdict(failed)
    else:
        say_json(done) if json else say_all((*chosen(choice.note), *report.whole(done)))
        if observer and perfetto:
            write_whole(perfetto, "perfetto", traces.trace(observer.samples))
        if observer and html:
            parts = [over_time_part(observer.samples), caches_part(done.caches)]
            pages.write(html, f"Replay of {file}, kernel {profile.name}", [report.verdict(done)], parts, None)
        return HELD if done.held else BROKEN
    if json:
        say_json(failed)
    else:
        complain(said)
    return FAILED
