"""Poison: what is free in the heap is marked for sanitizers, and the kernel touches nothing that is marked."""

import random
from collections.abc import Callable, Iterator

import pytest
from heap_model import altered
from small_machines import MIB, conserved, machine, slots_of

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.heap import magazines, runs, supply
from kernmalloc.kernel.heap.bins import IDLE, KEPT, SLAB
from kernmalloc.lang import failed
from kernmalloc.lang.status import NOT_ALLOCATED
from kernmalloc.machine import lives
from kernmalloc.plan.plan import with_strategy

GRAIN = 16


class Shadow:
    """The marked bytes, in grains; and a kernel in the twin whose accesses are held against them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.marked: set[int] = set()
        monkeypatch.setattr(lives, "_functions", {})  # compiled anew, with these
        for module in (magazines, runs, supply):
            for name in ("poison", "unpoison"):
                monkeypatch.setattr(module, name, getattr(self, name), raising=False)
        for name in ("load", "store", "km_port_zero"):
            monkeypatch.setattr(lives.Twin, name, self.watched(getattr(lives.Twin, name), name))

    def grains(self, va: int, size: int) -> range:
        return range(va // GRAIN, -(-(va + size) // GRAIN))

    def poison(self, va: int, size: int) -> int:
        self.marked.update(self.grains(va, size))
        return 0

    def unpoison(self, va: int, size: int) -> int:
        self.marked.difference_update(self.grains(va, size))
        return 0

    def watched(self, access: Callable[..., int], name: str) -> Callable[..., int]:
        def checked(twin: lives.Twin, va: int, size: int, *value: int) -> int:
            if twin.paging is not None:
                assert self.marked.isdisjoint(self.grains(va, size)), f"{name} of {va:#x}, which is free"
            return access(twin, va, size, *value)

        return checked


def free_spans(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """(va, bytes) of the free slots, and of the free runs that have frames."""
    records, page = kernel.view.heap_pages(), kernel.profile.page
    heap, at = int(kernel.view.kern["heap"]), 0
    while at < len(records):
        run = records[at]
        if run["use"] in (IDLE, KEPT):
            yield heap + at * page, int(run["pages"]) * page
        if run["use"] == SLAB:
            for number in range(at, at + int(run["pages"])):
                for va in slots_of(kernel, number):
                    if kernel.call("size_of", va) == NOT_ALLOCATED:
                        yield va, int(kernel.view.cache(int(run["cache"]))["size"])
        at += int(run["pages"])


@pytest.mark.parametrize("strategy", ["demand", "reserve+release"])
def test_what_is_free_is_marked(monkeypatch, strategy):
    """Two processors take and give back slots and runs, each other's too; pages lose their frames and get others."""
    shadow, chance = Shadow(monkeypatch), random.Random(4)
    profile = altered(with_strategy(Profile.load("eros2"), strategy), objects=())
    with Kernel.boot(machine((0, 16 * MIB)), profile, "twin", cpus=2) as kernel:
        live: dict[int, int] = {}
        for step in range(160):
            cpu = kernel.cpu(chance.randrange(2))
            if chance.random() < 0.6 or not live:
                size = chance.choice([16, 24, 100, 700, 3000, 9000, 40_000, 200_000])
                zeroed = chance.random() < 0.1
                va = cpu.call("malloc_zeroed" if zeroed else "malloc", size)
                if not failed(va):
                    live[va] = size
            elif chance.random() < 0.95:
                va = chance.choice(sorted(live))
                assert cpu.call("free", va) == 0
                del live[va]
            else:
                cpu.drain()
            if step == 120 and strategy == "reserve+release":
                assert kernel.release() > 0
            if step % 20 == 0:
                for va, size in live.items():
                    assert not shadow.marked.intersection(shadow.grains(va, size))
                for va, size in free_spans(kernel):
                    assert shadow.marked.issuperset(shadow.grains(va, size)), hex(va)
        for va in live:
            assert kernel.call("free", va) == 0
        conserved(kernel)
