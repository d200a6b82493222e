"""The kernel map, as a processor and as the host see it.

Rows E3, E14 and E16 (no page of page space is mapped), E17-18 (mapping tables are mapped, in a type of their own), E20.
The tables are read by `page_walk`, written from the manual, which refuses what a processor refuses."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from frame_model import FRAME, types
from hypothesis import given, settings
from hypothesis import strategies as st
from page_walk import entries, leaf_tables, leaves
from small_machines import MIB, MODES, conserved, machine, poison

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA, HEAP, MAPPING, PAGE, TYPE_NAMES
from kernmalloc.kernel.map import kmap
from kernmalloc.lang import twin
from kernmalloc.lang.status import BAD_FRAME
from kernmalloc.machine.lives import Fault
from kernmalloc.plan.plan import with_strategy

SPAN = 2 << 20
PROFILES = ["eros2", "eros", "coyotos-i386", "x86_64"]


class Map:
    """The kernel's map now, walked by the manual. Addresses are the kernel's own (`window`), not those of the
    target."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, loaded = kernel, kernel.handle.loaded
        self.arch, self.bits = kernel.profile.arch, kernel.profile.phys_bits
        self.ram, self.root = kernel.handle.life.ram.bytes, loaded.root
        self.shift = loaded.window - loaded.target
        self.window, self.end = loaded.window, loaded.window + loaded.window_bytes
        self.layout = {name: int(loaded.info[name]) for name in ("tables", "heap_map", "heap", "windows")}
        self.pages = {leaf.va + self.shift: leaf for leaf in leaves(self.ram, self.arch, self.root, self.bits)}
        self.tables = {
            table.va + self.shift: table.pa for table in leaf_tables(self.ram, self.arch, self.root, self.bits)
        }

    def verify(self) -> None:
        """What must hold of every map, whatever has happened."""
        now = types(self.kernel)
        kern = self.kernel.view.kern
        assert all(self.window <= va < self.end for va in self.pages), "nothing is mapped outside the window"
        for va, leaf in self.pages.items():
            type = now[leaf.pa // FRAME]
            assert type in (HEAP, MAPPING, BAD_FRAME), f"{va:#x} maps a frame of type {TYPE_NAMES[type]}"  # E14, E16
            assert leaf.entry & 0b111 == 0b011, "present, writable, for the kernel alone"
        heap = {va: leaf.pa // FRAME for va, leaf in self.pages.items() if va >= self.layout["heap_map"]}
        assert all(count == 1 for count in Counter(heap.values()).values()), "no frame of the heap is mapped twice"
        assert set(heap.values()) == {pfn for pfn, type in now.items() if type == HEAP}
        records = int(kern["map_pages"])
        assert [va for va in heap if va < self.layout["heap"]] == [
            self.layout["heap_map"] + i * FRAME for i in range(records)
        ]
        assert len(heap) - records == kern["backed"]
        assert all(va < self.layout["heap"] + int(kern["top"]) * FRAME for va in heap)
        self._tables(now)
        self._counts(int(kern["spans"]))

    def _tables(self, now: dict[int, int]) -> None:
        """Leaf tables: at their page of the table window, of their own type, and only where they are needed."""
        for va, pa in self.tables.items():
            assert self.pages[self.layout["tables"] + (va - self.window) // SPAN * FRAME].pa == pa  # E17
        window = {va for va in self.pages if self.layout["tables"] <= va < self.layout["heap_map"]}
        assert len(window) == len(self.tables), "the table window maps leaf tables and nothing else"
        dynamic = {
            va: pa // FRAME for va, pa in self.tables.items() if self.layout["heap_map"] <= va < self.layout["windows"]
        }
        assert sorted(dynamic.values()) == [pfn for pfn, type in sorted(now.items()) if type == MAPPING]  # E18
        used = {va // SPAN * SPAN for va in self.pages if va >= self.layout["heap_map"]}
        assert set(dynamic) == used, "a leaf table is there exactly while its span maps something"

    def _counts(self, counts: int) -> None:
        """The kernel's count of entries, per span."""
        count = (self.end - self.window) // SPAN
        counted = Counter((va - self.window) // SPAN for va in self.pages)
        data = bytes(self.kernel.view.peek(counts, 2 * count))
        kept = {span: n for span in range(count) if (n := int.from_bytes(data[2 * span : 2 * span + 2], "little"))}
        assert kept == counted


def boot(profile: str = "eros2", mode: str = "raw", size: int = 12 * MIB, **more: object) -> Kernel:
    if profile == "x86_64":
        size += 24 * MIB  # half a TiB of window takes 5 MiB of tables
    return Kernel.boot(machine((0, size)), Profile.load(profile), mode, **more)


def shake(kernel: Kernel, pick: random.Random, blocks: list[int], steps: int) -> None:
    """Blocks of a few bytes up to several spans come and go, among pages and DMA frames of callers."""
    for _ in range(steps):
        if blocks and pick.random() < 0.4:
            kernel.free(blocks.pop(pick.randrange(len(blocks))))
        else:
            va = kernel.call("malloc", pick.choice([10, 5000, 100_000, 600_000, 3_000_000]))
            blocks += [va] if va > 0 else []
        if pick.random() < 0.3:
            kernel.call("block_get", pick.randrange(4), pick.choice([PAGE, DMA]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_processor_finds_what_the_kernel_mapped_E14_E16_E17_E18(profile, mode):
    """After boot, while blocks come and go, and when all are gone: the tables are legal and map heap, tables and image
    only."""
    with boot(profile, mode, prepare=poison) as kernel:
        pick, blocks = random.Random(1), []
        Map(kernel).verify()
        for _ in range(3):
            shake(kernel, pick, blocks, 12)
            Map(kernel).verify()
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        Map(kernel).verify()
        conserved(kernel)


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_leaf_tables_come_and_go_E17_E18(pick, steps):
    """Any sequence over several spans: a table for every span in use, none for the others."""
    with boot(size=24 * MIB) as kernel:
        blocks: list[int] = []
        shake(kernel, pick, blocks, steps)
        Map(kernel).verify()
        conserved(kernel)


def test_an_empty_heap_gives_its_tables_back():
    """Tables and frames of a large block are gone after it: mapping frames, spans, and directory entries are as they
    were."""
    with boot(size=64 * MIB) as kernel:
        kernel.drain()
        before, counts = set(Map(kernel).tables), kernel.frames_by_type()
        va = kernel.malloc(30 * MIB)
        during = Map(kernel)
        assert len(set(during.tables) - before) in (15, 16)
        during.verify()
        kernel.free(va)
        kernel.drain()
        assert set(Map(kernel).tables) == before
        assert kernel.frames_by_type() == counts


def host_map(kernel: Kernel) -> dict[int, int]:
    """{address: offset in the memory file} of every page of the window that is RAM, as the host tells."""
    window = kernel.handle.loaded.window, kernel.handle.loaded.window + kernel.handle.loaded.window_bytes
    pages = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high, rights, offset, name = re.match(r"(\w+)-(\w+) (\S+) (\w+) \S+ \d+ *(.*)", line).groups()
        low, high = int(low, 16), int(high, 16)
        if low < window[1] and window[0] < high:
            if "kernmalloc" not in name:
                assert rights == "rw-p", "memory of nobody"
                continue
            assert window[0] <= low and high <= window[1], "mappings of the window do not reach beyond it"
            assert rights == "rw-s"
            for at in range(low, high, FRAME):
                pages[at] = int(offset, 16) + at - low
    return pages


@pytest.mark.parametrize("profile", ["eros2", "x86_64"])
def test_the_host_maps_what_the_tables_map_E20(profile):
    """Raw mode: each page that an entry maps is mapped by the host to that physical address, and no other page reaches
    RAM."""
    with boot(profile, size=24 * MIB) as kernel:
        pick, blocks = random.Random(2), []
        for _ in range(4):
            shake(kernel, pick, blocks, 15)
            assert host_map(kernel) == {va: leaf.pa for va, leaf in Map(kernel).pages.items()}
        kernel.restore(kernel.snapshot())
        assert host_map(kernel) == {va: leaf.pa for va, leaf in Map(kernel).pages.items()}
        assert kernel.handle.life.state["failed"] == 0


def test_the_host_forgets_what_a_restored_kernel_had_mapped():
    """After `restore` the host maps what the restored tables say: no more, no less."""
    with boot(size=24 * MIB) as kernel:
        early = kernel.snapshot()
        before = host_map(kernel)
        blocks: list[int] = []
        shake(kernel, random.Random(3), blocks, 20)
        late, grown = kernel.snapshot(), host_map(kernel)
        assert grown != before
        kernel.restore(early)
        assert host_map(kernel) == before
        conserved(kernel)
        kernel.restore(late)
        assert host_map(kernel) == grown
        for va in blocks:
            kernel.free(va)
        conserved(kernel)


@pytest.mark.parametrize("mode", ["soft", "twin"])
def test_an_access_that_nothing_maps_is_a_fault(mode):
    """Below the window, above the heap, in it before it has grown, and after it has shrunk: a typed error with the
    address."""
    with boot(mode=mode) as kernel:
        va = kernel.malloc(200_000)
        kernel.view.pa(va)
        kernel.free(va)
        kernel.drain()
        info = kernel.handle.loaded.info
        gone = va & -FRAME
        assert gone not in Map(kernel).pages
        for address in (
            gone,
            int(info["heap"]) + 64 * MIB,
            kernel.handle.loaded.window - FRAME,
            FRAME,
            int(info["heap_map"]) - FRAME,
        ):
            with pytest.raises(Fault, match=f"{address >> 12:#x}"):
                kernel.handle.life.call("area_bytes", address)  # what it is asked would be there
        conserved(kernel)


def test_memory_behind_a_new_page_is_zero():
    """Poisoned frames, and frames that callers wrote to and gave back, are zeros when malloc_zeroed gets them."""
    with boot(prepare=poison) as kernel:
        pfns = [kernel.frame_get() for _ in range(200)]
        for pfn in pfns:
            kernel.handle.life.ram.bytes[pfn * FRAME : (pfn + 1) * FRAME] = b"\xee" * FRAME
            kernel.frame_put(pfn)
        va = kernel.call("malloc_zeroed", 250 * FRAME)
        assert bytes(kernel.view.peek(va, 250 * FRAME)) == bytes(250 * FRAME)
        kernel.free(va)


def test_entries_of_pages_that_went_are_zero():
    """What is unmapped leaves no stale address behind in a table that stays."""
    with boot(size=24 * MIB) as kernel:
        pick, blocks = random.Random(4), []
        shake(kernel, pick, blocks, 40)
        for pa in Map(kernel).tables.values():
            present = {at for _, at, _ in entries(kernel.handle.life.ram.bytes, pa)}
            for at in range(pa, pa + FRAME, 8):
                if at not in present:
                    assert kernel.handle.life.ram.bytes[at : at + 8] == bytes(8)


def test_in_large_pages_each_page_has_its_frame_C2_C6():
    """C2-6: the frame behind any page of the fixed part, and what `release` has every processor forget."""
    with Kernel.boot(machine((0, 64 * MIB)), with_strategy(Profile.load("eros2"), "release"), "twin") as kernel:
        life, kern = kernel.handle.life, kernel.view.kern
        pfn_at = twin.compile([kmap.pfn_at])["pfn_at"]
        heap, pages = int(kern["heap"]), int(kern["fixed"])
        assert pages > SPAN // FRAME
        twin.use(life)
        for va in (heap + page * FRAME for page in {0, 1, 511, 512, 777, pages - 1}):
            assert pfn_at(kernel.handle.loaded.cpu, va) == kernel.view.pa(va) // FRAME
        forgotten = []
        forget = life.km_port_shootdown
        life.km_port_shootdown = lambda va, count: forgotten.append((va, count)) or forget(va, count)
        given = kernel.release() // FRAME
        spans = [heap + page * FRAME for page in range(pages - given, pages, SPAN // FRAME)]
        assert spans and [(va, count) for va, count in forgotten if count == SPAN // FRAME] == [
            (va, SPAN // FRAME) for va in spans
        ]
        conserved(kernel)
