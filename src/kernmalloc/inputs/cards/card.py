"""A card: what it is called, and the registers by which it asks for windows.

A card's memory is reached through a register of the card, and registers are powers of two: 24 GiB of memory need a
window of 32 GiB, 141 GiB one of 256.  A card may have a register that it can resize (Resizable BAR): that one is
256 MiB where the firmware knows nothing of it, and as large as the memory where it does.
"""

import msgspec

from kernmalloc.inputs import sizes
from kernmalloc.inputs.errors import InputError

LEAST = 1 << 20
"""Bytes of memory that a card has at least: less is a size without its unit."""


class Card(msgspec.Struct, frozen=True):
    """A card: its PCI identities (vendor:device), bytes of memory (0: none, or not told), sizes of its memory registers
    as they were listed, whether one can be made as large as the memory (None: not told), and who says so."""

    name: str
    ids: tuple[str, ...] = ()
    memory: int = 0
    bars: tuple[int, ...] = ()
    resizable: bool | None = None
    source: str = ""

    @property
    def windows(self) -> tuple[int, ...]:
        """Bytes of the window that each register asks for where all is reached that can be."""
        largest = max(self.bars)
        if not self.resizable or largest >= self.memory:
            return self.bars
        at = self.bars.index(largest)
        return *self.bars[:at], _register(self.memory), *self.bars[at + 1 :]


def card_of_size(text: str) -> Card | None:
    """A card with so much memory and one register for it; None for what is no size.  Raises InputError for less than
    any card has."""
    try:
        size = sizes.parse_size(text)
    except InputError:
        return None
    if size < LEAST:
        raise InputError(f"card {text!r}", 0, "less memory than any card has", "write it with its unit: 24GiB")
    return Card(text.strip(), memory=size, bars=(_register(size),))


def _register(size: int) -> int:
    """Bytes of the smallest register that reaches so many."""
    return 1 << (size - 1).bit_length()
