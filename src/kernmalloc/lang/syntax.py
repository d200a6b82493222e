"""Gates on syntax: the statements, expressions and names that kernel Python has.

The compiler accepts far more than a kernel may use, some of it silently wrong: a constant outside int64 that becomes
unsigned, a division that calls a helper which a freestanding object does not have.
"""

from __future__ import annotations

import ast
import builtins
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from kernmalloc.lang import atomics, intrinsics
from kernmalloc.lang.functions import REGISTRY, Primitive
from kernmalloc.lang.records import RecordType, element
from kernmalloc.lang.typed import constant, is_truth, owner

if TYPE_CHECKING:
    from kernmalloc.lang.functions import Function

MIN, MAX = -(1 << 63), (1 << 63) - 1

_STATEMENTS = (
    ast.FunctionDef,
    ast.arguments,
    ast.arg,
    ast.Return,
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.If,
    ast.While,
    ast.For,
    ast.Break,
    ast.Continue,
    ast.Pass,
    ast.Expr,
)
_EXPRESSIONS = (
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.IfExp,
    ast.Compare,
    ast.Call,
    ast.Constant,
    ast.Attribute,
    ast.Name,
    ast.expr_context,
    ast.boolop,
    ast.unaryop,
)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)

_INSTEAD = {
    ast.Raise: "no exceptions: return a status code",
    ast.Assert: "no assert: state an invariant on the record, or return a status code",
    ast.Try: "no exceptions: test the status code that the call returned",
    ast.With: "no with: pair the calls by hand",
    ast.Lambda: "no lambda: write a kernel function",
    ast.AsyncFunctionDef: "no nested functions: write a kernel function",
    ast.ClassDef: "no classes: declare a record beside the function",
    ast.Global: "no global: state lives in records",
    ast.Nonlocal: "no nonlocal: state lives in records",
    ast.Import: "no import: import at the head of the module",
    ast.ImportFrom: "no import: import at the head of the module",
    ast.Delete: "no del: names end with the function",
    ast.Match: "no match: use if and elif",
    ast.Tuple: "no tuples: return one value, or store several through a record",
    ast.List: "no containers: use records",
    ast.Dict: "no containers: use records",
    ast.Set: "no containers: use records",
    ast.Subscript: "no subscripts: compute the address and make a reference",
    ast.JoinedStr: "no strings: return a status code",
    ast.NamedExpr: "no walrus: assign first",
    ast.Starred: "no starred arguments: pass each one",
    ast.Div: "no /: use // by a power of two, or a shift",
    ast.Pow: "no **: use shl or a constant",
    ast.MatMult: "no @: int64 only",
    ast.Is: "no is: use ==",
    ast.IsNot: "no is not: use !=",
    ast.In: "no in: compare with each",
    ast.NotIn: "no not in: compare with each",
}
_COMPREHENSION = "no comprehensions: write a loop"


def check_syntax(function: Function, definition: ast.FunctionDef) -> list[tuple[int, str]]:
    """What is wrong in a function's statements and expressions: (line, rule) of each."""
    return _Syntax(function).run(definition)


class _Syntax(ast.NodeVisitor):
    def __init__(self, function: Function) -> None:
        self.function, self.globals = function, function.__globals__
        self.locals = set(function.__code__.co_varnames)
        self.folded = function.__code__.co_consts  # CPython evaluates expressions of constants
        self.line = function.__code__.co_firstlineno
        self.found: list[tuple[int, str]] = []

    def run(self, definition: ast.FunctionDef) -> list[tuple[int, str]]:
        self.signature(definition)
        for statement in definition.body[_is_docstring(definition.body[0]) :]:
            self.visit(statement)
        for value in self.folded:
            if isinstance(value, int) and not MIN <= value <= MAX and not self.found:
                self.refuse(definition, f"a constant expression has the value {value}, outside int64: write it signed")
        return self.found

    def refuse(self, node: ast.AST, rule: str) -> None:
        self.found.append((getattr(node, "lineno", self.line), rule))

    def signature(self, definition: ast.FunctionDef) -> None:
        a = definition.args
        if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs or a.defaults:
            self.refuse(definition, "every argument is one positional value: no defaults, keywords or *args")

    def visit(self, node: ast.AST) -> None:
        if type(node) in _INSTEAD:
            self.refuse(node, _INSTEAD[type(node)])
        elif isinstance(node, ast.FunctionDef):
            self.refuse(node, "no nested functions: write a kernel function")
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            self.refuse(node, _COMPREHENSION)
        elif isinstance(node, _STATEMENTS + _EXPRESSIONS):
            super().visit(node)
        else:
            self.refuse(
                node, f"{type(node).__name__} is not kernel Python: use assignments, if, while, for over range, return"
            )

    def visit_BinOp(self, node: ast.BinOp) -> None:
        operator = type(node.op)
        if operator in _INSTEAD:
            self.refuse(node, _INSTEAD[operator])
        elif operator in (ast.FloorDiv, ast.Mod) and not self.is_power_of_two(node.right):
            sign = "//" if operator is ast.FloorDiv else "%"
            self.refuse(
                node, f"{sign} by other than a power of two: choose one, or loop (32-bit targets would call a helper)"
            )
        elif operator in (ast.LShift, ast.RShift) and self.constant(node.right) not in (None, *range(64)):
            self.refuse(node, "a shift by a constant outside 0..63: the count is taken modulo 64")
        self.visit(node.left)
        self.visit(node.right)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.assigned(node.target)
        self.visit_BinOp(ast.copy_location(ast.BinOp(node.target, node.op, node.value), node))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.refuse(node, "no annotations here: a variable is what it is first assigned")

    def visit_Assign(self, node: ast.Assign) -> None:
        if len(node.targets) > 1:
            self.refuse(node, "one assignment at a time: write one statement for each")
        for target in node.targets:
            self.assigned(target)
        self.generic_visit(node)

    def assigned(self, target: ast.expr) -> None:
        if isinstance(target, ast.Attribute) and target.attr == "addr":
            self.refuse(target, "addr cannot be assigned: make a new reference")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Call):
            self.refuse(node, "an expression without effect: assign or return it")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        call = node.iter
        if (
            not isinstance(node.target, ast.Name)
            or not isinstance(call, ast.Call)
            or self.constant(call.func) is not builtins.range
        ):
            self.refuse(node, "for loops over range only: use `for i in range(n)` or while")
            return
        step = self.constant(call.args[2]) if len(call.args) == 3 else 1
        if not isinstance(step, int) or step == 0 or abs(step) & (abs(step) - 1):
            self.refuse(node, "the step of a range is a power of two or its negative, a constant: use while")
        self.no_else(node)
        for part in [*call.args, *node.body]:
            self.visit(part)

    def no_else(self, node: ast.For | ast.While) -> None:
        if node.orelse:
            self.refuse(node.orelse[0], "no else on a loop: return inside the loop, or test afterwards why it ended")

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self.refuse(node, "return without a value: return a status code")
        else:
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator in node.ops:
            if not isinstance(operator, _COMPARISONS):
                self.refuse(node, _INSTEAD[type(operator)])
        for part in node.comparators[:-1]:
            if not isinstance(part, ast.Name) and self.constant(part) is None:
                self.refuse(node, "the middle of a chained comparison is a name or a constant: assign it first")
        for part in [node.left, *node.comparators]:
            self.visit(part)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        if not is_truth(node):
            self.refuse(
                node, "`and` and `or` of numbers give one of them: compare each with 0, or use `1 if ... else 0`"
            )
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self.condition(node.test)
        for part in [*node.body, *node.orelse]:
            self.visit(part)

    def visit_While(self, node: ast.While) -> None:
        self.no_else(node)
        self.condition(node.test)
        for part in node.body:
            self.visit(part)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.condition(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def condition(self, node: ast.expr) -> None:
        """What decides: `and` and `or` of any numbers are good here."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.condition(value)
        else:
            self.visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.UAdd):
            self.refuse(node, "no unary +: leave it out")
        if (
            isinstance(node.op, ast.Not)
            and isinstance(node.operand, ast.UnaryOp)
            and isinstance(node.operand.op, ast.Not)
        ):
            self.refuse(node, "no double not: write != 0 (from Python 3.13 on, the compiler would drop both)")
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            self.integer(node, node.operand.value, negative=True)
        elif isinstance(node.op, ast.Not):
            self.condition(node.operand)
        else:
            self.visit(node.operand)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.integer(node, node.value)

    def integer(self, node: ast.AST, value: object, negative: bool = False) -> None:
        if not isinstance(value, int):
            self.refuse(node, f"{value!r} is not an integer: kernel Python has no other values")
        elif not MIN <= (-value if negative else value) <= MAX:
            self.refuse(node, f"{value} is outside int64: write it as a signed number")

    def visit_Call(self, node: ast.Call) -> None:
        if node.keywords:
            self.refuse(node, "no keyword arguments: pass every argument by position")
        if not isinstance(node.func, ast.Name):
            self.refuse(node, "call functions by their bare name: import it from its module")
            return
        name = node.func.id
        target = self.constant(node.func)
        arity = _arity(target)
        if target is None:
            self.refuse(node, f"{name} is not a function of this module: import it")
        elif target is builtins.range:
            self.refuse(node, "range is for for loops only")
        elif arity is None:
            self.refuse(node, f"{name} cannot be called from kernel Python: declare it with @kernel or primitive()")
        elif arity != len(node.args) and not node.keywords:
            hint = ": nest the calls" if name in ("min", "max") else ""
            self.refuse(node, f"{name} takes {arity} arguments, not {len(node.args)}{hint}")
        for argument in node.args:
            self.visit(argument)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and node.value.id not in self.locals:
            if owner(self.function, node) is None:
                record = isinstance(self.globals.get(node.value.id), RecordType)
                hint = "give it a name in the module" if record else "import the name itself"
                self.refuse(node, f"{node.value.id}.{node.attr} is not a field of a reference: {hint}")
        elif not isinstance(node.value, ast.Name | ast.Call | ast.Attribute):
            self.refuse(node, "fields belong to references: make one, as in Record(addr).field")
        else:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.locals:
            return
        value = self.constant(node)
        if not isinstance(value, int):
            self.refuse(node, f"global {node.id} is not an integer constant: state lives in records")
        elif not MIN <= value <= MAX:
            self.refuse(node, f"constant {node.id} is outside int64: write it as a signed number")

    def constant(self, node: ast.expr) -> object:
        """What a global name stands for, or the value of a constant expression; None of anything else."""
        if isinstance(node, ast.Name) and node.id not in self.locals:
            return self.globals.get(node.id, getattr(builtins, node.id, None))
        return constant(self.function, node)

    def is_power_of_two(self, node: ast.expr) -> bool:
        value = self.constant(node)
        return isinstance(value, int) and value > 0 and value & (value - 1) == 0


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


_BUILT_IN: dict[Any, int] = {builtins.min: 2, builtins.max: 2, builtins.abs: 1}


def _arity(target: object) -> int | None:
    """How many arguments a callable takes; None if kernel Python may not call it."""
    if isinstance(target, RecordType):
        return 1
    if isinstance(target, Primitive):
        return target.arity
    if isinstance(target, BuiltinFunctionType):
        return _BUILT_IN.get(target)
    known = (element, *intrinsics.INTRINSICS, *atomics.ATOMICS)
    if isinstance(target, FunctionType) and (target in REGISTRY or target in known):
        return target.__code__.co_argcount
    return None
