"""Pages and address spaces of a booted kernel: what its page cache holds, and processes map.

    >>> with kernel.pages.source("objects.pages", pages=1000) as source:
    ...     with kernel.pages.get(7) as page:        # read from the file, held where it is
    ...         page.write(0, b"seven")              # dirty now
    ...     kernel.pages.flush()                     # written back

Who asks for a page that is not there waits: the calling thread drives the source until the page has come. Of several
processors, that is the one on which the source was opened; who asks on another is told WouldBlock, and asks again.
"""

from copy import copy
from pathlib import Path
from typing import Any

import numpy

from kernmalloc.facade.errors import Busy, SourceError, WouldBlock, checked
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.source import PageFile, Source, make_pages
from kernmalloc.facade.state import CoreTable, Snapshot, page_layout
from kernmalloc.kernel.core.kern import DIRTY, PAGE
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang.records import hexadecimal
from kernmalloc.lang.status import BUSY, IO_ERROR, WOULD_BLOCK

STATE_NAMES = ("empty", "reading", "clean", "dirty", "writing", "rewritten", "failed")


class Page:
    """A page in its frame. In a `with` block it stays there: else it may be gone at the next call of the kernel."""

    def __init__(self, pages: "Pages", oid: int, pfn: int) -> None:
        self._pages, self.oid, self.pfn = pages, oid, pfn

    def __enter__(self) -> "Page":
        self.pin()
        return self

    def __exit__(self, *_: object) -> None:
        self.unpin()

    def pin(self) -> None:
        """Hold the page in its frame. Raises BadAddress if it is there no more, Busy if it is held too often."""
        self._pages.call("page_pin", self.pfn)

    def unpin(self) -> None:
        """Let it go. Raises BadAddress if it was not held."""
        self._pages.call("page_unpin", self.pfn)

    def dirty(self) -> None:
        """Say that the page is about to be written to."""
        self._pages.call("page_dirty", self.pfn)

    def clean(self) -> None:
        """Have it written back, if it is dirty; the source does so when it runs."""
        self._pages.call("page_clean", self.pfn)

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """`size` bytes of the page, by default to its end. ValueError beyond its end."""
        count = self._pages.page - offset if size is None else size
        self._inside(offset, count)
        return self._pages.memory(self.pfn * self._pages.page + offset, count)

    def write(self, offset: int, data: bytes) -> None:
        """Write to the page; it is dirty then. ValueError beyond its end."""
        self._inside(offset, len(data))
        self.dirty()
        self._pages.put(self.pfn * self._pages.page + offset, data)

    def _inside(self, offset: int, count: int) -> None:
        if offset < 0 or count < 0 or offset + count > self._pages.page:
            raise ValueError(f"{count} bytes at {offset} of a page of {self._pages.page}")


class AddressSpace:
    """What a process maps: `va` is its record in the kernel, `root` the physical address of its root table."""

    def __init__(self, pages: "Pages", va: int) -> None:
        self._pages, self.va = pages, va

    @property
    def root(self) -> int:
        return int(self._record["root_pa"])

    @property
    def mapped(self) -> int:
        """Pages mapped, those of large pages among them."""
        return int(self._record["pages"])

    @property
    def _record(self) -> numpy.void:
        record: numpy.void = self._pages.view.read(Umap, self.va)[0]
        return record

    def map(self, va: int, oid: int, write: bool = False) -> None:
        """Map the page of an object id, as the fault of a process would. Raises BadAddress, Busy (another page is
        there), and as `Pages.get`."""
        self._pages.call("umap_map", self.va, va, oid, int(write))

    def map_large(self, va: int, pfn: int, write: bool = False) -> None:
        """Map a large page of frames from `pfn` on: of a block or range that somebody holds, or of a published device.
        They stay theirs, and there, until it is unmapped. Raises BadAddress, Busy (something is mapped there),
        OutOfMemory, Promised."""
        self._pages.call("umap_map_large", self.va, va, pfn, int(write))

    def map_device(self, va: int, pfn: int, pages: int, write: bool = False) -> None:
        """Map so many frames of a published device, cached as its range says. Raises as `map_large`, and OutOfMemory
        where the reserve of entries is used up."""
        self._pages.call("umap_map_device", self.va, va, pfn, pages, int(write))

    def unmap(self, va: int, pages: int = 1) -> None:
        """Take out what is mapped in so many pages. Raises BadAddress where nothing is mapped, or for a part of a large
        page."""
        self._pages.call("umap_unmap_range", self.va, va, pages)

    def free(self) -> None:
        """Give it back, and all that it maps."""
        self._pages.call("umap_free", self.va)


def _let_go(sources: list[Source]) -> None:
    """Let the open source go. The end of a kernel knows this list, and not the kernel, which else nothing but the
    garbage collector would end."""
    for source in sources:
        source.let_go()


class Pages:
    """The page cache of one kernel."""

    def __init__(self, handle: Handle) -> None:
        self.handle, self.view = handle, handle.view
        self.page = handle.view.page  # bytes
        self._sources: list[Source] = []  # the one that is open; all processors share it
        self._written = [0]  # pages written by those before it
        handle.end.callback(_let_go, self._sources)

    def on(self, handle: Handle) -> "Pages":
        """The same pages as another processor's handle of this kernel asks for them."""
        pages = copy(self)
        pages.handle = handle
        return pages

    @property
    def open(self) -> Source | None:
        """The source that was opened last."""
        return self._sources[-1] if self._sources else None

    def source(self, path: str | Path, pages: int | None = None, create: bool = False) -> Source:
        """Open a file of pages as the source; `pages` makes a new one of so many, in place of one there is. Another
        file is replaced only if `create` says so. Raises Busy if a source is open, SourceError if that is no such file,
        OSError; then no file has changed."""
        ring = checked(self.handle.call("source_open"), "source()")
        try:
            if pages is not None:
                make_pages(Path(path), self.page, pages, create)
            self._written[0] += self.open.file.written if self.open else 0
            self._sources[:] = [Source(self.handle, PageFile(path, self.page), ring)]
        except BaseException:
            checked(self.handle.call("source_close"), "source()")
            raise
        return self._sources[0]

    @property
    def written(self) -> int:
        """Pages that the sources of this kernel have written."""
        return self._written[0] + (self.open.file.written if self.open else 0)

    def refuse_restore(self, snapshot: dict[int, bytes]) -> None:
        """Raise Busy if a page of a snapshot could be written over a newer one."""
        if self.open and not self.open.closed:
            raise Busy(BUSY, "restore(): a source is open, close it first")
        if isinstance(snapshot, Snapshot) and snapshot.cached and snapshot.written != self.written:
            raise Busy(BUSY, "restore(): pages of this snapshot have been written to the source since")

    def get(self, oid: int) -> Page:
        """The page of an object id, read if it is not there. Raises BadAddress, SourceError (no source, or it cannot
        read the page), OutOfMemory, WouldBlock where no answer of the source could help."""
        return Page(self, oid, self.call("page_get", oid))

    def space(self) -> AddressSpace:
        """An empty address space. Raises OutOfMemory, Promised."""
        return AddressSpace(self, self.call("umap_make"))

    def flush(self) -> int:
        """Write back all that is dirty: how many pages. Raises SourceError if the source cannot write one of them,
        WouldBlock while another processor's thread has some to write."""
        dirty = self.in_state(DIRTY)
        for pfn in dirty:
            self.call("page_clean", pfn)
        while self._drive():
            pass
        counts = self.counts()
        if counts["writing"] + counts["rewritten"]:
            raise WouldBlock(WOULD_BLOCK, "flush()")
        if counts["dirty"]:
            raise SourceError(IO_ERROR, f"flush(), {counts['dirty']} of {len(dirty)} pages")
        return len(dirty)

    def in_state(self, state: int) -> list[int]:
        """Frames whose pages are in a state of `kernel.kern`."""
        found = []
        for base, entries in CoreTable(self.handle):
            pages = entries.view(page_layout(entries.dtype.itemsize))
            found += (base + numpy.flatnonzero((pages["type"] == PAGE) & (pages["state"] == state))).tolist()
        return found

    def counts(self) -> dict[str, int]:
        """Pages by state."""
        counts = self.view.kern["pages"]["counts"]
        return {name: int(count) for name, count in zip(STATE_NAMES, counts, strict=True) if name != "empty"}

    @property
    def state(self) -> Any:
        """The page cache's record: hits, misses, evictions, reads, writes."""
        return self.view.kern["pages"]

    # what pages and address spaces are made of

    def call(self, entry: str, *args: int) -> int:
        """Call the kernel; while it has to wait, run the source."""
        result = self.handle.call(entry, *args)
        while result == WOULD_BLOCK and self._drive():
            result = self.handle.call(entry, *args)
        return checked(result, f"{entry}({', '.join(map(hexadecimal, args))})")

    def _drive(self) -> int:
        """Run the source, if it is this processor's: how many requests it answered."""
        source = self.open
        if source is None or source.closed or source.handle.processor != self.handle.processor:
            return 0
        return source.run()

    def memory(self, pa: int, size: int) -> bytes:
        """Physical memory."""
        return self.view.memory[pa : pa + size]

    def put(self, pa: int, data: bytes) -> None:
        """Write to physical memory."""
        self.view.memory[pa : pa + len(data)] = data
