"""The heap as a plain Python model sees it: what is given out, and what its users wrote there."""

import ctypes
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypothesis import settings
from msgspec.structs import replace
from small_machines import MIB, conserved, machine, poke

from kernmalloc.facade.errors import OutOfMemory, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import PAGE as PAGE_TYPE
from kernmalloc.kernel.frames.bitmap import MAX_ORDER
from kernmalloc.lang import status
from kernmalloc.machine.ram import Ram

PAGE = 4096
LARGEST_SLOT = 32768  # bytes; what is larger is a run of pages
LARGEST_SLAB = 32  # pages
TILE = random.Random(0).randbytes(4099)


def write(kernel: Kernel, va: int, data: bytes) -> None:
    """Store as the kernel's users do: at the address itself in raw mode, else through the kernel's page tables."""
    if kernel.mode == "raw":
        ctypes.memmove(va, data, len(data))
        return
    at = 0
    while at < len(data):
        n = min(PAGE - (va + at) % PAGE, len(data) - at)
        poke(kernel.view, va + at, data[at : at + n])
        at += n


def read(kernel: Kernel, va: int, size: int) -> bytes:
    """Load likewise."""
    return ctypes.string_at(va, size) if kernel.mode == "raw" else bytes(kernel.view.peek(va, size))


def samples(size: int) -> list[tuple[int, int]]:
    """(offset, bytes) of the places in a block that are written and read: all of it, or both ends of its pages."""
    if size <= 4 * PAGE:
        return [(0, size)]
    step = max(size // PAGE // 32, 1) * PAGE
    places = [(at, 16) for at in range(0, size - 16, step)] + [(at - 16, 16) for at in range(PAGE, size, step)]
    return [*places, (size - 16, 16)]


@dataclass
class Block:
    """One allocation: bytes asked for, bytes that it can hold, and what its contents are made from."""

    size: int
    room: int
    seed: int

    def content(self, offset: int, size: int) -> bytes:
        """Its bytes from an offset on: a tile that starts elsewhere in each block, of a length that is prime."""
        start = (self.seed * 1009 + offset) % len(TILE)
        return (TILE * (size // len(TILE) + 2))[start : start + size]


class HeapModel:
    """Runs operations on a kernel's heap and holds every answer against what must be so."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.blocks: dict[int, Block] = {}
        self.order: list[int] = []
        self.made = 0

    def malloc(self, size: int, align: int = 16, zeroed: bool = False) -> int | None:
        """Allocate; None where memory is short, which must be true."""
        try:
            va = self.kernel.malloc(size, align) if not zeroed else self.zeroed(size)
        except (OutOfMemory, WouldBlock) as error:
            assert self.short(size, align, error.status), f"{error}: {self.kernel.frames_by_type()}, {self.kernel.heap}"
            return None
        assert va % align == 0
        if zeroed:
            assert va % PAGE == 0
            assert all(not any(read(self.kernel, va + at, n)) for at, n in samples(size))
        self.add(va, size)
        return va

    def zeroed(self, size: int) -> int:
        va = self.kernel.call("malloc_zeroed", size)
        if va in (status.NO_FRAMES, status.NO_VA):
            raise OutOfMemory(va, "malloc_zeroed")
        if va == status.WOULD_BLOCK:
            raise WouldBlock(va, "malloc_zeroed")
        assert va >= 0
        return va

    def short(self, size: int, align: int, code: int) -> bool:
        """Whether there really is too little: pages, their records and leaf tables."""
        pages = -(-size // PAGE) if max(size, align) > LARGEST_SLOT else LARGEST_SLAB
        if code == status.NO_VA:
            heap = self.kernel.heap
            return self.extent() + pages + align // PAGE > int(self.kernel.view.kern["heap_pages"]) or size > heap.bound
        gap = align // PAGE  # pages skipped for the alignment need records, too
        cost = pages + (pages + gap) // 64 + 1 + pages // 512 + 2 + (pages + gap) // (64 * 512) + 1
        return cost > self.kernel.frames_by_type()["free"]

    def extent(self) -> int:
        """Pages from the heap's start to the end of its last block."""
        return int(self.kernel.view.kern["top"])

    def add(self, va: int, size: int) -> None:
        room = self.kernel.size_of(va)
        assert room >= size
        at = bisect_left(self.order, va)
        if at < len(self.order):
            assert va + room <= self.order[at], "overlaps the block above"
        if at > 0:
            below = self.order[at - 1]
            assert below + self.blocks[below].room <= va, "overlaps the block below"
        self.made += 1
        block = self.blocks[va] = Block(size, room, self.made)
        insort(self.order, va)
        for offset, n in samples(size):
            write(self.kernel, va + offset, block.content(offset, n))

    def intact(self, va: int) -> None:
        """What was written is still there."""
        block = self.blocks[va]
        assert self.kernel.size_of(va) == block.room
        for offset, n in samples(block.size):
            assert read(self.kernel, va + offset, n) == block.content(offset, n), f"block {va:#x} + {offset:#x} changed"

    def free(self, va: int) -> None:
        self.intact(va)
        self.kernel.free(va)
        del self.blocks[va]
        self.order.remove(va)

    def holder(self, va: int) -> int | None:
        """The block that va lies in."""
        at = bisect_left(self.order, va + 1) - 1
        if at >= 0 and va < self.order[at] + self.blocks[self.order[at]].room:
            return self.order[at]
        return None

    def wrong_free(self, va: int) -> None:
        """Free what is not at the start of a block: refused with the status that fits, and nothing changes."""
        holder = self.holder(va)
        if holder == va:
            return
        before = self.kernel.snapshot()
        got = self.kernel.call("free", va)
        assert self.kernel.snapshot() == before
        assert got == self.kernel.call("size_of", va)
        if holder is not None:
            assert got == status.INTERIOR
        else:
            assert got in (status.BAD_ADDRESS, status.NOT_ALLOCATED, status.INTERIOR)

    def finish(self) -> None:
        """All that is given out is intact; free all of it."""
        for va in list(self.blocks):
            self.free(va)


def effort(share: float) -> settings:
    """Random search for a share of the examples that are usual (more at night)."""
    return settings(max_examples=int(settings.default.max_examples * share))


@contextmanager
def booted(
    *ranges: tuple[int, int],
    mode: str = "soft",
    profile: str | Profile = "eros2",
    prepare: Callable[[Ram], None] | None = None,
    **changes: int,
) -> Iterator[Kernel]:
    """A kernel for one example of a property, checked at its end. `changes`: see `altered`."""
    profile = altered(profile, **changes)
    with Kernel.boot(machine(*(ranges or ((0, 16 * MIB),))), profile, mode, prepare=prepare) as kernel:
        yield kernel
        conserved(kernel)


def altered(profile: str | Profile, growth: int | None = None, window: int | None = None, **keys: object) -> Profile:
    """A profile with another growth step (frames), another window (bytes), or other keys."""
    profile = Profile.load(profile) if isinstance(profile, str) else profile
    if growth is not None:
        keys["heap"] = replace(profile.heap, growth_frames=growth)
    if window is not None:
        keys["va"] = replace(profile.va, size=window)
    return replace(profile, **keys)


def empty_stock(kernel: Kernel) -> None:
    """Put the frames that the first processor keeps at hand back, and change nothing else."""
    assert (
        kernel.call("block_get", MAX_ORDER, PAGE_TYPE) == status.NO_FRAMES
    )  # no machine of the tests has such a block


def leave_free(kernel: Kernel, count: int, seed: int = 0) -> list[int]:
    """Take frames as pages until exactly `count` are free, scattered at random: the pfns taken."""
    kernel.drain()
    taken = [kernel.frame_get() for _ in range(kernel.frames_by_type()["free"])]
    random.Random(seed).shuffle(taken)
    for pfn in taken[:count]:
        kernel.frame_put(pfn)
    return taken[count:]
