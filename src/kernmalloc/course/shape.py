"""What an exercise is: a text with all its numbers, questions, and answers that models of this project gave.

Concepts
  1. A *task* is what one module of the course makes of random numbers: the text, the questions, and the machine and the
     kernel that they are about. An *exercise* is a task with its number, title and seed.
  2. A *question* has one answer: a whole number, or one of its `choices`. What a student writes is compared with it by
     `Question.holds`; what is neither is refused, not counted as wrong.
  3. The text is paragraphs with an empty line between; each is one line. Lines that begin with two blanks are shown as
     they stand: maps, tables.
"""

import re
from collections.abc import Sequence
from html import escape
from random import Random
from typing import Any, NamedTuple, Protocol

import msgspec

from kernmalloc.inputs.errors import InputError

NONE = "-"  # what a student writes who leaves a question out
NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d{1,3}(?:,\d{3})+|\d+)", re.IGNORECASE | re.ASCII)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question. `unit`: of what the answer is a number, or "choice". `why`: how one comes to the answer."""

    prompt: str
    unit: str
    answer: int | str
    why: str
    choices: tuple[str, ...] = ()

    def holds(self, given: int | str) -> bool:
        """Whether an answer is right. Numbers may be written as 1234, 1,234 or 0x4d2; "-" is no answer, and not right.
        Raises ValueError for what is no answer to this question at all."""
        text = str(given).strip()
        if text == NONE:
            return False
        if self.choices:
            if text.lower() not in map(str.lower, self.choices):
                raise ValueError(f"{text!r} is none of {', '.join(self.choices)}")
            return text.lower() == str(self.answer).lower()
        if not NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is no whole number")
        return int(text.replace(",", ""), 0 if "x" in text.lower() else 10) == self.answer


class Task(NamedTuple):
    """What a module of the course makes. `machine`: TOML, or the name of a shipped machine; `profile` likewise."""

    text: str
    questions: tuple[Question, ...]
    machine: str
    profile: str


class Maker(Protocol):
    """A module of the course."""

    TITLE: str

    def task(self, numbers: Random) -> Task:
        """The task that these numbers choose."""


class Exercise(msgspec.Struct, frozen=True, kw_only=True):
    """An exercise for one seed, with its answers. `machine` and `profile` are what its kernel is booted on and from:
    TOML, or the name of a shipped one."""

    number: int
    title: str
    seed: int
    text: str
    questions: tuple[Question, ...]
    machine: str
    profile: str

    @property
    def paragraphs(self) -> list[str]:
        """The parts of the text. One that begins with two blanks is shown as it stands."""
        return self.text.split("\n\n")

    def check(self, answers: Sequence[int | str]) -> list[bool]:
        """Which answers are right. Raises InputError where there are more or fewer than questions, or one is no answer
        to its question."""
        if len(answers) != len(self.questions):
            raise InputError(
                f"exercise {self.number}",
                0,
                f"{len(self.questions)} questions, {len(answers)} answers",
                f"one for each question, {NONE} for none",
            )
        right = []
        for number, (question, given) in enumerate(zip(self.questions, answers, strict=True), 1):
            try:
                right.append(question.holds(given))
            except ValueError as error:
                raise InputError(f"exercise {self.number}", 0, f"answer {number}: {error}", question.prompt) from None
        return right

    def as_json(self, answers: bool) -> dict[str, Any]:
        """The exercise in plain values. Without `answers` a question has neither its answer nor its reason."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        for question in plain["questions"] if not answers else ():
            del question["answer"], question["why"]
        return plain

    def _repr_html_(self) -> str:
        parts = [f"<h3>Exercise {self.number}: {escape(self.title)} (seed {self.seed})</h3>"]
        for part in self.paragraphs:
            tag = "pre" if part.startswith("  ") else "p"
            parts.append(f"<{tag}>{escape(part)}</{tag}>")
        parts.append("<ol>")
        parts += map(_item, self.questions)
        return "\n".join([*parts, "</ol>"])


def _item(question: Question) -> str:
    """A question as an item of a list; its answer is shown when it is opened."""
    return (
        f"<li>{escape(question.prompt)} <em>({escape(asked_in(question))})</em>"
        f"<details><summary>Answer</summary><strong>{escape(written(question.answer))}</strong>. "
        f"{escape(question.why)}</details></li>"
    )


def unfolded(text: str) -> str:
    """A text whose paragraphs are one line each, but for those that are shown as they stand."""
    parts = text.strip("\n").split("\n\n")
    return "\n\n".join(part if part.startswith("  ") else " ".join(part.split()) for part in parts)


def asked_in(question: Question) -> str:
    """In what a question is to be answered: its unit, or its choices."""
    return f"one of {', '.join(question.choices)}" if question.choices else question.unit


def written(answer: int | str) -> str:
    """An answer as it is printed."""
    return f"{answer:,}" if isinstance(answer, int) else answer


def read_answers(text: str) -> list[str]:
    """The answers in a text: words apart by blanks or lines. What follows # in a line is a comment."""
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]
