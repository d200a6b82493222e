"""Gates on control flow: every variable is set before it is read, and every path returns.

The compiler gives an unset variable the value 0 and a path that falls off the end a result of its own choosing.
"""

from __future__ import annotations

import ast

Names = frozenset[str] | None
"""The variables that are set for certain at a point; None where no path arrives."""


def check_flow(definition: ast.FunctionDef) -> list[tuple[int, str]]:
    """What is wrong in a function: (line, rule) of each."""
    flow = _Flow(definition)
    end = flow.block(definition.body, frozenset(argument.arg for argument in definition.args.args))
    if end is not None:
        flow.found.append(
            (definition.lineno, f"{definition.name} falls off its end on some path: return a status code there")
        )
    return flow.found


class _Flow:
    def __init__(self, definition: ast.FunctionDef) -> None:
        self.found: list[tuple[int, str]] = []
        self.loops: list[list[Names]] = []  # per enclosing loop, what is set at each break
        self.locals = {
            node.id for node in ast.walk(definition) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }

    def block(self, statements: list[ast.stmt], names: Names) -> Names:
        for statement in statements:
            if names is None:
                self.found.append((statement.lineno, "this statement is never reached: remove it"))
                return None
            names = self.statement(statement, names)
        return names

    def statement(self, node: ast.stmt, names: frozenset[str]) -> Names:
        if isinstance(node, ast.If):
            self.read(node.test, names)
            return _join(self.block(node.body, names), self.block(node.orelse, names))
        if isinstance(node, ast.While | ast.For):
            return self.loop(node, names)
        if isinstance(node, ast.Assign | ast.AugAssign):
            self.read(node, names)
            targets = node.targets if isinstance(node, ast.Assign) else []
            return names | {target.id for target in targets if isinstance(target, ast.Name)}
        self.read(node, names)
        if isinstance(node, ast.Break) and self.loops:
            self.loops[-1].append(names)
        return None if isinstance(node, ast.Return | ast.Break | ast.Continue | ast.Raise) else names

    def loop(self, node: ast.While | ast.For, names: frozenset[str]) -> Names:
        forever = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)
        inside = names
        if isinstance(node, ast.For):
            self.read(node.iter, names)
            if isinstance(node.target, ast.Name):
                inside = names | {node.target.id}
        else:
            self.read(node.test, names)
        self.loops.append([])
        self.block(node.body, inside)
        end = None if forever else names
        for at_break in self.loops.pop():
            end = _join(end, at_break)
        return end

    def read(self, node: ast.AST, names: frozenset[str]) -> None:
        targets = {node.target.id} if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) else set()
        for part in ast.walk(node):
            if (
                isinstance(part, ast.Name)
                and (isinstance(part.ctx, ast.Load) or part.id in targets)
                and part.id in self.locals
                and part.id not in names
            ):
                self.found.append(
                    (part.lineno, f"{part.id} is not set on every path to here: set it before the branch or loop")
                )


def _join(one: Names, other: Names) -> Names:
    """What is set where two paths meet."""
    if one is None or other is None:
        return other if one is None else one
    return one & other
