"""What else asks the kernel for memory while processes run: the heap, drivers, devices that come and go.

Concepts
  1. An agenda of ticks. A load puts its next turn on it when it has had one, so that each goes on to the end.
  2. What the kernel says WOULD_BLOCK to waits in line, first come first served, and is done again from its beginning
     when the source has answered (E26). Any other refusal is counted by its kind, and that was that.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from kernmalloc.drivers.processes import NEVER
from kernmalloc.facade.errors import KernelError, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.lang import status as codes
from kernmalloc.sim.samples import Note, Slice
from kernmalloc.sim.scenario import Device, Dma, Heap, Scenario

Load = TypeVar("Load", Heap, Dma, Device)


class Tally:
    """How one load fared: what it got, what it had to wait for, how long in ticks, and what it was refused, by
    status."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.got = self.waits = self.waited = self.longest = 0
        self.refused: Counter[str] = Counter()

    def wait_over(self, ticks: int) -> None:
        """A call that had to wait is over."""
        self.waits += 1
        self.waited += ticks
        self.longest = max(self.longest, ticks)


class Loads:
    """All loads of a scenario but its processes. `now` is the tick that the run has reached, `live` the bytes that they
    asked of the heap and have. `note` is told of waits, of what was refused, and of ranges and devices given back."""

    def __init__(self, scenario: Scenario, kernel: Kernel, note: Note = lambda slice: None) -> None:
        self.kernel, self._note = kernel, note
        self.now = self.live = 0
        self.tallies: list[Tally] = []
        self._random = random.Random(scenario.seed)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._waiting: deque[tuple[int, Tally, Callable[[], int], Callable[[int], None]]] = deque()
        self._undo: dict[int, Callable[[], None]] = {}  # what is held now, to be given back at the end
        for heap in scenario.heap:
            self._begin(heap.every, self._heap, heap, Tally(heap.name, "heap"))
        for dma in scenario.dma:
            self._begin(dma.every, self._dma, dma, Tally(dma.name, "dma"))
        for device in scenario.devices:
            self._begin(device.every, self._device, device, Tally(device.name, "device"))

    def _begin(self, every: int, turn: Callable[[Load, Tally], None], load: Load, tally: Tally) -> None:
        self.tallies.append(tally)

        def again() -> None:
            self._at(self.now + every, again)
            turn(load, tally)

        self._at(every, again)

    def _at(self, tick: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (tick, next(self._order), what))

    @property
    def next(self) -> int:
        """Tick of the next turn, or NEVER."""
        return self._agenda[0][0] if self._agenda else NEVER

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return len(self._waiting)

    def run(self, now: int) -> int:
        """All turns up to a tick: how many."""
        turns = 0
        self.now = max(now, self.now)
        while self.next <= now:
            heapq.heappop(self._agenda)[2]()
            turns += 1
        return turns

    def retry(self, now: int) -> None:
        """Do what waits again, in order, up to the first that has to wait still."""
        self.now = max(now, self.now)
        while self._waiting:
            since, tally, ask, got = self._waiting[0]
            if not self._try(tally, ask, got):
                return
            self._waiting.popleft()
            tally.wait_over(self.now - since)
            self._note(Slice(tally.name, "wait", "waits for frames", since, self.now))

    def _ask(self, tally: Tally, ask: Callable[[], int], got: Callable[[int], None]) -> None:
        """Ask the kernel; `got` is told what it gave. Nobody overtakes those who wait."""
        if self._waiting or not self._try(tally, ask, got):
            self._waiting.append((self.now, tally, ask, got))

    def _try(self, tally: Tally, ask: Callable[[], int], got: Callable[[int], None]) -> bool:
        """False if it has to wait."""
        try:
            result = ask()
        except WouldBlock:
            return False
        except KernelError as error:
            tally.refused[codes.NAMES[error.status]] += 1
            self._note(Slice(tally.name, "refusal", codes.NAMES[error.status], self.now, self.now))
            return True
        tally.got += 1
        got(result)
        return True

    def _hold(self, hold: int, give_back: Callable[[], None]) -> None:
        key = next(self._order)
        self._undo[key] = give_back
        self._at(self.now + hold, lambda: self._undo.pop(key)())

    def _held(self, tally: Tally, name: str, since: int, **told: int | str) -> None:
        """Something was given back that was had since then."""
        self._note(Slice(tally.name, "hold", name, since, self.now, told))

    def _heap(self, heap: Heap, tally: Tally) -> None:
        kernel, size = self.kernel, self._random.randint(heap.least, heap.most)

        def use(va: int) -> None:
            self.live += size

            def free() -> None:
                kernel.free(va)
                self.live -= size

            self._hold(heap.hold, free)

        self._ask(tally, lambda: kernel.malloc(size), use)

    def _dma(self, dma: Dma, tally: Tally) -> None:
        kernel, page = self.kernel, self.kernel.pages.page
        frames, align = -(-dma.size // page), max(dma.align // page, 1)

        def use(pfn: int) -> None:
            since = self.now

            def put() -> None:
                kernel.range_put(pfn, frames)
                self._held(tally, "range_get", since, pfn=pfn, frames=frames)

            self._hold(dma.hold, put)

        self._ask(tally, lambda: kernel.range_get(frames, align, dma.low, dma.high), use)

    def _device(self, device: Device, tally: Tally) -> None:
        devices, page = self.kernel.devices, self.kernel.pages.page
        first, frames = device.base // page, device.size // page
        used = range(first, first + min(device.used, frames))

        def come() -> int:
            devices.publish(device.base, device.size)
            return 0

        def use(_: int) -> None:
            since = self.now
            for pfn in used:
                devices.get(pfn)

            def go() -> None:
                for pfn in used:
                    devices.put(pfn)
                devices.withdraw(device.base)
                self._held(tally, "published", since, pfn=first, frames=frames, used=len(used))

            self._hold(device.hold, go)

        self._ask(tally, come, use)

    def end(self) -> None:
        """Give everything back; who waits has given up."""
        self._waiting.clear()
        while self._undo:
            self._undo.popitem()[1]()
