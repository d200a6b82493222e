"""The kernel's twin with an emulated processor that hears what to forget, and executes the instructions for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from emulated import Emulated

from kernmalloc.lang import twin
from kernmalloc.machine import lives
from kernmalloc.machine.lives import Twin
from kernmalloc.machine.ram import Ram


class Watched(Twin):
    """The twin, whose processor is the emulated one."""

    cpu: Emulated | None = None
    deaf = False

    def __init__(self, ram: Ram) -> None:
        super().__init__(ram)
        self.forgotten = 0
        self.forgets: Callable[[int], None] = lambda va: None  # called for each page that it forgets
        self.stores: Callable[[int, int], None] = lambda addr, value: None  # called before
        self.speculates: Callable[[], None] = lambda: None  # called then: it may look at anything

    def _forget(self, va: int, pages: int) -> int:
        if self.cpu is not None:
            self.forgotten += pages
            for page in range(0 if self.deaf else pages):
                at = (va + (page << self.shift)) % (1 << 8 * self.cpu.family.word)
                self.cpu.invalidate(at)
                self.forgets(at)
            self.speculates()
            twin.use(self)
        return 0

    def store(self, addr: int, width: int, value: int) -> None:
        self.stores(addr, value)
        super().store(addr, width, value)

    def km_port_flush(self, va: int, pages: int) -> int:
        super().km_port_flush(va, pages)
        return self._forget(va, pages)

    km_port_shootdown = km_port_flush

    def km_port_forget(self, root: int, va: int) -> int:
        return self._forget(va, 1)


@contextmanager
def watched() -> Iterator[str]:
    """The mode in which a kernel is that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(lives.LIVES, "watched", Watched)
        yield "watched"
