"""Threads: calls that wait until they can be served (E26).

    >>> with kernel.thread(wait=5) as thread:
    ...     va = thread.malloc(1 << 20)

A `Thread` is the kernel as one of its threads sees it: all that a `Kernel` does, but what would raise WouldBlock there blocks
here, for at most `wait` seconds. One Python thread uses one `Thread`; any number of them, and of other users of the kernel,
work side by side.
"""

import time
from typing import NamedTuple

from kernmalloc.facade.errors import Deadlock, checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel import threads as records
from kernmalloc.lang import status


class Wait(NamedTuple):
    """A thread that waits: its number, whether it is one that cleans pages, and what it waits for, in words."""

    thread: int
    cleaner: bool
    need: str

    def __str__(self) -> str:
        return f"thread {self.thread}{', which cleans pages,' if self.cleaner else ''} waits for {self.need}"


def _in_words(need: int) -> str:
    if need > 0:
        return "1 frame" if need == 1 else f"{need:,} frames"
    return f"page {~need}" if need < 0 else "room for a request to the source"


def waits(kernel: Kernel, refused: int = 0) -> list[Wait]:
    """The wait graph: what each thread waits for, those made first first. `refused`: VA of one whose call was refused
    because it could only have waited."""
    kern = kernel.view.kern
    found, at = [], int(kern["stalls"]["threads"])
    while at:
        thread = kernel.view.read(records.Thread, at)[0]
        if at == refused or thread["state"] == records.STALLED:
            need = int(kern["wanted"] if at == refused else thread["need"])
            found.append(Wait(int(thread["number"]), bool(thread["cleaner"]), _in_words(need)))
        at = int(thread["after"])
    return found[::-1]


class Thread(Kernel):
    """A kernel as one thread sees it. Make one with `Kernel.thread`; use it in a `with` block or `close` it.

    Calls raise TimedOut after `wait` seconds and Deadlock where waiting would be in vain; then nothing has changed."""

    def __init__(self, kernel: Kernel, cleaner: bool, wait: float | None) -> None:
        made = checked(kernel.call("thread_make", int(cleaner)), "thread()")
        self.__dict__.update(kernel.__dict__)
        self._va, self.wait, self._closed = made, wait, False

    def close(self) -> None:
        """Let the thread go, once; the kernel stays."""
        if not self._closed:
            self._closed = True
            self._enter("thread_free", self._va)
            self._wake()

    def call(self, entry: str, *args: int) -> int:
        """Run an entry of the kernel as this thread, again and again until it need not wait."""
        until = 0 if self.wait is None else time.monotonic_ns() + int(self.wait * 1e9)
        self._enter("thread_limit", self._va, until)
        try:
            result = self._attempt(entry, args)
            while result == status.WOULD_BLOCK:
                self._sleep(until, entry)
                result = self._attempt(entry, args)
            return result
        except BaseException:
            self._enter("thread_cancel", self._va)
            raise
        finally:
            self._wake()

    def _enter(self, entry: str, *args: int) -> int:
        """Run an entry that is about threads, and no thread's own."""
        with self._turn:
            return self._life.call(entry, self._cpu, *args)

    def _attempt(self, entry: str, args: tuple[int, ...]) -> int:
        """The call, once: WOULD_BLOCK if the thread is stalled now."""
        life, cpu = self._life, self._cpu
        with self._turn:
            result = life.call("thread_run", cpu, self._va)
            try:
                result = life.call(entry, cpu, *args) if result == status.OK else result
            finally:
                life.call("thread_run", cpu, 0)
            if result == status.DEADLOCK:
                raise self._deadlock(entry)
            return result

    def _sleep(self, until: int, entry: str) -> None:
        """Let others work until this thread is the one to run next."""
        with self._monitor:
            self._monitor.waiting += 1
            try:
                self._monitor.notify_all()
                turn = self._enter("thread_next")
                while turn != self._va:
                    if turn == status.DEADLOCK:
                        raise self._deadlock(entry)
                    left = (until - time.monotonic_ns()) / 1e9 if until else None
                    if left is not None and left <= 0:
                        self._enter("tick", time.monotonic_ns())
                        self._monitor.notify_all()
                        left = 0.01  # others that were woken before are to run first
                    self._monitor.wait(left)
                    turn = self._enter("thread_next")
            finally:
                self._monitor.waiting -= 1

    def _deadlock(self, entry: str) -> Deadlock:
        return Deadlock(status.DEADLOCK, entry, [str(wait) for wait in waits(self, self._va)])
