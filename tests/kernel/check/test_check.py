"""The check can fail: for every invariant of every record there is a corruption that it, and no other, is found by; and
a wrong value in almost any field of any record is found by one of them."""

import struct
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import pytest
from heap_model import PAGE, altered
from hypothesis import given
from hypothesis import strategies as st
from page_source import Source
from small_machines import MIB, machine, poke

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bank
from kernmalloc.kernel.check.check import RECORDS, Finding
from kernmalloc.kernel.check.recount import mix
from kernmalloc.kernel.core import kern as k
from kernmalloc.kernel.core.kern import LINKS, Cpu, Kern
from kernmalloc.kernel.devices import Chunk
from kernmalloc.kernel.frames.bitmap import MAX_ORDER
from kernmalloc.kernel.frames.claims import LATE, READY, RUNNABLE, Stalls, Thread
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.stock import Group, Stock
from kernmalloc.kernel.frames.table import Frame, Page
from kernmalloc.kernel.heap.bins import BARE, IDLE, INSIDE, LARGE, OWN, SLAB, HeapPage, bin_at, bin_of, bits_of
from kernmalloc.kernel.heap.caches import REGION_CACHE
from kernmalloc.kernel.heap.slabs import LISTED, NOTES, Cache, Magazine, SlabPage, Stacked
from kernmalloc.kernel.pages.pages import Identity, Pages
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang import shl
from kernmalloc.lang.functions import over_numbers
from kernmalloc.lang.records import RecordType
from kernmalloc.lang.status import BROKEN, OK

SINGLES, BLOCKS = Cpu.offset("frames"), Cpu.offset("chunks")
BOTTOM, STEP = Stock.size, Group.size
UNUSED = 60  # a size class that the scene does not use
FORMATS = {1: "<B", 2: "<H", 4: "<I", 8: "<q"}


class Scene:
    """A kernel with something of everything in it, and the addresses of its records."""

    def __init__(self) -> None:
        profile = altered("eros2", growth=64, bank=Bank(promised=8))
        kernel = self.kernel = Kernel.boot(machine((0, 8 * MIB), (16 * MIB, 4 * MIB)), profile, "soft", cpus=2)
        large = [kernel.malloc(pages * PAGE) for pages in (12, 20, 15, 75, 10, 9)]
        kernel.free(large[1])
        kernel.drain()  # 20 bare pages
        kernel.free(large[3])  # 64 idle ones, 11 bare ones
        for _ in range(30):
            kernel.malloc(600)
        small = [kernel.malloc(16) for _ in range(400)]
        for va in small[:256:2]:
            kernel.free(va)
        kernel.malloc(4096)
        nodes = [kernel.cache("node").get() for _ in range(80)]
        for va in nodes[:29]:
            kernel.cache("node").put(va)
        self.process = kernel.cache("process").id
        kernel.cache("process").get()
        self.pages = [kernel.frame_get() for _ in range(5)]
        self.block = kernel.block_get(3)
        self.pair = kernel.block_get(1, "page")
        kernel.range_get(77)
        kernel.devices.publish(0xE0000000, MIB)
        for pfn in (0xE0000, 0xE0003, 0xE0050):
            kernel.devices.get(pfn)
        other = kernel.cpu(1)
        other.free(small[1])  # into the word that processor 0 has claimed, or into a full slab
        for _ in range(3):
            other.malloc(48)
        other.frame_put(other.frame_get())
        source = Source(kernel)
        self.umap = kernel.call("umap_make")
        self.cached = [source.call("page_get", oid) for oid in range(40, 47)]
        for oid, write in ((40, 0), (41, 1), (44, 1)):
            assert source.call("umap_map", self.umap, oid << 12, oid, write) == 0
        kernel.call("page_clean", self.cached[1])  # being written
        self.threads = [kernel.call("thread_make", 0) for _ in range(3)]
        for oid, thread in ((50, self.threads[1]), (51, self.threads[2])):
            kernel.call("thread_run", thread)
            kernel.call("page_get", oid)  # being read: the thread is stalled
        kernel.call("thread_run", self.threads[0])
        self.kern, self.cpu = kernel.view.kern_va, kernel.handle.loaded.cpu
        self.page_cache, self.stalls = (self.kern + Kern.offset(name) for name in ("pages", "stalls"))
        self.set(Thread, self.threads[2], state=READY, need=3, owed=3)  # as if it had lacked frames, and they had come
        self.set(Stalls, self.stalls, owed=3)
        assert kernel.check().passed
        self.snapshot = kernel.snapshot()

    def get(self, record: RecordType, va: int, field: str) -> int:
        return int(self.kernel.view.read(record, va)[0][field])

    def set(self, record: RecordType, va: int, **values: int) -> int:
        """Overwrite fields; returns va."""
        for name, value in values.items():
            field = record.fields[name]
            poke(self.kernel.view, va + field.offset, struct.pack(FORMATS[field.size], value))
        return va

    def add(self, record: RecordType, va: int, field: str, change: int = 1) -> int:
        return self.set(record, va, **{field: self.get(record, va, field) + change})

    def word(self, va: int, change: Callable[[int], int]) -> None:
        """Change 8 bytes."""
        old = int.from_bytes(self.kernel.view.peek(va, 8), "little")
        poke(self.kernel.view, va, (change(old) % (1 << 64)).to_bytes(8, "little"))

    def page(self, number: int) -> int:
        """VA of a heap page's record."""
        return self.get(Kern, self.kern, "heap_map") + (number << self.get(Kern, self.kern, "record_shift"))

    def runs(self, use: int) -> Iterator[tuple[int, int]]:
        """(first page, pages) of the runs in a use, from the lowest."""
        records, at = self.kernel.view.heap_pages(), 0
        while at < len(records):
            if records[at]["use"] == use:
                yield at, int(records[at]["pages"])
            at += int(records[at]["pages"])

    def slab_pages(self) -> Iterator[tuple[int, np.void]]:
        """Pages of slabs and their records."""
        records = self.kernel.view.heap_pages().view(SlabPage.dtype)
        for at, pages in self.runs(SLAB):
            for page in range(at, at + pages):
                yield page, records[page]

    def listed(self) -> int:
        """A page on a magazine's list."""
        magazines = self.kernel.view.magazines()["list"]
        return int(magazines[magazines != 0][0]) - 1

    def spare(self) -> int:
        """The first page of an empty slab that was put aside."""
        magazines = self.kernel.view.magazines()["empties"]
        return int(magazines[magazines != 0][0]) - 1

    def waiting(self) -> int:
        """A page with slots that another processor gave back."""
        return next(page for page, record in self.slab_pages() if record["waiting"])

    def dense(self) -> int:
        """A full page with more slots than its record has notes."""
        return next(page for page, record in self.slab_pages() if record["used"] > NOTES and not record["waiting"])

    def large(self) -> tuple[int, int]:
        """A run in use of many pages that is not a core table."""
        areas = {r.area for r in self.kernel.regions}
        heap = self.get(Kern, self.kern, "heap")
        return next((at, pages) for at, pages in self.runs(LARGE) if pages > 4 and heap + at * PAGE not in areas)

    def cache(self, id: int) -> int:
        return self.get(Kern, self.kern, "caches") + id * Cache.size

    def magazine(self, id: int) -> int:
        if self.kernel.view.cache(id)["common"]:
            return self.kern + Kern.offset("common") + id * Magazine.size
        return self.cpu + Cpu.offset("magazines") + id * Magazine.size

    def regions(self, kind: int) -> list[int]:
        """VAs of the regions of a class."""

        def visit(va: int) -> Iterator[int]:
            if va:
                yield from visit(self.get(Region, va, "left"))
                yield va
                yield from visit(self.get(Region, va, "right"))

        return [va for va in visit(self.get(Kern, self.kern, "regions")) if self.get(Region, va, "kind") == kind]

    def device(self) -> int:
        """VA of the region of the published device range."""
        return self.regions(k.DEVICE_MEMORY)[0]

    def entry(self, pfn: int) -> int:
        """VA of a frame's core table entry."""
        for va in self.regions(k.RAM):
            base, count = self.get(Region, va, "base"), self.get(Region, va, "count")
            if base <= pfn < base + count:
                return self.get(Region, va, "entries") + (pfn - base) * Frame.size
        raise AssertionError(f"no entry for {pfn:#x}")

    def identity(self, pfn: int) -> int:
        """VA of a frame's identity."""
        for va in self.regions(k.RAM):
            base, count = self.get(Region, va, "base"), self.get(Region, va, "count")
            if base <= pfn < base + count:
                return self.get(Region, va, "identities") + (pfn - base) * Identity.size
        raise AssertionError(f"no identity for {pfn:#x}")

    def leaf_of(self, va: int) -> int:
        """Physical address of the leaf entry for va in the address space."""
        table = self.get(Umap, self.umap, "root_pa")
        for shift in (30, 21):
            at = table + (va >> shift & 511) * 8
            table = int.from_bytes(self.kernel.handle.life.ram.bytes[at : at + 8], "little") & ~0xFFF
        return table + (va >> 12 & 511) * 8

    def free_frame(self) -> int:
        """A free frame that is in no stock: its pfn."""
        region = [region for region in self.kernel.regions if region.area][-1]
        return next(
            pfn
            for pfn in reversed(range(region.pfn, region.pfn + region.frames))
            if self.kernel.frame_type(pfn) == "free"
        )

    def frame_of(self, type: str) -> int:
        """A frame of a type: its pfn."""
        region = [region for region in self.kernel.regions if region.area][-1]
        frames = range(region.pfn, region.pfn + region.frames)
        return next(pfn for pfn in frames if self.kernel.frame_type(pfn) == type)

    def leaf(self, page: int) -> int:
        """VA of the page-table entry of a heap page."""
        va = self.get(Kern, self.kern, "heap") + page * PAGE
        return self.get(Kern, self.kern, "tables") + (va - self.get(Kern, self.kern, "base")) // PAGE * 8


@pytest.fixture(scope="module")
def untouched() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.kernel.close()


@pytest.fixture
def scene(untouched: Scene) -> Iterator[Scene]:
    """The scene, put right again and checked after the test."""
    yield untouched
    untouched.kernel.restore(untouched.snapshot)
    assert untouched.kernel.check().passed


CORRUPTIONS: dict[tuple[str, str], Callable[[Scene], int]] = {}


def breaks(record: RecordType, *equations: str) -> Callable:
    """Register a corruption: the function changes one thing (more only where one alone breaks an earlier equation) and
    returns the VA of the record that must be named."""

    def register(function: Callable[[Scene], int]) -> Callable[[Scene], int]:
        for equation in equations:
            CORRUPTIONS[record.name, equation] = function
        return function

    return register


# --- Kern

STOCKED = {"free": " - stocked + tally.stocked", "page": " + stocked - tally.stocked"}
for type in k.TYPE_NAMES:
    breaks(Kern, f"{type}_frames{STOCKED.get(type, '')} == tally.{type}")(
        lambda s, field=f"{type}_frames": s.add(Kern, s.kern, field)
    )

breaks(Kern, "frames == " + " + ".join(f"{type}_frames" for type in k.TYPE_NAMES if type != "device"))(
    lambda s: s.add(Kern, s.kern, "frames") and s.add(Kern, s.kern, "added")
)
breaks(Kern, "promised <= free_frames + page_frames or lenient == 1")(
    lambda s: s.set(Kern, s.kern, free_frames=0, page_frames=0)
)
breaks(Kern, "(stage == UP) == (seal != 0)")(lambda s: s.set(Kern, s.kern, seal=0))
breaks(Kern, "seal == tally.kern_seal and area_seal == tally.area_seal")(lambda s: s.add(Kern, s.kern, "growth"))
breaks(Kern, "map_pages == tally.map_pages")(lambda s: s.add(Kern, s.kern, "map_pages"))
breaks(Kern, "tally.unused_errors == 0")(
    lambda s: s.set(Magazine, s.cpu + Cpu.offset("magazines") + REGION_CACHE * Magazine.size, empty_pages=1) and s.kern
)
breaks(Kern, "stage < UP or frames == opening + opening_heap + added")(lambda s: s.add(Kern, s.kern, "added"))
breaks(Kern, "coming == 0")(lambda s: s.set(Kern, s.kern, coming=1))
breaks(Kern, "device_count == tally.device_count and device_frames <= device_count")(
    lambda s: s.add(Kern, s.kern, "device_count")
)
breaks(Kern, "kept == tally.kept and kept <= fixed")(lambda s: s.add(Kern, s.kern, "kept"))
breaks(Kern, "backed - idle - kept <= peak")(lambda s: s.set(Kern, s.kern, peak=1))
breaks(Kern, "lock == 0")(lambda s: s.set(Kern, s.kern, lock=2))
breaks(Kern, "tally.link_errors == 0")(lambda s: s.set(Kern, s.kern, hit=s.cpu))
breaks(Kern, "stocked == tally.drawn")(lambda s: s.add(Kern, s.kern, "stocked"))
breaks(Kern, "region_count == tally.regions")(lambda s: s.add(Kern, s.kern, "region_count"))
breaks(Kern, "tally.ram_errors == 0")(lambda s: s.set(Kern, s.kern, ram_last=s.get(Kern, s.kern, "ram")))
breaks(Kern, "idle == tally.idle and idle <= idle_most")(lambda s: s.add(Kern, s.kern, "idle"))
breaks(Kern, "donated_heap + donated_maps == donation_frames")(lambda s: s.add(Kern, s.kern, "donated_heap"))
breaks(Kern, "cache_count >= 0 and cache_count <= CACHES")(lambda s: s.set(Kern, s.kern, cache_count=k.CACHES + 1))
breaks(Kern, "top >= 0 and top <= heap_pages")(lambda s: s.set(Kern, s.kern, top=s.get(Kern, s.kern, "heap_pages") + 1))


@breaks(Kern, "heap + (heap_pages << page_shift) <= windows")
def bound_and_what_is_released(s: Scene) -> int:
    """The seal is of their sums."""
    for name, pages in (("heap_pages", LINKS), ("fixed", LINKS), ("released", -LINKS)):
        s.set(Kern, s.kern, **{name: s.get(Kern, s.kern, name) + pages})
    return s.kern


breaks(Kern, "backed == tally.backed")(lambda s: s.add(Kern, s.kern, "backed"))


@breaks(Kern, "tally.span_errors == 0")
def directory_entry_of_an_empty_span(s: Scene) -> int:
    spans = s.get(Kern, s.kern, "bytes") >> s.get(Kern, s.kern, "span_shift")
    directory = s.get(Kern, s.kern, "directory")
    empty = next(at for at in range(directory, directory + 8 * spans, 8) if not any(s.kernel.view.peek(at, 8)))
    s.word(empty, lambda entry: entry | 1 << 9)
    return s.kern


@breaks(Kern, "stage < UP or tally.told == tally.told_due")
def region_that_has_lost_a_frame(s: Scene) -> int:
    s.add(Region, s.regions(k.CARVED_MEMORY)[0], "count", -1)
    return s.kern


@breaks(Kern, "tally.unlisted == tally.stocked and tally.unlisted_sum == tally.stock_sum")
def frame_in_two_stocks(s: Scene) -> int:
    """The other processor's is not empty."""
    theirs = s.get(Stock, s.cpu + Cpu.size + SINGLES, "top")
    ours = s.get(Stock, s.cpu + SINGLES, "top") + STEP
    poke(s.kernel.view, ours, bytes(s.kernel.view.peek(theirs, Group.size)))
    s.set(Stock, s.cpu + SINGLES, top=ours)
    return s.kern


@breaks(Kern, "heap_frames == tally.mapped")
def page_mapped_beyond_the_top(s: Scene) -> int:
    mapped = int.from_bytes(s.kernel.view.peek(s.leaf(0), 8), "little")
    s.word(s.leaf(s.get(Kern, s.kern, "top") + 1), lambda _: mapped)
    return s.kern


@breaks(Kern, "tally.heap_sum == tally.mapped_sum")
def two_pages_with_one_frame(s: Scene) -> int:
    at, _ = s.large()
    mapped = int.from_bytes(s.kernel.view.peek(s.leaf(at + 1), 8), "little")
    s.word(s.leaf(at + 2), lambda _: mapped)
    return s.kern


@breaks(Kern, "mapping_frames == tally.tables")
def mapping_frame_without_table(s: Scene) -> int:
    """A page that calls itself a mapping frame; both counts follow, else their own equations break."""
    s.set(Frame, s.entry(s.pages[0]), type=k.MAPPING)
    s.add(Kern, s.kern, "page_frames", -1)
    return s.add(Kern, s.kern, "mapping_frames")


@breaks(Kern, "tally.table_errors == 0")
def wrong_count_of_a_leaf_table(s: Scene) -> int:
    va = s.get(Kern, s.kern, "spans") + 2 * ((s.get(Kern, s.kern, "heap") - s.get(Kern, s.kern, "base")) >> 21)
    count = int.from_bytes(s.kernel.view.peek(va, 2), "little")
    poke(s.kernel.view, va, (count + 1).to_bytes(2, "little"))
    return s.kern


@breaks(Kern, "tally.runs == tally.filed")
def run_filed_twice(s: Scene) -> int:
    (at, _), *_ = s.runs(IDLE)
    poke(s.kernel.view, over_numbers(bin_at)(s.kern, IDLE, k.BINS - 1), (at + 1).to_bytes(4, "little"))
    return s.kern


@breaks(Kern, "tally.bin_errors == 0")
def bin_without_its_bit(s: Scene) -> int:
    (_, pages), *_ = s.runs(IDLE)
    bin = bin_of(pages)
    s.word(over_numbers(bits_of)(s.kern, IDLE) + 8 * (bin // 64), lambda bits: bits & ~(1 << bin % 64))
    return s.kern


@breaks(Kern, "tally.own == tally.owned")
def block_that_is_the_kernels_own(s: Scene) -> int:
    s.set(HeapPage, s.page(s.large()[0]), use=OWN)
    return s.kern


# --- Cpu and Magazine

breaks(Cpu, "id == tally.id")(lambda s: s.set(Cpu, s.cpu + Cpu.size, id=0))  # the first one's is looked at before
breaks(Cpu, "seal == tally.seal")(lambda s: s.set(Cpu, s.cpu + Cpu.size, stride=8))
breaks(Cpu, "run >= 0")(lambda s: s.set(Cpu, s.cpu, run=-1))
breaks(Cpu, "windows == tally.windows")(lambda s: s.add(Cpu, s.cpu + Cpu.size, "windows", PAGE))
breaks(Cpu, "open == 0")(lambda s: s.set(Cpu, s.cpu, open=1 << 7))
breaks(Cpu, "depth == 0")(lambda s: s.set(Cpu, s.cpu, depth=1))
breaks(Cpu, "busy == 0")(lambda s: s.set(Cpu, s.cpu, busy=1))
breaks(Cpu, "tally.aim_errors == 0")(lambda s: s.set(Cpu, s.cpu, low=s.get(Region, s.device(), "base")))


@breaks(Cpu, "tally.stock_errors == 0")
def bits_above_the_top(s: Scene) -> int:
    s.set(Group, s.get(Stock, s.cpu + BLOCKS, "top") + STEP, bits=1)
    return s.cpu


breaks(
    Magazine,
    "size == tally.magazine_size and keep == tally.magazine_keep and empty_pages == tally.magazine_empty_pages",
)(lambda s: s.add(Magazine, s.magazine(s.process), "empty_pages"))
breaks(Magazine, "bottom == tally.magazine_bottom and end == tally.magazine_end")(
    lambda s: s.add(Magazine, s.magazine(s.process), "end", 8)
)


@breaks(Magazine, "tally.stack_errors == 0")
def slot_that_is_on_the_stack_twice(s: Scene) -> int:
    stack = s.cpu + Cpu.offset("stacks")  # of blocks of 16 bytes
    poke(s.kernel.view, stack, bytes(s.kernel.view.peek(stack + Stacked.size, Stacked.size)))
    return s.magazine(0)


# --- Region and Frame

breaks(Region, "count > 0 and base >= 0 and base + count <= kern.max_pfn")(
    lambda s: s.set(Region, s.regions(k.CARVED_MEMORY)[0], count=1 << 40)
)
breaks(Region, "kind > 0 and kind < CLASSES")(lambda s: s.set(Region, s.regions(k.CARVED_MEMORY)[0], kind=k.CLASSES))
breaks(Region, "(area != 0) == (kind == RAM)")(lambda s: s.set(Region, s.regions(k.RAM)[0], kind=k.ROM))
breaks(Region, "tally.layout_errors == 0")(lambda s: s.add(Region, s.regions(k.RAM)[0], "identities", 16))
breaks(Region, "free == tally.region_free")(lambda s: s.add(Region, s.regions(k.RAM)[1], "free"))
breaks(Region, "tally.order_errors == 0")(lambda s: s.add(Region, s.regions(k.CARVED_MEMORY)[0], "base", -1))
breaks(Region, "live == tally.live and ready_count == tally.ready")(lambda s: s.add(Region, s.device(), "live"))
breaks(Region, "live + ready_count == guaranteed or (ready_count == 0 and live > guaranteed)")(
    lambda s: s.set(Region, s.device(), guaranteed=1 << 20)
)
breaks(Region, "tally.told_errors == 0")(lambda s: s.set(Region, s.regions(k.CARVED_MEMORY)[0], kind=k.ROM))
breaks(Region, "cut <= 1 and tier <= LAST_WORDS and (tier == UNPUBLISHED or (kind > RAM and kind <= DEVICE_MEMORY))")(
    lambda s: s.set(Region, s.device(), tier=3)
)
breaks(Region, "tally.cut_errors == 0")(lambda s: s.set(Region, s.device(), cut=1))
breaks(Region, "under == 0 or (under == RESERVED_MEMORY and tier != UNPUBLISHED)")(
    lambda s: s.set(Region, s.device(), under=k.RAM)
)
breaks(Region, "used == tally.used")(lambda s: s.add(Region, s.device(), "used"))
breaks(Chunk, "used > 0 and used <= CHUNK_FRAMES")(lambda s: s.set(Chunk, s.get(Region, s.device(), "chunks"), used=0))
breaks(Chunk, "used == tally.chunk_used")(lambda s: s.add(Chunk, s.get(Region, s.device(), "chunks"), "used"))
breaks(Frame, "type < TYPES")(lambda s: s.set(Frame, s.entry(s.pages[1]), type=k.TYPES))
breaks(Frame, "order <= MAX_ORDER")(lambda s: s.set(Frame, s.entry(s.pages[1]), order=MAX_ORDER + 1))
breaks(Frame, "type != FREE or (order == 0 and pins == 0 and link == 0 and owner == 0)")(
    lambda s: s.set(Frame, s.entry(s.free_frame()), pins=1)
)
breaks(Frame, "type != HEAP or (order == 0 and pins == 0 and link == 0 and owner == 0)")(
    lambda s: s.set(Frame, s.entry(s.frame_of("heap")), link=1)
)
breaks(Frame, "type != MAPPING or (order == 0 and pins == 0)")(
    lambda s: s.set(Frame, s.entry(s.frame_of("mapping")), pins=1)
)


breaks(Region, "attribute < ATTRIBUTES and (attribute == 0 or tier != UNPUBLISHED)")(
    lambda s: s.set(Region, s.regions(k.RAM)[0], attribute=2)
)


@breaks(Region, "tally.summary_errors == 0")
def summary_bit_of_no_word(s: Scene) -> int:
    region = s.regions(k.RAM)[0]
    s.word(s.get(Region, region, "sums"), lambda bits: bits | 1 << 63)
    return region


@breaks(Region, "tally.entry_errors == 0")
def free_frame_with_an_owner(s: Scene) -> int:
    s.set(Frame, s.entry(s.free_frame()), type=k.HEAP)
    return s.regions(k.RAM)[-1]


# --- HeapPage

breaks(HeapPage, "use > INSIDE and use < TAIL")(lambda s: s.set(HeapPage, s.page(s.large()[0]), use=INSIDE))


@breaks(HeapPage, "pages > 0 and pages == tally.tail_pages")
def run_whose_ends_disagree(s: Scene) -> int:
    at, pages = s.large()
    s.set(HeapPage, s.page(at + pages - 1), pages=pages - 1)
    return s.page(at)


@breaks(HeapPage, "tally.page_errors == 0")
def run_within_a_run(s: Scene) -> int:
    at, _ = s.large()
    s.set(HeapPage, s.page(at + 2), use=LARGE)
    return s.page(at)


@breaks(HeapPage, "tally.joinable == 0")
def idle_neighbours(s: Scene) -> int:
    """The first run in use behind the idle one becomes idle, too, and is filed as such."""
    idle = [at + pages for at, pages in s.runs(BARE)]
    at, pages = next((at, pages) for at, pages in s.runs(LARGE) if at in idle)
    bin = bin_of(pages)
    for end in (at, at + pages - 1):
        s.set(HeapPage, s.page(end), use=BARE, pages=pages)
    for page in range(at, at + pages):
        s.word(s.leaf(page), lambda entry: entry & ~1)
    poke(s.kernel.view, over_numbers(bin_at)(s.kern, BARE, bin), (at + 1).to_bytes(4, "little"))
    s.word(over_numbers(bits_of)(s.kern, BARE) + 8 * (bin // 64), lambda bits: bits | 1 << bin % 64)
    return s.page(at)


@breaks(HeapPage, "use == SLAB or tally.listed == 1")
def run_that_its_bin_has_lost(s: Scene) -> int:
    at, _ = next(s.runs(IDLE))
    return s.set(HeapPage, s.page(at), prev=at + 1)


# --- SlabPage

breaks(SlabPage, "cache < kern.cache_count")(lambda s: s.set(SlabPage, s.page(s.dense()), cache=k.CACHES - 1))
breaks(SlabPage, "used == tally.slab_starts + tally.stacked")(
    lambda s: s.add(SlabPage, s.page(s.waiting()), "used", -1)
)
breaks(SlabPage, "tally.slab_errors == 0")(lambda s: s.add(SlabPage, s.page(s.dense()), "place"))


@breaks(SlabPage, "tally.listed == 1")
def page_that_its_list_has_lost(s: Scene) -> int:
    at = s.listed()
    return s.set(SlabPage, s.page(at), prev=at + 1)


# --- the page cache

breaks(Page, "state < STATES and queue <= MAIN and uses <= MOST_USES")(
    lambda s: s.set(Page, s.entry(s.cached[2]), uses=4)
)
breaks(Page, "state == EMPTY or order == 0")(lambda s: s.set(Page, s.entry(s.pair), state=k.CLEAN))
breaks(Page, "state != EMPTY or (link == 0 and depends == 0 and queue == 0 and uses == 0 and fold == 0)")(
    lambda s: s.set(Page, s.entry(s.pages[2]), uses=1)
)
breaks(Page, "state == EMPTY or fold == tally.fold")(lambda s: s.add(Page, s.entry(s.cached[2]), "fold"))
breaks(Page, "state == EMPTY or state == CLEAN or state == DIRTY or state == FAILED or link == 0")(
    lambda s: s.set(Page, s.entry(s.cached[1]), link=1)
)
breaks(Page, "tally.depend_errors == 0")(lambda s: s.add(Page, s.entry(s.cached[0]), "depends"))
breaks(Pages, "kern.heap_frames == kern.backed + kern.map_pages - tables")(
    lambda s: s.add(Pages, s.page_cache, "tables")
)
breaks(Pages, "tables == tally.user_tables and tables == tally.spaces")(lambda s: s.set(Pages, s.page_cache, umaps=0))
breaks(Umap, "pages == tally.umap_pages")(lambda s: s.add(Umap, s.umap, "pages"))
breaks(Umap, "tables == tally.umap_tables")(lambda s: s.add(Umap, s.umap, "tables"))
breaks(Umap, "root_pa == tally.umap_root")(lambda s: s.add(Umap, s.umap, "root_pa", PAGE))


@breaks(Pages, "tally.state_errors == 0")
def page_counted_in_the_wrong_state(s: Scene) -> int:
    s.word(s.page_cache + Pages.offset("counts") + 8 * k.CLEAN, lambda count: count + 1)
    return s.page_cache


@breaks(Pages, "tally.named == tally.cached and tally.bucket_errors == 0")
def page_that_its_bucket_has_lost(s: Scene) -> int:
    s.set(Identity, s.identity(s.cached[3]), oid=43 << 8)  # the bytes of 43 in other places
    return s.page_cache


breaks(Pages, "asked - seen + lies == tally.in_flight and tally.source_errors == 0")(
    lambda s: s.add(Pages, s.page_cache, "asked")
)


@breaks(Pages, "tally.queue_errors == 0")
def page_that_points_back_at_itself(s: Scene) -> int:
    s.set(Identity, s.identity(s.cached[3]), prev=s.cached[3] + 1)
    return s.page_cache


@breaks(Pages, "tally.blocks_held == tally.blocks_mapped and tally.devices_held == tally.devices_mapped")
def block_that_is_held_though_nothing_maps_it(s: Scene) -> int:
    s.add(Frame, s.entry(s.pair), "pins")
    return s.page_cache


@breaks(Pages, "tally.leaves == tally.depends")
def mapping_that_nobody_knows_of(s: Scene) -> int:
    s.set(Page, s.entry(s.cached[4]), depends=0)
    return s.page_cache


@breaks(Umap, "tally.umap_errors == 0")
def mapping_of_a_frame_that_is_no_page(s: Scene) -> int:
    s.set(Page, s.entry(s.cached[4]), depends=0)
    memory, at = s.kernel.handle.life.ram.bytes, s.leaf_of(44 << 12)
    entry = int.from_bytes(memory[at : at + 8], "little") + (s.pages[2] - s.cached[4]) * PAGE
    memory[at : at + 8] = entry.to_bytes(8, "little")
    return s.umap


# --- Threads, and who waits

breaks(Thread, "state <= LATE and cleaner <= 1")(lambda s: s.set(Thread, s.threads[0], cleaner=2))
breaks(Thread, "ticket != 0 or (state == RUNNABLE and next == 0 and prev == 0 and need == 0 and owed == 0)")(
    lambda s: s.set(Thread, s.threads[0], need=1)
)
breaks(Thread, "state == RUNNABLE or processor == 0")(lambda s: s.set(Thread, s.threads[1], processor=1))
breaks(Thread, "state != RUNNABLE or ticket == 0 or processor != 0")(
    lambda s: s.set(Thread, s.threads[1], state=RUNNABLE)
)
breaks(Thread, "owed == 0 or (owed == need and state != STALLED)")(lambda s: s.set(Thread, s.threads[2], owed=2))
breaks(Thread, "state != LATE or need == 0")(lambda s: s.set(Thread, s.threads[1], state=LATE))
breaks(Thread, "processor == tally.run_by")(lambda s: s.set(Thread, s.threads[0], processor=2))
breaks(Stalls, "count == tally.threads and waiting == tally.waiting and waiting == tally.ticketed")(
    lambda s: s.add(Stalls, s.stalls, "count")
)
breaks(Stalls, "owed == tally.owed and owed <= kern.free_frames - kern.stocked")(
    lambda s: s.add(Stalls, s.stalls, "owed")
)


breaks(Stalls, "short == 1 or (short == 0 and waiting == 0 and kern.free_frames - kern.stocked >= reserve)")(
    lambda s: s.set(Stalls, s.stalls, short=0)
)
breaks(Stalls, "tally.wait_errors == 0")(lambda s: s.set(Stalls, s.stalls, last=s.threads[1]))


@breaks(Stalls, "tally.run_errors == 0")
def processor_that_may_take_what_is_for_others(s: Scene) -> int:
    s.set(Cpu, s.cpu, reserve=1)
    return s.stalls


@breaks(Stalls, "tally.overdue == 0")
def thread_that_nobody_woke(s: Scene) -> int:
    s.set(Thread, s.threads[1], need=1)
    return s.stalls


# --- Cache, and what boot was told

breaks(Cache, "size > 0 and size & 15 == 0")(lambda s: s.add(Cache, s.cache(UNUSED), "size"))
breaks(Cache, "slots > 0 and size * slots <= pages << kern.page_shift")(
    lambda s: s.add(Cache, s.cache(UNUSED), "slots")
)
breaks(Cache, "stack <= STACK and stack * common == 0")(lambda s: s.set(Cache, s.cache(UNUSED), stack=k.STACK + 1))
breaks(Cache, "size * (slots + 1) > (pages << kern.page_shift) - (pages << kern.page_shift >> NOTES_SHIFT)")(
    lambda s: s.add(Cache, s.cache(UNUSED), "pages", 8)
)
breaks(Cache, "size * reciprocal >= 1 << 32 and size * (reciprocal - 1) < 1 << 32 and pattern < 0")(
    lambda s: s.add(Cache, s.cache(UNUSED), "reciprocal")
)
breaks(Cache, "id == tally.id")(lambda s: s.add(Cache, s.cache(UNUSED), "id"))
breaks(Cache, "slabs == tally.slabs")(lambda s: s.add(Cache, s.cache(UNUSED), "slabs"))
breaks(Cache, "keep >= pages and common <= 1")(
    lambda s: s.set(Magazine, s.magazine(k.SIZE_CLASSES), keep=0) and s.set(Cache, s.cache(k.SIZE_CLASSES), keep=0)
)
breaks(Cache, "kept == 0 or common == 1")(
    lambda s: s.set(Cache, s.cache(s.get(SlabPage, s.page(s.waiting()), "cache")), kept=1)
)
breaks(Cache, "tally.listed == tally.partial")(
    lambda s: s.set(Magazine, s.magazine(UNUSED), list=s.listed() + 1) and s.cache(UNUSED)
)
breaks(Cache, "tally.empties == tally.empty")(
    lambda s: s.set(Magazine, s.magazine(UNUSED), empties=s.dense() + 1, empty_pages=1) and s.cache(UNUSED)
)
breaks(Cache, "tally.returned == tally.given_back")(
    lambda s: s.set(Magazine, s.magazine(UNUSED), returned=s.waiting() + 1) and s.cache(UNUSED)
)
breaks(Cache, "slabs >= kept and slabs <= limit")(lambda s: s.set(Cache, s.cache(UNUSED), kept=1))
breaks(Cache, "seal == tally.seal")(lambda s: s.add(Cache, s.cache(UNUSED), "wanted"))


# ---

INVARIANTS = [(record, equation) for record in RECORDS for equation in record.invariants]


def test_every_invariant_has_a_corruption():
    """No invariant is without a way to fail: one that cannot fail would be worse than none."""
    assert set(CORRUPTIONS) == {(record.name, equation) for record, equation in INVARIANTS}
    assert all(record.invariants for record in RECORDS)


def test_every_record_with_invariants_is_checked():
    """An equation that stands with a record and that nobody holds against it would be a promise only."""
    import kernmalloc.kernel.boot.steps  # noqa: F401

    modules = [
        vars(module) for name, module in __import__("sys").modules.items() if name.startswith("kernmalloc.kernel.")
    ]
    declared = {value for space in modules for value in space.values() if isinstance(value, RecordType)}
    assert {record.name for record in declared if record.invariants} == {record.name for record in RECORDS}


@pytest.mark.parametrize(
    ("record", "equation"), INVARIANTS, ids=[f"{record.name}: {equation}" for record, equation in INVARIANTS]
)
def test_a_corruption_is_found_by_its_invariant(scene, record, equation):
    """One thing is wrong, and the check says which equation of which record it breaks, and what its fields are."""
    culprit = CORRUPTIONS[record.name, equation](scene)
    scene.kernel.handle.life.refresh()
    result = scene.kernel.check()
    assert not result.passed
    assert result.failure.startswith(f"{record.name} at {culprit:#x}: {equation} does not hold"), result.failure


def test_what_was_found_is_told_to_callers(scene):
    """check_found names the record, the equation and the address, in the caller's memory; where all is well it writes
    nothing."""
    into = scene.kernel.malloc(Finding.size)
    blank = bytes(range(Finding.size))
    poke(scene.kernel.view, into, blank)
    assert scene.kernel.call("check_found", into) == OK
    assert bytes(scene.kernel.view.peek(into, Finding.size)) == blank
    culprit = CORRUPTIONS["Cpu", "run >= 0"](scene) or scene.cpu
    scene.kernel.handle.life.refresh()
    assert scene.kernel.call("check_found", into) == BROKEN
    record, equation, address = struct.unpack("<3q", scene.kernel.view.peek(into, Finding.size))
    assert (RECORDS[record].name, RECORDS[record].invariants[equation], address) == ("Cpu", "run >= 0", culprit)


@given(st.integers(0, (1 << 62) - 1), st.integers(0, 63))
def test_sums_over_frames_tell_numbers_apart_that_differ_in_a_bit(pfn, bit):
    """Whichever bit it is: a number of a frame may be damaged in those, too, that no machine's have."""
    assert over_numbers(mix)(pfn) != over_numbers(mix)(shl(1, bit) ^ pfn)


# What may say anything, and why. All other fields are found out.
FREE = {
    "Kern": {
        "hit": "a hint, if it is a region", "supply": "a hint, if it is a region", "recycled": "history",
        "adding": "of the last add", "peak": "history, but for its bounds",
        "wanted": "of the last refused call", "returned": "history", "moved": "history",
    },
    "Cpu": {
        "run": "of the last operation", "flags": "inside only", "opened": "history",
        "stacks": "nothing above a stack's top",
    },
    "Stock": {"last": "as large as may be, but for its bounds"},
    "SlabPage": {"starts": "which slots are taken, but for their number: that is for their owners to know"},
    "Region": {"hint": "a hint, if it is inside", "chunk_hint": "a hint, if it is inside"},
    "Frame": {"pins": "the owner's", "link": "the owner's", "owner": "the owner's"},
    "Page": {"pins": "the owner's", "uses": "history, but for its bounds"},
    "Identity": {},
    "Umap": {},
    "Pages": {
        "ghosts": "history", "hits": "history", "misses": "history", "evictions": "history", "reads": "history",
        "writes": "history",
    },
    "Stalls": {
        "made": "history", "tickets": "history, but for its bounds", "stalled": "history", "late": "history",
    },
    "Thread": {"number": "for people only", "until": "the caller's", "cleaner": "as it was made"},
    "Cache": {},
}  # fmt: skip
SLAB_ONLY = {"cache", "slab"}


def places(scene: Scene) -> Iterator[tuple[RecordType, int, set[str]]]:
    """(record, VA, fields that mean nothing in it) of records of every kind and state."""
    yield Kern, scene.kern, set()
    yield Cpu, scene.cpu, set()
    yield Cpu, scene.cpu + Cpu.size, set()
    for stock in (SINGLES, BLOCKS):
        yield Stock, scene.cpu + stock, set()
        for va in range(scene.cpu + stock + BOTTOM, scene.cpu + stock + BOTTOM + 3 * STEP, STEP):
            yield Group, va, {"base"} if va > scene.get(Stock, scene.cpu + stock, "top") else set()
    for id in (0, scene.process, scene.kernel.cache("node").id):
        yield Magazine, scene.magazine(id), set()
        yield Cache, scene.cache(id), set()
    yield Cache, scene.cache(UNUSED), {"pages", "common"}  # a page more need not hold a slot more; it has no slabs
    for va in scene.regions(k.RAM):
        yield Region, va, set()
    yield Frame, scene.entry(scene.pages[2]), set()
    yield Frame, scene.entry(scene.block), set()
    for pfn in scene.cached[:4]:
        yield Page, scene.entry(pfn), {"link", "queue"} if pfn == scene.cached[1] else set()
        yield Identity, scene.identity(pfn), {"prev"} if pfn == scene.cached[1] else set()
    yield Umap, scene.umap, {"prev"}  # of the first one
    yield Pages, scene.page_cache, set()
    yield Stalls, scene.stalls, set()
    for number, va in enumerate(scene.threads):
        yield Thread, va, {"state"} if number == 1 else set()  # who is stalled may be woken at any time, and try again
    for page in (scene.listed(), scene.waiting(), scene.dense()):
        first = scene.get(SlabPage, scene.page(page), "place") & ~LISTED == 0
        yield SlabPage, scene.page(page), set() if first else {"pages"}
    for use in (LARGE, IDLE, BARE):
        at, pages = scene.large() if use == LARGE else next(scene.runs(use))
        yield HeapPage, scene.page(at), SLAB_ONLY | ({"next", "prev"} if use == LARGE else set())
        yield HeapPage, scene.page(at + pages - 1), SLAB_ONLY | {"next", "prev"}


def plain(kind: RecordType) -> bool:
    """True for a record that is one number: an element of an array."""
    return kind.size <= 8


def wrong_values(width: int, old: int) -> set[int]:
    """Values that differ from the old one a little, a lot, or by being 0."""
    top = (1 << 8 * width - 1) - 1
    return {value for value in (old ^ 1, old + 1, old - 1, old ^ 64, 0, 5) if 0 <= value <= top} - {old}


def test_a_wrong_value_in_any_field_is_found(scene):
    """E6, E21: every field of every record, but for those that may say anything, set to other values one by one: the
    check finds each, and follows no wild pointer: that would be a Fault."""
    kernel, missed, tried = scene.kernel, [], 0
    for record, va, meaningless in list(places(scene)):
        for name, field in record.fields.items():
            if name in FREE.get(record.name, {}) or name in meaningless or (field.inline and not plain(field.kind)):
                continue
            width = field.kind.size if field.inline else field.size
            for at in range(va + field.offset, va + field.offset + field.size, width * max(field.count // 4, 1)):
                old = int.from_bytes(kernel.view.peek(at, width), "little")
                for value in wrong_values(width, old):
                    poke(kernel.view, at, value.to_bytes(width, "little"))
                    tried += 1
                    if kernel.check().passed:
                        missed.append(f"{record.name}.{name}: {old} -> {value}")
                    poke(kernel.view, at, old.to_bytes(width, "little"))
                    kernel.handle.life.refresh()
            kernel.restore(scene.snapshot)
    assert not missed, missed
    assert tried > 500


def test_entries_inside_blocks_and_of_free_frames(scene):
    """E6: an all-zero entry means no owner: a bit set in the entry of a free frame, or of one that is not its block's
    head, is found wherever it is."""
    kernel = scene.kernel
    for pfn in (scene.free_frame(), scene.block + 1, scene.block + 7):
        entry = scene.entry(pfn)
        for at in range(Frame.size):
            poke(kernel.view, entry + at, b"\x04")
            assert not kernel.check().passed, (pfn, at)
            poke(kernel.view, entry + at, b"\x00")
        assert kernel.check().passed


def test_bitmaps_bit_by_bit(scene):
    """E6: any bit of any free bitmap or summary, flipped, is found; also those that stand for no frame."""
    kernel = scene.kernel
    region = scene.regions(k.RAM)[-1]
    words = scene.get(Region, region, "word_count")
    start, end = scene.get(Region, region, "words"), scene.get(Region, region, "full") + 8
    assert end - start == 8 * (words + 3)
    for va in chain(range(start, start + 8 * words, 8), range(start + 8 * words, end, 8)):
        for bit in (0, 1, 17, 62, 63):
            scene.word(va, lambda bits, bit=bit: bits ^ 1 << bit)
            assert not kernel.check().passed, (va - start, bit)
            scene.word(va, lambda bits, bit=bit: bits ^ 1 << bit)


def test_page_tables_entry_by_entry(scene):
    """E17, E18: a page-table entry of the heap that loses its frame, gets another one's or appears from nowhere is
    found."""
    kernel = scene.kernel
    kern = kernel.view.kern
    free = scene.free_frame()
    at, pages = scene.large()
    for page in [*range(at, at + pages), int(kern["top"]) + 3]:
        leaf = scene.leaf(page)
        old = int.from_bytes(kernel.view.peek(leaf, 8), "little")
        for wrong in {0, old & ~1, free << 12 | 0x163, scene.pages[0] << 12 | 0x163, 0x163 | 1 << 40} - {old}:
            if not (old | wrong) & 1:
                continue
            scene.word(leaf, lambda _, wrong=wrong: wrong)
            kernel.handle.life.refresh()
            assert not kernel.check().passed, hex(wrong)
        scene.word(leaf, lambda _, old=old: old)
        kernel.handle.life.refresh()
    assert kernel.check().passed


def test_the_check_counts_what_it_asserts(scene):
    """What passes says how many equations were held: one for each invariant of each record that there is."""
    kernel = scene.kernel
    result = kernel.check()
    regions = kernel.view.regions()
    kern = kernel.view.kern
    blocks = {(scene.block, 8), (scene.pair, 2), *((pfn, 1) for pfn in scene.pages)}
    assert result.passed
    assert result.failure == ""
    runs = sum(len(list(scene.runs(use))) for use in (IDLE, BARE, SLAB, LARGE, OWN))
    fixed = (
        len(Kern.invariants)
        + 2 * len(Cpu.invariants)
        + len(regions) * len(Region.invariants)
        + runs * len(HeapPage.invariants)
    )
    fixed += int(kern["cache_count"]) * (len(Cache.invariants) + len(Magazine.invariants))
    fixed += int(sum(not kernel.view.cache(id)["common"] for id in range(kern["cache_count"]))) * len(
        Magazine.invariants
    )  # the other processor's
    fixed += sum(1 for _ in scene.slab_pages()) * len(SlabPage.invariants)
    fixed += (kernel.frames_by_type()["page"] - 1) * len(Page.invariants) + len(Pages.invariants) + len(Umap.invariants)
    fixed += len(Stalls.invariants) + len(scene.threads) * len(Thread.invariants)
    fixed += sum(int(r["live"]) for r in regions) * len(Chunk.invariants)
    heads = sum(int(r["count"]) for r in regions if r["area"])
    inside = sum(count - 1 for _, count in blocks)
    entries = (result.assertions - fixed) // len(Frame.invariants)
    assert (result.assertions - fixed) % len(Frame.invariants) == 0
    assert heads - inside - 77 < entries <= heads - inside
