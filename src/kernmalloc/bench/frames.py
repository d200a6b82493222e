"""Frames: getting and putting single frames and blocks of 2 MiB, this project and three peers on the same work.

Concepts
  1. A round is every work once, of one allocator: all of memory got and put back in order, reversed and shuffled, and
     64 frames at once, by a call for so many or, as peers have none, by so many calls; pairs of a get and a put; pairs
     at random while half of memory is owned (`c/frames_work.h`). Rounds of all allocators take turns; the first of each
     is not counted.
  2. Whatever is got is checked: no round is worth anything in which a frame had two owners, or a call was refused.
     Before anything is timed, this project must refuse a second put, the inside of a block, and a frame that is none.
  3. Peers keep nothing per frame, or, as this project does, 16 bytes that say who owns it and are checked when it is
     put.
  4. A kernel for several processors takes each frame that is put from its owner by an atomic, for two might put it. So
     one thread alone is timed in such a kernel, too ("1 thread of 2"): what two take more than that, they cost each
     other.
  5. The harness's part of a row is what an allocator that does nothing takes in the same run, called in the same shape.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from statistics import median
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.bench import native
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import LIMIT, OURS, SELF, Goal, Progress, Row
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.core.kern import PAGE
from kernmalloc.lang.status import BAD_FRAME, INTERIOR, NOT_ALLOCATED, OK
from kernmalloc.machine.memory_map import Machine

SINGLY = ("bulk allocate", "free in order", "free reversed", "free shuffled", "pair", "random pair")
TOGETHER = ("bulk allocate, 64 at once", "free in order, 64 at once")  # single frames only
WORKS = (*SINGLY, *TOGETHER)
ORDERS = (0, 9)
THREADS = (1, 2)
CASES = ((1, 1), (1, 2), (2, 2))  # threads, and processors that this project's kernel is made for
OWN_ROOM = 512 << 20  # RAM beside what is managed: core tables, image
SLACK = 2048  # frames that two processors may keep at hand while a third cannot get them
FRAME_SHIFT = 12
FRAME, BLOCK = 1, 2  # shapes of this project's entries; 0 is the peers'

STATE = "the allocator's own state"


_JUDGED = (  # order, work, times the best peer, which keeps an entry per frame
    (0, "bulk allocate", 1.1, False), (0, "free in order", 1.1, False), (0, "free shuffled", 1.1, True),
    (0, "pair", 1.0, False), (0, "random pair", 1.0, True),
    (0, "bulk allocate, 64 at once", 1.0, False),
    (9, "pair", 1.0, False), (9, "random pair", 1.0, True),
)  # fmt: skip


class Peer(ctypes.Structure):
    """`struct peer` of c/frames.h."""

    _fields_ = [
        ("name", ctypes.c_char_p), ("keeps", ctypes.c_int), ("threads", ctypes.c_int),
        ("make", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)),
        ("end", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("bytes", ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)),
        ("get", ctypes.c_void_p), ("put", ctypes.c_void_p),
    ]  # fmt: skip


class Round(ctypes.Structure):
    """`struct round` of c/frames.c."""

    _fields_ = [
        ("shape", ctypes.c_int), ("get", ctypes.c_void_p), ("put", ctypes.c_void_p),
        ("get_many", ctypes.c_void_p), ("put_many", ctypes.c_void_p),
        ("context", ctypes.c_int64 * max(THREADS)), ("type", ctypes.c_int64), ("order", ctypes.c_int64),
        ("threads", ctypes.c_int64), ("per", ctypes.c_int64), ("pairs", ctypes.c_int64), ("top", ctypes.c_int64),
        ("checked", ctypes.c_int64), ("ns", ctypes.c_double * len(WORKS)), ("wrong", ctypes.c_int64),
    ]  # fmt: skip


class Contender(NamedTuple):
    """An allocator that is made and can do rounds. `shape`: how it is called; `state`: bytes of its own per frame."""

    who: str  # "": the one that does nothing
    keeps: bool
    round: Round
    state: float


def _name(order: int, threads: int, cpus: int) -> str:
    count = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"order {order}, {count if threads == cpus else f'{count} of {cpus}'}"


GOALS = (
    *(Goal("frames", f"{_name(order, 1, 1)}: {work}", limit, keeps=keeps) for order, work, limit, keeps in _JUDGED),
    *(
        Goal("frames", f"{_name(order, 2, 2)}: {work}", 1.15, than=SELF, other=f"{_name(order, 1, cpus)}: {work}")
        for order in ORDERS
        for cpus in THREADS
        for work in (SINGLY if order else WORKS)
    ),
    Goal("frames", STATE, 0.25, than=LIMIT),
)


def machine(frames: int) -> Machine:
    """RAM for so many frames, and for what describes them."""
    ram = Range(base=0, size=(frames << FRAME_SHIFT) + OWN_ROOM, kind="ram")
    return Machine(name="bench", file="bench", arch="x86_64", ram=(ram,))


def run(frames: int, pairs: int, runs: int, progress: Progress) -> Iterator[Row]:
    """All works on `frames` frames, a power of two from 8192; `pairs` of each; so many runs. NoCompiler, Wrong."""
    harness = native.library("frames")
    harness.peer.restype = ctypes.POINTER(Peer)
    held, states = numpy.zeros(frames, numpy.uint32), []
    for step, ((threads, cpus), order) in enumerate(product(CASES, ORDERS)):
        name = _name(order, threads, cpus)
        with ExitStack() as stack:
            per = (frames - SLACK * max(THREADS) >> order) // threads
            made = list(_contenders(harness, frames, order, threads, cpus, stack))
            for contender in made:
                contender.round.per, contender.round.pairs = per, pairs
            times = _rounds(harness, made, held, runs, _part(progress, name, step))
            yield from _rows(made, times, order, name)
            if (cpus, order) == (1, 0):
                states = list(_states(made))
    yield from states


def _contenders(
    harness: Any, frames: int, order: int, threads: int, cpus: int, stack: ExitStack
) -> Iterator[Contender]:
    """Everyone who can do it for so many threads; where there are more processors this project alone."""
    index = 0
    while threads == cpus and (peer := harness.peer(index)):
        index += 1
        about = peer.contents
        who = about.name.decode().replace("nothing", "")
        if who and threads != about.threads and not (threads == 1 and who == "magazines"):
            continue
        state = about.make(frames)
        stack.callback(about.end, state)
        contexts = (ctypes.c_int64 * 2)(state, state)
        found = Round(0, about.get, about.put, 0, 0, contexts, 0, order, threads, top=frames, checked=bool(who))
        yield Contender(who, bool(about.keeps), found, about.bytes(state) / frames)
    calls = ("block_get" if order else "frame_get", "frame_put", "frames_get", "frames_put")
    shape = BLOCK if order else FRAME
    nothing = [ctypes.cast(harness[f"nothing_{name}"], ctypes.c_void_p).value for name in calls]
    yield Contender("", True, Round(shape, *nothing, (0, 1), PAGE, order, threads, top=frames), 0)
    kernel = stack.enter_context(Kernel.boot(machine(frames), Profile.load("x86_64"), cpus=cpus))
    _refuses(kernel)
    contexts = (ctypes.c_int64 * 2)(*(kernel.cpu(number).processor for number in range(threads)))
    entries = map(kernel.entry, calls)
    top = kernel.machine.ram[-1].end >> FRAME_SHIFT
    yield Contender(
        OURS, True, Round(shape, *entries, contexts, PAGE, order, threads, top=top, checked=1), _own_state(kernel)
    )
    stack.callback(_checked, kernel)


def _own_state(kernel: Kernel) -> float:
    """Bytes per frame that this project's frames take beyond the entries and the identities of cached pages."""
    entries = kernel.profile.core.stride + kernel.profile.core.identity
    own = sum(r.area_bytes - r.frames * entries for r in kernel.regions if r.area)
    return own / sum(r.frames for r in kernel.regions if r.area)


def _refuses(kernel: Kernel) -> None:
    """Hold that the entries that will be timed refuse what they must."""
    put = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(kernel.entry("frame_put"))
    cpu, frame, block = kernel.processor, kernel.frame_get(), kernel.block_get(9, "page")
    wrong = kernel.machine.ram[-1].end >> FRAME_SHIFT
    answers = [put(cpu, pfn) for pfn in (frame, frame, block + 1, block, block, wrong)]
    if answers != [OK, NOT_ALLOCATED, INTERIOR, OK, NOT_ALLOCATED, BAD_FRAME]:
        raise Wrong(f"{OURS}: a wrong put is not refused: {answers}")


def _checked(kernel: Kernel) -> None:
    found = kernel.check()
    if not found.passed:
        raise Wrong(found.failure)


def _part(progress: Progress, what: str, step: int) -> Callable[[float], None]:
    """Tells of one of the steps."""
    return lambda share: progress(what, (step + share) / (len(CASES) * len(ORDERS)))


def _rounds(
    harness: Any, made: list[Contender], held: NDArray[numpy.uint32], runs: int, progress: Callable[[float], None]
) -> NDArray[numpy.float64]:
    """ns by contender, run and work."""
    times = numpy.zeros((len(made), runs, len(WORKS)))
    for run in range(-1, runs):
        for number, contender in enumerate(made):
            progress(((run + 1) * len(made) + number) / ((runs + 1) * len(made)))
            harness.run_round(ctypes.byref(contender.round), held.ctypes)
            if contender.who and contender.round.wrong:
                raise Wrong(f"{contender.who}: {contender.round.wrong} frames had two owners or none, or were refused")
            if run >= 0:
                times[number, run] = contender.round.ns
    return times


def _rows(made: list[Contender], times: NDArray[numpy.float64], order: int, case: str) -> Iterator[Row]:
    for work, name in enumerate(SINGLY if order else WORKS):
        base = {c.round.shape: float(median(times[n, :, work])) for n, c in enumerate(made) if not c.who}
        for number, c in enumerate(made):
            if c.who:
                values = tuple(float(value) for value in times[number, :, work])
                yield Row("frames", f"{case}: {name}", c.who, "ns", values, base[c.round.shape], c.keeps)


def _states(made: list[Contender]) -> Iterator[Row]:
    for c in made:
        if c.who:
            yield Row("frames", STATE, c.who, "B/frame", (float(c.state),), 0.0, c.keeps)
