"""The mutation tool: each change that it can draw is one change of code that can be read."""

import ast

import pytest
from mutants import ROOMS, ROOT, changes_of, drawn, files_of


@pytest.mark.parametrize("room", ROOMS)
def test_a_change_changes_one_function(room: str) -> None:
    """Every change leaves Python, and every function but one as it was."""
    for file in files_of(room):
        source = (ROOT / file).read_text()
        before = ast.parse(source).body
        for change in list(changes_of(file, source))[::7]:
            after = ast.parse(change.applied(source)).body
            assert sum(ast.dump(a) != ast.dump(b) for a, b in zip(before, after, strict=True)) == 1, change


def test_a_seed_draws_the_same_changes() -> None:
    assert list(drawn("frames", 3, 1)) == list(drawn("frames", 3, 1)) != list(drawn("frames", 3, 2))
