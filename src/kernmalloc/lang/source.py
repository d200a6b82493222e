"""The syntax tree of a registered function, with the line numbers of its file."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import FunctionType


def tree(function: FunctionType) -> ast.FunctionDef:
    """The function's definition, without decorators; OSError if its source is not at hand."""
    lines, first = inspect.getsourcelines(function)
    module = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(module, first - 1)
    definition = module.body[0]
    definition.decorator_list = []
    return definition
