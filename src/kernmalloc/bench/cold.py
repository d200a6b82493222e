"""The cold start where nothing has to be mapped, and this computer's part of it where something has.

Concepts
  1. In mode raw our kernel's memory is this computer's, which is asked for a mapping whenever the heap grows, and gives
     each page when it is first touched. Both are counted during the first replay. What one of each takes is measured
     on memory of the same kind, mapped in steps of STEP pages and touched page by page; the products are its part.
     The peers' page faults are counted and priced, too; their mmap is not: they map seldom, and much.
  2. A kernel whose heap is affine, in large pages from the boot on, or that lies in a direct map, maps nothing when it
     allocates. Here, this computer gives it all its memory before the first replay, as a real machine has its RAM.
     Everything else is as cold: caches, slabs, stacks. The peers start as ever: they ask this computer for memory.
"""

import ctypes
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from kernmalloc.bench import native
from kernmalloc.bench.allocators import NoFigures, Ours, machine, peak
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.traces import Trace
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bytes, Profile
from kernmalloc.machine.lives import Raw
from kernmalloc.machine.ram import libc
from kernmalloc.plan.plan import with_strategy

WHERE = AFFINE, DIRECT = "affine heap", "direct map"
MAPPINGS, FAULTS = "of it this computer's mmap", "of it this computer's page faults"
POPULATE_WRITE = 23  # madvise(2), since Linux 5.14
MIB = 1 << 20
LIVE = 256 << 20  # bytes at most, since several times that are taken of this computer's memory
STEP = 16  # pages, as the heap's growth


class Touched(Ours):
    """This project in an affine heap or in a direct map; all that it has mapped has been touched."""

    only_cold = True

    def boot(self, trace: Trace) -> Kernel:
        if peak(trace) > LIVE:
            raise NoFigures(f"{self.who} on {trace.name}: more than {LIVE >> 20} MiB are live")
        room = 3 * peak(trace) + 4 * MIB >> 20 << 20
        kernel = Kernel.boot(machine(2 * room + 32 * MIB), (affine if self.who == AFFINE else direct)(room))
        touch(kernel)
        return kernel


def affine(spare: int) -> Profile:
    """A kernel whose heap is in large pages, and has so many bytes for malloc."""
    plain = with_strategy(Profile.load("x86_64"), "reserve")
    heap = msgspec.structs.replace(plain.heap, spare=Bytes(spare))
    return msgspec.structs.replace(plain, objects=(), heap=heap)


def direct(growable: int) -> Profile:
    """A kernel in a direct map, whose heap may grow by so many bytes."""
    plain = Profile.load("guest")
    return msgspec.structs.replace(plain, heap=msgspec.structs.replace(plain.heap, growable=Bytes(growable)))


def touch(kernel: Kernel) -> int:
    """Have this computer give all memory that a kernel in mode raw has mapped: how many bytes. Wrong if it does not."""
    life = kernel.handle.life
    assert isinstance(life, Raw)
    end = life.window + (kernel.view.ram.top if kernel.profile.direct else life.window_bytes)
    touched = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) .*/memfd:kernmalloc", line)
        start, stop = (int(head[1], 16), min(int(head[2], 16), end)) if head else (end, end)
        if life.window <= start < stop:
            if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), POPULATE_WRITE):
                raise Wrong("this computer does not give a kernel its memory before it is touched (Linux 5.14 does)")
            touched += stop - start
    return touched


class Host(NamedTuple):
    """What this computer takes, in ns: for a mapping of STEP pages, for a page of them that is touched first, and for a
    page of a peer's."""

    mapping: float
    fault: float
    peers_fault: float


def host() -> Host:
    """Measured now."""
    answer = (ctypes.c_double * 3)()
    native.library("heap").heap_host(ctypes.c_int64(STEP), answer)
    return Host(*answer)
