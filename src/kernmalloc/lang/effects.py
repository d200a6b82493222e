"""The order of evaluation: Python's is left to right, C's is none. No kernel function may depend on it.

An expression is PURE if it touches no memory, READS if it only loads, CHANGES if it may store or call a machine. Where
one operand of an operator, a call or an assignment changes memory, the others are pure: whatever order the compiler
takes, the values are the same. `and`, `or` and conditional expressions go from left to right in C, too.
"""

from __future__ import annotations

import ast
from functools import cache
from types import FunctionType

from kernmalloc.lang.atomics import ATOMICS
from kernmalloc.lang.functions import REGISTRY, Function, Primitive, callees
from kernmalloc.lang.typed import Typed, typed

PURE, READS, CHANGES = 0, 1, 2

RULE = "an operand changes memory and another one touches it: assign the first to a local before"


def check_order(function: Function) -> list[tuple[int, str]]:
    """Where a function depends on the order of evaluation: (line, rule) of each."""
    own = typed(function)
    found = []
    for node in ast.walk(own.definition):
        levels = [expression_level(own, operand) for operand in _operands(node)]
        if CHANGES in levels and len(levels) - levels.count(PURE) > 1:
            assert isinstance(node, ast.expr | ast.stmt)
            found.append((node.lineno, RULE))
    return found


def expression_level(function: Typed, node: ast.expr) -> int:
    """What the evaluation of an expression may do."""
    most = PURE
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            item = function.field(part)
            most = max(most, PURE if item is None or item.inline else READS)
        elif isinstance(part, ast.Call):
            target = function.target(part)
            if isinstance(target, Primitive) or target in ATOMICS:
                return CHANGES
            if isinstance(target, FunctionType) and target in REGISTRY:
                most = max(most, level(target))
    return most


@cache
def level(function: Function) -> int:
    """What a call of a kernel function may do: the most that it or any function does that the call can lead to."""
    reached, todo = {function}, [function]
    while todo:
        new = set(callees(todo.pop())) - reached
        reached |= new
        todo += new
    return max(_own_level(one) for one in reached)


@cache
def _own_level(function: Function) -> int:
    """What a kernel function does itself, without the kernel functions that it calls."""
    own = typed(function)
    most = PURE
    for node in ast.walk(own.definition):
        if isinstance(node, ast.Attribute):
            stores = isinstance(node.ctx, ast.Store)
            item = own.field(node)
            most = max(most, CHANGES if stores else PURE if item is None or item.inline else READS)
        elif isinstance(node, ast.Call):
            target = own.target(node)
            most = CHANGES if isinstance(target, Primitive) or target in ATOMICS else most
    return most


def _operands(node: ast.AST) -> list[ast.expr]:
    """The expressions that C evaluates in any order before it does what the node says."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call):
        return node.args
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        return [node.value, node.targets[0].value]
    if isinstance(node, ast.AugAssign):
        return [node.value, node.target]
    return []
