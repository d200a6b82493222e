"""Notes: how a slot comes back that another processor gives back, and who may take slots meanwhile.

Concepts
  1. Who gives a slot of another processor's slab back notes it, under the lock. The notes of a page are a bit for each
     64th of it, in its record. Where more than one slot may start in a 64th, they are a bit for each grain, in the last
     128th of the page, which has no slots then.
  2. The page goes on a list of its owner's. WAITS is set in its record. The owner's quick takes are shut.
     So the owner looks at its notes (`heed`) before it takes another slot, and puts the pages on the lists of its
     magazines. It makes the noted slots free (`magazines`) when it has nothing else left, before it makes a slab, when
     it frees a slot of such a page, and when it drains.
  3. A block that its owner and another processor free at the same moment is free once. Both may find it in use: the
     owner takes no lock. Its slot is then free, and noted. Who takes slots has seen all notes that were there before;
     of a slot that is free already the note is dropped then, before the slot can be taken. While a page waits and its
     owner has seen that, the owner frees slots of it under the lock. So a note never frees a slot that was taken after
     it was written.

    waiting != 0  <=>  the page has notes  <=>  WAITS is in its owner
    given of a page = its notes, modulo 256
    a note is of a free slot  =>  its page is noted, and the owner's quick takes are shut
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, GRAIN_SHIFT, LARGEST_CLASS, Cpu, Kern, Word
from kernmalloc.kernel.core.locks import gate_of, grains_mapped, takes_shut
from kernmalloc.kernel.frames.claims import short
from kernmalloc.kernel.heap.bins import va_of
from kernmalloc.kernel.heap.slabs import (
    END,
    NOTES_SHIFT,
    WAITS,
    SlabPage,
    cache_at,
    cpu_at,
    is_dense,
    own_magazine,
    owner_at,
    slab_page,
)
from kernmalloc.kernel.heap.slots import starts_at, starts_slot
from kernmalloc.lang import ctz, element, inlined, kernel, popcount, rare, rest, shl, shr
from kernmalloc.lang.status import INTERIOR, NOT_ALLOCATED, OK


@kernel
def has_many(kern: Kern, page: int) -> int:
    """1 if a slab's page has a note for each grain."""
    return is_dense(cache_at(kern, slab_page(kern, page).cache).size, kern.page_shift)


@kernel
def _many_words(kern: Kern) -> int:
    """Words that have a bit for each grain of a page."""
    return 1 << kern.page_shift >> (NOTES_SHIFT + 3)


@kernel
def _many(kern: Kern, page: int) -> Word:
    """Notes for each grain of a page: the words are as those of its record, `starts`."""
    return Word(va_of(kern, page + 1) - (1 << kern.page_shift >> NOTES_SHIFT))


@kernel
def note_words(kern: Kern, page: int) -> int:
    """Words of notes that a slab's page has."""
    return _many_words(kern) if has_many(kern, page) != 0 else 1


@kernel
def notes_of(kern: Kern, page: int) -> Word:
    """The notes of a slab's page."""
    return _many(kern, page) if has_many(kern, page) != 0 else slab_page(kern, page).returned


@kernel
def note_shift(kern: Kern, page: int) -> int:
    """log2 of the bytes of a page for which there is one note: at most one slot starts in them."""
    return GRAIN_SHIFT if has_many(kern, page) != 0 else kern.page_shift - 6


@kernel
def note_of(kern: Kern, page: int, va: int) -> int:
    """The number of the note for a slot that starts at va."""
    return (va - va_of(kern, page)) >> note_shift(kern, page)


@kernel
def note_word(kern: Kern, page: int, number: int) -> Word:
    """The word of a page's notes that has the note of that number."""
    return element(notes_of(kern, page), number >> 6)


@inlined
def is_noted(kern: Kern, page: int, va: int) -> int:
    """1 if another processor gave the slot back that starts at va."""
    note = note_of(kern, page, va)
    return shr(note_word(kern, page, note).bits, note & 63) & 1


@kernel
def slot_used(kern: Kern, page: int, va: int) -> int:
    """1 if the slot that starts at va, in a slab's page, is in use. 0: it is free, or none starts there."""
    grain = (va - kern.heap) >> GRAIN_SHIFT
    started = shr(starts_at(kern, page, grain).bits, grain & 63) & 1
    return 1 if started != 0 and va & ((1 << GRAIN_SHIFT) - 1) == 0 and is_noted(kern, page, va) == 0 else 0


@rare
def slot_refusal(kern: Kern, page: int, va: int) -> int:
    """The status that refuses va, in a slab's page, where no slot in use starts."""
    return NOT_ALLOCATED if starts_slot(kern, page, va) != 0 else INTERIOR


@kernel
def notes_clear(kern: Kern, page: int) -> int:
    """Clear the notes of a new slab that do not lie in records, which have none."""
    for number in range(note_words(kern, page)):
        element(notes_of(kern, page), number).bits = 0
    return OK


@kernel
def note(kern: Kern, page: int, va: int) -> int:
    """Note the slot in use that starts at va for its owner, another processor, to fetch."""
    record = slab_page(kern, page)
    number = note_of(kern, page, va)
    word = note_word(kern, page, number)
    word.bits = word.bits | shl(1, number & 63)
    record.given = record.given + 1
    if record.waiting == 0:  # else the owner has seen that the page waits, or will before it takes a slot
        owner = cpu_at(kern, owner_at(kern, page) - 1)
        record.owner = record.owner | WAITS
        record.waiting = owner.noted if owner.noted != 0 else END
        owner.noted = page + 1
        takes_shut(owner)
    return OK


@rare
def _count(bits: int) -> int:
    """Bits that are set."""
    return popcount(bits)


@kernel
def noted_start(page: SlabPage, number: int, shift: int) -> int:
    """The grain, in its page, of the slot that a note is of, by number: the start that is set in its 2 ** shift bytes.
    ABSENT: none is."""
    grain = number << (shift - GRAIN_SHIFT)
    bits = shr(element(page.starts, grain >> 6).bits, grain & 63) & (shl(2, (1 << (shift - GRAIN_SHIFT)) - 1) - 1)
    return grain + ctz(bits) if bits != 0 else ABSENT


@kernel
def _heed_many(kern: Kern, page: int) -> int:
    """Drop the notes of free slots in a page with a note for each grain: how many are left."""
    notes = _many(kern, page)
    starts = slab_page(kern, page).starts
    left = 0
    for number in range(_many_words(kern)):
        bits = element(notes, number).bits & element(starts, number).bits
        element(notes, number).bits = bits
        left += _count(bits)
    return left


@kernel
def _heed_few(kern: Kern, page: int) -> int:
    """Drop the notes of free slots in a page with 64 notes: how many are left."""
    record = slab_page(kern, page)
    left = record.returned.bits
    bits = left
    while bits != 0:
        bit = ctz(bits)
        bits = rest(bits)
        if noted_start(record, bit, kern.page_shift - 6) == ABSENT:
            left = left & ~shl(1, bit)
    record.returned.bits = left
    return _count(left)


@kernel
def _fetch_many(kern: Kern, page: int) -> int:
    """Make the noted slots free in a page with a note for each grain: how many there were."""
    notes = _many(kern, page)
    starts = slab_page(kern, page).starts
    count = 0
    for number in range(_many_words(kern)):
        bits = element(notes, number).bits
        element(notes, number).bits = 0
        element(starts, number).bits = element(starts, number).bits & ~bits
        count += _count(bits)
    return count


@kernel
def _fetch_few(kern: Kern, page: int) -> int:
    """Make the noted slots free in a page with 64 notes: how many there were."""
    record = slab_page(kern, page)
    bits = record.returned.bits
    record.returned.bits = 0
    count = 0
    while bits != 0:
        grain = noted_start(record, ctz(bits), kern.page_shift - 6)
        starts = element(record.starts, grain >> 6)
        starts.bits = starts.bits & ~shl(1, grain & 63)
        bits = rest(bits)
        count += 1
    return count


@kernel
def fetch_page(kern: Kern, page: int) -> int:
    """Make the noted slots of a page free, which its owner has seen: how many there were. It has no notes then."""
    record = slab_page(kern, page)
    record.waiting = 0
    record.given = 0
    record.owner = record.owner & ~WAITS
    return _fetch_many(kern, page) if has_many(kern, page) != 0 else _fetch_few(kern, page)


@kernel
def heed(cpu: Cpu) -> int:
    """Look at what other processors gave back since the last time: takes need not wait for that any more.

    A note of a slot that this processor has free itself is dropped: both gave it back at the same moment."""
    kern = cpu.kern
    while cpu.noted != 0:
        page = cpu.noted - 1
        record = slab_page(kern, page)
        cpu.noted = record.waiting if record.waiting != END else 0
        magazine = own_magazine(cpu, record.cache)
        left = _heed_many(kern, page) if has_many(kern, page) != 0 else _heed_few(kern, page)
        record.given = left
        if left == 0:
            record.waiting = 0
            record.owner = cpu.owner
        else:
            record.waiting = magazine.returned if magazine.returned != 0 else END
            magazine.returned = page + 1
    gate = gate_of(cpu)
    if gate.gives != 0:
        gate.takes = LARGEST_CLASS
    return OK


# --- gates


@kernel
def slots_open(cpu: Cpu) -> int:
    """Open this processor's quick paths to slots, or shut them: while threads wait, and takes also until it has looked
    at its notes."""
    gate = gate_of(cpu)
    gate.gives = grains_mapped(cpu.kern) if short(cpu.kern) == 0 else 0
    gate.takes = LARGEST_CLASS if gate.gives != 0 and cpu.noted == 0 else 0
    return OK


@kernel
def takes_open(cpu: Cpu) -> int:
    """Before this processor takes a slot under the lock: open its gate, if it is shut to takes, as far as may be."""
    if gate_of(cpu).takes == 0:
        heed(cpu)
        slots_open(cpu)
    return OK


@kernel
def gives_open(cpu: Cpu) -> int:
    """Before this processor gives a slot back under the lock: open its gate as far as may be, and as the heap map is
    long."""
    if gate_of(cpu).gives < grains_mapped(cpu.kern):
        slots_open(cpu)
    return OK
