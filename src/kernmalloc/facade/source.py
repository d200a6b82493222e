"""An object source: pages in a file on disk, each with a checksum; the driver that serves the kernel's ring.

Concepts
  1. The file is its pages, by object id, and behind them their CRC-32 sums, four bytes each. A new file has all its
     room from the beginning.
  2. The driver is user-mode code: it shares one page with the kernel, the ring, and reaches the frames that requests
     name. The kernel does no I/O (`kernel/pages/source.py`).
  3. What is read is held against its sum. A page that does not match, or that the file does not have, is answered with
     IO_ERROR, and whoever asked for it is told.
"""

import mmap
import os
from contextlib import nullcontext, suppress
from pathlib import Path
from zlib import crc32

from kernmalloc.facade.errors import KernelError, SourceError, checked
from kernmalloc.facade.handle import Handle
from kernmalloc.kernel.pages.source import ANSWERED, ASKED, SLOTS, Answer, Request, Ring
from kernmalloc.lang.status import IO_ERROR, OK

SUM = 4  # bytes of a checksum
WORD = 8  # bytes of a number in the ring
REQUESTS, ANSWERS = Ring.offset("requests") // WORD, Ring.offset("answers") // WORD


class PageFile:
    """Pages of `page` bytes in a file. `pages` makes a new one of so many; without, the file is there already."""

    def __init__(self, path: str | Path, page: int, pages: int | None = None) -> None:
        self.path, self.page = Path(path), page
        self._fd = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if pages is not None else 0), 0o644)
        try:
            size = os.fstat(self._fd).st_size
            self.pages = size // (page + SUM) if pages is None else pages
            if self.pages <= 0 or (pages is None and size != self.pages * (page + SUM)):
                raise SourceError(IO_ERROR, f"{path} with {size} bytes: not a file of pages with checksums")
            if pages is not None:  # all its room now: what is mapped must not turn out to have none
                os.posix_fallocate(self._fd, 0, pages * (page + SUM))
            self._sums_map = mmap.mmap(self._fd, self.pages * SUM, offset=self.pages * page)
        except BaseException:
            os.close(self._fd)
            raise
        self._sums = memoryview(self._sums_map).cast("I")
        if pages is not None:
            self._sums_map[:] = crc32(bytes(page)).to_bytes(SUM, "little") * pages

    def read(self, oid: int, into: memoryview) -> int:
        """Read a page: OK, or IO_ERROR."""
        if not 0 <= oid < self.pages or os.preadv(self._fd, [into], oid * self.page) != self.page:
            return IO_ERROR
        return OK if crc32(into) == self._sums[oid] else IO_ERROR

    def write(self, oid: int, data: bytes) -> int:
        """Write a page and its sum: OK, or IO_ERROR."""
        if not 0 <= oid < self.pages or os.pwrite(self._fd, data, oid * self.page) != self.page:
            return IO_ERROR
        self._sums[oid] = crc32(data)
        return OK

    def close(self) -> None:
        """Let the file go."""
        self._sums.release()
        self._sums_map.close()
        os.close(self._fd)


class Source:
    """The open source of a kernel's pages and its driver. Made by `kernel.pages.source`; use it in a `with` block."""

    def __init__(self, handle: Handle, file: PageFile) -> None:
        self.handle, self.file = handle, file
        self.ring = checked(handle.call("source_open"), "source()")  # its VA
        self.ring_pa = handle.view.pa(self.ring)
        self._memory = memoryview(handle.view.ram.bytes)
        page = self._memory[self.ring_pa : self.ring_pa + file.page]
        self._counts, self._words, self._page = page.cast("I"), page.cast("q"), page
        self.taken = 0  # requests that the driver has seen
        self.closed = False

    @property
    def waiting(self) -> int:
        """Requests that have not been answered."""
        return (self._counts[ASKED // 4] - self.taken) & 0xFFFFFFFF

    def serve(self, most: int = SLOTS) -> int:
        """Do what the kernel asks for, in the order in which it asked, and put in the answers: how many."""
        count = min(self.waiting, most)
        words, file, memory = self._words, self.file, self._memory
        for _ in range(count):
            slot = self.taken % SLOTS
            at = REQUESTS + slot * Request.size // WORD
            oid, frame = words[at], words[at + 1]
            pa = (frame >> 1) * file.page
            if frame & 1:
                status = file.write(oid, bytes(memory[pa : pa + file.page]))
            else:
                status = file.read(oid, memory[pa : pa + file.page])
            at = ANSWERS + slot * Answer.size // WORD
            words[at], words[at + 1] = frame, status
            self.taken += 1
            self._counts[ANSWERED // 4] = self.taken & 0xFFFFFFFF
        return count

    def run(self, most: int = SLOTS) -> int:
        """`serve`, and have the kernel act on the answers: how many."""
        done = self.serve(most)
        checked(self.handle.call("source_poll"), "source_poll()")
        return done

    def close(self) -> None:
        """Answer what has been asked, and let the kernel and the file go. What is dirty stays so: see `pages.flush`."""
        if not self.closed:
            while self.run():
                pass
            checked(self.handle.call("source_close"), "source.close()")
            self.let_go()

    def let_go(self) -> None:
        """Let file and memory go, as the end of the kernel does."""
        if not self.closed:
            self.closed = True
            for view in (self._counts, self._words, self._page, self._memory):
                view.release()
            self.file.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with suppress(KernelError) if kind else nullcontext():  # the first error is the one to be told
            self.close()
