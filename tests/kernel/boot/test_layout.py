"""Where everything lies before paging is on: parts that overlap nothing and hold what they are for, in every window.

Rows E3 (a window smaller than memory), E4 (a kernel window of 1 GiB), C1 (the heap's hard bound), C4-5 (one contiguous
heap), E17 (leaf tables are mapped); the defects of the ancestors: products and sums of sizes that no one checked."""

from itertools import pairwise

import numpy
import pytest
from flat_memory import FlatMemory
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from page_walk import leaf_tables, leaves

from kernmalloc.kernel.boot import layout
from kernmalloc.kernel.boot.config import LAYOUT_SHIFT, BootRange, Config
from kernmalloc.kernel.core.kern import CACHES, CPUS, SIZE_CLASSES, VERSION, WINDOWS_SHIFT, Byte, Cpu, Kern
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES, classes_init
from kernmalloc.kernel.heap.slabs import Cache
from kernmalloc.lang import twin
from kernmalloc.lang.status import BAD_BOOT, NO_VA, OK
from kernmalloc.machine.arch import FORMATS

PAGE, SPAN = 4096, 2 << 20
MIB, GIB = 1 << 20, 1 << 30
DO = twin.compile([layout.area_bytes, layout.init])
AREA_PA = 0x10_0000
I386_PAE, X86_64 = FORMATS["i386-pae"].number, FORMATS["x86_64"].number
ARCHES = {I386_PAE: "i386-pae", X86_64: "x86_64"}


class World:
    """Physical memory with a boot area at AREA_PA, whose request is made of the given fields."""

    def __init__(self, **fields: int) -> None:
        self.request = {
            "version": VERSION << LAYOUT_SHIFT | Config.layout,
            "bytes": Config.size,
            "arch": I386_PAE,
            "page_shift": 12,
            "max_pfn": 1 << 24,
            "window": 0xC000_0000,
            "window_bytes": GIB,
            "cpu_windows": 4 * MIB,
            "image_pa": 8 << 20,
            "image_bytes": 2 * MIB,
            "area_pa": AREA_PA,
            "area_room": 8 * MIB,
            "cpus": 1,
            "stride": 16,
            "identity": 16,
            "growth": 16,
            "ranges": BootRange(AREA_PA + Config.size),
            "objects": ObjectType(AREA_PA + Config.size),
        } | fields
        self.request.setdefault("target", self.request["window"])
        self.memory = FlatMemory(AREA_PA + 8 * MIB)
        self.memory.top = len(self.memory.bytes)
        twin.use(self.memory)
        info = Config(AREA_PA)
        for name, value in self.request.items():
            setattr(info, name, value)
        self.status = min(DO["area_bytes"](AREA_PA), OK)
        self.info = {name: getattr(info, name) for name in Config.fields}

    def prepare(self) -> int:
        self.memory.bytes[AREA_PA + self.info["info_bytes"] : AREA_PA + self.info["area_bytes"]] = b"\xa5" * (
            self.info["area_bytes"] - self.info["info_bytes"]
        )
        assert DO["init"](AREA_PA, 0) == AREA_PA + self.info["root"]
        return self.info["window"] + self.info["image_bytes"] + self.info["cpu"]

    def pages(self) -> dict[int, int]:
        """What a processor makes of the tables: {address in the window: physical address}."""
        info = self.info
        found = leaves(self.memory.bytes, ARCHES[info["arch"]], AREA_PA + info["root"])
        return {leaf.va - info["target"]: leaf.pa for leaf in found}


WINDOWS = {
    I386_PAE: st.tuples(st.integers(1, 512 + 511), st.integers(1, 512)).map(
        lambda w: (w[0] * SPAN, min(w[1] * SPAN, (1 << 32) - w[0] * SPAN))
    ),
    X86_64: st.tuples(st.integers(1, 1 << 25) | st.integers(-(1 << 26), -3001), st.integers(1, 3000)).map(
        lambda w: (w[0] * SPAN, w[1] * SPAN)
    ),
}
REQUESTS = st.sampled_from([I386_PAE, X86_64]).flatmap(
    lambda arch: st.fixed_dictionaries(
        {
            "arch": st.just(arch),
            "window": WINDOWS[arch],
            "cpu_windows": st.integers(0, 600).map(lambda n: n * PAGE),
            "image_bytes": st.integers(0, 1500).map(lambda n: n * PAGE),
            "range_count": st.integers(0, 5 * PAGE // BootRange.size),
            "bound": st.sampled_from([0, 1, 1000, 1 << 40]),
        }
    )
)


def asked(request: dict) -> World:
    window, size = request.pop("window")
    return World(window=window, window_bytes=size, **request)


def test_a_request_for_one_window():
    """The profile of EROS 2: every part, in figures."""
    world = World(window=0xD000_0000, window_bytes=768 * MIB)
    assert world.status == OK
    info = world.info
    assert info["directories"] == 1 and info["window_tables"] == 1
    assert info["heap"] + info["heap_pages"] * PAGE == 0x1_0000_0000 - 4 * MIB
    assert info["heap_pages"] * PAGE >= 740 * MIB, (
        "records and tables take less than 2 % of the window, image and granules the rest"
    )


def test_the_mark_says_what_the_record_is_and_where():
    """16 bytes by which the kernel's record is found in a dump: magic, version, layout, own address."""
    world = World()
    cpu = world.prepare()
    at = AREA_PA + world.info["kern"]
    assert world.memory.bytes[at : at + 8] == b"kmal" + bytes([VERSION, 0]) + Kern.layout.to_bytes(2, "little")
    kern = cpu - world.info["cpu"] + world.info["kern"]
    assert int.from_bytes(world.memory.bytes[at + 8 : at + 16], "little") == kern


@given(REQUESTS)
@settings(max_examples=150)
def test_the_window_is_divided_without_overlap_E4_C1_C4(request):
    """image | boot area | table window | heap map | heap | per-CPU windows, each as large as what it must hold."""
    world = asked(request)
    info = world.info
    assume(world.status != NO_VA)
    assert world.status == OK
    end = info["window"] + info["window_bytes"]
    assert info["windows"] == (end - info["cpu_windows"]) // SPAN * SPAN, (
        "the kept part, and the rest of its first span"
    )
    assert info["cpus"] * PAGE << WINDOWS_SHIFT <= min(info["cpu_windows"], info["cpu_tables"] * SPAN)
    spans = info["window_bytes"] // SPAN
    assert info["window"] + info["image_bytes"] + info["area_bytes"] <= info["tables"]
    assert info["tables"] % SPAN == info["heap_map"] % SPAN == info["heap"] % SPAN == 0
    assert info["tables"] + spans * PAGE <= info["heap_map"], "a page for the leaf table of every span"
    assert info["heap_map"] + info["heap_pages"] * 64 <= info["heap"], "a record for every page"
    assert info["heap_pages"] > 0 and info["heap"] + info["heap_pages"] * PAGE <= info["windows"]
    if not request["bound"]:
        assert info["heap"] + (info["heap_pages"] + 1) * PAGE > info["windows"], "no page is given away"
    else:
        assert info["heap_pages"] <= request["bound"]


@given(REQUESTS)
@settings(max_examples=150)
def test_the_boot_area_is_divided_without_overlap(request):
    """Every record and table of the boot area, by its true length, between its neighbours; tables on own pages."""
    world = asked(request)
    assume(world.status == OK)
    info = world.info
    spans = info["window_bytes"] // SPAN
    area = info["window"] + info["image_bytes"]
    cpu = world.prepare() - area
    k = Kern(AREA_PA + Cpu(AREA_PA + cpu).kern.addr - area)
    parts = [
        ("info", 0, info["info_bytes"]),
        ("cpu", cpu, Cpu.size),
        ("kern", k.addr - AREA_PA, Kern.size),
        ("region", k.boot_region.addr - area, Region.size),
        ("span counts", k.spans.addr - area, 2 * spans),
        ("caches", k.caches.addr - area, CACHES * Cache.size),
        ("class table", k.class_of.addr - area, CLASS_TABLE_BYTES),
        ("root", info["root"], PAGE),
        ("directories", info["directory"], info["directories"] * PAGE),
        (
            "leaf tables",
            info["leaf_tables"],
            (info["image_tables"] + info["window_tables"] + info["cpu_tables"]) * PAGE,
        ),
        ("end", info["area_bytes"], 0),
    ]
    for (name, at, size), (following, start, _) in pairwise(parts):
        assert at + size <= start, f"{name} reaches {at + size - start} bytes into {following}"
    assert (
        info["root"] % PAGE == info["directory"] % PAGE == info["leaf_tables"] % PAGE == info["area_bytes"] % PAGE == 0
    )
    assert all(at % 8 == 0 for _, at, _ in parts)


@given(REQUESTS)
@settings(max_examples=60)
def test_before_the_heap_the_tables_map_image_area_and_themselves_E17(request):
    """A processor that walks the tables finds image and boot area one after the other, and each leaf table at its page
    of the table window; and nothing else."""
    world = asked(request)
    assume(world.status == OK)
    world.prepare()
    info = world.info
    window = info["window"]
    expected = {at: info["image_pa"] + at for at in range(0, info["image_bytes"], PAGE)}
    expected |= {info["image_bytes"] + at: AREA_PA + at for at in range(0, info["area_bytes"], PAGE)}
    tables = list(leaf_tables(world.memory.bytes, ARCHES[info["arch"]], AREA_PA + info["root"]))
    assert len(tables) == info["image_tables"] + info["window_tables"] + info["cpu_tables"]
    assert info["windows"] - window in {table.va - info["target"] for table in tables}, "E15: windows need no frame"
    for table in tables:
        span = (table.va - info["target"]) // SPAN
        expected[info["tables"] - window + span * PAGE] = table.pa
    assert world.pages() == expected
    counts = numpy.zeros(info["window_bytes"] // SPAN, int)
    for at in expected:
        counts[at // SPAN] += 1
    at = AREA_PA + Kern(AREA_PA + info["kern"]).spans.addr - window - info["image_bytes"]
    assert numpy.frombuffer(bytes(world.memory.bytes[at : at + 2 * len(counts)]), "<u2").tolist() == counts.tolist()


@pytest.mark.parametrize(
    "target",
    [
        0xFFFF_8880_0000_0000,
        0xFFFF_FFFF_8000_0000,
        0x0000_7F80_0000_0000,
        0xFFFF_8880_0000_0000 + 511 * SPAN,
        0xFFFF_8880_0000_0000 - SPAN,
    ],
)
@pytest.mark.parametrize("size", [64 * MIB, 2 * GIB, 3 * GIB - 14 * MIB])
def test_a_window_that_the_host_puts_elsewhere_is_mapped_at_its_target(target, size):
    """A high-half kernel's tables are indexed by the target's addresses, also across a directory or a table of them."""
    size = min(size, (1 << 64) - SPAN - target) if target >= 1 << 63 else size
    signed = target - (1 << 64) if target >= 1 << 63 else target
    world = World(arch=X86_64, window=16 * GIB, target=signed, window_bytes=size)
    assert world.status == OK
    world.prepare()
    pages = world.pages()
    assert (
        len(pages)
        == (world.info["image_bytes"] + world.info["area_bytes"]) // PAGE
        + world.info["image_tables"]
        + world.info["window_tables"]
        + world.info["cpu_tables"]
    )
    assert min(pages) == 0 and max(pages) < size
    assert pages[world.info["image_bytes"]] == AREA_PA


def test_the_size_classes_fit_where_they_are():
    """The class table's last byte is its own: filling it changes nothing else, in windows of every size up to 4 GiB."""
    for spans in [*range(512, 2048, 64), *range(1530, 1570)]:
        world = World(arch=X86_64, window=16 * GIB, window_bytes=spans * SPAN)
        world.prepare()
        area = world.info["window"] + world.info["image_bytes"]
        before = world.pages()
        root = world.memory.bytes[AREA_PA + world.info["root"] : AREA_PA + world.info["area_bytes"]]
        # paging by hand: the records are at their physical addresses
        cpu, kern = Cpu(AREA_PA + world.info["cpu"]), Kern(AREA_PA + world.info["kern"])
        cpu.kern = kern
        kern.caches = Cache(kern.caches.addr - area + AREA_PA)
        kern.class_of = Byte(kern.class_of.addr - area + AREA_PA)
        classes_init(cpu)
        assert kern.cache_count == SIZE_CLASSES
        assert world.memory.bytes[AREA_PA + world.info["root"] : AREA_PA + world.info["area_bytes"]] == root, (
            f"{spans} spans"
        )
        assert world.pages() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0xC000_1000},
        {"target": 0xC010_0000, "arch": X86_64},
        {"cpus": 0},
        {"cpus": CPUS + 1},
        {"arch": 0},
        {"arch": -1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_request_that_contradicts_itself_is_refused(wrong):
    """Windows that are no whole spans, and processors that there is no record for."""
    assert World(**wrong).status == BAD_BOOT


LIMITS = {"the last page": -PAGE, "the end of the low half": (1 << 63) - SPAN}


@pytest.mark.parametrize("end", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("which", ["window", "target"])
def test_a_window_lies_on_one_side_of_0_and_leaves_the_statuses_out(which, end):
    """It may reach up to the last page of the address space, whose addresses would be statuses, and no further; and up
    to the end of the low half. Nothing overflows on the way to the refusal, which the twin would tell."""
    base = (end - GIB) // SPAN * SPAN
    fields = {"arch": X86_64, "window": 16 * GIB, which: base}
    assert World(**fields, window_bytes=end - base).status == OK
    assert World(**fields, window_bytes=end - base + PAGE).status == BAD_BOOT
    assert World(**fields, window_bytes=(1 << 63) - 1).status == BAD_BOOT


@pytest.mark.parametrize("base", [-(1 << 47), -(1 << 46), -(1 << 31)])
def test_a_window_in_the_high_half(base):
    """Its addresses are negative, in order, and none is a status."""
    world = World(arch=X86_64, window=base, window_bytes=GIB)
    assert world.status == OK
    info = world.info
    assert base < info["tables"] < info["heap_map"] < info["heap"] < info["windows"] < -(1 << 12)
    cpu = world.prepare()
    assert cpu == base + info["image_bytes"] + info["cpu"]
    kern = Kern(AREA_PA + Cpu(AREA_PA + info["cpu"]).kern.addr - base - info["image_bytes"])
    assert (kern.base, kern.heap, kern.windows) == (base, info["heap"], info["windows"])
    assert world.pages()[info["image_bytes"]] == AREA_PA


@pytest.mark.parametrize("size", [SPAN, 2 * SPAN, 3 * SPAN])
def test_a_window_without_room_for_a_heap_is_refused_E3(size):
    """NO_VA, not a heap of less than one page."""
    assert World(window_bytes=size, image_bytes=4 * MIB).status == NO_VA
    assert World(window_bytes=size, cpu_windows=size).status == NO_VA
