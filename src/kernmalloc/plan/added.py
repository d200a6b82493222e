"""What RAM that is added after the boot will cost, before it is there (E39): the kernel's own reckoning (`boot/added`),
asked about the heap as the boot and the devices leave it.

Exact for one range. Where several are added, what the page cache's hash gave back when it was made anew may serve the
later ones, which then take fewer frames.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kernmalloc.facade.configure import ADDED, REFUSED, Added
from kernmalloc.facade.places import PARTIAL, Span, refusal, why_not
from kernmalloc.kernel.boot.added import ITSELF, PAGE_SPACE, reckon
from kernmalloc.kernel.core.kern import CARVED_MEMORY, RAM
from kernmalloc.kernel.heap.malloc import pages_for
from kernmalloc.kernel.map.kmap import span_pages
from kernmalloc.kernel.pages.pages import pages_bytes, pages_few, pages_init
from kernmalloc.lang.status import BUSY, OK
from kernmalloc.machine.added_ram import SELF_HOSTED
from kernmalloc.machine.memory_map import Range
from kernmalloc.plan.devices import Room
from kernmalloc.plan.scratch import Scratch


@dataclass
class Later:
    """The heap and page space of a planned kernel while RAM is added to it: pages by which the heap can grow in one
    run, frames that can be taken, frames of RAM, heap pages of the fixed part that nobody uses.

    `own`: spans of image and boot area. `hash_at`, `hash_pages`: where in the heap the page cache's hash lies."""

    scratch: Scratch
    room: Room
    spans: list[Span]
    own: list[Span]
    growth: int
    left: int
    frames: int
    hash_at: int
    refunded: int = 0  # heap pages that were given back to page space

    def __post_init__(self) -> None:
        self.kept = self.room.kept
        self.hash_pages = self._hash_pages()
        self.scratch.put("frames", self.frames)
        self.scratch.ask(pages_init, 0, self.frames)

    def add(self, ranges: Iterable[Range]) -> tuple[Added, ...]:
        """Add ranges, one after the other."""
        return tuple(map(self._add, ranges))

    @property
    def top(self) -> int:
        """Heap pages ever used."""
        return self.scratch.get("top")

    def _hash_pages(self) -> int:
        return self.scratch.ask(pages_for, self.scratch.ask(pages_bytes, self.frames))

    def _add(self, r: Range) -> Added:
        """What becomes of one range."""
        shift = self.room.page_shift
        base, end, own = r.base >> shift, r.end >> shift, r.kind == SELF_HOSTED
        around = [span for span in self.spans if span[0] <= base and end <= span[1] and span[2] == CARVED_MEMORY]
        why = why_not(base, end, self.scratch.get("max_pfn"), [] if around else self.spans, shift)
        if (r.base | r.size) & (1 << shift) - 1:
            why = PARTIAL
        elif around and any(first < end and base < last for first, last, _ in self.own):
            why = refusal(BUSY)
        if why:
            return Added(r.base, r.size, REFUSED, 0, 0, 0, own, why)
        records = self.room.regions
        parts, wanted = 0, 1
        while wanted > parts:
            parts = wanted
            slabs = -(-max(parts + len(around) - records.free, 0) // records.kind.slots)
            status = self._reckon(base, end - base, own, slabs)
            if status != OK:
                return Added(r.base, r.size, REFUSED, 0, 0, 0, own, refusal(status))
            wanted = self.scratch.reckoned()["parts"]
        cost, taken = self._take(base, end - base, own, slabs)
        hosted = self.scratch.reckoned()["hosted"]
        if around:
            self.spans.remove(around[0])
            first, last, kind = around[0]
            self.spans += [span for span in ((first, base, kind), (end, last, kind)) if span[0] < span[1]]
        records.free += slabs * records.kind.slots - parts - len(around)
        self.spans.append((base, end, RAM))
        return Added(r.base, r.size, ADDED, cost << shift, taken, hosted, own)

    def _reckon(self, base: int, count: int, own: bool, slabs: int) -> int:
        pages = slabs * self.room.regions.kind.pages
        host = ITSELF if own else PAGE_SPACE
        return self.scratch.ask(reckon, base, count, host, self.kept, self.growth, self.left, pages)

    def _take(self, base: int, count: int, own: bool, slabs: int) -> tuple[int, int]:
        """Take what was reckoned: heap pages that are in use for it, and frames that have gone."""
        pages = slabs * self.room.regions.kind.pages
        used = self.scratch.reckoned()["pages"]
        if slabs and pages > self.kept and self.room.grown.take_idle(self.room.regions.kind.pages, slabs):
            self._reckon(base, count, own, 0)
        found = self.scratch.reckoned()
        taken = found["cost"]
        self.frames += count
        if self.scratch.ask(pages_few, self.frames):
            used -= self.hash_pages
            taken -= self._hash_moves(found["top"])
        grown = found["top"] - self.scratch.get("heap_pages") + self.growth
        self.growth -= grown
        self.scratch.put("top", self.top + grown)
        self.scratch.put("frames", self.frames)
        self.kept = found["kept"]
        self.left += count - taken
        return used, taken

    def _hash_moves(self, top: int) -> int:
        """The page cache's hash is made anew, and lies below page `top` now: frames that the one before gives back."""
        first, end = self.hash_at, self.hash_at + self.hash_pages
        self.scratch.ask(pages_init, 0, self.frames)
        self.hash_pages = self._hash_pages()
        self.hash_at = top - self.hash_pages
        if self.scratch.get("affine"):  # it lay in the fixed part, which keeps its frames
            return 0
        self.refunded += end - first
        spans = self.scratch.ask(span_pages)
        return end - first + max(end // spans - -(-first // spans), 0)
