"""What a kernel is made of: kernel functions, entries, and the primitives that a machine supplies.

A kernel function is a plain Python function. Its annotations say of each argument and of the result whether it is a
number (`int`) or a reference to a record. `kernel` registers it and returns it unchanged, so a kernel module runs under
CPython as it is. The front ends compile whatever is registered.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from functools import cache, update_wrapper
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias, TypeVar

from kernmalloc.lang import memory
from kernmalloc.lang.records import DeclarationError, RecordType, named
from kernmalloc.lang.source import code

Function: TypeAlias = Callable[..., Any]
"""A kernel function, or what may become one."""

F = TypeVar("F", bound=Function)

REGISTRY: dict[Function, bool] = {}
"""Every kernel function in order of definition; True if it is an entry."""

RARE: set[Function] = set()
"""Kernel functions that are never inlined."""

INLINED: set[Function] = set()
"""Kernel functions that always are."""

PORTS: set[Function] = set()
"""Entries by which a machine supplies a primitive."""

CALL, PORT = "km_call_", "km_port_"
"""How the symbol of an entry begins, and that of a primitive of the machine."""

HOST_LEVEL = ("hosted", "soft", "bare")
"""Groups of functions that make up a machine: they access memory as it is, whatever the kernel's life."""

SMALL: set[Function] = set()
"""Kernel functions that are made small rather than fast."""

SELDOM = ("boot", "loaders", "devices", "fetch", "pages", "stalls")
"""Modules and packages whose functions run seldom: they are made small, too."""

DRIVERS = "drivers"
"""The package whose entries are loops that call the kernel."""

PRIMITIVES: dict[str, Primitive] = {}
"""Every declared primitive by C symbol."""


def kernel(function: F) -> F:
    """Register a kernel function."""
    REGISTRY[function] = False
    return function


def rare(function: F) -> F:
    """Register a kernel function that is kept apart from its callers: where it is not called, it costs them nothing."""
    RARE.add(function)
    return kernel(function)


def small(function: F) -> F:
    """Register a kernel function that is made small rather than fast, for it does little beside what it calls."""
    SMALL.add(function)
    return kernel(function)


def inlined(function: F) -> F:
    """Register a kernel function that becomes part of each caller, however many there are: for fast paths."""
    INLINED.add(function)
    return kernel(function)


def entry(function: F) -> F:
    """Register a kernel function that objects export as the C symbol km_call_<name>."""
    REGISTRY[function] = True
    return function


def port(function: F) -> F:
    """Register a kernel function by which a machine supplies a primitive: the C symbol km_port_<name>."""
    PORTS.add(function)
    return entry(function)


def symbol(function: Function) -> str:
    """The symbol of a kernel function: km_call_<name> if it is an entry, km_port_<name> if it is a machine's primitive,
    else its qualified name."""
    prefix = PORT if function in PORTS else CALL if REGISTRY[function] else f"{function.__module__}."
    return prefix + function.__name__


def group(function: Function) -> str:
    """Which objects a function goes into: "hosted", "soft" or "bare" if its module or package is called that (or
    begins so, as in hosted_flush), else "kernel"."""
    parts = {part.partition("_")[0] for part in function.__module__.split(".")}
    return next((name for name in HOST_LEVEL if name in parts), "kernel")


def is_small(function: Function) -> bool:
    """True of a function that is made small rather than fast."""
    return function in SMALL or any(part in SELDOM for part in function.__module__.split("."))


def is_call(function: Function) -> bool:
    """True of an entry by which somebody calls the kernel: not a driver's, nor a machine's."""
    return REGISTRY[function] and group(function) == "kernel" and DRIVERS not in function.__module__.split(".")


@cache
def callees(function: Function) -> tuple[Function, ...]:
    """The kernel functions that a function names."""
    # not `co_names`: these hold its fields, too
    names = dict.fromkeys(step.argval for step in dis.get_instructions(code(function)) if step.opname == "LOAD_GLOBAL")
    values = [function.__globals__.get(name) for name in names]
    return tuple(value for value in values if isinstance(value, FunctionType) and value in REGISTRY)


class Signature(NamedTuple):
    """What a kernel function takes and gives: of each argument and of the result the record, or None for a number."""

    arguments: tuple[RecordType | None, ...]
    result: RecordType | None


@cache
def signature(function: Function) -> Signature:
    """What a kernel function's annotations say; DeclarationError for what is neither `int` nor a record."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    kinds = [_annotated(function, name) for name in (*names, "return")]
    return Signature(tuple(kinds[:-1]), kinds[-1])


def _annotated(function: Function, name: str) -> RecordType | None:
    annotation = function.__annotations__.get(name)
    if annotation in (int, "int"):
        return None
    kind = named(annotation, function.__module__) if annotation is not None else None
    if not isinstance(kind, RecordType):
        what = "the result" if name == "return" else name
        says = "" if annotation is None else f", not {getattr(annotation, '__name__', annotation)}"
        raise DeclarationError(f"{function.__name__}: annotate {what} with int or a record{says}")
    return kind


def over_numbers(function: Function, body: Function | None = None) -> Callable[..., int]:
    """A kernel function as callers outside the kernel see it: references are numbers, in and out. `body` is called in
    its place, if given."""
    kinds, result = signature(function)
    run = body or function

    def call(*args: int) -> int:
        value: Any = run(*(kind(arg) if kind else arg for kind, arg in zip(kinds, args, strict=True)))
        return int(value.addr if result else value)

    return update_wrapper(call, run)


class Primitive:
    """A call to a C symbol, int64 in and out. Under CPython: the method of that name of the machine in use."""

    def __init__(self, symbol: str, arity: int, doc: str) -> None:
        self.symbol, self.arity, self.doc = symbol, arity, doc

    def __call__(self, *args: int) -> int:
        if len(args) != self.arity:
            raise TypeError(f"primitive {self.symbol} takes {self.arity} arguments, not {len(args)}")
        return int(getattr(memory.machine, self.symbol)(*args))

    def __repr__(self) -> str:
        return f"primitive {self.symbol}/{self.arity}"


def primitive(symbol: str, arity: int, doc: str = "") -> Primitive:
    """Declare a primitive; `doc` gives its pre- and postconditions. The same symbol may be declared again alike."""
    known = PRIMITIVES.setdefault(symbol, Primitive(symbol, arity, doc))
    if known.arity != arity:
        raise TypeError(f"primitive {symbol} is declared with {known.arity} and with {arity} arguments")
    return known


machine_record = primitive(
    "km_machine_record", 0, "Address of the host's record for this loaded kernel (hosted, soft)."
)
