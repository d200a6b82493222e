"""Cards as text: what they are called, what they ask for, and who says so."""

from collections.abc import Iterable, Iterator

from kernmalloc.inputs.cards import Card, cards_of, known, matching
from kernmalloc.inputs.sizes import size
from kernmalloc.report.text import Cells, columns

HEAD = ("card", "PCI id", "memory", "windows", "resizable", "source")


def found(word: str) -> tuple[Card, ...]:
    """The cards of the table that a word may mean, else those that it asks for; all of the table for none.  Raises
    InputError."""
    return (matching(word) or cards_of(word)) if word else known()


def told(cards: Iterable[Card]) -> Iterator[str]:
    """A table: a line for each card."""
    return columns([HEAD, *map(_row, cards)], notes=True)


def data(card: Card) -> dict[str, object]:
    """A card as JSON has it."""
    return {**{name: getattr(card, name) for name in Card.__struct_fields__}, "windows": card.windows}


def _row(card: Card) -> Cells:
    windows = ", ".join(map(size, card.windows))
    resizable = {True: "yes", False: "no", None: ""}[card.resizable]
    return card.name, " ".join(card.ids), size(card.memory) if card.memory else "", windows, resizable, card.source
