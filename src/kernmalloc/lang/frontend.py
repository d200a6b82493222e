"""Front end: the typed tree of kernel functions becomes LLVM IR, once for every life.

Locals are stack slots, all of them in the first block, so that one pass of LLVM (mem2reg) makes them registers. A field
access is a call of `km.ld8` ... `km.st64`; intrinsics and atomics are calls of `km.<name>`; an entry by which the
kernel is called begins with a call of `km.operation`. The back end defines these as the life requires (`models`). A
call of another kernel function or of a primitive is a call of its symbol. Everything is an int64, references too; the
calling convention is C's. Nothing is undefined: sums wrap, and shift counts are taken modulo 64.

The functions must have passed the gates: what these refuse is not looked for here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from llvmlite import ir

from kernmalloc.lang.functions import (
    HOST_LEVEL,
    INLINED,
    RARE,
    REGISTRY,
    Function,
    Primitive,
    callees,
    group,
    is_call,
    is_small,
    symbol,
)
from kernmalloc.lang.records import Field, RecordType, element
from kernmalloc.lang.typed import typed

I64, I1, VOID = ir.IntType(64), ir.IntType(1), ir.VoidType()
ARITHMETIC = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}

ATTRIBUTES = 'nounwind "no-builtins" "no-jump-tables"="true"'
"""Of every function: no unwinding, no calls and no tables that the optimiser makes up. An object has no data."""

Progress = Callable[[str, float], None]


def compile(
    functions: Iterable[Function] | None = None, progress: Progress = lambda stage, done: None
) -> dict[str, str]:
    """LLVM IR of kernel functions (all that are registered, if None) and what they call, by group, not optimised."""
    groups = groups_of(REGISTRY if functions is None else functions)
    texts: dict[str, list[str]] = {name: [] for name in ("kernel", *HOST_LEVEL)}
    calls: dict[str, dict[str, str]] = {name: {} for name in texts}
    for index, (function, names) in enumerate(groups.items()):
        progress(f"compiling {function.__name__}", index / len(groups))
        made = _Function(function)
        for name in names:
            texts[name].append(made.text())
            calls[name] |= made.declarations()
    defined = {name: {symbol(function) for function, names in groups.items() if name in names} for name in texts}
    return {
        name: "\n".join([*(text for called, text in calls[name].items() if called not in defined[name]), *texts[name]])
        for name in texts
    }


def groups_of(functions: Iterable[Function]) -> dict[Function, set[str]]:
    """The groups that each function goes into: its own, and those of host-level code that calls it, for there its
    accesses are of another kind. A call of an entry crosses over: the kernel runs it with its own accesses."""
    groups: dict[Function, set[str]] = {}

    def need(function: Function, name: str) -> None:
        if name not in groups.setdefault(function, set()):
            groups[function].add(name)
            for callee in callees(function):
                need(callee, group(callee) if REGISTRY[callee] else name)

    for function in functions:
        need(function, group(function))
    return groups


class _Function:
    """One kernel function on its way to IR."""

    def __init__(self, function: Function) -> None:
        self.of = function
        self.typed = typed(function)
        self.module = ir.Module(function.__name__)
        arguments = self.typed.arguments
        self.function = ir.Function(self.module, ir.FunctionType(I64, [I64] * len(arguments)), symbol(function))
        self.b = ir.IRBuilder(self.function.append_basic_block())
        self.slots = {name: self.b.alloca(I64, name=name) for name in self.typed.locals}
        self.loops: list[tuple[ir.Block, ir.Block]] = []
        for name, value in zip(arguments, self.function.args, strict=True):
            self.b.store(value, self.slots[name])
        if is_call(function):
            self.call("km.operation", [])
        self.block(self.typed.definition.body)
        if not self.b.block.is_terminated:
            self.b.unreachable()

    def text(self) -> str:
        """The definition."""
        wish = "noinline" if self.of in RARE else "alwaysinline" if self.of in INLINED else ""
        wish += " minsize optsize" if is_small(self.of) else ""
        # an entry begins a line of the instruction cache: what lies before it has no say in how fast it is
        align = "align 64" if REGISTRY[self.of] else ""
        return re.sub(r"\A(define .*\))", rf"\1 {ATTRIBUTES} {wish} {align}", str(self.function).strip()) + "\n"

    def declarations(self) -> dict[str, str]:
        """Of each symbol that it calls, the declaration."""
        return {name: str(value).strip() for name, value in self.module.globals.items() if value is not self.function}

    # statements

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            getattr(self, type(statement).__name__)(statement)

    def Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.value(node.value)

    def Pass(self, node: ast.Pass) -> None: ...

    def Return(self, node: ast.Return) -> None:
        assert node.value is not None
        self.b.ret(self.value(node.value))

    def Assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        target = node.targets[0]
        if isinstance(target, ast.Name):
            self.b.store(value, self.slots[target.id])
        elif isinstance(target, ast.Attribute):
            self.store(target, self.value(target.value), value)

    def AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            slot = self.slots[node.target.id]
            self.b.store(self.arithmetic(node.op, self.b.load(slot), node.value), slot)
        elif isinstance(node.target, ast.Attribute):
            base = self.value(node.target.value)
            self.store(node.target, base, self.arithmetic(node.op, self.load(node.target, base), node.value))

    def If(self, node: ast.If) -> None:
        yes, no, end = (self.function.append_basic_block() for _ in range(3))
        self.branch(node.test, yes, no)
        for start, body in ((yes, node.body), (no, node.orelse)):
            self.b.position_at_end(start)
            self.block(body)
            if not self.b.block.is_terminated:
                self.b.branch(end)
        self.b.position_at_end(end)

    def While(self, node: ast.While) -> None:
        test, body, end = (self.function.append_basic_block() for _ in range(3))
        self.b.branch(test)
        self.b.position_at_end(test)
        self.branch(node.test, body, end)
        self.loop(node.body, body, test, end)

    def For(self, node: ast.For) -> None:
        assert isinstance(node.iter, ast.Call) and isinstance(node.target, ast.Name)
        given = [self.value(argument) for argument in node.iter.args]
        first, last = (I64(0), given[0]) if len(given) == 1 else given[:2]
        step = (self.typed.constant(node.iter.args[2]) or 1) if len(given) == 3 else 1
        low, high = (first, last) if step > 0 else (last, first)
        # how often it turns is counted before: no step leaves int64 then, and LLVM unrolls what it can count
        stride = I64(abs(step).bit_length() - 1)
        turns = self.b.add(self.b.lshr(self.b.sub(self.b.sub(high, low), I64(1)), stride), I64(1))
        turns = self.b.select(self.b.icmp_signed("<", low, high), turns, I64(0))
        with self.b.goto_entry_block():
            at, left = self.b.alloca(I64), self.b.alloca(I64)
        self.b.store(first, at)
        self.b.store(turns, left)
        test, body, more, end = (self.function.append_basic_block() for _ in range(4))
        self.b.branch(test)
        self.b.position_at_end(test)
        self.b.cbranch(self.b.icmp_signed("!=", self.b.load(left), I64(0)), body, end)
        self.b.position_at_end(more)
        self.b.store(self.b.add(self.b.load(at), I64(step)), at)
        self.b.store(self.b.sub(self.b.load(left), I64(1)), left)
        self.b.branch(test)
        self.b.position_at_end(body)
        self.b.store(self.b.load(at), self.slots[node.target.id])
        self.loop(node.body, body, more, end)

    def loop(self, statements: list[ast.stmt], body: ir.Block, again: ir.Block, end: ir.Block) -> None:
        self.loops.append((again, end))
        self.b.position_at_end(body)
        self.block(statements)
        if not self.b.block.is_terminated:
            self.b.branch(again)
        self.loops.pop()
        self.b.position_at_end(end)

    def Break(self, node: ast.Break) -> None:
        self.b.branch(self.loops[-1][1])

    def Continue(self, node: ast.Continue) -> None:
        self.b.branch(self.loops[-1][0])

    # expressions

    def value(self, node: ast.expr) -> Any:
        return getattr(self, type(node).__name__)(node)

    def Constant(self, node: ast.Constant) -> Any:
        return I64(self.typed.constant(node))

    def Name(self, node: ast.Name) -> Any:
        return self.b.load(self.slots[node.id]) if node.id in self.slots else I64(self.typed.constant(node))

    def Attribute(self, node: ast.Attribute) -> Any:
        size = self.typed.constant(node)
        if size is not None:
            return I64(size)
        return self.load(node, self.value(node.value))

    def load(self, node: ast.Attribute, base: Any) -> Any:
        """The value of a field of the record at `base`."""
        if self.typed.field(node) is None:
            return base  # of `.addr`
        item, addr = self.place(node, base)
        return addr if item.inline else self.call(f"km.ld{8 * item.size}", [addr])

    def store(self, node: ast.Attribute, base: Any, value: Any) -> None:
        item, addr = self.place(node, base)
        self.call(f"km.st{8 * item.size}", [addr, value], VOID)

    def place(self, node: ast.Attribute, base: Any) -> tuple[Field, Any]:
        item = self.typed.field(node)
        assert item is not None
        return item, self.b.add(base, I64(item.offset)) if item.offset else base

    def Call(self, node: ast.Call) -> Any:
        target = self.typed.target(node)
        assert target is not None
        arguments = [self.value(argument) for argument in node.args]
        if isinstance(target, RecordType):
            return arguments[0]
        if target is element:
            kind = self.typed.kind(node)
            assert kind is not None
            return self.b.add(arguments[0], self.b.mul(arguments[1], I64(kind.size)))
        if isinstance(target, Primitive):
            return self.call(target.symbol, arguments)
        if isinstance(target, FunctionType) and target in REGISTRY:
            return self.call(symbol(target), arguments)
        return self.call(f"km.{target.__name__}", arguments)

    def call(self, name: str, arguments: list[Any], result: ir.Type = I64) -> Any:
        known = self.module.globals.get(name)
        return self.b.call(
            known or ir.Function(self.module, ir.FunctionType(result, [I64] * len(arguments)), name), arguments
        )

    def BinOp(self, node: ast.BinOp) -> Any:
        return self.arithmetic(node.op, self.value(node.left), node.right)

    def arithmetic(self, operator: ast.operator, a: Any, right: ast.expr) -> Any:
        b, kind = self.value(right), type(operator)
        if kind in ARITHMETIC:
            return getattr(self.b, ARITHMETIC[kind])(a, b)
        if kind in (ast.LShift, ast.RShift):
            count = self.b.and_(b, I64(63))
            return self.b.shl(a, count) if kind is ast.LShift else self.b.ashr(a, count)
        n = self.typed.constant(right) or 1  # the gates admit powers of two only
        return self.b.ashr(a, I64(n.bit_length() - 1)) if kind is ast.FloorDiv else self.b.and_(a, I64(n - 1))

    def UnaryOp(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return self.truth(node)
        value = self.value(node.operand)
        return self.b.neg(value) if isinstance(node.op, ast.USub) else self.b.not_(value)

    def IfExp(self, node: ast.IfExp) -> Any:
        yes, no, end = (self.function.append_basic_block() for _ in range(3))
        self.branch(node.test, yes, no)
        ways = []
        for start, part in ((yes, node.body), (no, node.orelse)):
            self.b.position_at_end(start)
            value = self.value(part)
            ways.append((value, self.b.block))
            self.b.branch(end)
        return self.joined(ways, end)

    def joined(self, ways: list[tuple[Any, ir.Block]], end: ir.Block) -> Any:
        self.b.position_at_end(end)
        phi = self.b.phi(I64)
        for value, block in ways:
            phi.add_incoming(value, block)
        return phi

    def truth(self, node: ast.expr) -> Any:
        """A condition as a number: 1 or 0."""
        return self.IfExp(ast.IfExp(node, ast.Constant(1), ast.Constant(0)))

    def Compare(self, node: ast.Compare) -> Any:
        return self.truth(node)

    def BoolOp(self, node: ast.BoolOp) -> Any:
        return self.truth(node)

    def branch(self, node: ast.expr, yes: ir.Block, no: ir.Block) -> None:
        """Go to one of two blocks, as a condition says."""
        if isinstance(node, ast.BoolOp):
            for part in node.values[:-1]:
                more = self.function.append_basic_block()
                self.branch(part, *((more, no) if isinstance(node.op, ast.And) else (yes, more)))
                self.b.position_at_end(more)
            self.branch(node.values[-1], yes, no)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.branch(node.operand, no, yes)
        elif isinstance(node, ast.Compare):
            left = self.value(node.left)
            for index, (operator, side) in enumerate(zip(node.ops, node.comparators, strict=True)):
                right = self.value(side)
                more = yes if index == len(node.ops) - 1 else self.function.append_basic_block()
                self.b.cbranch(self.b.icmp_signed(COMPARE[type(operator)], left, right), more, no)
                if more is not yes:
                    self.b.position_at_end(more)
                left = right
        else:
            self.b.cbranch(self.b.icmp_signed("!=", self.value(node), I64(0)), yes, no)
