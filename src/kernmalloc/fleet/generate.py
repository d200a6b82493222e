"""Fleets of any size, made by the distributions of real machines: the same machine for the same seed and number.

Machine i depends on the seed and on i alone, so any part of a fleet can be made anywhere, and a fleet needs no file.
The table `distributions.json` is counted from 4,151 real machines.  A machine is drawn in this order: its kind, by how
common that is; its RAM, among that of its kind; for each class of PCI devices all functions of it that one real machine
of the kind has together.  Classes are drawn independently of each other, given the kind.  Desktops and notebooks of
16 GiB and more are kinds of their own, because large cards are there.

Registers get their places as firmware gives them.  Those of one function behind a bridge lie together in the bridge's
window, which has a multiple of 1 MiB.  All are aligned to their size, on most machines also to pages, and the largest
come first.  They are placed downward from 0xfe000000, under the interrupt controllers and the firmware's ROM, and no
lower than 2 GiB.  Above 4 GiB lie 64-bit registers of 1 GiB and more, what finds no place below, and on some machines
all that are prefetchable: upward from where real machines have them, or from the end of RAM if that is higher.  A
register that had no place on the real machine has none, nor has a 32-bit one for which there is no room.

Not drawn are I/O ports, and on which bus a device is.
"""

import os
from bisect import bisect
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Generic, NamedTuple, TypeVar

import msgspec

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.fleet import Record, Register

TABLE = Path(__file__).with_name("distributions.json")
TOP = 0xFE000000  # where registers below 4 GiB end
FLOOR = 2 << 30  # where they begin at the lowest
LARGE = 1 << 30  # bytes of a 64-bit register that never lies below 4 GiB
BRIDGE = 1 << 20  # bytes that the window of a bridge is a multiple of
PAGE = 4096
ABOVE_UNIT = 1 << 28
ROWS = 1024  # of a group of a table
PART = 100_000  # machines of a part of a table

Value = TypeVar("Value")


class _Kind(msgspec.Struct, frozen=True):
    """A kind of machines in the table: how many there are, of these with windows above 4 GiB, and with windows that
    share a page; how many have so much RAM in MiB; of each class of devices, how many have these functions: numbers of
    shapes, as `12*4 57`."""

    name: str
    arch: str
    machines: int
    above: int
    shared: int
    ram: dict[int, int]
    classes: dict[str, dict[str, int]]


class _Table(msgspec.Struct, frozen=True):
    """The table: `above` counts the machines whose windows above 4 GiB begin there, in units of 256 MiB."""

    source: str
    shapes: list[str]
    above: dict[int, int]
    kinds: list[_Kind]


class Shape(NamedTuple):
    """The registers of one PCI function: its class, whether it is behind a bridge, and of each register the offset,
    type, bits, size in bytes, and whether it has a place."""

    code: str
    behind: bool
    registers: tuple[tuple[str, str, int, int, bool], ...]


class Choice(Generic[Value]):
    """Values, each as probable as its weight among all."""

    def __init__(self, weights: dict[Value, int]) -> None:
        self.values, self.ends = list(weights), list(accumulate(weights.values()))

    def at(self, number: float) -> Value:
        """The value at a number from 0 to 1, without 1."""
        return self.values[bisect(self.ends, number * self.ends[-1])]


class Kind(NamedTuple):
    """A kind of machines, to draw from; `above` and `shared` are shares from 0 to 1, RAM is in bytes."""

    name: str
    arch: str
    above: float
    shared: float
    ram: Choice[int]
    classes: tuple[Choice[tuple[Shape, ...]], ...]


class Window(NamedTuple):
    """Registers that lie together: where they may begin is a multiple of `align`, where each does, of `page`."""

    align: int
    size: int
    page: int
    registers: list[Register]


def generate(seed: int, count: int, first: int = 0) -> Iterator[Record]:
    """Machines `first` to `first + count - 1` of the fleet of a seed, both from 0 up."""
    kinds, bases = _drawn()
    for number in range(first, first + count):
        yield _machine(kinds, bases, Random(seed << 64 | number).random, number)


def write(path: str | Path, seed: int, count: int, progress: Callable[[int], None] = lambda done: None) -> None:
    """The first `count` machines of the fleet of a seed, as a file of JSON Lines (`.jsonl`), a Parquet file
    (`.parquet`), or, without such an ending, a new folder of Parquet files.  Files are written whole or not at all.
    `progress` is told how many more are done.  Raises InputError for other names, OSError, and NoArrow for Parquet."""
    path = Path(path)
    if path.suffix in (".jsonl", ".parquet"):
        _write(path, seed, 0, count, progress)
    elif path.suffix:
        raise InputError(str(path), 0, "no form of a fleet", "end it in .jsonl or .parquet, a folder in neither")
    else:
        path.mkdir()
        for number, first in enumerate(range(0, count, PART)):
            _write(path / f"part-{number:05}.parquet", seed, first, min(PART, count - first), progress)


def _write(path: Path, seed: int, first: int, count: int, progress: Callable[[int], None]) -> None:
    """A file, once it is complete; until then it is a hidden one beside."""
    beside = path.with_name(f".{path.name}.part")
    try:
        (_write_lines if path.suffix == ".jsonl" else _write_table)(beside, seed, first, count, progress)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _groups(seed: int, first: int, count: int) -> Iterator[list[Record]]:
    for begin in range(first, first + count, ROWS):
        yield list(generate(seed, min(ROWS, first + count - begin), begin))


def _write_lines(path: Path, seed: int, first: int, count: int, progress: Callable[[int], None]) -> None:
    encoder = msgspec.json.Encoder()
    with open(path, "wb") as stream:
        for machines in _groups(seed, first, count):
            stream.write(encoder.encode_lines(machines))
            progress(len(machines))


def _write_table(path: Path, seed: int, first: int, count: int, progress: Callable[[int], None]) -> None:
    from kernmalloc.inputs.parquet import schema, table

    form = schema()
    from pyarrow.parquet import ParquetWriter  # late: it takes a second

    with ParquetWriter(path, form) as writer:
        for machines in _groups(seed, first, count):
            writer.write_table(table(machines))
            progress(len(machines))


@cache
def _drawn() -> tuple[Choice[Kind], Choice[int]]:
    """The table, to draw from: kinds, and where windows above 4 GiB begin."""
    table = msgspec.json.decode(TABLE.read_bytes(), type=_Table, strict=False)
    shapes = [_shape(text) for text in table.shapes]

    def together(text: str) -> tuple[Shape, ...]:
        told = (part.partition("*") for part in text.split())
        return tuple(shapes[int(number)] for number, _, count in told for _ in range(int(count or 1)))

    kinds = {
        Kind(
            kind.name,
            kind.arch,
            kind.above / kind.machines,
            kind.shared / kind.machines,
            Choice({size << 20: weight for size, weight in kind.ram.items()}),
            tuple(
                Choice({together(text): weight for text, weight in found.items()}) for found in kind.classes.values()
            ),
        ): kind.machines
        for kind in table.kinds
    }
    return Choice(kinds), Choice({base * ABOVE_UNIT: weight for base, weight in table.above.items()})


def _shape(text: str) -> Shape:
    """A shape as the table has it: a class, with `-` behind a bridge, and registers, such as `18p64.28!`: offset,
    memory or prefetchable, bits, logarithm of the size, `!` without a place."""
    code, *registers = text.split()
    told = []
    for register in registers:
        offset, form, rest = register[:2], register[2], register[3:]
        bits, _, order = rest.rstrip("!").partition(".")
        name = "Prefetchable Memory" if form == "p" else "Memory"
        told.append((offset, name, int(bits), 1 << int(order), not rest.endswith("!")))
    return Shape(code.rstrip("-"), code.endswith("-"), tuple(told))


def _machine(kinds: Choice[Kind], bases: Choice[int], draw: Callable[[], float], number: int) -> Record:
    kind = kinds.at(draw())
    ram, above, page = kind.ram.at(draw()), draw() < kind.above, 1 if draw() < kind.shared else PAGE
    base = max(bases.at(draw()), 4 << 30, ram + FLOOR)  # RAM between 2 and 4 GiB lies above these
    low: list[Window] = []
    high: list[Window] = []
    registers: list[Register] = []
    counts = [0, 0]
    for choice in kind.classes:
        for code, behind, shape in choice.at(draw()):
            place = _place(behind, counts[behind])
            counts[behind] += 1
            under: list[Register] = []
            over: list[Register] = []
            for offset, form, bits, size, placed in shape:
                register = Register(place, code, offset, form, bits, 0, size)
                registers.append(register)
                if placed:
                    is_high = bits == 64 and (size >= LARGE or (above and form != "Memory"))
                    (over if is_high else under).append(register)
            low += _windows(under, behind, page)
            high += _windows(over, behind, page)
    _place_low(low, high)
    _place_high(high, base)
    return Record(registers, "Generated", f"{kind.name} {number}", kind.arch, ram)


def _place(behind: bool, number: int) -> str:
    """The place of a function on the first bus, or of one on a bus of its own, as far as there are buses."""
    if behind:
        return f"0:{1 + number % 254}:{number // 254 % 32}:0"
    return f"0:0:{1 + number % 31}:{number // 31 % 8}"


def _windows(registers: list[Register], behind: bool, page: int) -> list[Window]:
    """The windows of one function's registers: behind a bridge they are one."""
    if not behind:
        return [Window(max(one.size, page), max(one.size, page), page, [one]) for one in registers]
    if not registers:
        return []
    largest_first = sorted(registers, key=lambda one: -one.size)
    size = sum(max(one.size, page) for one in registers)
    return [Window(max(largest_first[0].size, BRIDGE), -(-size // BRIDGE) * BRIDGE, page, largest_first)]


def _place_low(low: list[Window], high: list[Window]) -> None:
    """Give registers their places below 4 GiB. What finds none goes to `high` if it has 64 bits, and else has none."""
    low.sort(key=lambda window: -window.align)
    while not _fits(low):
        window = next((one for one in low if all(register.bits == 64 for register in one.registers)), None)
        if window:
            high.append(window)
        low.remove(window or low[0])
    end = TOP
    for window in low:
        end = (end - window.size) & -window.align
        _fill(window, end)


def _fits(low: list[Window]) -> bool:
    """Whether there is room for all below 4 GiB."""
    end = TOP
    for window in low:
        end = (end - window.size) & -window.align
    return end >= FLOOR


def _place_high(high: list[Window], base: int) -> None:
    """Give registers their places from `base` upward."""
    for window in sorted(high, key=lambda window: -window.align):
        base = -(-base // window.align) * window.align
        _fill(window, base)
        base += window.size


def _fill(window: Window, base: int) -> None:
    """Give the registers of a window their places, the largest first."""
    for register in window.registers:
        register.base = base
        base += max(register.size, window.page)
