"""The twin: kernel Python executed by CPython, on any memory, with checks.

A kernel module is executable as it is, once `use` has named a memory. `compile` gives the checked twin: the same
source, in which every `+ - * <<`, unary `-`, `abs` and `element` that leaves int64, every shift by other than 0..63 and
every division by zero raises a TwinError that names function, line and operands. Compiled code does all of these
silently.
"""

from __future__ import annotations

import ast
import builtins
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from kernmalloc.lang.functions import REGISTRY, Function, callees, over_numbers
from kernmalloc.lang.memory import Memory, use
from kernmalloc.lang.records import R, element
from kernmalloc.lang.source import code, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Memory", "TwinDivision", "TwinError", "TwinFault", "TwinOverflow", "TwinShift", "compile", "use"]

MIN, MAX = -(1 << 63), (1 << 63) - 1


class TwinError(Exception):
    """Kernel code did what compiled code would do silently."""


class TwinOverflow(TwinError):
    """A result outside int64."""


class TwinShift(TwinError):
    """A shift by other than 0..63."""


class TwinDivision(TwinError):
    """Division by zero."""


class TwinFault(TwinError):
    """An access outside any mapped range: for memories to raise."""


def compile(functions: Iterable[Function]) -> dict[str, Callable[..., int]]:
    """The checked twins of functions, by name, over numbers. Whatever they call is checked too.

    ValueError if two share a name.
    """
    wanted = list(functions)
    checked: dict[Function, Function] = {}
    todo = list(wanted)
    while todo:
        function = todo.pop()
        if function in checked:
            continue
        checked[function] = _checked(function)
        todo += callees(function)
    for twin in checked.values():
        space = twin.__globals__
        space.update({name: checked[value] for name, value in space.items() if _is_kernel(value)})
    by_name = {function.__name__: over_numbers(function, checked[function]) for function in wanted}
    if len(by_name) != len(set(wanted)):
        names = [function.__name__ for function in set(wanted)]
        raise ValueError(f"two functions are called {max(names, key=names.count)}: compile them apart")
    return by_name


def _is_kernel(value: Any) -> bool:
    return isinstance(value, FunctionType) and value in REGISTRY


def _checked(function: Function) -> Function:
    """The function with checked operators, in a namespace of its own holding only the globals that it reads."""
    definition = _Checks(function.__name__).visit(tree(function))
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    checked = builtins.compile(
        ast.fix_missing_locations(ast.Module([definition], [])), function.__code__.co_filename, "exec"
    )
    outer = function.__globals__
    space = {name: outer[name] for name in code(function).co_names if name in outer}
    space.update(_CHECKS, __name__=function.__module__)
    own = space.get(function.__name__)
    exec(checked, space)
    twin: Function = space.pop(function.__name__)
    if own is not None:
        space[function.__name__] = own  # recursion goes to the checked version, like every other call
    return twin


class _Checks(ast.NodeTransformer):
    """Replaces operators by calls of the functions in _CHECKS, with the site as their last argument."""

    operators: ClassVar = {
        ast.Add: "_add",
        ast.Sub: "_sub",
        ast.Mult: "_mul",
        ast.LShift: "_shl",
        ast.RShift: "_shr",
        ast.FloorDiv: "_div",
        ast.Mod: "_mod",
    }

    functions: ClassVar = {"abs": "_abs", "element": "_element"}

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, check: str, node: ast.expr, *operands: ast.expr) -> ast.Call:
        site = ast.Constant(f"{self.name}:{node.lineno}")
        return ast.copy_location(ast.Call(ast.Name(check, ast.Load()), [*operands, site], []), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        check = self.operators.get(type(node.op))
        return self.call(check, node, node.left, node.right) if check else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        negates = isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant)
        return self.call("_neg", node, node.operand) if negates else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        check = self.functions.get(node.func.id) if isinstance(node.func, ast.Name) else None
        return self.call(check, node, *node.args) if check else node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        """`target op= value` becomes `target = target op value`, with the target's record evaluated once."""
        first = []
        if isinstance(node.target, ast.Attribute):
            first = [ast.Assign([ast.Name("_record", ast.Store())], node.target.value)]
            node.target = ast.Attribute(ast.Name("_record", ast.Load()), node.target.attr, ast.Store())
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        value = ast.copy_location(ast.BinOp(read, node.op, node.value), node)
        assign = ast.copy_location(ast.Assign([node.target], value), node)
        return [ast.copy_location(self.visit(statement), node) for statement in [*first, assign]]


def _add(a: int, b: int, site: str) -> int:
    value = a + b
    if MIN <= value <= MAX:
        return value
    raise TwinOverflow(f"{site}: {a} + {b} is outside int64")


def _sub(a: int, b: int, site: str) -> int:
    value = a - b
    if MIN <= value <= MAX:
        return value
    raise TwinOverflow(f"{site}: {a} - {b} is outside int64")


def _mul(a: int, b: int, site: str) -> int:
    value = a * b
    if MIN <= value <= MAX:
        return value
    raise TwinOverflow(f"{site}: {a} * {b} is outside int64")


def _shl(a: int, n: int, site: str) -> int:
    if not 0 <= n <= 63:
        raise TwinShift(f"{site}: {a} << {n}")
    value = a << n
    if MIN <= value <= MAX:
        return value
    raise TwinOverflow(f"{site}: {a} << {n} is outside int64")


def _shr(a: int, n: int, site: str) -> int:
    if 0 <= n <= 63:
        return a >> n
    raise TwinShift(f"{site}: {a} >> {n}")


def _div(a: int, b: int, site: str) -> int:
    if b:
        return a // b
    raise TwinDivision(f"{site}: {a} // 0")


def _mod(a: int, b: int, site: str) -> int:
    if b:
        return a % b
    raise TwinDivision(f"{site}: {a} % 0")


def _neg(a: int, site: str) -> int:
    if a != MIN:
        return -a
    raise TwinOverflow(f"{site}: -({a}) is outside int64")


def _abs(a: int, site: str) -> int:
    if a != MIN:
        return abs(a)
    raise TwinOverflow(f"{site}: abs({a}) is outside int64")


def _element(first: R, index: int, site: str) -> R:
    found = element(first, index)
    if MIN <= found.addr <= MAX:
        return found
    raise TwinOverflow(f"{site}: element({first!r}, {index}) is outside int64")


_CHECKS = {check.__name__: check for check in (_add, _sub, _mul, _shl, _shr, _div, _mod, _neg, _abs, _element)}
