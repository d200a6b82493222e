"""A booted kernel as one caller has it: what every other part of the facade needs, below them all.

A handle calls the kernel on one processor, in one way. Ways of calling are functions: `at_once` answers WOULD_BLOCK
where a call would have to wait, a thread's waits (`facade/threads.py`). Python threads take turns at a processor.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy

from kernmalloc.facade.loader import Loaded
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.view import View
from kernmalloc.kernel.core.kern import Cpu
from kernmalloc.machine.lives import Life
from kernmalloc.machine.memory_map import Machine


class Monitor(threading.Condition):
    """Where Python threads wait for their turn; `waiting`: how many do."""

    waiting = 0


class Handle:
    """One caller's kernel. `end`: what is to be let go when the caller is done with it."""

    def __init__(
        self, life: Life, loaded: Loaded, machine: Machine, profile: Profile, mode: str, end: ExitStack
    ) -> None:
        self.life, self.loaded, self.machine, self.profile, self.mode = life, loaded, machine, profile, mode
        self.view = View(life.ram, loaded)
        self.monitor = Monitor()
        self._turns = [threading.Lock() for _ in range(int(loaded.info["cpus"]))]
        self.turn = self._turns[0]
        self.processor = loaded.cpu  # VA of the processor's record
        self.calling: Calling = at_once
        self.end = end

    def on(self, number: int) -> "Handle":
        """The handle that calls the kernel on its processor `number`."""
        other = copy(self)
        other.processor, other.turn = self.loaded.cpu + number * Cpu.size, self._turns[number]
        return other

    def by(self, calling: "Calling", end: ExitStack) -> "Handle":
        """The handle that calls the kernel in another way."""
        other = copy(self)
        other.calling, other.end = calling, end
        return other

    def call(self, entry: str, *args: int) -> int:
        """Run an entry of the kernel: the plain result, which may be a status (`lang.failed`)."""
        return self.calling(self, entry, args)

    def enter(self, entry: str, *args: int) -> int:
        """Run an entry once, when it is this caller's turn, whatever the way of calling."""
        with self.turn:
            return self.life.call(entry, self.processor, *args)

    def call_kern(self, entry: str, *args: int) -> int:
        """Run an entry that takes the kernel record instead of a processor."""
        return self.life.call(entry, self.view.kern_va, *args)

    def wake(self) -> None:
        """Let those that wait see whether it is their turn."""
        if self.monitor.waiting:
            with self.monitor:
                self.monitor.notify_all()


Calling = Callable[[Handle, str, tuple[int, ...]], int]


def at_once(handle: Handle, entry: str, args: tuple[int, ...]) -> int:
    """Run an entry, which answers WOULD_BLOCK where it would have to wait."""
    result = handle.enter(entry, *args)
    handle.wake()
    return result
