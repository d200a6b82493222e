"""Partial: the pages of slabs that have free slots, and the slabs of which all slots are free.

Concepts
  1. A page with free slots is on its magazine's list, or its slab is put aside. A full page is nowhere. When a slot of
     a full page comes back the page goes first on the list: what was used last is used next.
  2. A slab of which all slots are free leaves the list and is put aside. What is put aside beyond what a cache keeps
     goes back to the heap's pages, under the lock (`supply`).

    listed         <=>  used < the page's slots, its slab not put aside
    put aside      <=>  used = 0 of all pages of the slab
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Kern
from kernmalloc.kernel.core.lists import linked_list
from kernmalloc.kernel.heap.slabs import LISTED, Magazine, back_of, slab_page
from kernmalloc.kernel.heap.supply import empty_push
from kernmalloc.lang import inlined, kernel, rare
from kernmalloc.lang.status import OK

magazine_link, magazine_unlink = linked_list(
    "magazine",
    "a page with free slots (page + 1)",
    "kern: Kern, magazine: Magazine",
    first="magazine.list",
    next="slab_page(kern, {} - 1).next",
    prev="slab_page(kern, {} - 1).prev",
    namespace=globals(),
)


@kernel
def page_list(kern: Kern, magazine: Magazine, page: int) -> int:
    """Put a page first on the list."""
    record = slab_page(kern, page)
    record.place = record.place | LISTED
    return magazine_link(kern, magazine, page + 1, 0)


@kernel
def page_unlist(kern: Kern, magazine: Magazine, page: int) -> int:
    """Take a page off the list."""
    record = slab_page(kern, page)
    record.place = record.place & ~LISTED
    return magazine_unlink(kern, magazine, page + 1)


@kernel
def is_empty(kern: Kern, head: int) -> int:
    """1 if all slots of the slab are free whose first page is `head`."""
    for i in range(slab_page(kern, head).pages):
        if slab_page(kern, head + i).used != 0:
            return 0
    return 1


@kernel
def _retire(kern: Kern, magazine: Magazine, head: int) -> int:
    """Put the empty slab aside whose first page is `head`. Its pages leave the list."""
    for i in range(slab_page(kern, head).pages):
        if slab_page(kern, head + i).place & LISTED != 0:
            page_unlist(kern, magazine, head + i)
    return empty_push(kern, magazine, head)


@inlined
def settle(kern: Kern, magazine: Magazine, page: int, count: int) -> int:
    """Count so many slots of a page as free, whose bits are clear."""
    record = slab_page(kern, page)
    used = record.used - count
    record.used = used
    return OK if used != 0 and record.place & LISTED != 0 else _settle_edge(kern, magazine, page)


@rare
def _settle_edge(kern: Kern, magazine: Magazine, page: int) -> int:
    """Let a page be found that was full before slots came back; put its slab aside if all its slots are free now."""
    record = slab_page(kern, page)
    if record.used == 0 and is_empty(kern, page - back_of(record)) != 0:
        return _retire(kern, magazine, page - back_of(record))
    return page_list(kern, magazine, page) if record.place & LISTED == 0 else OK
