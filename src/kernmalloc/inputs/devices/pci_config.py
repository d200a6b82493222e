"""What a dump of a PCI function's configuration space tells: `lspci -x` and its like (PCI Local Bus 3.0, chapter 6).

    00: 86 80 16 19 07 04 90 00 07 00 00 03 00 00 00 00      vendor, device, command, …; 0b to 09: class; 0e: type
    10: 04 00 00 de 00 00 00 00 0c 00 00 c0 00 00 00 00      base address registers, 32 bits each, little-endian

Type 0 is a device with six registers and a ROM, type 1 a bridge with two and a ROM.  A register's lowest bits say what
it is; where it lies is in the others.  How large it is only whoever may write to it finds out: a dump does not tell.
But it lies at a multiple of its size.
"""

from collections.abc import Iterator
from typing import NamedTuple

HEADER = 64
"""Bytes of a configuration space that are looked at."""

_TYPE, _CLASS, _FIRST = 0x0E, 0x09, 0x10
_REGISTERS = {0: 6, 1: 2}  # by type: how many there are
_ROM = {0: 0x30, 1: 0x38}  # by type: where it is told
_PORTS, _WIDE, _PREFETCH = 1, 4, 8  # bits of a register: it is of I/O ports, 64 bits wide, may be read ahead


class Register(NamedTuple):
    """A base address register of memory that has its place: index (6: the ROM), address, width, prefetchable."""

    bar: int
    base: int
    bits: int
    prefetch: bool

    @property
    def most(self) -> int:
        """Bytes that it has at most, lying where it does."""
        return self.base & -self.base


def device_class(config: bytes) -> int:
    """The class code, 24 bits."""
    return int.from_bytes(config[_CLASS : _CLASS + 3], "little")


def registers(config: bytes) -> Iterator[Register]:
    """The memory registers of a function, of which `HEADER` bytes are given, that have a place."""
    kind = config[_TYPE] & 0x7F
    bars = iter(range(_REGISTERS.get(kind, 0)))
    for bar in bars:
        value = _word(config, _FIRST + 4 * bar)
        if value & _PORTS or value == 0:
            continue
        base, wide = value & ~0xF, bool(value & _WIDE)
        if wide and next(bars, None) is not None:
            base |= _word(config, _FIRST + 4 * bar + 4) << 32
        if base:
            yield Register(bar, base, 64 if wide else 32, bool(value & _PREFETCH))
    if kind in _ROM and (base := _word(config, _ROM[kind]) & ~0x7FF):
        yield Register(6, base, 32, False)


def _word(config: bytes, at: int) -> int:
    return int.from_bytes(config[at : at + 4], "little")
