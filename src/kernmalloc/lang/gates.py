"""Gates: what kernel Python refuses, checked on the source before anything is compiled.

Each gate refuses one thing with `file:line: rule: what to do instead`: what kernel Python does not have (`syntax`), a
variable that is not set and a path that does not return (`flow`), a number where a reference is wanted and the other
way round (`typed`), what depends on the order of evaluation (`effects`). What concerns several functions is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.lang.effects import check_order
from kernmalloc.lang.flow import check_flow
from kernmalloc.lang.functions import HOST_LEVEL, callees, group, signature, symbol
from kernmalloc.lang.records import DeclarationError
from kernmalloc.lang.syntax import check_syntax
from kernmalloc.lang.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernmalloc.lang.functions import Function


class GateError(Exception):
    """Every violation, one a line."""


def check(functions: Iterable[Function]) -> None:
    """Check functions. GateError lists whatever is wrong with them."""
    functions = list(functions)
    violations = _undeclared(functions) or _doubles(functions) + _crossings(functions)
    if violations:
        raise GateError("\n".join(violations))
    for function in functions:
        file = function.__code__.co_filename
        violations += [f"{file}:{line}: {rule}" for line, rule in sorted(set(_violations(function)))]
    if violations:
        raise GateError("\n".join(violations))


def _violations(function: Function) -> list[tuple[int, str]]:
    try:
        own = typed(function)
        found = check_syntax(function, own.definition) + check_flow(own.definition)
        return found or own.violations or check_order(function)
    except DeclarationError as error:  # of a record that the function uses
        return [(function.__code__.co_firstlineno, str(error))]


def _undeclared(functions: list[Function]) -> list[str]:
    """Functions whose annotations do not say what they take and give."""
    found = []
    for function in functions:
        try:
            signature(function)
        except DeclarationError as error:
            found.append(f"{_place(function)}: {error}")
    return found


def _place(function: Function) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def _doubles(functions: list[Function]) -> list[str]:
    """Functions that would have one symbol in one object."""
    first: dict[tuple[str, str], Function] = {}
    found = []
    for function in functions:
        for life in HOST_LEVEL if group(function) == "kernel" else [group(function)]:
            other = first.setdefault((life, symbol(function)), function)
            if other is not function:
                found.append(f"{_place(function)}: {function.__name__} is also defined at {_place(other)}: rename one")
                break
    return found


def _crossings(functions: list[Function]) -> list[str]:
    """Calls from the kernel into a machine, or from one machine into another: each object has one machine."""
    return [
        f"{_place(function)}: {function.__name__} calls {callee.__name__} of {callee.__module__}: "
        "declare a primitive for what it does"
        for function in functions
        for callee in callees(function)
        if group(callee) not in ("kernel", group(function))
    ]
