"""Movable pages, and where a range would have to move least: by trying every place."""

from frame_model import FRAME
from page_source import Source

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import CLEAN, DIRTY, FREE, PAGE
from kernmalloc.kernel.frames.table import Page

STAYS = 1 << 30  # more than any number of pages to move


def stamp(number: int) -> bytes:
    """The content of page `number`: no two are alike."""
    return b"".join((number * 1_000_003 + i + 1).to_bytes(8, "little") for i in range(FRAME // 8))


class Pages:
    """Pages of the cache, by object id: the source knows their contents."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.source = kernel, Source(kernel)
        regions = [r for r in kernel.view.regions() if r["area"]]
        self.regions = [(int(r["base"]), int(r["count"]), int(r["entries"])) for r in regions]

    def entry(self, pfn: int) -> int:
        """VA of a frame's core table entry."""
        base, _, entries = next(r for r in self.regions if r[0] <= pfn < r[0] + r[1])
        return entries + (pfn - base) * self.kernel.profile.core.stride

    def make(self, number: int) -> int:
        """Let the next free frame hold page `number`: the frame."""
        self.source.disk[number] = stamp(number)
        return self.source.call("page_get", number)

    def where(self, number: int) -> int:
        """The frame that page `number` is in."""
        return self.source.call("page_get", number)

    def content(self, number: int) -> bytes:
        return self.source.contents(self.where(number))


def costs(pages: Pages) -> dict[int, int]:
    """Pages to move for each frame: 0, 1 or STAYS, by the kernel's entries and free bitmaps."""
    kernel, found = pages.kernel, {}
    for base, count, _ in pages.regions:
        for pfn in range(base, base + count):
            type = kernel.call("frame_type", pfn)
            entry = kernel.view.read(Page, pages.entry(pfn))[0]
            movable = type == PAGE and entry["state"] in (CLEAN, DIRTY) and not entry["pins"]
            found[pfn] = 0 if type == FREE else 1 if movable else STAYS
    return found


def places(cost: dict[int, int], count: int, align: int, low: int, high: int, boundary: int) -> dict[int, int]:
    """{first pfn: pages to move} of every place where a range could lie."""
    found = {}
    for pfn in cost:
        if (
            pfn % align
            or pfn < low
            or pfn + count > high
            or (boundary and pfn // boundary != (pfn + count - 1) // boundary)
        ):
            continue
        total = sum(cost.get(i, STAYS) for i in range(pfn, pfn + count))
        if total < STAYS:
            found[pfn] = total
    return found
