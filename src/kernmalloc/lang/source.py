"""The source of kernel functions: the syntax tree of one, and functions made of source that a program wrote."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from types import CodeType
from typing import TYPE_CHECKING, Any

from kernmalloc.lang import layout
from kernmalloc.lang.fold import folded

if TYPE_CHECKING:
    from collections.abc import Callable


def tree(function: Callable[..., Any]) -> ast.FunctionDef:
    """The function's definition as this layout has it, without decorators; OSError if its source is not at hand."""
    lines, first = inspect.getsourcelines(function)
    module = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(module, first - 1)
    definition = module.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    return folded(function, definition)


def code(function: Callable[..., Any]) -> CodeType:
    """The function's code as this layout has it."""
    if not layout.LAYOUT.answers:
        return function.__code__
    made = compile(ast.Module([tree(function)], []), function.__code__.co_filename, "exec", dont_inherit=True)
    return next(constant for constant in made.co_consts if isinstance(constant, CodeType))


def define(name: str, source: str, file: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    """The function that a source defines in a namespace. Whoever asks for its source finds it as the file `file`."""
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec", dont_inherit=True), namespace)  # its annotations are records, not names
    made: Callable[..., Any] = namespace[name]
    return made
