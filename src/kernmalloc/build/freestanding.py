"""The memory manager as a freestanding ELF object: the same Python, compiled for a bare machine.

Its entries are the symbols `km_call_<name>` in the target's C convention, as the header declares them: numbers have 64
bits, references are pointers. It needs no library, no start-up code and no data of its own: its state is in the memory
that it is given (`kernel.layout`).
What is made is kept with this version's hosted objects (`lang.cache`).
"""

import json

import kernmalloc.kernel.boot.arena  # noqa: F401
import kernmalloc.kernel.boot.layout  # noqa: F401
import kernmalloc.kernel.boot.ranges  # noqa: F401
import kernmalloc.kernel.boot.steps  # noqa: F401
import kernmalloc.kernel.calls  # noqa: F401
import kernmalloc.kernel.check.check  # noqa: F401
import kernmalloc.kernel.loaders.protocols  # noqa: F401
import kernmalloc.kernel.map.miss  # noqa: F401
import kernmalloc.machine.bare  # noqa: F401
from kernmalloc.build import apart, narrow
from kernmalloc.lang import cache
from kernmalloc.lang.functions import REGISTRY, Function, group
from kernmalloc.lang.layout import LAYOUT, Layout
from kernmalloc.machine.arch import ARCHES, TARGETS

ROOMS = ("kernmalloc.kernel.", "kernmalloc.machine.")  # drivers are no part of a kernel


def freestanding(architecture: str, layout: Layout = LAYOUT) -> bytes:
    """The relocatable object in a layout for one of `machine.arch.TARGETS`; KeyError for another. It is compiled the
    first time, which takes some seconds. OSError if there is no folder at all to keep it in."""
    target, instructions = TARGETS[architecture], ARCHES[architecture].instructions

    def make() -> bytes:
        from kernmalloc.lang import backend

        groups, ways_in = _compiled() if layout == LAYOUT else apart.made(layout, "ir"), ""
        if target.pointer < 64:
            groups, ways_in = narrow.entered(groups, entries(layout), target.pointer)
        return backend.link(groups, "bare", target, instructions + ways_in)

    return cache.kept(f"{architecture}{'' if layout == LAYOUT else f'-{layout.number}'}.o", make)


def _compiled() -> dict[str, str]:
    """What the front end makes, which is the same for every target."""

    def make() -> bytes:
        from kernmalloc.lang import frontend

        return json.dumps(frontend.compile(_functions())).encode()

    compiled: dict[str, str] = json.loads(cache.kept("bare.json", make))
    return compiled


def _functions() -> list[Function]:
    """Every function of a kernel. The order in which a process has imported them is no part of an object."""
    return sorted((f for f in REGISTRY if f.__module__.startswith(ROOMS)), key=lambda f: f.__module__)


def entries(layout: Layout = LAYOUT) -> list[Function]:
    """The entries of a layout. Functions are the same in all."""
    if layout == LAYOUT:
        return [function for function in _functions() if REGISTRY[function] and group(function) == "kernel"]
    return [function for function in REGISTRY if f"{function.__module__}.{function.__name__}" in layout.entries]
