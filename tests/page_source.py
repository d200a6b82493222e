"""A source of pages for tests: a dictionary instead of a disk, read and written through the ring like a driver does."""

from collections.abc import Callable

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.pages.source import SLOTS, Answer, Request, Ring
from kernmalloc.lang import failed, status


class Source:
    """The driver's side of a kernel's ring. `fails` says of (oid, write) whether the disk refuses."""

    def __init__(self, kernel: Kernel, fails: Callable[[int, int], bool] = lambda oid, write: False) -> None:
        self.kernel, self.fails = kernel, fails
        self.ring = kernel.call("source_open")
        assert not failed(self.ring)
        self.at, self.memory = kernel.view.pa(self.ring), kernel.handle.life.ram.bytes
        self.page = 1 << int(kernel.view.kern["page_shift"])
        self.disk: dict[int, bytes] = {}
        self.taken = self.answered = 0
        self.reads = self.writes = 0

    def word(self, offset: int, size: int = 8) -> int:
        at = self.at + offset
        return int.from_bytes(self.memory[at : at + size], "little", signed=True)

    def put(self, offset: int, value: int, size: int = 8) -> None:
        at = self.at + offset
        self.memory[at : at + size] = value.to_bytes(size, "little", signed=size == 8)

    def waiting(self) -> list[tuple[int, int, int]]:
        """(oid, pfn, 1 for a write) of the requests that the driver takes now."""
        asked, found = self.word(0, 4), []
        while self.taken & 0xFFFFFFFF != asked & 0xFFFFFFFF:
            at = Ring.offset("requests") + self.taken % SLOTS * Request.size
            oid, frame = self.word(at), self.word(at + 8)
            found.append((oid, frame >> 1, frame & 1))
            self.taken += 1
        return found

    def contents(self, pfn: int) -> bytes:
        return bytes(self.memory[pfn * self.page : (pfn + 1) * self.page])

    def serve(self, oid: int, pfn: int, write: int) -> int:
        """Do one request: its status."""
        if self.fails(oid, write):
            return -1
        if write:
            self.disk[oid] = self.contents(pfn)
            self.writes += 1
        else:
            self.memory[pfn * self.page : (pfn + 1) * self.page] = self.disk.get(oid, bytes(self.page))
            self.reads += 1
        return 0

    def answer(self, pfn: int, write: int, result: int) -> None:
        at = Ring.offset("answers") + self.answered % SLOTS * Answer.size
        self.put(at, pfn * 2 + write)
        self.put(at + 8, result)
        self.answered += 1
        self.put(Ring.offset("answered"), self.answered & 0xFFFFFFFF, 4)

    def poll(self) -> int:
        """Serve what is asked, and let the kernel see the answers: how many."""
        for oid, pfn, write in self.waiting():
            self.answer(pfn, write, self.serve(oid, pfn, write))
        return self.kernel.call("source_poll")

    def call(self, entry: str, *args: int) -> int:
        """The result of a call that is done again until the source has nothing more to do for it."""
        result = self.kernel.call(entry, *args)
        while result == status.WOULD_BLOCK and self.poll() > 0:
            result = self.kernel.call(entry, *args)
        return result
