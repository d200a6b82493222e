"""Why there is no kernel on a machine, in one line or as a JSON object."""

import sys
from typing import TYPE_CHECKING

from kernmalloc.cli.output import FAILED, HELD, say, say_json

if TYPE_CHECKING:
    from kernmalloc.cli.kernels import Asked
    from kernmalloc.cli.later import Later
    from kernmalloc.cli.sources import Found
    from kernmalloc.inputs.errors import InputError


def refused(found: "Found", asked: "Asked | None", error: Exception, json: bool, more: "Later | None" = None) -> int:
    """Tell why there is no kernel on a machine, which gets `more` later, and what to do about it; `asked` None: it has
    none yet.  Returns the exit status that it asks for."""
    from kernmalloc.facade.errors import TooLarge, TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.cards import NoPlaceError
    from kernmalloc.plan.advice import cure
    from kernmalloc.plan.advised import Advised, proved
    from kernmalloc.report.boot import verdict
    from kernmalloc.report.outcome import Outcome
    from kernmalloc.report.plan import way_out

    stated = isinstance(error, (TooLarge, TooSmall, NoPlaceError))
    why = reason(error) if isinstance(error, InputError) else str(error)
    told = None
    if asked and isinstance(error, TooSmall):
        machine, ram = more.on(found.machine()) if more else (found.machine(), ())
        advice = cure(machine, asked.profile, ram)
        why = "; ".join(filter(None, (why, way_out(advice))))
        if advice.proof:
            words = [*found.words, *(more.words if more else ())]
            told = Advised(advice.settings, proved(None, advice.proof), asked.line(words, advice.settings))
    read = stated or not isinstance(error, InputError)
    if read and not told:
        told = Advised({}, reason=why)
    outcome = Outcome(
        file=found.file,
        machine=found.name,
        status="refused" if read else "unreadable",
        reason=why,
        seconds=found.seconds,
        kernel=asked.profile.name if asked else "",
        note=asked.note if asked else "",
        strategy=asked.profile.strategy if asked else "",
        advice=told,
    )
    if json:
        say_json(outcome)
    else:
        say(verdict(outcome), sys.stdout if stated else sys.stderr)
        if told and told.line:
            say(f"  {told.line}")
    return HELD if stated else FAILED


def reason(error: "InputError") -> str:
    """Why, without the name of the file, which stands beside it."""
    place, why = str(error)[len(error.file) :].split(": ", 1)
    return why if not place else f"line {place[1:]}: {why}"
