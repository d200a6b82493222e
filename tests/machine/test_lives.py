"""Lives: several kernels in one process, what a life refuses, and that no life is told from another by its bytes."""

import contextlib
import gc
import mmap
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_machines import MIB, MODES, conserved, machine, poison

import kernmalloc.drivers.churn  # noqa: F401 (the twin interprets what has been imported)
from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import SHIPPED, Profile
from kernmalloc.kernel.core.kern import DMA, PAGE
from kernmalloc.machine.lives import PLACES, Fault, HostLimit, LifeError, Raw, WindowBusy
from kernmalloc.machine.ram import FIXED, Ram, libc

FRAME = 4096


def boot(
    mode: str, profile: str | Path = "eros2", size: int = 8 * MIB, prepare: Callable[[Ram], None] | None = None
) -> Kernel:
    return Kernel.boot(machine((0, size)), Profile.load(profile), mode, prepare=prepare)


def work(kernel: Kernel, seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Operations whose results depend on the kernel's own memory only; yields after each."""
    pick = random.Random(seed)
    blocks: list[int] = []
    frames: list[int] = []
    for _ in range(60):
        choice = pick.random()
        if choice < 0.4:
            blocks.append(kernel.malloc(pick.choice([8, 100, 3000, 60_000])))
        elif choice < 0.6 and blocks:
            kernel.free(blocks.pop(pick.randrange(len(blocks))))
        elif choice < 0.8:
            frames.append(kernel.block_get(pick.randrange(3)))
        elif frames:
            kernel.frame_put(frames.pop())
        yield blocks[-1:], frames[-1:]


@pytest.mark.parametrize("profile", ["eros2", "coyotos-coldfire", "i386", "armv7"])
def test_the_same_work_leaves_the_same_bytes_in_every_life(profile: str) -> None:
    """Fresh and poisoned: raw, soft and twin agree byte for byte on all of memory, with pages of 4 KiB and of 8."""
    for prepare in (None, poison):
        states = []
        for mode in MODES:
            with boot(mode, profile, prepare=prepare) as kernel:
                results = list(work(kernel, 1))
                states.append((results, kernel.snapshot()))
        assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("profile", ["x86_64", "aarch64", "riscv64"])
def test_in_the_high_half_the_same_work_leaves_the_same_bytes(profile: str) -> None:
    """Raw, whose window lies elsewhere in a process, has the same results at other addresses."""
    states, offsets = [], []
    for mode in MODES:
        with boot(mode, profile, 24 * MIB, poison) as kernel:
            base = int(kernel.layout["window"])
            results = list(work(kernel, 1))
            states.append((results, kernel.snapshot()))
            offsets.append([([va - base for va in blocks], frames) for blocks, frames in results])
    assert states[1] == states[2]
    assert offsets[0] == offsets[1]


@pytest.mark.parametrize(
    "modes", [("soft", "soft"), ("twin", "twin"), ("raw", "soft"), ("soft", "twin"), ("raw", "twin")]
)
def test_two_kernels_side_by_side_do_not_notice(modes: tuple[str, str]) -> None:
    """Interleaved call by call, each is what it is alone."""
    alone = []
    for seed, mode in enumerate(modes):
        with boot(mode) as kernel:
            alone.append((list(work(kernel, seed)), kernel.snapshot()))
    with boot(modes[0]) as one, boot(modes[1]) as two:
        pairs = list(zip(work(one, 0), work(two, 1), strict=True))
        assert [results for results, _ in pairs] == alone[0][0]
        assert [results for _, results in pairs] == alone[1][0]
        assert (one.snapshot(), two.snapshot()) == (alone[0][1], alone[1][1])
        conserved(one)
        conserved(two)


def test_raw_kernels_in_different_windows_live_together() -> None:
    """One raw kernel per window: another window is another kernel."""
    with boot("raw", "eros2") as one, boot("raw", "x86_64", 64 * MIB) as two:
        for _ in zip(work(one, 0), work(two, 1), strict=True):
            pass
        conserved(one)
        conserved(two)


@pytest.mark.parametrize("second", ["eros2", "eros", "coyotos-i386"])
def test_a_second_raw_kernel_in_the_same_window_lies_elsewhere(second: str) -> None:
    """The first kernel does not notice; and when it has gone the window is free. Windows that overlap in part
    (0xC0000000 and 0xD0000000) are the same."""
    with boot("raw") as first:
        list(work(first, 3))
        before, descriptors = first.snapshot(), len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with boot("raw", second) as other:
                assert other.layout["window"] >= PLACES[0]
                list(work(other, 2))
                conserved(other)
        del other
        assert len(os.listdir("/proc/self/fd")) == descriptors, "what is closed holds nothing"
        assert first.snapshot() == before
        list(work(first, 4))
        conserved(first)
    with boot("raw", second, 16 * MIB) as third:
        assert third.layout["window"] == third.profile.va.base
        conserved(third)


def test_what_takes_a_window_is_refused_in_one_line() -> None:
    """Whose it is, where there is but this place; and how many there are, where there is none. Nothing is held then."""
    with boot("raw") as first:
        ram = Ram(MIB)
        life = Raw(ram)
        place = range(0xD000_0000, 0xD000_0000 + MIB)
        with pytest.raises(
            WindowBusy, match=r"is that of kernel eros2 on 'test', booted at .*test_lives.py:\d+: close"
        ):
            life._refuse(place)
        with pytest.raises(WindowBusy, match=r"no place for another window of 0x\d+ bytes: 1 kernels are open, kernel"):
            life.claim(place.start, 1 << 47)
        assert not life.window
        life.close()
        ram.close()
        conserved(first)


def test_a_window_that_the_process_itself_has_is_told_from_another_kernels(tmp_path: Path) -> None:
    """What is in the way is no kernel, so that none could be closed: the refusal names a place that is free."""
    start, size = 0xD000_0000, 1 << 20
    assert libc.mmap(start, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | FIXED, -1, 0) == start
    try:
        with pytest.raises(WindowBusy, match=r"holds what this process has loaded: set .* hosted_base = ") as refused:
            boot("raw", "eros2")
    finally:
        libc.munmap(start, size)
    place = re.search(r"hosted_base = (0x[0-9a-f]+)", str(refused.value))
    text = (SHIPPED / "eros2.toml").read_text().replace("[va]", f"[va]\nhosted_base = {place[1]}")
    (tmp_path / "moved.toml").write_text(text)
    with boot("raw", tmp_path / "moved.toml") as moved:
        list(work(moved, 3))
        conserved(moved)


@pytest.mark.parametrize("mode", MODES)
def test_a_closed_kernel_leaves_nothing(mode: str) -> None:
    """No descriptors, no mappings: fifty kernels, one after the other."""
    boot(mode).close()
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        boot(mode).close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    with open("/proc/self/maps") as maps:
        assert "memfd:kernmalloc" not in maps.read()


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(LifeError, match="no mode 'rwa'"):
        boot("rwa")


@pytest.mark.parametrize("mode", MODES)
def test_a_restored_kernel_goes_on_as_if_nothing_had_been(mode: str) -> None:
    """Translations of what came later are forgotten; the same work gives the same results and bytes again."""
    with boot(mode, prepare=poison) as kernel:
        list(work(kernel, 5))
        middle = kernel.snapshot()
        first = list(work(kernel, 6)), kernel.snapshot()
        kernel.restore(middle)
        assert kernel.snapshot() == middle
        conserved(kernel)
        kernel.restore(middle)
        assert (list(work(kernel, 6)), kernel.snapshot()) == first
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_a_snapshot_moves_to_a_kernel_of_another_life(mode: str) -> None:
    """State is bytes and nothing else: what raw left, soft and twin take up, and the other way round."""
    with boot(mode) as kernel:
        list(work(kernel, 7))
        snapshot = kernel.snapshot()
        expected = list(work(kernel, 8)), kernel.snapshot()
    for other in MODES:
        with boot(other) as heir:
            heir.restore(snapshot)
            assert (list(work(heir, 8)), heir.snapshot()) == expected
            conserved(heir)


@pytest.mark.parametrize("mode", ["soft", "twin"])
def test_after_a_fault_the_kernel_is_usable(mode: str) -> None:
    """The fault is told once, with its address; the next call is as good as any."""
    with boot(mode) as kernel:
        before = kernel.snapshot()
        for _ in range(2):
            with pytest.raises(Fault, match="0x7"):
                kernel.handle.life.call("frame_get", 0x7000, PAGE)
        assert kernel.snapshot() == before
        assert kernel.call("frame_get", DMA) >= 0
        conserved(kernel)


def walks(kernel: Kernel) -> int:
    """Of the kernel's own memory, so far."""
    counted = kernel.tlb()
    assert counted is not None
    return counted.total.walks


def test_the_soft_machine_counts_its_walks() -> None:
    """The first access to a page is a walk, the next ones are none, after a flush one again."""
    with boot("soft") as kernel:
        kernel.frame_type(1000)
        before = walks(kernel)
        for _ in range(10):
            kernel.frame_type(1000)
        assert walks(kernel) == before, "all translations are in the TLB"
        kernel.handle.life.refresh()
        kernel.frame_type(1000)
        assert before < walks(kernel) <= before + 10


@pytest.mark.parametrize("mode", MODES)
def test_an_access_outside_ram_is_never_made(mode: str) -> None:
    """Frames that the map does not have are refused by the kernel itself, in every life."""
    with boot(mode) as kernel:
        for pfn in (8 * MIB // FRAME, 1 << 24, 1 << 40, -1):
            assert kernel.call("frame_type", pfn) < 0
            assert kernel.call("frame_put", pfn) < 0


@pytest.mark.parametrize("mode", MODES)
def test_a_closed_kernel_is_refused_not_executed(mode: str) -> None:
    """Its memory has gone: a typed error, where machine code would take the process down. Closing twice is closing
    once."""
    kernel = boot(mode)
    va = kernel.malloc(100)
    kernel.close()
    kernel.close()
    for operation in (lambda: kernel.malloc(5), lambda: kernel.free(va), kernel.check, kernel.drain):
        with pytest.raises(LifeError, match="this kernel is closed"):
            operation()


@pytest.mark.parametrize("mode", MODES)
def test_numbers_of_more_than_64_bits_are_refused_not_cut(mode: str) -> None:
    """2 ** 64 + 100 bytes are not 100 bytes, and 2 ** 64 + va is not va."""
    with boot(mode) as kernel:
        va = kernel.malloc(100)
        before = kernel.snapshot()
        for operation in (
            lambda: kernel.malloc((1 << 64) + 100),
            lambda: kernel.malloc(100, align=(1 << 64) + 16),
            lambda: kernel.malloc(1 << 63),
            lambda: kernel.free((1 << 64) + va),
            lambda: kernel.free(va - (1 << 64)),
            lambda: kernel.frame_put(-(1 << 63) - 1),
            lambda: kernel.range_get((1 << 64) + 1),
        ):
            with pytest.raises(OverflowError, match="does not fit 64 bits"):
                operation()
        assert kernel.snapshot() == before
        kernel.free(va)


def test_more_mappings_than_the_host_can_hold() -> None:
    """E20: entirely scattered frames beyond vm.max_map_count: a typed error, and the process lives."""
    ram = machine((0, 700 * MIB))
    with Kernel.boot(ram, Profile.load("eros2")) as kernel:
        frames = []
        with contextlib.suppress(OutOfMemory):
            while True:
                frames.append(kernel.frame_get())
        for pfn in sorted(frames)[::2]:
            kernel.frame_put(pfn)
        with pytest.raises(HostLimit, match="mode soft"):
            kernel.malloc(300 * MIB)
        with pytest.raises(HostLimit):
            kernel.malloc(1)
    with Kernel.boot(ram, Profile.load("eros2")) as kernel:
        assert kernel.check().passed


def test_ctrl_c_in_the_twin_waits_for_the_call_to_end() -> None:
    """Wherever it comes, the lock is given back and every invariant holds; then it is raised."""
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which is not so where tests run in the background
    with boot("twin") as kernel:
        kernel.free(kernel.malloc(100))
        came = 0
        for after in range(1, 2000, 37):
            kernel.handle.life.load = _pressed(kernel.handle.life.load, after)
            try:
                kernel.free(kernel.malloc(100_000))
            except KeyboardInterrupt:
                came += 1
            del kernel.handle.life.load
            assert kernel.view.kern["lock"] == 0
            kernel.drain()
        assert came > 10
        assert kernel.check().passed
    signal.signal(signal.SIGINT, before)


def _pressed(load: Any, after: int) -> Any:
    """A load, of which one presses Ctrl-C."""
    left = [after]

    def loads(addr: int, width: int) -> int:
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return load(addr, width)

    return loads


@pytest.mark.parametrize("mode", ["soft", "twin"])
@pytest.mark.parametrize("far", [1 << 40, 8 * MIB, (8 * MIB) - 8, (1 << 51) + (1 << 13)])
def test_a_table_beyond_ram_is_a_fault(mode: str, far: int) -> None:
    """Not a crash of this process."""
    with boot(mode) as kernel:
        va = kernel.call("malloc_zeroed", 1 << 21)
        loaded, format, memory = kernel.handle.loaded, kernel.view.format, kernel.view.ram.bytes
        table, shift = loaded.root, format.root_shift
        while True:
            at = table + ((va - loaded.window + loaded.target >> shift & (1 << format.index_bits) - 1) << 3)
            shift -= format.index_bits
            if shift == format.page_shift:
                break
            table = int.from_bytes(memory[at : at + 8], "little") & format.address
        before = memory[at : at + 8]
        wild = int.from_bytes(before, "little") & ~format.address | far & format.address
        memory[at : at + 8] = wild.to_bytes(8, "little")
        kernel.handle.life.refresh()
        with pytest.raises(Fault):
            kernel.call("churn_end", va, 1)
        memory[at : at + 8] = before
        kernel.handle.life.refresh()
        conserved(kernel)
