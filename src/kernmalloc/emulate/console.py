"""What an example kernel says on its serial console: `examples/kernels/common` writes these lines.

    processors 4
    image 0x200000 0x49000                                     physical address and bytes
    area 0x249000 0x39000                                      of the boot area, likewise
    range 0x100 0x100 1                                        first frame, frames, class
    cpu 0: malloc(100) = 0xffffffff80e51000                    a call and its result
    cpu 0: block_get(9, 3) * 115 = 0x5c0e1b2a, then -1         until it is refused: how often, all results, refusal
    cpu 0: free(each) * 3912 = 0                               of what such a line gave: how many fail
    region 0x100000-0x1fffff ram 254 free                      the state in the end, from here on
    frames: 129463 free, 1186 heap, ...
    heap: 4759552 bytes backed, 0 idle
    check: 0
    status 0

A number is an address where it is hexadecimal, of 64 bits with a sign. Any other line is for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kernmalloc.kernel.core.kern import CLASS_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

EACH = "each"
_CALL = re.compile(r"cpu (\d+): (\w+)\(([^)]*)\)(?: \* (\d+))? = ([^,\s]+)(?:, then (\S+))?")
_REGION = re.compile(r"region (\w+)-(\w+) (\w+) (\d+) free")


class Step(NamedTuple):
    """One line of calls: which processor, which call, with what; so many times, or once where that is None. `arguments`
    is None for what gives back what an earlier line gave."""

    cpu: int
    name: str
    arguments: tuple[int, ...] | None
    times: int | None
    result: int
    refusal: int | None
    text: str


class Region(NamedTuple):
    """A region in the end: first and last byte, class, free frames."""

    base: int
    last: int
    kind: str
    free: int


@dataclass
class Told:
    """All that a kernel has said. `status` is None where it did not come to its end."""

    cpus: int = 1
    image: tuple[int, int] = 0, 0
    area: tuple[int, int] = -1, 0
    ranges: list[tuple[int, int, str]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)
    heap: dict[str, int] = field(default_factory=dict)
    check: int | None = None
    status: int | None = None


def number(text: str) -> int:
    """A number as a kernel writes it."""
    value = int(text, 0)
    return value - (1 << 64) if value >> 63 == 1 else value


def read(lines: Iterable[str]) -> Told:
    """What the lines tell. ValueError for one that begins like these above and goes on in another way."""
    told = Told()
    for line in lines:
        try:
            _take(told, line.strip())
        except (IndexError, ValueError):
            raise ValueError(f"not what an example kernel says: {line.strip()[:80]!r}") from None
    return told


def _take(told: Told, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "cpu" and (found := _CALL.fullmatch(line)):
        told.steps.append(_step(found))
    elif word == "processors":
        told.cpus = int(rest)
    elif word in ("image", "area"):
        base, size = map(number, rest.split())
        setattr(told, word, (base, size))
    elif word == "range":
        base, count, kind = map(number, rest.split())
        told.ranges.append((base, count, CLASS_NAMES[kind]))
    elif word == "region" and (found := _REGION.fullmatch(line)):
        told.regions.append(Region(number(found[1]), number(found[2]), found[3], int(found[4])))
    elif word == "frames:":
        told.frames = {name: int(count) for count, name in (part.split() for part in rest.split(", "))}
    elif word == "heap:":
        backed, idle = (int(part.split()[0]) for part in rest.split(", "))
        told.heap = {"backed": backed, "idle": idle}
    elif word == "check:":
        told.check = number(rest)
    elif word == "status":
        told.status = int(rest)


def _step(found: re.Match[str]) -> Step:
    cpu, name, arguments, count, result, refusal = found.groups()
    return Step(
        int(cpu),
        name,
        None if arguments == EACH else tuple(number(part) for part in arguments.split(", ") if part),
        None if count is None else int(count),
        number(result),
        None if refusal is None else number(refusal),
        found[0],
    )
