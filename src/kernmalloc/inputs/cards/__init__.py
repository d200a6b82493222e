"""Cards: how large the windows are that they ask for, whether they are there or not.

    24GiB   GeForce RTX 3090   10de:2204   2 x MI300X   lspci.txt   lspci.txt:01:00.0

`cards_of` is the boundary: so much memory (`card`), a card of the shipped table of real ones (`table`), or those that
lspci listed (`listed`), each as often as a number before it says.
"""

import os
import re

from kernmalloc.inputs.cards.card import Card, card_of_size
from kernmalloc.inputs.cards.listed import cards_in
from kernmalloc.inputs.cards.table import card_named, known, like, matching
from kernmalloc.inputs.errors import InputError

__all__ = ["MOST", "Card", "cards_of", "known", "like", "matching"]

MOST = 256
"""Cards that one word may ask for: more than any machine has slots for."""

_COUNTED = re.compile(r"([1-9]\d{0,9})\s*[x×]\s*(\S.*)", re.I | re.ASCII)
_PLACED = re.compile(r"(.+?):((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f](?:\.[0-7])?)", re.I)


def cards_of(word: str) -> tuple[Card, ...]:
    """The cards that a word asks for, one or more, in the order of their file.  Raises InputError."""
    counted = _COUNTED.fullmatch(word.strip())
    if not counted:
        return _asked(word)
    if int(counted[1]) > MOST:
        raise InputError(f"card {word!r}", 0, "more cards than any machine has slots for", f"at most {MOST}")
    return _asked(counted[2]) * int(counted[1])


def _asked(word: str) -> tuple[Card, ...]:
    """What is not counted.  A number without a unit is a name before it is a size."""
    if card := (None if word.strip().isdigit() else card_of_size(word)) or card_named(word) or card_of_size(word):
        return (card,)
    if os.path.exists(word):
        return cards_in(word)
    if (placed := _PLACED.fullmatch(word)) and os.path.exists(placed[1]):
        return cards_in(placed[1], placed[2].lower())
    names = like(word)
    advice = f"like it: {', '.join(names)}" if names else "kernmalloc cards lists them"
    raise InputError(f"card {word!r}", 0, "neither a size nor a known card nor a file", advice)
