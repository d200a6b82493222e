"""Where a command finds its machines: files, standard input, this computer."""

import sys
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kernmalloc.cli.options import parsed

if TYPE_CHECKING:
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.memory_map import Machine


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
            metavar="[FILE]...",
            help="Boot logs, /proc/iomem, device trees, lspci, machines in TOML; - is standard input. "
            "None: this computer.",
            show_default=False,
        ),
    ] = None,
    ram: Annotated[
        str, typer.Option(metavar="SIZE[@ADDRESS]", help="RAM of machines whose file tells none, such as 8GiB.")
    ] = "",
    devices: Annotated[
        str, typer.Option(metavar="FILE", help="The devices in this file, not those of the machines.")
    ] = "",
) -> Iterator[Found]:
    """Every machine in the files ("-" is standard input, no file this computer), with what the options say of all."""
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_ram
    from kernmalloc.machine.memory_map import Machine

    amount = parsed("ram", ram, parse_ram) if ram else None
    other = Machine.read_devices(devices) if devices else None
    words = [word for name, value in (("--ram", ram), ("--devices", devices)) if value for word in (name, value)]
    for file in files or [""]:
        start, origin = perf_counter(), ""
        machines: list[Machine | InputError]
        try:
            if file:
                machines = list(Machine.read_all(sys.stdin.buffer if file == "-" else file, amount))
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
