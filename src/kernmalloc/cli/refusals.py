"""Why there is no kernel on a machine, in one line or as a JSON object."""

import sys
from typing import TYPE_CHECKING

from kernmalloc.cli.output import FAILED, HELD, say, say_json

if TYPE_CHECKING:
    from kernmalloc.cli.kernels import Asked
    from kernmalloc.cli.sources import Found
    from kernmalloc.inputs.errors import InputError


def refused(found: "Found", asked: "Asked | None", error: Exception, json: bool) -> int:
    """Tell why there is no kernel on a machine, and what to do about it; None: it has none yet.  Returns the exit
    status that it asks for."""
    from kernmalloc.facade.errors import TooLarge, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.cards import NoPlaceError
    from kernmalloc.plan.advice import cure
    from kernmalloc.report.boot import verdict
    from kernmalloc.report.outcome import Outcome

    stated = isinstance(error, (TooLarge, TooSmall, NoPlaceError))
    why = reason(error) if isinstance(error, InputError) else str(error)
    if asked and isinstance(error, TooSmall) and (advice := cure(found.machine(), asked.profile)):
        why += f"; {advice}"
    outcome = Outcome(
        file=found.file,
        machine=found.name,
        status="unreadable" if isinstance(error, InputError) and not stated else "refused",
        reason=why,
        seconds=found.seconds,
        kernel=asked.profile.name if asked else "",
        note=asked.note if asked else "",
        strategy=asked.profile.strategy if asked else "",
    )
    if json:
        say_json(outcome)
    else:
        say(verdict(outcome), sys.stdout if stated else sys.stderr)
    return HELD if stated else FAILED


def reason(error: "InputError") -> str:
    """Why, without the name of the file, which stands beside it."""
    place, why = str(error)[len(error.file) :].split(": ", 1)
    return why if not place else f"line {place[1:]}: {why}"
