"""What the host sees of a kernel's memory: it stays while somebody has it, and what is closed is told, not read."""

import gc
import re
from pathlib import Path

import numpy
import pytest
from small_machines import MIB, MODES, conserved, machine, poke

from kernmalloc import Kernel, Profile
from kernmalloc.facade.errors import BadAddress
from kernmalloc.facade.profile import SHIPPED
from kernmalloc.kernel.core.kern import DMA, FREE, PAGE
from kernmalloc.machine.lives import LifeError


def boot(mode, profile="eros2", end=16 * MIB):
    return Kernel.boot(machine((0, 5 * MIB), (8 * MIB, end)), Profile.load(profile), mode)


@pytest.mark.parametrize("mode", MODES)
def test_an_entry_outlives_its_kernel(mode):
    """E6: the entry, and the table, that somebody took from a kernel are there after it, and no other kernel's."""
    with boot(mode) as kernel:
        pfn = kernel.frame_get("dma")
        entry, table = kernel.frames[pfn], dict(kernel.frames)
        conserved(kernel)
    before = entry.tobytes()
    with boot(mode) as heir:
        taken = [heir.frame_get() for _ in range(100)]
        heir.malloc(MIB)
        assert entry["type"] == DMA and entry.tobytes() == before
        assert all((entries["type"] <= DMA).all() for entries in table.values())
        for frame in taken:
            heir.frame_put(frame)
        conserved(heir)
    assert f"{DMA}" in str(entry)


@pytest.mark.parametrize("mode", MODES)
def test_views_are_the_kernels_memory(mode):
    """What the kernel does is seen in a view that was taken before."""
    with boot(mode) as kernel:
        pfn = kernel.frame_get()
        entry = kernel.frames[pfn]
        region = next(entries[pfn - base] for base, entries in kernel.frames if base <= pfn < base + len(entries))
        assert entry["type"] == region["type"] == PAGE
        kernel.frame_put(pfn)
        assert entry["type"] == region["type"] == FREE
        va = kernel.malloc(100_000)
        shared = kernel.view.shared(va + 5000, 60_000)
        shared[:3] = b"abc"
        assert kernel.view.peek(va + 5000, 3) == b"abc"
        poke(kernel.view, va + 64_000, b"z")
        assert bytes(shared[59_000:59_001]) == b"z"
        conserved(kernel)


def test_a_view_gives_its_memory_back():
    with boot("raw") as kernel:
        views = [kernel.frames[number] for number in range(1, 50)]
        assert Path("/proc/self/maps").read_text().count("memfd:kernmalloc") > len(views)
    del views, kernel
    gc.collect()
    assert "memfd:kernmalloc" not in Path("/proc/self/maps").read_text()


FORMATS = ("coyotos-coldfire", "x86_64", "i386", "armv7", "aarch64", "riscv64")


@pytest.mark.parametrize(
    ("profile", "mode"), [*(("eros2", mode) for mode in MODES), *((profile, "soft") for profile in FORMATS)]
)
def test_memory_is_found_page_by_page_and_in_runs(profile, mode):
    """A copy, the memory itself and the way of each single page agree, over large pages and single ones."""
    with boot(mode, profile, 16 * MIB if profile == "coyotos-coldfire" else 25 * MIB) as kernel:
        view = kernel.view
        taken = [(kernel.malloc(size), size) for size in (100, 9000, 200_000)]
        poke(view, taken[-1][0] + 199_999, b"!")
        assert view.peek(*taken[-1])[-1:] == b"!"
        for va, size in taken + [(region.area, region.area_bytes) for region in kernel.regions if region.area]:
            assert view.peek(va, size) == bytes(view.shared(va, size))
            runs = view.runs(va - va % view.page, -(-(va % view.page + size) // view.page))
            single = [view.pa(at) for at in range(va - va % view.page, va + size, view.page)]
            assert numpy.concatenate([numpy.arange(pa, pa + n, view.page) for pa, n in runs]).tolist() == single
        with pytest.raises(KeyError, match="nothing maps 0x"):
            view.peek(int(kernel.layout["windows"]) - 2 * view.page, 3 * view.page)
        conserved(kernel)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_closed_is_told(mode):
    kernel = boot(mode)
    kernel.close()
    for look in (
        lambda: kernel.heap, lambda: kernel.frames_by_type(), lambda: kernel.regions, lambda: kernel.check(),
        lambda: kernel.ledger, lambda: kernel.malloc(5), lambda: kernel.caches, lambda: kernel.mappings,
    ):  # fmt: skip
        with pytest.raises(LifeError, match="this kernel is closed"):
            look()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_snapshot_is_refused(mode):
    """Nothing, some other machine's memory, a page too few: the kernel is as it was."""
    with boot(mode) as kernel, Kernel.boot(machine((0, 6 * MIB)), Profile.load("eros2"), "soft") as other:
        kernel.malloc(5000)
        mine = kernel.snapshot()
        lacking = {pa: page for pa, page in mine.items() if pa != int(kernel.layout["area_pa"])}
        for wrong in ({}, other.snapshot(), lacking, {0: bytes(4096)}):
            with pytest.raises(LifeError, match="no snapshot of this kernel"):
                kernel.restore(wrong)
            assert kernel.snapshot() == mine
        conserved(kernel)
        conserved(other)


def test_a_high_half_kernel_finds_its_own_place(tmp_path):
    """A profile need not say where its window lies in a process; two such kernels live side by side; and what is
    refused is told with addresses that have no sign."""
    text = (SHIPPED / "x86_64.toml").read_text()
    file = tmp_path / "mine.toml"
    file.write_text(re.sub("hosted_base.*", "", text))
    profile = Profile.load(file)
    kernels = [Kernel.boot(machine((0, 24 * MIB)), profile, mode) for mode in ("raw", "raw", "soft")]
    for kernel in kernels:
        va = kernel.malloc(5000)
        with pytest.raises(BadAddress, match=r"free\(0x[0-9a-f]+\): ") as refused:
            kernel.free(va + 16)
        assert "-0x" not in str(refused.value)
        kernel.free(va)
        conserved(kernel)
    for kernel in kernels:
        kernel.close()
