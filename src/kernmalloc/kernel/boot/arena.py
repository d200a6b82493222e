"""Arena: a kernel that has a heap and nothing else, in a block of memory that it is given.

Concepts
  1. There are no frames and no page tables. The heap is the fixed part of one that is affine, and it is all there is:
     what no free run of it can give is refused, NO_VA.
  2. It is a build of its own (`build/arena.py`), whose layout answers for good what is asked of frames, and leaves out
     what only they need. A page may be small, for nothing maps it.
  3. The records lie at the start of the block; from left to right:

         processor, kernel, caches, class table | heap map | pages

    map_pages pages of heap map, which need not start on one
    heap + (heap_pages << page_shift) <= end of the block
"""

from __future__ import annotations

from kernmalloc.kernel.boot.seal import boot_seal, seal_cpu
from kernmalloc.kernel.core.kern import CACHES, MAGIC, VERSION, Byte, Cpu, Kern
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES, classes_init
from kernmalloc.kernel.heap.runs import keep_pages, map_pages
from kernmalloc.kernel.heap.slabs import Cache
from kernmalloc.lang import element, kernel, parameter
from kernmalloc.lang.status import BAD_SIZE, TOO_SMALL
from kernmalloc.machine.primitives import zero

ARENA_SHIFT = parameter("ARENA_SHIFT", 10)  # log2 of the bytes in a page
MOST_PAGES = 1 << 17  # the bins file runs of any length up to that
LINE = 64  # bytes: what records begin at a multiple of


@kernel
def _up(at: int, unit: int) -> int:
    """The next multiple of a power of two."""
    return (at + unit - 1) & -unit


@kernel
def _pages_at(kern: Kern, pages: int) -> int:
    """VA of the first page, if there are so many."""
    page = 1 << kern.page_shift
    return _up(kern.heap_map.addr + (map_pages(kern, pages) << kern.page_shift), page)


@kernel
def arena_make(at: int, bytes: int) -> int:
    """Make an arena of the block of `bytes` bytes at `at`: the address of its processor's record.

    BAD_SIZE: the block has more pages than can be filed, or reaches beyond what is an address. TOO_SMALL: the records
    leave no page of it."""
    end = at + bytes
    if bytes < 0 or bytes >> ARENA_SHIFT >= MOST_PAGES or at <= 0:
        return BAD_SIZE
    cpu = Cpu(_up(at, LINE))
    kern = Kern(_up(element(cpu, 1).addr, LINE))
    caches = Cache(_up(element(kern, 1).addr, LINE))
    classes = Byte(element(caches, CACHES).addr)
    records = _up(classes.addr + CLASS_TABLE_BYTES, LINE)
    if records > end:
        return TOO_SMALL
    zero(cpu.addr, records - cpu.addr)
    kern.magic = MAGIC
    kern.version = VERSION
    kern.layout = Kern.layout
    kern.address = kern.addr
    kern.page_shift = ARENA_SHIFT
    kern.heap_map = HeapPage(records)
    pages = (end - records) >> ARENA_SHIFT
    while pages > 0 and _pages_at(kern, pages) + (pages << ARENA_SHIFT) > end:
        pages -= 1
    if pages == 0:
        return TOO_SMALL
    zero(records, map_pages(kern, pages) << ARENA_SHIFT)
    kern.heap = _pages_at(kern, pages)
    kern.cpus = cpu
    kern.cpu_count = 1
    kern.caches = caches
    kern.class_of = classes
    cpu.kern = kern
    cpu.seal = seal_cpu(cpu)
    keep_pages(cpu, pages)
    classes_init(cpu)
    boot_seal(kern)
    return cpu.addr
