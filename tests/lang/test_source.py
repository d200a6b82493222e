"""A function whose source a program wrote is like any other."""

from __future__ import annotations

from kernmalloc.lang.source import define, tree

SOURCE = """def twice(a: int) -> int:
    # a remark
    return a + STEP * a
"""


def test_a_function_that_is_made_of_source_has_its_source() -> None:
    twice = define("twice", SOURCE, "<made by the test>", {"STEP": 1})
    assert twice(21) == 42 and twice.__code__.co_filename == "<made by the test>"
    assert [statement.lineno for statement in tree(twice).body] == [3]
