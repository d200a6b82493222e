"""`kernmalloc boot`."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kernmalloc.cli.kernels import Wanted, asked_kernel
from kernmalloc.cli.later import Later, later
from kernmalloc.cli.options import AnyMode, Json, Mode, made_by
from kernmalloc.cli.output import BROKEN, HELD, say, say_all, say_json
from kernmalloc.cli.page import Html, can_write, write_machine
from kernmalloc.cli.refusals import refused
from kernmalloc.cli.sources import Found, found_machines

if TYPE_CHECKING:
    from kernmalloc.machine.memory_map import Machine
    from kernmalloc.plan.advice import Became


@made_by(machines=found_machines, wanted=asked_kernel, more=later)
def boot(
    machines: Iterator[Found],
    wanted: Wanted,
    more: Later,
    mode: AnyMode = Mode.raw,
    json: Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell all of one machine, in tables: regions, heap, devices.")
    ] = False,
    step: Annotated[bool, typer.Option("--step", help="Print the bootstrap one step at a time.")] = False,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Publish the devices in an order shuffled by that.", show_default=False),
    ] = None,
    html: Html = "",
) -> None:
    """Boot a kernel on each machine, publish its devices, use malloc, check every invariant, and tell what happened."""
    from kernmalloc.cli.progress import load_objects

    load_objects(mode)
    told = Told(json, verbose, step, html)
    raise typer.Exit(max(_boot(found, wanted, more, mode, told, shuffle) for found in machines))


class Told(NamedTuple):
    """How a boot is told: as JSON, in tables, step by step; else one machine by a first screen, of several a line."""

    json: bool
    verbose: bool
    step: bool
    html: str  # the page to write, too


def _boot(found: Found, wanted: Wanted, more: Later, mode: Mode, told: Told, shuffle: int | None) -> int:
    """One machine: boot, use, check, tell.  Returns the exit status that it asks for."""
    from kernmalloc.cli.progress import patience
    from kernmalloc.facade.configure import configure
    from kernmalloc.facade.errors import TooLarge, TooSmall
    from kernmalloc.facade.exercise import exercise
    from kernmalloc.facade.kernel import Kernel
    from kernmalloc.facade.measure import room_for, table_rate
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.machine.lives import LifeError
    from kernmalloc.plan.advice import advise
    from kernmalloc.plan.advised import advised, refusals
    from kernmalloc.plan.plan import plan
    from kernmalloc.report import boot as report
    from kernmalloc.report import first
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as plans
    from kernmalloc.report.outcome import Outcome
    from kernmalloc.report.tlb_counts import counted

    asked, tables = wanted.kernel, told.verbose or told.step
    try:
        machine, ram = more.on(found.machine())
        asked = wanted.on(machine, ram)
        profile = asked.profile
        if told.html:
            can_write(told.html, found.alone)
        if not told.json and (found.alone or told.step):
            say_all((machines.opening if tables else machines.found)(machine, found.origin))
            say_all(report.chosen(asked.note))
        steps = count(1)
        observe = (lambda state: say_all(report.step(state, next(steps)))) if told.step and not told.json else None
        with Kernel.boot(machine, profile, mode, observe=observe) as kernel:
            heap = kernel.heap
            done = configure(kernel, shuffle, ram)
            with patience(mode):
                operations = exercise(kernel)
                counts = kernel.tlb_counts()
                checked = kernel.check()
            words = [*found.words, *more.words]
            became: list[Became] = [*done.devices, *done.added]
            made = plan(machine, profile, ram) if refusals(became) else None
            advice = advise(made) if made else None
            line = asked.line(words, advice.settings if advice else {})
            data = advised(made, advice, line, became) if made else None
            outcome = Outcome.of(
                kernel, heap, done, checked, found.seconds, found.file, found.name, asked.note, counts, advice, data
            )
            if told.json:
                say_json(outcome)
            elif found.alone:
                what_to_set = list(plans.advised(made, advice, line)) if made else []
                if tables:
                    say_all(report.whole(kernel, heap, done, operations))
                    say_all(counted(counts, "from power-on on"))
                    say_all(what_to_set)
                    if mode is Mode.raw and room_for(kernel):
                        say_all(report.rate(table_rate(kernel)))
                    say(report.verdict(outcome))
                else:
                    say_all(first.whole(kernel, heap, done, operations, checked, found.seconds))
                    say_all(what_to_set)
                    say_all(first.next_steps(words, wanted.typed, _card(machine)))
            else:
                say(report.verdict(outcome))
                if data and data.line:
                    say(f"  {data.line}")
        if told.html:
            write_machine(told.html, machine, profile, ram, asked.line([*found.words, *more.words], {}))
        return HELD if checked.passed else BROKEN
    except (InputError, TooLarge, TooSmall, LifeError, OSError) as error:
        return refused(found, asked, error, told.json, more)


def _card(machine: "Machine") -> str:
    """A card that a machine has a place for, as large as may be; "" for none."""
    from kernmalloc.machine.cards import NoPlaceError, with_card

    for card in ("24GiB", "4GiB", "256MiB"):
        with suppress(NoPlaceError):
            with_card(machine, card)
            return card
    return ""
