"""A kernel boots and works with page tables of every format, in every mode, and leaves the same memory: E3, E4, E17."""

from contextlib import ExitStack

import pytest
from msgspec.structs import replace
from small_machines import MIB, MODES, conserved, machine
from workload import Workload, window

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Bank, Bytes, Devices, Heap, Image, ObjectType, Profile, Window
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.model import Format

GIB = 1 << 30
TABLED = {name: format for name, format in FORMATS.items() if format.has_tables}
SMALL = {name: format for name, format in TABLED.items() if format.page_shift == 12}
OBJECTS = (
    ObjectType(name="node", size=1088, per_page=0.02, last_words=4),
    ObjectType(name="process", size=1792, pages_per=64),
    ObjectType(name="thread", size=64, count=100),
)


def profile(format: Format, strategy: str, va: Window) -> Profile:
    """A small kernel with page tables of that format."""
    return replace(
        Profile.load("eros2"),
        arch=format.name,
        phys_bits=min(format.phys_bits, 52),
        va=va,
        image=Image(base=Bytes(MIB), size=Bytes(MIB)),
        strategy=strategy,
        heap=Heap(growth_frames=4, spare=Bytes(MIB), excess=Bytes(2 * format.large_page), growable=Bytes(MIB)),
        devices=Devices(ranges=8, frames=400),
        bank=Bank(lenient=True, cleaners=3, withheld=500),
        objects=OBJECTS,
    )


def base(format: Format) -> int:
    """The last GiB but one of 64 bits, or the last of 32."""
    return -2 * GIB if format.va_bits > 32 else 3 * GIB


def memory(kernel: Kernel) -> bytes:
    """All of it, read by its physical addresses."""
    return bytes(kernel.view.memory[: kernel.view.ram.top])


@pytest.mark.parametrize("strategy", ["demand", pytest.param("reserve+release", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("format", SMALL.values(), ids=SMALL)
def test_the_lives_of_a_format_are_equal(format: Format, strategy: str) -> None:
    """Two processors do whatever a kernel can be asked for: soft and twin answer the same and leave the same bytes."""
    computer = machine((0, 640 << 10), (MIB, 23 * MIB))
    with ExitStack() as end:
        kernels = [
            end.enter_context(Kernel.boot(computer, profile(format, strategy, window(base(format))), mode, cpus=2))
            for mode in ("soft", "twin")
        ]
        works = [Workload(kernel, seed=1) for kernel in kernels]
        for work in works:
            work.run(120)
        assert works[0].answers == works[1].answers and len(works[0].answers) > 120
        assert memory(kernels[0]) == memory(kernels[1])
        for work in works:
            work.finish()
            conserved(work.kernel)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["aarch64-16k", "aarch64-64k", "coldfire"])
def test_pages_of_other_sizes(name: str, mode: str) -> None:
    """Heap, page space and windows, with pages of 8, 16 and 64 KiB."""
    format = FORMATS[name]
    size = max(64 * format.large_page, GIB)
    at = -size * 2 if format.va_bits > 32 else 3 * GIB
    va = Window(base=Bytes(at % (1 << 64)), size=Bytes(size), windows=Bytes(format.large_page))
    computer = machine((0, 640 << 10), (MIB, 63 * MIB))
    with Kernel.boot(computer, profile(format, "demand", va), mode) as kernel:
        blocks = [kernel.malloc(size) for size in (16, 100, 4000, 70_000, 3 * MIB, 16)]
        assert len(set(blocks)) == len(blocks)
        for block in reversed(blocks):
            kernel.free(block)
        kernel.call("collect", 0)
        conserved(kernel)
