"""The memory manager as a freestanding ELF object: the same Python, compiled for a bare machine.

Its entries are the symbols `km_<name>` with 64-bit arguments and results in the target's C convention; it needs no
library, no start-up code and no data of its own: its state is in the memory that it is given (`kernel.layout`).
What is made is kept with this version's hosted objects (`lang.objects`).
"""

import fcntl
import json
import os
from collections.abc import Callable

import kernmalloc.kernel.calls  # noqa: F401
import kernmalloc.kernel.check  # noqa: F401
import kernmalloc.machine.bare as bare
from kernmalloc.lang import objects
from kernmalloc.lang.functions import REGISTRY

ROOMS = ("kernmalloc.kernel.", "kernmalloc.machine.")  # drivers are no part of a kernel


def architectures() -> tuple[str, ...]:
    """The targets that there are objects for."""
    return tuple(bare.INSTRUCTIONS)


def freestanding(architecture: str) -> bytes:
    """The relocatable object for one of `architectures`; KeyError for another. It is compiled the first time, which takes
    some seconds and needs numba (ModuleNotFoundError). OSError if the cache folder cannot be written."""
    instructions = bare.INSTRUCTIONS[architecture]

    def make() -> bytes:
        from kernmalloc.lang import backend

        return backend.link(_compiled(), "bare", backend.TARGETS[architecture], instructions)

    return _kept(f"{architecture}.o", make)


def _compiled() -> dict[str, str]:
    """What the front end makes, which is the same for every target."""

    def make() -> bytes:
        from kernmalloc.lang import frontend

        return json.dumps(frontend.compile(f for f in REGISTRY if f.__module__.startswith(ROOMS))).encode()

    return json.loads(_kept("bare.json", make))


def _kept(name: str, make: Callable[[], bytes]) -> bytes:
    """The file of that name, made if there is none, by one process of all that want it."""
    folder = objects.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            part = folder / f"{name}.part"
            part.write_bytes(make())
            os.replace(part, path)
    return path.read_bytes()
