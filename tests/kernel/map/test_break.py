"""Where a processor may still know what an entry led to, the entry leads nowhere else: break before make.

ARM demands it (Arm ARM D8.16.1, "break-before-make"): the entry is made one that leads nowhere, every processor forgets
it, and only then it may lead elsewhere. What maps page space, too, is a window's entry, one after the other."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.boot.seal import boot_seal
from kernmalloc.kernel.core.kern import Kern
from kernmalloc.lang import failed, twin
from kernmalloc.machine.arch import FORMATS


class Observer:
    """What processors may still know of the entries of a kernel's window, in mode twin."""

    def __init__(self, kernel: Kernel) -> None:
        self.life: Any = kernel.handle.life
        self.format = FORMATS[kernel.profile.arch]
        record = kernel.view.kern
        self.base, spans = int(record["base"]), int(record["bytes"]) >> int(record["span_shift"])
        self.tables = range(int(record["tables"]), int(record["tables"]) + spans * 4096)
        self.directory = range(int(record["directory"]), int(record["directory"]) + spans * 8)
        self.known: dict[int, int] = {}  # page of the window, or ~span, to the entry that may still be known
        self.wrong: list[str] = []
        store = self.life.store
        self.life.store = lambda addr, width, value: (self.stored(addr, value), store(addr, width, value))[1]
        for name in ("km_port_flush", "km_port_shootdown"):
            setattr(self.life, name, self.forgetting(getattr(self.life, name)))

    def stored(self, addr: int, value: int) -> None:
        if addr in self.tables:
            which = addr - self.tables.start >> 3
        elif addr in self.directory:
            which = ~(addr - self.directory.start >> 3)
        else:
            return
        old, present = self.life.load(addr, 8), self.format.present
        if old & present:
            self.known[which] = old
        known = self.known.get(which)
        if value & present and known is not None and value & self.format.address != known & self.format.address:
            self.wrong.append(f"{which}: {known:#x} is still known, and the entry becomes {value:#x}")

    def forgetting(self, function: Callable[[int, int], int]) -> Callable[[int, int], int]:
        def forget(va: int, pages: int) -> int:
            first = va - self.base >> 12
            for page in range(first, first + pages):
                self.known.pop(page, None)
            for span in range(first >> 9, (first + pages - 1 >> 9) + 1):
                entry = self.known.get(~span, 0)
                if not self.format.is_large(entry) or pages >= 512:  # a table that is gone had no page any more
                    self.known.pop(~span, None)
            return function(va, pages)

        return forget


def demand_break(kernel: Kernel) -> None:
    """Let the kernel's format demand it."""
    twin.use(kernel.handle.life)
    kern = Kern(kernel.view.kern_va)
    kern.format.break_first = 1
    boot_seal(kern)


def work(kernel: Kernel, seed: int) -> None:
    """Windows, and a heap that grows, shrinks and is released."""
    chance = random.Random(seed)
    blocks: list[int] = []
    frames = [kernel.frame_get("page") for _ in range(20)]
    for _ in range(60):
        window = kernel.call("window_open", chance.choice(frames))
        kernel.call("window_close", window)
        if chance.random() < 0.6:
            va = kernel.call("malloc", chance.choice((100, 5000, 70_000, 2 * MIB)))
            blocks += [] if failed(va) else [va]
        elif blocks:
            assert kernel.call("free", blocks.pop(chance.randrange(len(blocks)))) == 0
        if chance.random() < 0.1:
            kernel.call("drain")
    for va in blocks:
        kernel.free(va)
    for pfn in frames:
        kernel.frame_put(pfn)
    kernel.call("drain")
    kernel.call("release")


@pytest.mark.parametrize("profile", ["eros2", "x86_64"])
def test_an_entry_leads_nowhere_else_while_it_may_be_known(profile: str) -> None:
    size = 16 * MIB if profile == "eros2" else 40 * MIB
    with Kernel.boot(machine((0, size)), Profile.load(profile), "twin") as kernel:
        demand_break(kernel)
        observer = Observer(kernel)
        work(kernel, seed=1)
        assert not observer.wrong
        conserved(kernel)


def test_without_that_demand_windows_are_flushed_when_they_open() -> None:
    """Once, not twice: and the observer sees the difference."""
    with Kernel.boot(machine((0, 16 * MIB)), Profile.load("eros2"), "twin") as kernel:
        observer = Observer(kernel)
        work(kernel, seed=1)
        windows = int(kernel.layout["windows"]) - int(kernel.layout["window"]) >> 12
        assert observer.wrong and all(int(each.partition(":")[0]) >= windows for each in observer.wrong)
        conserved(kernel)
