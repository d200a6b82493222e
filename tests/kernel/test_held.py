"""Large pages and devices in the address spaces of processes, in every life, against a model and a processor.

Rows E12, E13 (device memory is mapped as its range says), E17, E18 (mapping tables), C5 (large pages)."""

import ctypes
import mmap
import random

import pytest
from effort import EFFORT
from emulated import ABSENT, PERMISSION, PROCESSORS, Emulated
from oracle import profile
from page_source import Source
from small_machines import MIB, MODES, machine
from watched import Watched, watched

from kernmalloc.facade.errors import BadAddress, Busy
from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import DEVICE_MEMORY, DMA, Kern
from kernmalloc.kernel.devices import ANYONE
from kernmalloc.kernel.pages.umap import Umap
from kernmalloc.lang.status import (
    BAD_ADDRESS,
    BAD_FRAME,
    BUSY,
    INTERIOR,
    LIMIT,
    NO_FRAMES,
    NOT_ALLOCATED,
    OK,
    PROMISED,
    WOULD_BLOCK,
)
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.mmu import UNCACHED, WRITE_BACK, WRITE_COMBINING

FORMAT_NAMES = [name for name in PROCESSORS if name != "aarch64-64k"]
PAGE = 4096  # of this computer
DEVICES = 48 << 20  # physical address
STEPS = {"raw": 600, "soft": 300, "twin": 30}


class Held:
    """A kernel with two address spaces, a held range of two large pages and one page more, and a device."""

    def __init__(self, format: str = "i386-pae", mode: str = "soft") -> None:
        self.arch = FORMATS[format]
        self.large, self.pages = self.arch.large_page, self.arch.large_page >> self.arch.page_shift
        self.page = 1 << self.arch.page_shift
        self.device = max(DEVICES, 5 * self.large) // self.large * self.large >> self.arch.page_shift
        self.kernel = Kernel.boot(
            machine((0, 24 * MIB), (64 * self.large, 6 * self.large)), profile(format, "demand"), mode
        )
        self.source = Source(self.kernel)
        self.spaces = [self.call("umap_make") for _ in range(2)]
        self.held = self.call("range_get", 2 * self.pages + 1, self.pages, 0, 1 << 40, 0, DMA)
        assert self.call("publish", self.device, 2 * self.pages, DEVICE_MEMORY, 2 * self.pages, ANYONE) == OK

    def call(self, name: str, *args: int) -> int:
        return self.source.call(name, *args)

    def root(self, space: int) -> int:
        return int(self.kernel.view.read(Umap, space)[0]["root_pa"])

    def mapped(self, space: int) -> int:
        return int(self.kernel.view.read(Umap, space)[0]["pages"])

    def check(self) -> None:
        result = self.kernel.check()
        assert result.passed, result.failure

    def memory(self) -> dict[int, bytes]:
        """All of it, but for the kernel's notes of what was looked for last, and of what was short."""
        view, pages = self.kernel.view, self.kernel.snapshot()
        for name in ("hit", "wanted"):
            pa = view.pa(view.kern_va + Kern.offset(name))
            page = bytearray(pages[pa & -PAGE])
            page[pa % PAGE : pa % PAGE + 8] = bytes(8)
            pages[pa & -PAGE] = bytes(page)
        return pages

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.kernel.close()


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_a_processor_finds_large_pages_and_devices_E12_E13(format):
    """With users' rights: what is mapped to be read is read and not written, what is mapped to be written arrives at
    its frame; a device's pages lead to the device; nothing is left when it is unmapped."""
    with Held(format) as h:
        space, pick, large, page = h.spaces[0], random.Random(format), h.large, h.page
        code, read, write, device, wide = large - page, large, 2 * large, 3 * large + page, 4 * large
        memory = mmap.mmap(-1, 2 * large)
        ram = h.kernel.view.ram
        parts = [(r.base, r.size, ram.address + r.base) for r in h.kernel.machine.ram]
        at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        cpu = Emulated(format, [*parts, (h.device * page, 2 * large, at)], user=True)
        h.source.disk[0] = cpu.instructions.ljust(page, b"\0")
        assert h.call("umap_map", space, code, 0, 0) == OK
        assert h.call("umap_map_large", space, read, h.held, 0) == OK
        assert h.call("umap_map_large", space, write, h.held, 1) == OK
        assert h.call("umap_map_device", space, device, h.device + 1, 3, 1) == OK
        assert h.call("umap_map_large", space, wide, h.device + h.pages, 1) == OK
        assert h.mapped(space) == 4 + 3 * h.pages
        cpu.begin(h.kernel.handle.loaded.root, h.root(space), code)
        refused = PERMISSION if cpu.family.known else "page"
        for _ in range(20):
            offset, value = pick.randrange(large // 8) * 8, pick.getrandbits(32)
            assert cpu.store(write + offset, value).pa == h.held * page + offset
            outcome = cpu.load(read + offset)
            assert (outcome.pa, outcome.value) == (h.held * page + offset, value)
            assert cpu.store(read + offset, value).fault == refused
            assert cpu.store(wide + offset, value).pa == h.device * page + large + offset
            offset %= 3 * page
            assert cpu.store(device + offset, value).pa == h.device * page + page + offset
            assert memory[page + offset : page + offset + 4] == value.to_bytes(4, "little")
        assert h.kernel.check().passed
        assert h.call("umap_unmap_range", space, read, 4 * h.pages) == OK
        cpu.forget()
        absent = ABSENT if cpu.family.known else "page"
        for va in (read, write, device, wide):
            assert cpu.load(va + pick.randrange(3 * page // 8) * 8).fault == absent
        assert h.mapped(space) == 1 and h.call("device_used", h.device) == 0
        assert h.call("range_put", h.held, 2 * h.pages + 1) == OK


@pytest.mark.parametrize("format", ("i386-pae", "armv7", "riscv64-sv39"))
def test_a_processor_forgets_large_pages_when_the_kernel_says_so_E14(format):
    """It keeps what it knows but for that. Where a table has lost its last page a large page is found, and where that
    went another one, at all its addresses; a device's page takes its place in the end."""
    with watched() as mode, Held(format, mode) as h:
        space, pick, large, page = h.spaces[0], random.Random(format), h.large, h.page
        ram, life = h.kernel.view.ram, h.kernel.handle.life
        assert isinstance(life, Watched)
        cpu = Emulated(format, [(r.base, r.size, ram.address + r.base) for r in h.kernel.machine.ram], user=True)
        h.source.disk = {0: cpu.instructions.ljust(page, b"\0"), 1: b"one!" * (page // 4)}
        va, there = 2 * large, [pick.randrange(large // 8) * 8 for _ in range(8)] + [0, large - 8]
        assert h.call("umap_map", space, large, 0, 0) == h.call("umap_map", space, va, 1, 0) == OK
        cpu.begin(h.kernel.handle.loaded.root, h.root(space), large)
        life.cpu = cpu
        absent = ABSENT if cpu.family.known else "page"
        assert cpu.load(va).value & 0xFFFF_FFFF == int.from_bytes(b"one!", "little")
        assert h.call("umap_unmap", space, va) == OK and cpu.load(va).fault == absent
        for pfn in (h.held, h.held + h.pages, h.held):
            assert h.call("umap_map_large", space, va, pfn, 0) == OK
            assert [cpu.load(va + at).pa for at in there] == [pfn * page + at for at in there]
            assert h.call("umap_unmap_range", space, va, h.pages) == OK
            assert {cpu.load(va + at).fault for at in there} == {absent}
        assert h.call("umap_map", space, va, 1, 0) == OK
        assert cpu.load(va).value & 0xFFFF_FFFF == int.from_bytes(b"one!", "little")


@pytest.mark.parametrize("mode", MODES)
def test_what_is_refused_changes_nothing(mode):
    """Each status, with memory as it was, byte for byte."""
    with Held(mode=mode) as h:
        space, large, pages = h.spaces[0], h.large, h.pages
        single = h.kernel.frame_get("dma")
        assert h.call("umap_map_large", space, large, h.held, 0) == OK
        assert h.call("umap_map_device", space, 4 * large, h.device, 3, 0) == OK
        assert h.call("umap_map", space, 3 * large + h.page, 7, 0) == OK
        refused = {
            ("umap_map_large", h.held, 2 * large, h.held, 0): BAD_ADDRESS,  # no address space
            ("umap_map_large", space, 2 * large + h.page, h.held, 0): BAD_ADDRESS,
            ("umap_map_large", space, -large, h.held, 0): BAD_ADDRESS,
            ("umap_map_large", space, h.arch.user_end, h.held, 0): BAD_ADDRESS,
            ("umap_map_large", space, 2 * large, h.held + 1, 0): BAD_FRAME,
            ("umap_map_large", space, 2 * large, h.held + 2 * pages, 0): BAD_FRAME,  # one frame of it is held
            ("umap_map_large", space, 2 * large, -pages, 0): BAD_FRAME,
            ("umap_map_large", space, 2 * large, 0, 0): BAD_FRAME,  # the kernel's
            ("umap_map_large", space, 2 * large, single & -pages, 0): BAD_FRAME,
            ("umap_map_large", space, 2 * large, 1 << 30, 0): BAD_FRAME,  # nothing is there
            ("umap_map_large", space, 2 * large, h.device + 2 * pages, 0): BAD_FRAME,
            ("umap_map_large", space, large, h.held + pages, 0): BUSY,
            ("umap_map_large", space, 3 * large, h.held, 0): BUSY,  # a page is there
            ("umap_map_large", space, 4 * large, h.held, 0): BUSY,  # a device is there
            ("umap_map", space, large, 7, 0): BUSY,
            ("umap_map", space, large + h.page, 7, 1): BUSY,
            ("umap_map", space, 4 * large, 7, 1): BUSY,
            ("umap_map_device", space, 5 * large, h.held, 1, 0): BAD_FRAME,
            ("umap_map_device", space, 5 * large, h.device, 2 * pages + 1, 0): BAD_FRAME,
            ("umap_map_device", space, 5 * large, h.device, 0, 0): BAD_ADDRESS,
            ("umap_map_device", space, 5 * large, h.device, -1, 0): BAD_ADDRESS,
            ("umap_map_device", space, 5 * large + 1, h.device, 1, 0): BAD_ADDRESS,
            ("umap_map_device", space, h.arch.user_end - h.page, h.device, 2, 0): BAD_ADDRESS,
            ("umap_map_device", space, 5 * large, h.device, 1 << 60, 0): BAD_ADDRESS,
            ("umap_map_device", space, 4 * large - h.page, h.device, 2, 0): BUSY,
            ("umap_map_device", space, large - h.page, h.device, 2, 0): BUSY,
            ("umap_unmap", space, large): INTERIOR,
            ("umap_unmap", space, large + h.page): INTERIOR,
            ("umap_unmap_range", space, 0, pages + 1): INTERIOR,
            ("umap_unmap_range", space, 2 * large - h.page, 2): INTERIOR,
            ("umap_unmap_range", space, 0, pages): NOT_ALLOCATED,
            ("umap_unmap_range", space, 0, 0): BAD_ADDRESS,
            ("umap_unmap_range", h.held, 0, 1): BAD_ADDRESS,
            ("frame_put", h.held): BUSY,
            ("range_put", h.held, 2 * pages + 1): BUSY,
            ("device_put", h.device): NOT_ALLOCATED,
            ("device_cache", h.device, WRITE_BACK): BUSY,
            ("withdraw", h.device): BUSY,
        }
        before = h.memory()
        for call, status in refused.items():
            assert h.kernel.call(*call) == status, call
            assert h.memory() == before, call
        assert h.call("umap_free", space) == h.call("frame_put", single) == OK


@pytest.mark.parametrize("mode", MODES)
def test_tables_and_entries_that_run_out_leave_nothing(mode):
    """Where frames for tables are short, or entries of devices, neither is taken, and nothing is held."""
    with Held(mode=mode) as h:
        space, large = h.spaces[0], h.large
        while not failed_for_want(h.kernel.call("frame_get", DMA)):
            pass
        while not failed_for_want(h.kernel.call("malloc", h.page)):
            pass
        tables = int(h.kernel.view.read(Umap, space)[0]["tables"])
        for call in (("umap_map_device", space, large, h.device, 2, 0), ("umap_map_large", space, 0, h.held, 0)):
            assert failed_for_want(h.kernel.call(*call)), call
        assert h.mapped(space) == 0 and h.call("device_used", h.device) == 0
        assert int(h.kernel.view.read(Umap, space)[0]["tables"]) == tables
        assert h.call("range_put", h.held, 2 * h.pages + 1) == OK


def failed_for_want(result: int) -> bool:
    return result in (NO_FRAMES, WOULD_BLOCK, PROMISED, LIMIT)


class Model:
    """What two address spaces map, by page of address: a page of the cache, a large page, or a frame of the device."""

    def __init__(self, h: Held, seed: int) -> None:
        self.h, self.pick = h, random.Random(seed)
        self.maps: dict[tuple[int, int], tuple[str, int]] = {}

    def spans(self, space: int, va: int, count: int) -> list[tuple[int, int]]:
        return [(space, page) for page in range(va // self.h.page, va // self.h.page + count)]

    def step(self) -> None:
        h, pick = self.h, self.pick
        space, large, write = pick.randrange(2), h.large, pick.randrange(2)
        va = pick.randrange(6) * large + pick.choice((0, pick.randrange(h.pages) * h.page))
        what = pick.choice(("page", "page", "large", "large", "device", "unmap", "unmap"))
        if what == "page":
            oid = va // h.page
            busy = self.maps.get((space, oid), ("page", oid)) != ("page", oid)
            assert h.call("umap_map", h.spaces[space], va, oid, write) == (BUSY if busy else OK)
            if not busy:
                self.maps[space, oid] = ("page", oid)
        elif what == "large":
            va, pfn = va // large * large, pick.choice((h.held, h.held + h.pages, h.device, h.device + h.pages))
            self.map("large", ("umap_map_large", h.spaces[space], va, pfn, write), self.spans(space, va, h.pages), pfn)
        elif what == "device":
            count = pick.choice((1, 3, h.pages, h.pages + 7))
            pfn = h.device + pick.randrange(2 * h.pages - count + 1)
            call = ("umap_map_device", h.spaces[space], va, pfn, count, write)
            self.map("device", call, self.spans(space, va, count), pfn)
        else:
            self.unmap(space, va, pick.choice((1, 2, h.pages, 2 * h.pages)))
        for number, umap in enumerate(h.spaces):
            assert h.mapped(umap) == sum(where == number for where, _ in self.maps)

    def map(self, what: str, call: tuple[str, *tuple[int, ...]], spans: list[tuple[int, int]], pfn: int) -> None:
        busy = any(span in self.maps for span in spans)
        assert self.h.call(*call) == (BUSY if busy else OK), call
        if not busy:
            self.maps.update({span: (what, pfn + i) for i, span in enumerate(spans)})

    def unmap(self, space: int, va: int, count: int) -> None:
        h = self.h
        spans = self.spans(space, va, count)
        inside = any(
            self.maps.get((space, page), ("", 0))[0] == "large" and page % h.pages
            for page in (va // h.page, va // h.page + count)
        )
        due = INTERIOR if inside else OK if any(span in self.maps for span in spans) else NOT_ALLOCATED
        assert h.call("umap_unmap_range", h.spaces[space], va, count) == due
        if due == OK:
            for span in spans:
                self.maps.pop(span, None)


@pytest.mark.parametrize("mode", MODES)
def test_any_use_agrees_with_a_model(mode):
    """Whatever is mapped and unmapped: what is refused and what is mapped is what a dictionary says; the block can be
    put and the device withdrawn as soon as nothing maps them; every invariant holds all the way."""
    for seed in range(EFFORT):
        with Held(mode=mode) as h:
            model = Model(h, seed)
            for i in range(STEPS[mode]):
                model.step()
                if i % (STEPS[mode] // 6) == 0:
                    h.check()
            frames = {pfn for what, pfn in model.maps.values() if what != "page"}
            devices = {pfn for pfn in frames if h.device <= pfn < h.device + 2 * h.pages}
            assert h.call("device_used", h.device) == len(devices)
            assert h.call("range_put", h.held, 2 * h.pages + 1) == (BUSY if frames - devices else OK)
            assert h.call("withdraw", h.device) == (BUSY if devices else OK)
            for space in h.spaces:
                assert h.call("umap_free", space) == OK
            assert h.call("withdraw", h.device) in (OK, BAD_FRAME)


def test_the_lives_leave_the_same_memory():
    found = []
    for mode in MODES:
        with Held(mode=mode) as h:
            model = Model(h, 11)
            for _ in range(25):
                model.step()
            found.append((h.kernel.view.kern["pages"].tobytes(), h.kernel.frames_by_type(), dict(h.kernel.snapshot())))
    assert found[0] == found[1] == found[2]


def test_a_device_is_cached_as_its_range_says_E13():
    """The entries have the attribute, small and large ones; it cannot be changed under them."""
    with Held() as h:
        space, caching = h.spaces[0], h.arch.cache
        for attribute in (UNCACHED, WRITE_COMBINING):
            assert h.call("device_cache", h.device, attribute) == OK
            assert h.call("umap_map_device", space, 0, h.device, 1, 1) == OK
            assert h.call("umap_map_large", space, h.large, h.device, 0) == OK
            entries = {leaf & 0xFFF | (leaf & h.arch.large_cache_mask) for leaf in upper_and_leaf(h, space)}
            assert caching[attribute] in {each & h.arch.cache_mask for each in entries}
            assert h.arch.large_cache[attribute] in {each & h.arch.large_cache_mask for each in entries}
            assert h.call("device_cache", h.device, WRITE_BACK) == BUSY
            assert h.call("umap_unmap_range", space, 0, 2 * h.pages) == OK


def upper_and_leaf(h: Held, space: int) -> list[int]:
    """The leaf entry of the first page of an address space, and the entry of its second large page."""
    ram = h.kernel.view.ram.bytes

    def entry(table: int, index: int) -> int:
        return int.from_bytes(ram[table + 8 * index : table + 8 * index + 8], "little")

    directory = entry(h.root(space), 0) & ~0xFFF
    return [entry(entry(directory, 0) & ~0xFFF, 0), entry(directory, 1)]


def test_check_finds_what_is_held_and_not_mapped():
    """A large page's entry that leads elsewhere, that is cached otherwise, or that is gone; a block that is held once
    too often; a device's entry that is."""
    with Held() as h:
        space = h.spaces[0]
        assert h.call("umap_map_large", space, 0, h.held, 1) == OK
        assert h.call("umap_map_device", space, h.large, h.device, 2, 1) == OK
        ram = h.kernel.view.ram.bytes
        directory = int.from_bytes(ram[h.root(space) : h.root(space) + 8], "little") & ~0xFFF
        table = int.from_bytes(ram[directory + 8 : directory + 16], "little") & ~0xFFF
        region = next(r for r in h.kernel.regions if r.pfn <= h.held < r.pfn + r.frames)
        for at, bits in (
            *((directory, bits) for bits in (h.large, 1 << 4, 1 << 7, 1 << 2)),
            *((table + 8, bits) for bits in (h.page, 1 << 4, 1 << 2)),
        ):
            before = ram[at : at + 8]
            ram[at : at + 8] = (int.from_bytes(before, "little") ^ bits).to_bytes(8, "little")
            assert not h.kernel.check().passed, (at, bits)
            ram[at : at + 8] = before
        assert region is not None and h.kernel.check().passed


def test_from_python(tmp_path):
    with Held(mode="raw") as h:
        pages = h.kernel.pages
        space = pages.space()
        space.map_large(0, h.held, write=True)
        space.map_device(h.large, h.device, 4)
        assert space.mapped == h.pages + 4
        with pytest.raises(Busy):
            space.map_large(0, h.held)
        with pytest.raises(BadAddress):
            space.unmap(0)
        with pytest.raises(BadAddress):
            space.map_large(2 * h.large, h.held + 1)
        space.unmap(0, h.pages + 2)
        assert space.mapped == 2
        space.free()
