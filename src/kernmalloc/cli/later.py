"""What is not there yet when a kernel boots: cards that will be plugged in, RAM that will be added."""

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kernmalloc.cli.options import parsed

if TYPE_CHECKING:
    from kernmalloc.inputs.cards import Card
    from kernmalloc.inputs.sizes import Ram
    from kernmalloc.machine.memory_map import Machine, Range


class Later(NamedTuple):
    """Cards, amounts of RAM, whether it holds what describes it, and the words that ask for them on a command line."""

    cards: "list[Card]"
    amounts: "list[Ram]"
    self_hosted: bool
    words: list[str]

    def on(self, machine: "Machine") -> "tuple[Machine, tuple[Range, ...]]":
        """A machine with the cards, and the RAM that it will be given.  Raises NoPlaceError for a card."""
        from kernmalloc.machine.added_ram import place_ram
        from kernmalloc.machine.cards import plugged

        for card in self.cards:
            machine = plugged(machine, card)
        return machine, place_ram(machine, self.amounts, self.self_hosted)


def later(
    cards: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="CARD|SIZE|FILE",
            help="A card that is not there yet: a name (kernmalloc cards), its memory (24GiB), several (2 x H100), or "
            "those of a list that lspci -v printed, or one of it (FILE:01:00.0).",
            show_default=False,
        ),
    ] = None,
    add_ram: Annotated[
        list[str] | None,
        typer.Option(
            "--add-ram",
            metavar="SIZE[@ADDRESS]",
            help="RAM that comes after the boot: hot plug, or what the loader gives back.",
            show_default=False,
        ),
    ] = None,
    self_hosted: Annotated[
        bool, typer.Option("--self-hosted", help="That RAM holds what describes it, and takes none that is there.")
    ] = False,
) -> Later:
    """What comes later.  Raises InputError, once and not by every machine, for what is no card and no amount of RAM."""
    from kernmalloc.inputs.cards import cards_of
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_ram

    plugged = [card for text in cards or [] for card in cards_of(text)]
    amounts = [parsed("add-ram", text, parse_ram) for text in add_ram or []]
    words = [word for text in cards or [] for word in ("--with", text)]
    words += [word for text in add_ram or [] for word in ("--add-ram", text)]
    if self_hosted and not amounts:
        raise InputError("--self-hosted", 0, "is of RAM that comes later, and none does", "--add-ram 8GiB adds some")
    return Later(plugged, amounts, self_hosted, words + ["--self-hosted"] * self_hosted)
