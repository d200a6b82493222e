"""The notebooks in docs/ are valid, run as they are, twice, and show what is kept in them."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
RUN = Path(__file__).with_name("notebook_run.py")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_shows_what_is_kept_in_it(notebook, tmp_path):
    """`python tests/notebook_run.py FILE` puts in what it shows now. Its cells are run twice: none fails then."""
    kept = nbformat.read(notebook, as_version=4)
    nbformat.validate(kept)
    copy = shutil.copy(notebook, tmp_path / notebook.name)
    done = subprocess.run([sys.executable, RUN, copy], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    now = nbformat.read(copy, as_version=4)
    shown = [[output.get("data") or output for output in cell.get("outputs", [])] for cell in now.cells]
    assert shown == [[output.get("data") or output for output in cell.get("outputs", [])] for cell in kept.cells]
    assert sum(map(len, shown)) > 5


def test_no_notebook_tells_where_it_was_run():
    assert NOTEBOOKS and not [path.name for path in NOTEBOOKS if str(ROOT) in path.read_text()]
