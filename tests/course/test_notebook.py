"""The notebook of the course: valid, and what it shows is what its cells show when they are run now."""

import nbformat
import pytest
from course_notebook import FILE, made

from kernmalloc.course import EXERCISES


@pytest.mark.nightly
def test_the_notebook_is_run_and_shows_what_is_so():
    kept = nbformat.read(FILE, as_version=4)
    nbformat.validate(kept)
    now = nbformat.from_dict(made())
    assert [cell.source for cell in kept.cells] == [cell.source for cell in now.cells]
    for cell, again in zip(kept.cells, now.cells, strict=True):
        assert cell.get("outputs") == again.get("outputs"), f"{cell.id}: python tests/course_notebook.py writes it anew"
    shown = [output.data for cell in kept.cells for output in cell.get("outputs", [])]
    assert sum("text/html" in data for data in shown) == len(EXERCISES)
    assert str(FILE.parent.parent) not in FILE.read_text()
