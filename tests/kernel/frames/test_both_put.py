"""Two processors that put one frame at the same moment: one does, the other is refused."""

from collections.abc import Callable, Iterator

import pytest
from effort import EFFORT
from heap_model import altered
from schedules import Processors, Programs
from small_machines import MIB, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import DMA, PAGE
from kernmalloc.lang.status import OK

Base = tuple[Kernel, dict[int, bytes]]


class Later(Processors):
    """After each run both processors take frames: none is given twice, and none that somebody has."""

    living: frozenset[int] = frozenset()

    def _check(self) -> None:
        super()._check()
        taken = [self._call(number, "frame_get", PAGE) for _ in range(5) for number in (0, 1)]
        taken += [self._call(number, "frame_get", DMA) for number in (0, 1)]
        assert len({*taken}) == len(taken), "a frame has two owners"
        assert not self.living & {*taken}, "a frame that somebody has was given out"
        for number, pfn in enumerate([*taken, *self.living]):
            assert self._call(number % 2, "frame_put", pfn) == OK
        super()._check()

    def _call(self, number: int, entry: str, *args: int) -> int:
        self._become(number)
        return self.life.call(entry, self.cpus[number], *args)


def page(a: Kernel, b: Kernel) -> tuple[list[int], Programs]:
    """Out of a stock, aimed at by both."""
    b.frame_put(b.frame_get())
    mine, other = a.frame_get(), a.frame_get()
    return [other], [[("frame_put", mine)], [("frame_put", mine)]]


def chunk(a: Kernel, b: Kernel) -> tuple[list[int], Programs]:
    b.frame_put(b.block_get(9, "page"))
    mine = a.block_get(9, "page")
    return [], [[("frame_put", mine)], [("frame_put", mine)]]


def driver(a: Kernel, b: Kernel) -> tuple[list[int], Programs]:
    """A frame for DMA goes back under the lock."""
    mine = a.frame_get("dma")
    return [], [[("frame_put", mine)], [("frame_put", mine)]]


def drained(a: Kernel, b: Kernel) -> tuple[list[int], Programs]:
    """One lists what it has put."""
    b.frame_put(b.frame_get())
    mine = a.frame_get()
    return [], [[("frame_put", mine), ("drain",)], [("frame_put", mine)]]


def many(a: Kernel, b: Kernel) -> tuple[list[int], Programs]:
    """One puts a frame, the other one two at once, and that is one of them."""
    array = a.malloc(16)
    numbers = a.view.shared(array, 16)
    b.frame_put(b.frame_get())
    mine, both = a.frame_get(), a.frame_get()
    numbers[:] = mine.to_bytes(8, "little") + both.to_bytes(8, "little")
    return [], [[("frames_put", 2, array)], [("frame_put", both)]]


Prepare = Callable[[Kernel, Kernel], tuple[list[int], Programs]]
WAYS = (page, chunk, driver, drained, many)


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    with Kernel.boot(machine((0, 8 * MIB)), altered("eros2", growth=8), "twin", cpus=2) as kernel:
        yield kernel, kernel.snapshot()


def explored(base: Base, prepare: Prepare, everywhere: bool = False) -> tuple[Later, Programs]:
    kernel, memory = base
    kernel.restore(memory)
    living, programs = prepare(kernel, kernel.cpu(1))
    processors = Later(kernel, everywhere=everywhere)
    processors.living = frozenset(living)
    return processors, programs


@pytest.mark.parametrize("prepare", WAYS)
def test_a_frame_put_by_two_is_put_once(base, prepare):
    """Every schedule with a preemption has the results of one after the other: one is told OK."""
    processors, programs = explored(base, prepare)
    try:
        assert processors.explore(programs, 1 if EFFORT == 1 else 2) >= 2
    finally:
        processors.close()


@pytest.mark.parametrize("prepare", WAYS)
def test_at_random_too(base, prepare):
    """Processors change at any access, as often as it happens."""
    processors, programs = explored(base, prepare, everywhere=True)
    try:
        processors.wander(programs, seed=2, runs=5 * EFFORT)
    finally:
        processors.close()
