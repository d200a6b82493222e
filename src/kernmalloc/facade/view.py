"""What the host sees of a kernel: its records, read from the machine's memory without running kernel code."""

import ctypes
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.loader import Loaded
from kernmalloc.kernel.core.kern import TYPE_NAMES, Cpu, Kern
from kernmalloc.kernel.frames.bitmap import CHUNK_ORDER
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.bins import LARGE as LARGE_RUN
from kernmalloc.kernel.heap.bins import SLAB, HeapPage
from kernmalloc.kernel.heap.slabs import RETURNED_BYTES, SPARSE, Cache, SlabPage
from kernmalloc.machine.ram import Ram


class Mappings(NamedTuple):
    """Entries that map the kernel's window: large pages, and single pages, those of image and tables included."""

    large: int
    small: int

    @property
    def entries(self) -> int:
        return self.large + self.small


class View:
    """The memory of one kernel, by kernel virtual address. `direct`: this process maps it there (raw mode)."""

    def __init__(self, ram: Ram, loaded: Loaded, direct: bool) -> None:
        self.ram, self.loaded, self.direct = ram, loaded, direct
        self.format = loaded.format
        self.page = 1 << loaded.page_shift

    def pa(self, va: int) -> int:
        """Physical address behind a kernel address, by the kernel's own page tables. KeyError if nothing is."""
        p = self.loaded
        return self._walk(p.root, self.format.root_shift, va - p.window + p.target) | (va % self.page)

    def _walk(self, table: int, shift: int, va: int) -> int:
        f = self.format
        at = table + ((va >> shift & (1 << f.index_bits) - 1) << f.entry_shift)
        entry = int.from_bytes(self.ram.bytes[at : at + 8], "little")
        if not entry & f.present_bit:
            raise KeyError(f"nothing maps {va:#x}")
        if shift == f.page_shift:
            return entry & f.address
        if entry & f.large_bit and shift < f.root_shift:
            inside = (1 << shift) - self.page
            return (entry & ~inside | va & inside) & f.address
        return self._walk(entry & f.address, shift - f.index_bits, va)

    def peek(self, va: int, size: int) -> Any:
        """Memory at va: in raw mode the memory itself, else a copy. KeyError where nothing is mapped."""
        if self.direct:
            self.pa(va), self.pa(va + size - 1)
            return (ctypes.c_char * size).from_address(va)
        parts, at = [], va
        while at < va + size:
            n = min(self.page - at % self.page, va + size - at)
            pa = self.pa(at)
            parts.append(self.ram.bytes[pa : pa + n])
            at += n
        return b"".join(parts)

    def read(self, record: Any, va: int, count: int = 1) -> NDArray[numpy.void]:
        """`count` records at va."""
        return numpy.frombuffer(self.peek(va, count * record.size), record.dtype)

    @property
    def kern(self) -> numpy.void:
        """The kernel record."""
        record: numpy.void = numpy.frombuffer(self.ram.bytes, Kern.dtype, 1, self.loaded.kern_pa)[0].copy()
        return record

    @property
    def kern_va(self) -> int:
        """VA of the kernel record."""
        return self.loaded.window + int(self.loaded.info["image_bytes"] + self.loaded.info["kern"])

    def regions(self) -> list[numpy.void]:
        """The region records, from the lowest: the tree in order."""
        found: list[numpy.void] = []

        def visit(va: int) -> None:
            if va:
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

    def cache(self, id: int) -> numpy.void:
        """The record of a cache."""
        record: numpy.void = self.read(Cache, int(self.kern["caches"]) + id * Cache.size)[0]
        return record

    def heap_pages(self) -> NDArray[numpy.void]:
        """The heap map: a record per heap page below the top."""
        kern = self.kern
        if not kern["top"]:
            return numpy.zeros(0, HeapPage.dtype)
        return self.read(HeapPage, int(kern["heap_map"]), int(kern["top"]))

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
        """Slots given out, by cache: recounted from the bitmaps."""
        kern, records = self.kern, self.heap_pages().view(SlabPage.dtype)
        free = numpy.bitwise_count(records["bits"].view(numpy.uint64)).sum(axis=1)
        dense = (records["use"] == SLAB) & (records["slots"] > SPARSE) & (records["waiting"] != 0)
        for page in numpy.flatnonzero(dense):
            end = int(kern["heap"]) + (int(page) + 1 << int(kern["page_shift"]))
            free[page] += int.from_bytes(self.peek(end - RETURNED_BYTES, RETURNED_BYTES), "little").bit_count()
        slabs = records["use"] == SLAB
        taken = records["slots"].astype(int) - free
        return {
            int(id): int(taken[slabs & (records["cache"] == id)].sum()) for id in numpy.unique(records["cache"][slabs])
        }

    def used_pages(self) -> int:
        """Heap pages in use: recounted run by run from the heap map."""
        pages = self.heap_pages()
        large = int(pages["pages"][pages["use"] == LARGE_RUN].sum())
        return large + int((pages["use"] == SLAB).sum())

    def mappings(self) -> Mappings:
        """Entries present in the kernel's window: recounted from the page tables."""
        kern = self.kern
        directory = self._directory(kern)
        present = directory[directory & self.format.present_bit != 0]
        is_large = present & self.format.large_bit != 0
        large, small = int(is_large.sum()), 0
        for entry in present[~is_large]:
            small += int((self._table(int(entry)) & self.format.present_bit != 0).sum())
        return Mappings(large, small)

    def _directory(self, kern: numpy.void) -> NDArray[numpy.int64]:
        """The directory's entries for the slots of the window."""
        step = self.format.entry_shift
        slots = int(kern["bytes"]) >> int(kern["span_shift"])
        return numpy.frombuffer(self.peek(int(kern["directory"]), slots << step), numpy.int64)[:: 1 << step - 3]

    def _table(self, entry: int) -> NDArray[numpy.int64]:
        """The entries of the leaf table that a directory entry leads to."""
        leaves = numpy.frombuffer(self.ram.bytes, numpy.int64, self.page // 8, entry & self.format.address)
        return leaves[:: 1 << self.format.entry_shift - 3]

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
            if not entry & f.present_bit:
                continue
            va = start + (numpy.arange(min(int(kern["top"]) - page, each), dtype=numpy.int64) << shift)
            if entry & f.large_bit:
                pa = (entry & f.address & -(1 << slot)) + va - start
                large += len(va)
            else:
                leaves = self._table(entry)[: len(va)]
                backed = leaves & f.present_bit != 0
                va, pa = va[backed], leaves[backed] & f.address
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
