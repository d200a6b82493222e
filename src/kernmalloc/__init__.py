"""kernmalloc: the kernel memory manager that EROS v2 and Coyotos described.

    from kernmalloc import Kernel, Machine, Profile

The names are loaded when they are first asked for, so that a command starts no slower than what it uses.
"""

from importlib import import_module

from kernmalloc.results import shown

__version__ = "0.1.0"

_HOME = {
    "Kernel": "kernmalloc.facade.kernel",
    "Machine": "kernmalloc.machine.memory_map",
    "Profile": "kernmalloc.facade.profile",
}

__all__ = ["Kernel", "Machine", "Profile", "__version__"]  # noqa: F822 they come with `__getattr__`


shown.written_by("kernmalloc.report.notebook")


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'kernmalloc' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
