"""Schedules: processors of one twin, interleaved access by access, in every way that can make a difference.

A processor is a greenlet that executes kernel Python; this memory can hand over to another one before every load, store
and atomic. A run is a start and a few decisions, "at point n, go on with processor p"; it is executed from the same
memory each time, whose changes are journalled and undone. `explore` runs all schedules with so many preemptions.

A point is an access where an interleaving can matter: to a word that one processor writes and another one touches,
unless both are inside the kernel lock then, since whoever is inside excludes the other's. Which words these are is
found by running: whenever a run shows a new one, the exploration starts again, until it has run to its end without one.
A processor that spins goes on only after another one; that is no preemption (Musuvathi and Qadeer, "Iterative Context
Bounding", 2007).

Held in every run: nothing that processors share is stored outside the lock, but for a frame's own entry; at the end the
results are those of one operation after the other in some order, and every invariant of the kernel holds.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

from greenlet import greenlet

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import Cpu, Kern
from kernmalloc.kernel.heap.slabs import WAITS, SlabPage
from kernmalloc.lang.status import NAMES, OK
from kernmalloc.machine.lives import SoftLife

Operation = tuple[Any, ...]  # the name of an entry, and its arguments; a callable one is given the results so far
PAGE = 4096
FLAGS = 4  # bits that say how one processor has accessed a word:
STORE, INSIDE = 1, 2  # bit 0 by a load, bit 1 by a store, bits 2 and 3 by these inside the lock
STORES = 0b1010
MACHINE = (  # what the memory and the machine do
    "load",
    "store",
    "km_port_zero",
    "km_port_copy",
    "km_port_flush",
    "km_port_shootdown",
    "km_port_barrier",
    "atomically",
    "pause",
)

Programs = list[list[Operation]]
Results = tuple[tuple[int, ...], ...]


class Unlocked(AssertionError):
    """A store to what processors share, outside the lock."""


class Stuck(AssertionError):
    """Every processor spins."""


class Schedule(NamedTuple):
    """Who starts, and (point, who goes on there)."""

    start: int
    switches: tuple[tuple[int, int], ...] = ()


class Processors:
    """The processors of a booted twin kernel. `watch`: a store outside the lock raises Unlocked. `everywhere`: every
    access is a point."""

    def __init__(self, kernel: Kernel, watch: bool = True, everywhere: bool = False) -> None:
        self.kernel, self.life, self.watch, self.everywhere = kernel, kernel.handle.life, watch, everywhere
        self.views, self.ram = self.life.views, self.life.ram.bytes
        self.cpus = [kernel.cpu(number).processor for number in range(int(kernel.layout["cpus"]))]
        record = kernel.view.kern
        self.kern_pa = kernel.view.pa(kernel.view.kern_va)
        self.lock = self.kern_pa + Kern.offset("lock")
        self.entries = [
            range(int(r["entries"]), int(r["entries"] + r["count"] * record["stride"]))
            for r in kernel.view.regions()
            if r["area"]
        ]
        self.heap_map = int(record["heap_map"])
        self.records = range(self.heap_map, self.heap_map + (int(record["heap_pages"]) << int(record["record_shift"])))
        self.checker = SoftLife(self.life.ram)
        self.checker.enter(kernel.handle.loaded)
        self.known: dict[int, int] = {}  # word: how it has been accessed, FLAGS bits for each processor
        self.shared: set[int] = set()  # the words whose accesses are points
        self.sound: set[object] = set()  # results and memories that have been checked
        self.runs = self.number = 0
        self.running = False
        self.spinning = [False] * len(self.cpus)
        self.threads: list[greenlet] = []
        self.journal: list[
            tuple[int, int, Any]
        ] = []  # physical address, width and what was there; width 0: a whole page
        self.clean = dict(self.life.pages)
        for name in MACHINE:
            setattr(self.life, name, getattr(self, name.removeprefix("km_port_")))
        self._undo()

    def close(self) -> None:
        """Leave the kernel as it was."""
        self._undo()
        self.checker.close()
        for name in MACHINE:
            delattr(self.life, name)
        self.life.refresh()

    # the memory and the machine that kernel code sees

    def load(self, addr: int, width: int) -> int:
        pa = self._place(addr)
        if self.running:
            self._access(pa >> 3, 0)
        return self.views[width][pa // width]

    def store(self, addr: int, width: int, value: int) -> None:
        pa = self._place(addr)
        if self.running:
            self._access(pa >> 3, STORE)
            if self.watch and not self._inside() and pa != self.lock:
                self._owned(addr)
        view = self.views[width]
        self.journal.append((pa, width, view[pa // width]))
        view[pa // width] = value

    def zero(self, va: int, size: int) -> int:
        at = va
        while at < va + size:
            whole = at % PAGE == 0 and at + PAGE <= va + size
            self.store(at, 8, 0)  # a whole page is one access: who zeroes it has just got it
            if whole:
                pa = self._place(at)
                self.journal.append((pa, 0, self.ram[pa : pa + PAGE]))
                self.ram[pa : pa + PAGE] = bytes(PAGE)
            at += PAGE if whole else 8
        return 0

    def copy(self, to: int, of: int, size: int) -> int:
        step = 8 if (to | of | size) % 8 == 0 else 1
        for at in range(0, size, step):
            self.store(to + at, step, self.load(of + at, step))
        return 0

    def flush(self, va: int, pages: int) -> int:
        for page in range(va >> 12, (va >> 12) + pages):
            self.life.pages.pop(page, None)
        return 0

    def shootdown(self, va: int, pages: int) -> int:
        for tlb in self.tlbs:
            for page in range(va >> 12, (va >> 12) + pages):
                tlb.pop(page, None)
        return 0

    def barrier(self) -> int:
        """Accesses are in order here: a point, and nothing else."""
        if self.running:
            self._point()
        return 1

    def atomically(self, step: Callable[[], int]) -> int:
        """A point before it, and none inside."""
        if not self.running:
            return step()
        self._point()
        self.running = False
        try:
            return step()
        finally:
            self.running = True

    def pause(self) -> int:
        """Whoever spins goes on after another one."""
        self.spinning[self.number] = True
        others = [number for number in self._ready() if number != self.number]
        if not others:
            raise Stuck(f"processor {self.number} spins for ever")
        self._go(others[0])
        return 0

    def _place(self, addr: int) -> int:
        page = self.life.pages.get(addr >> 12)
        return (self.life._miss(addr) if page is None else page) + (addr & 4095)

    def _inside(self) -> bool:
        return self.views[4][self.lock // 4] == self.number + 1

    def _owned(self, addr: int) -> None:
        own = self.cpus[self.number]
        if own <= addr < own + Cpu.size or any(addr in entries for entries in self.entries):
            return
        page = addr - self.heap_map & -SlabPage.size
        owner = self.load(self.heap_map + page + SlabPage.offset("owner"), 2) if addr in self.records else 0
        if owner & ~WAITS != self.number + 1:  # the records of its slabs' pages are a processor's own
            raise Unlocked(f"processor {self.number} stores at {addr:#x} outside the lock")

    # what is a point

    def _access(self, word: int, kind: int) -> None:
        if word == self.lock >> 3:
            return  # its atomics are points; apart from them whoever looks at it spins or holds it
        bit = 1 << (kind | (INSIDE if self._inside() else 0)) << FLAGS * self.number
        known = self.known.get(word, 0)
        if not known & bit:
            self.known[word] = known = known | bit
            if _conflict(known, len(self.cpus)):
                self.shared.add(word)
        if self.everywhere or word in self.shared:
            self._point()

    # schedules

    def _ready(self) -> list[int]:
        """Processors that can go on: not done, and not spinning on a lock that another one holds."""
        holder = self.views[4][self.lock // 4] - 1
        return [
            n
            for n, thread in enumerate(self.threads)
            if not thread.dead and not (self.spinning[n] and holder not in (-1, n))
        ]

    def _point(self) -> None:
        others = [number for number in self._ready() if number != self.number]
        self.choices.append(others)
        target = self.decide(len(self.choices) - 1, others)
        if target is not None:
            self._go(target)

    def _go(self, number: int) -> None:
        me = self.number
        self._become(number)
        self.threads[number].switch()
        self._become(me)

    def _become(self, number: int) -> None:
        self.number = number
        self.spinning[number] = False
        self.life.pages = self.tlbs[number]

    def _undo(self) -> None:
        """Memory and TLBs as they were when this began."""
        for pa, width, old in reversed(self.journal):
            if width:
                self.views[width][pa // width] = old
            else:
                self.ram[pa : pa + PAGE] = old
        self.journal.clear()
        self.tlbs = [dict(self.clean) for _ in self.cpus]
        self._become(0)

    def _operation(self, number: int, operation: Operation, results: list[int]) -> None:
        name, *arguments = operation
        given = (argument(results) if callable(argument) else argument for argument in arguments)
        results.append(self.life.call(name, self.cpus[number], *given))

    def _program(self, number: int, operations: list[Operation], results: list[int]) -> None:
        for operation in operations:
            self._operation(number, operation, results)

    def _run(self, programs: Programs, start: int, decide: Callable[[int, list[int]], int | None]) -> Results:
        """Execute programs, one per processor. `decide` is given a point and who else could go on there."""
        results: list[list[int]] = [[] for _ in programs]
        self.decide, self.choices, self.spinning = decide, [], [False] * len(self.cpus)
        self.threads = [greenlet(partial(self._program, n, program, results[n])) for n, program in enumerate(programs)]
        self.runs += 1
        self.running = True
        try:
            number = start
            while ready := self._ready():
                self._become(number if number in ready else ready[0])
                self.threads[self.number].switch()  # comes back when one is done
        finally:
            self.running = False
        return tuple(map(tuple, results))

    def sequential(self, programs: Programs) -> set[Results]:
        """The results of every order of the operations, none interrupted by another, and no translation ever stale."""
        found = set()
        for order in _orders([len(program) for program in programs]):
            results: list[list[int]] = [[] for _ in programs]
            for number in order:
                self._become(number)
                self.tlbs[number].clear()
                self._operation(number, programs[number][len(results[number])], results[number])
            found.add(tuple(map(tuple, results)))
            self._undo()
        return found

    def _held(
        self, programs: Programs, start: int, decide: Callable[[int, list[int]], int | None], allowed: set[Results]
    ) -> None:
        """Execute one schedule, hold what must hold after it, and undo it."""
        try:
            results = self._run(programs, start, decide)
            assert results in allowed, f"{_named(results)} is none of {[_named(r) for r in sorted(allowed)]}"
            memory = frozenset(
                (pa, width, self.views[width][pa // width] if width else self.ram[pa : pa + PAGE])
                for pa, width, _ in self.journal
            )
            if (results, memory) not in self.sound:
                self._check()
                self.sound.add((results, memory))
        finally:
            self.threads = []
            self._undo()

    def _check(self) -> None:
        kept = self.ram[self.kern_pa : self.kern_pa + Kern.size]
        self.checker.refresh()
        verdict = self.checker.call("check", self.cpus[0])
        failure = "" if verdict == OK else self.kernel.failure()
        self.ram[self.kern_pa : self.kern_pa + Kern.size] = kept
        assert verdict == OK, failure

    def explore(self, programs: Programs, preemptions: int) -> int:
        """Every schedule of programs with at most so many preemptions: how many there are."""
        allowed = self.sequential(programs)
        while True:
            shared, explored = len(self.shared), 0
            todo = [Schedule(start) for start in range(len(programs))]
            while todo and len(self.shared) == shared:
                schedule = todo.pop()
                switches = dict(schedule.switches)
                try:
                    self._held(
                        programs, schedule.start, lambda point, _, switches=switches: switches.get(point), allowed
                    )
                except Exception as error:
                    raise AssertionError(f"{schedule}: {error}") from error
                explored += 1
                if len(switches) < preemptions:
                    first = max(switches, default=-1) + 1
                    todo += [
                        Schedule(schedule.start, (*schedule.switches, (point, number)))
                        for point in range(first, len(self.choices))
                        for number in self.choices[point]
                    ]
            if len(self.shared) == shared:
                return explored

    def wander(self, programs: Programs, seed: int, runs: int) -> None:
        """Schedules at random, of any number of preemptions."""
        allowed, rng = self.sequential(programs), random.Random(seed)
        for run in range(runs):
            share = rng.random()
            start = rng.randrange(len(programs))

            def decide(_: int, others: list[int], share: float = share) -> int | None:
                return rng.choice(others) if others and rng.random() < share else None

            try:
                self._held(programs, start, decide, allowed)
            except Exception as error:
                raise AssertionError(f"seed {seed}, run {run}: {error}") from error


def _conflict(known: int, cpus: int) -> bool:
    """Whether two processors touch a word, one of them stores, and one of the two accesses is outside the lock."""
    flags = [known >> FLAGS * number & 15 for number in range(cpus)]
    return any(
        (a & 0b10 and b) or (b & 0b10 and a) or (a & 0b01 and b & STORES) or (b & 0b01 and a & STORES)
        for a, b in combinations(flags, 2)
    )


def _orders(counts: list[int]) -> Iterator[list[int]]:
    """Every order of so many operations of each processor."""
    if not any(counts):
        yield []
    for number, count in enumerate(counts):
        if count:
            rest = [n - (i == number) for i, n in enumerate(counts)]
            yield from ([number, *order] for order in _orders(rest))


def _named(results: Results) -> str:
    return str([[NAMES.get(result) or hex(result) for result in of_one] for of_one in results])
