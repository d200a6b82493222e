"""Movable pages, and where a range would have to move least: by trying every place."""

from frame_model import FRAME

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.frames import Frame
from kernmalloc.kernel.kern import FREE, PAGE

STAYS = 1 << 30  # more than any number of pages to move


def stamp(number: int) -> bytes:
    """The content of page `number`: no two are alike."""
    return b"".join((number * 1_000_003 + i + 1).to_bytes(8, "little") for i in range(FRAME // 8))


class Pages:
    """Pages that the kernel may move: number i is where word i of a block of the heap says."""

    def __init__(self, kernel: Kernel, most: int) -> None:
        self.kernel = kernel
        self.words = kernel.malloc(8 * most)
        regions = [r for r in kernel.view.regions() if r["area"]]
        self.regions = [(int(r["base"]), int(r["count"]), int(r["entries"])) for r in regions]

    def entry(self, pfn: int) -> int:
        """VA of a frame's core table entry."""
        base, _, entries = next(r for r in self.regions if r[0] <= pfn < r[0] + r[1])
        return entries + (pfn - base) * self.kernel.profile.core.stride

    def make(self, number: int, pfn: int) -> None:
        """Let the page frame `pfn` be page `number`, and movable."""
        self.kernel._life.ram.bytes[pfn * FRAME : (pfn + 1) * FRAME] = stamp(number)
        self.kernel.view.poke(self.words + 8 * number, pfn.to_bytes(8, "little"))
        self.kernel.view.poke(self.entry(pfn) + Frame.offset("owner"), (self.words + 8 * number).to_bytes(8, "little"))

    def fix(self, pfn: int) -> None:
        """Let the page in a frame be one of which nobody knows what leads to it."""
        self.kernel.view.poke(self.entry(pfn) + Frame.offset("owner"), bytes(8))

    def pin(self, pfn: int, pins: int = 1) -> None:
        self.kernel.view.poke(self.entry(pfn) + Frame.offset("pins"), pins.to_bytes(2, "little"))

    def where(self, number: int) -> int:
        """The frame that page `number` is in."""
        return int.from_bytes(self.kernel.view.peek(self.words + 8 * number, 8), "little")

    def content(self, number: int) -> bytes:
        pfn = self.where(number)
        return bytes(self.kernel._life.ram.bytes[pfn * FRAME : (pfn + 1) * FRAME])


def costs(pages: Pages) -> dict[int, int]:
    """Pages to move for each frame: 0, 1 or STAYS, by the kernel's entries and free bitmaps."""
    kernel, found = pages.kernel, {}
    for base, count, _ in pages.regions:
        for pfn in range(base, base + count):
            type = kernel.call("frame_type", pfn)
            entry = kernel.view.read(Frame, pages.entry(pfn))[0]
            movable = type == PAGE and entry["type"] == PAGE and not entry["order"] and not entry["pins"] and entry["owner"]
            found[pfn] = 0 if type == FREE else 1 if movable else STAYS
    return found


def places(cost: dict[int, int], count: int, align: int, low: int, high: int, boundary: int) -> dict[int, int]:
    """{first pfn: pages to move} of every place where a range could lie."""
    found = {}
    for pfn in cost:
        if pfn % align or pfn < low or pfn + count > high or (boundary and pfn // boundary != (pfn + count - 1) // boundary):
            continue
        total = sum(cost.get(i, STAYS) for i in range(pfn, pfn + count))
        if total < STAYS:
            found[pfn] = total
    return found


