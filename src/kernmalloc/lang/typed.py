"""The typed tree: which expressions of a function are numbers, and to which record the others refer.

An argument and the result are what their annotations say. A local is what it is first assigned, and stays so. A field
is what its record says. Everything else is a number.

`typed` tells the kind of every expression, what every call calls, and which field every attribute names. What breaks
the rules is in `violations`: a reference of one kind where another is wanted, arithmetic on references, a reference as
a condition. The gates refuse these, so that the front ends need not look.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from functools import cache
from types import BuiltinFunctionType, FunctionType

from kernmalloc.lang.functions import REGISTRY, Function, Primitive, Signature, signature
from kernmalloc.lang.records import Field, RecordType, element
from kernmalloc.lang.source import tree

Kind = RecordType | None
"""The record that a reference leads to; None of a number."""

Callee = RecordType | Primitive | FunctionType | BuiltinFunctionType
"""What may be called: a record makes a reference; a function is a kernel function, an intrinsic, an atomic, element,
min, max or abs."""


@dataclass(frozen=True)
class Typed:
    """A kernel function, its tree and its kinds. `locals` begin with the arguments."""

    function: Function
    definition: ast.FunctionDef
    signature: Signature
    arguments: tuple[str, ...]
    locals: dict[str, Kind]
    violations: list[tuple[int, str]]
    kinds: dict[ast.expr, Kind]
    targets: dict[ast.Call, Callee]

    def kind(self, node: ast.expr) -> Kind:
        """The record that an expression of this tree refers to; None: it is a number."""
        return self.kinds.get(node)

    def target(self, node: ast.Call) -> Callee | None:
        """What a call of this tree calls; None of `range`."""
        return self.targets.get(node)

    def field(self, node: ast.Attribute) -> Field | None:
        """The field that an attribute of this tree names; None of `.addr`."""
        record = self.kind(node.value)
        return record.fields.get(node.attr) if record is not None else None

    def constant(self, node: ast.expr) -> int | None:
        """The value of a constant expression; None of any other."""
        return constant(self.function, node)

    def owner(self, node: ast.expr) -> RecordType | None:
        """The record of which `Record.size` or `Record.layout` tells; None of any other expression."""
        return owner(self.function, node)


def constant(function: Function, node: ast.expr) -> int | None:
    """The value of a number, of a global name, of `Record.size` and `Record.layout`, or of their negative; None of
    anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(function, node.operand)
        return None if value is None else -value
    known: object = None
    if isinstance(node, ast.Constant):
        known = node.value
    elif isinstance(node, ast.Name) and node.id not in function.__code__.co_varnames:
        known = function.__globals__.get(node.id)
    elif isinstance(node, ast.Attribute) and (record := owner(function, node)) is not None:
        known = getattr(record, node.attr)
    return int(known) if isinstance(known, int) else None


def owner(function: Function, node: ast.expr) -> RecordType | None:
    """The record of which `Record.size` or `Record.layout` tells; None of any other expression."""
    if isinstance(node, ast.Attribute) and node.attr in {"size", "layout"} and isinstance(node.value, ast.Name):
        local = node.value.id in function.__code__.co_varnames
        value = None if local else function.__globals__.get(node.value.id)
        return value if isinstance(value, RecordType) else None
    return None


@cache
def typed(function: Function) -> Typed:
    """The typed tree of a registered function. DeclarationError where an annotation says no kind."""
    return _Kinds(function).run()


class _Kinds:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.globals = function.__globals__
        definition = tree(function)
        kinds = signature(function)
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        known = dict(zip(arguments, kinds.arguments, strict=True))
        self.made = Typed(function, definition, kinds, arguments, known, [], {}, {})
        self.locals = self.made.locals

    def run(self) -> Typed:
        self.block(self.made.definition.body)
        return self.made

    def refuse(self, node: ast.expr | ast.stmt, rule: str) -> None:
        self.made.violations.append((node.lineno, rule))

    # statements

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            visit = getattr(self, type(statement).__name__, None)
            if visit:
                visit(statement)

    def Expr(self, node: ast.Expr) -> None:
        self.kind(node.value)

    def Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.want(node.value, self.made.signature.result, "the result")

    def Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Name):
            self.bind(target, self.kind(node.value))
        elif isinstance(target, ast.Attribute):
            kind = self.kind(target)
            item = self.made.field(target)
            if item is not None and item.inline:
                self.refuse(target, f"{target.attr} lies inside its record: assign its fields")
            else:
                self.want(node.value, kind, target.attr)

    def AugAssign(self, node: ast.AugAssign) -> None:
        self.number(node.target)
        self.number(node.value)

    def If(self, node: ast.If) -> None:
        self.number(node.test)
        self.block(node.body)
        self.block(node.orelse)

    def While(self, node: ast.While) -> None:
        self.number(node.test)
        self.block(node.body)

    def For(self, node: ast.For) -> None:
        if isinstance(node.iter, ast.Call):
            for argument in node.iter.args:
                self.number(argument)
        if isinstance(node.target, ast.Name):
            self.bind(node.target, None)
        self.block(node.body)

    def bind(self, target: ast.Name, kind: Kind) -> None:
        known = self.made.kinds[target] = self.locals.setdefault(target.id, kind)
        if known is not kind:
            self.refuse(target, f"{target.id} is {_words(known)}, and is assigned {_words(kind)}: use another name")

    # expressions

    def number(self, node: ast.expr) -> None:
        kind = self.kind(node)
        if kind is not None:
            self.refuse(
                node,
                f"`{ast.unparse(node)}` is {_words(kind)}, no number: "
                "compare it with 0, go on with element(), or use its .addr",
            )

    def want(self, node: ast.expr, kind: Kind, what: str) -> None:
        got = self.kind(node)
        if got is not kind:
            remedy = "use its .addr" if kind is None else f"make a reference of a number, {kind.name}(...)"
            self.refuse(node, f"{what} is {_words(kind)}, and `{ast.unparse(node)}` is {_words(got)}: {remedy}")

    def kind(self, node: ast.expr) -> Kind:
        """The kind of an expression; its parts are checked once."""
        if node not in self.made.kinds:
            visit = getattr(self, "of_" + type(node).__name__, None)
            self.made.kinds[node] = visit(node) if visit else None
        return self.made.kinds[node]

    def of_Name(self, node: ast.Name) -> Kind:
        return self.locals.get(node.id)

    def of_Attribute(self, node: ast.Attribute) -> Kind:
        if self.made.owner(node) is not None:
            return None
        record = self.kind(node.value)
        item = self.made.field(node)
        if record is None:
            base = ast.unparse(node.value)
            self.refuse(node, f"`{base}` is a number and has no fields: make a reference of it first, Record({base})")
        elif item is None and node.attr != "addr":
            self.refuse(node, f"record {record.name} has no field {node.attr}: it has {', '.join(record.fields)}")
        return None if item is None else item.target

    def of_Call(self, node: ast.Call) -> Kind:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        target = None if name in self.locals else self.globals.get(name, getattr(builtins, name, None))
        if isinstance(target, Callee):
            self.made.targets[node] = target
        if target is element and len(node.args) == 2:
            first = self.kind(node.args[0])
            self.number(node.args[1])
            if first is None:
                self.refuse(
                    node,
                    f"element() counts from a reference, and `{ast.unparse(node.args[0])}` is a number: make one of it",
                )
            return first
        if isinstance(target, FunctionType) and target in REGISTRY:
            kinds, result = signature(target)
            for argument, kind, what in zip(node.args, kinds, target.__code__.co_varnames, strict=False):
                self.want(argument, kind, f"{what} of {target.__name__}")
            return result
        for argument in node.args:
            self.number(argument)
        return target if isinstance(target, RecordType) else None

    def of_BinOp(self, node: ast.BinOp) -> Kind:
        self.number(node.left)
        self.number(node.right)
        return None

    def of_UnaryOp(self, node: ast.UnaryOp) -> Kind:
        self.number(node.operand)
        if not isinstance(node.op, ast.Not) and is_truth(node.operand):
            self.refuse(node, "a truth value has no sign and no bits: add 0 to it first, or use `not`")
        return None

    def of_BoolOp(self, node: ast.BoolOp) -> Kind:
        for value in node.values:
            self.number(value)
        return None

    def of_Compare(self, node: ast.Compare) -> Kind:
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            one, other = self.kind(left), self.kind(right)
            if one is None and other is None:
                continue
            if not isinstance(operator, ast.Eq | ast.NotEq):
                self.refuse(node, "references have no order: compare their .addr")
            elif one is not other and not _is_zero(left) and not _is_zero(right):
                pair = f"compares {_words(one)} with {_words(other)}"
                self.refuse(node, f"`{ast.unparse(node)}` {pair}: compare their .addr")
        return None

    def of_IfExp(self, node: ast.IfExp) -> Kind:
        self.number(node.test)
        kind = self.kind(node.body)
        self.want(node.orelse, kind, f"`{ast.unparse(node.body)}`")
        return kind


def is_truth(node: ast.expr) -> bool:
    """True for an expression whose value is True or False: a comparison, `not`, or `and` and `or` of such."""
    if isinstance(node, ast.BoolOp):
        return all(is_truth(value) for value in node.values)
    return isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0


def _words(kind: Kind) -> str:
    return "a number" if kind is None else f"a reference to a {kind.name}"
