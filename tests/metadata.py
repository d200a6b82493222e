"""A kernel's metadata, byte by byte: which field of which record lies where."""

import random
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from small_machines import slots_of

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.boot.added import Adding
from kernmalloc.kernel.boot.config import BootRange, Config
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import CACHES, Byte, Cpu, Half, Index, Kern, Word
from kernmalloc.kernel.devices import CHUNK_FRAMES, Chunk
from kernmalloc.kernel.frames.claims import Thread
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.table import Frame, Page
from kernmalloc.kernel.heap.bins import SLAB, HeapPage
from kernmalloc.kernel.heap.caches import (
    CHUNK_CACHE,
    DEPEND_CACHE,
    LAST_CACHE,
    LAST_REGION_CACHE,
    REGION_CACHE,
    THREAD_CACHE,
    UMAP_CACHE,
    ObjectType,
)
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES
from kernmalloc.kernel.heap.slabs import NOTES_SHIFT, Cache, SlabPage, is_dense
from kernmalloc.kernel.pages.depends import Depend
from kernmalloc.kernel.pages.pages import Identity
from kernmalloc.kernel.pages.source import Ring
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang.records import RecordType

OBJECTS = {
    REGION_CACHE: Region, LAST_REGION_CACHE: Region, CHUNK_CACHE: Chunk, LAST_CACHE: Chunk, UMAP_CACHE: Umap,
    DEPEND_CACHE: Depend, THREAD_CACHE: Thread,
}  # fmt: skip
"""What lies in the slots of the kernel's own caches."""


TABLES = ("root", "uppers", "directory", "image table", "window table", "cpu table", "leaf table")
"""Page tables of the window, as records."""


class Piece(NamedTuple):
    """Bytes of metadata that are one field of one record, or of no record."""

    pa: int
    bytes: int
    record: str
    field: str


def _fields(record: RecordType, pa: int, name: str = "", prefix: str = "") -> Iterator[Piece]:
    """A record, field by field; one that lies inside is told by the path to its field."""
    name, end = name or record.name, pa
    for field in record.fields.values():
        at = pa + field.offset
        if at > end:
            yield Piece(end, at - end, name, "-")
        if field.inline and len(field.kind.fields) > 1 and field.kind not in (Tally, Adding):
            for i in range(field.count):
                yield from _fields(field.kind, at + i * field.kind.size, name, f"{prefix}{field.name}.")
        else:
            yield Piece(at, field.size, name, prefix + field.name)
        end = at + field.size
    if pa + record.size > end:
        yield Piece(end, pa + record.size - end, name, "-")


class Metadata:
    """The pieces of a kernel's metadata, in order of address, and what each bit of it is of; `without` some records."""

    def __init__(self, kernel: Kernel, without: Collection[str] = ()) -> None:
        self.kernel, self.view, self.kern = kernel, kernel.view, kernel.view.kern
        self.page = self.view.page
        found = sorted(piece for piece in self._all() if piece.bytes and piece.record not in without)
        self.pieces: list[Piece] = []
        for piece in found:
            if self.pieces and piece.pa < self.pieces[-1].pa + self.pieces[-1].bytes:
                raise AssertionError(f"{piece} and {self.pieces[-1]} overlap")
            self.pieces.append(piece)
        self._starts = np.array([piece.pa for piece in self.pieces])

    def of(self, bit: int) -> Piece:
        """What a bit, counted from physical address 0, is of."""
        piece = self.pieces[int(np.searchsorted(self._starts, bit >> 3, "right")) - 1]
        assert piece.pa <= bit >> 3 < piece.pa + piece.bytes
        return piece

    def bits(self) -> NDArray[np.int64]:
        """Every bit, counted from physical address 0."""
        return np.concatenate([np.arange(piece.pa << 3, (piece.pa + piece.bytes) << 3) for piece in self.pieces])

    def sample(self, count: int, seed: int) -> NDArray[np.int64]:
        """So many bits: half of them drawn from all, half by first drawing a field and then one of its bits."""
        draw = random.Random(seed)
        fields: dict[tuple[str, str], list[Piece]] = {}
        for piece in self.pieces:
            fields.setdefault((piece.record, piece.field), []).append(piece)
        alike = list(fields.values())
        drawn = draw.sample(list(self.bits()), count // 2)
        while len(drawn) < count:
            piece = draw.choice(draw.choice(alike))
            drawn.append((piece.pa << 3) + draw.randrange(piece.bytes << 3))
        return np.array(drawn, np.int64)

    def _all(self) -> Iterator[Piece]:
        yield from self._boot_area()
        yield from self._tables()
        yield from self._heap_map()
        yield from self._regions()
        yield from self._objects()
        yield from self._page_cache()

    def _at(self, va: int, bytes: int, record: str, field: str) -> Iterator[Piece]:
        """Bytes at an address, page by page."""
        while bytes > 0:
            here = min(bytes, self.page - va % self.page)
            yield Piece(self.view.pa(va), here, record, field)
            va, bytes = va + here, bytes - here

    def _array(self, record: RecordType, va: int, count: int, name: str = "") -> Iterator[Piece]:
        for i in range(count):
            yield from _fields(record, self.view.pa(va + i * record.size), name)

    def _boot_area(self) -> Iterator[Piece]:
        info, kern = self.kernel.layout, self.kern
        area = int(info["area_pa"])
        parts = [
            *_fields(Config, area),
            *self._array(BootRange, int(kern["ranges"]), int(kern["range_count"])),
            *self._array(ObjectType, int(kern["objects"]), int(kern["object_count"])),
            *self._array(Cpu, int(kern["cpus"]), int(kern["cpu_count"])),
            *_fields(Kern, area + int(info["kern"])),
            *_fields(Region, area + int(info["region"])),
            Piece(area + int(info["spans"]), Half.size * (int(kern["bytes"]) >> int(kern["span_shift"])), "spans", "-"),
            *self._array(Cache, int(kern["caches"]), CACHES),
            *self._at(int(kern["class_of"]), CLASS_TABLE_BYTES * Byte.size, "class table", "-"),
        ]
        names = ["root", *["uppers"] * ((int(info["directory"] - info["root"]) // self.page) - 1)]
        names += ["directory"] * int(info["directories"]) + ["image table"] * int(info["image_tables"])
        names += ["window table"] * int(info["window_tables"]) + ["cpu table"] * int(info["cpu_tables"])
        for i, name in enumerate(names):
            parts.append(Piece(area + int(info["root"]) + i * self.page, self.page, name, "-"))
        end = area
        for piece in sorted(parts):
            yield Piece(end, piece.pa - end, "padding", "-")
            yield piece
            end = piece.pa + piece.bytes

    def _entries(self) -> Iterator[tuple[int, int, np.void]]:
        """(pfn, PA of its entry, entry) of each frame of RAM."""
        for region in self.view.regions():
            if region["area"]:
                for i in range(int(region["count"])):
                    va = int(region["entries"]) + i * int(self.kern["stride"])
                    yield int(region["base"]) + i, self.view.pa(va), self.view.read(Frame, va)[0]

    def _tables(self) -> Iterator[Piece]:
        """Leaf tables of the window, and tables of address spaces."""
        for pfn, _, entry in self._entries():
            if entry["type"] == 2:
                yield Piece(pfn * self.page, self.page, "user table" if entry["owner"] else "leaf table", "-")

    def _heap_map(self) -> Iterator[Piece]:
        heap_map, top = int(self.kern["heap_map"]), int(self.kern["top"])
        for page, record in enumerate(self.view.heap_pages()):
            kind = SlabPage if record["use"] == SLAB else HeapPage
            yield from _fields(kind, self.view.pa(heap_map + (page << int(self.kern["record_shift"]))))
        yield from self._at(
            heap_map + (top << int(self.kern["record_shift"])),
            int(self.kern["map_pages"]) * self.page - (top << int(self.kern["record_shift"])),
            "HeapPage beyond",
            "-",
        )

    def _regions(self) -> Iterator[Piece]:
        for _, pa, entry in self._entries():
            cached = entry["type"] == 3 and entry["owner"] >> 32 & 255
            names = ("free", "heap", "mapping", "page", "dma", "device", "reserved")
            yield from _fields(Page if cached else Frame, pa, "Page" if cached else f"Frame {names[entry['type']]}")
        for r in self.view.regions():
            if not r["area"]:
                continue
            words = int(r["word_count"])
            for i in range(int(r["count"])):
                yield from _fields(Identity, self.view.pa(int(r["identities"]) + i * int(self.kern["identity"])))
            bounds = [int(r[name]) for name in ("words", "sums", "tops", "full")]
            bounds.append(bounds[3] + Word.size * ((words // 8 + 63) // 64))
            for name, low, high in zip(("words", "sums", "tops", "full"), bounds, bounds[1:], strict=False):
                yield from self._at(low, high - low, "bitmap", name)
            end = int(r["area"]) + -(-(bounds[-1] - int(r["area"])) // self.page) * self.page
            yield from self._at(bounds[-1], end - bounds[-1], "padding", "-")

    def _objects(self) -> Iterator[Piece]:
        """Slots of the kernel's own caches, and the bitmaps that lie in slabs."""
        heap, kern = int(self.kern["heap"]), self.kern
        for page, record in enumerate(self.view.heap_pages().view(SlabPage.dtype)):
            if record["use"] != SLAB:
                continue
            va, id = heap + page * self.page, int(record["cache"])
            size = int(self.view.cache(id)["size"])
            if is_dense(size, self.page.bit_length() - 1):
                notes = self.page >> NOTES_SHIFT
                yield from self._at(va + self.page - notes, notes, "notes", "-")
            kind = OBJECTS.get(id)
            if kind is None:
                continue
            for at in slots_of(self.kernel, page):
                grain = at % self.page // 16
                if not int(record["starts"][grain >> 6]) >> (grain & 63) & 1:
                    yield from self._at(at, size, f"{kind.name}, free", "-")
                    continue
                for piece in _fields(kind, at):
                    yield from self._at(*piece)
                rest = size - kind.size
                if kind is Chunk:
                    for frame in range(CHUNK_FRAMES):
                        stride = int(kern["stride"])
                        for piece in _fields(Frame, at + Chunk.size + frame * stride, "Frame of a device"):
                            yield from self._at(*piece)
                    rest -= CHUNK_FRAMES * int(kern["stride"])
                yield from self._at(at + size - rest, rest, f"{kind.name}, free", "-")

    def _page_cache(self) -> Iterator[Piece]:
        pages = self.kern["pages"]
        heads, ghosts = int(pages["heads"]), int(pages["ghosts"])
        yield from self._at(heads, int(pages["buckets"]) * Index.size, "hash", "-")
        end = heads + int(pages["buckets"]) * Index.size
        yield from self._at(end, ghosts - end, "padding", "-")
        yield from self._at(ghosts, int(pages["ghost_count"]) * Half.size, "ghosts", "-")
        end = ghosts + int(pages["ghost_count"]) * Half.size
        yield from self._at(end, -end % self.page, "padding", "-")
        if pages["source"]:
            ring = self.view.pa(int(pages["source"]))
            yield from _fields(Ring, ring)
            yield Piece(ring + Ring.size, self.page - Ring.size, "padding", "-")
