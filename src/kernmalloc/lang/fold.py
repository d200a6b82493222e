"""Folding: a function without what no call can lead to, where a layout answers functions once and for all.

An answered call becomes its answer. What is decided by that goes: comparisons of numbers, branches, loops that never
turn, statements behind a return; then what nobody reads. Values that are dropped were pure: loads, and arithmetic.
"""

from __future__ import annotations

import ast
import builtins
import dis
from types import FunctionType
from typing import TYPE_CHECKING, Any

from kernmalloc.lang import layout
from kernmalloc.lang.atomics import ATOMICS
from kernmalloc.lang.intrinsics import INTRINSICS, failed
from kernmalloc.lang.records import DeclarationError, RecordType, element

if TYPE_CHECKING:
    from collections.abc import Callable

COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: int.__eq__,
    ast.NotEq: int.__ne__,
    ast.Lt: int.__lt__,
    ast.LtE: int.__le__,
    ast.Gt: int.__gt__,
    ast.GtE: int.__ge__,
}
ENDS = ast.Return | ast.Break | ast.Continue


def folded(function: Callable[..., Any], definition: ast.FunctionDef) -> ast.FunctionDef:
    """A function's definition, without what this layout leaves out of it. It is changed in place."""
    if layout.LAYOUT.answers:
        fold = _Fold(function)
        definition.body = fold.block(definition.body)
        while fold.answered and _drops(definition, fold):
            definition.body = fold.block(definition.body)
        ast.fix_missing_locations(definition)
    return definition


def _number(node: ast.expr) -> int | None:
    """The value of a literal; None of anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _number(node.operand)
        return None if value is None else -value
    return int(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, int) else None


def _literal(value: int, at: ast.AST) -> ast.expr:
    made: ast.expr = ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.copy_location(made, at)


def _is_pure(target: Any, callers: tuple[Any, ...] = ()) -> bool:
    """True of what a call calls that only loads and reckons."""
    if isinstance(target, RecordType) or target in (*INTRINSICS, element, min, max, abs, range, *callers):
        return True
    if not isinstance(target, FunctionType) or target in ATOMICS:
        return False
    steps = list(dis.get_instructions(target))
    if any(step.opname == "STORE_ATTR" for step in steps):
        return False
    named = (target.__globals__.get(step.argval) for step in steps if step.opname == "LOAD_GLOBAL")
    return all(_is_pure(value, (*callers, target)) for value in named if callable(value))


class _Fold(ast.NodeTransformer):
    def __init__(self, function: Callable[..., Any]) -> None:
        self.globals = function.__globals__
        self.answered = False

    def target(self, node: ast.Call) -> Any:
        """What a call calls."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        return self.globals.get(name, getattr(builtins, name, None))

    def pure(self, node: ast.AST) -> bool:
        """True of an expression that only loads and reckons."""
        return all(_is_pure(self.target(part)) for part in ast.walk(node) if isinstance(part, ast.Call))

    # expressions

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        target = self.target(node)
        found = layout.answer(target) if isinstance(target, FunctionType) else None
        if found is not None:
            return self.answer(node, target, found)
        value = _number(node.args[0]) if target is failed else None
        return node if value is None else _literal(failed(value), node)

    def answer(self, node: ast.Call, target: FunctionType, found: int | str) -> ast.expr:
        """What an answered call becomes."""
        if not all(map(self.pure, node.args)):
            raise DeclarationError(f"`{ast.unparse(node)}` is answered: assign what it is given to locals before")
        self.answered = True
        if isinstance(found, str):
            return node.args[target.__code__.co_varnames.index(found)]
        return _literal(found, node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        sides = [_number(side) for side in (node.left, *node.comparators)]
        if len(sides) == 2 and sides[0] is not None and sides[1] is not None:
            return _literal(int(COMPARE[type(node.ops[0])](sides[0], sides[1])), node)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        decides = 0 if isinstance(node.op, ast.And) else 1
        left: list[ast.expr] = []
        for value in node.values:
            number = _number(value)
            if number is None:
                left.append(value)
            elif bool(number) == bool(decides):
                left.append(_literal(decides, value))
                break
        if not left:
            return _literal(1 - decides, node)
        if _number(left[-1]) is not None and all(map(self.pure, left)):
            return left[-1]
        node.values = left
        return left[0] if len(left) == 1 else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        number = _number(node.test)
        return node if number is None else node.body if number else node.orelse

    # statements

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        left: list[ast.stmt] = []
        for statement in statements:
            for part in self.statement(statement):
                left.append(part)
                if isinstance(part, ENDS):
                    return left
        return left

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.If):
            return self.branch(node)
        if isinstance(node, ast.While | ast.For):
            return self.loop(node)
        self.generic_visit(node)
        if isinstance(node, ast.Expr) and _number(node.value) is not None:
            return []
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == ast.unparse(node.value):
            return []
        return [node]

    def branch(self, node: ast.If) -> list[ast.stmt]:
        node.test = self.visit(node.test)
        number = _number(node.test)
        if number is not None:
            return self.block(node.body if number else node.orelse)
        node.body, node.orelse = self.block(node.body), self.block(node.orelse)
        if not node.body and not node.orelse and self.pure(node.test):
            return []
        node.body = node.body or [ast.copy_location(ast.Pass(), node)]
        return [node]

    def loop(self, node: ast.While | ast.For) -> list[ast.stmt]:
        decides = node.iter if isinstance(node, ast.For) else node.test
        decides = self.visit(decides)
        if isinstance(node, ast.For):
            node.iter = decides
            assert isinstance(decides, ast.Call)
            never = len(decides.args) == 1 and _number(decides.args[0]) == 0
        else:
            node.test = decides
            never = _number(decides) == 0
        node.body = [] if never else self.block(node.body)
        if not node.body and (isinstance(node, ast.For) or never) and self.pure(decides):
            return []
        node.body = node.body or [ast.copy_location(ast.Pass(), node)]
        return [node]


def _drops(definition: ast.FunctionDef, fold: _Fold) -> bool:
    """Drop what is assigned to locals that nobody reads: True if there was anything."""
    names = [part for part in ast.walk(definition) if isinstance(part, ast.Name)]
    drop = _Drop({name.id for name in names if isinstance(name.ctx, ast.Load)}, fold)
    drop.visit(definition)
    return drop.dropped


class _Drop(ast.NodeTransformer):
    def __init__(self, read: set[str], fold: _Fold) -> None:
        self.read, self.fold, self.dropped = read, fold, False

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return self.kept(node, node.targets[0])

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | None:
        return self.kept(node, node.target)

    def kept(self, node: ast.Assign | ast.AugAssign, target: ast.expr) -> ast.AST | None:
        if not isinstance(target, ast.Name) or target.id in self.read or not self.fold.pure(node.value):
            return node
        self.dropped = True
        return None
