"""The Python API: what a user of the library meets, and that it tells the truth about the kernel behind it."""

import ctypes
import doctest
import struct

import numpy
import pytest
from heap_model import PAGE, altered, booted, leave_free, read, write
from small_machines import MIB, MODES, conserved, machine, own_bytes, poison, poke

import kernmalloc.facade.kernel
from kernmalloc.facade.errors import (
    KINDS,
    BadAddress,
    BadRequest,
    Busy,
    KernelError,
    OutOfMemory,
    TooSmall,
    WouldBlock,
)
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core import kern as k
from kernmalloc.kernel.frames.table import Frame
from kernmalloc.lang import status
from kernmalloc.machine.lives import LifeError
from kernmalloc.machine.ram import Ram

GIB = 1 << 30
LOW, HIGH = (0, 12 * MIB), (16 * MIB, 4 * MIB)
modes = pytest.mark.parametrize("mode", MODES)


def test_the_examples_in_the_documentation():
    """What the module's docstring shows is what happens."""
    result = doctest.testmod(kernmalloc.facade.kernel)
    assert result.attempted >= 6
    assert result.failed == 0


LIVES = [(mode, profile) for mode in ("raw", "soft") for profile in ("eros2", "eros", "x86_64")] + [("twin", "eros2")]


@pytest.mark.parametrize(("mode", "profile"), LIVES)
def test_a_life_from_boot_to_close(mode, profile):
    """E1, E19: boot, allocate, use typed objects and frames, read the state, give all back: as documented."""
    with booted(LOW, HIGH, mode=mode, profile=profile) as kernel:
        before = kernel.heap
        assert 0 < before.used <= before.backed <= before.bound
        assert before.maps == kernel.frames_by_type()["mapping"] * PAGE
        blocks = [
            kernel.malloc(size, align)
            for size, align in ((1, 16), (100, 64), (5000, PAGE), (100_000, 16), (9, 4 * PAGE))
        ]
        for va in blocks:
            data = bytes(range(9))
            write(kernel, va, data[: kernel.size_of(va)])
            assert read(kernel, va, 9) == data
        assert kernel.heap.used >= before.used + 100_000
        types = [cache for cache in kernel.caches if not cache.own]
        objects = [(cache, cache.get()) for cache in types for _ in range(3)]
        for cache in types:
            assert cache.used >= 3
            assert cache.used <= cache.slots <= cache.limit
            assert kernel.cache(cache.name).id == cache.id
        pfns = [
            kernel.frame_get("page"),
            kernel.block_get(4),
            kernel.range_get(5, align=2, low=MIB, high=GIB, type="dma"),
        ]
        assert [kernel.frame_type(pfn) for pfn in pfns] == ["page", "dma", "dma"]
        assert pfns[1] % 16 == pfns[2] % 2 == 0
        frames = kernel.frames_by_type()
        assert (frames["page"], frames["dma"]) == (1, 21)
        for va in blocks:
            kernel.free(va)
        for cache, va in objects:
            cache.put(va)
        kernel.frame_put(pfns[0])
        kernel.frame_put(pfns[1])
        kernel.range_put(pfns[2], 5)
        kernel.drain()
        assert kernel.heap.used <= before.used


@modes
def test_the_state_is_the_kernels(boot_kernel, mode):
    """E28, E33, E38: donation, regions, heap and frames, as told, agree with each other and with the machine."""
    kernel = boot_kernel(LOW, HIGH, mode=mode)
    donation = kernel.donation
    assert donation.frames == donation.heap + donation.maps > 0
    assert donation.bytes == donation.frames * PAGE
    assert HIGH[0] // PAGE <= donation.pfn < (HIGH[0] + HIGH[1]) // PAGE
    regions = kernel.regions
    assert [r.pfn for r in regions] == sorted(r.pfn for r in regions)
    ram = [r for r in regions if r.kind == "ram"]
    assert sum(r.frames for r in regions) == 16 * MIB // PAGE
    assert all((r.area != 0) == (r.kind == "ram") for r in regions)
    assert all(own_bytes(kernel, r.area) >= r.area_bytes > 0 for r in ram)
    frames = kernel.frames_by_type()
    assert set(frames) == set(k.TYPE_NAMES)
    assert sum(r.free for r in ram) == frames["free"]
    assert frames["heap"] * PAGE == kernel.heap.backed
    assert kernel.clipped == kernel.lost == 0
    assert [step.name for step in kernel.steps][:4] == ["donate", "table", "mark", "list"]
    assert all(step.seconds >= 0 and step.text and step.state for step in kernel.steps)


@pytest.fixture
def boot_kernel():
    """boot_kernel(*ranges, ...): a kernel that is checked and closed in the end."""
    contexts = []

    def boot(*ranges, **more):
        contexts.append(booted(*ranges, **more))
        return contexts[-1].__enter__()

    yield boot
    for context in contexts:
        context.__exit__(None, None, None)


@modes
def test_the_core_table_view(boot_kernel, mode):
    """E6: the NumPy view of the core table says of every frame what the kernel's own entry does, block by block."""
    kernel = boot_kernel((0, 6 * MIB), HIGH, mode=mode)
    kernel.malloc(300_000)
    kernel.frame_get("page")
    block = kernel.block_get(5)
    kernel.range_get(11, align=1)
    seen = 0
    for base, entries in kernel.frames:
        assert isinstance(entries, numpy.ndarray)
        pfn = base
        while pfn < base + len(entries):
            entry = entries[pfn - base]
            types = {kernel.frame_type(pfn + i) for i in range(1 << int(entry["order"]))}
            assert types == {k.TYPE_NAMES[entry["type"]]}
            pfn += 1 << int(entry["order"])
            seen += 1
    assert seen < sum(len(entries) for _, entries in kernel.frames)
    assert kernel.frames[block]["order"] == 5
    assert kernel.frames[block].dtype.names == tuple(Frame.fields)
    for pfn in (-1, 7 * MIB // PAGE, 1 << 40):
        with pytest.raises(KeyError):
            kernel.frames[pfn]


def test_the_core_table_view_is_live_in_raw_mode(boot_kernel):
    """In raw mode the view is the kernel's memory: no copy, no call."""
    kernel = boot_kernel(LOW, HIGH, mode="raw")
    pfn = kernel.frame_get()
    base, entries = next((base, entries) for base, entries in kernel.frames if base <= pfn < base + len(entries))
    assert entries[pfn - base]["type"] == k.PAGE
    kernel.frame_put(pfn)
    assert entries[pfn - base]["type"] == k.FREE


@modes
def test_snapshot_and_restore(boot_kernel, mode):
    """C11: a kernel has no state outside the machine's memory: restored, it does the same again, byte for byte."""
    kernel = boot_kernel(LOW, HIGH, mode=mode, prepare=poison if mode == "soft" else None)
    kept = kernel.malloc(50_000)
    write(kernel, kept, b"before")
    pfn = kernel.frame_get()
    here = kernel.snapshot()
    assert kernel.snapshot() == here

    def work():
        live = [kernel.malloc(size) for size in (3 * MIB, 16, 600, 40_000, 16, 700_000)]
        nodes = [kernel.cache("node").get() for _ in range(40)]
        write(kernel, kept, b"after!")
        kernel.free(live[0])
        kernel.frame_put(pfn)
        kernel.drain()
        return live, nodes, kernel.frame_get(), kernel.cache("extra", size=100, limit=10).get(), kernel.snapshot()

    first = work()
    assert read(kernel, kept, 6) == b"after!"
    assert first[-1] != here
    kernel.restore(here)
    assert kernel.snapshot() == here
    assert read(kernel, kept, 6) == b"before"
    assert kernel.frame_type(pfn) == "page"
    assert "extra" not in [cache.name for cache in kernel.caches], "it was made later"
    with pytest.raises(BadAddress):
        kernel.free(first[0][1])
    kernel.restore(here)
    assert work() == first
    kernel.restore(here)
    kernel.free(kept)
    conserved(kernel)


@modes
def test_exceptions_are_typed(boot_kernel, mode):
    """C1, E26: what the kernel refuses raises the class of its status, which it carries; and nothing has changed."""
    kernel = boot_kernel((0, 8 * MIB), mode=mode)
    va, small, node = kernel.malloc(100_000), kernel.malloc(100), kernel.cache("node").get()
    dead = kernel.malloc(100)
    kernel.free(dead)
    pfn, block = kernel.frame_get(), kernel.block_get(3)
    pinned = kernel.frame_get()
    region = next(r for r in kernel.view.regions() if r["area"] and r["base"] <= pinned < r["base"] + r["count"])
    entry = int(region["entries"]) + (pinned - int(region["base"])) * Frame.size
    poke(kernel.view, entry + Frame.offset("pins"), struct.pack("<H", 1))
    full = kernel.cache("full", size=2000, limit=1)
    taken = [full.get() for _ in range(full.limit)]
    wrong = [
        (OutOfMemory, status.NO_VA, lambda: kernel.malloc(2 * GIB)),
        (OutOfMemory, status.NO_FRAMES, lambda: kernel.malloc(100 * MIB)),
        (OutOfMemory, status.NO_FRAMES, lambda: kernel.block_get(18)),
        (OutOfMemory, status.NO_FRAMES, lambda: kernel.range_get(4, low=GIB, high=2 * GIB)),
        (OutOfMemory, status.LIMIT, full.get),
        (BadRequest, status.BAD_SIZE, lambda: kernel.malloc(0)),
        (BadRequest, status.BAD_SIZE, lambda: kernel.malloc(-4)),
        (BadRequest, status.BAD_SIZE, lambda: kernel.block_get(19)),
        (BadRequest, status.BAD_SIZE, lambda: kernel.range_get(0)),
        (BadRequest, status.BAD_SIZE, lambda: kernel.range_put(pfn, 0)),
        (BadRequest, status.BAD_SIZE, lambda: kernel.cache("none", size=0, limit=3)),
        (BadRequest, status.BAD_SIZE, lambda: kernel.cache("none", size=8)),
        (BadRequest, status.BAD_ALIGN, lambda: kernel.malloc(10, align=24)),
        (BadRequest, status.BAD_ALIGN, lambda: kernel.range_get(3, align=3)),
        (BadAddress, status.BAD_ADDRESS, lambda: kernel.free(va - (1 << 40))),
        (BadAddress, status.BAD_ADDRESS, lambda: kernel.free(0)),
        (BadAddress, status.BAD_ADDRESS, lambda: kernel.cache("process").put(node)),
        (BadAddress, status.INTERIOR, lambda: kernel.free(va + PAGE)),
        (BadAddress, status.INTERIOR, lambda: kernel.free(small + 8)),
        (BadAddress, status.INTERIOR, lambda: kernel.size_of(va + 1)),
        (BadAddress, status.INTERIOR, lambda: kernel.frame_put(block + 1)),
        (BadAddress, status.NOT_ALLOCATED, lambda: kernel.free(dead)),
        (BadAddress, status.BAD_FRAME, lambda: kernel.frame_put(kernel.donation.pfn)),
        (BadAddress, status.BAD_FRAME, lambda: kernel.frame_put(1 << 30)),
        (BadAddress, status.BAD_FRAME, lambda: kernel.frame_type(-1)),
        (BadAddress, status.BAD_FRAME, lambda: kernel.frame_get("heap")),
        (BadAddress, status.BAD_FRAME, lambda: kernel.frame_get("nonsense")),
        (BadAddress, status.BAD_FRAME, lambda: kernel.block_get(0, "reserved")),
        (BadAddress, status.BAD_FRAME, lambda: kernel.range_get(1, type="")),
        (Busy, status.BUSY, lambda: kernel.frame_put(pinned)),
        (KernelError, status.BAD_CACHE, lambda: kernel.cache("nobody")),
    ]
    kernel.drain()
    before = kernel.snapshot()
    for kind, code, refused in wrong:
        with pytest.raises(kind) as refusal:
            refused()
        assert refusal.value.status == code
        assert status.NAMES[code] in str(refusal.value)
        assert status.MEANINGS[code] in str(refusal.value) or code == status.BAD_CACHE
        assert "\n" not in str(refusal.value)
        assert isinstance(refusal.value, KernelError)
    assert state_of(kernel.snapshot(), kernel) == state_of(before, kernel)
    held = leave_free(kernel, 0)
    with pytest.raises(WouldBlock) as refusal:
        kernel.malloc(100_000)
    assert refusal.value.status == status.WOULD_BLOCK
    for frame in held:
        kernel.frame_put(frame)
    assert len(set(taken)) == full.limit
    poke(kernel.view, entry + Frame.offset("pins"), struct.pack("<H", 0))


def state_of(snapshot, kernel):
    """A snapshot without the processor's memory of its last lookup, which questions change, too."""
    hit = kernel.view.pa(kernel.handle.loaded.cpu) + 16
    page = bytearray(snapshot[hit & -PAGE])
    page[hit % PAGE : hit % PAGE + 8] = bytes(8)
    return {**snapshot, hit & -PAGE: bytes(page)}


def test_every_status_has_an_exception():
    """Each status that a call gives has a class of its kind; the others are of loading, of booting and of the check."""
    of_loading = {status.BAD_MAP, status.UNREADABLE, status.NO_ROOM, status.BAD_VERSION, status.AREA_SMALL}
    of_booting = {status.BAD_BOOT, status.WINDOW_USED, status.NO_PORT, status.BAD_CPU}
    others = {status.OK, status.BROKEN} | of_loading | of_booting
    assert set(KINDS) | others == set(status.NAMES)
    assert not set(KINDS) & others
    assert all(issubclass(kind, KernelError) and kind is not KernelError for kind in KINDS.values())


@pytest.mark.parametrize("number", [1 << 63, (1 << 64) + 100, -(1 << 63) - 1, 1 << 200])
@modes
def test_numbers_that_no_register_holds(boot_kernel, mode, number):
    """C1: a number beyond 64 bits is refused and never cut to one that would do."""
    kernel = boot_kernel((0, 8 * MIB), mode=mode)
    before = kernel.snapshot()
    for refused in (kernel.malloc, kernel.free, kernel.size_of, kernel.frame_put, kernel.block_get):
        with pytest.raises((KernelError, OverflowError, ValueError)):
            refused(number)
    assert kernel.snapshot() == before


def test_entries_are_c_functions(boot_kernel):
    """What is called by address is the product's entry: the same kernel, the same refusals."""
    kernel = boot_kernel(LOW, HIGH, mode="raw")
    malloc, free = (
        ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(kernel.entry(name))
        for name in ("malloc", "free")
    )
    va = malloc(kernel.processor, 100)
    assert kernel.size_of(va) == 112
    assert free(kernel.processor, va + 16) == status.INTERIOR
    assert [free(kernel.processor, va) for _ in range(2)] == [status.OK, status.NOT_ALLOCATED]
    with pytest.raises(KeyError):
        kernel.entry("nothing")
    for mode in ("soft", "twin"):
        with pytest.raises(LifeError, match="use mode raw"):
            boot_kernel(LOW, HIGH, mode=mode).entry("malloc")


def test_a_second_raw_kernel_in_the_same_window():
    """E4: its window is taken: it lies elsewhere, and the first kernel is unharmed; when that is closed there is
    room."""
    first = Kernel.boot(machine(LOW, HIGH), Profile.load("eros2"), "raw")
    va = first.malloc(100_000)
    write(first, va, b"first" * 1000)
    memory = first.snapshot()
    for profile in ("eros2", "eros", "coyotos-i386"):  # these windows overlap
        with Kernel.boot(machine(LOW), Profile.load(profile), "raw") as beside:
            assert beside.layout["window"] >= 1 << 44 and beside.layout["target"] == beside.profile.va.base
            beside.free(beside.malloc(MIB))
            conserved(beside)
    assert first.snapshot() == memory
    assert ctypes.string_at(va, 5000) == b"first" * 1000
    first.free(va)
    conserved(first)
    with booted(LOW, HIGH, mode="soft") as beside:
        assert beside.malloc(100_000) > 0
    first.close()
    with booted(LOW, mode="raw") as second:
        assert second.layout["window"] == second.profile.va.base
        second.free(second.malloc(MIB))


def test_kernels_side_by_side(boot_kernel):
    """E3: raw kernels in different windows, soft and interpreted ones live side by side, each on its own machine."""
    kernels = [boot_kernel(LOW, mode="raw"), boot_kernel((0, 24 * MIB), mode="raw", profile="x86_64")]
    kernels += [boot_kernel(LOW, mode=mode) for mode in ("soft", "soft", "twin")]
    blocks = [[kernel.malloc(40_000 + 100 * i) for kernel in kernels] for i in range(10)]
    for row in blocks:
        for i, (kernel, va) in enumerate(zip(kernels, row, strict=True)):
            write(kernel, va, bytes([i]) * 100)
    for row in blocks:
        for i, (kernel, va) in enumerate(zip(kernels, row, strict=True)):
            assert read(kernel, va, 100) == bytes([i]) * 100
            kernel.free(va)
    assert kernels[0].heap.used == kernels[2].heap.used == kernels[4].heap.used


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_the_tables_of_a_high_half_kernel(boot_kernel, mode):
    """E3, C21: a kernel runs at its true address, raw at another one, and writes page tables for its true one, in the
    target's format."""
    kernel = boot_kernel((0, 24 * MIB), mode=mode, profile="x86_64")
    va, window = kernel.malloc(100_000), kernel.profile.va
    here = window.hosted_base if mode == "raw" else window.base - (1 << 64)
    assert here <= va < here + window.size
    target = va - here + window.base
    assert target >> 47 == (1 << 17) - 1, "canonical"
    table, ram = kernel.handle.loaded.root, kernel.view.ram.bytes
    for shift in (39, 30, 21, 12):
        at = table + (target >> shift & 511) * 8
        entry = int.from_bytes(ram[at : at + 8], "little")
        assert entry & 3 == 3
        table = entry & 0x000F_FFFF_FFFF_F000
    assert table == kernel.view.pa(va) & -PAGE
    present = [i for i in range(512) if ram[kernel.handle.loaded.root + i * 8] & 1]
    assert present == [target >> 39 & 511]


def test_a_boot_that_fails_leaves_nothing_behind(monkeypatch):
    """Whatever ends a boot, its memory and its window are given back."""
    closed = []
    close = Ram.close
    monkeypatch.setattr(Ram, "close", lambda ram: (closed.append(ram), close(ram)))
    for _ in range(3):
        with pytest.raises(TooSmall):
            Kernel.boot(machine((0, 2 * MIB)), Profile.load("eros2"), "raw")
        with pytest.raises(TooSmall, match="bound"):
            Kernel.boot(machine((0, 32 * GIB)), altered("eros2", window=64 * MIB), "raw")
    assert len(closed) == 6

    def stop(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Kernel.boot(machine(LOW), Profile.load("eros2"), "raw", observe=stop)
    assert len(closed) == 7
    with pytest.raises(LifeError, match="no mode 'fast'"):
        Kernel.boot(machine(LOW), Profile.load("eros2"), "fast")
    with booted(LOW, mode="raw"):
        pass


def test_ram_beyond_what_can_be_hosted():
    """C21: addresses that no hosted machine can have are a stated refusal, not an error of the operating system's."""
    with pytest.raises(TooSmall, match="64 TiB"):
        Kernel.boot(machine((0, 64 * MIB), (1 << 50, GIB)), Profile.load("x86_64"), "soft")


@modes
def test_a_closed_kernel(mode):
    """Closing twice is closing once; a closed kernel answers nothing."""
    kernel = Kernel.boot(machine(LOW), Profile.load("eros2"), mode)
    va = kernel.malloc(100)
    kernel.close()
    kernel.close()
    for use in (lambda: kernel.malloc(1), lambda: kernel.free(va), kernel.check, kernel.drain):
        with pytest.raises(LifeError):
            use()


@pytest.mark.parametrize("profile", ["eros2", "eros"])
def test_what_is_lost_and_clipped(profile):
    """E3, E29: bytes of RAM in partial pages, and beyond the address limit, are counted; the rest is frames."""
    limit = 1 << Profile.load(profile).phys_bits
    ranges = ((100, 12 * MIB), (20 * MIB + 1, 3 * PAGE), (limit - 8 * PAGE - 5, 20 * PAGE))
    with booted(*ranges, profile=profile) as kernel:
        total = sum(size for _, size in ranges)
        frames = sum(kernel.frames_by_type().values())
        assert kernel.clipped == 12 * PAGE - 5
        assert frames * PAGE + kernel.lost + kernel.clipped == total
        assert frames == (12 * MIB // PAGE - 1) + 2 + 8


def test_a_check_that_fails_says_what_is_wrong(boot_kernel):
    """The failure names the record, its address, the equation and the values of its fields."""
    kernel = boot_kernel(LOW)
    memory = kernel.snapshot()
    used = int(kernel.view.kern["heap_frames"])
    poke(kernel.view, kernel.view.kern_va + k.Kern.offset("heap_frames"), struct.pack("<q", used + 1))
    result = kernel.check()
    assert not result.passed
    assert result.failure == (
        f"Kern at {kernel.view.kern_va:#x}: heap_frames == tally.heap does not hold "
        f"(heap_frames = {used + 1}, tally.heap = {used})"
    )
    kernel.restore(memory)
    assert kernel.check().passed
