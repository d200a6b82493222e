"""Every row of the requirements that is built has a test that carries its id in its name or docstring."""

import ast
import re

from collection import ROOT

ROWS = {  # of the EROS note and of the Coyotos mail, as they are numbered: there is no E8, E23, E24, and no C9
    *(f"E{n}" for n in (*range(1, 8), *range(9, 23), *range(25, 41))),
    *(f"C{n}" for n in (*range(1, 9), *range(10, 24))),
}


def shown() -> dict[str, list[str]]:
    """Test functions by the ids in their names and docstrings."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = f"{node.name.replace('_', ' ')} {ast.get_docstring(node) or ''}"
                for id in set(re.findall(r"\b[CE]\d{1,2}\b", text)):
                    found.setdefault(id, []).append(f"{path.name}: {node.name}")
    return found


def test_every_row_has_a_test_that_carries_its_id():
    """And no test speaks of a row that there is not."""
    found = shown()
    assert not ROWS - found.keys()
    assert not found.keys() - ROWS
