"""Scaling: what 2 to 64 processors of one kernel cost each other, on emulated processors that take turns.

Concepts
  1. A work is what each processor does, call after call. "own": it gives back some of what it has got, and gets as
     much anew. "foreign": what it gets the next processor gives back, so that all of them do both. "growing": it gets
     only, so that slow paths have their share.
  2. Counted are, for the gets and the puts of a work, instructions, and the lines that accesses needed (`coherence`):
     misses, transfers, and copies of others that were invalidated. Addresses are told by the records that lie there
     (`fields`). Time is reckoned (`turns`): it compares numbers of processors, and allocators.
  3. Where processors give back what is their own, no quick path writes a line that a quick path of another one touches.
  4. Peers are compiled for the same machine (c/scaling.c), and run in it, beside a kernel that rests.
  5. Before anything is counted each processor has done far more of it: the heap has grown to what it needs, unless
     growing is the work.
"""

import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from kernmalloc.bench import emulator, native
from kernmalloc.bench.emulator import MIB, Bare, processor
from kernmalloc.bench.fields import Fields
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import LIMIT, OURS, Goal, Progress, Row, Tell
from kernmalloc.bench.turns import Call, Cost, Found, Program, Turns
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import PAGE, Kern
from kernmalloc.lang import failed

PROCESSORS = (2, 4, 8, 16, 32, 64)
CALLS = 1024  # of all processors together, but each makes LEAST
LEAST = 96
BEFORE = 400  # calls of each that nobody looks at
RAM, RAM_EACH = 128 * MIB, 6 * MIB  # for what there is once, and for the stocks of each processor
OBJECT = 96  # bytes of a cache's objects
LIVE = 32  # things that each holds, or hands on before they are given back
SIZES = (16, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2000)
GET, PUT = "get", "put"
OWN, FOREIGN, GROWING = "own", "foreign", "growing"
PEERS, PEERS_ROOM, PEER_FRAMES = emulator.CODE_END - (1 << 17), emulator.ROOM + 4 * MIB, 1 << 16
PEERS_OF = {
    "frames": {"bitmap": "bitmap_kept", "magazines": "magazines_kept"},
    "heap": {"one lock": "listed", "magazines": "stacked"},
    "caches": {"one lock": "listed", "magazines": "stacked"},
}
"""Peers by what they get, and how c/scaling.c calls them."""
FREESTANDING = (
    "-c", "-march=x86-64", "-mgeneral-regs-only", "-ffreestanding", "-fno-pie", "-fno-pic", "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
)  # fmt: skip

EACH: dict[str, tuple[str, Callable[[Cost], float]]] = {
    "instructions, a call": ("instructions", lambda cost: cost.instructions / cost.calls),
    "instructions under the lock, % of all": ("%", lambda cost: 100 * cost.inside / cost.instructions),
    "misses, a call": ("lines", lambda cost: cost.misses / cost.calls),
    "transfers, a call": ("lines", lambda cost: cost.transfers / cost.calls),
    "invalidations, a call": ("lines", lambda cost: cost.invalidations / cost.calls),
    "reckoned cycles, a call": ("cycles", lambda cost: cost.cycles / cost.calls),
}
"""What is told of the gets of a work, and of its puts, with the unit."""
MET = "lines that move from quick calls to quick calls"
WHOLE: dict[str, tuple[str, Callable[[Found], float]]] = {
    "time in which somebody has the lock, %": ("%", lambda found: 100 * found.held),
    "time of the processors in which they wait for it, %": ("%", lambda found: 100 * found.waited),
    MET: ("lines", lambda found: float(found.met)),
}
"""What is told of a work."""
MOVES = "lines that move, in 1,000 calls"
MOST_LINES = 12  # of them that are told of a work


class Allocator(NamedTuple):
    """How a processor calls what is looked at: what gets a thing of some bytes, and what gives it back."""

    get: Callable[[int, int], Call]  # processor, bytes
    put: Callable[[int, int], Call]  # processor, what was got
    lock: int  # its physical address


class Work(NamedTuple):
    """What each processor does, with things of these sizes."""

    what: str  # frames, heap or caches
    kind: str  # OWN, FOREIGN or GROWING
    sizes: Sequence[int]

    @property
    def name(self) -> str:
        return f"{self.what}, {self.kind}"


WORKS = [
    Work(what, kind, sizes)
    for what, sizes in (("frames", (PAGE,)), ("heap", SIZES), ("caches", (OBJECT,)))
    for kind in (OWN, FOREIGN, GROWING)
]
GOALS = [
    Goal("scaling", f"{MET}: {work.name}, {max(PROCESSORS)} processors", 0, than=LIMIT)
    for work in WORKS
    if work.kind == OWN
]


class Shift:
    """What one processor has, and what it does with it."""

    def __init__(self, allocator: Allocator, work: Work, number: int, handed: Sequence[deque[int]]) -> None:
        self._allocator, self._work, self._number = allocator, work, number
        self._pick = Random(number)
        self._to = handed[(number + (work.kind == FOREIGN)) % len(handed)]
        self.held = handed[number]

    def fill(self) -> Program:
        """Get what is held."""
        for _ in range(LIVE):
            yield from self._get()

    def calls(self, count: int) -> Program:
        """Make so many calls: give back some things, at random if they are own, and get as many; foreign, in turns. Or
        get only."""
        if self._work.kind == GROWING:
            for _ in range(count):
                yield from self._get()
            return
        while count > 0:
            some = 1 if self._work.kind == FOREIGN else min(self._pick.randrange(1, LIVE), count // 2)
            for _ in range(min(some, len(self.held))):
                yield from self._put()
            for _ in range(some):
                yield from self._get()
            count -= 2 * max(some, 1)

    def _get(self) -> Program:
        answer = yield self._allocator.get(self._number, self._pick.choice(self._work.sizes))
        if failed(answer):
            raise Wrong(f"{self._work.name}: nothing is got: status {answer}")
        self._to.append(answer)

    def _put(self) -> Program:
        if self._work.kind == OWN:
            self.held.rotate(self._pick.randrange(len(self.held)))
        answer = yield self._allocator.put(self._number, self.held.popleft())
        if answer:
            raise Wrong(f"{self._work.name}: a put is refused: status {answer}")


def ours(kernel: Kernel, work: Work) -> Allocator:
    """This project's entries."""
    symbols, loaded = processor(kernel).symbols, kernel.handle.loaded
    cpus, lock = loaded.processors, loaded.kern_pa + Kern.offset("lock")
    names = {"frames": ("frame_get", "frame_put"), "heap": ("malloc", "free"), "caches": ("cache_get", "cache_put")}
    get, put = (symbols[f"km_call_{name}"] for name in names[work.what])
    cache = [kernel.cache("scaling", OBJECT, 1 << 20).id] if work.what == "caches" else []
    return Allocator(
        lambda cpu, what: Call(GET, get, (cpus[cpu], *cache, what)),
        lambda cpu, got: Call(PUT, put, (cpus[cpu], *cache, got)),
        lock,
    )


def peer(kernel: Kernel, name: str) -> Allocator:
    """A peer's functions. NoCompiler."""
    bare = processor(kernel)
    code, symbols = emulator.link(io.BytesIO(native.compiled("scaling", *FREESTANDING).read_bytes()), PEERS)
    bare.write(PEERS, code)
    get, put, make, lock = (symbols[f"{part}_{name}"] for part in (GET, PUT, "make", "lock"))
    state = bare.run(make, PEERS_ROOM, PEER_FRAMES)
    return Allocator(
        lambda cpu, what: Call(GET, get, (state, cpu, what)),
        lambda cpu, got: Call(PUT, put, (state, cpu, got)),
        bare.run(lock, state),
    )


def unseen(bare: Bare, programs: Iterable[Program]) -> None:
    """Let each of the programs make a call in turn, until all are at their ends."""
    answers: dict[Program, int | None] = dict.fromkeys(programs)
    while answers:
        for program, answer in list(answers.items()):
            try:
                call = program.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                del answers[program]
            else:
                answers[program] = bare.run(call.function, *call.arguments)


class Touched(NamedTuple):
    """An access to a field: whether it wrote, and whether a quick call made it."""

    field: str
    write: bool
    quick: bool

    def __str__(self) -> str:
        return f"{self.field} ({'quick' if self.quick else 'inside'} {'write' if self.write else 'read'})"


class Moved(NamedTuple):
    """A line that moved: by an access, and one that another processor had made."""

    now: Touched
    before: Touched

    def __str__(self) -> str:
        return f"{self.now} after {self.before}"


class Result(NamedTuple):
    """An allocator on a work, with so many processors. `moves` is told of this project only."""

    work: Work
    who: str
    processors: int
    found: Found
    moves: Counter[Moved]


def measured(work: Work, who: str, processors: int, calls: int) -> Result:
    """What a work comes to for this project, or for a peer, with so many calls of each processor. Missing, NoCompiler,
    Wrong."""
    profile = emulator.placed(Profile.load("x86_64"))
    with Kernel.boot(emulator.machine(RAM + processors * RAM_EACH), profile, "bare", cpus=processors) as kernel:
        bare = processor(kernel)
        allocator = ours(kernel, work) if who == OURS else peer(kernel, PEERS_OF[work.what][who])
        handed: list[deque[int]] = [deque() for _ in range(processors)]
        shifts = [Shift(allocator, work, number, handed) for number in range(processors)]
        unseen(bare, [shift.fill() for shift in shifts])
        if work.kind != GROWING:
            unseen(bare, [shift.calls(BEFORE) for shift in shifts])
        turns = Turns(bare, allocator.lock)
        turns.run([shift.calls(calls // 2) for shift in shifts])
        found = turns.run([shift.calls(calls) for shift in shifts])
        moves: Counter[Moved] = Counter()
        if who == OURS:
            at = Fields(kernel).at
            for reason, count in found.why.items():
                now, before = (Touched(at(each.address), each.write, each.quick) for each in reason)
                moves[Moved(now, before)] += count
        for number, held in enumerate(handed):
            for thing in held:
                put = allocator.put(number, thing)
                if bare.run(put.function, *put.arguments):
                    raise Wrong(f"{work.name}, {who}: {thing:#x} cannot be given back")
        if who == OURS and not (state := kernel.check()).passed:
            raise Wrong(state.failure)
        return Result(work, who, processors, found, moves)


def results(processors: Sequence[int], progress: Progress, tell: Tell) -> Iterator[Result]:
    """All works, allocators and numbers of processors; without a compiler, no peers. Missing, Wrong."""
    every = [(work, who, count) for work in WORKS for who in (OURS, *PEERS_OF[work.what]) for count in processors]
    refused = False
    for number, (work, who, count) in enumerate(every):
        progress(f"{work.name}, {who}, {count} processors", number / len(every))
        if who == OURS or not refused:
            try:
                yield measured(work, who, count, max(CALLS // count, LEAST))
            except native.NoCompiler as error:
                tell(error)
                refused = True


def run(processors: Sequence[int], progress: Progress, tell: Tell) -> Iterator[Row]:
    """The rows of all results. Missing, Wrong."""
    for result in results(processors, progress, tell):
        yield from rows(result)


def rows(result: Result) -> Iterator[Row]:
    """What a result comes to."""
    many = f"{result.processors} processors"
    for call, cost in sorted(result.found.costs.items()):
        for what, (unit, figure) in EACH.items():
            yield Row("scaling", f"{what}: {result.work.name}: {call}, {many}", result.who, unit, (figure(cost),))
    for what, (unit, share) in WHOLE.items():
        yield Row("scaling", f"{what}: {result.work.name}, {many}", result.who, unit, (share(result.found),))
    for moved, count in result.moves.most_common(MOST_LINES):
        often = 1000 * count / result.found.calls
        yield Row("scaling", f"{MOVES}: {result.work.name}: {moved}, {many}", result.who, "lines", (often,))
