"""Allocators that replay a trace: this project and the C library's rivals.

Concepts
  1. A run is a process of its own for a peer, and a kernel of its own for this project: a first replay (cold), more of
     them, which are timed together (warm), and one in which each call is timed by itself; or one in which every byte is
     written, for the footprint.
  2. Before anything is timed, this project's free must refuse what malloc did not give out, and a second free. After
     it, every invariant of the kernel must hold.
  3. A replay may take MOST, and so may all warm ones of a run together, of which there is one at least.
"""

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.bench import native
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import OURS, Tell
from kernmalloc.bench.traces import Trace
from kernmalloc.build import shared
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang import objects
from kernmalloc.lang.status import BAD_ADDRESS, INTERIOR, NOT_ALLOCATED, OK
from kernmalloc.machine import lives
from kernmalloc.machine.hosted import Hosted
from kernmalloc.machine.memory_map import Machine

COMPILERS = (("gcc", "-O2"), ("gcc", "-O3"), ("clang", "-O2"))  # of the C that this project exports
LIBRARIES = {"mimalloc": "libmimalloc.so.2", "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
INSTALL = "sudo apt install libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4"
RAM, MOST_RAM = 1 << 30, 8 << 30  # of this project's machine, at least and at most
ROOM = 16  # times what is live at most: RAM of the machine that replays a trace
MOST = 2.0  # seconds of processor that a replay may take
NOTHING = "0"


class _Tail(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("median", "p999", "worst")]


class Heap(ctypes.Structure):
    """`struct heap` of c/heap.h."""

    _fields_ = [
        ("shape", ctypes.c_int), ("malloc", ctypes.c_void_p), ("free", ctypes.c_void_p), ("context", ctypes.c_int64),
        ("ops", ctypes.c_void_p), ("count", ctypes.c_int64), ("slots", ctypes.c_int64), ("replays", ctypes.c_int64),
        ("most", ctypes.c_double),
        ("backed", ctypes.c_void_p * 3), ("page", ctypes.c_int64), ("cold", ctypes.c_double), ("warm", ctypes.c_double),
        ("got", _Tail), ("freed", _Tail), ("live", ctypes.c_int64), ("peak", ctypes.c_int64), ("wrong", ctypes.c_int64),
        ("late", ctypes.c_int64), ("mapped", ctypes.c_void_p), ("mappings", ctypes.c_int64), ("faults", ctypes.c_int64),
    ]  # fmt: skip

    @classmethod
    def of(cls, shape: int, pairs: NDArray[numpy.int32], replays: int, **more: int) -> "Heap":
        """What replays a trace, which must live as long."""
        slots, most = int(pairs[:, 0].max()) + 1, MOST * 1e9
        return cls(shape, ops=pairs.ctypes.data, count=len(pairs), slots=slots, replays=replays, most=most, **more)

    def check(self, who: str, work: str) -> None:
        """Wrong if a call was refused, Late if a replay took too long: then there are no figures."""
        if self.wrong:
            raise Wrong(f"{who} on {work}: {self.wrong} calls were refused")
        if self.late:
            raise Late(who, work)


class NoFigures(Wrong):
    """An allocator is not measured on a trace: one line."""


class Late(NoFigures):
    """A replay took longer than it may."""

    def __init__(self, who: str, work: str) -> None:
        super().__init__(f"{who} on {work}: a replay takes more than {MOST:g} seconds")


class Figures(NamedTuple):
    """What one run of one allocator came to: ns per operation, ns of single calls, bytes."""

    cold: float
    warm: float
    malloc: tuple[float, float, float]  # median, 99.9th percentile, worst
    free: tuple[float, float, float]
    live: int
    peak: int
    mappings: int = 0  # that the host was asked for while it was cold: by this project in mode raw
    faults: int = 0  # pages that the host had to give then


class Peer:
    """An allocator in a process of its own. `library`: its shared object; -: the C library's; 0: one that does
    nothing."""

    only_cold = False

    def __init__(self, who: str, library: str) -> None:
        self.who, self.shape, self.judged, self._library = who, 0, True, library
        self._program = native.compiled("heap")

    def loads(self) -> bool:
        """Whether it is on this machine."""
        return self._run("time", Path(os.devnull), 0).returncode == 0

    def measure(self, what: str, trace: Trace, file: Path, replays: int) -> Figures:
        """One run: `what` is time or backed. Wrong if it could not do it, Late if it took too long."""
        done = self._run(what, file, replays)
        if done.returncode:
            raise Wrong(f"{self.who} on {trace.name}: {done.stderr.strip() or f'exit status {done.returncode}'}")
        *times, live, peak, faults, wrong, late = done.stdout.split()
        cold, warm, median, p999, worst, *freed = map(float, times)
        Heap(wrong=int(wrong), late=int(late)).check(self.who, trace.name)
        return Figures(
            cold, warm, (median, p999, worst), (freed[0], freed[1], freed[2]), int(live), int(peak), 0, int(faults)
        )

    def _run(self, what: str, file: Path, replays: int) -> subprocess.CompletedProcess[str]:
        command = [str(self._program), what, self._library, str(file), str(replays), str(MOST * 1e9)]
        environment = {
            **os.environ,
            "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536",
        }  # jemalloc's is more than usual
        return subprocess.run(command, capture_output=True, text=True, env=environment)


class Ours:
    """This project, in a kernel of its own for each run, made as `load` says; or, where `who` is "", what does nothing,
    called as it is."""

    only_cold = False  # whether nothing else is measured

    def __init__(self, who: str, profile: str = "x86_64", load: objects.Load = objects.load) -> None:
        self.who, self.shape, self.judged = who, 1, who in ("", OURS)
        self._profile, self._load, self._harness = Profile.load(profile), load, native.library("heap")

    def boot(self, trace: Trace) -> Kernel:
        """A kernel that can replay the trace."""
        return Kernel.boot(machine(min(max(RAM, ROOM * peak(trace) >> 20 << 20), MOST_RAM)), self._profile)

    def measure(self, what: str, trace: Trace, file: Path, replays: int) -> Figures:
        """One run: `what` is time or backed. Wrong if a call was refused, or an invariant does not hold at the end;
        Late if it took too long."""
        h = Heap.of(1, trace.pairs, replays, page=self._profile.page)
        if not self.who:
            h.malloc, h.free = (address(self._harness, f"nothing_call_{name}") for name in ("malloc", "free"))
            return self._measured(what, trace, h)
        with lives.loading(self._load), self.boot(trace) as kernel:
            _refuses(kernel)
            h.malloc, h.free, h.context = kernel.entry("malloc"), kernel.entry("free"), kernel.processor
            h.backed[:] = [
                kernel.view.kern_va + Kern.offset(name) for name in ("backed", "map_pages", "mapping_frames")
            ]
            life = kernel.handle.life
            assert isinstance(life, lives.Raw)
            h.mapped = life.record.ctypes.data + Hosted.offset("mapped")
            figures = self._measured(what, trace, h)
            found = kernel.check()
            if not found.passed:
                raise Wrong(f"{self.who} on {trace.name}: {found.failure}")
            return figures

    def _measured(self, what: str, trace: Trace, h: Heap) -> Figures:
        self._harness[f"heap_{what}"](ctypes.byref(h))
        h.check(self.who, trace.name)
        got, freed = ((t.median, t.p999, t.worst) for t in (h.got, h.freed))
        return Figures(h.cold, h.warm, got, freed, h.live, h.peak, h.mappings, h.faults)


def address(library: Any, name: str) -> int:
    """Where a function of the harness is."""
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0


def peak(trace: Trace) -> int:
    """Bytes that are live at most."""
    change = trace.pairs[:, 1].astype(numpy.int64)
    by_slot = numpy.argsort(trace.pairs[:, 0], kind="stable")
    freed = numpy.flatnonzero(change[by_slot] == 0)  # in this order, what is freed stands just before
    change[by_slot[freed]] = -change[by_slot[freed - 1]]
    return int(numpy.cumsum(change).max())


def machine(ram: int = RAM) -> Machine:
    """One with so many bytes of RAM, and nothing else."""
    return Machine(name="bench", file="bench", arch="x86_64", ram=(Range(base=0, size=ram, kind="ram"),))


def _refuses(kernel: Kernel) -> None:
    """Hold that the entries that will be timed refuse what they must."""
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    malloc, free = (call(kernel.entry(name)) for name in ("malloc", "free"))
    cpu = kernel.processor
    kept, va = malloc(cpu, 100), malloc(cpu, 100)
    answers = [free(cpu, va + 16), free(cpu, va), free(cpu, va), free(cpu, 16), free(cpu, kept)]
    if answers != [INTERIOR, OK, NOT_ALLOCATED, BAD_ADDRESS, OK]:
        raise Wrong(f"{OURS}: a wrong free is not refused: {answers}")


def peers() -> tuple[list[Peer], list[str]]:
    """Those on this machine, and the names of those that are not."""
    there, missing = [Peer("glibc", "-")], []
    for who, library in LIBRARIES.items():
        peer = Peer(who, library)
        if peer.loads():
            there.append(peer)
        else:
            missing.append(who)
    return there, missing


def exported(tell: Tell) -> list[Ours]:
    """This project's C, by each of the compilers; one that is not installed is told."""
    found = []
    for command in COMPILERS:
        try:
            found.append(Ours(f"C, {' '.join(command)}", load=shared.loader(*command)))
        except shared.NoCompiler as error:
            tell(f"the heap as C, {' '.join(command)}: {error}")
    return found
