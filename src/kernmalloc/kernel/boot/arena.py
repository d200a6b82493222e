"""Arena: a kernel that has a heap and nothing else, in a block of memory that it is given.

Concepts
  1. There are no frames and no page tables. The heap is the fixed part of one that is affine, and it is all there is:
     what no free run of it can give is refused, NO_VA.
  2. It is a build of its own (`build/arena.py`), whose layout answers for good what is asked of frames, and leaves out
     what only they need. A page may be small, for nothing maps it.
  3. The records lie at the start of the block; from left to right:

         processor, kernel, chain, caches, class table | heap map | pages

  4. Several blocks are a chain of arenas. What one has no room for, and an address that it does not know, goes on to
     the next (`calls`). All have the same types of objects, each type with its limit in each block.

    map_pages pages of heap map, which need not start on one
    heap + (heap_pages << page_shift) <= end of the block
"""

from __future__ import annotations

from kernmalloc.kernel.boot.seal import boot_seal, seal_cpu
from kernmalloc.kernel.core.kern import CACHES, MAGIC, SIZE_CLASSES, VERSION, Byte, Cpu, Kern
from kernmalloc.kernel.heap.bins import HeapPage
from kernmalloc.kernel.heap.malloc import CLASS_TABLE_BYTES, classes_init
from kernmalloc.kernel.heap.runs import keep_pages, map_pages
from kernmalloc.kernel.heap.slabs import Cache, cache_at, cache_init, cache_seal
from kernmalloc.lang import Record, element, failed, field, kernel, parameter, usize
from kernmalloc.lang.layout import LAYOUT
from kernmalloc.lang.status import BAD_SIZE, OK, OVERLAP, TOO_SMALL
from kernmalloc.machine.primitives import zero


class Chain(Record):
    """What is behind the kernel's record of an arena."""

    next: Cpu = field("the processor's record in the arena behind this one; 0: this is the last")
    end: usize = field("the end of the block")


ARENA_SHIFT = parameter("ARENA_SHIFT", 10)  # log2 of the bytes in a page
SEVERAL = parameter("SEVERAL", 0)  # 1: arenas are chained
MOST_PAGES = 1 << 17  # the bins file runs of any length up to that
ADDRESSES = {4: (1 << 32) - 1, 8: (1 << 63) - 1}[LAYOUT.reference]  # of the lower half, where they have a sign
LAST_PAGE = -4096
LINE = 64  # bytes: what records begin at a multiple of


@kernel
def _up(at: int, unit: int) -> int:
    """The next multiple of a power of two."""
    return (at + unit - 1) & -unit


@kernel
def _chain_of(cpu: Cpu) -> Chain:
    """What leads from an arena to the one behind it."""
    return Chain(_up(element(cpu.kern, 1).addr, LINE))


@kernel
def next_of(cpu: Cpu) -> Cpu:
    """The processor's record in the next arena; null behind the last one, and of what is no arena of several."""
    return _chain_of(cpu).next if SEVERAL != 0 else Cpu(0)


@kernel
def _pages_at(kern: Kern, pages: int) -> int:
    """VA of the first page, if there are so many."""
    page = 1 << kern.page_shift
    return _up(kern.heap_map.addr + (map_pages(kern, pages) << kern.page_shift), page)


@kernel
def arena_make(at: int, bytes: int) -> int:
    """Make an arena of the block of `bytes` bytes at `at`: the address of its processor's record.

    BAD_SIZE: the block has more pages than can be filed, or does not lie on one side of 0, or reaches into the last
    page of all, whose addresses would be statuses. TOO_SMALL: the records leave no page of it."""
    if bytes < 0 or bytes >> ARENA_SHIFT >= MOST_PAGES or at == 0 or at > ADDRESSES - bytes:
        return BAD_SIZE
    end = at + bytes
    if at < 0 and end > LAST_PAGE:
        return BAD_SIZE
    cpu = Cpu(_up(at, LINE))
    kern = Kern(_up(element(cpu, 1).addr, LINE))
    caches = Cache(_up(element(kern, 1).addr, LINE) + LINE)
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
    cpu.classes = classes
    cpu.seal = seal_cpu(cpu)
    _chain_of(cpu).end = end
    keep_pages(cpu, pages)
    classes_init(cpu)
    boot_seal(kern)
    return cpu.addr


@kernel
def _types_copy(kern: Kern, first: Kern) -> int:
    """Make the types of objects that another arena has."""
    for id in range(SIZE_CLASSES, first.cache_count):
        like = cache_at(first, id)
        cache_init(kern, id, like.size, like.limit, 0)
        cache = cache_at(kern, id)
        cache.object = like.object
        cache.wanted = like.wanted
        cache_seal(cache)
    kern.cache_count = first.cache_count
    return OK


@kernel
def arena_add(cpu: Cpu, at: int, bytes: int) -> int:
    """Give an arena another block of memory, of `bytes` bytes at `at`: OK.

    OVERLAP: it has some of that already. Else a status of `arena_make`."""
    last = cpu
    each = cpu
    while each != 0:
        if at < _chain_of(each).end and each.addr < at + bytes:
            return OVERLAP
        last = each
        each = next_of(each)
    made = arena_make(at, bytes)
    if failed(made):
        return made
    _types_copy(Cpu(made).kern, cpu.kern)
    _chain_of(last).next = Cpu(made)
    return OK
