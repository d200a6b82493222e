"""`kernmalloc arch`."""

from typing import Annotated

import typer

from kernmalloc.cli.output import say_all, say_json


def arch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="An architecture, a format of page tables, or a processor. None: all of them.",
            show_default=False,
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object each (docs/json.md).")] = False,
) -> None:
    """Tell what is known of architectures: page tables, TLBs, what a miss costs, and the source of each figure."""
    from kernmalloc.report import arch as report

    if name:
        what = report.found(name)
        say_json(what) if json else say_all(report.told(what))
        return
    arches = report.known()
    if json:
        for each in arches:
            say_json(each)
    else:
        say_all(report.overview(arches))
