"""`kernmalloc plan`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kernmalloc.cli.kernels import Asked, Wanted, asked_kernel
from kernmalloc.cli.later import Later, later
from kernmalloc.cli.options import Json, made_by, parsed
from kernmalloc.cli.output import BROKEN, FAILED, HELD, complain, say_all, say_json, write_whole
from kernmalloc.cli.page import Html, can_write, write_machine
from kernmalloc.cli.refusals import refused
from kernmalloc.cli.sources import Found, found_machines

if TYPE_CHECKING:
    from kernmalloc.facade.profile import Profile
    from kernmalloc.plan.conditions import Condition
    from kernmalloc.plan.plan import Plan


@made_by(machines=found_machines, wanted=asked_kernel, more=later)
def plan(
    context: typer.Context,
    machines: Iterator[Found],
    wanted: Wanted,
    more: Later,
    json: Json = False,
    html: Html = "",
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
        _tell_capacities(context, wanted)
        raise typer.Exit(HELD)
    conditions = [parsed("fail-if", text, Condition.parse) for text in fail_if or []]
    status, alone, plans, refusals = HELD, False, list[Plan](), list[tuple[str, str]]()
    kernels: dict[str, Profile] = {}
    for found in machines:
        if html:
            can_write(html, found.alone)
        asked, made = _plan(found, wanted, more, json)
        if html and asked and (isinstance(made, Plan) or made[0] != FAILED):
            machine, ram = more.on(found.machine())
            write_machine(html, machine, asked.profile, ram, asked.line([*found.words, *more.words], {}))
        alone = found.alone
        kernels |= {asked.profile.name: asked.profile} if asked else {}
        if isinstance(made, Plan):
            plans.append(made)
            status = max(status, _judged(made, found, conditions))
        else:
            status = max(status, made[0])
            refusals.append((found.name or found.file, made[1]))
    if plans and not json and not alone:
        say_all(report.several_machines(plans))
    if refusals and (header or conditions):
        status = max(status, BROKEN)
    if header and status != FAILED:
        _write(header, kernels, plans, refusals, conditions)
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
    kernels: "dict[str, Profile]",
    plans: "list[Plan]",
    refusals: "list[tuple[str, str]]",
    conditions: "list[Condition]",
) -> None:
    """Write the header, whole or not at all.  Raises InputError."""
    import shlex
    import sys

    from kernmalloc.inputs.errors import InputError
    from kernmalloc.report.header import header

    if len(kernels) != 1:
        said = f"of one kernel, the machines take {', '.join(kernels) or 'none'}"
        raise InputError(f"--header {name}", 0, said, "--kernel names one for all")
    (profile,) = kernels.values()
    command = shlex.join(["kernmalloc", *sys.argv[1:]])
    write_whole(name, "header", header(profile, plans, refusals, conditions, command))


def _plan(found: Found, wanted: Wanted, more: Later, json: bool) -> "tuple[Asked | None, Plan | tuple[int, str]]":
    """Plan one machine, with what comes later, and tell it unless it is one of many.  Returns its kernel, if it can be
    read, and the plan; or, if there is none, an exit status and why."""
    from kernmalloc.facade.errors import TooSmall
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.plan.advice import advise
    from kernmalloc.plan.plan import plan
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as report
    from kernmalloc.report.boot import chosen
    from kernmalloc.report.outcome import Outcome

    asked = wanted.kernel
    try:
        machine, ram = more.on(found.machine())
        asked = wanted.on(machine, ram)
        made = plan(machine, asked.profile, ram)
        advice = advise(made) if json or found.alone else None
    except (InputError, TooSmall) as error:
        return asked, (refused(found, asked, error, json, more), str(error))
    line = asked.line([*found.words, *more.words], advice.settings if advice else {})
    if json:
        say_json(Outcome.planned(made, advice, line, found.seconds, found.file, found.name, asked.note))
    elif found.alone:
        say_all(machines.opening(machine, found.origin))
        say_all(chosen(asked.note))
        say_all(report.whole(made, advice, line))
    return asked, made


OF_MACHINES = {
    "files": "FILE",
    "ram": "--ram",
    "devices": "--devices",
    "cards": "--with",
    "add_ram": "--add-ram",
    "self_hosted": "--self-hosted",
    "json": "--json",
    "html": "--html",
    "header": "--header",
    "fail_if": "--fail-if",
}
"""What `--capacity` has no use for: parameters, and what they are called on a command line."""


def _tell_capacities(context: typer.Context, wanted: Wanted) -> None:
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
    own = wanted.kernel
    if own is None and given != ["capacity"]:
        said = ", ".join(f"--{name.replace('_', '-')}" for name in given if name != "capacity")
        raise InputError("--capacity", 0, f"is of every shipped kernel, and {said} is of one", "--kernel names it")
    profiles = [own.profile] if own else [Profile.load(name) for name in Profile.shipped()]
    say_all(table((profile, capacity(profile)) for profile in profiles))
