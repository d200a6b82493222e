"""Windows: what a processor maps of page space, for how long, and what it is refused.

Rows E14 and E16 (outside of a bracket no kernel entry maps page space; counted, zero at rest), E15 (each processor has
its own; nothing is flushed on another)."""

from collections.abc import Iterator

import pytest
from frame_model import FRAME, read, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_walk import leaves
from small_machines import MIB, MODES, conserved, machine, poison, poke

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import Cpu
from kernmalloc.kernel.map.windows import WINDOWS
from kernmalloc.lang.status import BAD_ADDRESS, BAD_FRAME, BAD_SIZE, NO_VA, NOT_ALLOCATED, OK, OVERLAP
from kernmalloc.machine.lives import Fault

LEAST, MOST = -(1 << 63), (1 << 63) - 1


def window_leaves(kernel: Kernel) -> dict[int, int]:
    """{address: frame} of what the per-CPU windows map, by a processor's walk."""
    loaded = kernel.handle.loaded
    shift = loaded.window - loaded.target
    found = leaves(kernel.handle.life.ram.bytes, kernel.profile.arch, loaded.root, kernel.profile.phys_bits)
    first = int(loaded.info["windows"])
    return {leaf.va + shift: leaf.pa // FRAME for leaf in found if leaf.va + shift >= first}


def cpu_field(kernel: Kernel, name: str) -> int:
    return int(kernel.view.read(Cpu, kernel.handle.loaded.cpu)[0][name])


def content(kernel: Kernel, pfn: int) -> bytes:
    return bytes(kernel.handle.life.ram.bytes[pfn * FRAME : (pfn + 1) * FRAME])


def fill(kernel: Kernel, pfn: int, seed: int) -> bytes:
    """Bytes that differ from frame to frame and from place to place."""
    data = b"".join((seed * 1_000_003 + i).to_bytes(8, "little") for i in range(FRAME // 8))
    kernel.handle.life.ram.bytes[pfn * FRAME : (pfn + 1) * FRAME] = data
    return data


@pytest.mark.parametrize(("profile", "mode"), [*(("eros2", mode) for mode in MODES), ("x86_64", "soft")])
def test_brackets_nest_up_to_the_number_of_windows_E14_E15_E16(mode, profile):
    """Frames shown in any number of nested brackets, closed in any order, also one frame twice: each leads to its
    frame, no memory is taken, the kernel's windows lie in its own part, and in the end nothing is mapped."""
    size = 8 * MIB if profile == "eros2" else 40 * MIB
    with Kernel.boot(machine((0, size)), Profile.load(profile), mode, prepare=poison) as kernel:
        frames = [kernel.frame_get("page"), kernel.frame_get("dma"), *range(first := kernel.block_get(2), first + 4)]
        before, opened = kernel.frames_by_type(), cpu_field(kernel, "opened")
        for turn in range(3):
            shown = {}
            for i in range(WINDOWS):
                pfn = frames[(i + turn) % len(frames)]
                va = kernel.call("window_open", pfn)
                assert (
                    va not in shown
                    and cpu_field(kernel, "windows") <= va < cpu_field(kernel, "windows") + WINDOWS * FRAME
                )
                shown[va] = pfn
                data = fill(kernel, pfn, i + turn)
                assert read(kernel, va, FRAME) == data, "the window leads to the frame, whatever it led to before"
                write(kernel, va, data[::-1])
                assert content(kernel, pfn) == data[::-1]
            assert window_leaves(kernel) == shown
            for name, *args in (
                ("window_open", frames[0]),
                ("zero_frame", frames[0]),
                ("copy_frame", frames[0], frames[1]),
            ):
                assert kernel.call(name, *args) == NO_VA, "all windows are open"
            assert not kernel.check().passed
            for i, va in enumerate(sorted(shown, key=lambda va: (va // FRAME * 5 + turn) % WINDOWS)):
                assert kernel.call("window_close", va) == OK
                assert kernel.call("window_close", va) == NOT_ALLOCATED
                assert i % 4 or len(window_leaves(kernel)) == WINDOWS - 1 - i
        assert window_leaves(kernel) == {} and cpu_field(kernel, "open") == 0
        assert cpu_field(kernel, "opened") == opened + 3 * WINDOWS
        assert kernel.frames_by_type() == before
        conserved(kernel)


@pytest.fixture(scope="module", params=MODES)
def kernel(request) -> Iterator[tuple[Kernel, list[int], int]]:
    """A kernel, three frames of callers, and two pages of its heap."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), request.param, prepare=poison) as kernel:
        frames = [kernel.frame_get("page"), kernel.frame_get("dma"), kernel.block_get(1) + 1]
        yield kernel, frames, kernel.malloc(20 * FRAME) + FRAME


FRAMES = st.integers(0, 2)
OFFSETS = st.one_of(st.integers(0, FRAME), st.sampled_from([-1, FRAME + 1, MOST, LEAST]))
SIZES = st.one_of(st.integers(1, FRAME), st.sampled_from([0, -1, FRAME, FRAME + 1, MOST, LEAST]))
PLACES = st.integers(0, FRAME)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("zero_frame"), FRAMES),
        st.tuples(st.just("copy_frame"), FRAMES, FRAMES),
        st.tuples(st.sampled_from(["copyin", "copyout"]), FRAMES, OFFSETS, PLACES, SIZES),
    ),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(0, 5))
def test_zero_copy_copyin_copyout_do_what_bytes_do_E14_E16(kernel, steps, held):
    """Any sequence, with up to five other windows open: the frames and the kernel's memory are what bytearrays say,
    whatever is refused changes nothing, and no window stays open."""
    kernel, frames, va = kernel
    kernel_pa = [kernel.view.pa(va), kernel.view.pa(va + FRAME)]
    model = [bytearray(fill(kernel, pfn, 7 * i + held)) for i, pfn in enumerate(frames)]
    memory = bytearray()
    for i, pa in enumerate(kernel_pa):
        memory += fill(kernel, pa // FRAME, 100 + i)
    open_now = [kernel.call("window_open", frames[0]) for _ in range(held)]
    for name, index, *args in steps:
        if name == "zero_frame":
            assert kernel.call(name, frames[index]) == OK
            model[index][:] = bytes(FRAME)
        elif name == "copy_frame":
            other = args[0]
            assert kernel.call(name, frames[index], frames[other]) == (OVERLAP if index == other else OK)
            model[index][:] = model[other]
        else:
            offset, place, size = args
            result = kernel.call(name, frames[index], offset, va + place, size)
            if not (0 < size <= FRAME and 0 <= offset <= FRAME - size):
                assert result == BAD_SIZE
                continue
            assert result == OK
            if name == "copyin":
                memory[place : place + size] = model[index][offset : offset + size]
            else:
                model[index][offset : offset + size] = memory[place : place + size]
    assert [content(kernel, pfn) for pfn in frames] == model
    assert b"".join(content(kernel, pa // FRAME) for pa in kernel_pa) == memory
    assert set(window_leaves(kernel)) == set(open_now)
    for window in open_now:
        assert kernel.call("window_close", window) == OK
    conserved(kernel)


def test_what_is_refused_changes_nothing_E14_E16(kernel):
    """Frames that are not the callers' (free, the heap's, a table, none), addresses that are no open window and no
    backed heap."""
    kernel, frames, va = kernel
    spare = kernel.frame_get()
    kernel.frame_put(spare)
    heap_pfn = kernel.view.pa(va) // FRAME
    mapping = next(pfn for pfn in range(2048) if kernel.call("frame_type", pfn) == 2)
    image = int(kernel.layout["image_pa"]) // FRAME
    before = kernel.snapshot()
    for pfn in (spare, heap_pfn, mapping, image, 1 << 30, -1, MOST, LEAST):
        for name, *args in (("window_open",), ("zero_frame",), ("copyin", 0, va, 8), ("copyout", 0, va, 8)):
            assert kernel.call(name, pfn, *args) == BAD_FRAME, (name, pfn)
        assert kernel.call("copy_frame", pfn, frames[0]) == BAD_FRAME
        assert kernel.call("copy_frame", frames[0], pfn) == BAD_FRAME
    top = int(kernel.view.kern["heap"]) + int(kernel.view.kern["top"]) * FRAME
    for bad in (
        0,
        -1,
        MOST,
        LEAST,
        int(kernel.layout["heap"]) - 1,
        int(kernel.layout["heap_map"]),
        top - 7,
        top,
        cpu_field(kernel, "windows"),
    ):
        assert kernel.call("copyin", frames[0], 0, bad, 8) == BAD_ADDRESS
        assert kernel.call("copyout", frames[0], 0, bad, 8) == BAD_ADDRESS
    windows = cpu_field(kernel, "windows")
    for bad in (0, -1, MOST, LEAST, va, windows - FRAME, windows + 1, windows + WINDOWS * FRAME):
        assert kernel.call("window_close", bad) == BAD_ADDRESS
    assert kernel.call("window_close", windows) == NOT_ALLOCATED
    hits = {page for page, data in kernel.snapshot().items() if data != before.get(page)}
    assert hits <= {kernel.view.pa(kernel.handle.loaded.cpu) & -FRAME}, "but for the note of the last region found"
    conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_leaked_bracket_is_found_E16(mode):
    """Check names it, and passes again once it is closed."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), mode) as kernel:
        va = kernel.call("window_open", kernel.frame_get())
        result = kernel.check()
        assert not result.passed and "open == 0" in result.failure and "open = 1" in result.failure
        kernel.call("window_close", va)
        conserved(kernel)


def test_only_this_processor_and_only_this_page_is_flushed_E15():
    """A bracket drops one translation when it opens, none when it closes; another page's stays."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), "twin") as kernel:
        pfn, life, flushed = kernel.frame_get(), kernel.handle.life, []
        life.km_port_shootdown = None  # type: ignore[attr-defined]
        life.km_port_flush = lambda va, pages: flushed.append((va, pages)) or 0  # type: ignore[attr-defined]
        va = kernel.call("window_open", pfn)
        assert flushed == [(va, 1)]
        kernel.call("window_close", va)
        assert flushed == [(va, 1)], "closing flushes nothing"
        other = kernel.call("window_open", kernel.frame_get())
        assert other == va and flushed == [(va, 1), (va, 1)]
        del life.km_port_flush, life.km_port_shootdown
        kernel.call("window_close", other)
        conserved(kernel)


def test_windows_of_all_processors_share_no_page_E15(boot):
    """Each processor's windows follow the ones of the processor before; a processor whose windows lie elsewhere is
    found."""
    kernel = boot(mode="twin", cpus=2)
    first, cpu = int(kernel.layout["windows"]), kernel.handle.loaded.cpu
    assert cpu_field(kernel, "windows") == first + cpu_field(kernel, "id") * WINDOWS * FRAME
    second = first + WINDOWS * FRAME
    field = cpu + Cpu.size + Cpu.offset("windows")
    for wrong in (second + FRAME, second - FRAME, first, 0):
        poke(kernel.view, field, wrong.to_bytes(8, "little"))
        result = kernel.check()
        assert not result.passed and "windows == tally.windows" in result.failure
    poke(kernel.view, field, second.to_bytes(8, "little"))


def test_every_processor_opens_and_closes_windows_of_its_own_E15():
    """A window that the second processor opens lies in its part, is counted there, and is free again once closed."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), "soft", cpus=2) as kernel:
        pfn, second = kernel.frame_get(), kernel.handle.loaded.cpu + Cpu.size
        first = int(kernel.layout["windows"]) + WINDOWS * FRAME

        def opened() -> int:
            return int(kernel.view.read(Cpu, second)[0]["open"])

        for turn in range(2):
            shown = [kernel.handle.life.call("window_open", second, pfn) for _ in range(WINDOWS)]
            assert sorted(shown) == [first + i * FRAME for i in range(WINDOWS)], turn
            for left, va in reversed(list(enumerate(shown))):
                assert kernel.handle.life.call("window_close", second, va) == OK
                assert opened().bit_count() == left
        conserved(kernel)


def test_a_copy_takes_one_window_E14(kernel):
    """copyin and copyout go through one window: the last that is left is enough for them, not for copy_frame."""
    kernel, frames, va = kernel
    held = [kernel.call("window_open", frames[0]) for _ in range(WINDOWS - 1)]
    data = fill(kernel, frames[1], 5)
    assert kernel.call("copyin", frames[1], 8, va, 64) == OK and read(kernel, va, 64) == data[8:72]
    assert kernel.call("copyout", frames[0], 0, va, 64) == OK and content(kernel, frames[0])[:64] == data[8:72]
    assert kernel.call("copy_frame", frames[0], frames[1]) == NO_VA
    for window in held:
        assert kernel.call("window_close", window) == OK
    conserved(kernel)


def test_nothing_outside_a_window_maps_page_space_E14(boot):
    """An entry of the image's tables, which are sealed, or of the windows' that leads to a page, a DMA frame or a free
    frame is found by check."""
    kernel = boot(mode="soft")
    kern = kernel.view.kern
    page, dma = kernel.frame_get("page"), kernel.frame_get("dma")
    spare = kernel.frame_get()
    kernel.frame_put(spare)
    tables, base = int(kern["tables"]), int(kern["base"])
    for va in (base, base + FRAME, int(kernel.layout["windows"]) + WINDOWS * FRAME):
        at = tables + (va - base) // FRAME * 8
        old = bytes(kernel.view.peek(at, 8))
        for pfn in (page, dma, spare):
            poke(kernel.view, at, (pfn * FRAME | 3).to_bytes(8, "little"))
            kernel.handle.life.refresh()
            result = kernel.check()
            assert (
                not result.passed and ("area_seal" if va < kern["tables"] else "tally.table_errors") in result.failure
            )
        poke(kernel.view, at, old)
    kernel.handle.life.refresh()


@pytest.mark.parametrize("mode", ["soft", "twin"])
def test_a_window_that_never_opened_maps_nothing_E14(mode):
    """An access through it is a fault."""
    with Kernel.boot(machine((0, 8 * MIB)), Profile.load("eros2"), mode) as kernel:
        va = cpu_field(kernel, "windows")
        with pytest.raises(Fault, match=f"{va >> 12:#x}"):
            kernel.handle.life.call("frame_get", va, 3)  # its context record would be there
        conserved(kernel)
