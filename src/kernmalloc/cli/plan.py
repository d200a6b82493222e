"""`kernmalloc plan`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.kernels import Asked, asked_kernel
from kernmalloc.cli.later import Later, later
from kernmalloc.cli.options import Json, made_by, parsed
from kernmalloc.cli.output import BROKEN, FAILED, HELD, complain, say_all, say_json
from kernmalloc.cli.refusals import refused
from kernmalloc.cli.sources import Found, found_machines

if TYPE_CHECKING:
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.conditions import Condition
    from kernmalloc.plan.plan import Plan


@made_by(machines=found_machines, asked=asked_kernel, more=later)
def plan(
    context: typer.Context,
    machines: Iterator[Found],
    asked: Asked,
    more: Later,
    json: Json = False,
    header: Annotated[
        str,
        typer.Option(metavar="FILE.h", help="Write the sizes as C constants, of the worst machine, with assertions."),
    ] = "",
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME<VALUE", help="End with 1 if that holds of a machine: 'available<1000'.", show_default=False
        ),
    ] = None,
    capacity: Annotated[
        bool,
        typer.Option(
            "--capacity", help="Of no machine: how much RAM each shipped kernel, or that of --kernel, carries."
        ),
    ] = False,
) -> None:
    """Tell each machine's heap to the byte before anything boots, which devices will fit, and what to tune if not."""
    from kernmalloc.plan.conditions import Condition
    from kernmalloc.plan.plan import Plan
    from kernmalloc.report import plan as report

    if capacity:
        _tell_capacities(context, asked.profile)
        raise typer.Exit(HELD)
    conditions = [parsed("fail-if", text, Condition.parse) for text in fail_if or []]
    status, alone, plans, refusals = HELD, False, list[Plan](), list[tuple[str, str]]()
    for found in machines:
        made = _plan(found, asked, more, json)
        alone = found.alone
        if isinstance(made, Plan):
            plans.append(made)
            status = max(status, _judged(made, found, conditions))
        else:
            status = max(status, made[0])
            refusals.append((found.name or found.file, made[1]))
    if plans and not json and not alone:
        say_all(report.several_machines(asked.profile, plans))
    if refusals and (header or conditions):
        status = max(status, BROKEN)
    if header and status != FAILED:
        _write(header, asked.profile, plans, refusals, conditions)
    raise typer.Exit(status)


def _judged(made: "Plan", found: Found, conditions: "list[Condition]") -> int:
    """Say which conditions hold of a plan that must not.  Returns the exit status."""
    from kernmalloc.plan.conditions import MEASURES, shown

    status = HELD
    for condition in conditions:
        if condition.holds(made):
            status = BROKEN
            value = shown(condition.name, MEASURES[condition.name].of(made))
            complain(f"{found.name or found.file}: {condition}: {value}, {MEASURES[condition.name].meaning}")
    return status


def _write(
    name: str,
    profile: "Profile",
    plans: "list[Plan]",
    refusals: "list[tuple[str, str]]",
    conditions: "list[Condition]",
) -> None:
    """Write the header, whole or not at all.  Raises InputError."""
    import os
    import shlex
    import sys
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from kernmalloc.inputs.errors import InputError
    from kernmalloc.report.header import header

    path = Path(name)
    text = header(profile, plans, refusals, conditions, shlex.join(["kernmalloc", *sys.argv[1:]]))
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".plan.") as work:
            made = Path(work, "made")
            made.write_text(text)
            os.replace(made, path)
    except OSError as error:
        raise InputError(name, 0, error.strerror or str(error), "name a file to write") from None


def _plan(found: Found, asked: Asked, more: Later, json: bool) -> "Plan | tuple[int, str]":
    """Plan one machine, with what comes later, and tell it unless it is one of many.  Returns the plan; or, if there is
    none, an exit status and why."""
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
        return refused(found, asked, error, json), str(error)
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
    "header": "--header",
    "fail_if": "--fail-if",
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
