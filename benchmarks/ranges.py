"""How often a range of 16 MiB is found below 4 GiB, beside a buddy allocator, which cannot move.

    PYTHONPATH=tests python benchmarks/ranges.py [GiB of RAM]

Memory is filled to a load in two ways; both allocators then get the same frames in use:
    random   pages in use lie anywhere: a page cache after a while, whose pages go in no order of address
    buddy    a textbook buddy allocator (Knuth, TAOCP 1, 2.5: smallest block that fits, split, joined when freed) gave
             the frames, and the load went up by a twentieth of memory and down again a hundred times
Ranges at a multiple of their length, as a buddy's are, are asked for until one is refused. Of as many as the free
frames could make, that is the share. `pinned` is the share of pages that must stay.
"""

import random
import sys
import time

from page_source import Source

from kernmalloc import Kernel, Profile
from kernmalloc.inputs.facts import Range
from kernmalloc.kernel.core.kern import DMA
from kernmalloc.kernel.pages.source import SLOTS
from kernmalloc.machine.memory_map import Machine

ORDER = 12  # 16 MiB of 4 KiB frames
COUNT = 1 << ORDER
MIB = 1 << 20


class Buddy:
    """A textbook buddy allocator of single frames out of blocks up to 16 MiB, lowest address first in each order."""

    def __init__(self, frames: list[int]) -> None:
        self.free: list[dict[int, None]] = [{} for _ in range(ORDER + 1)]
        for pfn in frames:
            self.put(pfn)

    def get(self) -> int:
        order = next(i for i, blocks in enumerate(self.free) if blocks)
        pfn, _ = self.free[order].popitem()
        while order:
            order -= 1
            self.free[order][pfn + (1 << order)] = None
        return pfn

    def put(self, pfn: int) -> None:
        order = 0
        while order < ORDER and pfn ^ (1 << order) in self.free[order]:
            del self.free[order][pfn ^ (1 << order)]
            pfn &= ~(1 << order)
            order += 1
        self.free[order][pfn] = None


def in_use(kind: str, frames: list[int], load: float, pick: random.Random) -> set[int]:
    """The frames that pages are in."""
    wanted = int(len(frames) * load)
    if kind == "random":
        return set(pick.sample(frames, wanted))
    buddy = Buddy(frames)
    used = [buddy.get() for _ in range(wanted)]
    burst = min(len(frames) // 20, (len(frames) - wanted) // 2)
    for _ in range(100):
        used += [buddy.get() for _ in range(burst)]
        pick.shuffle(used)
        for pfn in used[wanted:]:
            buddy.put(pfn)
        del used[wanted:]
    return set(used)


def filled(kernel: Kernel) -> dict[int, int]:
    """Fill memory with pages, all zeros: {frame: object id}."""
    source, batch = Source(kernel), SLOTS // 2
    count = (kernel.frames_by_type()["free"] - 64) // batch * batch  # a few frames are left for the cache's own records
    for first in range(0, count, batch):
        for oid in range(first, first + batch):
            kernel.call("page_get", oid)
        source.poll()
    return {kernel.call("page_get", oid): oid for oid in range(count)}


def aligned(free: set[int]) -> int:
    """Ranges that the buddy allocator has: its blocks are what is free and aligned."""
    return sum(all(pfn in free for pfn in range(b, b + COUNT)) for b in range(0, max(free), COUNT) if b in free)


def measure(gib: float, kind: str, load: float, pinned: float) -> None:
    pick = random.Random(f"{kind}{load}{pinned}")
    ram = Range(base=0, size=int(gib * 1024) * MIB, kind="ram", name="", line=0)
    with Kernel.boot(Machine(name="bench", file="", arch="i386", ram=(ram,)), Profile.load("eros2"), "raw") as kernel:
        frames = filled(kernel)
        used = in_use(kind, list(frames), load, pick)
        free = set(frames) - used
        for pfn in free:
            kernel.call("page_discard", pfn)
        for pfn in pick.sample(sorted(used), round(len(used) * pinned)):
            kernel.call("page_pin", pfn)
        could, found, seconds, most = kernel.frames_by_type()["free"] // COUNT, 0, 0.0, 0.0
        while kernel.frames_by_type()["free"] >= COUNT:
            started = time.perf_counter()
            result = kernel.call("range_get", COUNT, COUNT, 0, 1 << 20, 0, DMA)
            spent = time.perf_counter() - started
            if result < 0:
                break
            found, seconds, most = found + 1, seconds + spent, max(most, spent)
        moved = int(kernel.view.kern["moved"])
        each = max(found, 1)
        print(
            f"{kind:7} {load:4.0%} {pinned:7.3%} {could:6} {aligned(free):6} {found:6} {found / max(could, 1):6.0%} "
            f"{moved / each:9.0f} {1000 * seconds / each:8.1f} {1000 * most:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(f"{size:g} GiB of RAM; ranges of 16 MiB; eros2, raw")
    print("state   load  pinned  could  buddy  found  share moved/range ms/range ms most")
    for kind in ("random", "buddy"):
        for load in (0.1, 0.3, 0.5, 0.7, 0.9):
            measure(size, kind, load, 0.0)
    for pinned in (0.0001, 0.001):
        measure(size, "random", 0.5, pinned)
