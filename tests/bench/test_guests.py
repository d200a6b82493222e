"""Guests on emulated processors: they boot, malloc, free and check on each architecture, and a malloc costs little."""

import pytest

from kernmalloc.bench import guests
from kernmalloc.build import elf
from kernmalloc.build.freestanding import freestanding
from kernmalloc.build.modes import LAYOUTS
from kernmalloc.kernel.core.kern import DMA, PAGE

BY_DAY = {"x86_64", "i386"}
MOST = {"x86_64": (32, 36), "aarch64": (35, 38), "riscv64": (40, 41), "armv7": (80, 72), "i386": (95, 100)}
"""Instructions that a malloc and a free may take."""


@pytest.mark.parametrize(
    "architecture", [it if it in BY_DAY else pytest.param(it, marks=pytest.mark.nightly) for it in guests.PROCESSORS]
)
def test_it_runs_and_costs_little(architecture: str) -> None:
    """Every size of a class costs alike, and a block of many pages more, which takes the lock."""
    pytest.importorskip("unicorn")
    found = guests.costs(architecture)
    assert len(set(found.values())) == 1
    took, gave = found[16]
    assert 10 < took <= MOST[architecture][0] and 10 < gave <= MOST[architecture][1]
    guest = guests.Guest(architecture)
    va, large = guest.counted("malloc", 100_000)
    assert va > guests.MEMORY and large > took
    assert guest.counted("free", va)[0] == 0
    assert guest.call("free", guest.cpu, va) < 0, "it is refused, with a status"
    assert guest.call("check", guest.cpu) == 0


@pytest.mark.parametrize(
    "architecture", [it if it in BY_DAY else pytest.param(it, marks=pytest.mark.nightly) for it in guests.PROCESSORS]
)
def test_a_guests_library_needs_nothing(architecture: str) -> None:
    """No helper of a compiler's library, wherever code is made small."""
    assert not [each.name for each in elf.symbols(freestanding(architecture, LAYOUTS["guest"])) if each.missing]


def test_frames_alone() -> None:
    """The page allocator without a heap boots, gives and takes frames, and passes its check."""
    pytest.importorskip("unicorn")
    guest = guests.Guest("x86_64", "frames")
    assert "km_call_malloc" not in guest.symbols
    held = [guest.call("frame_get", guest.cpu, PAGE) for _ in range(1000)]
    assert len(set(held)) == 1000 and all(guests.MEMORY >> 12 <= pfn < guests.END >> 12 for pfn in held)
    block = guest.call("block_get", guest.cpu, 6, DMA)
    assert block % 64 == 0 and block not in held and guest.call("frame_put", guest.cpu, block) == 0
    for pfn in held:
        assert guest.call("frame_put", guest.cpu, pfn) == 0
    assert guest.call("check", guest.cpu) == 0
