"""RAM that is added after the boot: where it lies, if nobody says.

Virtual machines put RAM that is plugged in later above all that there is, and above 4 GiB where the machine is like a
PC: there device windows lie below.  Linux takes it in blocks of 128 MiB at least, so that it begins at a multiple of
that (Documentation/admin-guide/mm/memory-hotplug.rst).
"""

from collections.abc import Sequence

from kernmalloc.inputs.facts import Range
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.memory_map import Machine

FLOOR = 1 << 32
ALIGN = 128 << 20
SELF_HOSTED = "self-hosted ram"
"""The kind of a range of RAM that comes later and holds what describes it."""
LIKE_PC = ("i386", "x86_64", "?")


def place_ram(machine: Machine, more: Sequence[Ram], self_hosted: bool = False) -> tuple[Range, ...]:
    """The ranges of RAM that is added, one after the other: where it is said, or at the lowest multiple of 128 MiB
    above all RAM and, on what is like a PC, above 4 GiB, where it overlaps nothing. `self_hosted`: what describes it
    lies in it."""
    placed: list[Range] = []
    for ram in more:
        base = _free(machine, placed, ram.size) if ram.base is None else ram.base
        placed.append(Range(base, ram.size, SELF_HOSTED if self_hosted else "ram", "added"))
    return tuple(placed)


def _free(machine: Machine, placed: Sequence[Range], size: int) -> int:
    """Where so many bytes lie beside what the machine has and what has been placed."""
    ram = [*machine.ram, *placed]
    base = _aligned(max([FLOOR if machine.arch in LIKE_PC else 0, *(r.end for r in ram)]))
    others = [(r.base, r.end) for r in (*machine.firmware, *machine.windows)]
    others += [(d.base, d.end) for d in machine.devices if d.status in ("assigned", "disabled")]
    for low, high in sorted(others):
        if low < base + size and base < high:
            base = _aligned(high)
    return base


def _aligned(address: int) -> int:
    return -(-address // ALIGN) * ALIGN
