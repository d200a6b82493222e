"""`kernmalloc check`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from kernmalloc.cli.options import Json, made_by
from kernmalloc.cli.output import BROKEN, FAILED, HELD, complain, say, say_all, say_json
from kernmalloc.cli.refusals import reason
from kernmalloc.cli.sources import Found, found_machines

if TYPE_CHECKING:
    from kernmalloc.inputs.errors import InputError


@made_by(machines=found_machines)
def check(machines: Iterator[Found], json: Json = False) -> None:
    """Read each machine without booting it: its ranges, what is wrong with it, and what its file does not tell."""
    from kernmalloc.inputs.errors import InputError

    status = HELD
    for found in machines:
        try:
            status = max(status, _tell(found, json))
        except InputError as error:
            _tell_unreadable(error, json)
            status = FAILED
    raise typer.Exit(status)


def _tell(found: Found, json: bool) -> int:
    """Print what a machine is; the status says whether anything is wrong.  Raises InputError if it cannot be read."""
    from kernmalloc.report import machine as report
    from kernmalloc.report.outcome import Reading

    machine = found.machine()
    if json:
        say_json(Reading.of(machine))
    else:
        say_all(report.opening(machine, found.origin))
        say_all(report.ranges(machine))
        say_all(report.problems(machine))
        say(report.verdict(machine))
    return BROKEN if machine.problems else HELD


def _tell_unreadable(error: "InputError", json: bool) -> None:
    """Print why a machine cannot be read."""
    from kernmalloc.report.outcome import Reading

    if json:
        say_json(Reading(file=error.file, status="unreadable", reason=reason(error)))
    else:
        complain(str(error))
