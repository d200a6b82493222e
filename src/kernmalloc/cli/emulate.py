"""`kernmalloc emulate`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.options import parsed
from kernmalloc.cli.output import BROKEN, HELD, say, say_all

if TYPE_CHECKING:
    from kernmalloc.emulate.example import Example


def emulate(
    kernel: Annotated[
        str, typer.Argument(metavar="KERNEL", help="An example kernel by name (examples/kernels), or its folder.")
    ],
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="RAM of the machine (64GiB).", show_default=False)
    ] = None,
    cpus: Annotated[int | None, typer.Option(metavar="N", help="Processors.", min=1, show_default=False)] = None,
    dump: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write its memory there in the midst of its program, for inspect.", show_default=False
        ),
    ] = None,
) -> None:
    """Build an example kernel and boot it under QEMU; then do its calls again in a simulation, and compare the end."""
    from kernmalloc.cli.progress import exporting
    from kernmalloc.emulate.example import Example
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_size

    size = None if memory is None else parsed("memory", memory, parse_size)
    if dump and not dump.resolve().parent.is_dir():
        raise InputError(f"--dump {dump}", 0, f"{dump.resolve().parent}: no such folder")
    example = Example(kernel)
    example.command(Path(), size, cpus)  # its machine can be had
    with tempfile.TemporaryDirectory(prefix="kernmalloc.") as folder:
        with exporting():
            example.build(Path(folder))
        raise typer.Exit(_run(example, Path(folder), size, cpus, dump))


def _run(example: "Example", folder: Path, memory: int | None, cpus: int | None, dump: Path | None) -> int:
    """Run what was built: its console, and what the comparison says. Returns the exit status."""
    from kernmalloc.emulate import console
    from kernmalloc.emulate.example import HELD as HELD_LINE
    from kernmalloc.emulate.example import HOLD, Running
    from kernmalloc.emulate.simulation import compare
    from kernmalloc.facade.profile import Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.report.emulate import compared

    lines = []
    with Running(example.command(folder, memory, cpus, HOLD if dump else ""), folder) as machine:
        for line in machine.lines():
            say(line)
            lines.append(line)
            if line == HELD_LINE and dump:
                machine.dump(dump.resolve())
                machine.send("\n")
    try:
        told = console.read(lines)
    except ValueError as error:
        raise InputError(str(example.folder), 0, str(error)) from None
    if told.status is None:
        raise InputError(str(example.folder), 0, "it ended before its program did", lines[-1] if lines else "")
    profile = example.profile if told.ranges else None  # it has come as far as its memory
    outcome = compare(told, Profile.load(profile)) if profile else None
    say_all(compared(told, outcome))
    return BROKEN if told.status or (outcome and outcome.differences) else HELD
