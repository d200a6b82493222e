"""Modes: what is left of the kernel where it is for one mode alone, or for a kernel without a page cache of ours.

Concepts
  1. The usual build serves every mode. A guest keeps its page tables, and with them its page cache, its threads and
     what loads a TLB: a build for guests has no calls for these. What only they lead to falls away, as in an arena's
     (`lang/layout`).
  2. Records are those of every build: a dump of a guest opens like any other, and its state equals a simulation's.
  3. A configuration for another mode is refused by a build that does not have it.
"""

from __future__ import annotations

from kernmalloc.build.freestanding import entries
from kernmalloc.kernel.core.kern import GUEST, ONLY_FRAMES
from kernmalloc.kernel.map.miss import MISSES
from kernmalloc.lang.layout import LAYOUT, Layout
from kernmalloc.lang.status import OK
from kernmalloc.machine.arch.none import NONE

KERNEL = "kernmalloc.kernel."
PAGE_CACHE = (
    *("page_get", "page_pin", "page_unpin", "page_dirty", "page_clean", "page_discard"),
    *("umap_make", "umap_map", "umap_map_large", "umap_map_device", "umap_unmap", "umap_unmap_range", "umap_free"),
    *("source_open", "source_close", "source_poll"),
)
THREADS = ("thread_make", "thread_run", "thread_next", "thread_limit", "thread_cancel", "thread_free", "tick")
LOADED = tuple(name for made in MISSES.values() for name in made)

HEAP = (
    *("malloc", "malloc_aligned", "malloc_zeroed", "calloc", "realloc", "resize", "free", "free_sized", "size_of"),
    *("cache_create", "cache_create_aligned", "cache_destroy", "cache_get", "cache_put", "release", "ram_add"),
    *("publish", "withdraw", "device_get", "device_put", "device_used", "device_attribute", "device_cache"),
)

_NO_TABLES: dict[str, int | str] = {
    "core.modes.has_tables": 0,
    "core.modes.writes_tables": 0,
    "core.modes.has_shadow": 0,
    "core.modes.shadows": 0,
}
_A_HEAP: dict[str, int | str] = {"core.modes.has_heap": 1, "core.modes.allocates": 1}
_NO_PAGES: dict[str, int | str] = {
    "pages.pages.page_unlink": OK,
    "pages.pages.page_link": OK,
    "pages.pages.page_link_last": OK,
    "pages.reclaim._next_queue": 0,
    "pages.reclaim._stays": 0,
    "pages.reclaim._evict": OK,
    "pages.source.ring_room": 0,
    "pages.source.write_back": OK,
    "pages.pages.is_movable": 0,
    "pages.ranges._move": 0,
    "check.check._check_page_cache": OK,
}
_NO_THREADS: dict[str, int | str] = {
    "frames.claims.short": 0,
    "stalls.quiet": 1,
    "stalls.settled": "result",
    "stalls.frames_came": "result",
    "stalls.memory_came": "result",
    "check.check._check_threads": OK,
}


_NO_HEAP: dict[str, int | str] = {
    "core.modes.has_heap": 0,
    "core.modes.allocates": 0,
    "core.modes.has_pages": 0,
    "heap.fetch.fetch": 0,
    "heap.runs.trim": OK,
    "check.check._check_caches": OK,
    "check.check._check_pages": OK,
    "check.check._check_chunks": OK,
}


def _in_direct_map(mode: int, without: tuple[str, ...], more: dict[str, int | str]) -> Layout:
    """The layout of a build for a mode in a direct map, which does not have some calls."""
    answers = {KERNEL + name: answer for name, answer in (_NO_TABLES | more | _NO_PAGES | _NO_THREADS).items()}
    gone = (*PAGE_CACHE, *THREADS, *LOADED, *without)
    calls = [each for each in entries() if each.__name__ not in gone and each.__module__ != f"{KERNEL}boot.arena"]
    parameters = {"FIRST_MODE": mode, "LAST_MODE": mode, "ONLY_FORMAT": NONE.formats[0].number}
    return Layout(parameters=parameters, answers=answers, entries=tuple(f"{c.__module__}.{c.__name__}" for c in calls))


LAYOUTS: dict[str, Layout] = {
    "owner": LAYOUT,
    "guest": _in_direct_map(GUEST, (), _A_HEAP),
    "frames": _in_direct_map(ONLY_FRAMES, HEAP, _NO_HEAP),
}
"""Of each mode the layout of its build."""


def for_interrupts(layout: Layout) -> Layout:
    """Of a mode's layout that of a build in which handlers of interrupts call, too (`kernel/calls`)."""
    calls = [f"{c.__module__}.{c.__name__}" for c in entries() if c.__module__ != f"{KERNEL}boot.arena"]
    return layout._replace(parameters={**layout.parameters, "INTERRUPTS": 1}, entries=layout.entries or tuple(calls))
