"""How fast core tables are made, against memset of as many bytes, side by side in one run.

On fresh RAM a zeroed core table costs nothing: the machine vouches for the zeros (`known_zero`). So the rate is
measured on poisoned RAM: the same machine boots once more, with every frame that its heap will have filled with a
pattern, and memset then clears as many bytes of the same kind of memory: present, but not yet mapped there.
"""

import ctypes
import mmap
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import OBJECTS
from kernmalloc.machine.ram import PAGE, Ram


class TableRate(NamedTuple):
    """Bytes cleared for all core tables; the seconds that they and a memset of as many bytes took, and those that this
    computer takes to meet so many pages, which is part of both."""

    bytes: int
    fresh: float  # on RAM known to be zero
    poisoned: float  # on RAM filled with a pattern
    memset: float  # of a memset
    faults: float  # of storing a byte to each page

    @property
    def ratio(self) -> float:
        """Bandwidth on poisoned RAM as a share of memset's."""
        return self.memset / self.poisoned


def room_for(kernel: Kernel) -> bool:
    """Whether this computer has free memory to measure: a heap of patterns, the same to clear, and some more."""
    return 3 * kernel.heap.backed <= os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def table_rate(kernel: Kernel) -> TableRate:
    """Measure it for the machine and profile of a raw kernel, which is closed first: another lies where it lay."""
    fresh, size, frames = _seconds(kernel), _table_bytes(kernel), kernel.view.backing()[1]
    page = kernel.profile.page
    kernel.close()
    with Kernel.boot(
        kernel.machine, kernel.profile, kernel.mode, prepare=lambda ram: _poison(ram, frames, page)
    ) as poisoned:
        seconds = _seconds(poisoned)
    return TableRate(size, fresh, seconds, *_memset(size))


def _seconds(kernel: Kernel) -> float:
    """What describing all RAM took: every step of the bootstrap but the objects'."""
    return sum(step.seconds for step in kernel.steps if step.stage < OBJECTS)


def _table_bytes(kernel: Kernel) -> int:
    """Bytes that describing RAM clears: the core tables; of an affine heap, which is made whole, all of it."""
    kern = kernel.view.kern
    return (int(kern["fixed"]) or int(kern["plan"]["tables"])) * kernel.profile.page


def _poison(ram: Ram, frames: NDArray[numpy.int64], page: int) -> None:
    starts = numpy.sort(frames)
    breaks = numpy.flatnonzero(numpy.diff(starts) != page) + 1
    ram.poison([(int(run[0]), len(run) * page) for run in numpy.split(starts, breaks) if len(run)])


def _memset(size: int) -> tuple[float, float]:
    """Seconds to clear so many bytes of RAM that is present but newly mapped; and to store a byte to each page."""
    ram = Ram(size)
    ram.poison([(0, ram.top)])
    clear = _on_new_mapping(ram, lambda address: ctypes.memset(address, 0, size))
    touch = _on_new_mapping(ram, lambda address: _touch(address, size))
    ram.close()
    return clear, touch


def _touch(address: int, size: int) -> None:
    numpy.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))[::PAGE] = 0


def _on_new_mapping(ram: Ram, act: Callable[[int], object]) -> float:
    """Seconds that `act` takes, given the address of a new mapping of the RAM."""
    with mmap.mmap(ram.fd, ram.top) as again:
        window = ctypes.c_char.from_buffer(again)
        started = time.perf_counter()
        act(ctypes.addressof(window))
        seconds = time.perf_counter() - started
        del window
    return seconds
