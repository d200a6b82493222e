"""A fleet's work, piece by piece, in a folder.

Each piece of a fleet is read twice: first for what its machines need, from which the fleet's one value follows; then
every machine is tried with that value. What a piece came to is one file, which is there whole or not at all. So anybody
can do a piece, a worker that dies costs its piece, and work that was interrupted goes on where it stopped.

    FOLDER/question.json             what was asked
    FOLDER/pieces/ID.needs           what each machine of a piece needs
    FOLDER/pieces/ID.judged          what the values came to, and which they were
    FOLDER/machines/ID.parquet       rows of machines; FOLDER/devices/ID.parquet: of their device ranges

Rows are of the fleet that was asked last, and of the values that it was tried with.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from kernmalloc import __version__
from kernmalloc.fleet.need import Need
from kernmalloc.fleet.pieces import Piece
from kernmalloc.fleet.question import Question
from kernmalloc.fleet.rows import DeviceRow, MachineRow, machine_row
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine
from kernmalloc.results.tables import NoArrow, arrow, table

Made = TypeVar("Made")
Values = dict[str, int | None]
"""The fleet's value for each kernel, by its name; None: no value covers so many."""


class PieceNeeds(msgspec.Struct):
    """What each machine of a piece needs, beside its kernel's name, None where it could not be read; what is to be said
    of how kernels were chosen, machine by machine; and why some could not be read."""

    needs: list[tuple[str, Need] | None]
    notes: list[str]
    unreadable: list[str]


class Counted(NamedTuple):
    """Machines counted by kernel, least and most; sentences about kernels, counted; why machines could not be read."""

    machines: Counter[tuple[str, int | None, int | None]]
    notes: Counter[str]
    unreadable: list[str]

    def add(self, other: "Counted") -> None:
        """Count another piece, too."""
        self.machines.update(other.machines)
        self.notes.update(other.notes)
        self.unreadable.extend(other.unreadable)


class LeftOver(msgspec.Struct):
    """A machine that the fleet's value does not cover, and why."""

    machine: str
    file: str
    reason: str


class Result(msgspec.Struct):
    """What the value came to on the machines of one kernel. `costs` are machines by the bytes that it costs them,
    `most` are the largest numbers `Judged.most`, `wrong` names machines of which need and trial disagree."""

    covered: int = 0
    costs: dict[int, int] = {}
    left_over: list[LeftOver] = []
    wrong: list[str] = []
    most: tuple[int, ...] = ()


class PieceJudged(msgspec.Struct):
    """Values, and what they came to on the machines of a piece, by their kernel's name."""

    values: Values
    results: dict[str, Result]


class Job(NamedTuple):
    """A question, the folder of its work, and whether tables are wanted."""

    question: Question
    folder: Path
    tables: bool


def open_folder(job: Job) -> None:
    """Make the folder of a job, or find it. Raises InputError where it is of another question, or tables are wanted
    and pyarrow is not installed."""
    if job.tables:
        try:
            arrow()
        except NoArrow:
            raise InputError("rows of machines", 0, "they need pyarrow", "pip install 'kernmalloc[tables]'") from None
    file = job.folder / "question.json"
    said = [__version__, job.question, job.tables]
    asked = msgspec.json.encode(said, enc_hook=int)  # sizes of a profile are a kind of int
    if file.exists() and file.read_bytes() != asked:
        raise InputError(str(job.folder), 0, "holds the work of another question", "name a new folder, or remove it")
    for name in ("pieces", *(("machines", "devices") if job.tables else ())):
        (job.folder / name).mkdir(parents=True, exist_ok=True)
    _write(file, asked)


def forget_others(job: Job, pieces: Iterable[Piece]) -> None:
    """Remove what pieces came to that are not of this fleet, and their rows; what their machines need stays. What
    workers had begun to write when they died goes, too."""
    ids = {piece.id for piece in pieces}
    for pattern in ("pieces/*.judged", "machines/*.parquet", "devices/*.parquet", "*/*.new"):
        for file in job.folder.glob(pattern):
            if file.stem not in ids:
                file.unlink(missing_ok=True)


def needs_of(job: Job, piece: Piece) -> Counted:
    """What the machines of a piece need."""
    file = _needs_file(job, piece)
    if file.exists():
        return _counted(_read(file, PieceNeeds))
    found = PieceNeeds([], [], [])
    for machine in piece.machines():
        if isinstance(machine, InputError):
            found.unreadable.append(str(machine))
            found.needs.append(None)
            continue
        profile, note = job.question.kernel(machine)
        found.needs.append((job.question.group(profile), job.question.need(machine, profile)))
        found.notes += [note] if note else []
    _write(file, msgspec.json.encode(found))
    return _counted(found)


def _counted(found: PieceNeeds) -> Counted:
    machines = Counter((told[0], told[1].least, told[1].most) for told in found.needs if told)
    return Counted(machines, Counter(found.notes), found.unreadable)


def judge(job: Job, piece: Piece, values: Values) -> dict[str, Result]:
    """What the values come to on the machines of a piece, by their kernel's name; with tables, their rows are written
    before that is told."""
    file = job.folder / "pieces" / f"{piece.id}.judged"
    if file.exists() and (judged := _read(file, PieceJudged)).values == values:
        return judged.results
    needs = _read(_needs_file(job, piece), PieceNeeds).needs
    results: dict[str, Result] = {}
    machines, devices = list[MachineRow](), list[DeviceRow]()
    for number, (machine, told) in enumerate(zip(piece.machines(), needs, strict=True)):
        if told is None or isinstance(machine, InputError):
            continue
        _judge(job, values, (f"{piece.id}.{number}", machine, told[1]), results, machines, devices)
    if job.tables:
        _write_table(job.folder / "machines" / f"{piece.id}.parquet", MachineRow, machines)
        _write_table(job.folder / "devices" / f"{piece.id}.parquet", DeviceRow, devices)
    _write(file, msgspec.json.encode(PieceJudged(values, results)))
    return results


def _judge(
    job: Job,
    values: Values,
    asked: tuple[str, Machine, Need],
    results: dict[str, Result],
    machines: list[MachineRow],
    devices: list[DeviceRow],
) -> None:
    """One machine, tried again: into the results of its kernel, and into rows."""
    id, machine, need = asked
    profile = job.question.kernel(machine).profile
    group = job.question.group(profile)
    value = values[group]
    judged = job.question.judge(machine, profile, value)
    result = results.setdefault(group, Result())
    name = machine.name or machine.file
    if value is not None and judged.covered != need.met(value):
        result.wrong.append(name)
    if judged.covered:
        result.covered += 1
        result.costs[judged.cost] = result.costs.get(judged.cost, 0) + 1
        result.most = largest(result.most, judged.most)
    else:
        result.left_over.append(LeftOver(name, machine.file, need.reason or judged.reason))
    setting = job.question.asked.option(profile)
    machines.append(machine_row(id, machine, profile if group else None, setting, value, need, judged))
    devices += (DeviceRow(id, *device) for device in judged.devices)


def largest(some: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    """The larger number of each place; of no numbers the others."""
    return tuple(map(max, some, others)) if some and others else some or others


def _needs_file(job: Job, piece: Piece) -> Path:
    return job.folder / "pieces" / f"{piece.id}.needs"


def _read(file: Path, kind: type[Made]) -> Made:
    return msgspec.json.decode(file.read_bytes(), type=kind)


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """The place at which a file is written, which then is there whole, or not at all."""
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    yield new
    os.replace(new, file)


def _write(file: Path, data: bytes) -> None:
    with _whole(file) as new:
        new.write_bytes(data)


def _write_table(file: Path, kind: type, rows: list[MachineRow] | list[DeviceRow]) -> None:
    import pyarrow.parquet

    with _whole(file) as new:
        pyarrow.parquet.write_table(table(kind, rows), new)
