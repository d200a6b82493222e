"""An arena in use, as a file of memory: `python arena_dump.py FILE ORDER`, under the layout that the environment gives.

The block lies at a Cortex-M's RAM, 64 KiB from the start of the file. Numbers have the byte order that is asked for.
"""

from __future__ import annotations

import sys
from typing import Literal

from kernmalloc.build import apart
from kernmalloc.lang import twin

BLOCK, BYTES = 0x2000_0000, 64 << 10


class Memory:
    """Bytes from BLOCK on, of either order."""

    def __init__(self, order: Literal["little", "big"]) -> None:
        self.bytes, self.order, self.machine = bytearray(BYTES), order, self

    def load(self, addr: int, width: int) -> int:
        at = addr - BLOCK
        return int.from_bytes(self.bytes[at : at + width], self.order, signed=width == 8)

    def store(self, addr: int, width: int, value: int) -> None:
        at = addr - BLOCK
        self.bytes[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, self.order)

    def km_port_zero(self, va: int, size: int) -> int:
        self.bytes[va - BLOCK : va - BLOCK + size] = bytes(size)
        return 0

    def km_port_copy(self, to: int, of: int, size: int) -> int:
        self.bytes[to - BLOCK : to - BLOCK + size] = self.bytes[of - BLOCK : of - BLOCK + size]
        return 0

    def km_port_interrupts_save(self) -> int:
        return 0

    def km_port_interrupts_restore(self, flags: int) -> int:
        return 0


def main(file: str, order: Literal["little", "big"]) -> None:
    """Write the file."""
    memory = Memory(order)
    calls = twin.compile(apart.entries())
    twin.use(memory)
    cpu = calls["arena_make"](BLOCK, BYTES)
    assert cpu > 0, cpu
    blocks = [calls["malloc"](cpu, 100) for _ in range(10)]
    for va in blocks[:3]:
        calls["free"](cpu, va)
    calls["malloc"](cpu, 9000)
    kind = calls["cache_create"](cpu, 72, 100)
    calls["cache_get"](cpu, kind)
    with open(file, "wb") as dump:
        dump.write(bytes(64 << 10) + memory.bytes)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
