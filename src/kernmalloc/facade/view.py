"""What the host sees of a kernel: its records, read from the machine's memory without running kernel code."""

from contextlib import suppress
from mmap import mmap
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.loader import Loaded
from kernmalloc.kernel.core.kern import TYPE_NAMES, Cpu, Kern
from kernmalloc.kernel.frames.bitmap import CHUNK_ORDER
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.bins import INSIDE, OWN, SLAB, TAIL, HeapPage
from kernmalloc.kernel.heap.bins import LARGE as LARGE_RUN
from kernmalloc.kernel.heap.slabs import NOTES_SHIFT, WAITS, Cache, SlabPage, is_dense
from kernmalloc.lang.records import hexadecimal
from kernmalloc.machine.lives import LifeError
from kernmalloc.machine.ram import Ram

DAMAGE = (KeyError, ValueError, IndexError, OverflowError, RecursionError, MemoryError)
"""What comes of memory that is damaged, where a kernel's records are read through it."""


class Mappings(NamedTuple):
    """Entries that map the kernel's window: large pages, and single pages, those of image and tables included."""

    large: int
    small: int

    @property
    def entries(self) -> int:
        return self.large + self.small


class View:
    """The memory of one kernel, by kernel virtual address. LifeError once the kernel is closed."""

    def __init__(self, ram: Ram, loaded: Loaded) -> None:
        self.ram, self.loaded = ram, loaded
        self.format = loaded.format
        self.page = 1 << loaded.page_shift

    @property
    def memory(self) -> mmap:
        """All of it, by physical address."""
        if self.ram.closed:
            raise LifeError("this kernel is closed: its memory is gone")
        return self.ram.bytes

    def pa(self, va: int) -> int:
        """Physical address behind a kernel address, by the kernel's own page tables. KeyError if nothing is."""
        entry, shift = self._entry(va, self.format.page_shift)
        inside = (1 << shift) - 1
        return int(self.format.pa(entry)) & ~inside | self._on_target(va) & inside

    def _on_target(self, va: int) -> int:
        return va - self.loaded.window + self.loaded.target

    def _entry(self, va: int, least: int) -> tuple[int, int]:
        """The entry on the way to an address at the level whose entries reach over 2 ** `least` bytes, or of a large
        page above; and the log2 of the bytes over which it reaches. KeyError where there is none."""
        f = self.format
        table, shift = self.loaded.root, f.root_shift
        while True:
            bits, stride = f.index_bits, f.entry_shift if shift == f.page_shift else f.upper_entry_shift
            if shift == f.root_shift:
                bits = f.root_bits
            at = table + ((self._on_target(va) >> shift & (1 << bits) - 1) << stride)
            entry = int.from_bytes(self.memory[at : at + (1 << f.word_shift)], "little")
            if not entry & f.present:
                raise KeyError(f"nothing maps {hexadecimal(va)}")
            if shift == least or (shift > f.page_shift and f.is_large(entry)):
                return entry, shift
            table, shift = f.pa(entry), shift - f.index_bits

    def _pages(self, va: int) -> NDArray[numpy.int64]:
        """Physical addresses of the pages from the one at `va` on that one leaf table, or one large page, maps."""
        f = self.format
        entry, shift = self._entry(va, f.page_shift + f.index_bits)
        first = (self._on_target(va) & (1 << shift) - 1) >> f.page_shift
        if f.is_large(entry):
            start = f.pa(entry) & -(1 << shift)
            return start + (numpy.arange(first, 1 << shift - f.page_shift, dtype=numpy.int64) << f.page_shift)
        leaves = self._table(entry)[first:]
        absent = leaves & f.present == 0
        end = int(absent.argmax()) if absent.any() else len(leaves)
        if not end:
            raise KeyError(f"nothing maps {hexadecimal(va)}")
        return f.pa(leaves[:end])

    def runs(self, va: int, pages: int) -> list[tuple[int, int]]:
        """The memory behind whole pages, as (physical address, bytes). KeyError where nothing is mapped."""
        parts = []
        while pages > 0:
            part = self._pages(va)[:pages]
            parts.append(part)
            pages, va = pages - len(part), va + len(part) * self.page
        found = numpy.concatenate(parts)
        starts = numpy.flatnonzero(numpy.diff(found, prepend=-1) != self.page)
        lengths = numpy.diff(starts, append=len(found)) * self.page
        return list(zip(found[starts].tolist(), lengths.tolist(), strict=True))

    def peek(self, va: int, size: int) -> bytes:
        """A copy of memory at `va`. KeyError where nothing is mapped."""
        inside = va % self.page
        if inside + size <= self.page:
            pa = self.pa(va)
            return self.memory[pa : pa + size]
        runs = self._behind(va, size)
        return b"".join(self.memory[pa : pa + length] for pa, length in runs)[inside : inside + size]

    def shared(self, va: int, size: int) -> memoryview:
        """The memory itself at `va`, as long as anybody has it, also when the kernel is closed. KeyError where nothing
        is mapped."""
        inside = va % self.page
        return memoryview(self.ram.view(self._behind(va, size)))[inside : inside + size]

    def _behind(self, va: int, size: int) -> list[tuple[int, int]]:
        """The whole pages in which `size` bytes at `va` lie, as `runs` has them."""
        inside = va % self.page
        return self.runs(va - inside, -(-(inside + size) // self.page))

    def read(self, record: Any, va: int, count: int = 1) -> NDArray[numpy.void]:
        """`count` records at va."""
        return numpy.frombuffer(self.peek(va, count * record.size), record.dtype)

    @property
    def kern(self) -> numpy.void:
        """The kernel record."""
        at = self.loaded.kern_pa
        record: numpy.void = numpy.frombuffer(bytearray(self.memory[at : at + Kern.size]), Kern.dtype)[0]
        return record

    @property
    def kern_va(self) -> int:
        """VA of the kernel record."""
        return self.loaded.area + int(self.loaded.info["kern"])

    def regions(self) -> list[numpy.void]:
        """The region records, from the lowest: the tree in order. KeyError where it is none."""
        found: list[numpy.void] = []
        met: set[int] = set()

        def visit(va: int) -> None:
            if va in met:
                raise KeyError(f"the region at {hexadecimal(va)} is met twice")
            if va:
                met.add(va)
                region = self.read(Region, va)[0]
                visit(int(region["left"]))
                found.append(region)
                visit(int(region["right"]))

        visit(int(self.kern["regions"]))
        return found

    def region(self, pfn: int) -> numpy.void:
        """The record of the region that holds a frame. KeyError if none does."""
        va = int(self.kern["regions"])
        found: numpy.void | None = None
        while va:
            region = self.read(Region, va)[0]
            if region["base"] <= pfn:
                found = region
            va = int(region["right"] if region["base"] <= pfn else region["left"])
        if found is None or pfn >= found["base"] + found["count"]:
            raise KeyError(f"no region holds frame {pfn:#x}")
        return found

    def core_tables(self) -> list[tuple[int, memoryview]]:
        """The first pfn and the entries of each region of RAM, from the lowest: the memory itself, as `shared`."""
        return [(base, self.shared(va, size)) for base, va, size in self._tables()]

    def kept(self) -> list[tuple[int, memoryview]] | None:
        """The core tables of a kernel that is about to be closed; all other memory is given back, unless somebody has
        a view of some. None: the tables are damaged, or too scattered, or in a dump, which stays."""
        if self.ram.is_file:
            return None
        with suppress(*DAMAGE, OSError):
            others = bool(self.ram.views)
            found = [(base, va % self.page, size, self._behind(va, size)) for base, va, size in self._tables()]
            kept = [(base, memoryview(self.ram.view(runs))[at : at + size]) for base, at, size, runs in found]
            if not others:
                self.ram.give_back(run for *_, runs in found for run in runs)
            return kept
        return None

    def _tables(self) -> list[tuple[int, int, int]]:
        """First pfn, VA and bytes of the core table of each region of RAM."""
        stride = int(self.kern["stride"])
        described = [region for region in self.regions() if region["area"]]
        return [(int(r["base"]), int(r["entries"]), int(r["count"]) * stride) for r in described]

    def cache(self, id: int) -> numpy.void:
        """The record of a cache."""
        record: numpy.void = self.read(Cache, int(self.kern["caches"]) + id * Cache.size)[0]
        return record

    def heap_map(self) -> NDArray[numpy.uint8]:
        """The heap map: a row of bytes per heap page below the top."""
        kern = self.kern
        top, shift = int(kern["top"]), int(kern["record_shift"])
        bytes = self.peek(int(kern["heap_map"]), top << shift) if top else b""
        return numpy.frombuffer(bytes, numpy.uint8).reshape(top, 1 << shift)

    def heap_pages(self) -> NDArray[numpy.void]:
        """The records of all heap pages below the top, as far as each page size has them."""
        return numpy.ascontiguousarray(self.heap_map()[:, : HeapPage.size]).view(HeapPage.dtype)[:, 0]

    def cpus(self) -> NDArray[numpy.void]:
        """The processor records."""
        return self.read(Cpu, self.loaded.cpu, int(self.loaded.info["cpus"]))

    def magazines(self) -> NDArray[numpy.void]:
        """The magazines by owner and cache: the first row has those of the common caches, then a row per processor."""
        return numpy.concatenate([[self.kern["common"]], self.cpus()["magazines"]])

    def stocks(self) -> NDArray[numpy.int64]:
        """Frames in the stocks of each processor: single ones, and those of chunks."""
        cpus = self.cpus()
        groups = (
            numpy.bitwise_count(cpus[name]["bits"].view(numpy.uint64)).sum(axis=1)
            for name in ("frame_groups", "chunk_groups")
        )
        return numpy.stack(list(groups), axis=1).astype(numpy.int64) << (0, CHUNK_ORDER)

    def frames(self) -> dict[str, int]:
        """Frames by type: what the kernel counts, and the pages that came out of processors' stocks."""
        kern = self.kern
        counts = {name: int(kern[f"{name}_frames"]) for name in TYPE_NAMES}
        pages = int(kern["stocked"]) - int(self.stocks().sum())
        return counts | {"free": counts["free"] - pages, "page": counts["page"] + pages}

    def used_slots(self) -> dict[int, int]:
        """Slots given out, by cache: recounted from the bits of slabs' pages, and the notes of what was given back."""
        records, shift = self.heap_pages().view(SlabPage.dtype), int(self.kern["page_shift"])
        starts = self.heap_map()[:, SlabPage.offset("starts") :][:, : 1 << shift - NOTES_SHIFT]
        slabs = records["use"] == SLAB
        taken = numpy.bitwise_count(starts).sum(axis=1, dtype=int)
        for page in numpy.flatnonzero(slabs & (records["owner"] & WAITS != 0)):
            taken[page] -= self._notes(int(page), records[page]).bit_count()
        return {
            int(id): int(taken[slabs & (records["cache"] == id)].sum()) for id in numpy.unique(records["cache"][slabs])
        }

    def _notes(self, page: int, record: numpy.void) -> int:
        """The notes of a slab's page, as one number."""
        shift = int(self.kern["page_shift"])
        if not is_dense(int(self.cache(int(record["cache"]))["size"]), shift):
            return int(record["returned"]) % (1 << 64)
        length = 1 << shift - NOTES_SHIFT
        return int.from_bytes(self.peek(int(self.kern["heap"]) + (page + 1 << shift) - length, length), "little")

    def used_pages(self) -> int:
        """Heap pages in use: recounted run by run from the heap map."""
        pages = self.heap_pages()
        large = int(pages["pages"][(pages["use"] == LARGE_RUN) | (pages["use"] == OWN)].sum())
        return large + int((pages["use"] == SLAB).sum())

    def mappings(self) -> Mappings:
        """Entries present in the kernel's window: recounted from the page tables."""
        kern = self.kern
        directory = self._directory(kern)
        present = directory[directory & self.format.present != 0]
        is_large = self.format.is_large(present)
        large, small = int(is_large.sum()), 0
        for entry in present[~is_large]:
            small += int((self._table(int(entry)) & self.format.present != 0).sum())
        return Mappings(large, small)

    def mapped(self) -> NDArray[numpy.int64]:
        """Physical addresses of the pages that the kernel's window maps, of a large page the first, and of the leaf
        tables that map them."""
        f, directory = self.format, self._directory(self.kern)
        present = directory[directory & f.present != 0]
        is_large = f.is_large(present)
        parts = [f.pa(present[~is_large]), f.pa(present[is_large]) & -f.large_page]
        for entry in present[~is_large]:
            leaves = self._table(int(entry))
            parts.append(f.pa(leaves[leaves & f.present != 0]))
        return numpy.concatenate(parts)

    def _directory(self, kern: numpy.void) -> NDArray[numpy.int64]:
        """The directory's entries for the slots of the window."""
        step = self.format.upper_entry_shift
        slots = int(kern["bytes"]) >> int(kern["span_shift"])
        return self._words(self.peek(int(kern["directory"]), slots << step), step)

    def _table(self, entry: int) -> NDArray[numpy.int64]:
        """The entries of the leaf table that a directory entry leads to."""
        start = self.format.pa(entry)
        return self._words(self.memory[start : start + self.page], self.format.entry_shift)

    def _words(self, memory: bytes, step: int) -> NDArray[numpy.int64]:
        """Entries, of an upper one the first word, of which one begins every 2 ** `step` bytes."""
        word = self.format.word_shift
        found = numpy.frombuffer(memory, f"<u{1 << word}")[:: 1 << step - word]
        return found.astype(numpy.int64)

    def backing(self) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], int]:
        """VA and PA of each heap page that has a frame, from the page tables; and how many of them lie in large
        pages."""
        kern = self.kern
        shift, slot = int(kern["page_shift"]), int(kern["span_shift"])
        each = 1 << (slot - shift)
        f, directory = self.format, self._directory(kern)
        vas, pas, large = [numpy.zeros(0, numpy.int64)], [numpy.zeros(0, numpy.int64)], 0
        for page in range(0, int(kern["top"]), each):
            start = int(kern["heap"]) + (page << shift)
            entry = int(directory[(start - int(kern["base"])) >> slot])
            if not entry & f.present:
                continue
            va = start + (numpy.arange(min(int(kern["top"]) - page, each), dtype=numpy.int64) << shift)
            if f.is_large(entry):
                pa = (f.pa(entry) & -(1 << slot)) + va - start
                large += len(va)
            else:
                leaves = self._table(entry)[: len(va)]
                backed = leaves & f.present != 0
                va, pa = va[backed], f.pa(leaves[backed])
            vas.append(va)
            pas.append(pa)
        return numpy.concatenate(vas), numpy.concatenate(pas), large

    def shares(self) -> tuple[float, float]:
        """Of the heap pages with a frame: the share whose VA is PA + one constant, and that in large pages (C3, C6)."""
        va, pa, large = self.backing()
        if not len(va):
            return 0.0, 0.0
        _, counts = numpy.unique(va - pa, return_counts=True)
        return float(counts.max() / len(va)), large / len(va)


class DirectView(View):
    """The memory of a kernel in a direct map: there are no tables to walk."""

    def pa(self, va: int) -> int:
        """Physical address behind a kernel address. KeyError where the map does not reach, or no RAM is."""
        pa = va - self.loaded.window
        if not 0 <= pa < min(self.loaded.window_bytes, self.ram.top):
            raise KeyError(f"nothing maps {hexadecimal(va)}")
        return pa

    def _pages(self, va: int) -> NDArray[numpy.int64]:
        """Physical addresses of the pages from the one at `va` on, some of them."""
        first = self.pa(va - va % self.page)
        end = min(first + (self.page << 16), self.loaded.window_bytes, self.ram.top)
        return numpy.arange(first, end, self.page, dtype=numpy.int64)

    def mappings(self) -> Mappings:
        """None is the kernel's."""
        return Mappings(0, 0)

    def mapped(self) -> NDArray[numpy.int64]:
        """Physical addresses of the pages of the boot area, of the donation, and of the heap's."""
        kern, info = self.kern, self.loaded.info
        donated, area = int(kern["donation_pfn"]) * self.page, int(info["area_pa"])
        parts = (
            numpy.arange(area, area + int(info["area_bytes"]), self.page, dtype=numpy.int64),
            numpy.arange(donated, donated + int(kern["donation_frames"]) * self.page, self.page, dtype=numpy.int64),
            self.backing()[1],
        )
        return numpy.concatenate(parts)

    def backing(self) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], int]:
        """VA and PA of each heap page that has a frame, from the heap map. In how large pages, others know."""
        records, heap = self.heap_pages(), int(self.kern["heap"])
        runs = numpy.flatnonzero((records["use"] != INSIDE) & (records["use"] != TAIL) & (records["pages"] > 0))
        pages, page = [numpy.zeros(0, numpy.int64)], 0
        for run in runs.tolist():
            if run >= page:
                page = run + int(records["pages"][run])
                pages.append(numpy.arange(run, page, dtype=numpy.int64))
        va = heap + numpy.concatenate(pages) * self.page
        return va, va - self.loaded.window, 0


def view_of(ram: Ram, loaded: Loaded) -> View:
    """The memory of a kernel, whether it has page tables or not."""
    return View(ram, loaded) if loaded.has_tables else DirectView(ram, loaded)
