"""`kernmalloc cards`."""

from typing import Annotated

import typer

from kernmalloc.cli.output import say_all, say_json


def cards(
    word: Annotated[
        str,
        typer.Argument(
            metavar="[WORD|FILE]",
            help="Words of a name, a PCI id (10de:2684), or a list that lspci -v printed. None: the whole table.",
            show_default=False,
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object each (docs/json.md).")] = False,
) -> None:
    """Tell which real cards are known to --with: memory, the windows that they ask for, and the source of each."""
    from kernmalloc.report.cards import data, found, told

    if json:
        for card in found(word):
            say_json(data(card))
    else:
        say_all(told(found(word)))
