"""What clears memory, beside memset: a range of 16 MiB in mode raw, and a page on a bare machine.

Concepts
  1. The range is for a driver (`range_get`), full of what was written before, so that it must be cleared each time. The
     port does that by physical address. memset then clears the same memory.
  2. The page is cleared by the freestanding object's own code (`km_port_zero`), byte for byte, which is put into memory
     of this process and called there: it touches nothing but the page. That needs a processor of its kind.
"""

import ctypes
import io
import mmap
import platform
import time
from collections.abc import Iterator

from kernmalloc.bench import emulator, native
from kernmalloc.bench.rows import OURS, Goal, Row
from kernmalloc.bench.timed import Timed
from kernmalloc.build.freestanding import freestanding
from kernmalloc.facade.errors import checked
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA
from kernmalloc.machine.ram import libc

FRAMES, PAGE = 4096, 4096
RAM = 256 << 20
WARM = 2  # ranges that are not counted
CALLS = 200_000  # of a page
LOW = 0x40  # MAP_32BIT of mmap(2)
MEMSET = "memset"
RANGE, BARE = "clearing: 16 MiB for a driver, mode raw", "clearing: a page, bare"
GOALS = (Goal("map", RANGE, 2.0), Goal("map", BARE, 2.0))


def run(runs: int) -> Iterator[Row]:
    """Rows in ns: this project, and memset. NoCompiler."""
    yield from _ranges(runs)
    if platform.machine() == "x86_64":
        yield from _pages(runs)


def _ranges(runs: int) -> Iterator[Row]:
    ours, memset = [], []
    with Kernel.boot(emulator.machine(RAM), Profile.load("x86_64")) as kernel:
        clock, top = Timed(kernel), int(kernel.view.kern["max_pfn"])
        for number in range(-WARM, runs):
            started = time.thread_time_ns()
            done = clock.call("range_get", kernel.processor, FRAMES, FRAMES, 0, top, 0, DMA)
            spent = time.thread_time_ns() - started
            pfn = checked(done.answer, RANGE)
            started = time.thread_time_ns()
            ctypes.memset(kernel.view.ram.address + pfn * PAGE, 1, FRAMES * PAGE)
            if number >= 0:
                memset.append(float(time.thread_time_ns() - started))
                ours.append(float(spent))
            kernel.range_put(pfn, FRAMES)
    for who, values in ((OURS, ours), (MEMSET, memset)):
        yield Row("map", RANGE, who, "ns", tuple(values))


def _pages(runs: int) -> Iterator[Row]:
    harness = native.library("heap")
    harness.heap_clear.restype = ctypes.c_double
    with Code() as code:
        found: dict[str, list[float]] = {OURS: [], MEMSET: []}
        for _ in range(runs):
            for who, zero in ((OURS, code.zero), (MEMSET, 0)):
                found[who].append(
                    harness.heap_clear(ctypes.c_void_p(zero), ctypes.c_int64(PAGE), ctypes.c_int64(CALLS))
                )
    for who, values in found.items():
        yield Row("map", BARE, who, "ns", tuple(values))


class Code:
    """The freestanding object's code in memory of this process: the address of what clears memory."""

    def __enter__(self) -> "Code":
        data = freestanding("x86_64")
        length = len(emulator.link(io.BytesIO(data), 0)[0])
        access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._at = libc.mmap(0, length, access, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | LOW, -1, 0)
        if self._at == -1:
            raise OSError(ctypes.get_errno(), "this computer lets no code be put into memory")
        code, symbols = emulator.link(io.BytesIO(data), self._at)
        ctypes.memmove(self._at, code, length)
        self._length, self.zero = length, symbols["km_port_zero"]
        return self

    def __exit__(self, *_: object) -> None:
        libc.munmap(self._at, self._length)
