"""`kernmalloc plan`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.kernels import Asked, asked_kernel
from kernmalloc.cli.later import Later, later
from kernmalloc.cli.options import Json, made_by
from kernmalloc.cli.output import HELD, say_all, say_json
from kernmalloc.cli.refusals import refused
from kernmalloc.cli.sources import Found, found_machines

if TYPE_CHECKING:
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.plan import Plan


@made_by(machines=found_machines, asked=asked_kernel, more=later)
def plan(
    context: typer.Context,
    machines: Iterator[Found],
    asked: Asked,
    more: Later,
    json: Json = False,
    capacity: Annotated[
        bool,
        typer.Option(
            "--capacity", help="Of no machine: how much RAM each shipped kernel, or that of --kernel, carries."
        ),
    ] = False,
) -> None:
    """Tell each machine's heap to the byte before anything boots, which devices will fit, and what to tune if not."""
    from kernmalloc.report import plan as report

    if capacity:
        _tell_capacities(context, asked.profile)
        raise typer.Exit(HELD)
    status, plans = HELD, []
    for found in machines:
        made = _plan(found, asked, more, json)
        if isinstance(made, int):
            status = max(status, made)
        elif not json and not found.alone:
            plans.append(made)
    if plans:
        say_all(report.several_machines(asked.profile, plans))
    raise typer.Exit(status)


def _plan(found: Found, asked: Asked, more: Later, json: bool) -> "Plan | int":
    """Plan one machine, with what comes later, and tell it unless it is one of many.  Returns the plan, or an exit
    status if there is none."""
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.advice import advise
    from kernmalloc.plan.plan import plan
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as report
    from kernmalloc.report.outcome import Outcome

    try:
        machine, ram = more.on(found.machine())
        made = plan(machine, asked.profile, ram)
        advice = advise(made) if json or found.alone else None
    except (InputError, TooSmall) as error:
        return refused(found, asked, error, json)
    if json:
        say_json(Outcome.planned(made, advice, found.seconds, found.file, found.name))
    elif found.alone:
        say_all(machines.opening(machine, found.origin))
        say_all(report.whole(made, advice, asked.line([*found.words, *more.words], advice.settings if advice else {})))
    return made


OF_MACHINES = {
    "files": "FILE",
    "ram": "--ram",
    "devices": "--devices",
    "cards": "--with",
    "add_ram": "--add-ram",
    "json": "--json",
}
"""What `--capacity` has no use for: parameters, and what they are called on a command line."""


def _tell_capacities(context: typer.Context, own: "Profile") -> None:
    """Print how much RAM the kernel that was asked for carries, or each shipped one.  Raises InputError where a machine
    was named, too."""
    from kernmalloc.facade.profile import Profile
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.capacity import capacity
    from kernmalloc.report.capacity import table

    given = [name for name in context.params if "COMMANDLINE" in str(context.get_parameter_source(name))]
    if useless := [name for name in OF_MACHINES if name in given]:
        raise InputError(
            "--capacity", 0, f"is of no machine, and has no use for {OF_MACHINES[useless[0]]}", "leave it out"
        )
    profiles = [own] if given != ["capacity"] else [Profile.load(name) for name in Profile.shipped()]
    say_all(table((profile, capacity(profile)) for profile in profiles))
