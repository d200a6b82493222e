"""`kernmalloc exercise`."""

from os.path import isfile
from typing import Annotated

import typer

from kernmalloc.cli.options import Mode
from kernmalloc.cli.output import BROKEN, HELD, say_all, say_json
from kernmalloc.cli.page import Html, can_write, kernel_in, write


def exercise(
    number: Annotated[
        int | None, typer.Argument(metavar="[N]", help="Its number. None: all of them are listed.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=1 << 62, help="Each seed has numbers of its own.")] = 1,
    answer: Annotated[bool, typer.Option("--answer", help="Tell the answers, too.")] = False,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|ANSWERS",
            help="Tell which answers are right: one for each question, apart by blanks or lines, - for none.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")] = False,
    html: Html = "",
) -> None:
    """An exercise of the course (docs/course): a question with numbers, and answers that the kernel gives."""
    from kernmalloc.cli.progress import load_objects
    from kernmalloc.course import EXERCISES, read_answers
    from kernmalloc.course import exercise as made
    from kernmalloc.course.machines import parsed_pair
    from kernmalloc.inputs.errors import InputError
    from kernmalloc.inputs.toml import text_of
    from kernmalloc.report import course as report
    from kernmalloc.web.exercise import exercise_part
    from kernmalloc.web.page import KERNEL

    if number is None:
        if check is not None or answer or html:
            raise InputError("exercise", 0, "none is named", f"a number from 1 to {len(EXERCISES)}")
        if json:
            for at, each in enumerate(EXERCISES, 1):
                say_json({"number": at, "title": each.TITLE})
        else:
            say_all(report.overview())
        return
    load_objects(Mode.soft)
    asked = made(number, seed)
    if html:
        can_write(html)
        held = kernel_in(*parsed_pair(asked.machine, asked.profile))
        title = f"Exercise {asked.number}: {asked.title}"
        write(html, title, [], [exercise_part(asked), *(KERNEL if held else ())], held)
    if check is None:
        say_json(asked.as_json(answer)) if json else say_all(report.whole(asked, answer))
        return
    right = asked.check(read_answers(text_of(check) if isfile(check) else check))
    if json:
        say_json({"number": number, "seed": seed, "right": right})
    else:
        say_all(report.checked(asked, right, answer))
    raise typer.Exit(HELD if all(right) else BROKEN)
