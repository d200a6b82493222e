"""An exercise of the course in text: the question, its answers, and which of a student's answers are right."""

from collections.abc import Iterator, Sequence

from kernmalloc.course import EXERCISES
from kernmalloc.course.shape import Exercise, Question, asked_in, written
from kernmalloc.report.text import columns, paragraph

MARGIN = 4
USES = (
    ("kernmalloc exercise N", "the questions of exercise N, with numbers of seed 1"),
    ("kernmalloc exercise N --seed S", "with numbers of another seed"),
    ("kernmalloc exercise N --answer", "its answers, too, and why they are so"),
    ("kernmalloc exercise N --check FILE", "which of a student's answers are right"),
)


def overview() -> Iterator[str]:
    """The exercises that there are."""
    yield from columns([(str(number), each.TITLE) for number, each in enumerate(EXERCISES, 1)], notes=True)
    yield ""
    yield from columns(USES, notes=True)


def whole(exercise: Exercise, answers: bool) -> Iterator[str]:
    """The exercise, with its answers if they are wanted."""
    yield f"Exercise {exercise.number}: {exercise.title}, seed {exercise.seed}"
    for part in exercise.paragraphs:
        yield ""
        yield from part.split("\n") if part.startswith("  ") else paragraph(part)
    for number, question in enumerate(exercise.questions, 1):
        yield ""
        yield from paragraph(f"{number}. {question.prompt} ({asked_in(question)})", MARGIN)
        if answers:
            yield from _answer(question)


def checked(exercise: Exercise, right: Sequence[bool], answers: bool) -> Iterator[str]:
    """Which answers are right, and the right ones if they are wanted."""
    for number, (question, held) in enumerate(zip(exercise.questions, right, strict=True), 1):
        yield f"{number}. {'right' if held else 'wrong'}"
        if answers:
            yield from _answer(question)
    yield f"Exercise {exercise.number}, seed {exercise.seed}: {sum(right)} of {len(right)} right"


def _answer(question: Question) -> Iterator[str]:
    indent = " " * MARGIN
    yield from paragraph(f"{indent}{written(question.answer)}: {question.why}", MARGIN)
