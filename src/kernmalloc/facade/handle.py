"""A booted kernel as one caller has it: what every other part of the facade needs, below them all.

A handle calls the kernel on one processor, in one way. Ways of calling are functions: `at_once` answers WOULD_BLOCK
where a call would have to wait, a thread's waits (`facade/threads.py`). Python threads take turns at a processor.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from weakref import WeakSet, finalize

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.errors import checked
from kernmalloc.facade.loader import Loaded
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.view import view_of
from kernmalloc.kernel.core.kern import Cpu, Word
from kernmalloc.machine.lives import Life, LifeError
from kernmalloc.machine.memory_map import Machine


class Monitor(threading.Condition):
    """What all callers of one kernel share: where Python threads wait for their turn, of which `waiting` do; how many
    are `busy` in loops and with its memory; whether it is `closed`, or another process's since a fork, or `over`:
    closed, and nobody is inside any more; the core tables that are `kept` of it then; and `end`, which lets its memory
    go."""

    waiting = busy = 0
    closed = forked = over = False
    kept: list[tuple[int, memoryview]] | None = None

    def __init__(self, end: ExitStack) -> None:
        super().__init__()
        self.end = end
        finalize(self, end.close).atexit = False  # a kernel that nobody has any more gives its window back
        _open.add(self)


_open: WeakSet[Monitor] = WeakSet()


def _forked() -> None:
    """Close all kernels in the child of a fork: their memory is the parent's, and would be shared. Locks may be held
    for good here, by threads of the parent."""
    for monitor in list(_open):
        monitor.closed = monitor.forked = True
        monitor.end.close()


os.register_at_fork(after_in_child=_forked)


class Handle:
    """One caller's kernel. `end`: what is to be let go when the caller is done with it."""

    def __init__(
        self, life: Life, loaded: Loaded, machine: Machine, profile: Profile, mode: str, end: ExitStack
    ) -> None:
        self.life, self.loaded, self.machine, self.profile, self.mode = life, loaded, machine, profile, mode
        self.view = view_of(life.ram, loaded)
        self.monitor = Monitor(end)
        self._turns = [threading.Lock() for _ in range(int(loaded.info["cpus"]))]
        self.turn = self._turns[0]
        self.processor = loaded.cpu  # VA of the processor's record
        self.calling: Calling = at_once
        self.end = ExitStack()
        self.held = 0  # where the memory is that of a dump: the number of the processor that was inside, plus 1

    def close(self) -> None:
        """Be done with it. Who is done with the whole kernel waits for what other threads do with it to end."""
        if self.calling is at_once and not self.monitor.forked:
            self.monitor.closed = True
            with self.alone():
                if not self.monitor.over:
                    self.monitor.over, self.monitor.kept = True, self.view.kept()
                self.monitor.notify_all()  # who waits is told
        self.end.close()
        if self.calling is at_once:
            self.monitor.end.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other thread is inside; none enters meanwhile."""
        with self.monitor, ExitStack() as turns:
            self.monitor.wait_for(lambda: not self.monitor.busy)
            for turn in self._turns:
                turns.enter_context(turn)
            yield

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """What loops and drivers do to the kernel's memory ends before it is closed. LifeError if it is."""
        self.refuse_closed(what)
        with self.monitor:
            self.refuse_closed(what)
            self.monitor.busy += 1
        try:
            yield
        finally:
            with self.monitor:
                self.monitor.busy -= 1
                self.monitor.notify_all()

    def refuse_closed(self, what: str) -> None:
        """LifeError if the kernel is closed."""
        if self.monitor.closed:
            since = ": since the fork it is the parent's" if self.monitor.forked else ""
            raise LifeError(f"{what}: this kernel is closed{since}")

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
        self.refuse_closed(entry)
        if self.held and entry != "check":
            raise LifeError(f"{entry}: processor {self.held - 1} was inside the kernel when it was dumped, for good")
        with self.turn:
            self.refuse_closed(entry)
            return self.life.call(entry, self.processor, *args)

    @contextmanager
    def numbers(self, count: int) -> Iterator[tuple[int, NDArray[numpy.int64]]]:
        """Room in the heap for so many numbers: its address, and what is there. Raises as `Kernel.malloc`."""
        size = max(count, 1) * Word.size
        va = checked(self.call("malloc", size), f"malloc({size})")
        try:
            yield va, numpy.frombuffer(self.view.shared(va, size), numpy.int64)
        finally:
            self.call("free", va)

    def call_kern(self, entry: str, *args: int) -> int:
        """Run an entry that takes the kernel record instead of a processor."""
        return self.loop(entry, self.view.kern_va, *args)

    def loop(self, name: str, *args: int) -> int:
        """Run what needs no turn: a compiled loop, whose arguments are addresses of this process."""
        with self.busy(name):
            return self.life.call(name, *args)

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
