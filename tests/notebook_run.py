"""Runs a notebook as a person does: its cells one after the other in IPython, which keeps what they show.

`python tests/notebook_run.py docs/notebooks/first.ipynb` puts what came of its cells into the file.
"""

import sys
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_output
from traitlets import Type
from traitlets.config import Config


class Hook(DisplayHook):
    """Keeps what a cell shows, in each form."""

    shown: list[Any]

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        Shell.instance().shown.append(format_dict)

    def finish_displayhook(self):
        pass


class Shell(InteractiveShell):
    displayhook_class = Type(Hook)

    def __init__(self, **more: Any) -> None:
        self.shown: list[Any] = []
        super().__init__(**more)


def shell() -> Shell:
    """A shell without a history on disk."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    return Shell.instance(config=config)


def run(cells: list[Any], shell: Shell) -> None:
    """Run the cells, and put what comes of each into it. What one of them raises ends it."""
    for cell in cells:
        if cell.cell_type != "code":
            continue
        shell.shown.clear()
        with redirect_stdout(StringIO()) as printed:
            done = shell.run_cell(cell.source, store_history=True)
        done.raise_error()
        cell.execution_count = done.execution_count
        cell.outputs = [new_output("stream", name="stdout", text=printed.getvalue())] if printed.getvalue() else []
        for data in shell.shown:
            kept = {"text/html": data["text/html"]} if "text/html" in data else data
            cell.outputs.append(new_output("execute_result", kept, execution_count=done.execution_count))


def main(path: Path) -> None:
    """Run all cells, keep what they show, and run them all again, as somebody does who has changed none."""
    notebook, ipython = nbformat.read(path, as_version=4), shell()
    run(notebook.cells, ipython)
    run(deepcopy(notebook.cells), ipython)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
