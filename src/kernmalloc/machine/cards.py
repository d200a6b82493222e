"""Cards that are not there yet: where their windows would go.

A window is placed as firmware does it for registers of 64 bits: above 4 GiB and above all RAM, aligned to its own size,
at the lowest address where it overlaps nothing.  Host bridges are taken to forward whatever is given to a card.
"""

import msgspec

from kernmalloc.inputs import sizes
from kernmalloc.inputs.cards import Card, cards_of
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device
from kernmalloc.machine.memory_map import Machine

FLOOR = 1 << 32
"""Lowest address of a window: below it lie what PCs have had there since they had 32 bits."""

PHYS_BITS = 52
"""Bits of a physical address, unless somebody knows better: the most of any architecture here. Firmware places windows
for the processor, and asks no kernel."""


class NoPlaceError(InputError):
    """A card's window cannot be placed below the limit of physical addresses."""


def place_window(machine: Machine, size: int, phys_bits: int = PHYS_BITS) -> int:
    """Address of a window of `size` bytes (a power of two), aligned to its size.

    Raises NoPlaceError if it would end above `1 << phys_bits`.
    """
    taken = [(r.base, r.end) for r in (*machine.ram, *machine.firmware)]
    taken += [(d.base, d.end) for d in machine.devices if d.status in ("assigned", "disabled")]
    base = _aligned(max([FLOOR, *(r.end for r in machine.ram)]), size)
    for low, high in sorted(taken):
        if low < base + size and base < high:
            base = _aligned(high, size)
    if base + size > 1 << phys_bits:
        raise NoPlaceError(
            machine.file,
            0,
            f"a window of {sizes.size(size)} would end at {base + size:#x}, above the "
            f"{phys_bits} bits of physical addresses",
        )
    return base


def with_card(machine: Machine, word: str, phys_bits: int = PHYS_BITS) -> Machine:
    """The machine with what a word asks for, one card or several (`inputs.cards`).  Raises as the others here."""
    for card in cards_of(word):
        machine = plugged(machine, card, phys_bits)
    return machine


def plugged(machine: Machine, card: Card, phys_bits: int = PHYS_BITS) -> Machine:
    """The machine with one more card, every register of it placed, the largest first.  Raises NoPlaceError."""
    for bar, size in sorted(enumerate(card.windows), key=lambda register: -register[1]):
        device = Device(place_window(machine, size, phys_bits), size, name=card.name, bar=bar, bits=64, prefetch=True)
        devices = sorted((*machine.devices, device), key=lambda d: (d.base, d.end, d.name, d.bar))
        machine = msgspec.structs.replace(machine, devices=tuple(devices))
    return machine


def _aligned(address: int, size: int) -> int:
    """The next multiple of `size`, a power of two."""
    return -(-address // size) * size
