"""The memory manager as a freestanding ELF object: the same Python, compiled for a bare machine.

Its entries are the symbols `km_<name>` with 64-bit arguments and results in the target's C convention; it needs no
library, no start-up code and no data of its own: its state is in the memory that it is given (`kernel.layout`).
"""

from functools import cache

import kernmalloc.kernel.boot  # noqa: F401: what is imported is compiled
import kernmalloc.kernel.calls  # noqa: F401
import kernmalloc.kernel.check  # noqa: F401
import kernmalloc.machine.bare as bare


def architectures() -> tuple[str, ...]:
    """The targets that there are objects for."""
    return tuple(bare.INSTRUCTIONS)


def freestanding(architecture: str) -> bytes:
    """The relocatable object for one of `architectures`; KeyError for another. Takes some seconds: it compiles."""
    instructions = bare.INSTRUCTIONS[architecture]
    from kernmalloc.lang import backend

    return backend.link(_compiled(), "bare", backend.TARGETS[architecture], instructions)


@cache
def _compiled() -> dict[str, str]:
    """What the front end makes, which is the same for every target."""
    from kernmalloc.lang import frontend

    return frontend.compile()
