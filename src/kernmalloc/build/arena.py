"""Arenas: what is left of the kernel for a heap in memory that it is given, in a layout of its own.

Concepts
  1. What an arena does not have is asked of a few functions, which its layout answers (`ANSWERS`): no frames, nothing
     behind a heap page that could be given back, nobody who waits, no other processor, nothing that is the kernel's
     own. What only the other answers lead to falls away, and the fields that only it names.
  2. Size classes, object types, the depth of stacks, bytes of a page and the width of references are the build's.
"""

from __future__ import annotations

from typing import NamedTuple

from kernmalloc.build import apart
from kernmalloc.kernel.core.kern import ABSENT, MAP_SHIFT
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.lang.layout import Layout
from kernmalloc.lang.status import NO_VA, OK

KERNEL = "kernmalloc.kernel."
ENTRIES = (
    "boot.arena.arena_make",
    "boot.arena.arena_add",
    "calls.malloc",
    "calls.malloc_aligned",
    "calls.calloc",
    "calls.realloc",
    "calls.free",
    "calls.free_sized",
    "calls.size_of",
    "calls.drain",
    "calls.cache_create",
    "calls.cache_create_aligned",
    "calls.cache_get",
    "calls.cache_put",
    "check.check.check",
)

OF_SEVERAL = ("boot.arena.arena_add",)
"""What only an arena of several blocks has."""

_NO_FRAMES: dict[str, int | str] = {
    "heap.runs.new_pages": NO_VA,
    "heap.runs.trim": OK,
    "heap.runs._grow_or_trim": NO_VA,
    "heap.runs._grow_at": 0,
    "heap.runs._cut_idle": ABSENT,
    "core.modes.has_heap": 1,
    "core.modes.has_tables": 1,
    "frames.claims.listed": 0,
    "frames.space.has_host": 0,
    "frames.stock.stock_drain": 0,
    "pages.reclaim.again": 0,
    "boot.seal._seal_told": 1,
    "map.kmap.pfn_at": 0,
    "map.kmap.spans_of": 0,
    "check.check._check_ways": OK,
    "check.check._check_regions": OK,
    "check.check._count_told": OK,
    "check.check._check_page_cache": OK,
    "check.check._check_threads": OK,
    "check.recount.count_cpu": OK,
    "check.recount_map.windows_at": 0,
}
_NOBODY_WAITS: dict[str, int | str] = {
    "frames.claims.short": 0,
    "stalls.quiet": 1,
    "stalls.settled": "result",
    "stalls.frames_came": "result",
    "stalls.memory_came": "result",
}
_NOTHING_OWN: dict[str, int | str] = {"heap.slabs.is_own": 0, "heap.slabs.is_all": 0}
_ONE_PROCESSOR: dict[str, int | str] = {
    "core.locks.gates_lower": OK,
    "heap.slabs.owner_of": 1,
    "heap.slabs.stack_slots": 0,
    "heap.supply._stack_init": OK,
    "heap.supply._at_once": 1,
    "heap.notes.takes_open": OK,
    "heap.notes.heed": OK,
    "heap.notes.is_noted": 0,
    "heap.notes.notes_clear": OK,
    "heap.notes.note": OK,
    "heap.magazines._flush": OK,
    "heap.magazines._stacked": 0,
    "heap.magazines._wanted": 1,
    "heap.magazines._fits": 0,
    "heap.magazines._top": 0,
    "heap.magazines._top_set": OK,
    "heap.magazines._push": 0,
    "heap.magazines.fetch_noted": OK,
    "heap.magazines.finds_fetched": 0,
    "heap.magazines.is_anothers": 0,
    "heap.magazines.settle_all": OK,
    "heap.fetch.fetch": 0,
    "check.recount_slabs.stacked_of": 0,
    "check.recount_slabs._count_stack": OK,
    "check.recount_slabs._note_errors": 0,
    "check.recount_slabs._count_returned": 0,
    "check.recount_slabs._count_noted": 0,
}
ANSWERS: dict[str, int | str] = {
    KERNEL + name: answer for name, answer in (_NO_FRAMES | _NOBODY_WAITS | _NOTHING_OWN | _ONE_PROCESSOR).items()
}


class Shape(NamedTuple):
    """What a person chooses of an arena."""

    classes: int = 16
    """Size classes: a multiple of 8. 16 of them go up to 256 bytes, and each 8 more double that."""
    types: int = 8
    """Object types that can be made."""
    page: int = 1024
    """Bytes of a page: what is larger than a size class takes whole ones."""
    reference: int = 8
    """Bytes of a reference: 8, or 4 where pointers have 4."""
    several: bool = False
    """Whether it may have several blocks of memory."""

    @property
    def largest(self) -> int:
        """Bytes of the largest class."""
        return 256 << (self.classes // 8 - 2)

    def layout(self) -> Layout:
        """The layout. What it leaves out is found the first time, which takes some seconds."""
        page = self.page.bit_length() - 1
        record = max(HeapPage.shift, page - MAP_SHIFT)
        parameters = {
            "SIZE_CLASSES": self.classes,
            "OWN_CACHES": 0,
            "CACHES": self.classes + self.types,
            "BINS": 128,
            "FREE_USES": 1,
            "QUICK_WAYS": 0,
            "SEVERAL": int(self.several),
            "ARENA_SHIFT": page,
            "MAP_SHIFT": page - record,
        }
        answers = ANSWERS | {f"{KERNEL}heap.bins.record_shift": record}
        entries = tuple(KERNEL + name for name in ENTRIES if self.several or name not in OF_SEVERAL)
        return apart.shaken(Layout(self.reference, parameters, answers, entries))
