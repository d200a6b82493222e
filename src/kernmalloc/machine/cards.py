"""Cards that are not there yet: how large a window they ask for, and where it would go.

A card's memory is reached through a register of the card, and registers are powers of two, aligned to their own size:
24 GiB of memory need a window of 32 GiB, 141 GiB one of 256.  Some ask for more than that, so that of a card in the
shipped table of real ones (`cards.toml`) the registers themselves count.

A window is placed as firmware does it for registers of 64 bits: above 4 GiB and above all RAM, at the lowest address
where it overlaps nothing.  Host bridges are taken to forward whatever is given to a card.
"""

import tomllib
from functools import cache
from pathlib import Path

import msgspec

from kernmalloc.inputs import sizes
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device
from kernmalloc.machine.memory_map import Machine

TABLE = Path(__file__).with_name("cards.toml")
FLOOR = 1 << 32
"""Lowest address of a window: below it lie what PCs have had there since they had 32 bits."""

PHYS_BITS = 52
"""Bits of a physical address, unless somebody knows better: the most of any architecture here. Firmware places windows
for the processor, and asks no kernel."""

LEAST = 1 << 20
"""Bytes of memory that a card has at least: less is a size without its unit."""


class NoPlaceError(InputError):
    """A card's window cannot be placed below the limit of physical addresses."""


class Card(msgspec.Struct, frozen=True):
    """A real card: PCI identity (vendor:device), bytes of memory, sizes of its memory registers, and who says so."""

    name: str
    id: str
    memory: int
    bars: tuple[int, ...]
    source: str


@cache
def cards() -> tuple[Card, ...]:
    """The shipped table."""
    return tuple(
        Card(
            entry["name"],
            entry["id"],
            sizes.parse_size(entry["memory"]),
            tuple(map(sizes.parse_size, entry["bars"])),
            entry["source"],
        )
        for entry in tomllib.loads(TABLE.read_text())["card"]
    )


def registers_of(card: str) -> tuple[int, ...]:
    """Sizes of the registers of a card: by name, or the end of one, or a part of one that no other has ("3090"); or of
    one register for so much memory ("24GiB").  Raises InputError for anything else."""
    wanted = card.strip().lower()
    for fits in (str.__eq__, str.endswith, str.__contains__):
        found = [known for known in cards() if wanted and fits(known.name.lower(), wanted)]
        if len(found) == 1:
            return found[0].bars
    try:
        size = sizes.parse_size(card)
    except InputError:
        names = ", ".join(known.name for known in found or cards())
        raise InputError(
            f"card {card!r}",
            0,
            "several cards" if found else "neither a size nor a known card",
            f"24GiB or one of {names}",
        ) from None
    if size < LEAST:
        raise InputError(f"card {card!r}", 0, "less memory than any card has", "write it with its unit: 24GiB")
    return (1 << (size - 1).bit_length(),)


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


def with_card(machine: Machine, card: str, phys_bits: int = PHYS_BITS) -> Machine:
    """The machine with one more card, every register of it placed, the largest first.  Raises as the others here."""
    for bar, size in sorted(enumerate(registers_of(card)), key=lambda register: -register[1]):
        device = Device(place_window(machine, size, phys_bits), size, name=card, bar=bar, bits=64, prefetch=True)
        devices = sorted((*machine.devices, device), key=lambda d: (d.base, d.end, d.name, d.bar))
        machine = msgspec.structs.replace(machine, devices=tuple(devices))
    return machine


def _aligned(address: int, size: int) -> int:
    """The next multiple of `size`, a power of two."""
    return -(-address // size) * size
