"""The heap of a direct map: a page is its frame, nothing is mapped, and what the heap does not have is page space's."""

import random
from itertools import pairwise

import pytest
from msgspec.structs import replace
from small_machines import DIRECT, MIB, MODES, conserved, guest, machine, poison, poke

from kernmalloc.facade.errors import OutOfMemory, TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES, Address, Bank, Bytes, Heap, Image, Profile, Window
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.core.kern import DMA, HEAP, PAGE, TYPE_NAMES
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.lang import failed
from kernmalloc.lang.status import BAD_ADDRESS, BAD_FRAME, INTERIOR, NO_FRAMES, NO_VA, NOT_ALLOCATED, NOT_YOURS, OK
from kernmalloc.plan.plan import plan

FRAME = 4096


def boot(*ranges: tuple[int, int], mode: str = "twin", profile: Profile | None = None, **more: object) -> Kernel:
    return Kernel.boot(machine(*(ranges or ((0, 16 * MIB),))), profile or guest(), mode, **more)


def pfn_of(kernel: Kernel, va: int) -> int:
    return (va - int(kernel.view.kern["base"])) // FRAME


@pytest.mark.parametrize("mode", MODES)
def test_what_malloc_gives_lies_at_its_frame(mode: str) -> None:
    with boot(mode=mode, prepare=poison) as kernel:
        blocks = [kernel.malloc(size) for size in (1, 100, 5000, 40_000, 3 * MIB)]
        for va in blocks:
            assert kernel.frame_type(pfn_of(kernel, va)) == "heap"
            assert kernel.view.pa(va) == va - DIRECT
        assert kernel.mappings == (0, 0)
        assert kernel.view.shares()[0] == 1.0
        for va in blocks:
            kernel.free(va)
        conserved(kernel)


def test_no_page_table_and_no_translation_is_ever_touched() -> None:
    """What a guest may not do is not done: the machine's primitives for translations are never called."""
    with boot() as kernel:
        called = []
        life = kernel.handle.life
        life.km_port_flush = life.km_port_shootdown = lambda *args: called.append(args) or 0
        blocks = [kernel.malloc(size) for size in (100, 60_000, 2 * MIB)]
        window = kernel.call("window_open", kernel.frame_get())
        assert kernel.call("window_close", window) == OK
        for va in blocks:
            kernel.free(va)
        kernel.drain()
        assert not called and kernel.frames_by_type()["mapping"] == 0
        conserved(kernel)


def test_pages_come_from_below_and_the_heap_from_above() -> None:
    with boot((MIB, 60 * MIB)) as kernel:
        low = [kernel.frame_get() for _ in range(100)]
        high = [pfn_of(kernel, kernel.malloc(MIB)) for _ in range(4)]
        assert max(low) < min(high) and high == sorted(high, reverse=True)
        assert all(a - b == MIB // FRAME for a, b in pairwise(high))
        conserved(kernel)


def test_what_is_given_back_is_page_spaces_again() -> None:
    with boot() as kernel:
        before = kernel.frames_by_type()
        va = kernel.malloc(4 * MIB)
        pfn = pfn_of(kernel, va)
        kernel.free(va)
        kernel.drain()
        assert kernel.frames_by_type() == before
        assert kernel.frame_type(pfn) == "free"
        assert kernel.range_get(1024, low=pfn * FRAME) == pfn, "a driver has what was the heap's"
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_an_address_that_the_heap_does_not_have_is_refused(mode: str) -> None:
    with boot(mode=mode) as kernel:
        held = kernel.malloc(3 * FRAME)
        gone = kernel.malloc(64 * FRAME)
        kernel.free(gone)
        kernel.drain()
        frame = kernel.frame_get()
        far = (0, DIRECT, DIRECT - FRAME, DIRECT + frame * FRAME, DIRECT + (1 << 40), DIRECT + 15 * MIB, -FRAME)
        for va in (*far, gone, gone + FRAME, gone + 63 * FRAME):
            assert kernel.call("free", va) == kernel.call("size_of", va) == BAD_ADDRESS, hex(va)
        assert kernel.call("free", held + FRAME) == INTERIOR
        area = kernel.regions[-1].area or next(r.area for r in kernel.regions if r.area)
        assert kernel.call("free", area) == NOT_YOURS
        assert kernel.call("free", held) == OK and kernel.call("free", held) in (NOT_ALLOCATED, BAD_ADDRESS)
        conserved(kernel)


def test_growth_stops_at_the_bound() -> None:
    profile = guest(heap=Heap(growable=Bytes(MIB), spare=Bytes(64 << 10)))
    with boot((MIB, 60 * MIB), profile=profile) as kernel:
        blocks = []
        with pytest.raises(OutOfMemory) as refused:
            while True:
                blocks.append(kernel.malloc(40_000))
        assert refused.value.status == NO_VA
        assert kernel.heap.backed <= kernel.heap.bound and kernel.frames_by_type()["free"] > 10_000
        for va in blocks:
            kernel.free(va)
        conserved(kernel)


def test_a_frame_of_page_space_is_in_the_way_until_it_goes() -> None:
    """A run needs frames side by side: one page of a driver's in each is enough to have none."""
    with boot(profile=guest(heap=Heap(growth_frames=1))) as kernel:
        frames = []
        with pytest.raises(OutOfMemory):
            while True:
                frames.append(kernel.frame_get("dma"))
        kernel.drain()
        for pfn in frames[::2]:
            kernel.frame_put(pfn)
        singles = []
        status = kernel.call("malloc", FRAME)
        while status not in (NO_FRAMES, NO_VA):
            singles.append(status)
            status = kernel.call("malloc", FRAME)
        assert len(singles) > len(frames) // 3, "single pages are to be had everywhere"
        assert kernel.call("malloc", 10 * FRAME) in (NO_FRAMES, NO_VA)
        for va in singles:
            kernel.free(va)
        for pfn in frames[1::2]:
            kernel.frame_put(pfn)
        kernel.free(kernel.malloc(10 * FRAME))
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_ram_above_the_map_is_described_and_not_looked_into(mode: str) -> None:
    with boot((0, 8 * MIB), (16 * MIB, 8 * MIB), mode=mode, profile=guest(8 * MIB)) as kernel:
        assert sum(r.frames for r in kernel.regions if r.kind == "ram" and r.pfn >= 4096) == 2048
        low = kernel.frame_get()
        pages = [pfn for pfn in (kernel.frame_get() for _ in range(2000)) if pfn >= 4096]
        assert len(pages) > 1000, "pages come from where the heap cannot grow first"
        assert kernel.call("window_open", low) == DIRECT + low * FRAME
        assert kernel.call("window_open", pages[0]) == NO_VA
        assert kernel.call("zero_frame", pages[0]) == NO_VA
        first = kernel.range_get(64)
        assert first + 64 <= 2048, "a range is filled with zeros, so the map must reach it"
        with pytest.raises(OutOfMemory):
            kernel.range_get(64, low=16 * MIB)
        window = kernel.call("window_open", first)
        assert window == DIRECT + first * FRAME and kernel.view.peek(window, FRAME) == bytes(FRAME)
        conserved(kernel)


def test_a_map_of_little_of_the_ram_holds_the_core_tables_of_all() -> None:
    """The heap map is for what the map reaches: records for all RAM would not fit beside the core tables."""
    profile = guest(32 * MIB, heap=Heap(growable=Bytes(1 << 40)))
    with boot((0, 32 * MIB), (1 << 32, 2 << 30), mode="soft", profile=profile) as kernel:
        assert int(kernel.view.kern["frames"]) > 1 << 19
        assert int(kernel.view.kern["map_pages"]) * 64 <= 2 * (32 * MIB // FRAME)
        kernel.free(kernel.malloc(MIB))


def test_windows_are_the_map() -> None:
    with boot() as kernel:
        frames = [kernel.frame_get() for _ in range(20)]
        windows = [kernel.call("window_open", pfn) for pfn in frames]
        assert windows == [DIRECT + pfn * FRAME for pfn in frames]
        assert kernel.call("window_open", pfn_of(kernel, kernel.malloc(100))) == BAD_FRAME
        for va in windows:
            assert kernel.call("window_close", va + 8) == BAD_ADDRESS
            assert kernel.call("window_close", va) == OK
        kernel.frame_put(frames[0])
        assert kernel.call("window_close", windows[0]) == BAD_ADDRESS
        conserved(kernel)


def test_an_identity_map_has_no_block_at_0() -> None:
    """VA = PA: the frame at 0 would be where null references lead."""
    profile = replace(guest(), va=Window(base=Address(0), size=Bytes(1 << 40)))
    with Kernel.boot(machine((0, 16 * MIB)), profile, "soft") as kernel:
        blocks = []
        with pytest.raises(OutOfMemory):
            while True:
                blocks.append(kernel.malloc(FRAME))
        assert all(0 < va < 16 * MIB for va in blocks)
        assert all(kernel.view.pa(va) == va for va in blocks)
        conserved(kernel)


@pytest.mark.parametrize("page", [4096, 16384, 32768])
@pytest.mark.parametrize("mode", ["soft", "raw"])
def test_pages_are_as_large_as_the_kernel_around_says(page: int, mode: str) -> None:
    profile = guest(page_bytes=Bytes(page), image=Image(base=Bytes(2 * MIB), size=Bytes(2 * MIB)))
    with boot((0, 64 * MIB), mode=mode, profile=profile) as kernel:
        assert kernel.profile.page == page
        va = kernel.malloc(300_000)
        assert va % page == 0 and kernel.size_of(va) == -(-300_000 // page) * page
        kernel.free(va)
        conserved(kernel)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ranges", [((0, 24 * MIB),), ((0, 640 << 10), (MIB, 9 * MIB), (16 * MIB, 4 * MIB))], ids=str)
def test_plan_and_boot_agree(strategy: str, ranges: tuple[tuple[int, int], ...]) -> None:
    profile = guest(strategy=strategy, heap=Heap(excess=Bytes(MIB), growable=Bytes(2 * MIB), spare=Bytes(64 << 10)))
    computer = machine(*ranges)
    made = plan(computer, profile)
    with Kernel.boot(computer, profile, "soft") as kernel:
        kern = kernel.view.kern
        heap = kernel.heap
        assert (made.planned, made.backed, made.bound) == (heap.planned, heap.backed, heap.bound)
        assert made.frames == int(kern["frames"]) and made.available == int(kern["opening"])
        assert made.promised == int(kern["promised"])
        assert made.fixed is not None and made.fixed.bytes == int(kern["fixed"]) * FRAME
        assert made.fixed.va == made.heap_va == int(kern["heap"]) == DIRECT + made.fixed.pa
        if STRATEGIES[strategy].excess:
            fixed = made.fixed.bytes
            released = kernel.release()
            assert released >= MIB and int(kernel.view.kern["fixed"]) * FRAME == fixed - released
        conserved(kernel)


def test_an_area_that_the_map_does_not_reach_is_refused() -> None:
    with pytest.raises(TooSmall, match="no range of RAM in the direct map of 1 MiB holds the boot area"):
        boot((MIB, 8 * MIB), profile=guest(MIB, image=Image(base=Bytes(0), size=Bytes(FRAME))))


def test_ram_that_comes_later() -> None:
    with boot((0, 16 * MIB)) as kernel:
        kernel.add_ram(64 * MIB, 16 * MIB)
        assert kernel.frames_by_type()["free"] > 7000
        assert {kernel.frame_get() // 4096 for _ in range(64)} == {4}, "the heap cannot grow there"
        conserved(kernel)


def test_ram_that_comes_later_without_a_run_for_its_core_table_is_refused() -> None:
    with boot((0, 16 * MIB), profile=guest(bank=Bank(lenient=True), heap=Heap(growable=Bytes(64 << 10)))) as kernel:
        before = kernel.frames_by_type()
        with pytest.raises(OutOfMemory):
            kernel.add_ram(1 << 30, 1 << 30)
        assert kernel.frames_by_type() == before
        conserved(kernel)


def test_devices_are_published_as_ever() -> None:
    with boot((0, 16 * MIB)) as kernel:
        kernel.devices.publish(1 << 30, 4 * MIB, 1024)
        assert kernel.call("device_get", (1 << 30) // FRAME) == OK
        assert kernel.call("device_put", (1 << 30) // FRAME) == OK
        kernel.devices.withdraw(1 << 30)
        conserved(kernel)


def test_several_processors_and_a_cache() -> None:
    with boot((0, 32 * MIB), mode="raw", cpus=3) as kernel:
        cache = kernel.cache("pipe", 600, 1000)
        blocks = [kernel.cpu(number).cache("pipe").get() for number in (0, 1, 2) for _ in range(50)]
        assert len(set(blocks)) == 150
        for number, va in enumerate(blocks):
            kernel.cpu(number % 3).cache("pipe").put(va)
        assert cache.used == 0
        conserved(kernel)


@pytest.mark.parametrize("seed", range(3))
def test_everything_comes_back(seed: int) -> None:
    """Blocks, frames and ranges by chance, until memory is full, and back: every frame is free again (E27)."""
    chance = random.Random(seed)
    with boot((0, 12 * MIB), (20 * MIB, 4 * MIB), mode="raw", prepare=poison) as kernel:
        kernel.drain()
        start = kernel.frames_by_type()
        held: list[tuple[str, int]] = []
        for _ in range(3000):
            if held and chance.random() < 0.45:
                name, at = held.pop(chance.randrange(len(held)))
                assert kernel.call(name, at) == OK
                continue
            make, undo, args = chance.choice(
                (
                    ("malloc", "free", (chance.choice((16, 100, 2000, 9000, 70_000, 900_000)),)),
                    ("frame_get", "frame_put", (chance.choice((PAGE, DMA)),)),
                    ("block_get", "frame_put", (chance.randrange(9), DMA)),
                )
            )
            got = kernel.call(make, *args)
            if not failed(got):
                held.append((undo, got))
        assert kernel.check().passed
        for name, at in held:
            assert kernel.call(name, at) == OK
        kernel.drain()
        assert kernel.frames_by_type() == start and set(start) == set(TYPE_NAMES)
        conserved(kernel)


def test_damage_is_found() -> None:
    """A record of a page that is away says nothing; the heap's frames are those of its pages and of its map."""
    with boot(mode="soft") as kernel:
        held = kernel.malloc(5 * FRAME)
        view, kern = kernel.view, kernel.view.kern
        first, top = int(kern["heap"]), int(kern["top"])
        away = [page for page in range(top) if kernel.call("frame_type", pfn_of(kernel, first + page * FRAME)) <= 0]
        chance = random.Random(0)
        for page in chance.sample(away, 20):
            at = int(kern["heap_map"]) + page * HeapPage.size + chance.randrange(HeapPage.size)
            poke(view, at, bytes([1 << chance.randrange(8)]))
            assert "unused_errors" in kernel.check().failure
            poke(view, at, bytes(1))
        region = view.region(pfn_of(kernel, held))
        for pfn in (pfn_of(kernel, held + 2 * FRAME), pfn_of(kernel, int(kern["heap_map"]))):
            at = int(region["entries"]) + (pfn - int(region["base"])) * int(kern["stride"])
            for wrong in (0, DMA, PAGE):
                poke(view, at, bytes([wrong]))
                assert not kernel.check().passed
            poke(view, at, bytes([HEAP]))
            assert kernel.check().passed


def test_a_machine_of_many_ranges_grows_where_it_can() -> None:
    """Where no range holds the donation and the growth behind it, growth goes on in the ranges behind it."""
    ranges = tuple((at * 4 * MIB, 2 * MIB) for at in range(12))
    with boot(*ranges, profile=guest(heap=Heap(growable=Bytes(40 * MIB)))) as kernel:
        blocks = []
        while (va := kernel.call("malloc", 200_000)) > 0:
            blocks.append(va)
        assert len({(va - DIRECT) // (4 * MIB) for va in blocks}) > 4
        for va in blocks:
            kernel.free(va)
        conserved(kernel)


def test_machines_may_be_added_to_in_the_map() -> None:
    """Memory that the loader gives back lies where the heap may grow or not; it is page space's first."""
    computer = machine((0, 16 * MIB))
    with Kernel.boot(computer, guest(), "soft") as kernel:
        spare = Range(base=32 * MIB, size=2 * MIB, kind="ram", name="", line=0)
        kernel.add_ram(spare.base, spare.size)
        assert kernel.frame_type(spare.base // FRAME) == "free"
        conserved(kernel)
