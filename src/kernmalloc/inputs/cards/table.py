"""The shipped table of real cards (`cards.toml`), and which of them a name means.

A card is named by its exact name, with or without its maker's words for it ("GeForce RTX 4090", "NVIDIA RTX 4090",
"rtx 4090"), or by its PCI id.  Other words mean the card whose name has them all, if it is the only one.  Names that
differ in more than that are other products: "RTX 4080" is neither "RTX 4080 Mobile" nor "RTX 4080 SUPER".  What may be
several cards, or another product, is refused and never guessed.
"""

import re
import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from kernmalloc.inputs import sizes
from kernmalloc.inputs.cards.card import Card
from kernmalloc.inputs.errors import InputError

TABLE = Path(__file__).with_name("cards.toml")

_MAKERS = {
    "10de": {"nvidia", "geforce", "quadro", "tesla"},
    "1002": {"amd", "ati", "radeon", "instinct"},
    "8086": {"intel"},
    "15b3": {"nvidia", "mellanox"},
}
"""Words that a maker puts before a model, by vendor."""
_ANY_MAKER = frozenset().union(*_MAKERS.values())
_PRODUCTS = {"mobile", "ti", "super", "xt", "xtx", "lx", "pro"}
"""Words that make another product of a model."""
_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}", re.ASCII | re.I)
_WORD = re.compile(r"[\w+.-]+")


@cache
def known() -> tuple[Card, ...]:
    """The shipped table, by name."""
    return tuple(
        Card(
            entry["name"],
            tuple(entry["ids"]),
            sizes.parse_size(entry.get("memory", "0")),
            tuple(map(sizes.parse_size, entry["bars"])),
            entry.get("resizable"),
            entry["source"],
        )
        for entry in tomllib.loads(TABLE.read_text())["card"]
    )


def matching(text: str) -> tuple[Card, ...]:
    """The cards that a text may mean: cards of that name or id, else cards whose names have all its words."""
    if _ID.fullmatch(text.strip()):
        return tuple(card for card in known() if text.strip().lower() in card.ids)
    words = _words(text)
    model, makers = _model(words), _ANY_MAKER.intersection(words)
    if not model:
        return tuple(card for card in known() if words and makers.issubset(_words(card.name)))
    theirs = [card for card in known() if makers.issubset(_makers(card))]
    named = [card for card in theirs if _model(_words(card.name)) == model]
    return tuple(named or (card for card in theirs if set(model).issubset(_words(card.name))))


def card_named(text: str) -> Card | None:
    """The card that a text means; None if no name is like it.  Raises InputError, with all that it may mean, where that
    is not one card."""
    found = matching(text)
    if not found:
        return None
    names = [card.name for card in found]
    if len(found) > 1:
        raise InputError(f"card {text!r}", 0, "several cards", f"say which: {', '.join(names)}")
    if not _ID.fullmatch(text.strip()) and _PRODUCTS.intersection(_words(names[0])).difference(_words(text)):
        raise InputError(f"card {text!r}", 0, "no known card", f"another product: {names[0]}")
    return found[0]


def like(text: str) -> list[str]:
    """Names of cards that share a word with a text and are written much like it, the most like it first."""
    words = {*_words(text)}
    names = {card.name.lower(): card.name for card in known() if words.intersection(_words(card.name))}
    return [names[name] for name in get_close_matches(text.strip().lower(), names, 3, 0.6)]


@cache
def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _model(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words without the names of makers."""
    return tuple(word for word in words if word not in _ANY_MAKER)


def _makers(card: Card) -> set[str]:
    """Words that the maker of a card puts before a model."""
    return _MAKERS.get(card.ids[0][:4], set())
