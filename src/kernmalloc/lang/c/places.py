"""Where a local is declared in C: as late and as deep inside as its uses allow.

Python's locals live as long as the function. In C a local is declared where it is first assigned, if it is so whenever
it is used, else before the first statement that names it. The flow gate vouches for this: what a block uses and nobody
outside of it names is assigned in it before.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernmalloc.lang.typed import Typed


@dataclass
class Places:
    """Statements that declare locals: by assigning them, in the head of a loop, or `before` them without a value."""

    assigned: set[ast.stmt] = field(default_factory=set)
    heads: set[ast.stmt] = field(default_factory=set)
    before: dict[ast.stmt, list[str]] = field(default_factory=dict)

    def declares(self, statement: ast.stmt) -> bool:
        """True of a statement that cannot do without braces around it."""
        return statement in self.assigned or statement in self.before


def places(function: Typed, unread: set[str]) -> Places:
    """Where the locals of a function are declared, but for arguments and for what nobody reads."""
    found = Places()
    for name in function.locals:
        if name in function.arguments:
            continue
        points = _Search(name).block(function.definition.body, sole=True) or []
        for way, statement in points:
            if way == "head":
                found.heads.add(statement)
            elif name not in unread and way == "assigned":
                found.assigned.add(statement)
            elif name not in unread:
                found.before.setdefault(statement, []).append(name)
    return found


def names(node: ast.AST) -> set[str]:
    """Every name in a part of a tree."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def stored(statements: list[ast.stmt]) -> set[str]:
    """What statements assign."""
    return {
        part.id
        for statement in statements
        for part in ast.walk(statement)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


Points = list[tuple[str, ast.stmt]]


class _Search:
    def __init__(self, name: str) -> None:
        self.name = name
        self.known: dict[ast.AST, bool] = {}

    def named(self, node: ast.AST) -> bool:
        if node not in self.known:
            self.known[node] = any(isinstance(part, ast.Name) and part.id == self.name for part in ast.walk(node))
        return self.known[node]

    def block(self, statements: list[ast.stmt], sole: bool) -> Points | None:
        """Where a block declares the name. `sole`: nobody outside of it names it. None: it must be declared outside."""
        here = [statement for statement in statements if self.named(statement)]
        if not here:
            return []
        first = here[0]
        if isinstance(first, ast.Assign) and not self.named(first.value) and isinstance(first.targets[0], ast.Name):
            return [("assigned", first)]
        blocks = [self.inside(statement) for statement in here]
        if all(block is not None for block in blocks):
            inner = [block for found in blocks if found is not None for block in found if any(map(self.named, block))]
            points = [self.block(block, sole and len(here) == len(inner) == 1) for block in inner]
            if all(point is not None for point in points):
                heads: Points = [
                    ("head", statement)
                    for statement in here
                    if isinstance(statement, ast.For) and self.named(statement.target)
                ]
                return heads + [point for found in points if found is not None for point in found]
        return [("before", first)] if sole else None

    def inside(self, statement: ast.stmt) -> list[list[ast.stmt]] | None:
        """The blocks of a statement that may each declare the name for itself; None if it is named outside of them."""
        if isinstance(statement, ast.If | ast.While):
            return None if self.named(statement.test) else [statement.body, statement.orelse]
        if isinstance(statement, ast.For) and not self.named(statement.iter):
            if not self.named(statement.target):
                return [statement.body]
            return None if self.name in stored(statement.body) else []
        return None
