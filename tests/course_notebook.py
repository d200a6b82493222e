"""The course as a notebook, with what its cells show. `python tests/course_notebook.py` writes it anew.

Cells are run one after the other in one namespace, as a notebook does; the value of the last expression is shown.
"""

import ast
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from kernmalloc.course import EXERCISES, exercise

FILE = Path(__file__).parent.parent / "docs/course/course.ipynb"
INTRODUCTION = """\
# The course

Eight exercises about how a kernel manages memory. [README.md](README.md) says what they are for, and each has a page
with its theory. Change the seed for numbers of your own; a click on *Answer* opens an answer.
"""
BOOT = """\
from kernmalloc import Kernel, Machine, Profile

asked = exercise(1)
with Kernel.boot(Machine.from_toml(asked.machine), Profile.parse(asked.profile), "soft") as kernel:
    steps = [(step.name, step.text) for step in kernel.steps]
    donated, sound = kernel.donation.frames, kernel.check().passed
steps, donated, sound"""
CLASS = """\
[[question.answer for question in exercise(8, seed).questions] for seed in (1001, 1002, 1003)]"""


def cells() -> list[Any]:
    """All cells, not run yet."""
    made = [new_markdown_cell(INTRODUCTION, id="introduction")]
    made.append(new_code_cell("from kernmalloc.course import exercise", id="import"))
    for number, each in enumerate(EXERCISES, 1):
        page = next(FILE.parent.glob(f"{number}-*.md")).name
        made.append(
            new_markdown_cell(f"## {number}. {each.TITLE}\n\nThe theory: [{page}]({page})", id=f"title-{number}")
        )
        made.append(new_code_cell(f"exercise({number}, seed=1)", id=f"exercise-{number}"))
        none = ", ".join('"-"' for _ in exercise(number).questions)
        check = f"exercise({number}, seed=1).check([{none}])  # your answers, - for none"
        made.append(new_code_cell(check, id=f"check-{number}"))
    made.append(new_markdown_cell("## The kernel of exercise 1, booted", id="title-boot"))
    made.append(new_code_cell(BOOT, id="boot"))
    made.append(new_markdown_cell("## For teachers: the answers of a class", id="title-class"))
    made.append(new_code_cell(CLASS, id="class"))
    return made


def run(cells: list[Any]) -> None:
    """Run the code among the cells, and put in what it shows."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        body = ast.parse(cell.source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"<cell {number}>", "exec"), space)
        cell.execution_count = number
        if last:
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), space)
            data = {"text/plain": repr(value)}
            if hasattr(value, "_repr_html_"):
                data["text/html"] = value._repr_html_()
            cell.outputs = [new_output("execute_result", data, execution_count=number)]


def made() -> Any:
    """The notebook, run."""
    notebook = new_notebook(cells=cells())
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    run(notebook.cells)
    return notebook


if __name__ == "__main__":
    nbformat.write(made(), FILE)
