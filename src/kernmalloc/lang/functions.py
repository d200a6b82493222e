"""What a kernel is made of: kernel functions, entries, and the primitives that a machine supplies.

A kernel function is a plain Python function over int64: `kernel` registers it and returns it unchanged, so a kernel
module runs under CPython as it is. The front end compiles whatever is registered.
"""

from __future__ import annotations

from types import FunctionType

from kernmalloc.lang import memory

REGISTRY: dict[FunctionType, bool] = {}
"""Every kernel function in order of definition; True if it is an entry."""

RARE: set[FunctionType] = set()
"""Kernel functions that are never inlined."""

INLINED: set[FunctionType] = set()
"""Kernel functions that always are."""

HOST_LEVEL = ("hosted", "soft", "bare")
"""Groups of functions that make up a machine: they access memory as it is, whatever the kernel's life."""

PRIMITIVES: dict[str, Primitive] = {}
"""Every declared primitive by C symbol."""


def kernel(function: FunctionType) -> FunctionType:
    """Register a kernel function: arguments and result are int64."""
    REGISTRY[function] = False
    return function


def rare(function: FunctionType) -> FunctionType:
    """Register a kernel function that is kept apart from its callers: where it is not called, it costs them nothing."""
    RARE.add(function)
    return kernel(function)


def inlined(function: FunctionType) -> FunctionType:
    """Register a kernel function that becomes part of each caller, however many there are: for fast paths."""
    INLINED.add(function)
    return kernel(function)


def entry(function: FunctionType) -> FunctionType:
    """Register a kernel function that objects export as the C symbol km_<name>."""
    REGISTRY[function] = True
    return function


def symbol(function: FunctionType) -> str:
    """The symbol of a kernel function: km_<name> if it is an entry, else its qualified name."""
    return f"km_{function.__name__}" if REGISTRY[function] else f"{function.__module__}.{function.__name__}"


def group(function: FunctionType) -> str:
    """Which objects a function goes into: "hosted", "soft" or "bare" if its module or package is called that (or
    begins so, as in hosted_flush), else "kernel"."""
    parts = {part.partition("_")[0] for part in function.__module__.split(".")}
    return next((name for name in HOST_LEVEL if name in parts), "kernel")


def callees(function: FunctionType) -> list[FunctionType]:
    """The kernel functions that a function names."""
    values = [function.__globals__.get(name) for name in function.__code__.co_names]
    return [value for value in values if isinstance(value, FunctionType) and value in REGISTRY]


class Primitive:
    """A call to a C symbol, int64 in and out. Under CPython: the method of that name of the machine in use."""

    def __init__(self, symbol: str, arity: int, doc: str) -> None:
        self.symbol, self.arity, self.doc = symbol, arity, doc

    def __call__(self, *args: int) -> int:
        if len(args) != self.arity:
            raise TypeError(f"primitive {self.symbol} takes {self.arity} arguments, not {len(args)}")
        return getattr(memory.machine, self.symbol)(*args)

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
