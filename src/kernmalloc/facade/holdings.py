"""Who holds what in a kernel: processors, caches, allocations, blocks.

All is recounted from the kernel's memory, without running it.
"""

from typing import NamedTuple

import numpy

from kernmalloc.facade.caches import CacheNames
from kernmalloc.facade.handle import Handle
from kernmalloc.facade.state import CoreTable
from kernmalloc.facade.view import View
from kernmalloc.kernel.core.kern import DMA, SIZE_CLASSES
from kernmalloc.kernel.frames.bitmap import MAX_ORDER
from kernmalloc.kernel.heap import caches as known
from kernmalloc.kernel.heap.bins import LARGE, OWN
from kernmalloc.kernel.heap.slabs import Stacked

OWN_NAMES = {
    known.REGION_CACHE: "region",
    known.CHUNK_CACHE: "device entries",
    known.LAST_CACHE: "last words: device entries",
    known.LAST_REGION_CACHE: "last words: region",
    known.UMAP_CACHE: "address space",
    known.DEPEND_CACHE: "dependency",
    known.THREAD_CACHE: "thread record",
    known.LAST_MAP_CACHE: "last words: mapping frame",
}
"""What the kernel keeps in caches of its own."""


class Processor(NamedTuple):
    """What one processor holds: free frames, single and in chunks; slots on the stacks of its magazines; windows that
    are open. `inside`: it has the lock."""

    number: int
    inside: bool
    frames: int
    chunks: int
    slots: int
    windows: int


class CacheUse(NamedTuple):
    """A cache that has slabs: bytes of a slot, slots, those given out, bytes of its slabs."""

    name: str
    size: int
    slots: int
    used: int
    bytes: int


class Allocation(NamedTuple):
    """A run of heap pages that was allocated as such; `own`: by the kernel itself."""

    va: int
    bytes: int
    own: bool


class Block(NamedTuple):
    """Frames that a caller took as one block or range."""

    pfn: int
    frames: int


def processors(view: View) -> list[Processor]:
    """What each processor holds."""
    stocks, lock = view.stocks().tolist(), int(view.kern["lock"])
    found = []
    for cpu, (frames, chunks) in zip(view.cpus(), stocks, strict=True):
        slots = int((cpu["magazines"]["top"] - cpu["magazines"]["bottom"]).sum()) // Stacked.size
        number = int(cpu["id"])
        found.append(Processor(number, lock == number + 1, frames, chunks, slots, int(cpu["open"]).bit_count()))
    return found


def cache_uses(view: View, names: CacheNames) -> list[CacheUse]:
    """Every cache that has slabs, by its number."""
    used, page = view.used_slots(), view.page
    told = OWN_NAMES | names.typed | {id: f"last words: {name}" for id, name in names.last_words.items()}
    found = []
    for id in range(int(view.kern["cache_count"])):
        cache = view.cache(id)
        slabs = int(cache["slabs"])
        if slabs:
            name = told.get(id, f"size-{cache['size']}" if id < SIZE_CLASSES else f"cache-{id}")
            slots, bytes = slabs * int(cache["slots"]), slabs * int(cache["pages"]) * page
            found.append(CacheUse(name, int(cache["object"] or cache["size"]), slots, used.get(id, 0), bytes))
    return found


def allocations(view: View) -> list[Allocation]:
    """Runs of heap pages, the largest first."""
    pages, heap = view.heap_pages(), int(view.kern["heap"])
    found = [
        Allocation(heap + page * view.page, int(pages["pages"][page]) * view.page, bool(pages["use"][page] == OWN))
        for page in numpy.flatnonzero((pages["use"] == LARGE) | (pages["use"] == OWN)).tolist()
    ]
    return sorted(found, key=lambda each: (-each.bytes, each.va))


def blocks(handle: Handle) -> list[Block]:
    """Blocks for DMA, the largest first."""
    found = []
    for base, entries in CoreTable(handle):
        end = 0
        for at in numpy.flatnonzero(entries["type"] == DMA).tolist():
            if at >= end:
                end = at + (1 << min(int(entries["order"][at]), MAX_ORDER))
                found.append(Block(base + at, end - at))
    return sorted(found, key=lambda each: (-each.frames, each.pfn))
