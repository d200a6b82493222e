"""Physical memory of a hosted machine: a sparse memfd in which the offset is the physical address.

A machine's RAM may be far larger than this computer's: pages take room once they are written. Fresh memory is zero and
known to be; poisoned memory is filled with a pattern and vouches for nothing. RAM may come later, above what there is:
the addresses for it are taken at once, so that no view of the memory ever moves. A dump's RAM is a file's, laid over it
page by page: what is written to is copied, and the file stays as it is.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from weakref import WeakSet

from kernmalloc.inputs.dumps.segments import data_in

PAGE_SHIFT = 12
PAGE = 1 << PAGE_SHIFT  # of this computer, whatever the kernel's pages are
POISON = 0xA5


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_int64
libc.mmap.argtypes = [ctypes.c_int64, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
libc.munmap.argtypes = [ctypes.c_int64, ctypes.c_size_t]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
NORESERVE, FIXED = 0x4000, 0x10  # of mmap
KEEP_SIZE, PUNCH_HOLE = 0x1, 0x2  # of fallocate


MADV_DONTDUMP, MADV_DODUMP = 16, 17
HIGHEST = 1 << 46  # bytes of physical address space that this process can hold a view of
LATER = 1 << 40  # of them, those above a machine's RAM that are kept for what is added to it


class Ram:
    """RAM from physical address 0 up to `top` bytes, and one day up to `limit`. `address` is where this process can
    read and write it."""

    def __init__(self, top: int, limit: int = 0) -> None:
        self.top = -(-top // PAGE) * PAGE
        self.limit = max(self.top, -(-limit // PAGE) * PAGE)
        self.later = 0  # bytes of it that came after the boot
        self.fresh, self.closed = True, False
        self._laid: list[tuple[int, int]] = []  # (start, end) of what are a file's pages
        self.views: WeakSet[mmap.mmap] = WeakSet()  # that somebody has
        self.fd = os.memfd_create("kernmalloc")
        os.ftruncate(self.fd, self.limit)
        try:
            self.bytes = mmap.mmap(self.fd, self.limit, mmap.MAP_SHARED | NORESERVE)
        except OSError:  # the process's addresses are limited (ulimit -v): none are kept for RAM that comes later
            self.limit = self.top
            self.bytes = mmap.mmap(self.fd, self.limit, mmap.MAP_SHARED | NORESERVE)
        self._export = ctypes.c_char.from_buffer(self.bytes)
        self.address = ctypes.addressof(self._export)
        self._dump(MADV_DONTDUMP, self.top, self.limit)

    def _dump(self, advice: int, start: int, end: int) -> None:
        """Say whether a core of this process holds a range: of what is no RAM yet it would hold a terabyte of zeros."""
        if start < end:
            self.bytes.madvise(advice, start, end - start)

    def reach(self, top: int) -> None:
        """There is RAM up to `top` now."""
        if top > self.top:
            self._dump(MADV_DODUMP, self.top, -(-top // PAGE) * PAGE)
            self.top = top

    def lay(self, pa: int, size: int, file: int, offset: int) -> None:
        """Show whole pages of a file at [pa, pa + size). OSError: this process can hold no more mappings."""
        access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | FIXED | NORESERVE
        if libc.mmap(self.address + pa, size, access, flags, file, offset) != self.address + pa:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._laid.append((pa, pa + size))

    def put(self, pa: int, data: bytes) -> int:
        """Copy bytes to `pa`: how many. Pages of zeros stay as they are, and take no room."""
        put = 0
        for at in range(0, len(data), PAGE):
            page = data[at : at + PAGE]
            if page.count(0) != len(page):
                self.bytes[pa + at : pa + at + len(page)] = page
                put += len(page)
        return put

    def poison(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fill (pa, bytes) ranges with a pattern; from now on nothing is known to be zero."""
        self.fresh = False
        for pa, size in ranges:
            ctypes.memset(self.address + pa, POISON, size)

    def view(self, runs: Iterable[tuple[int, int]]) -> mmap.mmap:
        """The memory itself at (pa, bytes), in whole pages of this computer, one run behind the other. It stays until
        nobody has the view, also when the machine is closed. Of a file's pages it is a copy. OSError: this process can
        hold no more mappings."""
        runs = list(runs)
        size = sum(length for _, length in runs)
        view = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
        at = ctypes.addressof(ctypes.c_char.from_buffer(view))
        for pa, length in runs:
            access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | FIXED
            if any(start < pa + length and pa < end for start, end in self._laid):
                ctypes.memmove(at, self.address + pa, length)
            elif libc.mmap(at, length, access, flags, self.fd, pa) != at:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            at += length
        self.views.add(view)
        return view  # which unmaps what is mapped over it

    @property
    def is_file(self) -> bool:
        """Whether pages of it are a file's."""
        return bool(self._laid)

    def give_back(self, but: Iterable[tuple[int, int]]) -> None:
        """Let the memory go that lies in none of these (pa, bytes) runs of whole pages: it reads as zeros then."""
        at = 0
        for pa, length in [*sorted(but), (self.limit, 0)]:
            if at < pa:
                libc.fallocate(self.fd, KEEP_SIZE | PUNCH_HOLE, at, pa - at)
            at = max(at, pa + length)

    def snapshot(self) -> dict[int, bytes]:
        """Every page that is not all zeros, by physical address: the machine's whole state."""
        pages = {}
        for start, end in self._extents():
            data = self.bytes[start:end]
            if data.count(0) == len(data):
                continue
            for at in range(0, len(data), PAGE):
                page = data[at : at + PAGE]
                if page != _ZEROS:
                    pages[start + at] = page
        return pages

    def restore(self, snapshot: dict[int, bytes]) -> None:
        """Make memory what it was when the snapshot was taken. Mappings of it stay."""
        for start, end in list(self._extents()):
            for at in range(start, end, PAGE):
                if at not in snapshot and self.bytes[at : at + PAGE] != _ZEROS:
                    self.bytes[at : at + PAGE] = _ZEROS
        for at, page in snapshot.items():
            self.bytes[at : at + PAGE] = page

    def close(self) -> None:
        """Let the memory go, once: at once, but for what somebody still looks at."""
        if not self.closed:
            self.closed = True
            del self._export
            with suppress(BufferError):
                self.bytes.close()
            os.close(self.fd)

    def _extents(self) -> Iterator[tuple[int, int]]:
        """(start, end) of what has been touched, in steps of at most 16 MiB."""
        for at, end in [*data_in(self.fd, 0, self.limit), *self._laid]:
            for start in range(at, end, 1 << 24):
                yield start, min(start + (1 << 24), end)


_ZEROS = bytes(PAGE)
