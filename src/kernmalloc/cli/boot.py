"""`kernmalloc boot`."""

from collections.abc import Iterator
from itertools import count
from typing import Annotated

import typer

from kernmalloc.cli.kernels import Wanted, asked_kernel
from kernmalloc.cli.later import Later, later
from kernmalloc.cli.options import AnyMode, Json, Mode, made_by
from kernmalloc.cli.output import BROKEN, HELD, say, say_all, say_json
from kernmalloc.cli.refusals import refused
from kernmalloc.cli.sources import Found, found_machines


@made_by(machines=found_machines, wanted=asked_kernel, more=later)
def boot(
    machines: Iterator[Found],
    wanted: Wanted,
    more: Later,
    mode: AnyMode = Mode.raw,
    json: Json = False,
    step: Annotated[bool, typer.Option("--step", help="Print the bootstrap one step at a time.")] = False,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Publish the devices in an order shuffled by that.", show_default=False),
    ] = None,
) -> None:
    """Boot a kernel on each machine, publish its devices, use malloc, check every invariant, and tell what happened."""
    from kernmalloc.cli.progress import load_objects

    load_objects(mode)
    raise typer.Exit(max(_boot(found, wanted, more, mode, json, step, shuffle) for found in machines))


def _boot(found: Found, wanted: Wanted, more: Later, mode: Mode, json: bool, step: bool, shuffle: int | None) -> int:
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
    from kernmalloc.plan.plan import plan
    from kernmalloc.report import boot as report
    from kernmalloc.report import machine as machines
    from kernmalloc.report import plan as plans
    from kernmalloc.report.outcome import Outcome
    from kernmalloc.report.tlb_counts import counted

    asked, told = wanted.kernel, not json and (found.alone or step)
    try:
        machine, ram = more.on(found.machine())
        asked = wanted.on(machine, ram)
        profile = asked.profile
        if told:
            say_all(machines.opening(machine, found.origin))
            say_all(report.chosen(asked.note))
        steps = count(1)
        observe = (lambda state: say_all(report.step(state, next(steps)))) if step and not json else None
        with Kernel.boot(machine, profile, mode, observe=observe) as kernel:
            heap = kernel.heap
            done = configure(kernel, shuffle, ram)
            with patience(mode):
                operations = exercise(kernel)
                counts = kernel.tlb_counts()
                checked = kernel.check()
            outcome = Outcome.of(kernel, heap, done, checked, found.seconds, found.file, found.name, asked.note, counts)
            if found.alone and not json:
                say_all(report.whole(kernel, heap, done, operations))
                say_all(counted(counts, "from power-on on"))
                made = plan(machine, profile, ram)
                advice = advise(made)
                line = asked.line([*found.words, *more.words], advice.settings if advice else {})
                say_all(plans.advised(made, advice, line))
                if mode is Mode.raw and room_for(kernel):
                    say_all(report.rate(table_rate(kernel)))
            say_json(outcome) if json else say(report.verdict(outcome))
            return HELD if checked.passed else BROKEN
    except (InputError, TooLarge, TooSmall, LifeError, OSError) as error:
        return refused(found, asked, error, json)
