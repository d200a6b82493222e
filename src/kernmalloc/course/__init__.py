"""The course: eight exercises for those who teach or learn how a kernel manages memory.

    >>> from kernmalloc.course import exercise
    >>> boots = exercise(1, seed=7)
    >>> boots.check(["-"] * len(boots.questions))
    [False, False, False, False, False, False, False, False]

An exercise is made of its number and a seed, alike on every computer. Its numbers are drawn from the seed; its answers
are what the kernel, the plan or the TLBs of mode soft do with them. There is a module for each; `shape` says what they
make, and `machines` on what they run.
"""

from random import Random

from kernmalloc.course import ageing, chicken, donation, moving, promise, reach, resolutions, writer
from kernmalloc.course.shape import Exercise, Maker, Question, read_answers, unfolded
from kernmalloc.inputs.errors import InputError

__all__ = ["EXERCISES", "Exercise", "Question", "exercise", "read_answers"]

EXERCISES: tuple[Maker, ...] = (chicken, donation, moving, reach, ageing, writer, promise, resolutions)
"""The modules of the exercises, in the order of the course; each has a `TITLE`."""


def exercise(number: int, seed: int = 1) -> Exercise:
    """The exercise of that number, from 1 on, with the numbers of that seed. Raises InputError: there is no such
    exercise or seed."""
    if not 1 <= number <= len(EXERCISES):
        raise InputError(f"exercise {number}", 0, "no such exercise", f"1 to {len(EXERCISES)}")
    if seed < 0:
        raise InputError(f"seed {seed}", 0, "a seed is no negative number", "0 or more")
    maker = EXERCISES[number - 1]
    task = maker.task(Random(f"{number}/{seed}"))
    return Exercise(
        number=number,
        title=maker.TITLE,
        seed=seed,
        text=unfolded(task.text),
        questions=task.questions,
        machine=task.machine,
        profile=task.profile,
    )
