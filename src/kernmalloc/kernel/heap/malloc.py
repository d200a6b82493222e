"""The kernel heap: malloc and free, of 1 byte to hundreds of MiB.

Concepts
  1. Up to 32 KiB a request is rounded up to a size class: multiples of 16 up to 128, then eight classes per doubling,
     so that at most an eighth is lost. Each class is a cache of slots (`slabs`). What is larger is a run of pages
     (`runs`).
  2. malloc of a class looks the class up and takes the slot on top of this processor's stack (`magazines`). There is no
     call and no loop in it.
  3. free finds the record of a page by a shift. The record says whose slab the page is of, and has a bit for where each
     slot in use starts (`slots`). An address that malloc did not give out, that was freed already, or that lies inside
     an allocation is refused, each with a status of its own, and nothing changes.
  4. malloc and free each have two ways that touch only this processor's slabs and take no lock (`locks`): the quick
     one, and one that fills a part of the stack, or settles a part of it.
  5. What the kernel allocates for itself is its own: core tables, the hash of the page cache, a source's ring, the
     tables of address spaces, region records, threads. `own_zeroed` and the kernel's own caches make such memory, and
     `own_free` takes it back. Callers are refused it, whatever they ask.
  6. All calls can block (E26): where frames are short but could be had by waiting, the status is WOULD_BLOCK. Nothing
     has been stored then, but that what is only kept ready may have gone back: empty slabs to the heap's pages, idle
     pages to page space. The caller abandons the operation, and does it again when frames come.

Bounds, in instructions of the freestanding x86_64 object. `bench/instructions.py` counts them, and holds what traces
reach against these:

    malloc   27      from the stack
             4,500   16 slots are drawn: from up to 16 pages, 110 each, and 20 for each slot; before that 35 for each
                     page of the empty slabs that are put to use, 64 at most
             20,000  under the lock: a slab of 32 pages is made, 40 each, or 16 of one page, 60 each; 128 magazines are
                     asked for empty slabs twice, 14 each, of which 8 are given back, 500 and 35 a page each, if they
                     can make the run; a run is looked for and cut, 1,500
    free     33      onto the stack
             15,000  16 slots of the stack are settled, 10 each, and 88 moved, 3 each; is a slab empty, 5 for each of
                     its 32 pages; if it is, 25 for each to leave the list
             45,000  under the lock: that, and up to 17 slabs go back to the heap's pages, as above
    a page   1,300   more for each that malloc maps, 400 for each that free unmaps

Nothing else is searched but one bin, for a run that is long enough (`bins`).

Limits: of two processors that free one block at the same moment both may be told OK; the block is free once
(`magazines`). What is not a block may be read in a page that another processor is just unmapping.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import GRAIN_SHIFT, LARGEST_CLASS, SIZE_CLASSES, Cpu, Gate, Kern
from kernmalloc.kernel.core.locks import SLOW
from kernmalloc.kernel.heap.bins import INSIDE, LARGE, OWN, SLAB, TAIL, clear_run, record_of, va_of
from kernmalloc.kernel.heap.magazines import (
    slot_give,
    slot_give_own,
    slot_give_quick,
    slot_take,
    slot_take_own,
    slot_take_quick,
)
from kernmalloc.kernel.heap.notes import slot_refusal, slot_used
from kernmalloc.kernel.heap.runs import give_pages, is_away, take_zeroed
from kernmalloc.kernel.heap.slabs import NO_LIMIT, cache_at, cache_init, is_own
from kernmalloc.kernel.heap.slots import is_own_slot
from kernmalloc.kernel.heap.supply import run_get
from kernmalloc.lang import below, clz, element, failed, inlined, kernel, minus, shr
from kernmalloc.lang.status import BAD_ADDRESS, BAD_ALIGN, BAD_SIZE, INTERIOR, NO_VA, NOT_ALLOCATED, NOT_YOURS, OK

CLASSES_BELOW = 8  # classes up to 128 bytes
CLASS_TABLE_BYTES = LARGEST_CLASS >> GRAIN_SHIFT
LARGEST_ALIGN = 1 << 30


@kernel
def class_bytes(index: int) -> int:
    """Bytes of a size class."""
    if index < CLASSES_BELOW:
        return (index + 1) << GRAIN_SHIFT
    doubling = (index - CLASSES_BELOW) >> 3
    eighth = ((index - CLASSES_BELOW) & 7) + 1
    return (128 << doubling) + eighth * (16 << doubling)


@kernel
def classes_init(cpu: Cpu) -> int:
    """Make the size classes and the table that finds them."""
    kern = cpu.kern
    grain = 0
    for i in range(SIZE_CLASSES):
        cache_init(kern, i, class_bytes(i), NO_LIMIT, 0)
        while grain << GRAIN_SHIFT < class_bytes(i):
            element(kern.class_of, grain).value = i
            grain += 1
    kern.cache_count = SIZE_CLASSES
    return OK


@kernel
def pages_for(kern: Kern, bytes: int) -> int:
    """Whole pages for so many bytes."""
    shift = kern.page_shift
    return (bytes + (1 << shift) - 1) >> shift


@kernel
def mark(kern: Kern, page: int, pages: int, use: int) -> int:
    """Make a run one allocation, LARGE or OWN: its VA."""
    if pages > 1:
        last = record_of(kern, page + pages - 1)
        last.use = TAIL
        last.pages = pages
    first = record_of(kern, page)
    first.use = use
    first.pages = pages
    return va_of(kern, page)


@kernel
def _malloc_pages(cpu: Cpu, bytes: int, align: int) -> int:
    """Whole pages for so many bytes, at a multiple of `align` pages: their VA. NO_VA, or what `run_get` says."""
    kern = cpu.kern
    if bytes > kern.heap_pages << kern.page_shift:
        return NO_VA
    pages = pages_for(kern, bytes)
    page = run_get(cpu, pages, align)
    if failed(page):
        return page
    return mark(kern, page, pages, LARGE)


@kernel
def malloc(cpu: Cpu, bytes: int) -> int:
    """Allocate `bytes` bytes, contents unknown, at a multiple of 16 bytes: the VA.

    BAD_SIZE: bytes is below 1. NO_VA: the heap's bound is reached, or no free run of pages is as long. NO_FRAMES,
    WOULD_BLOCK, PROMISED: frames are short.
    """
    if bytes <= 0:
        return BAD_SIZE
    if bytes > LARGEST_CLASS:
        return _malloc_pages(cpu, bytes, 1)
    return slot_take(cpu, class_for(cpu, bytes))


@inlined
def class_for(cpu: Cpu, bytes: int) -> int:
    """The size class of so many bytes, at most 32 KiB."""
    return element(cpu.classes, shr(minus(bytes, 1), GRAIN_SHIFT)).value


@inlined
def malloc_quick(cpu: Cpu, bytes: int, gate: Gate) -> int:
    """Take a slot for `bytes` from this processor's stack: its VA.

    SLOW: it is empty, it is no size class, or this processor must look at something first (`heed`)."""
    return slot_take_quick(cpu, class_for(cpu, bytes)) if below(minus(bytes, 1), gate.takes) != 0 else SLOW


@kernel
def malloc_own(cpu: Cpu, bytes: int, gate: Gate) -> int:
    """Fill a part of this processor's empty stack, and take a slot for `bytes`: its VA.

    SLOW: its slabs have none, it is no size class, or this processor must look at something first (`heed`)."""
    return slot_take_own(cpu, class_for(cpu, bytes)) if below(minus(bytes, 1), gate.takes) != 0 else SLOW


@kernel
def malloc_aligned(cpu: Cpu, bytes: int, align: int) -> int:
    """Allocate `bytes` bytes, contents unknown, at a multiple of `align` bytes: the VA.

    BAD_ALIGN: align is no power of two up to 1 GiB. Else a status of `malloc`.
    """
    if bytes <= 0:
        return BAD_SIZE
    if align <= 0 or align > LARGEST_ALIGN or align & (align - 1) != 0:
        return BAD_ALIGN
    shift = cpu.kern.page_shift
    if align >> shift > 1 or bytes > LARGEST_CLASS:
        return _malloc_pages(cpu, bytes, max(align >> shift, 1))
    if align <= 16:
        return malloc(cpu, bytes)
    room = max(bytes, align)
    return malloc(cpu, 1 << (64 - clz(room - 1)))  # slots of a power of two are aligned to it, up to a page


@kernel
def _zeroed(cpu: Cpu, bytes: int, use: int) -> int:
    """Whole pages of zeros for `bytes` bytes, LARGE or OWN: their VA, or a status of `malloc`."""
    kern = cpu.kern
    if bytes <= 0:
        return BAD_SIZE
    if bytes > kern.heap_pages << kern.page_shift:
        return NO_VA
    pages = pages_for(kern, bytes)
    page = take_zeroed(cpu, pages)
    if failed(page):
        return page
    return mark(kern, page, pages, use)


@kernel
def malloc_zeroed(cpu: Cpu, bytes: int) -> int:
    """Allocate whole pages of zeros for `bytes` bytes: the VA, or a status of `malloc`.

    Memory that is known to be zero is not written to.
    """
    return _zeroed(cpu, bytes, LARGE)


@kernel
def own_zeroed(cpu: Cpu, bytes: int) -> int:
    """Allocate whole pages of zeros for the kernel itself: the VA, or a status of `malloc`."""
    return _zeroed(cpu, bytes, OWN)


@kernel
def page_at(kern: Kern, va: int) -> int:
    """The heap page that va lies in; BAD_ADDRESS if the heap does not reach there."""
    page = (va >> kern.page_shift) - (kern.heap >> kern.page_shift)  # va - kern.heap may not fit 64 bits
    return page if page >= 0 and page < kern.top else BAD_ADDRESS


@kernel
def _why_not(cpu: Cpu, page: int) -> int:
    """The status that refuses an address in a page of no slab, at which no allocation of callers begins."""
    kern = cpu.kern
    if is_away(cpu, page) != 0:
        return BAD_ADDRESS
    record = record_of(kern, page)
    while record.use == INSIDE:
        page -= 1
        record = record_of(kern, page)
    if record.use == TAIL:
        record = record_of(kern, page + 1 - record.pages)
    if record.use == OWN:
        return NOT_YOURS
    return INTERIOR if record.use == LARGE else NOT_ALLOCATED


@kernel
def _run_free(cpu: Cpu, page: int) -> int:
    """Give back the run of pages that is one allocation."""
    kern = cpu.kern
    pages = record_of(kern, page).pages
    clear_run(kern, page, pages)
    return give_pages(cpu, page, pages)


@kernel
def free(cpu: Cpu, va: int) -> int:
    """Give back the allocation at va: OK.

    BAD_ADDRESS: the heap does not reach there. INTERIOR: va lies inside an allocation. NOT_ALLOCATED: it is free
    already. NOT_YOURS: it is the kernel's own. Then nothing has changed.
    """
    kern = cpu.kern
    page = page_at(kern, va)
    if failed(page):
        return page
    record = record_of(kern, page)
    if record.use == SLAB:
        return slot_give(cpu, page, va) if is_own(record.cache) == 0 else NOT_YOURS
    if record.use != LARGE:
        return _why_not(cpu, page)
    return _run_free(cpu, page) if va == va_of(kern, page) else INTERIOR


@kernel
def own_free(cpu: Cpu, va: int) -> int:
    """Give back what the kernel allocated for itself at va: OK. BAD_ADDRESS: it lies in the boot area, and stays."""
    page = page_at(cpu.kern, va)
    if failed(page):
        return page
    return slot_give(cpu, page, va) if record_of(cpu.kern, page).use == SLAB else _run_free(cpu, page)


@inlined
def free_quick(cpu: Cpu, va: int, gate: Gate) -> int:
    """Put the slot at va on this processor's stack.

    SLOW: the stack is full, it is none of this processor's slots that is in use, or it must look at something first."""
    return slot_give_quick(cpu, va) if is_own_slot(cpu, va, gate) != 0 else SLOW


@kernel
def free_own(cpu: Cpu, va: int, gate: Gate) -> int:
    """Settle a part of this processor's full stack, and put the slot at va on it.

    SLOW: it is none of this processor's slots that is in use, empty slabs must go back, or it must look at something
    first."""
    return slot_give_own(cpu, va) if is_own_slot(cpu, va, gate) != 0 else SLOW


@kernel
def size_of(cpu: Cpu, va: int) -> int:
    """Bytes that the allocation at va can hold: at least those asked for. Else a status of `free`."""
    kern = cpu.kern
    page = page_at(kern, va)
    if failed(page):
        return page
    record = record_of(kern, page)
    if record.use == SLAB:
        if is_own(record.cache) != 0:
            return NOT_YOURS
        return cache_at(kern, record.cache).size if slot_used(kern, page, va) != 0 else slot_refusal(kern, page, va)
    if record.use != LARGE:
        return _why_not(cpu, page)
    return record.pages << kern.page_shift if va == va_of(kern, page) else INTERIOR
