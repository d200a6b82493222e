"""Back end: the typed trees of kernel functions become C11 that a person can read, and a header for callers.

    raw    kernel + hosted   as the LLVM object of that life: km_machine, km_entries, and the C library's mmap
    bare   kernel            the port supplies the primitives, which the header declares with their conditions;
                             functions of the bare machine are written only where they are asked for

A record is a struct, a reference a pointer, a number an int64_t. Modules come behind those that they call: the head
comment, the constants, the functions. The header tells the records that entries lead to, and constants that callers
need. The text depends on the sources only, not on the order in which they were imported, and names no target.

The functions must have passed the gates: what these refuse is not looked for here.

    names, text               what things are called, and how lines are broken
    records, values           structs; expressions
    places, functions         where locals are declared; statements
    models                    macros, intrinsics and atomics
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from kernmalloc.lang import status
from kernmalloc.lang.c.functions import Written, head, storage
from kernmalloc.lang.c.models import HEADER, MACROS, POISON, REFERENCES, SET, helpers
from kernmalloc.lang.c.names import Constant, Names, body
from kernmalloc.lang.c.records import closure, struct
from kernmalloc.lang.c.text import aligned, comment, wrapped
from kernmalloc.lang.c.values import literal
from kernmalloc.lang.functions import REGISTRY, Function, Primitive, callees, group, signature, symbol
from kernmalloc.lang.records import RecordType
from kernmalloc.lang.shake import reachable
from kernmalloc.lang.source import code
from kernmalloc.lang.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterable

MACHINES = {"raw": "hosted", "bare": "bare"}
"""Life to the group of functions that is its machine."""

ABOUT = """
kernmalloc, written out from its Python sources: a kernel memory manager.

Compile with -std=c11 -O2 -ffreestanding -fno-delete-null-pointer-checks (a record may lie at address 0); gcc may call
memset and memcpy unless -fno-tree-loop-distribute-patterns is given. -DKM_CPUS=1 is for one processor.
""".strip()


Told = Mapping[str, Sequence[Constant]]
"""Constants that callers need, under what they tell."""


def source(
    functions: Iterable[Function] | None = None, life: str = "bare", told: Told | None = None, interface: str = ""
) -> dict[str, str]:
    """kernmalloc.c and kernmalloc.h: the entries among kernel functions (of all, if None) and what they call. The
    header ends with `interface`."""
    groups = ("kernel",) if functions is None and life == "bare" else ("kernel", MACHINES[life])
    given = [function for function in (REGISTRY if functions is None else functions) if group(function) in groups]
    wanted = reachable(function for function in given if REGISTRY[function])
    return _Object(_ordered(wanted), life, told or {}, interface).files()


def _ordered(functions: list[Function]) -> list[Function]:
    """Functions by module: the rooms of a package together, each module and room behind those that it calls."""
    modules: dict[str, list[Function]] = {}
    for function in functions:
        modules.setdefault(function.__module__, []).append(function)
    calls = {
        name: {callee.__module__ for function in found for callee in callees(function)}
        for name, found in modules.items()
    }
    rooms: dict[str, set[str]] = {}
    for name in modules:
        rooms.setdefault(_room(name), set()).add(name)
    between = {room: {_room(callee) for name in found for callee in calls[name]} for room, found in rooms.items()}
    names = [
        name
        for room in _lowest_first(between)
        for name in _lowest_first({name: calls[name] & rooms[room] for name in rooms[room]})
    ]
    return [function for name in names for function in modules[name]]


def _room(module: str) -> str:
    """The package that a module is in, below the one that all are in and its parts."""
    return ".".join(module.split(".")[:3])


def _lowest_first(calls: Mapping[str, set[str]]) -> list[str]:
    """Names, each behind those that it calls; otherwise by the alphabet."""
    found: dict[str, None] = {}
    begun: set[str] = set()

    def visit(name: str) -> None:
        if name not in begun:
            begun.add(name)
            for callee in sorted(calls[name]):
                visit(callee)
            found[name] = None

    for name in sorted(calls):
        visit(name)
    return list(found)


class _Object:
    """All functions of one object, and what they name."""

    def __init__(self, functions: list[Function], life: str, told: Told, interface: str) -> None:
        self.functions, self.life, self.told, self.interface = functions, life, told, interface
        records = closure(record for function in functions for record in _records(function))
        self.names = Names(functions, records, {constant for constants in told.values() for constant in constants})
        self.entries = [function for function in functions if REGISTRY[function]]
        defined = {self.names.functions[function]: function for function in self.entries}
        self.made = {function: Written(function, self.names, defined) for function in functions}
        self.rooms: dict[str, list[Function]] = {}
        for function in functions:
            self.rooms.setdefault(function.__module__, []).append(function)
        taken = (kind for entry in self.entries for kind in (*signature(entry).arguments, signature(entry).result))
        self.shown = closure(kind for kind in taken if kind)
        self.hidden = [record for record in records if record not in self.shown]

    def files(self) -> dict[str, str]:
        """Name to text."""
        return {"kernmalloc.c": self.text(), "kernmalloc.h": self.header()}

    def header(self) -> str:
        statuses = [(f"KM_{status.NAMES[code]} = {code},", meaning) for code, meaning in status.MEANINGS.items()]
        parts = [
            comment(ABOUT),
            "#ifndef KERNMALLOC_H\n#define KERNMALLOC_H",
            "#include <stddef.h>\n#include <stdint.h>",
            HEADER,
            REFERENCES,
            POISON,
            _enumeration("What a call gives that cannot give an address or a count.", statuses),
            *(_enumeration(title, [self.enumerator(it) for it in constants]) for title, constants in self.told.items()),
            *(struct(record, self.names) for record in self.shown),
        ]
        port = self.port()
        if port:
            parts += [comment("The port: what only a machine can do."), *map(_declaration, port)]
        parts.append(comment("The entries."))
        for function in self.entries:
            doc = inspect.getdoc(function)
            lines = wrapped(f"{head(function, self.names)};", 0)
            parts.append("\n".join([comment(doc), *lines] if doc else lines))
        parts += [self.interface] if self.interface else []
        return "\n\n".join([*parts, "#ifdef __cplusplus\n}\n#endif", "#endif"]) + "\n"

    def enumerator(self, constant: Constant) -> tuple[str, str]:
        """A constant that the header tells, and the comment on its line."""
        return f"{self.names.constants[constant]} = {constant.value},", _remark_on(constant)

    def port(self) -> list[Primitive]:
        """The primitives that somebody else supplies."""
        used = {primitive.symbol: primitive for made in self.made.values() for primitive in made.values.primitives}
        return [used[symbol] for symbol in sorted(used)]

    def text(self) -> str:
        used = {name for made in self.made.values() for name in made.values.helpers}
        if self.life == "raw":
            used.add("km_machine_record")
        parts = [comment(ABOUT), '#include "kernmalloc.h"', MACROS]
        if any("KM_SET(" in made.text for made in self.made.values()):
            parts += SET
        parts += [*helpers(used), *(struct(record, self.names) for record in self.hidden)]
        early = self.early()
        if early:
            lines = ["/* Called before they are defined. */"]
            for function in early:
                lines += wrapped(f"{storage(function)}{head(function, self.names)};", 0)
            parts.append("\n".join(lines))
        defines = self.defines()
        for module, functions in self.rooms.items():
            parts.append(_banner(module))
            if defines[module]:
                parts.append("\n".join(aligned(defines[module])))
            for function in functions:
                parts += [*_remark(function), self.made[function].text]
        if self.life == "raw":
            entries = '"\n\t" '.join(f"{symbol(entry)}/{entry.__code__.co_argcount}" for entry in self.entries)
            parts.append(
                f'/* Symbol and number of arguments of every entry. */\nconst char km_entries[] =\n\t"{entries}";'
            )
        return "\n\n".join(parts) + "\n"

    def early(self) -> list[Function]:
        """Functions that one further up calls."""
        place = {function: index for index, function in enumerate(self.functions)}
        called = {
            callee
            for function in self.functions
            for callee in callees(function)
            if place[callee] > place[function] and not REGISTRY[callee]
        }
        return [function for function in self.functions if function in called]

    def defines(self) -> dict[str, list[tuple[str, str]]]:
        """Of every room the constants that it defines, or that it uses first."""
        found: dict[str, list[tuple[str, str]]] = {module: [] for module in self.rooms}
        place = {module: index for index, module in enumerate(self.rooms)}
        first: dict[Constant, str] = {}
        for function in self.functions:
            for constant in self.made[function].values.constants:
                first.setdefault(constant, function.__module__)
        for constant, user in sorted(first.items(), key=lambda item: (_line(item[0]), item[0])):
            if constant.module == status.__name__ or any(constant in constants for constants in self.told.values()):
                continue
            at = constant.module if place.get(constant.module, len(place)) <= place[user] else user
            found[at].append(_define(constant, self.names.constants[constant]))
        return found


def _records(function: Function) -> list[RecordType]:
    """The records that a function names or refers to."""
    named = [function.__globals__.get(name) for name in code(function).co_names]
    return [kind for kind in (*typed(function).kinds.values(), *named) if isinstance(kind, RecordType)]


def _enumeration(title: str, lines: list[tuple[str, str]]) -> str:
    return "\n".join([comment(title), "enum {", *aligned(lines, "\t"), "};"])


def _banner(module: str) -> str:
    """The head comment of a module as that of its room."""
    title = module.removeprefix("kernmalloc.").replace(".", "/")
    doc = inspect.cleandoc(getattr(sys.modules.get(module), "__doc__", None) or "")
    return comment(f"{'=' * 76}\n{title}\n\n{doc}".rstrip())


def _remark(function: Function) -> list[str]:
    """The comment that stands above a function in its module."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename)[: code.co_firstlineno - 1]
    texts: list[str] = []
    while lines and (not lines[-1].strip() or lines[-1].startswith("#")):
        text = lines.pop().strip("# \n")
        texts[:0] = [text] if text else []
    return [comment("\n".join(texts))] if texts else []


def _declaration(primitive: Primitive) -> str:
    """A primitive that the port supplies. Its conditions may begin with a call that names the arguments."""
    named = re.match(r"\w+\(([^)]*)\)", primitive.doc)
    names = re.findall(r"\w+", named.group(1)) if named else []
    if len(names) != primitive.arity:
        names = [f"argument{index}" for index in range(1, primitive.arity + 1)]
    arguments = ", ".join(f"int64_t {name}" for name in names) or "void"
    doc = f"{comment(primitive.doc)}\n" if primitive.doc else ""
    return f"{doc}int64_t {primitive.symbol}({arguments});"


@cache
def _assigned(module: str) -> dict[str, ast.expr]:
    """The expression that each global of a module is assigned."""
    found: dict[str, ast.expr] = {}
    for node in body(module):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                found[target.id] = node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return found


def _line(constant: Constant) -> int:
    node = _assigned(constant.module).get(constant.name)
    return node.lineno if node else 0


def _source_line(constant: Constant) -> str:
    """The line that makes a constant; nothing if it is not at hand."""
    return linecache.getline(sys.modules[constant.module].__file__ or "", _line(constant)) if _line(constant) else ""


def _remark_on(constant: Constant) -> str:
    """The comment on the line that makes a constant."""
    return _source_line(constant).partition("#")[2].strip()


def _define(constant: Constant, name: str) -> tuple[str, str]:
    """A constant as a macro, and its comment: how it is made, if that says more than the value, and what it is."""
    node = _assigned(constant.module).get(constant.name)
    text = literal(constant.value).text
    made, remark = "", _remark_on(constant)
    if node is not None:
        line = _source_line(constant)
        shift = re.fullmatch(r"1 << (\d+)", ast.unparse(node))
        if shift:
            text = f"(1 << {shift[1]})" if constant.value < 1 << 31 else f"(INT64_C(1) << {shift[1]})"
        elif not isinstance(node, ast.Constant | ast.Call):
            made = "" if ast.unparse(node) == str(constant.value) else ast.unparse(node)
        elif f"0x{constant.value:x}" in line.lower():
            text = literal(constant.value, f"0x{constant.value:x}").text
    if text.startswith("-"):
        text = f"({text})"
    return f"#define {name} {text}", ": ".join(part for part in (made, remark) if part)
