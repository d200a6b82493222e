"""What frames should be, known without entries and bitmaps: a set of free ones and a dictionary of blocks."""

import ctypes

from heap_model import empty_stock
from page_walk import leaves
from small_machines import MIB, conserved, machine, poke

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import DMA, FREE, HEAP, MAPPING, PAGE, Cpu, Kern
from kernmalloc.kernel.frames.stock import Stock
from kernmalloc.lang.status import (
    BAD_ALIGN,
    BAD_FRAME,
    BAD_SIZE,
    BUSY,
    INTERIOR,
    NO_FRAMES,
    NOT_ALLOCATED,
    OK,
)

GIB = 1 << 30
FRAME = 4096
STATUSES = [NO_FRAMES, BAD_ALIGN, BAD_FRAME, BAD_SIZE, BUSY, INTERIOR, NOT_ALLOCATED]

SHAPES = {
    "one": ((0, 8 * MIB),),
    "odd": ((FRAME, 5 * MIB + 3 * FRAME), (7 * MIB + FRAME, 600 * FRAME), (10 * MIB - 5 * FRAME, FRAME)),
    "crumbs": ((0, 7 * MIB), *((8 * MIB + i * 3 * FRAME, FRAME << i % 2) for i in range(30))),
    "high": ((0, 6 * MIB), (5 * GIB - 77 * FRAME, 3 * MIB)),
    "top": ((0, 6 * MIB), (64 * GIB - 2 * MIB, 2 * MIB)),
}


def boot_shape(shape: str, mode: str = "raw", **more: object) -> Kernel:
    return Kernel.boot(machine(*SHAPES[shape]), Profile.load("eros2"), mode, **more)


def all_frames(kernel: Kernel) -> list[int]:
    """Every frame of RAM of the machine, taken before boot or not."""
    return [pfn for r in kernel.machine.ram for pfn in range(-(-r.base // FRAME), r.end // FRAME)]


def types(kernel: Kernel) -> dict[int, int]:
    """Type of every frame, BAD_FRAME for those that the kernel was not given."""
    return {pfn: kernel.call("frame_type", pfn) for pfn in all_frames(kernel)}


def of_type(kernel: Kernel, kind: int) -> set[int]:
    return {pfn for pfn, type in types(kernel).items() if type == kind}


class World:
    """A kernel, the frames that are free in it, and the blocks that a caller owns: {first pfn: (frames, type)}."""

    def __init__(self, kernel: Kernel, every: int = 1) -> None:
        self.kernel, self.every, self.calls = kernel, every, 0
        self.start = types(kernel)
        self.free = {pfn for pfn, type in self.start.items() if type == FREE}
        self.owned: dict[int, tuple[int, int]] = {}
        self.regions = [(r.pfn, r.pfn + r.frames) for r in kernel.regions if r.area]
        self.stretches: list[tuple[int, int]] = []  # of regions that touch
        for base, end in self.regions:
            first = self.stretches.pop()[0] if self.stretches and self.stretches[-1][1] == base else base
            self.stretches.append((first, end))
        self.total = sum(end - base for base, end in self.regions)
        self.blocks: list[int] = []

    def region(self, pfn: int) -> tuple[int, int] | None:
        return next((r for r in self.regions if r[0] <= pfn < r[1]), None)

    def fits(self, count: int, align: int, low: int = 0, high: int = 1 << 52, boundary: int = 0) -> bool:
        """True if there are `count` free frames in a row at a multiple of `align` within [low, high), not across a
        multiple of `boundary`."""
        for base, end in self.stretches:
            first = -(-max(base, low) // align) * align
            end = min(end, high)
            while first + count <= end:
                taken = next((pfn for pfn in range(first + count - 1, first - 1, -1) if pfn not in self.free), None)
                if taken is not None:
                    first = -(-(taken + 1) // align) * align
                elif boundary and first // boundary != (first + count - 1) // boundary:
                    first += align
                else:
                    return True
        return False

    def own(self, pfn: int, count: int, type: int) -> None:
        got = set(range(pfn, pfn + count))
        assert got <= self.free, "handed out twice, or never there"
        self.free -= got
        self.owned[pfn] = count, type

    def state(self) -> list[bytes]:
        """All RAM, but for the notes of the last region found, and of how many frames to keep, which are no one's
        answer."""
        ram, view = self.kernel.handle.life.ram.bytes, self.kernel.view
        notes = [view.pa(view.kern_va + Kern.offset("hit"))]
        notes += [view.pa(view.loaded.cpu + Cpu.offset(name) + Stock.offset("last")) for name in ("frames", "chunks")]
        kept = [ram[pa : pa + 8] for pa in notes]
        for pa in notes:
            ram[pa : pa + 8] = bytes(8)
        state = [ram[r.base : r.end] for r in self.kernel.machine.ram]
        for pa, note in zip(notes, kept, strict=True):
            ram[pa : pa + 8] = note
        return state

    def call(self, name: str, *args: int) -> int:
        """Run an entry; where it refuses, memory is as it was, no frames being in stock (held against a copy at every
        `every`-th call)."""
        self.calls += 1
        copied = self.calls % self.every == 0
        if copied:
            empty_stock(self.kernel)
        before = self.state() if copied else []
        result = self.kernel.call(name, *args)
        if result < 0:
            assert result in STATUSES
            assert not copied or self.state() == before, f"{name}{args} was refused and changed memory"
        return result

    # operations, each with its expected result

    def frame_get(self, type: int) -> None:
        result = self.call("frame_get", type)
        if type not in (PAGE, DMA):
            assert result == BAD_FRAME
        elif not self.free:
            assert result == NO_FRAMES
        else:
            self.own(result, 1, type)

    def block_get(self, order: int, type: int) -> None:
        result = self.call("block_get", order, type)
        if type not in (PAGE, DMA):
            assert result == BAD_FRAME
        elif not 0 <= order <= 18:
            assert result == BAD_SIZE
        elif result == NO_FRAMES:
            assert not self.fits(1 << order, 1 << order)
        else:
            assert result % (1 << order) == 0
            self.own(result, 1 << order, type)

    def range_get(self, count: int, align: int, low: int, high: int, type: int, boundary: int = 0) -> None:
        result = self.call("range_get", count, align, low, high, boundary, type)
        if type not in (PAGE, DMA):
            assert result == BAD_FRAME
        elif not 0 < count <= self.total:
            assert result == BAD_SIZE
        elif align <= 0 or align & (align - 1) or align > 1 << 24 or boundary < 0 or boundary & (boundary - 1):
            assert result == BAD_ALIGN
        elif 0 < boundary < count:
            assert result == BAD_SIZE
        elif result == NO_FRAMES:
            assert not self.fits(count, align, low, high, boundary)
        else:
            assert result % align == 0 and low <= result and result + count <= high
            assert not boundary or result // boundary == (result + count - 1) // boundary
            self.tile(result, count, type)

    def tile(self, pfn: int, count: int, type: int) -> None:
        """A range is the aligned blocks that tile it: each can be given back."""
        while count:
            inside = min(count, self.region(pfn)[1] - pfn)
            size = min(pfn & -pfn or 1 << 18, 1 << inside.bit_length() - 1, 1 << 18)
            self.own(pfn, size, type)
            pfn, count = pfn + size, count - size

    def refusal(self, pfn: int) -> int:
        """Why no block that starts at pfn can be given back; OK if one can."""
        if pfn in self.owned:
            return OK
        if self.region(pfn) is None:
            return BAD_FRAME
        if pfn in self.free:
            return NOT_ALLOCATED
        inside = any(head < pfn < head + count for head, (count, _) in self.owned.items())
        return INTERIOR if inside else BAD_FRAME

    def drop(self, pfn: int) -> int:
        count, _ = self.owned.pop(pfn)
        self.free |= set(range(pfn, pfn + count))
        return count

    def frame_put(self, pfn: int) -> None:
        expected = self.refusal(pfn)
        assert self.call("frame_put", pfn) == expected
        if expected == OK:
            self.drop(pfn)

    def range_put(self, pfn: int, count: int) -> None:
        expected, at = OK, pfn
        if not 0 < count <= self.total:
            expected = BAD_SIZE
        while expected == OK and at < pfn + count:
            expected = self.refusal(at)
            at += self.owned.get(at, (1, 0))[0]
        if expected == OK and at != pfn + count:
            expected = INTERIOR
        assert self.call("range_put", pfn, count) == expected
        if expected == OK:
            while pfn < at:
                pfn += self.drop(pfn)

    def malloc(self, size: int) -> None:
        """Heap and mapping frames are taken and given back between the caller's."""
        if len(self.blocks) > 2:
            self.kernel.free(self.blocks.pop(0))
        else:
            va = self.kernel.call("malloc", size)
            if va > 0:
                self.blocks.append(va)
        now = types(self.kernel)
        assert self.theirs() <= {pfn for pfn, type in now.items() if type in (PAGE, DMA)}
        self.free = {pfn for pfn, type in now.items() if type == FREE}

    def theirs(self) -> set[int]:
        return {pfn for head, (count, _) in self.owned.items() for pfn in range(head, head + count)}

    def verify(self) -> None:
        """Every frame's type is the model's, and the kernel's own check agrees."""
        now = types(self.kernel)
        assert {pfn for pfn, type in now.items() if type == FREE} == self.free
        for head, (count, type) in self.owned.items():
            assert {now[pfn] for pfn in range(head, head + count)} == {type}
        assert {pfn for pfn, type in now.items() if type in (PAGE, DMA)} == self.theirs()
        conserved(self.kernel)

    def empty(self) -> None:
        """Give everything back: the machine is as it was."""
        for pfn in list(self.owned):
            self.frame_put(pfn)
        for va in self.blocks:
            self.kernel.free(va)
        self.kernel.drain()
        now = types(self.kernel)
        assert all(type in (FREE, HEAP, MAPPING, BAD_FRAME) for type in now.values())
        conserved(self.kernel)


def frames_behind(kernel: Kernel, va: int, size: int) -> list[int]:
    """By the processor's walk of the kernel's tables."""
    loaded = kernel.handle.loaded
    found = {
        leaf.va - loaded.target + loaded.window: leaf.pa // FRAME
        for leaf in leaves(kernel.handle.life.ram.bytes, "i386-pae", loaded.root)
    }
    return [found[at] for at in range(va, va + size, FRAME)]


def read(kernel: Kernel, va: int, size: int) -> bytes:
    if kernel.mode == "raw":
        return ctypes.string_at(va, size)  # through the host's MMU
    return bytes(kernel.view.peek(va, size))


def write(kernel: Kernel, va: int, data: bytes) -> None:
    if kernel.mode == "raw":
        ctypes.memmove(va, data, len(data))
        return
    for at in range(0, len(data), FRAME - va % FRAME if len(data) < FRAME else FRAME):
        poke(kernel.view, va + at, data[at : at + FRAME])
