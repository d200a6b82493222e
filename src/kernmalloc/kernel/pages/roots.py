"""Roots of address spaces: a processor's register may reach less memory than its tables do.

Concepts
  1. A root is a table like others, a page of the heap, whose frame comes from anywhere. CR3 has 32 bits under PAE
     paging, and the frame may lie above 4 GiB.
  2. Then it is exchanged for one that can be had below, as for a driver: pages of the cache make room (`ranges`).

Limit: the fixed part of an affine heap stays where it is. If that is beyond the register's reach, so is every root.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import MAPPING, PAGE, Cpu
from kernmalloc.kernel.core.modes import has_tables
from kernmalloc.kernel.frames.space import space_give
from kernmalloc.kernel.frames.table import set_type
from kernmalloc.kernel.heap.caches import UMAP_CACHE
from kernmalloc.kernel.heap.magazines import slot_take
from kernmalloc.kernel.heap.malloc import own_free
from kernmalloc.kernel.map.kmap import back_by, pfn_at
from kernmalloc.kernel.pages.ranges import range_get
from kernmalloc.kernel.pages.umap import Umap, table_frame, table_free, table_make, umap_link
from kernmalloc.lang import failed, kernel
from kernmalloc.lang.status import NO_FRAMES


@kernel
def _is_fixed(cpu: Cpu, va: int) -> int:
    """1 if the frame behind a page of the heap cannot be exchanged."""
    kern = cpu.kern
    return 1 if has_tables(kern) == 0 or va < kern.heap + (kern.fixed << kern.page_shift) else 0


@kernel
def _lowered(cpu: Cpu, root: int) -> int:
    """A new root, which lies too high, in a frame within reach: its VA. Else NO_FRAMES, or what `range_get` says."""
    kern = cpu.kern
    if _is_fixed(cpu, root) != 0:
        kern.wanted = 0  # free frames would not help
        return NO_FRAMES
    pfn = range_get(cpu, 1, 1, 0, kern.format.root_end >> kern.page_shift, 0, PAGE)
    if failed(pfn):
        return pfn
    old = back_by(cpu, root, pfn)
    frame = table_frame(cpu, pfn)
    set_type(cpu, frame, MAPPING, 0)
    frame.owner = root
    space_give(cpu, old)
    return root


@kernel
def _root_make(cpu: Cpu) -> int:
    """A root of zeros: its VA, or what `own_zeroed` or `_lowered` says."""
    root = table_make(cpu)
    if failed(root):
        return root
    kern = cpu.kern
    if pfn_at(cpu, root) < kern.format.root_end >> kern.page_shift:
        return root
    lowered = _lowered(cpu, root)
    if failed(lowered):
        table_free(cpu, root)
    return lowered


@kernel
def umap_make(cpu: Cpu) -> int:
    """Make an empty address space: its VA.

    LIMIT: there are as many as may be. NO_FRAMES: also where none is within reach of the processor's register for the
    root. Else a status of `malloc`.
    """
    kern = cpu.kern
    umap = slot_take(cpu, UMAP_CACHE)
    if failed(umap):
        return umap
    root = _root_make(cpu)
    if failed(root):
        own_free(cpu, umap)
        return root
    u = Umap(umap)
    u.root = root
    u.root_pa = pfn_at(cpu, root) << kern.page_shift
    u.pages = 0
    u.tables = 1
    umap_link(kern.pages, u, Umap(0))
    return umap
