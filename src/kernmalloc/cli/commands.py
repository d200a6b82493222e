"""The commands put together, and what becomes of an error that none of them expects."""

import os
import sys
import warnings
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from kernmalloc import __version__
from kernmalloc.cli.bench import bench
from kernmalloc.cli.boot import boot
from kernmalloc.cli.check import check
from kernmalloc.cli.compare import compare
from kernmalloc.cli.export import export
from kernmalloc.cli.options import limited
from kernmalloc.cli.output import FAILED, HELD, complain
from kernmalloc.cli.plan import plan
from kernmalloc.cli.replay import replay
from kernmalloc.cli.run import run

app = typer.Typer(
    name="kernmalloc",
    help="The kernel memory manager that EROS v2 and Coyotos described, on the memory map of a real machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (boot, plan, compare, run, replay, bench, check, export):
    app.command()(command if command in (bench, export) else limited(command))


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
    from kernmalloc.inputs.errors import InputError

    warnings.formatwarning = lambda message, *_: f"kernmalloc: {message}\n"
    status: int | None = FAILED
    try:
        status = app(standalone_mode=False, prog_name="kernmalloc")
    except InputError as error:
        complain(str(error))
    except TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        where = context.command_path if context else "kernmalloc"
        complain(f"{where}: {' '.join(error.format_message().split())} ({where} --help)")
    except Exception as error:
        if os.environ.get("KERNMALLOC_TRACEBACK"):
            raise
        said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".strip().split("\n")[-1]
        complain(f"kernmalloc: {said} (KERNMALLOC_TRACEBACK=1 tells where)")
    sys.exit(status or HELD)
