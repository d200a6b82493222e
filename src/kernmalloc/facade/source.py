"""An object source: pages in a file on disk, each with a checksum; the driver that serves the kernel's ring.

Concepts
  1. The file is its pages, by object id, and behind them their CRC-32 sums, four bytes each. A new file has all its
     room from the beginning.
  2. The driver is user-mode code: it shares one page with the kernel, the ring, and reaches the frames that requests
     name. The kernel does no I/O (`kernel/pages/source.py`).
  3. What is read is held against its sum. A page that does not match, or that the file does not have, is answered with
     IO_ERROR, and whoever asked for it is told.
"""

import os
import sys
from array import array
from collections.abc import Iterator
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


def make_pages(path: Path, page: int, pages: int, create: bool) -> None:
    """Make a file of so many pages of zeros, which has all its room from the beginning. It takes the place of one that
    is empty or of pages, or of any if `create` says so, once it is whole. SourceError, OSError: no file has changed."""
    size = pages * (page + SUM)
    if pages <= 0 or size >= 1 << 63:
        raise SourceError(IO_ERROR, f"{path}: a file of {pages} pages cannot be")
    if not create and path.exists() and path.stat().st_size:
        _refuse_other(path, page)
    path = path.resolve()
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, crc32(bytes(page)).to_bytes(SUM, sys.byteorder) * pages, pages * page)
        os.replace(new, path)
    except BaseException:
        new.unlink()
        raise
    finally:
        os.close(fd)


def _refuse_other(path: Path, page: int) -> None:
    """Raise SourceError for a file that is none of pages, by its length and its first and last page."""
    file, into = PageFile(path, page), memoryview(bytearray(page))
    bad = file.read(0, into) != OK or file.read(file.pages - 1, into) != OK
    file.close()
    if bad:
        raise SourceError(IO_ERROR, f"{path}: not a file of pages with checksums, which create=True would replace")


class PageFile:
    """A file of pages of `page` bytes, with their sums, which are kept in memory, too. `written`: pages written."""

    def __init__(self, path: str | Path, page: int) -> None:
        self.path, self.page, self.written = Path(path), page, 0
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 (it is closed with the source, or by itself)
        size = os.fstat(self._file.fileno()).st_size
        self.pages = size // (page + SUM)
        if self.pages <= 0 or size != self.pages * (page + SUM):
            self._file.close()
            raise SourceError(IO_ERROR, f"{path} with {size} bytes: not a file of pages with checksums")
        self._sums = array("I", os.pread(self._file.fileno(), self.pages * SUM, self.pages * page))

    def read(self, oid: int, into: memoryview) -> int:
        """Read a page: OK, or IO_ERROR."""
        if not 0 <= oid < self.pages or os.preadv(self._file.fileno(), [into], oid * self.page) != self.page:
            return IO_ERROR
        return OK if crc32(into) == self._sums[oid] else IO_ERROR

    def write(self, oid: int, data: bytes) -> int:
        """Write a page and its sum: OK, or IO_ERROR."""
        if not 0 <= oid < self.pages:
            return IO_ERROR
        total, fd = crc32(data), self._file.fileno()
        self.written += 1
        parts = ((data, oid * self.page), (total.to_bytes(SUM, sys.byteorder), self.pages * self.page + oid * SUM))
        try:
            if any(os.pwrite(fd, part, at) != len(part) for part, at in parts):
                return IO_ERROR
        except OSError:  # the disk is full, or broken
            return IO_ERROR
        self._sums[oid] = total
        return OK

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


class Source:
    """The open source of a kernel's pages and its driver. Made by `kernel.pages.source`; use it in a `with` block."""

    def __init__(self, handle: Handle, file: PageFile, ring: int) -> None:
        self.handle, self.file = handle, file
        self.ring = ring  # its VA
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

    def asked(self, most: int) -> Iterator[tuple[int, int, bool]]:
        """The requests that `serve` will do next: their number, from 0, the page's object id, whether it is written."""
        for number in range(self.taken, self.taken + min(self.waiting, most)):
            at = REQUESTS + number % SLOTS * Request.size // WORD
            yield number, self._words[at], bool(self._words[at + 1] & 1)

    def serve(self, most: int = SLOTS) -> int:
        """Do what the kernel asks for, in the order in which it asked, and put in the answers: how many."""
        with self.handle.busy("source"):
            return self._serve(most)

    def _serve(self, most: int) -> int:
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
