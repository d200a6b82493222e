"""What tests of the course share: exercises of many seeds, and numbers out of their texts.

A solver gets an exercise, reads its text and prompts as a student does, and knows nothing else.
"""

import re
from collections.abc import Callable

from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.course import Exercise, exercise

Solver = Callable[[Exercise], list[int | str]]


def solved_as(number: int, solver: Solver, examples: int = 12) -> Callable[[], None]:
    """A test: for many seeds the solver comes to the exercise's answers."""

    @settings(max_examples=examples * EFFORT)
    @given(st.integers(0, 1 << 62))
    def test(seed: int) -> None:
        asked = exercise(number, seed)
        assert solver(asked) == [question.answer for question in asked.questions], asked.text

    return test


def numbers(text: str) -> list[int]:
    """All numbers of a text, in order."""
    return [int(word.replace(",", ""), 0) for word in re.findall(r"\b0x[0-9a-f]+\b|\b\d[\d,]*\d\b|\b\d\b", text)]


def found(pattern: str, text: str) -> list[int]:
    """The numbers that the groups of a pattern find, which must be there."""
    match = re.search(pattern.replace("#", r"([\d,]+)"), text)
    assert match, (pattern, text)
    return [int(group.replace(",", ""), 0) for group in match.groups()]


def lines(exercise: Exercise) -> list[str]:
    """The lines of the text that are shown as they stand."""
    return [line.strip() for line in exercise.text.split("\n") if line.startswith("  ")]
