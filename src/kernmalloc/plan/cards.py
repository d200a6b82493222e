"""Cards that are not there yet: what window a card asks for, and where firmware would put it.

A base address register is a power of two and lies at a multiple of its size (PCI Local Bus 3.0, 6.2.5.1): a card with
24 GiB of memory, all of it visible, has a window of 32 GiB.
"""

from __future__ import annotations

import msgspec

from kernmalloc.facade.profile import Bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device
from kernmalloc.machine.memory_map import Machine

CARDS = {  # bytes of memory; with a resizable register all of it is visible
    "GeForce-6800": 256 << 20,
    "RTX-3060": 12 << 30,
    "RTX-4090": 24 << 30,
    "RTX-5090": 32 << 30,
    "A100-80": 80 << 30,
    "H200": 141 << 30,
    "MI300X": 192 << 30,
}


def memory_of(card: str) -> int:
    """Bytes of memory of a card, by name or as a size ("24GiB"). Raises InputError."""
    for name, size in CARDS.items():
        if name.lower() == card.lower():
            return size
    try:
        size = Bytes.parse(card)
    except ValueError:
        size = 0
    if size <= 0 or size > 1 << 50:
        raise InputError(f"--with {card}", 0, "no such card", f"a size such as 24GiB, or one of {', '.join(CARDS)}")
    return size


def window_of(memory: int) -> int:
    """Bytes of the window of a card with that much memory."""
    return max(1 << (memory - 1).bit_length(), 4096)


def with_card(machine: Machine, card: str) -> Machine:
    """The machine with one more card, its window above all else that there is above 4 GiB."""
    size = window_of(memory_of(card))
    end = max((r.end for r in (*machine.ram, *machine.firmware, *machine.windows, *machine.devices) if r.end <= 1 << 52), default=0)
    base = -(-max(end, 1 << 32) // size) * size
    device = Device(base=base, size=size, kind="bar", name=card, bits=64, prefetch=True)
    return msgspec.structs.replace(machine, devices=(*machine.devices, device))
