"""What this computer's processor counts while something runs (perf_event_open(2)), for this thread, in user mode.

A virtual machine often has no counters, and /proc/sys/kernel/perf_event_paranoid may forbid them: `Counters` says so.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SYSCALLS = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
"""Numbers of perf_event_open of Linux, by machine."""
ATTRIBUTE_BYTES = 64  # PERF_ATTR_SIZE_VER0
NO_KERNEL = 1 << 5 | 1 << 6  # exclude_kernel, exclude_hv
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


class Event(NamedTuple):
    """What is counted: PERF_TYPE_*, and the number of the event in it."""

    type: int
    config: int


MISSES, WALKED_FOR = "misses of the data TLB", "loads"
EVENTS = {
    MISSES: Event(3, 3 | 1 << 16),  # PERF_COUNT_HW_CACHE_DTLB, OP_READ, RESULT_MISS
    WALKED_FOR: Event(3, 3),  # as many lookups
    "cycles": Event(0, 0),  # PERF_COUNT_HW_CPU_CYCLES
}
FAULTS = Event(1, 2)  # PERF_COUNT_SW_PAGE_FAULTS: the kernel counts them, every computer has it


class NoCounters(Exception):
    """This computer counts none of it: one line."""


class Counters:
    """Open counters by name. Raises NoCounters; use it in a `with` block."""

    def __init__(self, events: Mapping[str, Event] = EVENTS) -> None:
        self._files: dict[str, int] = {}
        try:
            for name, event in events.items():
                self._files[name] = _opened(name, event)
        except NoCounters:
            self.close()
            raise

    def __enter__(self) -> "Counters":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let them go."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def read(self) -> dict[str, int]:
        """What they count, from their opening on."""
        return {name: int.from_bytes(os.read(file, 8), "little") for name, file in self._files.items()}

    @contextmanager
    def during(self) -> Iterator[dict[str, int]]:
        """What is counted within the block is in the dictionary when it is over."""
        counted: dict[str, int] = {}
        before = self.read()
        yield counted
        counted |= {name: value - before[name] for name, value in self.read().items()}


def _opened(name: str, event: Event) -> int:
    """The file of one counter of this thread, on whatever processor it runs. Raises NoCounters."""
    number = SYSCALLS.get(platform.machine())
    if number is None:
        raise NoCounters(f"{name}: not known how to count them on {platform.machine()}")
    attribute = bytearray(ATTRIBUTE_BYTES)
    for at, size, value in ((0, 4, event.type), (4, 4, ATTRIBUTE_BYTES), (8, 8, event.config), (40, 8, NO_KERNEL)):
        attribute[at : at + size] = value.to_bytes(size, "little")
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype, word = ctypes.c_long, ctypes.c_long
    told = ctypes.create_string_buffer(bytes(attribute), ATTRIBUTE_BYTES)
    file: int = syscall(word(number), told, word(0), word(-1), word(-1), word(0))
    if file < 0:
        raise NoCounters(f"{name}: {_why(ctypes.get_errno())}")
    return file


def _why(error: int) -> str:
    """What an error of the call means."""
    if error in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return "this computer has no such counter, as a virtual machine often has none"
    if error in (errno.EACCES, errno.EPERM):
        return f"not allowed: {PARANOID} says {PARANOID.read_text().strip() if PARANOID.exists() else 'nothing'}"
    return os.strerror(error)
