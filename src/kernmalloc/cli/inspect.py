"""`kernmalloc inspect`."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.options import Json, Mode, parsed
from kernmalloc.cli.output import BROKEN, FAILED, HELD, say, say_all, say_json
from kernmalloc.cli.refusals import reason

if TYPE_CHECKING:
    from kernmalloc.facade.dump import Found
    from kernmalloc.facade.kernel import Kernel
    from kernmalloc.inputs.dumps import Dump


def inspect(
    dump: Annotated[
        str,
        typer.Argument(
            metavar="DUMP",
            help="Memory with a kernel in it: a file of RAM, an ELF core (of QEMU, gdb, Linux), /proc/PID/mem.",
        ),
    ],
    at: Annotated[
        str, typer.Option(metavar="PA", help="Of several kernels that whose record is there, such as 0x30c000.")
    ] = "",
    diff: Annotated[str, typer.Option(metavar="OTHER", help="Tell in what the kernel of another dump differs.")] = "",
    json: Json = False,
) -> None:
    """Find the kernel in a dump of memory, check every invariant, and tell its regions, frames, heap, who holds what.

    The exit status is 0 where every invariant holds, 1 where one does not, 2 where no kernel is found.
    """
    from kernmalloc.facade.dump import NoKernelError
    from kernmalloc.facade.errors import TooLarge
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.sizes import parse_size
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.report.inspect import Inspection, table

    place = parsed("at", at, parse_size) if at else None
    try:
        raise typer.Exit(_tell(dump, place, diff, json))
    except (TooLarge, LifeError) as error:
        failure = InputError(dump, 0, str(error))
    except InputError as error:
        failure = error
    if json:
        say_json(Inspection(file=failure.file, status="unreadable", reason=reason(failure)))
        raise typer.Exit(FAILED)
    if isinstance(failure, NoKernelError):
        say_all(table(failure.found))
    raise failure


def _tell(name: str, at: int | None, diff: str, json: bool) -> int:
    """Print all about the kernel of a dump.  Returns the exit status.  Raises InputError, TooLarge, LifeError."""
    from kernmalloc.facade.dump import chosen, missing
    from kernmalloc.inputs.dumps import Dump
    from kernmalloc.report import inspect as report

    with ExitStack() as end:
        memory = end.enter_context(Dump.open(name))
        found = chosen(memory, at, others=not diff)
        if found.other:
            return _tell_arena(memory, found, json)
        kernel = _opened(memory, found, end)
        lacking = missing(memory, found)
        other = None
        if diff:
            later = end.enter_context(Dump.open(diff))
            other = _opened(later, chosen(later, at), end)
        differs = list(report.difference(kernel, other, (name, diff))) if other and not json else []
        check = kernel.check()  # which writes to records
        if json:
            frames = sum(high - low for low, high in lacking)
            say_json(report.Inspection.of(kernel, memory, found, frames, check, other))
        else:
            say_all(report.opening(memory, found, lacking, kernel.profile.page))
            say_all(report.whole(kernel, check))
            say_all(differs)
            say("")
            say(report.verdict(name, check))
        return HELD if check.passed else BROKEN


def _tell_arena(memory: "Dump", found: "Found", json: bool) -> int:
    """Print all about an arena.  Returns the exit status.  Raises InputError where it is none."""
    from kernmalloc.facade.arena import look
    from kernmalloc.facade.state import Check
    from kernmalloc.report import inspect as report

    told = look(memory, found)
    if json:
        say_json(report.Inspection.of_arena(memory, found, told))
    else:
        say_all(report.arena(memory, found, told))
        say("")
        say(report.verdict(memory.name, Check(told["passed"], told["assertions"], told["failure"])))
    return HELD if told["passed"] else BROKEN


def _opened(memory: "Dump", found: "Found", end: ExitStack) -> "Kernel":
    """The kernel in a dump, which is let go in the end."""
    from kernmalloc.cli.progress import load_objects
    from kernmalloc.facade.dump import opened
    from kernmalloc.facade.kernel import Kernel

    load_objects(Mode.soft)
    return end.enter_context(Kernel(opened(memory, found, "soft")))
