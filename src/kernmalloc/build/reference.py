"""The reference of the kernel, made from its sources: statuses, and of each room its calls and its records.

    python -m kernmalloc.build.reference > docs/reference.md

A room is a folder or a file of `kernel/`. What `kernel/calls.py` makes an entry stands in the room of the function that
does it. The machine comes last: its primitives, and the records of its modules.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import kernmalloc.kernel
import kernmalloc.machine
from kernmalloc.lang import markdown, status
from kernmalloc.lang.functions import REGISTRY, Function, Primitive, signature
from kernmalloc.lang.records import RecordType
from kernmalloc.machine import primitives

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

ROOMS = ("loaders", "core", "frames", "map", "heap", "pages", "devices", "boot", "stalls", "held", "check", "calls")
"""The rooms of the kernel, lowest first."""

HEAD = """# Reference

What the kernel can be asked for, and what its memory holds. `make reference` makes this file from the sources.

- A call is the symbol `km_call_<name>` of an object. Its arguments and its result are 64-bit numbers; an argument with
  the name of a record behind it is that record's address. In Python it is `kernel.call("<name>", ...)`, without `cpu`.
- A field's offset is in bytes. `→ Kern` is 8 bytes that lead to such a record; `Word × 4` is four of them in a row.
- `check` asserts the equations under *Always* of every record of the kind.
"""


def text() -> str:
    """The whole reference, as Markdown."""
    calls = list(_entries())
    parts = [HEAD, _statuses()]
    for room in ROOMS:
        parts += _room(room, [module for module in _modules(kernmalloc.kernel) if _room_of(module) == room], calls)
    parts += ["## machine\n", _primitives(), *_chapters(_modules(kernmalloc.machine), [])]
    return "\n".join(parts)


def _statuses() -> str:
    rows = [(str(code), f"`{status.NAMES[code]}`", meaning) for code, meaning in status.MEANINGS.items()]
    return "## Statuses\n\n" + table(("result", "name", "meaning"), rows)


def _primitives() -> str:
    """What the kernel needs of the machine: a primitive's docstring begins with its arguments."""
    found = [value for value in vars(primitives).values() if isinstance(value, Primitive)]
    rows = [(f"`{call}`", " ".join(does.split())) for call, _, does in (each.doc.partition(": ") for each in found)]
    about = "The primitives, which the port to a machine supplies as `km_port_<name>`:"
    return f"{about}\n\n" + table(("primitive", "what it does"), rows)


def _room(room: str, modules: list[ModuleType], calls: list[tuple[Function, str]]) -> list[str]:
    """The heading of a room and a chapter for each of its modules; nothing if there is nothing to say."""
    chapters = list(_chapters(modules, calls))
    return [f"## {room}\n", *chapters] if chapters else []


def _chapters(modules: Iterable[ModuleType], calls: Iterable[tuple[Function, str]]) -> Iterator[str]:
    """Of each module the first paragraph of its theory, its calls and its records."""
    for module in modules:
        here = [entry for entry, home in calls if home == module.__name__]
        records = _records(module)
        if here or records:
            path = module.__name__.removeprefix("kernmalloc.").removeprefix("kernel.").replace(".", "/")
            yield f"### `{path}.py`\n\n{_about(module)}\n"
            if here:
                yield table(("call", "what it does"), [(f"`{_head(entry)}`", _doc(entry)) for entry in here])
            for record in records:
                yield f"#{markdown(record)}"


def _about(module: ModuleType) -> str:
    """The first paragraph of a module's theory."""
    return (inspect.getdoc(module) or "").partition("\n\n")[0]


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """The modules of a package, packages apart, by name."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        if not found.ispkg:
            yield module


def _room_of(module: ModuleType) -> str:
    return module.__name__.split(".")[2]


def _entries() -> Iterator[tuple[Function, str]]:
    """The kernel's entries in order of definition, each with the module of the function that does it."""
    list(_modules(kernmalloc.kernel))  # entries are known once their modules are
    homes: dict[str, list[str]] = {}
    for function, is_entry in REGISTRY.items():
        if not is_entry and function.__module__.startswith("kernmalloc.kernel."):
            homes.setdefault(function.__name__, []).append(function.__module__)
    for function, is_entry in REGISTRY.items():
        if is_entry and function.__module__ == "kernmalloc.kernel.calls":
            (home,) = homes.get(function.__name__, [function.__module__])  # a call made of calls is at home there
            yield function, home
        elif is_entry and function.__module__.startswith("kernmalloc.kernel."):
            yield function, function.__module__


def _records(module: ModuleType) -> list[RecordType]:
    """The records that a module declares, in order."""
    return [
        kind for kind in vars(module).values() if isinstance(kind, RecordType) and kind.__module__ == module.__name__
    ]


def _head(function: Function) -> str:
    """An entry with its arguments, as `free(cpu: Cpu, va)`."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    kinds = signature(function).arguments
    arguments = [f"{name}: {kind.name}" if kind else name for name, kind in zip(names, kinds, strict=True)]
    return f"{function.__name__}({', '.join(arguments)})"


def _doc(function: Function) -> str:
    return " ".join((inspect.getdoc(function) or "").split())


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table, as Markdown."""
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    print(text(), end="")
