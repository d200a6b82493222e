"""Where a command finds its machines: files, standard input, this computer."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple

import typer

from kernmalloc.cli.options import parsed

if TYPE_CHECKING:
    from pathlib import Path

    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.memory_map import Machine


def words_once(words: list[str]) -> list[str]:
    """The words of a command line that name what is read.  Raises InputError if standard input is named twice."""
    from kernmalloc.inputs.errors import InputError

    if words.count("-") > 1:
        raise InputError("-", 0, "standard input can be read only once", "name it once")
    return words


def standard_input() -> BinaryIO:
    """Standard input, as bytes.  Raises InputError if it is closed."""
    from kernmalloc.inputs.errors import InputError

    if sys.stdin is None:
        raise InputError("-", 0, "standard input is closed", "name a file")
    return sys.stdin.buffer


def source(word: str) -> "BinaryIO | str | Path":
    """Where the machines are that a word on the command line names: standard input, one that is shipped, a file.
    Raises InputError."""
    from kernmalloc.machine.memory_map import located

    return standard_input() if word == "-" else located(word)


class Which(StrEnum):
    """Whose memory map is wanted: the machine's under the hypervisor, or that of the domain on it."""

    MACHINE = "machine"
    DOMAIN = "domain"


class Found(NamedTuple):
    """A machine that was asked for.

    `found` is the machine, or why it cannot be read; `origin` says where it was found, if that is not obvious; `alone`
    whether it is the only one; `words` name it on a command line; `start` is when work on it began.
    """

    found: "Machine | InputError"
    origin: str
    alone: bool
    words: list[str]
    start: float

    def machine(self) -> "Machine":
        """The machine.  Raises InputError if it cannot be read."""
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.found.file

    @property
    def name(self) -> str:
        """The machine's name, "" if it cannot be read."""
        return "" if isinstance(self.found, Exception) else self.found.name

    @property
    def seconds(self) -> float:
        """Time since work on it began."""
        return perf_counter() - self.start


def found_machines(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...",
            help="Boot logs, memory maps in any print, device trees, lspci, machines in TOML; the name of a shipped "
            "machine; - is standard input. None: this computer.",
            show_default=False,
        ),
    ] = None,
    ram: Annotated[
        str, typer.Option(metavar="SIZE[@ADDRESS]", help="RAM of machines whose file tells none, such as 8GiB.")
    ] = "",
    devices: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The devices of this machine, not those of the machines.")
    ] = "",
    map: Annotated[
        Which | None, typer.Option(help="The map to take from logs with a hypervisor's machine and a domain on it.")
    ] = None,
) -> Iterator[Found]:
    """Every machine in the files (no file: this computer), with what the options say of all."""
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_ram
    from kernmalloc.machine.memory_map import Machine, located

    amount = parsed("ram", ram, parse_ram) if ram else None
    other = Machine.read_devices(located(devices)) if devices else None
    words = [
        word
        for name, value in (("--ram", ram), ("--devices", devices), ("--map", map and map.value))
        if value
        for word in (name, value)
    ]
    for file in words_once(files or [""]):
        start, origin = perf_counter(), ""
        machines: list[Machine | InputError]
        try:
            if file:
                machines = list(Machine.read_all(source(file), amount, which=map.value if map else ""))
            elif amount:
                raise InputError(f"--ram {ram}", 0, "this computer tells its RAM itself", "name the file that does not")
            else:
                machine, origin = Machine.this_computer()
                machines = [machine]
        except InputError as error:
            machines = [error]
        alone = len(files or [""]) == len(machines) == 1
        for found in machines:
            if other and isinstance(found, Machine):
                found = found.with_devices(other)
            yield Found(found, origin, alone, [*filter(None, [file]), *words], start)
            start = perf_counter()
