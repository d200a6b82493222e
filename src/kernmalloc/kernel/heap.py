"""The kernel heap: malloc and free, of 1 byte to hundreds of MiB.

Concepts
  1. Up to 32 KiB a request is rounded up to a size class: multiples of 16 up to 128, then eight classes per doubling,
     so that at most an eighth is lost. Each class is a cache of slots (`slabs`). Above that it is a run of pages (`runs`).
  2. malloc of a class is: look the class up, take the slot on top of this processor's stack (`magazines`), or one of the word
     of a bitmap that it points at. No call, no loop.
  3. free finds the page's record by a shift, and everything else in that record: whose slab the page is of, and which slot
     begins at the address. An address that malloc did not give out, that was freed already, or that lies inside an allocation
     is refused with a status of its own and changes nothing.
  4. All calls can block (E26): where frames are short but could be had by waiting the status is WOULD_BLOCK, and nothing
     has been stored, but for idle pages that went back to page space; whoever called abandons the operation and does it
     again when frames come.

  5. Both have two ways that touch only this processor's slabs and take no lock (`locks`): the quick one, and one that moves on to
     the next word, or empties the stack into the slabs.

Limits: of two processors that free one block at the same moment both may be told OK, and what is not a block may be read
in a page that another processor is just unmapping. One after the other is refused like every wrong free.

Bounds, in instructions of the freestanding x86_64 object (`bench/instructions.py` counts them, and holds what traces reach
against these):

    malloc   31      from the stack, or from the word pointed at
             700     from the next word: 113, and 15 for each of the 32 pages of a spare slab that is put to use
             20,000  under the lock: a slab of 32 pages is made, 70 each; 128 magazines are asked for spare slabs, 14 each, of which
                     8 are given back, 500 and 35 a page each; a run is looked for and cut, 1,500
    free     63      onto the stack
             15,000  the stack's 16 slots are settled: 30 each; whether a slab is spare, 10 for each of its 32 pages; if it is, 17 for
                     each to leave the list
             45,000  under the lock: that, and up to 17 slabs go back to the heap's pages, as above
    a page   1,300   more for each that malloc maps, 400 for each that free unmaps

Nothing else is searched but one bin of runs for one that is long enough (`bins`).
"""

from kernmalloc.kernel.bins import LARGE, NONE, SLAB, TAIL, HeapPage, clear_run, record_of, va_of
from kernmalloc.kernel.kern import SIZE_CLASSES, Byte, Cpu, Kern
from kernmalloc.kernel.locks import SLOW
from kernmalloc.kernel.runs import give_pages, take_zeroed, trim, unfix_pages
from kernmalloc.kernel.magazines import (
    cache_drain,
    slot_give,
    slot_give_next,
    slot_give_quick,
    slot_take,
    slot_take_next,
    slot_take_quick,
)
from kernmalloc.kernel.slabs import Cache, SlabPage, cache_at, cache_init, pages_get, slot_free, slot_number
from kernmalloc.kernel.stock import stock_drain
from kernmalloc.kernel.threads import short
from kernmalloc.lang import clz, inlined, kernel
from kernmalloc.lang.status import BAD_ADDRESS, BAD_ALIGN, BAD_SIZE, INTERIOR, NO_VA, NOT_ALLOCATED, OK

GRAIN_SHIFT = 4  # sizes are multiples of 16, which is also every allocation's least alignment
CLASSES_BELOW = 8  # classes up to 128 bytes
LARGEST_CLASS = 32768
CLASS_TABLE_BYTES = (LARGEST_CLASS >> GRAIN_SHIFT) + 1
LARGEST_ALIGN = 1 << 30
ENDLESS = 1 << 40  # a limit that no size class reaches


@kernel
def class_bytes(index):
    """Bytes of a size class."""
    if index < CLASSES_BELOW:
        return (index + 1) << GRAIN_SHIFT
    doubling = (index - CLASSES_BELOW) >> 3
    eighth = ((index - CLASSES_BELOW) & 7) + 1
    return (128 << doubling) + eighth * (16 << doubling)


@kernel
def classes_init(cpu):
    """Make the size classes and the table that finds them."""
    k = Kern(Cpu(cpu).kern)
    grain = 0
    for i in range(SIZE_CLASSES):
        cache_init(k.addr, i, class_bytes(i), ENDLESS, 0)
        while grain << GRAIN_SHIFT <= class_bytes(i):
            Byte(k.class_of + grain).value = i
            grain += 1
    k.cache_count = SIZE_CLASSES
    k.quick = LARGEST_CLASS
    return OK


@kernel
def pages_for(kern, bytes):
    """Whole pages for so many bytes."""
    shift = Kern(kern).page_shift
    return (bytes + (1 << shift) - 1) >> shift


@kernel
def _mark_large(kern, page, pages):
    """Make a run one allocation; returns its VA."""
    if pages > 1:
        last = HeapPage(record_of(kern, page + pages - 1))
        last.use = TAIL
        last.pages = pages
    h = HeapPage(record_of(kern, page))
    h.use = LARGE
    h.pages = pages
    return va_of(kern, page)


@kernel
def _malloc_pages(cpu, bytes, align):
    """A run of pages for so many bytes, at a multiple of `align` pages."""
    k = Kern(Cpu(cpu).kern)
    if bytes > k.heap_pages << k.page_shift:
        return NO_VA
    pages = pages_for(k.addr, bytes)
    page = pages_get(cpu, pages, align)
    if page < 0:
        return page
    return _mark_large(k.addr, page, pages)


@kernel
def malloc(cpu, bytes):
    """Memory for `bytes`, contents unknown, aligned to 16: its VA. BAD_SIZE, NO_VA at the bound, WOULD_BLOCK, NO_FRAMES."""
    if bytes <= 0:
        return BAD_SIZE
    if bytes > LARGEST_CLASS:
        return _malloc_pages(cpu, bytes, 1)
    return slot_take(cpu, _class_for(cpu, bytes))


@inlined
def _class_for(cpu, bytes):
    """The size class of so many bytes, of which there are slots."""
    return Byte(Kern(Cpu(cpu).kern).class_of + ((bytes + 15) >> GRAIN_SHIFT)).value


@kernel
def malloc_quick(cpu, bytes):
    """The same from this processor's stack. SLOW: from elsewhere, or not at all."""
    return slot_take_quick(cpu, _class_for(cpu, bytes)) if bytes > 0 and bytes <= Kern(Cpu(cpu).kern).quick else SLOW


@kernel
def malloc_next(cpu, bytes):
    """The same from this processor's slabs. SLOW: as `malloc_quick`."""
    return slot_take_next(cpu, _class_for(cpu, bytes)) if bytes > 0 and bytes <= Kern(Cpu(cpu).kern).quick else SLOW


@kernel
def malloc_aligned(cpu, bytes, align):
    """The same at a multiple of `align`, a power of two up to 1 GiB. BAD_ALIGN too."""
    if bytes <= 0:
        return BAD_SIZE
    if align <= 0 or align > LARGEST_ALIGN or align & (align - 1) != 0:
        return BAD_ALIGN
    shift = Kern(Cpu(cpu).kern).page_shift
    if align >> shift > 1 or bytes > LARGEST_CLASS:
        return _malloc_pages(cpu, bytes, max(align >> shift, 1))
    if align <= 16:
        return malloc(cpu, bytes)
    room = max(bytes, align)
    return malloc(cpu, 1 << (64 - clz(room - 1)))  # slots of a power of two are aligned to it, up to a page


@kernel
def malloc_zeroed(cpu, bytes):
    """Whole pages of zeros for `bytes`, from where memory known to be zero costs nothing. As `malloc`."""
    k = Kern(Cpu(cpu).kern)
    if bytes <= 0:
        return BAD_SIZE
    if bytes > k.heap_pages << k.page_shift:
        return NO_VA
    pages = pages_for(k.addr, bytes)
    page = take_zeroed(cpu, pages)
    if page < 0:
        return page
    return _mark_large(k.addr, page, pages)


@kernel
def page_at(kern, va):
    """The heap page that va lies in, or BAD_ADDRESS where the heap has never been."""
    k = Kern(kern)
    if va < k.heap:
        return BAD_ADDRESS
    page = (va - k.heap) >> k.page_shift
    return page if page < k.top else BAD_ADDRESS


@kernel
def _why_not(kern, page):
    """Why an address in a page that starts no allocation and is in no slab is refused."""
    use = HeapPage(record_of(kern, page)).use
    while use == NONE:
        page -= 1
        use = HeapPage(record_of(kern, page)).use
    if use == LARGE or use == TAIL:
        return INTERIOR
    return NOT_ALLOCATED


@kernel
def free(cpu, va):
    """Give memory back. BAD_ADDRESS, INTERIOR, NOT_ALLOCATED: nothing changes."""
    kern = Cpu(cpu).kern
    page = page_at(kern, va)
    if page < 0:
        return page
    h = HeapPage(record_of(kern, page))
    if h.use == SLAB:
        return slot_give(cpu, page, va)
    if h.use != LARGE:
        return _why_not(kern, page)
    if va != va_of(kern, page):
        return INTERIOR
    pages = h.pages
    clear_run(kern, page, pages)
    return give_pages(cpu, page, pages)


@inlined
def _page_quick(cpu, va):
    """The heap page that va lies in. SLOW: none, or threads wait for what is given back."""
    k = Kern(Cpu(cpu).kern)
    if va < k.heap:
        return SLOW
    page = (va - k.heap) >> k.page_shift
    return page if page < k.top and short(k.addr) == 0 else SLOW


@kernel
def free_quick(cpu, va):
    """The same onto this processor's stack. SLOW: to elsewhere, or not at all."""
    page = _page_quick(cpu, va)
    return slot_give_quick(cpu, page, va) if page >= 0 else SLOW


@kernel
def free_next(cpu, va):
    """The same into this processor's slabs. SLOW: as `free_quick`."""
    page = _page_quick(cpu, va)
    return slot_give_next(cpu, page, va) if page >= 0 else SLOW


@kernel
def size_of(cpu, va):
    """Bytes that the allocation at va can hold. The statuses of `free`."""
    kern = Cpu(cpu).kern
    page = page_at(kern, va)
    if page < 0:
        return page
    h = HeapPage(record_of(kern, page))
    if h.use == SLAB:
        slot = slot_number(kern, page, va)
        if slot < 0:
            return slot
        return NOT_ALLOCATED if slot_free(kern, page, slot) != 0 else Cache(cache_at(kern, SlabPage(h.addr).cache)).size
    if h.use != LARGE:
        return _why_not(kern, page)
    return h.pages << Kern(kern).page_shift if va == va_of(kern, page) else INTERIOR


@kernel
def drain(cpu):
    """Put this processor's frames and magazines back, give empty slabs and idle pages back: the heap at its smallest."""
    kern = Cpu(cpu).kern
    stock_drain(cpu)
    for id in range(Kern(kern).cache_count):
        cache_drain(cpu, cache_at(kern, id))
    return trim(cpu, 0)


@kernel
def release(cpu):
    """Give back what was reserved in excess: the whole large pages at the end of the fixed part that nobody uses (C18).

    For good: the heap's bound goes down with it. Returns how many pages that was."""
    drain(cpu)
    pages = unfix_pages(cpu)
    k = Kern(Cpu(cpu).kern)
    k.released = k.released + pages
    return pages
