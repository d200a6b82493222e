"""Expressions in C: each with the strength of its outermost operator, its C type, and the range that its value lies in.

Parentheses stand where C needs them, and where compilers ask for them. A number is an int64, but C computes with what
its operands are: an int (literals, conditions, narrow fields) or a uint32_t. Ranges tell where that gives the same, so
that a cast to int64_t stands only where it is needed.

Sums and products of int64 do not overflow, which the twin checks. `<<` of what may be negative goes through unsigned
numbers.
"""

from __future__ import annotations

import ast
import builtins
import re
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

from kernmalloc.lang.c.models import CALLED
from kernmalloc.lang.c.names import Constant, Names, constant
from kernmalloc.lang.functions import REGISTRY, Function, Primitive, signature
from kernmalloc.lang.records import RecordType, element

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernmalloc.lang.typed import Typed

CHOICE, EITHER, BOTH, OR, XOR, AND, EQUAL, ORDER, SHIFT, SUM, PRODUCT, UNARY, POSTFIX = range(13)
MIN, MAX = -(1 << 63), (1 << 63) - 1
INT = (1 << 31) - 1

INT32, UINT32, INT64, REFERENCE = "int", "uint32_t", "int64_t", "reference"

OPERATORS: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: ("+", SUM),
    ast.Sub: ("-", SUM),
    ast.Mult: ("*", PRODUCT),
    ast.BitAnd: ("&", AND),
    ast.BitOr: ("|", OR),
    ast.BitXor: ("^", XOR),
}
COMPARISONS: dict[type[ast.cmpop], tuple[str, int]] = {
    ast.Eq: ("==", EQUAL),
    ast.NotEq: ("!=", EQUAL),
    ast.Lt: ("<", ORDER),
    ast.LtE: ("<=", ORDER),
    ast.Gt: (">", ORDER),
    ast.GtE: (">=", ORDER),
}
NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
}


class Value(NamedTuple):
    """An expression. `level`: how strongly its outermost operator binds. `low` and `high`: its range."""

    text: str
    level: int
    type: str = INT64
    low: int = MIN
    high: int = MAX

    def at(self, level: int) -> str:
        """The text as an operand that binds at least so strongly."""
        return self.text if self.level >= level else f"({self.text})"

    @property
    def plain(self) -> bool:
        """True of a constant."""
        return self.low == self.high


def literal(value: int, text: str = "") -> Value:
    """A number, as it is or as `text`."""
    level = POSTFIX if value >= 0 else UNARY
    if -INT <= value <= INT:
        return Value(text or str(value), level, INT32, value, value)
    if value == MIN:
        return Value("INT64_MIN", POSTFIX, INT64, value, value)
    return Value(
        f"-INT64_C({text or -value})" if value < 0 else f"INT64_C({text or value})", level, INT64, value, value
    )


def wide(value: Value) -> Value:
    """The same as an int64."""
    if value.type in (INT64, REFERENCE):
        return value
    if value.text[0].isdigit() and value.plain:
        return value._replace(text=f"INT64_C({value.text})", level=POSTFIX, type=INT64)
    return value._replace(text=f"(int64_t){value.at(UNARY)}", level=UNARY, type=INT64)


class Values:
    """The expressions of one function. `helpers`, `constants` and `primitives` collect what they name."""

    def __init__(self, function: Typed, names: Names, defined: dict[str, Function], lines: Callable[[int], str]):
        self.typed, self.names, self.defined, self.line = function, names, defined, lines
        self.helpers: set[str] = set()
        self.constants: list[Constant] = []
        self.primitives: list[Primitive] = []
        self.held: dict[ast.expr, str] = {}
        """References that a local of C holds."""

    def value(self, node: ast.expr) -> Value:
        """An expression as a value."""
        found: Value = getattr(self, type(node).__name__)(node)
        return found

    def text(self, node: ast.expr) -> str:
        """An expression that stands alone."""
        return self.value(node).text

    # numbers

    def Constant(self, node: ast.Constant) -> Value:
        assert isinstance(node.value, int)
        value = int(node.value)
        for found in re.findall(r"0x[0-9a-fA-F_]+", self.line(node.lineno)):
            if int(found, 16) == value:
                return literal(value, found.replace("_", ""))
        return literal(value)

    def Name(self, node: ast.Name) -> Value:
        if node.id in self.typed.locals:
            kind = REFERENCE if self.typed.locals[node.id] else INT64
            return Value(self.names.local(node.id), POSTFIX, kind)
        found = constant(self.typed.function, node.id)
        assert found is not None
        self.constants.append(found)
        kind = INT32 if -INT <= found.value <= INT else INT64
        return Value(self.names.constants[found], POSTFIX, kind, found.value, found.value)

    def BinOp(self, node: ast.BinOp) -> Value:
        return self.arithmetic(node.op, self.value(node.left), node.right)

    def arithmetic(self, operator: ast.operator, left: Value, node: ast.expr) -> Value:
        """The value of an operator. `//` and `%` are by powers of two."""
        if isinstance(operator, ast.LShift):
            return self.left(left, self.value(node))
        if isinstance(operator, ast.RShift):
            return self.right(left, self.value(node))
        if isinstance(operator, ast.FloorDiv):
            shift = (self.typed.constant(node) or 1).bit_length() - 1
            return self.right(left, literal(shift)) if shift else left
        right = self.value(node)
        if isinstance(operator, ast.Mod):
            mask = literal(right.high - 1) if right.text.isdigit() else Value(f"{right.text} - 1", SUM, right.type)
            right = mask._replace(low=right.high - 1, high=right.high - 1)
            operator = ast.BitAnd()
        return binary(operator, left, right)

    def left(self, left: Value, count: Value) -> Value:
        most = count.high if count.plain else 63
        if left.low < 0:
            self.helpers.add("shl")
            return Value(f"shl({left.text}, {count.text})", POSTFIX)
        low, high = left.low << most if count.plain else 0, left.high << most
        if left.type == UINT32 or high > INT:
            left = wide(left)
        text = f"{left.at(UNARY)} << {count.at(UNARY)}"
        return Value(text, SHIFT, left.type, *((low, high) if high <= MAX else (0, MAX)))

    def right(self, left: Value, count: Value) -> Value:
        if not count.plain or count.high > 31:
            left = wide(left)
        low, high = (left.low >> count.high, left.high >> count.high) if count.plain else (min(left.low, 0), left.high)
        return Value(f"{left.at(UNARY)} >> {count.at(UNARY)}", SHIFT, left.type, low, max(high, -1))

    def UnaryOp(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return self.negated(node.operand)
        value = self.value(node.operand)
        if value.type == UINT32:
            value = wide(value)
        if isinstance(node.op, ast.Invert):
            return Value(f"~{value.at(UNARY)}", UNARY, value.type, ~value.high, ~value.low)
        if isinstance(node.operand, ast.Constant):
            return literal(-value.high, "" if value.high > INT else f"-{value.text}")
        text = f"-({value.text})" if value.text.startswith("-") else f"-{value.at(UNARY)}"
        return Value(text, UNARY, value.type, -value.high, min(-value.low, MAX))

    def negated(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self.compared(node.left, NEGATED[type(node.ops[0])](), node.comparators[0])
        return Value(f"!{self.value(node).at(UNARY)}", UNARY, INT32, 0, 1)

    # conditions

    def Compare(self, node: ast.Compare) -> Value:
        sides = [node.left, *node.comparators]
        parts = [self.compared(*part) for part in zip(sides, node.ops, sides[1:], strict=False)]
        return parts[0] if len(parts) == 1 else truth(" && ", BOTH, parts)

    def compared(self, one: ast.expr, operator: ast.cmpop, other: ast.expr) -> Value:
        left, right = self.value(one), self.value(other)
        sign, level = COMPARISONS[type(operator)]
        if REFERENCE in (left.type, right.type):
            left, right = (Value("NULL", POSTFIX) if side.plain else side for side in (left, right))
        else:
            known = decided(sign, left, right)
            if known is not None and not any(isinstance(part, ast.Call) for part in [*ast.walk(one), *ast.walk(other)]):
                return literal(known)
            if {left.type, right.type} == {INT32, UINT32} and not harmless(left, right):
                left = wide(left)
        return Value(f"{left.at(SHIFT + 1)} {sign} {right.at(SHIFT + 1)}", level, INT32, 0, 1)

    def BoolOp(self, node: ast.BoolOp) -> Value:
        sign, level = (" && ", BOTH) if isinstance(node.op, ast.And) else (" || ", EITHER)
        return truth(sign, level, [self.value(value) for value in node.values])

    def IfExp(self, node: ast.IfExp) -> Value:
        test, yes, no = self.value(node.test), self.value(node.body), self.value(node.orelse)
        kind = yes.type if yes.type == no.type else INT64
        if {yes.type, no.type} == {INT32, UINT32}:
            if harmless(yes, no):
                kind = UINT32
            else:
                yes, no = wide(yes), wide(no)
        text = f"{test.at(EITHER)} ? {yes.at(EITHER)} : {no.at(EITHER)}"
        return Value(text, CHOICE, kind, min(yes.low, no.low), max(yes.high, no.high))

    # memory and calls

    def Attribute(self, node: ast.Attribute) -> Value:
        record = self.typed.owner(node)
        if record is not None and node.attr == "layout":
            return literal(record.layout, f"{record.layout:#x}")
        if record is not None:
            return Value(f"(int64_t)sizeof({self.names.struct(record)})", UNARY, INT64, record.size, record.size)
        item = self.typed.field(node)
        if item is None:
            return Value(f"ADDR({self.text(node.value)})", POSTFIX)
        place = self.place(node)
        if item.inline:
            return Value(place if item.count > 1 else f"&{place}", POSTFIX if item.count > 1 else UNARY, REFERENCE)
        if item.target is not None:
            return Value(place, POSTFIX, REFERENCE)
        if item.size == 8:
            return Value(place, POSTFIX)
        return Value(place, POSTFIX, UINT32 if item.size == 4 else INT32, 0, (1 << 8 * item.size) - 1)

    def place(self, node: ast.Attribute) -> str:
        """A field as what may stand on the left of an assignment."""
        owner, name = node.value, self.names.local(node.attr)
        if owner in self.held:
            return f"{self.held[owner]}->{name}"
        if isinstance(owner, ast.Attribute):
            item = self.typed.field(owner)
            if item is not None and item.inline and item.count == 1:
                return f"{self.place(owner)}.{name}"
        if isinstance(owner, ast.Call) and self.typed.target(owner) is element:
            first, index = (self.value(argument) for argument in owner.args)
            return f"{first.at(POSTFIX)}[{index.text}].{name}"
        return f"{self.value(owner).at(POSTFIX)}->{name}"

    def Call(self, node: ast.Call) -> Value:
        target = self.typed.target(node)
        arguments = [self.value(argument) for argument in node.args]
        if isinstance(target, RecordType):
            return self.reference(target, node.args[0], arguments[0])
        if target is element:
            first, index = arguments[0].at(SUM), arguments[1].at(PRODUCT)
            text = f"{first} - {index[1:]}" if index.startswith("-") else f"{first} + {index}"
            return Value(text, SUM, REFERENCE)
        texts = [argument.text for argument in arguments]
        if isinstance(target, Primitive):
            return self.primitive(target, texts)
        assert isinstance(target, FunctionType) or target in (builtins.min, builtins.max, builtins.abs)
        if isinstance(target, FunctionType) and target in REGISTRY:
            kind = REFERENCE if signature(target).result else INT64
            return Value(f"{self.names.functions[target]}({', '.join(texts)})", POSTFIX, kind)
        return self.helper(target.__name__, texts)

    def reference(self, record: RecordType, node: ast.expr, value: Value) -> Value:
        if value.plain and value.high == 0:
            return Value("NULL", POSTFIX, REFERENCE)
        if isinstance(node, ast.Attribute) and self.typed.field(node) is None:  # the address of another record
            other = self.value(node.value)
            if self.typed.kind(node.value) is record:
                return other
            return Value(f"({self.names.struct(record)} *){other.at(UNARY)}", UNARY, REFERENCE)
        return Value(f"AT({self.names.tags[record]}, {value.text})", POSTFIX, REFERENCE)

    def primitive(self, target: Primitive, arguments: list[str]) -> Value:
        """A call of a primitive: a function of this object, one of the C library, or one that the port supplies."""
        function = self.defined.get(target.symbol)
        if function is not None:
            kinds, result = signature(function)
            tags = [self.names.tags[kind] if kind else "" for kind in kinds]
            given = [f"AT({tag}, {text})" if tag else text for tag, text in zip(tags, arguments, strict=True)]
            call = f"{target.symbol}({', '.join(given)})"
            return Value(f"ADDR({call})" if result else call, POSTFIX)
        if target.symbol in CALLED or target.symbol == "km_machine_record":
            return self.helper(target.symbol, arguments)
        self.primitives.append(target)
        return Value(f"{target.symbol}({', '.join(arguments)})", POSTFIX)

    def helper(self, name: str, arguments: list[str]) -> Value:
        self.helpers.add(name)
        return Value(f"{CALLED.get(name, name)}({', '.join(arguments)})", POSTFIX)


def harmless(one: Value, other: Value) -> bool:
    """True if an int and a uint32_t meet without harm: the int is a constant that is not negative."""
    number = one if one.type == INT32 else other
    return number.plain and number.low >= 0


def truth(sign: str, level: int, parts: list[Value]) -> Value:
    """`and` or `or` of conditions."""
    texts = [part.text if part.level == level else part.at(EQUAL) for part in parts]
    return Value(sign.join(texts), level, INT32, 0, 1)


def binary(operator: ast.operator, left: Value, right: Value) -> Value:
    """+ - * & | ^ of numbers."""
    sign, level = OPERATORS[type(operator)]
    low, high = reach(sign, left, right)
    kinds = {left.type, right.type}
    bitwise = level in (AND, OR, XOR)
    if UINT32 in kinds and INT64 not in kinds:
        exact = bitwise and left.low >= 0 and right.low >= 0
    else:
        exact = bitwise or INT64 in kinds or (low >= -INT and high <= INT)
    if not exact:
        left = wide(left)
    kind = INT64 if INT64 in (left.type, right.type) else UINT32 if UINT32 in kinds else INT32
    if bitwise:  # compilers ask for parentheses around other operators here
        one = left.text if left.level == level else left.at(UNARY)
        text = f"{one} {sign} {right.at(UNARY)}"
    else:
        last = f"({right.text})" if right.text.startswith("-") else right.at(level + 1)
        text = f"{left.at(level)} {sign} {last}"
    return Value(text, level, kind, low, high)


def reach(sign: str, left: Value, right: Value) -> tuple[int, int]:
    """The range of a result, if it does not overflow."""
    if sign in "&|^":
        least, most = min(left.low, right.low), max(left.high, right.high)
        if sign == "&" and max(left.low, right.low) >= 0:
            return 0, min(side.high for side in (left, right) if side.low >= 0)
        bits = max(most.bit_length(), (~least).bit_length() if least < 0 else 0)
        return 0 if least >= 0 else -(1 << bits), (1 << bits) - 1
    corners = [
        {"+": a + b, "-": a - b, "*": a * b}[sign] for a in (left.low, left.high) for b in (right.low, right.high)
    ]
    return max(min(corners), MIN), min(max(corners), MAX)


def decided(sign: str, left: Value, right: Value) -> int | None:
    """What a comparison gives, if the ranges alone tell: compilers warn of these."""
    if sign in ("==", "!="):
        apart = left.high < right.low or right.high < left.low
        return int(sign == "!=") if apart else None
    if sign in (">", "<="):
        known = decided("<", right, left)
        return known if known is None or sign == ">" else 1 - known
    if left.high < right.low:
        return int(sign == "<")
    if left.low >= right.high:
        return int(sign == ">=")
    return None
