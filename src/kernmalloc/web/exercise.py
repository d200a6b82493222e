"""The part of a page that asks an exercise of the course, and tells which answers are right. The kernel that the
exercise is about runs in the page, to find them out."""

from kernmalloc.course.shape import Exercise
from kernmalloc.web.page import Part

VIEW = "exercise"


def exercise_part(asked: Exercise) -> Part:
    """The exercise, with its answers."""
    data = {**asked.as_json(answers=True), "paragraphs": asked.paragraphs}
    return Part(VIEW, f"Exercise {asked.number}: {asked.title} (seed {asked.seed})", data)
