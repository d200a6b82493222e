"""The memory and the machine that kernel Python uses while CPython executes it.

Records, atomics and primitives read `load`, `store` and `machine` from here at every access, so `use` switches them
all at once. Compiled code never comes here: its memory is chosen when it is linked (see backend.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Memory(Protocol):
    """What `use` expects: byte-addressed memory, little-endian, and the primitives of the machine that it is in."""

    machine: Any
    # a memory that several processors share may have, too:
    #   atomically(step)   run step(), which loads and stores, as one access
    #   pause()            the processor that runs waits for another

    def load(self, addr: int, width: int) -> int:
        """`width` bytes (1, 2, 4: unsigned; 8: signed) at `addr`."""

    def store(self, addr: int, width: int, value: int) -> None:
        """Put `value` (already cut to 1, 2 or 4 bytes; 8: signed) at `addr`."""


def _none(*_: int) -> int:
    raise RuntimeError("no memory in use: call twin.use(memory) before executing kernel Python")


load: Callable[[int, int], int] = _none
store: Callable[[int, int, int], Any] = _none
machine: Any = None


def _at_once(step: Callable[[], int]) -> int:
    return step()


def _alone() -> int:
    return 0


atomically: Callable[[Callable[[], int]], int] = _at_once
pause: Callable[[], int] = _alone


def use(memory: Memory) -> None:
    """Make `memory` what records, atomics and primitives refer to from now on, in this process."""
    global load, store, machine, atomically, pause
    load, store, machine = memory.load, memory.store, memory.machine
    atomically, pause = getattr(memory, "atomically", _at_once), getattr(memory, "pause", _alone)
