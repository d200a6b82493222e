"""How much code a kernel gets of a library: what a linker keeps that leaves out what nobody calls (`--gc-sections`).

`python -m kernmalloc.build.sizes` prints the tables of docs/porting.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.build import elf
from kernmalloc.build.freestanding import freestanding
from kernmalloc.build.modes import LAYOUTS
from kernmalloc.lang.functions import CALL
from kernmalloc.machine.arch import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernmalloc.lang.layout import Layout

START = ("area_bytes", "init", "start", "cpu_online")
HEAP = (
    *("malloc", "malloc_aligned", "calloc", "realloc", "free", "free_sized", "size_of"),
    *("cache_create", "cache_get", "cache_put"),
)
FRAMES = ("frame_get", "block_get", "range_get", "frame_put", "range_put", "frame_type")
USES = {
    "malloc and free": ("malloc", "free"),
    "heap": (*START, *HEAP),
    "heap and frames": (*START, *HEAP, *FRAMES),
    "heap, frames, check": (*START, *HEAP, *FRAMES, "check"),
}
"""What kernels call, by what it is called here; calls that a library does not have are not its."""


def code(data: bytes, calls: Iterable[str] | None = None) -> int:
    """Bytes of code and constants of an object that a kernel gets which calls these; of all of it, if None."""
    every = elf.sections(data)
    kept = range(len(every)) if calls is None else elf.kept(data, [CALL + call for call in calls])
    return sum(every[number].size for number in kept if every[number].loaded)


def table(layout: Layout) -> dict[str, dict[str, int]]:
    """By architecture, and by what is called, the bytes in a mode's layout."""
    return {
        name: {use: code(freestanding(name, layout), calls) for use, calls in {**USES, "everything": None}.items()}
        for name in TARGETS
    }


def markdown(sizes: dict[str, dict[str, int]]) -> str:
    """The table of a document, in KiB."""
    uses = list(next(iter(sizes.values())))
    rows = [
        "| " + " | ".join([name, *(f"{bytes / 1024:.1f}" for bytes in row.values())]) + " |"
        for name, row in sorted(sizes.items())
    ]
    return "\n".join([f"| KiB of code | {' | '.join(uses)} |", "|---" * (len(uses) + 1) + "|", *rows])


if __name__ == "__main__":
    for mode, layout in LAYOUTS.items():
        print(f"{mode}:\n\n{markdown(table(layout))}\n")
