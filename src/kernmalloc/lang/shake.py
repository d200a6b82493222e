"""Shaking: what of the declarations is left for some entries: functions that they lead to, fields that these name."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from kernmalloc.lang.functions import REGISTRY, Function, callees
from kernmalloc.lang.records import Offset
from kernmalloc.lang.source import code
from kernmalloc.lang.typed import typed
from kernmalloc.lang.verify import MADE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernmalloc.lang.records import RecordType


def reachable(entries: Iterable[Function]) -> list[Function]:
    """Functions that entries lead to, in order of definition."""
    todo, found = list(entries), set[Function]()
    while todo:
        function = todo.pop()
        if function not in found:
            found.add(function)
            todo += callees(function)
    return [function for function in REGISTRY if function in found]


def fields(functions: Iterable[Function], records: Iterable[RecordType]) -> dict[str, tuple[str, ...]]:
    """The fields of records, by name, that functions name; those that hold equations or make seals do not count."""
    named: dict[RecordType, set[str]] = {record: set() for record in records}
    for function in functions:
        if function in MADE:
            continue
        for name in code(function).co_names:
            offset = function.__globals__.get(name)
            if isinstance(offset, Offset) and offset.record in named:
                named[offset.record].add(offset.field)
        own = typed(function)
        for node in ast.walk(own.definition):
            item = own.field(node) if isinstance(node, ast.Attribute) else None
            if item is not None and item.owner in named:
                named[item.owner].add(item.name)
    return {record.name: tuple(name for name in record.declared if name in names) for record, names in named.items()}
