"""Names in C: functions, constants, records and locals are called as in Python, unless C or a second one has that name.

A function that shares its name, or whose name begins with an underscore, has its module's name before its own:
`_pop` of stock becomes `stock_pop`. An entry is `km_call_<name>`, a machine's primitive `km_port_<name>`, a record
`struct km_<name>`, a status or another constant that the header tells `KM_<NAME>`.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernmalloc.lang import status
from kernmalloc.lang.c.models import HELPERS
from kernmalloc.lang.functions import REGISTRY, Function, symbol
from kernmalloc.lang.source import code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernmalloc.lang.records import RecordType

_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof bool true
false offsetof main linux unix i386 errno
alignas alignof and and_eq bitand bitor catch class compl const_cast constexpr decltype delete dynamic_cast explicit
export friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
reinterpret_cast static_assert static_cast template this thread_local throw try typeid typename typeof_unqual using
virtual wchar_t xor xor_eq
"""
_LIBRARY = """
abort abs acos asin atan atexit atoi atol bsearch calloc ceil cos div exit exp floor fmod free frexp getenv
labs ldiv log malloc memchr memcmp memcpy memmove memset modf pow printf puts qsort rand read realloc remove
rename round scanf signal sin sqrt srand strcat strchr strcmp strcpy strlen strncmp strncpy system tan time
trunc write mmap munmap madvise
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""Of C up to C23 and of C++, and what their compilers and headers define."""
LIBRARY = frozenset(_LIBRARY.split())
"""Functions that compilers know the types of."""


class Constant(NamedTuple):
    """A global integer of a module."""

    module: str
    name: str
    value: int


class Names:
    """What everything in one object is called."""

    def __init__(self, functions: list[Function], records: list[RecordType], told: set[Constant]) -> None:
        self.functions = _function_names(functions)
        self.tags = _tags(records)
        used = {constant for function in functions for constant in _constants(function)}
        self.constants = _constant_names(used | told, told)
        same = {function.__name__ for function, name in self.functions.items() if name == function.__name__}
        self.taken = KEYWORDS | {"shl"} | set(self.functions.values()) - same | set(self.constants.values())

    def local(self, name: str) -> str:
        """The name of a local or of a field."""
        return f"{name}_" if name in self.taken else name

    def struct(self, record: RecordType) -> str:
        """The type of a record."""
        return f"struct {self.tags[record]}"


def snake(name: str) -> str:
    """HeapPage as heap_page."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def room(module: str) -> str:
    """The last part of a module's name."""
    return module.rpartition(".")[2]


def _function_names(functions: list[Function]) -> dict[Function, str]:
    shared = Counter(function.__name__ for function in functions if not REGISTRY[function])
    names: dict[Function, str] = {}
    long = []
    for function in functions:
        name = function.__name__
        plain = not name.startswith("_") and shared[name] == 1 and name not in KEYWORDS | LIBRARY | HELPERS.keys()
        if REGISTRY[function]:
            names[function] = symbol(function)
        elif plain:
            names[function] = name
        else:
            long.append(function)
    for function in long:
        names[function] = _first_free(function.__module__, function.__name__.lstrip("_"), set(names.values()))
    return names


def _tags(records: list[RecordType]) -> dict[RecordType, str]:
    shared = Counter(record.name for record in records)
    tags: dict[RecordType, str] = {}
    for record in records:
        name = snake(record.name)
        alone = shared[record.name] == 1
        tags[record] = f"km_{name if alone else _first_free(record.__module__, name, set(tags.values()))}"
    return tags


def _constant_names(constants: set[Constant], told: set[Constant]) -> dict[Constant, str]:
    shared = Counter(constant.name for constant in constants)
    names: dict[Constant, str] = {}
    for constant in sorted(constants):
        name = constant.name
        if constant.module == status.__name__ or constant in told:
            names[constant] = f"KM_{name}"
        elif name.isupper() and not name.startswith("_") and shared[name] == 1:
            names[constant] = name
        else:
            names[constant] = _first_free(constant.module, name.lstrip("_"), set(names.values())).upper()
    return names


def _first_free(module: str, name: str, taken: set[str]) -> str:
    """The name behind as much of its module's as nobody else has."""
    parts = module.split(".")
    names = ["_".join([*parts[-length:], name]) for length in range(1, len(parts) + 1)]
    names += [f"{names[-1]}_{number}" for number in range(2, 9)]
    return next(free for free in names if free not in taken and free.upper() not in taken)


def _constants(function: Function) -> Iterator[Constant]:
    for name in code(function).co_names:
        found = constant(function, name)
        if found:
            yield found


def constant(function: Function, name: str) -> Constant | None:
    """The constant that a function calls so."""
    value = function.__globals__.get(name)
    if not isinstance(value, int):
        return None
    return Constant(*_origin(function.__module__, name), int(value))


@cache
def _origin(module: str, name: str) -> tuple[str, str]:
    """The module that a name of a module is from, and what it is called there."""
    found = imports(module).get(name)
    return (module, name) if found is None or found[0] not in sys.modules else _origin(*found)


@cache
def imports(module: str) -> dict[str, tuple[str, str]]:
    """Of each name that a module imports, where it is from and its name there."""
    found: dict[str, tuple[str, str]] = {}
    for node in body(module):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return found


@cache
def body(module: str) -> list[ast.stmt]:
    """The statements of a module; none if its source is not at hand."""
    try:
        return ast.parse(inspect.getsource(sys.modules[module])).body
    except (KeyError, OSError):
        return []
