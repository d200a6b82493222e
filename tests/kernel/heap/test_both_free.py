"""Two processors that free one block at the same moment: whatever they are told, it is free once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from effort import EFFORT
from heap_model import altered
from schedules import Operation, Processors, Programs
from small_machines import MIB, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.lang.status import NOT_ALLOCATED, OK

PREEMPTIONS = {"owned": 3, "alone": 2, "again": 3, "full": 3}
Base = tuple[Kernel, dict[int, bytes]]


class Later(Processors):
    """Whoever frees may be told that it was free already. After each run both processors take more slots of the size
    than can be free: no two are the same, and no block that lives is given out again."""

    size = 0
    living: frozenset[int] = frozenset()

    def _operation(self, number: int, operation: Operation, results: list[int]) -> None:
        super()._operation(number, operation, results)
        if operation[0] == "free" and results[-1] == NOT_ALLOCATED:
            results[-1] = OK

    def _check(self) -> None:
        super()._check()
        taken = [self._call(number, "malloc", self.size) for _ in range(6) for number in (0, 1)]
        assert len({*taken}) == len(taken), "a block has two owners"
        assert not self.living & {*taken}, "a block that lives was given out"
        assert [self._call(number % 2, "free", va) for number, va in enumerate([*taken, *self.living])] == [OK] * (
            len(taken) + len(self.living)
        )
        super()._check()

    def _call(self, number: int, entry: str, *args: int) -> int:
        self._become(number)
        return self.life.call(entry, self.cpus[number], *args)


def owned(a: Kernel, b: Kernel, size: int) -> tuple[int, Programs]:
    """A block of the first processor's, between others that live."""
    va = a.malloc(size)
    return va, [[("free", va)], [("free", va)]]


def alone(a: Kernel, b: Kernel, size: int) -> tuple[int, Programs]:
    """The last block of its slab, which is empty then, and goes."""
    va = a.malloc(size)
    return va, [[("free", va), ("drain",)], [("free", va)]]


def again(a: Kernel, b: Kernel, size: int) -> tuple[int, Programs]:
    """Its owner takes it again, and frees that."""
    va = a.malloc(size)
    return va, [[("free", va), ("malloc", size), ("free", lambda results: results[1])], [("free", va)]]


def full(a: Kernel, b: Kernel, size: int) -> tuple[int, Programs]:
    """A full page comes back into use by it; another processor gave back a slot of the page before."""
    blocks = [a.malloc(size) for _ in range(4096 // size)]
    b.free(blocks[1])
    return blocks[2], [[("free", blocks[2]), ("malloc", size)], [("free", blocks[2])]]


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    with Kernel.boot(machine((0, 4 * MIB)), altered("eros2", growth=8), "twin", cpus=2) as kernel:
        yield kernel, kernel.snapshot()


Prepare = Callable[[Kernel, Kernel, int], tuple[int, Programs]]


def explored(base: Base, prepare: Prepare, size: int, **more: Any) -> tuple[Later, Programs]:
    """Processors of a kernel on which two are about to free one block."""
    kernel, memory = base
    kernel.restore(memory)
    _, programs = prepare(kernel, kernel.cpu(1), size)
    processors = Later(kernel, **more)
    processors.size = size
    return processors, programs


@pytest.mark.parametrize("prepare", [owned, alone, again, full])
def test_a_block_freed_by_two_is_free_once(base, prepare):
    """Every schedule of a few preemptions."""
    processors, programs = explored(base, prepare, 1024)
    try:
        assert processors.explore(programs, PREEMPTIONS[prepare.__name__]) >= 2
    finally:
        processors.close()


@pytest.mark.parametrize("prepare", [owned, alone, again, full])
def test_at_random_too(base, prepare):
    """Processors change at any access, as often as it happens; slots of which a page has many."""
    processors, programs = explored(base, prepare, 16, everywhere=True)
    try:
        processors.wander(programs, seed=2, runs=5 * EFFORT)
    finally:
        processors.close()
