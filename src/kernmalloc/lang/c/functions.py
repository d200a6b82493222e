"""Functions in C: statements, with the comments and blank lines that stand between them in Python."""

from __future__ import annotations

import ast
import inspect
import linecache
from typing import TYPE_CHECKING

from kernmalloc.lang.c.places import names, places, stored
from kernmalloc.lang.c.text import COLUMNS, TAB, comment, safe, wrapped
from kernmalloc.lang.c.values import (
    INT,
    INT32,
    INT64,
    OPERATORS,
    POSTFIX,
    SUM,
    UNARY,
    Value,
    Values,
    literal,
    reach,
    wide,
)
from kernmalloc.lang.functions import INLINED, RARE, REGISTRY, Function, signature
from kernmalloc.lang.records import RecordType, element
from kernmalloc.lang.typed import Kind, typed

if TYPE_CHECKING:
    from kernmalloc.lang.c.names import Names


def declared(names: Names, kind: Kind, name: str = "") -> str:
    """The declaration of something of a kind."""
    return f"{names.struct(kind)} *{name}" if kind else f"int64_t {name}".rstrip()


def head(function: Function, naming: Names) -> str:
    """A function's declaration, without the storage class."""
    kinds, result = signature(function)
    given = function.__code__.co_varnames
    arguments = [declared(naming, kind, naming.local(name)) for kind, name in zip(kinds, given, strict=False)]
    of = declared(naming, result)
    between = "" if of.endswith("*") else " "
    return f"{of}{between}{naming.functions[function]}({', '.join(arguments) or 'void'})"


def storage(function: Function) -> str:
    """The storage class of a function, and how compilers may inline it."""
    if REGISTRY[function]:
        return ""
    if function in INLINED:
        return "static inline __attribute__((always_inline)) "
    return "static __attribute__((noinline)) " if function in RARE else "static "


class Written:
    """One kernel function on its way to C: `text`, and in `values` what it names."""

    def __init__(self, function: Function, naming: Names, defined: dict[str, Function]) -> None:
        self.of, self.names = function, naming
        self.typed = typed(function)
        self.lines = linecache.getlines(function.__code__.co_filename)
        self.values = Values(self.typed, naming, defined, self.line)
        definition = self.typed.definition
        loads = {
            part.id for part in ast.walk(definition) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
        }
        self.unread = set(self.typed.locals) - loads
        self.places = places(self.typed, self.unread)
        first = definition.body[0]
        self.at = (first.end_lineno or 0) + 1 if _is_docstring(first) else definition.lineno + 1
        """The first line whose comments are not written yet."""
        statements = definition.body[_is_docstring(first) :]
        unused = [f"\t(void){naming.local(name)};" for name in self.typed.arguments if name in self.unread]
        doc = inspect.getdoc(function)
        self.text = "\n".join(
            [
                *([comment(doc)] if doc else []),
                *wrapped(storage(function) + head(function, naming), 0),
                "{",
                *unused,
                *self.block(statements, 1),
                "}",
            ]
        )

    # comments

    def line(self, number: int) -> str:
        """A line of the source."""
        return self.lines[number - 1] if number <= len(self.lines) else ""

    def remark(self, number: int) -> str:
        """The comment on a line."""
        text = self.line(number).partition("#")[2].strip()
        return "" if text.startswith(("noqa", "type:", "fmt:", "ruff:")) else text

    def before(self, number: int, depth: int) -> list[str]:
        """The comments on lines of their own before a line, and a blank line where there is one."""
        texts = [self.remark(at) for at in range(self.at, number) if self.line(at).lstrip().startswith("#")]
        blank = any(not self.line(at).strip() for at in range(self.at, number))
        self.at = max(self.at, number)
        return [*([""] if blank else []), *([comment("\n".join(texts), depth)] if any(texts) else [])]

    def beside(self, lines: list[str], last: int) -> list[str]:
        """Lines of C with the comments up to a line of the source at their end, or before them."""
        texts = [self.remark(at) for at in range(self.at, last + 1)]
        self.at = last + 1
        text = safe(" ".join(text for text in texts if text))
        if not text:
            return lines
        depth = len(lines[0]) - len(lines[0].lstrip("\t"))
        if len(lines[-1].expandtabs(TAB)) + len(text) + 7 <= COLUMNS:
            return [*lines[:-1], f"{lines[-1]} /* {text} */"]
        return [comment(text, depth), *lines]

    # statements

    def block(self, statements: list[ast.stmt], depth: int) -> list[str]:
        lines: list[str] = []
        for index, statement in enumerate(statements):
            above = self.before(statement.lineno, depth)
            lines += above[1:] if index == 0 and above[:1] == [""] else above
            for kind in dict.fromkeys(self.typed.locals[name] for name in self.places.before.get(statement, [])):
                alike = [name for name in self.places.before[statement] if self.typed.locals[name] is kind]
                star = "*" if kind else ""
                given = f", {star}".join(self.names.local(name) for name in alike)
                lines.append("\t" * depth + declared(self.names, kind, given) + ";")
            lines += getattr(self, type(statement).__name__)(statement, depth)
        return lines

    def simple(self, node: ast.stmt, text: str, depth: int) -> list[str]:
        """A statement of one expression."""
        return self.beside(wrapped(f"{text};", depth), node.end_lineno or node.lineno)

    def Pass(self, node: ast.Pass, depth: int) -> list[str]:
        return self.simple(node, "", depth)

    def Break(self, node: ast.Break, depth: int) -> list[str]:
        return self.simple(node, "break", depth)

    def Continue(self, node: ast.Continue, depth: int) -> list[str]:
        return self.simple(node, "continue", depth)

    def Return(self, node: ast.Return, depth: int) -> list[str]:
        assert node.value is not None
        return self.simple(node, f"return {self.values.text(node.value)}", depth)

    def Expr(self, node: ast.Expr, depth: int) -> list[str]:
        return self.simple(node, self.dropped(node.value), depth)

    def dropped(self, node: ast.expr) -> str:
        """An expression whose value nobody wants."""
        value = self.values.value(node)
        target = self.typed.target(node) if isinstance(node, ast.Call) else element
        called = not isinstance(target, RecordType) and target is not element and not value.text.startswith("ADDR(")
        return value.text if called else f"(void){value.at(UNARY)}"

    def Assign(self, node: ast.Assign, depth: int) -> list[str]:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in self.unread:
            return self.simple(node, self.dropped(node.value), depth)
        value = self.values.value(node.value)
        if isinstance(target, ast.Name):
            name = self.names.local(target.id)
            place = declared(self.names, self.typed.locals[target.id], name) if node in self.places.assigned else name
            return self.simple(node, f"{place} = {value.text}", depth)
        assert isinstance(target, ast.Attribute)
        return self.simple(node, self.store(target, value), depth)

    def store(self, target: ast.Attribute, value: Value) -> str:
        item = self.typed.field(target)
        assert item is not None
        place = self.values.place(target)
        if item.target is not None:
            return f"KM_SET({place}, {value.text})"
        if item.size < 8 and value.plain and not 0 <= value.high < 1 << 8 * item.size:
            return f"{place} = (uint{8 * item.size}_t){value.at(UNARY)}"
        return f"{place} = {value.text}"

    def AugAssign(self, node: ast.AugAssign, depth: int) -> list[str]:
        target = node.target
        if isinstance(target, ast.Name) and target.id in self.unread:
            return self.simple(node, self.dropped(node.value), depth)
        if isinstance(target, ast.Attribute) and any(isinstance(part, ast.Call) for part in ast.walk(target.value)):
            return self.once(node, target, depth)
        return self.simple(node, self.changed(node, target), depth)

    def once(self, node: ast.AugAssign, target: ast.Attribute, depth: int) -> list[str]:
        """The record of a field is computed once, though C names it twice."""
        name = "record"
        while name in self.typed.locals:
            name += "_"
        first = f"{declared(self.names, self.typed.kind(target.value), name)} = {self.values.text(target.value)}"
        self.values.held[target.value] = name
        lines = self.simple(node, self.changed(node, target), depth + 1)
        tabs = "\t" * depth
        return [f"{tabs}{{", *wrapped(f"{first};", depth + 1), "", *lines, f"{tabs}}}"]

    def changed(self, node: ast.AugAssign, target: ast.expr) -> str:
        old = self.values.value(target)
        place = self.values.place(target) if isinstance(target, ast.Attribute) else old.text
        short = self.compound(node, old)
        if short:
            return place + short
        value = self.values.arithmetic(node.op, old, node.value)
        return self.store(target, value) if isinstance(target, ast.Attribute) else f"{place} = {value.text}"

    def compound(self, node: ast.AugAssign, old: Value) -> str:
        """The end of `place += value` and the like; nothing where C has another meaning."""
        if isinstance(node.op, ast.FloorDiv | ast.RShift):
            count = self.typed.constant(node.value)
            shift = count.bit_length() - 1 if isinstance(node.op, ast.FloorDiv) and count else count
            if shift is None or (old.type != INT64 and shift > 31):
                return ""
            return f" >>= {shift}"
        if isinstance(node.op, ast.Mod):
            return f" &= {(self.typed.constant(node.value) or 1) - 1}"
        if type(node.op) not in OPERATORS:
            return ""
        sign = OPERATORS[type(node.op)][0]
        right = self.values.value(node.value)
        if right.text == "1" and sign in "+-":
            return sign * 2
        if old.type == right.type == INT32 and max(map(abs, reach(sign, old, right))) > INT:
            right = wide(right)
        return f" {sign}= {right.text}"

    # what has blocks

    def If(self, node: ast.If, depth: int) -> list[str]:
        heads: list[list[str]] = []
        blocks: list[list[str]] = []
        tests: list[ast.If] = [node]
        while len(tests[-1].orelse) == 1 and isinstance(tests[-1].orelse[0], ast.If):
            tests.append(tests[-1].orelse[0])
        for number, part in enumerate(tests):
            if number:
                blocks[-1] += self.before(part.lineno, depth + 1)
            heads.append(self.head(part, f"{'else ' if number else ''}if ({self.values.text(part.test)})", depth))
            blocks.append(self.block(part.body, depth + 1))
        bodies = [part.body for part in tests]
        if tests[-1].orelse:
            heads.append(["\t" * depth + "else"])
            blocks.append(self.block(tests[-1].orelse, depth + 1))
            bodies.append(tests[-1].orelse)
        bare = all(map(self.bare, bodies, blocks)) and all(len(lines) == 1 for lines in heads)
        return self.joined(heads, blocks, bare, depth)

    def While(self, node: ast.While, depth: int) -> list[str]:
        forever = isinstance(node.test, ast.Constant) and bool(node.test.value)
        text = "for (;;)" if forever else f"while ({self.values.text(node.test)})"
        return self.loop(node, text, [], depth)

    def For(self, node: ast.For, depth: int) -> list[str]:
        assert isinstance(node.iter, ast.Call) and isinstance(node.target, ast.Name)
        given = [self.values.value(argument) for argument in node.iter.args]
        first, last = (literal(0), given[0]) if len(given) == 1 else given[:2]
        step = (self.typed.constant(node.iter.args[2]) or 1) if len(given) == 3 else 1
        name = self.names.local(node.target.id)
        counter, start = name, []
        if node not in self.places.heads:  # Python's variable keeps the last value, and may be assigned in the loop
            counter = self.free(f"{name}_at")
            start = [f"{name} = {counter};"]
        changed = stored(node.body) | {node.target.id}
        bound, end = node.iter.args[0 if len(given) == 1 else 1], ""
        if names(bound) & changed or any(isinstance(part, ast.Call | ast.Attribute) for part in ast.walk(bound)):
            limit = self.free(f"{name}_end")
            end, last = f", {limit} = {last.text}", Value(limit, POSTFIX)
        sign = "<" if step > 0 else ">"
        by = {1: "++", -1: "--"}.get(step, f" {'+' if step > 0 else '-'}= {abs(step)}")
        text = f"for (int64_t {counter} = {first.text}{end}; {counter} {sign} {last.at(SUM)}; {counter}{by})"
        return self.loop(node, text, start, depth)

    def free(self, name: str) -> str:
        """A name that is no local's."""
        while name in self.typed.locals:
            name += "_"
        return name

    def loop(self, node: ast.While | ast.For, text: str, start: list[str], depth: int) -> list[str]:
        lines = self.head(node, text, depth)
        block = ["\t" * (depth + 1) + line for line in start] + self.block(node.body, depth + 1)
        bare = self.bare(node.body, block) and len(lines) == 1
        return self.joined([lines], [block], bare, depth)

    def head(self, node: ast.If | ast.While | ast.For, text: str, depth: int) -> list[str]:
        decides = node.iter if isinstance(node, ast.For) else node.test
        return self.beside(wrapped(text, depth), decides.end_lineno or node.lineno)

    def bare(self, statements: list[ast.stmt], lines: list[str]) -> bool:
        """True of a block that needs no braces."""
        return len(statements) == len(lines) == 1 and not self.places.declares(statements[0])

    def joined(self, heads: list[list[str]], blocks: list[list[str]], bare: bool, depth: int) -> list[str]:
        """Heads and blocks, with braces unless all are bare."""
        tabs = "\t" * depth
        lines: list[str] = []
        for number, (first, block) in enumerate(zip(heads, blocks, strict=True)):
            if bare:
                lines += [*first, *block]
                continue
            *above, last = first
            text, mark, remark = last.partition(" /* ")
            opened = f"{text} {{{mark}{remark}"
            if number and not above:
                opened = f"{tabs}}} {opened.lstrip()}"
            elif number:
                lines.append(f"{tabs}}}")
            lines += [*above, opened, *block]
        return lines if bare else [*lines, f"{tabs}}}"]


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
