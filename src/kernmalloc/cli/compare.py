"""`kernmalloc compare`."""

import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.options import KernelName, Mode
from kernmalloc.cli.output import FAILED, complain, say, say_all, say_json
from kernmalloc.cli.page import Html, write

if TYPE_CHECKING:
    from kernmalloc.inputs.errors import InputError


def compare(
    files: Annotated[list[str], typer.Argument(metavar="NAME|FILE...", help="Machines.", show_default=False)],
    kernel: KernelName = "",
    processes: Annotated[int, typer.Option(min=1, max=1024, help="Processes that plan side by side.")] = os.cpu_count()
    or 1,
    picture: Annotated[
        str,
        typer.Option(metavar="FILE.svg", help="Draw machines covered against device frames, too.", show_default=False),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per strategy and card.")] = False,
    html: Html = "",
) -> None:
    """Plan every machine under every heap strategy, as it is and with large cards added, and sum up what follows."""
    from kernmalloc.cli.progress import load_objects, planned, read
    from kernmalloc.cli.sources import source, words_once
    from kernmalloc.facade.choice import Choice, usual_kernel
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.compare import compare as run
    from kernmalloc.plan.compare import machines_in
    from kernmalloc.plan.coverage import coverage
    from kernmalloc.report import compare as report
    from kernmalloc.report import compare_picture
    from kernmalloc.report.units import several
    from kernmalloc.web.compare import compare_part

    named = Profile.load(kernel) if kernel else None
    if picture:
        compare_picture.can_draw(picture)  # said now, not after the work
    unreadable: list[InputError] = []
    machines = list(machines_in(read(words_once(files)), source, unreadable.append))
    for error in unreadable:
        complain(str(error))
    if not machines:
        raise typer.Exit(FAILED)
    load_objects(Mode.soft)
    usual = [Choice(named, "") if named else usual_kernel(machine) for machine in machines]
    pairs = [(machine, choice.profile) for machine, choice in zip(machines, usual, strict=True)]
    kernels = ", ".join(dict.fromkeys(choice.profile.name for choice in usual))
    with planned(len(machines)) as done:
        found = run(pairs, processes, done)
    if json:
        for summary in found:
            say_json(summary._asdict())
    else:
        say(f"Kernel {kernels}, {several(len(machines), 'machine')}, {len(unreadable)} unreadable.")
        for note, count in Counter(choice.note for choice in usual if choice.note).items():
            say(f"{several(count, 'machine')}: {note}")
        say_all(report.tables(found))
    if picture or html:
        with planned(len(machines)) as done:
            curves = coverage(pairs, processes, done)
    if html:
        write(html, f"Strategies compared, kernel {kernels}", [], [compare_part(found, curves, kernels)], None)
    if picture:
        compare_picture.draw(curves, found, kernels, pairs[0][1].page, picture)
