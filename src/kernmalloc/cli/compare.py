"""`kernmalloc compare`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.options import KernelName, Mode
from kernmalloc.cli.output import FAILED, complain, say, say_all, say_json

if TYPE_CHECKING:
    from kernmalloc.inputs.errors import InputError


def compare(
    files: Annotated[list[str], typer.Argument(metavar="NAME|FILE...", help="Machines.", show_default=False)],
    kernel: KernelName = "eros2",
    processes: Annotated[int, typer.Option(min=1, max=1024, help="Processes that plan side by side.")] = os.cpu_count()
    or 1,
    picture: Annotated[str, typer.Option(metavar="FILE.svg", help="Draw the result, too.", show_default=False)] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per strategy and card.")] = False,
) -> None:
    """Plan every machine under every heap strategy, as it is and with large cards added, and sum up what follows."""
    from kernmalloc.cli.progress import load_objects, planned, read
    from kernmalloc.cli.sources import source, words_once
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.compare import compare as run
    from kernmalloc.plan.compare import machines_in
    from kernmalloc.report import compare as report
    from kernmalloc.report.units import several

    profile = Profile.load(kernel)
    if picture:
        report.can_draw(picture)  # said now, not after the work
    unreadable: list[InputError] = []
    machines = list(machines_in(read(words_once(files)), source, unreadable.append))
    for error in unreadable:
        complain(str(error))
    if not machines:
        raise typer.Exit(FAILED)
    load_objects(Mode.soft)
    with planned(len(machines)) as done:
        found = run(machines, profile, processes, done)
    if json:
        for summary in found:
            say_json(summary._asdict())
    else:
        say(f"Kernel {profile.name}, {several(len(machines), 'machine')}, {len(unreadable)} unreadable.")
        say_all(report.tables(found))
    if picture:
        report.draw(found, profile.name, picture)
