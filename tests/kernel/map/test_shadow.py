"""Mode shadow: the kernel around maps and unmaps pages as it is told, and what it then has is what the tables say."""

import random

import pytest
from msgspec.structs import replace
from small_machines import MIB, MODES, conserved, machine

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Bytes, Heap, Profile
from kernmalloc.lang.status import MEANINGS, NO_PORT, OK
from kernmalloc.machine.lives import Twin

PAGE = 4096


def profile(strategy: str = "demand") -> Profile:
    kind = Profile.load("eros2")
    heap = Heap(excess=Bytes(2 * MIB), growable=Bytes(MIB), spare=Bytes(64 << 10))
    return replace(kind, mode="shadow", strategy=strategy, heap=heap, objects=kind.objects[:1])


class Around:
    """The kernel around, with a map of its own: page of the window -> physical address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: dict[int, int] = {}
        self.calls = 0
        forget = Twin.km_port_flush

        def map(life: Twin, va: int, pa: int, pages: int) -> int:
            self.calls += pages > 0
            self.pages |= {va + i * PAGE: pa + i * PAGE for i in range(pages)}
            forget(life, va, pages)
            return 1

        def unmap(life: Twin, va: int, pages: int) -> int:
            self.calls += 1
            for i in range(pages):
                assert self.pages.pop(va + i * PAGE, None) is not None, "nothing was mapped there"
            return forget(life, va, pages)

        monkeypatch.setattr(Twin, "km_port_map", map)
        monkeypatch.setattr(Twin, "km_port_unmap", unmap)
        for name in ("km_port_flush", "km_port_shootdown"):
            monkeypatch.setattr(Twin, name, lambda *args: pytest.fail("tables are nobody's but the kernel's around"))

    def agrees(self, kernel: Kernel) -> bool:
        """Whether it has mapped what the tables say, windows apart, which it learns of when the next one is opened."""
        kern, window = kernel.view.kern, kernel.handle.loaded
        end = int(kern["windows"])
        said = {}
        for va in range(window.window, end, PAGE):
            try:
                said[va] = kernel.view.pa(va)
            except KeyError:
                continue
        return said == {va: pa for va, pa in self.pages.items() if va < end}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_kernel_around_maps_what_the_tables_say(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    around, chance = Around(monkeypatch), random.Random(strategy)
    with Kernel.boot(machine((0, 12 * MIB)), profile(strategy), "twin") as kernel:
        assert around.agrees(kernel)
        held = []
        for _ in range(60):
            if held and chance.random() < 0.5:
                kernel.free(held.pop(chance.randrange(len(held))))
            elif (va := kernel.call("malloc", chance.choice((100, 5000, 70_000)))) > 0:
                held.append(va)
        frame = kernel.frame_get()
        for _ in range(3):
            window = kernel.call("window_open", frame)
            assert around.pages[window] == frame * PAGE == kernel.view.pa(window)
            assert kernel.call("window_close", window) == OK
        assert around.agrees(kernel)
        for va in held:
            kernel.free(va)
        kernel.drain()
        if STRATEGIES[strategy].excess:
            assert kernel.release() > 0
        assert around.agrees(kernel) and around.calls > 5
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_it_runs_in_every_life(mode: str) -> None:
    with Kernel.boot(machine((0, 12 * MIB)), profile(), mode) as kernel:
        blocks = [kernel.malloc(size) for size in (100, 5000, 300_000)]
        window = kernel.call("window_open", kernel.frame_get())
        assert kernel.call("window_close", window) == OK
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        conserved(kernel)


def test_a_port_that_maps_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Twin, "km_port_map", lambda *args: 0)
    with pytest.raises(TooSmall) as refused:
        Kernel.boot(machine((0, 12 * MIB)), profile(), "twin")
    assert MEANINGS[NO_PORT] in str(refused.value)
