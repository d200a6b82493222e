"""Calls in mode raw, timed one by one, with this computer's part of it told apart.

Concepts
  1. In mode raw this computer's kernel is asked to map what our kernel has mapped, a system call for each run of pages,
     and meets each page once more when it is first touched. That is no part of the memory manager, and often most of
     the time: how often both happened is counted, what one of each takes is measured on a window, and `host` is the
     product. It is an estimate: the first touch of a page that this computer has no memory for yet takes longer.
  2. `way` is what a call takes that is refused at once: from Python and back.
"""

import time
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import NamedTuple

from kernmalloc.facade.errors import checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.machine.lives import Raw

HOST = "this computer's part of it"
OFTEN = 100


class Call(NamedTuple):
    """What a call took, in ns; for how many mappings this computer was asked, and how many page faults it had."""

    answer: int
    ns: int
    mappings: int
    faults: int


class Timed:
    """The calls of a kernel in mode raw."""

    def __init__(self, kernel: Kernel) -> None:
        assert isinstance(kernel.handle.life, Raw)
        self._life = kernel.handle.life
        pfn = kernel.frame_get("page")
        va = checked(kernel.call("window_open", pfn), "window_open")
        mappings, touches = zip(
            *((self.call("port_flush", va, 1), self.call("port_zero", va, 8)) for _ in range(OFTEN)), strict=True
        )
        touched = _usual([self.call("port_zero", va, 8) for _ in range(OFTEN)])
        kernel.call("window_close", va)
        kernel.frame_put(pfn)
        self.way = _usual([self.call("window_close", kernel.processor, 0) for _ in range(OFTEN)])
        self.mapping = _usual(mappings) - self.way
        self.fault = _usual(touches) - touched

    def call(self, entry: str, *arguments: int) -> Call:
        """Run an entry of the kernel."""
        function = self._life.library.function(entry)
        mapped, faults = int(self._life.state["mapped"]), getrusage(RUSAGE_SELF).ru_minflt
        started = time.perf_counter_ns()
        answer = function(*arguments)
        spent = time.perf_counter_ns() - started
        faults = getrusage(RUSAGE_SELF).ru_minflt - faults
        return Call(answer, spent, int(self._life.state["mapped"]) - mapped, faults)

    def host(self, call: Call) -> float:
        """This computer's part of a call, ns."""
        return call.mappings * self.mapping + call.faults * self.fault


def _usual(calls: list[Call] | tuple[Call, ...]) -> float:
    return median(call.ns for call in calls)
