"""Where RAM lies, if a file tells no more than how much there is, or somebody says it.

On a PC: from address 0 up to 2 GiB, and the rest from 4 GiB upwards.  What lies between is left to devices, and the RAM
from 640 KiB to 1 MiB is lost under video memory and firmware.  Real PCs end low RAM anywhere from 1 to 3.5 GiB, where
the firmware saw room for devices; this rule looks at no device (row E5: RAM does not depend on them), and 2 GiB is
clear of the registers of most machines.  A register that it is not clear of is listed with what the file lacks.

On a board: from the address that its device tree tells, upwards.  If a file tells ranges of the firmware or windows of
host bridges, these are kept free, and no hole is assumed beside them.  Where somebody says at which address RAM begins,
only the firmware's ranges are.
"""

from collections.abc import Iterable

from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Facts, Range
from kernmalloc.inputs.sizes import Ram

PA_COMMON = 1 << 52
"""End of what x86-64 and arm64 page tables can reach."""

ASSUMED = "assumed"
"""Name of ranges that are RAM by assumption."""

PC_LOST = 640 << 10, 1 << 20
PC_HOLE = 2 << 30, 4 << 30
"""Where a PC has no RAM, as (base, end): that under the first is lost, that under the second moved up."""


def lay_out(facts: Facts, ram: Ram) -> tuple[Range, ...]:
    """Ranges of `ram.size` bytes of RAM.  Raises UnreadableError where nobody tells where it begins, and where it would
    end above 2^52."""
    base = facts.ram_base if ram.base is None else ram.base
    if base is None and not facts.like_pc:
        raise UnreadableError(facts.file, facts.line, f"RAM unknown: {facts.lacks[0]}", facts.lacks[1])
    windows = [r for r in facts.windows if r.base] if ram.base is None else []
    holes = [(r.base, r.end) for r in (*facts.memory, *windows) if r.size > 0]
    size = ram.size
    if base is None and not holes:
        size -= max(0, min(ram.size, PC_LOST[1]) - PC_LOST[0])
        holes = [PC_LOST, PC_HOLE]
    ranges = tuple(_around(base or 0, size, holes))
    if ranges[-1].end > PA_COMMON:
        raise UnreadableError(facts.file, facts.line, f"{ram.size} bytes of RAM end at {ranges[-1].end:#x}, above 2^52")
    return ranges


def _around(base: int, size: int, holes: Iterable[tuple[int, int]]) -> Iterable[Range]:
    """`size` bytes from `base` upwards, none of them in a hole."""
    for low, high in sorted(holes):
        part = min(size, low - base)
        if part > 0:
            yield Range(base, part, "ram", ASSUMED)
            size -= part
        base = max(base, high)
    if size:
        yield Range(base, size, "ram", ASSUMED)
