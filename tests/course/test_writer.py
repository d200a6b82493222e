"""Exercise 6, solved with the lines of its text alone, by counting frames."""

import re

from exercises import found, lines, solved_as

from kernmalloc.course import Exercise, exercise
from kernmalloc.course.writer import DRIVER, Event, Story, World
from kernmalloc.lang.status import DEADLOCK, OK, WOULD_BLOCK


def events(asked: Exercise) -> list[tuple[str, int]]:
    """(who, frames asked for, below 0: given back)."""
    told = []
    for line in lines(asked):
        match = re.fullmatch(r"\d+  (\w+) (asks for|gives back) (\d+) frames?", line)
        assert match, line
        told.append((match[1], int(match[3]) * (1 if match[2] == "asks for" else -1)))
    return told


def played(told: list[tuple[str, int]], free: int, reserve: int) -> tuple[int, int]:
    """The line to which DEADLOCK is said, 0 for none; and the frames that the driver has."""
    free += reserve
    held, waits = 0, set[str]()
    for number, (who, frames) in enumerate(told, 1):
        if who in waits:
            continue
        most = min(free, reserve) if waits else free
        if who == DRIVER and frames <= most:
            held, free = held + frames, free - frames
        elif len(waits) == 2:
            return number, held
        else:
            waits.add(who)
    return 0, held


def solve(asked: Exercise) -> list[int | str]:
    (free,) = found("kernel has # free frames", asked.text)
    told = events(asked)
    first, second = (frames for who, frames in told if who != DRIVER)
    reserve = next(n for n in range(100) if not played(told, free, n)[0])
    held = played(told, free, reserve)[1]
    return [played(told, free, 0)[0], reserve, first - free + held, second, max(first - free, 0)]


test_E26_the_writer_by_hand = solved_as(6, solve, examples=6)


def test_E26_a_driver_that_waits_is_not_woken_by_what_it_alone_can_do():
    """What the kernel says to each: the driver waits although frames are free, and the last one is told."""
    story = Story(3, 20, [Event("A", 9), Event(DRIVER, 2), Event("B", 1)])
    with World(story, 0) as world:
        assert list(map(world.happens, story.events)) == [WOULD_BLOCK, WOULD_BLOCK, DEADLOCK]
    with World(story, 2) as world:
        assert list(map(world.happens, story.events)) == [WOULD_BLOCK, OK, WOULD_BLOCK]
        assert world.written_until(story.events[0]) == 9 - 3 + 2
        assert world.written_until(story.events[2]) == 1


def test_the_profile_does_not_tell_the_reserve():
    """It is handed out with the questions."""
    asked = exercise(6, 5)
    assert asked.questions[1].answer != 0 and "cleaners = 0" in asked.profile
