"""The layout of a build: for what a kernel is made, chosen before any of its modules is imported.

Concepts
  1. A kernel of which only a part is wanted, on a machine with little memory, is made of the sources of every other.
     What differs is a layout: numbers that stand for `parameter`s, the width of references, functions that are
     answered once and for all, and the fields that records have then.
  2. A call of a function that is answered is its answer, a number or one of its arguments. What only the other answers
     would lead to is no part of the function any more (`fold`), and so no part of the build.
  3. A record of which a layout names the fields has no others, and none of the invariants and constants that need one
     (`records`). `shake` finds the fields that functions name.
  4. An interpreter has one layout, which the environment gives as JSON. Objects of different layouts are kept apart:
     the layout is a part of their digest (`cache`).
"""

from __future__ import annotations

import ast
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

VARIABLE = "KERNMALLOC_LAYOUT"


class Layout(NamedTuple):
    """What a build differs in from the usual one."""

    reference: int = 8
    """Bytes of a reference in a record: 8, or 4."""
    parameters: Mapping[str, int] = {}
    """Number of each parameter that is not the usual one, by name."""
    answers: Mapping[str, int | str] = {}
    """Of each function that is answered, by module and name, the number or the name of the argument."""
    entries: tuple[str, ...] = ()
    """The entries, by module and name; none: those that are declared."""
    fields: Mapping[str, tuple[str, ...]] = {}
    """The fields of a record, by its name; of one that is not named here, all that are declared."""

    @property
    def number(self) -> str:
        """What tells it from others, in the name of a file."""
        return f"{crc32(self.text().encode()):08x}"

    def text(self) -> str:
        """As the environment gives it."""
        return json.dumps(self._asdict(), sort_keys=True)


def read(text: str) -> Layout:
    """The layout that a text gives; the usual one if it is empty."""
    found: dict[str, Any] = json.loads(text) if text else {}
    found["entries"] = tuple(found.get("entries", ()))
    found["fields"] = {name: tuple(fields) for name, fields in found.get("fields", {}).items()}
    return Layout(**found)


LAYOUT = read(os.environ.get(VARIABLE, ""))
"""That of this interpreter."""


def parameter(name: str, usual: int) -> int:
    """A constant that a layout may choose: its number in this one."""
    return LAYOUT.parameters.get(name, usual)


def answer(function: Any) -> int | str | None:
    """What a function is answered by in this layout; None: it is called."""
    return LAYOUT.answers.get(f"{function.__module__}.{function.__name__}")


def left(equations: Iterable[str], gone: Set[str]) -> tuple[str, ...]:
    """Those equations of a record that need no field that this layout leaves out. Of its own, `gone` are these."""
    return tuple(equation for equation in equations if _stays(equation, gone))


def left_of_sums(sums: Iterable[str], gone: Set[str]) -> tuple[str, ...]:
    """Sums of fields without those terms that this layout leaves out."""
    found = (" + ".join(left(each.split(" + "), gone)) for each in sums)
    return tuple(filter(None, found))


def _stays(text: str, gone: Set[str]) -> bool:
    for part in ast.walk(ast.parse(text)):
        if isinstance(part, ast.Name) and part.id in gone:
            return False
        if isinstance(part, ast.Attribute) and part.attr not in _fields_of(part.value, part.attr):
            return False
    return True


def _fields_of(record: ast.expr, usual: str) -> tuple[str, ...]:
    """The fields of the record that `tally`, `kern` or a field of its name leads to."""
    return LAYOUT.fields.get(record.id.capitalize() if isinstance(record, ast.Name) else "", (usual,))
