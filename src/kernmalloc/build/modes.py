"""Modes: what is left of the kernel where it is for one mode alone, or for a kernel without a page cache of ours.

Concepts
  1. The usual build serves every mode. A guest keeps its page tables, and with them its page cache and its threads: a
     build for guests has no calls for these. What only they lead to falls away, as in an arena's (`lang/layout`).
  2. Records are those of every build: a dump of a guest opens like any other, and its state equals a simulation's.
  3. A configuration for another mode is refused by a build that does not have it.
"""

from __future__ import annotations

from kernmalloc.build.freestanding import entries
from kernmalloc.kernel.core.kern import GUEST
from kernmalloc.lang.layout import LAYOUT, Layout
from kernmalloc.lang.status import OK

KERNEL = "kernmalloc.kernel."
PAGE_CACHE = (
    *("page_get", "page_pin", "page_unpin", "page_dirty", "page_clean", "page_discard"),
    *("umap_make", "umap_map", "umap_unmap", "umap_free", "source_open", "source_close", "source_poll"),
)
THREADS = ("thread_make", "thread_run", "thread_next", "thread_limit", "thread_cancel", "thread_free", "tick")

_NO_TABLES: dict[str, int | str] = {"core.modes.has_tables": 0, "core.modes.writes_tables": 0}
_A_HEAP: dict[str, int | str] = {"core.modes.has_heap": 1, "core.modes.allocates": 1}
_NO_PAGES: dict[str, int | str] = {
    "pages.reclaim.again": 0,
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


def _guest() -> Layout:
    answers = {KERNEL + name: answer for name, answer in (_NO_TABLES | _A_HEAP | _NO_PAGES | _NO_THREADS).items()}
    gone = (*PAGE_CACHE, *THREADS)
    calls = [each for each in entries() if each.__name__ not in gone and each.__module__ != f"{KERNEL}boot.arena"]
    parameters = {"FIRST_MODE": GUEST, "LAST_MODE": GUEST}
    return Layout(parameters=parameters, answers=answers, entries=tuple(f"{c.__module__}.{c.__name__}" for c in calls))


LAYOUTS: dict[str, Layout] = {"owner": LAYOUT, "guest": _guest()}
"""Of each mode the layout of its build."""
