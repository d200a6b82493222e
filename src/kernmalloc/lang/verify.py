"""A record's invariants and constants, made kernel functions word for word."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from kernmalloc.lang.functions import Function, kernel
from kernmalloc.lang.records import RecordType, Width, element, named
from kernmalloc.lang.source import define

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


MADE: set[Function] = set()
"""The functions that are made here."""


def _made(function: Callable[..., int]) -> Callable[..., int]:
    MADE.add(function)
    return kernel(function)


def verifier(
    cls: RecordType,
    *,
    namespace: Mapping[str, Any],
    cpu: RecordType,
    tally: RecordType,
) -> Callable[..., int]:
    """Make and register verify_<record>(cpu, self, tally) from the invariants of `cls`.

    It returns how many invariants there are if all hold for the record `self`, else -(i + 1) for the first, i, that
    does not. In an equation a field's name is that field; `tally.x` is a field of the third argument; `kern.x` is a
    field of the record that the field `kern` of `cpu` leads to; any other name is a constant of `namespace` (pass
    globals()). TypeError names whatever is none of these.
    """
    name = f"verify_{cls.name.lower()}"
    kern = cpu.fields["kern"].target if "kern" in cpu.fields else None
    resolve = _Resolve(cls, {"tally": tally, "kern": kern}, namespace)
    tests = []
    for index, equation in enumerate(cls.invariants):
        resolve.equation = equation
        condition = ast.unparse(resolve.visit(ast.parse(equation, mode="eval")))
        tests += [f"    if not ({condition}):", f"        return -{index + 1}"]
    head = f"def {name}(cpu: {cpu.name}, self: {cls.name}, tally: {tally.name}) -> int:"
    kern_line = ["    kern = cpu.kern"] if "kern" in resolve.used else []
    source = "\n".join([head, *kern_line, *tests, f"    return {len(cls.invariants)}", ""])

    file = f"<invariants of {cls.__module__}.{cls.name}>"
    space = {cpu.name: cpu, tally.name: tally, cls.name: cls, **resolve.constants, "__name__": namespace["__name__"]}
    return _made(define(name, source, file, space))


class _Resolve(ast.NodeTransformer):
    """Replaces the names of an equation by what they stand for, and refuses anything but integer arithmetic."""

    allowed = (
        ast.Expression,
        ast.BoolOp,
        ast.And,
        ast.Or,
        ast.UnaryOp,
        ast.Not,
        ast.USub,
        ast.Invert,
        ast.BinOp,
        ast.Add,
        ast.Sub,
        ast.Mult,
        ast.BitAnd,
        ast.BitOr,
        ast.BitXor,
        ast.LShift,
        ast.RShift,
        ast.Compare,
        ast.Eq,
        ast.NotEq,
        ast.Lt,
        ast.LtE,
        ast.Gt,
        ast.GtE,
        ast.Constant,
        ast.Name,
        ast.Attribute,
        ast.Load,
    )

    def __init__(self, cls: RecordType, records: dict[str, RecordType | None], namespace: Mapping[str, Any]) -> None:
        self.cls, self.records, self.namespace = cls, records, namespace
        self.equation = ""
        self.used: set[str] = set()
        self.constants: dict[str, int] = {}

    def refuse(self, why: str) -> TypeError:
        return TypeError(f"record {self.cls.name}, invariant `{self.equation}`: {why}")

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, self.allowed):
            raise self.refuse(f"{type(node).__name__} is not part of an equation")
        return super().generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        base = node.value.id if isinstance(node.value, ast.Name) else ""
        target = self.records.get(base)
        if target is None:
            raise self.refuse(f"no record is given for `{ast.unparse(node)}`")
        return self.field(target, base, node.attr)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.cls.fields:
            return self.field(self.cls, "self", node.id)
        value = self.namespace.get(node.id)
        if not isinstance(value, int):
            raise self.refuse(f"`{node.id}` is neither a field nor an integer constant")
        self.constants[node.id] = value
        return node

    def field(self, record: RecordType, base: str, name: str) -> ast.AST:
        if name not in record.fields:
            raise self.refuse(f"record {record.name} has no field `{name}`")
        self.used.add(base)
        return ast.Attribute(ast.Name(base, ast.Load()), name, ast.Load())


def sealer(cls: RecordType, *, namespace: Mapping[str, Any]) -> Callable[..., int]:
    """Make and register seal_<record>(self) from the constants of `cls`: one number that is another one if any bit of
    any constant is.

    A constant is a field, `field.field` of a record that lies inside, or a sum of such. The namespace (pass globals())
    has `mixed`, which takes a number into the seal, and `mixed_words`, which takes the words of a record inside.
    TypeError names what is no constant.
    """
    steps = [f"    seal = {_taken(cls, constant)}" for constant in cls.constants]
    source = "\n".join(
        [f"def seal_{cls.name.lower()}(self: {cls.name}) -> int:", "    seal = 1", *steps, "    return seal", ""]
    )
    space = {cls.name: cls, "element": element, "__name__": namespace["__name__"]}
    space |= {name: namespace[name] for name in ("mixed", "mixed_words") if name in source}
    return _made(define(f"seal_{cls.name.lower()}", source, f"<constants of {cls.__module__}.{cls.name}>", space))


def _taken(cls: RecordType, constant: str) -> str:
    """The expression that takes a constant into the seal. The layout is not asked for: it may not be known yet."""
    terms = []
    for term in constant.split(" + "):
        record: RecordType | None = cls
        place = "self"
        for name in term.split("."):
            if record is None or name not in record.declared:
                raise TypeError(f"record {cls.name}, constant `{constant}`: `{name}` is no field that is known")
            annotation, declared = record.declared[name]
            kind = named(annotation, record.__module__)
            place, record = f"{place}.{name}", kind if isinstance(kind, RecordType) else None
        if declared.count:
            return f"mixed_words(seal, {place}.addr, element({place}, {declared.count}).addr)"
        terms.append(place if isinstance(kind, Width) else f"{place}.addr")
    return f"mixed(seal, {' + '.join(terms)})"
