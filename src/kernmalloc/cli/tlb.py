"""`kernmalloc tlb`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.kernels import Wanted, asked_kernel
from kernmalloc.cli.options import Json, Mode, made_by
from kernmalloc.cli.output import BROKEN, HELD, complain, say_all, say_json, write_whole
from kernmalloc.cli.page import Html, can_write, kernel_in, write
from kernmalloc.cli.refusals import refused
from kernmalloc.cli.sources import Found, found_machines

if TYPE_CHECKING:
    from kernmalloc.sim.tlb_loads import Load


@made_by(machines=found_machines, wanted=asked_kernel)
def tlb(
    machines: Iterator[Found],
    wanted: Wanted,
    load: Annotated[
        str,
        typer.Option(
            metavar="boot|SCENARIO|TRACE",
            help="What is done after the boot: boot publishes the machine's devices; a scenario, shipped or in TOML; a "
            "recorded trace.",
        ),
    ] = "boot",
    picture: Annotated[
        str, typer.Option(metavar="FILE.svg", help="Draw it, too, of one machine.", show_default=False)
    ] = "",
    json: Json = False,
    html: Html = "",
) -> None:
    """Compare one load with the heap mapped page by page, in large pages and by fixed entries: what the TLB misses."""
    from kernmalloc.cli.progress import load_objects
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.sim.tlb_loads import load_named

    if picture and not picture.endswith(".svg"):
        raise InputError(f"--picture {picture}", 0, "no such kind of picture", "a file named .svg")
    if (named := wanted.kernel) and named.profile.direct:
        raise InputError(f"--kernel {named.profile.name}", 0, "it maps nothing", "ask of one with page tables")
    put = load_named(load)
    load_objects(Mode.soft)
    raise typer.Exit(max(_compare(found, wanted, put, picture, html, json) for found in machines))


def _compare(found: Found, wanted: Wanted, load: "Load", picture: str, html: str, json: bool) -> int:
    """Compare on one machine, and tell it.  Returns the exit status that it asks for."""
    from kernmalloc.cli.progress import measured
    from kernmalloc.facade.errors import KernelError, TooLarge, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.report import tlb as report
    from kernmalloc.report.boot import chosen
    from kernmalloc.report.tlb_picture import picture as drawn
    from kernmalloc.sim.replay import Wrong
    from kernmalloc.sim.run import NoRoom, Stuck
    from kernmalloc.sim.tlb import compare
    from kernmalloc.web.page import KERNEL
    from kernmalloc.web.tlb import tlb_part

    if picture and not found.alone:
        raise InputError(f"--picture {picture}", 0, "there are several machines", "name one")
    if html:
        can_write(html, found.alone)
    asked = wanted.kernel
    try:
        machine = found.machine()
        asked = wanted.on(machine)
        with measured() as progress:
            done = compare(machine, asked.profile, load, progress)
    except Wrong as wrong:
        complain(f"{found.name or found.file}: BROKEN: {wrong}")
        return BROKEN
    except (KernelError, Stuck, NoRoom) as error:
        return refused(found, asked, TooSmall(f"load {load.name}: {error}"), json)
    except (InputError, TooLarge, TooSmall, LifeError, OSError) as error:
        return refused(found, asked, error, json)
    if json:
        say_json(done)
    else:
        say_all(chosen(asked.note))
        say_all(report.whole(done))
    if picture:
        write_whole(picture, "picture", drawn(done))
    if html:
        kernel = kernel_in(machine, asked.profile)
        title = f"What the TLB misses: kernel {asked.profile.name} on {machine.name or machine.file}"
        write(html, title, [], [tlb_part(done), *(KERNEL if kernel else ())], kernel)
    return HELD
