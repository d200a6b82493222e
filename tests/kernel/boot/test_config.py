"""What a loader tells the kernel: what is usual, and how each wrong configuration is refused."""

from collections.abc import Sequence

import pytest
from flat_memory import FlatMemory
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.kernel.boot import layout
from kernmalloc.kernel.boot.config import LAYOUT_SHIFT, BootRange, Config
from kernmalloc.kernel.core.kern import CARVED_MEMORY, CPUS, GUEST, MAX_PFN, RAM, VERSION, Cpu, Kern
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.lang import failed, twin
from kernmalloc.lang.status import (
    AREA_SMALL,
    BAD_BOOT,
    BAD_VERSION,
    NO_PORT,
    NO_VA,
    OVERLAP,
    WRAPS,
)
from kernmalloc.machine.arch import FORMATS

MIB = 1 << 20
DO = twin.compile([layout.area_bytes, layout.init])
AREA = 2 * MIB
TOLD = {"arch": FORMATS["i386-pae"].number, "window": 0xD000_0000, "window_bytes": 64 * MIB, "cpus": 1}
TOLD |= {"image_pa": MIB, "image_bytes": MIB, "area_pa": AREA, "area_room": 4 * MIB}
PLACES = [(0, 256, RAM), (256, 512, CARVED_MEMORY), (2048, 8192, RAM)]

Range = tuple[int, int, int]  # first pfn, first beyond, class


class World:
    """Physical memory, and beside it what a loader tells."""

    def __init__(self, ranges: Sequence[Range] = PLACES, objects: Sequence[int] = (), **fields: int) -> None:
        self.memory = FlatMemory(8 * MIB)
        twin.use(self.memory)
        self.config = Config(self.memory.new(Config.size))
        told = TOLD | {"version": VERSION << LAYOUT_SHIFT | Config.layout, "bytes": Config.size}
        told |= {"range_count": len(ranges), "object_count": len(objects)} | fields
        for name, value in told.items():
            setattr(self.config, name, value)
        self.config.ranges = BootRange(self.memory.new(max(len(ranges), 1) * BootRange.size))
        for number, (first, end, kind) in enumerate(ranges):
            each = BootRange(self.config.ranges.addr + number * BootRange.size)
            each.base, each.count, each.kind = first, end - first, kind
        self.config.objects = ObjectType(self.memory.new(max(len(objects), 1) * ObjectType.size))
        for number, size in enumerate(objects):
            ObjectType(self.config.objects.addr + number * ObjectType.size).bytes = size
        self.memory.top = len(self.memory.bytes)

    def init(self) -> int:
        """What `init` answers. If it refuses, nothing is written but the answers."""
        before = bytes(self.memory.bytes)
        answer = DO["init"](self.config.addr, 0)
        if failed(answer):
            told = slice(self.config.addr, self.config.addr + Config.size)
            self.memory.bytes[told] = before[told]
            assert self.memory.bytes == before
        return answer


def test_what_is_0_has_its_usual_value() -> None:
    world = World()
    assert not failed(world.init())
    made = Config(AREA)
    assert (made.page_shift, made.target, made.max_pfn) == (12, 0xD000_0000, MAX_PFN)
    assert (made.stride, made.identity, made.growth, made.idle_most) == (16, 16, 16, 16)
    assert made.cpu_windows == 8 << 12


def test_frames_have_numbers_that_the_kernel_has() -> None:
    """An entry of RISC-V holds more of an address than the kernel has of frames."""
    world = World(arch=FORMATS["riscv64-sv39"].number, window=-(1 << 30), area_room=8 * MIB - AREA)
    assert not failed(world.init()) and Config(AREA).max_pfn == MAX_PFN


def test_what_was_told_is_copied_to_the_area() -> None:
    """It may be anywhere, and is the kernel's own from then on."""
    world = World(objects=[48, 200])
    assert world.init() == AREA + world.config.root
    kern = Kern(AREA + world.config.kern)
    start = 0xD000_0000 + MIB - AREA  # of the window's part that maps the area
    ranges = [BootRange(kern.ranges.addr - start + number * BootRange.size) for number in range(kern.range_count)]
    assert [(each.base, each.base + each.count, each.kind) for each in ranges] == PLACES
    sizes = [ObjectType(kern.objects.addr - start + number * ObjectType.size).bytes for number in (0, 1)]
    assert sizes == [48, 200] and kern.object_count == 2
    told = Config(kern.info.addr - start)
    assert told.addr == AREA and told.ranges == kern.ranges and told.objects == kern.objects
    assert Cpu(AREA + world.config.cpu).kern.addr - start == kern.addr


@given(st.integers(0, 40), st.integers(0, 20))
@settings(max_examples=30)
def test_the_area_is_as_long_as_it_was_said(ranges: int, objects: int) -> None:
    """Not a byte beyond it is written, and none before it."""
    world = World([(4096 + 2 * n, 4097 + 2 * n, RAM) for n in range(ranges)], [16] * objects)
    size = DO["area_bytes"](world.config.addr)
    world.memory.bytes[AREA - 4096 : AREA] = b"\xa5" * 4096
    world.memory.bytes[AREA + size : AREA + size + 4096] = b"\xa5" * 4096
    world.config.area_room = size
    assert not failed(world.init())
    assert world.memory.bytes[AREA - 4096 : AREA] == b"\xa5" * 4096
    assert world.memory.bytes[AREA + size : AREA + size + 4096] == b"\xa5" * 4096


@given(st.integers(0, 40), st.integers(0, 20))
@settings(max_examples=30)
def test_an_area_that_is_known_to_be_zero_is_filled_alike(ranges: int, objects: int) -> None:
    """Byte for byte, with fewer stores; and one that nobody vouches for is made zero first."""
    areas, stores = [], []
    for vouches, before in ((True, b"\0"), (False, b"\0"), (False, b"\xa5")):
        world = World([(4096 + 2 * n, 4097 + 2 * n, RAM) for n in range(ranges)], [16] * objects)
        size = DO["area_bytes"](world.config.addr)
        world.memory.bytes[AREA : AREA + size] = before * size
        world.memory.vouches, world.config.area_room = vouches, size
        cleared = world.memory.cleared
        assert not failed(world.init())
        areas.append(world.memory.bytes[AREA : AREA + size])
        stores.append(world.memory.cleared - cleared)
    assert areas[0] == areas[1] == areas[2]
    assert stores[0] < stores[1] == stores[2]


WRONG = {
    "another header": (BAD_VERSION, {"version": VERSION << LAYOUT_SHIFT | (Config.layout ^ 1)}),
    "a later version": (BAD_VERSION, {"version": VERSION + 1 << LAYOUT_SHIFT | Config.layout}),
    "a shorter record": (BAD_VERSION, {"bytes": Config.size - 8}),
    "no format": (BAD_BOOT, {"arch": 0}),
    "an unknown mode": (BAD_BOOT, {"mode": 99}),
    "pages of another format": (BAD_BOOT, {"page_shift": 13}),
    "no processors": (BAD_BOOT, {"cpus": 0}),
    "too many processors": (BAD_BOOT, {"cpus": CPUS + 1}),
    "entries without room": (BAD_BOOT, {"stride": 8}),
    "entries that lie askew": (BAD_BOOT, {"stride": 20}),
    "an image inside a page": (BAD_BOOT, {"image_pa": MIB + 8}),
    "a root that none can be": (BAD_BOOT, {"upper": 16}),
    "a root above the limit": (BAD_BOOT, {"upper": 1 << 52}),
    "no such thing as execution": (BAD_BOOT, {"arch": FORMATS["i386"].number, "no_execute": 1}),
    "an area inside a page": (BAD_BOOT, {"area_pa": AREA + 8}),
    "more addresses than there are": (BAD_BOOT, {"max_pfn": MAX_PFN + 1}),
    "a negative number of ranges": (BAD_BOOT, {"range_count": -1}),
    "very many ranges": (BAD_BOOT, {"range_count": 1 << 60}),
    "very many object types": (BAD_BOOT, {"object_count": 1 << 60}),
    "a direct map of nothing": (BAD_BOOT, {"mode": GUEST, "direct": 0xD000_0000, "direct_bytes": 0}),
    "a window inside a span": (BAD_BOOT, {"window": 0xD000_1000}),
    "a window without room": (NO_VA, {"window_bytes": 2 * MIB}),
    "an area without room": (AREA_SMALL, {"area_room": 4096}),
    "no room said": (AREA_SMALL, {"area_room": 0}),
    "an area above the limit": (WRAPS, {"area_pa": 16 * MIB, "max_pfn": 4096}),
    "an area at the limit": (WRAPS, {"area_pa": 1 << 52}),
    "ranges above the limit": (WRAPS, {"max_pfn": 4096}),
    "an area in RAM": (OVERLAP, {"area_pa": 8 * MIB}),
    "an area that ends in RAM": (OVERLAP, {"area_pa": 8 * MIB - 4096}),
    "an image in RAM": (OVERLAP, {"image_pa": 0}),
    "several processors": (NO_PORT, {"cpus": 2}),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_has_an_answer_of_its_own(case: str) -> None:
    status, fields = WRONG[case]
    assert World(**fields).init() == status


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 100, CARVED_MEMORY), (99, 200, CARVED_MEMORY)],
        [(4096, 5000, RAM), (4096, 5000, RAM)],
        [(5000, 6000, RAM), (4096, 5000, RAM)],
    ],
)
def test_ranges_that_overlap_or_do_not_ascend_are_refused(ranges: list[Range]) -> None:
    assert World(ranges).init() == OVERLAP


@given(st.dictionaries(st.sampled_from([*Config.fields][2:49]), st.integers(-(1 << 63), (1 << 63) - 1), max_size=4))
@settings(max_examples=300)
def test_whatever_is_told_is_answered(fields: dict[str, int]) -> None:
    """No number makes a sum overflow or leads astray, which the twin would tell."""
    for name in ("ranges", "range_count", "objects", "upper"):  # what lies there is read
        fields.pop(name, None)
    World(**fields).init()


@pytest.mark.parametrize("told", [{}, {"identity": 16}, {"identity": 64}])
def test_without_a_page_cache_no_page_is_named(told: dict[str, int]) -> None:
    world = World(no_pages=1, **told)
    assert not failed(world.init())
    assert Config(AREA).identity == 0
    assert Kern(AREA + world.config.kern).identity == 0


def test_a_wrong_identity_is_refused_with_and_without_a_page_cache() -> None:
    assert World(identity=4).init() == BAD_BOOT
    assert World(identity=17, no_pages=0).init() == BAD_BOOT
