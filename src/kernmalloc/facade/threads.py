"""Threads: calls that wait until they can be served (E26).

    >>> with kernel.thread(wait=5) as thread:
    ...     va = thread.malloc(1 << 20)

A thread is the kernel called in another way: what would raise WouldBlock blocks, for at most `wait` seconds. One Python
thread uses one of them; any number of them, and of other users of the kernel, work side by side.
"""

import time
from contextlib import ExitStack
from typing import NamedTuple

from kernmalloc.facade.errors import Deadlock, checked
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.view import View
from kernmalloc.kernel.frames import claims as records
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


def waits(view: View, refused: int = 0) -> list[Wait]:
    """The wait graph: what each thread waits for, those made first first. `refused`: VA of one whose call was refused
    because it could only have waited."""
    kern = view.kern
    found, at = [], int(kern["stalls"]["threads"])
    while at:
        thread = view.read(records.Thread, at)[0]
        if at == refused or thread["state"] == records.STALLED:
            need = int(kern["wanted"] if at == refused else thread["need"])
            found.append(Wait(int(thread["number"]), bool(thread["cleaner"]), _in_words(need)))
        at = int(thread["after"])
    return found[::-1]


def as_thread(handle: Handle, cleaner: bool, wait: float | None) -> Handle:
    """The handle of a new thread of the kernel. Its end lets the thread go, and the kernel stays.

    Calls raise TimedOut after `wait` seconds and Deadlock where waiting would be in vain; then nothing has changed."""
    thread = Thread(checked(handle.call("thread_make", int(cleaner)), "thread()"), wait)
    end = ExitStack()
    end.callback(thread.free, handle)
    return handle.by(thread.call, end)


class Thread:
    """A thread's way of calling. `va`: its record in the kernel."""

    def __init__(self, va: int, wait: float | None) -> None:
        self.va, self.wait = va, wait

    def free(self, handle: Handle) -> None:
        """Let the thread go."""
        handle.enter("thread_free", self.va)
        handle.wake()

    def call(self, handle: Handle, entry: str, args: tuple[int, ...]) -> int:
        """Run an entry of the kernel as this thread, again and again until it need not wait."""
        until = 0 if self.wait is None else time.monotonic_ns() + int(self.wait * 1e9)
        handle.enter("thread_limit", self.va, until)
        try:
            result = self._attempt(handle, entry, args)
            while result == status.WOULD_BLOCK:
                self._sleep(handle, until, entry)
                result = self._attempt(handle, entry, args)
            return result
        except BaseException:
            handle.enter("thread_cancel", self.va)
            raise
        finally:
            handle.wake()

    def _attempt(self, handle: Handle, entry: str, args: tuple[int, ...]) -> int:
        """The call, once: WOULD_BLOCK if the thread is stalled now."""
        life, cpu = handle.life, handle.processor
        with handle.turn:
            handle.refuse_closed(entry)
            result = life.call("thread_run", cpu, self.va)
            try:
                result = life.call(entry, cpu, *args) if result == status.OK else result
            finally:
                life.call("thread_run", cpu, 0)
            if result == status.DEADLOCK:
                raise self._deadlock(handle, entry)
            return result

    def _sleep(self, handle: Handle, until: int, entry: str) -> None:
        """Let others work until this thread is the one to run next."""
        monitor = handle.monitor
        with monitor:
            monitor.waiting += 1
            try:
                monitor.notify_all()
                turn = handle.enter("thread_next")
                while turn != self.va:
                    if turn == status.DEADLOCK:
                        raise self._deadlock(handle, entry)
                    left = (until - time.monotonic_ns()) / 1e9 if until else None
                    if left is not None and left <= 0:
                        handle.enter("tick", time.monotonic_ns())
                        monitor.notify_all()
                        left = 0.01  # others that were woken before are to run first
                    monitor.wait(left)
                    turn = handle.enter("thread_next")
            finally:
                monitor.waiting -= 1

    def _deadlock(self, handle: Handle, entry: str) -> Deadlock:
        return Deadlock(status.DEADLOCK, entry, [str(wait) for wait in waits(handle.view, self.va)])
