"""`kernmalloc show`."""

from collections.abc import Iterator

import typer

from kernmalloc.cli.kernels import Wanted, asked_kernel
from kernmalloc.cli.later import Later, later
from kernmalloc.cli.options import made_by
from kernmalloc.cli.output import HELD, say
from kernmalloc.cli.page import can_write, write_machine
from kernmalloc.cli.sources import Found, found_machines


@made_by(machines=found_machines, wanted=asked_kernel, more=later)
def show(machines: Iterator[Found], wanted: Wanted, more: Later) -> None:
    """Open a page of one machine in the browser: step the kernel in it, try what it does, look at its plan."""
    import webbrowser
    from pathlib import Path
    from tempfile import mkdtemp

    for found in machines:
        can_write("of show", found.alone)
        machine, ram = more.on(found.machine())
        asked = wanted.on(machine, ram)
        file = Path(mkdtemp(prefix="kernmalloc."), f"{asked.profile.name}.html")
        write_machine(str(file), machine, asked.profile, ram, asked.line([*found.words, *more.words], {}))
        opened = webbrowser.open(file.as_uri())
        say(f"{file}: {'opened' if opened else 'no browser was found, open it in one'}")
    raise typer.Exit(HELD)
