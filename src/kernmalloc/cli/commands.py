"""The commands put together, and what becomes of an error that none of them expects."""

import os
import sys
import warnings
from signal import SIG_IGN, SIGINT, signal
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from kernmalloc import __version__
from kernmalloc.cli.arch import arch
from kernmalloc.cli.bench import bench
from kernmalloc.cli.boot import boot
from kernmalloc.cli.cards import cards
from kernmalloc.cli.check import check
from kernmalloc.cli.compare import compare
from kernmalloc.cli.emulate import emulate
from kernmalloc.cli.exercise import exercise
from kernmalloc.cli.export import export
from kernmalloc.cli.fleet import fleet
from kernmalloc.cli.inspect import inspect
from kernmalloc.cli.options import limited
from kernmalloc.cli.output import FAILED, HELD, INTERRUPTED, UNREAD, close_streams, complain, open_streams
from kernmalloc.cli.plan import plan
from kernmalloc.cli.replay import replay
from kernmalloc.cli.run import run
from kernmalloc.cli.show import show
from kernmalloc.cli.tlb import tlb
from kernmalloc.cli.top import top

app = typer.Typer(
    name="kernmalloc",
    help="The kernel memory manager that EROS v2 and Coyotos described, on the memory map of a real machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (boot, show, plan, compare, fleet, tlb, run, replay, top, check, inspect):
    app.command()(limited(command))
for command in (bench, arch, cards, export, emulate, exercise):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kernmalloc {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(FAILED)


def main() -> NoReturn:
    """The console script."""
    open_streams()
    warnings.showwarning = lambda message, *_: complain(f"kernmalloc: {message}")
    try:
        status = _ended()
        if status == INTERRUPTED:
            complain("kernmalloc: interrupted")
    except (typer.Exit, KeyboardInterrupt):  # while it told what was wrong
        status = UNREAD
    signal(SIGINT, SIG_IGN)  # all is done and said
    written = close_streams()
    sys.exit(status if written or status else UNREAD)


def _ended() -> int:
    """Run the command that the command line names, and say what is wrong, if anything is: the exit status."""
    from kernmalloc.inputs.errors import InputError

    try:
        return app(standalone_mode=False, prog_name="kernmalloc") or HELD
    except InputError as error:
        complain(str(error))
    except TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        where = context.command_path if context else "kernmalloc"
        complain(f"{where}: {' '.join(error.format_message().split())} ({where} --help)")
    except (BrokenPipeError, SystemExit):  # the latter is how rich ends when nobody reads
        return UNREAD
    except Exception as error:
        if os.environ.get("KERNMALLOC_TRACEBACK"):
            raise
        complain(f"kernmalloc: {_unexpected(error)} (KERNMALLOC_TRACEBACK=1 tells where)")
    return FAILED


def _unexpected(error: Exception) -> str:
    """What an error says that no command expects."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}".strip().split("\n")[-1]
