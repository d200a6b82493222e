"""`kernmalloc export`."""

from pathlib import Path
from typing import Annotated

import typer

from kernmalloc.cli.output import say


def export(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to make; that of an older export is renewed."),
    ],
    arch: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Architecture; again for more. By default all that LLVM has."),
    ] = None,
    rust: Annotated[
        bool, typer.Option("--rust", help="Write a crate, too: its calls in Rust, and a global allocator.")
    ] = (False),
) -> None:
    """Write the kernel for somebody else's: as a library per architecture, and as C; with a README."""
    from kernmalloc.build.export import crate_files
    from kernmalloc.build.export import export as write
    from kernmalloc.cli.progress import exporting
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.arch import ARCHES, TARGETS

    wanted = arch or list(TARGETS)
    for name in wanted:
        if name not in ARCHES:
            raise InputError(f"--arch {name}", 0, "no such architecture", f"one of {', '.join(ARCHES)}")
    with exporting():
        made = write(output, wanted, crate_files() if rust else None)
    for name, size in made.items():
        say(f"{output / name}: {size:,} bytes")
    for name in dict.fromkeys(wanted):
        if name not in TARGETS:
            say(f"{name}: C only, LLVM makes no objects for it")
