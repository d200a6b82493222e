"""Free bitmaps: the authority on which frames of a RAM region are free.

Concepts
  1. `words` has a bit per frame, 1 = free. `sums` has a bit per word that is not 0, `tops` a bit per sum that is not 0:
     the first free frame is three counts of trailing zeros away, and a word of `tops` covers 1 GiB of 4 KiB frames.
  2. A chunk is 512 aligned frames. `full` has a bit per chunk, 1 = all are free: large blocks are found there.
  3. Bit 0 is frame `origin`: the region's base, aligned down to the largest block that the region can hold, so that a
     block that is aligned in physical memory is aligned in the bitmap. Bits outside the region are never set.

State per frame: 1 + 1/64 + 1/4096 + 1/512 bits = 0.127 bytes. Knuth's buddies are found by alignment, not by links.

Limits: a search for one frame or a chunk starts where the last one ended; orders 1 to 8 scan words, a few ns each.

What made it fast: a whole chunk, eight words, eight bits of one sum and one bit of `full`, is set or cleared at once
(word by word, giving one back took 41 ns instead of 16). On one thread three levels beat buddy lists and LLFree.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ABSENT, Word
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.lang import clz, ctz, element, kernel, popcount, rare, shl, shr
from kernmalloc.lang.status import OK

CHUNK_ORDER = 9
CHUNK = 1 << CHUNK_ORDER
CHUNK_WORDS = CHUNK >> 6
MAX_ORDER = 18  # 1 GiB of 4 KiB frames


@kernel
def mask(bits: int) -> int:
    """The lowest `bits` bits, 1 to 64 of them."""
    return shr(-1, 64 - bits)


@kernel
def test(words: Word, bit: int) -> int:
    """1 if the bit is set."""
    return shr(element(words, bit >> 6).bits, bit & 63) & 1


@kernel
def set_bit(words: Word, bit: int) -> int:
    """Set one bit; returns the word as it was."""
    word = element(words, bit >> 6)
    old = word.bits
    word.bits = old | shl(1, bit & 63)
    return old


@kernel
def clear_bit(words: Word, bit: int) -> int:
    """Clear one bit; returns the word as it is now."""
    word = element(words, bit >> 6)
    new = word.bits & ~shl(1, bit & 63)
    word.bits = new
    return new


@kernel
def origin_of(base: int, count: int) -> int:
    """Frame of bit 0 of a region: base aligned down to the largest block that it can hold, at least a chunk."""
    align = CHUNK
    while align < count and align < 1 << MAX_ORDER:
        align = align << 1
    return base & ~(align - 1)


@kernel
def word_count(base: int, count: int) -> int:
    """Words of the free bitmap of a region: whole chunks."""
    return ((base + count - origin_of(base, count) + CHUNK - 1) >> CHUNK_ORDER) * CHUNK_WORDS


@kernel
def sum_count(words: int) -> int:
    """Words that summarise so many words."""
    return (words + 63) >> 6


@kernel
def bitmap_bytes(base: int, count: int) -> int:
    """Bytes of all four bitmaps of a region."""
    words = word_count(base, count)
    sums = sum_count(words)
    return (words + sums + sum_count(sums) + sum_count(words >> 3)) * Word.size


@kernel
def bitmap_init(region: Region, at: int) -> int:
    """Lay the bitmaps of a region out at `at`, in zeroed memory of `bitmap_bytes`: nothing is free yet."""
    region.origin = origin_of(region.base, region.count)
    region.word_count = word_count(region.base, region.count)
    sums = sum_count(region.word_count)
    region.words = Word(at)
    region.sums = element(region.words, region.word_count)
    region.tops = element(region.sums, sums)
    region.full = element(region.tops, sum_count(sums))
    region.hint = 0
    region.chunk_hint = 0
    region.free = 0
    return OK


@kernel
def _words_of_chunk(region: Region, chunk: int) -> Word:
    """The words of a chunk in the free bitmap."""
    return element(region.words, chunk * CHUNK_WORDS)


@kernel
def _chunk_is_full(region: Region, chunk: int) -> int:
    """1 if all frames of a chunk are listed. Its last word is looked at first: chunks fill from below."""
    words = _words_of_chunk(region, chunk)
    for i in range(CHUNK_WORDS - 1, -1, -1):
        if element(words, i).bits != -1:
            return 0
    return 1


@kernel
def _word_take(region: Region, word: int, bits: int) -> int:
    """Mark free frames of one word as taken."""
    listed = element(region.words, word)
    old = listed.bits
    new = old & ~bits
    listed.bits = new
    if old == -1:
        clear_bit(region.full, word >> 3)
    if new == 0:
        if clear_bit(region.sums, word) == 0:
            clear_bit(region.tops, word >> 6)
    return new


@rare
def _word_opens(region: Region, word: int) -> int:
    """A word lists frames again that listed none."""
    if set_bit(region.sums, word) == 0:
        set_bit(region.tops, word >> 6)
    return OK


@rare
def _word_fills(region: Region, word: int) -> int:
    """A word lists all its frames."""
    if _chunk_is_full(region, word >> 3) != 0:
        set_bit(region.full, word >> 3)
    return OK


@kernel
def _word_give(region: Region, word: int, bits: int) -> int:
    """Mark taken frames of one word as free."""
    listed = element(region.words, word)
    old = listed.bits
    new = old | bits
    listed.bits = new
    if old == 0:
        _word_opens(region, word)
    if new == -1:
        _word_fills(region, word)
    return new


@kernel
def _chunk_take(region: Region, chunk: int) -> int:
    """Mark a chunk of free frames as taken."""
    words = _words_of_chunk(region, chunk)
    for i in range(CHUNK_WORDS):
        element(words, i).bits = 0
    sum = element(region.sums, chunk >> 3)
    left = sum.bits & ~shl(255, (chunk & 7) << 3)
    sum.bits = left
    if left == 0:
        clear_bit(region.tops, chunk >> 3)
    return clear_bit(region.full, chunk)


@kernel
def _chunk_give(region: Region, chunk: int) -> int:
    """Mark a chunk of taken frames as free."""
    words = _words_of_chunk(region, chunk)
    for i in range(CHUNK_WORDS):
        element(words, i).bits = -1
    sum = element(region.sums, chunk >> 3)
    old = sum.bits
    sum.bits = old | shl(255, (chunk & 7) << 3)
    if old == 0:
        set_bit(region.tops, chunk >> 3)
    return set_bit(region.full, chunk)


@kernel
def bits_take(region: Region, pfn: int, count: int) -> int:
    """Mark `count` free frames from pfn on as taken."""
    bit = pfn - region.origin
    left = count
    while left > 0:
        n = min(64 - (bit & 63), left)
        if bit & (CHUNK - 1) == 0 and left >= CHUNK:
            n = CHUNK
            _chunk_take(region, bit >> CHUNK_ORDER)
        else:
            _word_take(region, bit >> 6, shl(mask(n), bit & 63))
        bit += n
        left -= n
    region.free = region.free - count
    return count


@kernel
def bits_give(region: Region, pfn: int, count: int) -> int:
    """Mark `count` taken frames from pfn on as free."""
    bit = pfn - region.origin
    left = count
    while left > 0:
        n = min(64 - (bit & 63), left)
        if bit & (CHUNK - 1) == 0 and left >= CHUNK:
            n = CHUNK
            _chunk_give(region, bit >> CHUNK_ORDER)
        else:
            _word_give(region, bit >> 6, shl(mask(n), bit & 63))
        bit += n
        left -= n
    region.free = region.free + count
    return count


@kernel
def bits_take_word(region: Region, pfn: int, most: int) -> int:
    """Mark the free frames in the word of a free frame as taken, the lowest ones, at most `most`: their bits."""
    word = (pfn - region.origin) >> 6
    bits = element(region.words, word).bits
    while popcount(bits) > most:
        bits = bits ^ shl(1, 63 - clz(bits))
    _word_take(region, word, bits)
    region.free = region.free - popcount(bits)
    return bits


@kernel
def bits_give_word(region: Region, base: int, bits: int) -> int:
    """Mark those taken frames as free whose bits are given, in the word whose bit 0 is frame `base`: how many."""
    count = popcount(bits)
    _word_give(region, (base - region.origin) >> 6, bits)
    region.free = region.free + count
    return count


@kernel
def bits_free(region: Region, pfn: int) -> int:
    """1 if the frame is free."""
    return test(region.words, pfn - region.origin)


@kernel
def first_free(region: Region) -> int:
    """The first free frame of the word where the last search ended, else the lowest one. ABSENT: there is none."""
    word = region.hint
    if element(region.words, word).bits == 0:
        group = word >> 6
        sum = element(region.sums, group).bits
        if sum == 0:
            tops = sum_count(sum_count(region.word_count))
            i = 0
            while element(region.tops, i).bits == 0:
                i += 1
                if i == tops:
                    return ABSENT
            group = (i << 6) + ctz(element(region.tops, i).bits)
            sum = element(region.sums, group).bits
        word = (group << 6) + ctz(sum)
        region.hint = word
    return region.origin + (word << 6) + ctz(element(region.words, word).bits)


@kernel
def run_length(region: Region, pfn: int, most: int) -> int:
    """How many frames from the free frame pfn on are free, at most `most`."""
    bit = pfn - region.origin
    end = region.word_count << 6
    length = 0
    while length < most and bit < end:
        n = ctz(~shr(element(region.words, bit >> 6).bits, bit & 63))
        length += n
        bit += n
        if n == 0 or bit & 63 != 0:
            break
    return min(length, most)


@kernel
def run_end(region: Region, pfn: int, count: int) -> int:
    """Behind the last taken frame in [pfn, pfn + count); pfn if all are free."""
    bit = pfn - region.origin + count
    start = pfn - region.origin
    while bit > start:
        word = (bit - 1) >> 6
        top = ((bit - 1) & 63) + 1  # bits of this word that count
        taken = ~element(region.words, word).bits & mask(top)
        low = start - (word << 6)
        if low > 0:
            taken = taken & ~mask(low)
        if taken != 0:
            return region.origin + (word << 6) + 64 - clz(taken)
        bit = word << 6
    return pfn


@kernel
def _aligned(order: int) -> int:
    """A word with a bit at every multiple of 2 ** order, order 0 to 5."""
    if order == 0:
        return -1
    if order == 1:
        return 0x5555_5555_5555_5555
    if order == 2:
        return 0x1111_1111_1111_1111
    if order == 3:
        return 0x0101_0101_0101_0101
    if order == 4:
        return 0x0001_0001_0001_0001
    return 0x0000_0001_0000_0001


@kernel
def _find_aligned(words: Word, count: int, order: int, start: int) -> int:
    """The first of 2 ** order aligned set bits in words [start, count), else in [0, start). ABSENT: there are none."""
    if order >= 6:
        whole = 1 << (order - 6)  # words of a block
        i = 0
        while i + whole <= count:
            n = 0
            while n < whole and element(words, i + n).bits == -1:
                n += 1
            if n == whole:
                return i << 6
            i += whole
        return ABSENT
    aligned = _aligned(order)
    for j in range(count):
        i = start + j
        if i >= count:
            i -= count
        starts = element(words, i).bits
        if starts != 0:
            for step in range(order):  # bits that begin 2 set ones, then 4, 8, ...
                starts = starts & shr(starts, 1 << step)
            starts = starts & aligned
            if starts != 0:
                return (i << 6) + ctz(starts)
    return ABSENT


@kernel
def find_block(region: Region, order: int) -> int:
    """The first frame of a free block of 2 ** order frames, aligned to its size. ABSENT: the region has none."""
    if order == 0:
        return first_free(region)
    if order < CHUNK_ORDER:
        bit = _find_aligned(region.words, region.word_count, order, region.hint)
        return ABSENT if bit == ABSENT else region.origin + bit
    chunks = sum_count(region.word_count >> 3)
    bit = _find_aligned(region.full, chunks, order - CHUNK_ORDER, region.chunk_hint)
    if bit == ABSENT:
        return ABSENT
    region.chunk_hint = bit >> 6
    return region.origin + (bit << CHUNK_ORDER)


@kernel
def place(pfn: int, count: int, align: int, boundary: int) -> int:
    """The lowest frame from pfn on where `count` frames may start: at a multiple of `align`, and so that they cross no
    multiple of `boundary` (0: any). Both are powers of two, and `count` is not above `boundary`."""
    at = (pfn + align - 1) & ~(align - 1)
    if boundary != 0 and (at ^ (at + count - 1)) & ~(boundary - 1) != 0:
        return (at + count - 1) & ~(boundary - 1)
    return at


@kernel
def find_range(region: Region, count: int, align: int, low: int, high: int, boundary: int) -> int:
    """The first of `count` free frames within [low, high) that start at a `place`. ABSENT: there are none."""
    end = min(high, region.base + region.count)
    pfn = max(low, region.base)
    if pfn >= end:  # limits may be any numbers: nothing is added to one that is beyond the region
        return ABSENT
    pfn = place(pfn, count, align, boundary)
    while pfn + count <= end:
        blocked = run_end(region, pfn, count)
        if blocked == pfn:
            return pfn
        pfn = place(blocked, count, align, boundary)
    return ABSENT
