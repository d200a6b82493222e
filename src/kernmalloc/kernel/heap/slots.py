"""Slots: where they lie in the pages of a slab, and the bits that say which of them are in use.

Concepts
  1. A slot's length is a multiple of 16 bytes, a grain. A bit for each grain of a page is set where a slot in use
     starts. So an address that is given back twice, or that lies inside a slot, has no bit set.
  2. From an address to its bit there are no loads but of constants, and no multiplication:

         grain  = (va - heap), rotated right by 4 bits: less than the heap has grains if va lies in the heap and is a
                  multiple of 16, and more if not
         record = records + (grain >> 2 & record_mask),      of a page
         word   = record + 32 + (grain >> 3 & word_mask),    and in it bit (grain & 63)

  3. Where slots start in a page follows from its cache, and from its distance from the slab's first page. The starts in
     a word are a pattern of the cache, shifted.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import GRAIN_SHIFT, MAP_SHIFT, Cpu, Gate, Kern, Word
from kernmalloc.kernel.heap.bins import record_shift, va_of
from kernmalloc.kernel.heap.slabs import NOTES_SHIFT, Cache, SlabPage, back_of, cache_at, slab_page
from kernmalloc.lang import below, inlined, kernel, minus, shl, shr
from kernmalloc.lang.status import OK

STARTS = SlabPage.offset("starts")
GRAIN = 1 << GRAIN_SHIFT
RECORD_DOWN = max(MAP_SHIFT - GRAIN_SHIFT, 0)  # from a grain's number to the place of its page's record
RECORD_UP = max(GRAIN_SHIFT - MAP_SHIFT, 0)


@kernel
def grains_of(kern: Kern, pages: int) -> int:
    """Grains in so many pages; also the number of the first grain of the page with that number."""
    return pages << (kern.page_shift - GRAIN_SHIFT)


@kernel
def slots_before(cache: Cache, bytes: int) -> int:
    """Slots that start in the first so many bytes of a slab, which are whole grains."""
    return min(((bytes + cache.size - GRAIN) * cache.reciprocal) >> 32, cache.slots)


@kernel
def first_slot(kern: Kern, page: int) -> int:
    """The number, in its slab, of the first slot that starts in a page, or behind it if none does."""
    record = slab_page(kern, page)
    return slots_before(cache_at(kern, record.cache), back_of(record) << kern.page_shift)


@kernel
def slots_at(kern: Kern, page: int) -> int:
    """How many slots start in a slab's page."""
    record = slab_page(kern, page)
    return slots_before(cache_at(kern, record.cache), (back_of(record) + 1) << kern.page_shift) - first_slot(kern, page)


@kernel
def slot_grain(kern: Kern, page: int, slot: int) -> int:
    """The grain at which the slot of that number starts, in the slab that a page belongs to."""
    record = slab_page(kern, page)
    return grains_of(kern, page - back_of(record)) + slot * (cache_at(kern, record.cache).size >> GRAIN_SHIFT)


@kernel
def starts_until(cache: Cache, first: int, at: int) -> int:
    """The bits of the slots that start in a page whose first grain is `first`, from the grain `at`, where one does, to
    the lowest one of its word."""
    # below the page's first grain are bits of another page, if pages have less than 64 grains
    return shr(cache.pattern, 63 - (at & 63)) & shl(-1, first & 63)


@kernel
def word_mask(kern: Kern) -> int:
    """A mask: from the bytes of a bit for each grain of the heap to a word of a page's own."""
    return ((1 << kern.page_shift) - 1) >> NOTES_SHIFT & -Word.size


@inlined
def starts_word(record: SlabPage, grain: int, mask: int) -> Word:
    """The word of a page's record with the bit of a grain."""
    return Word(record.addr + STARTS + (shr(grain, 3) & mask))


@kernel
def starts_at(kern: Kern, page: int, grain: int) -> Word:
    """That word, by the page."""
    return starts_word(slab_page(kern, page), grain, word_mask(kern))


@kernel
def start_turn(kern: Kern, page: int, va: int) -> int:
    """Turn the bit of the slot that starts at va, in a slab's page: it is in use now and was not, or the other way."""
    grain = (va - kern.heap) >> GRAIN_SHIFT
    word = starts_at(kern, page, grain)
    word.bits = word.bits ^ shl(1, grain & 63)
    return OK


@kernel
def starts_slot(kern: Kern, page: int, va: int) -> int:
    """1 if a slot starts at va, in a slab's page."""
    record = slab_page(kern, page)
    cache = cache_at(kern, record.cache)
    offset = va - va_of(kern, page - back_of(record))
    slot = slots_before(cache, offset)
    return 1 if slot * cache.size == offset and slot < cache.slots else 0  # where no grain begins no slot does


# --- quick paths


@kernel
def slots_aim(kern: Kern, cpu: Cpu) -> int:
    """Tell a processor's quick paths where the heap is."""
    cpu.owner = cpu.id + 1
    cpu.heap = kern.heap
    cpu.records = kern.heap_map.addr
    cpu.record_mask = -(1 << record_shift(kern))
    cpu.word_mask = word_mask(kern)
    cpu.classes = kern.class_of
    return OK


@inlined
def grain_at(cpu: Cpu, va: int) -> int:
    """The grain that starts at va. Where none does it is no number below any bound, taken without a sign."""
    offset = minus(va, cpu.heap)
    return shr(offset, GRAIN_SHIFT) | shl(offset, 64 - GRAIN_SHIFT)


@inlined
def page_record(cpu: Cpu, grain: int) -> SlabPage:
    """The record of the page that a grain of the heap lies in."""
    return SlabPage(cpu.records + (shl(shr(grain, RECORD_DOWN), RECORD_UP) & cpu.record_mask))


@inlined
def start_turn_quick(cpu: Cpu, grain: int) -> int:
    """Turn the bit of the slot that starts with a grain."""
    word = starts_word(page_record(cpu, grain), grain, cpu.word_mask)
    word.bits = word.bits ^ shl(1, grain & 63)
    return OK


@inlined
def is_own_slot(cpu: Cpu, va: int, gate: Gate) -> int:
    """1 if a slot of this processor's starts at va that is in use. 0: none does, or others gave slots of its page back,
    or the processor must look at something first."""
    grain = grain_at(cpu, va)
    if below(grain, gate.gives) == 0:
        return 0
    record = page_record(cpu, grain)
    bits = starts_word(record, grain, cpu.word_mask).bits
    # where there is no slab the owner is 0; where a page waits it is none
    return 1 if record.owner == cpu.owner and shr(bits, grain & 63) & 1 != 0 else 0
