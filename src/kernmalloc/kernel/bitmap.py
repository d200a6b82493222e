"""Free bitmaps: the authority on which frames of a RAM region are free.

Concepts
  1. `words` has a bit per frame, 1 = free. `sums` has a bit per word that is not 0, `tops` a bit per sum that is not 0:
     the first free frame is three counts of trailing zeros away, and one top covers 1 GiB of 4 KiB frames.
  2. `full` has a bit per chunk, 512 aligned frames that are all free, from which the large blocks come.
  3. Bit 0 is frame `origin`: the region's base, aligned down to the largest block that the region can hold, so that a
     block that is aligned in physical memory is aligned in the bitmap. Bits outside the region are never set.

State per frame: 1 + 1/64 + 1/4096 + 1/512 bits = 0.127 bytes (a three-level bitmap beat buddy lists and LLFree on one
thread when measured; Knuth's buddies are found here by alignment instead of by links).

A whole chunk is eight words, eight bits of one sum and one bit of `full`, set or cleared at once: word by word, giving one
back took 41 ns instead of 16.

Limits: a search for one frame or a chunk starts where the last one ended; orders 1 to 8 scan words, a few ns each.
"""

from kernmalloc.kernel.kern import Word
from kernmalloc.kernel.regions import Region
from kernmalloc.lang import clz, ctz, kernel, popcount, rare, shl, shr
from kernmalloc.lang.status import OK

CHUNK_ORDER = 9
CHUNK = 1 << CHUNK_ORDER
MAX_ORDER = 18  # 1 GiB of 4 KiB frames
NONE = -1


@kernel
def mask(bits):
    """The lowest `bits` bits, 1 to 64 of them."""
    return shr(-1, 64 - bits)


@kernel
def test(words, bit):
    """1 if the bit is set."""
    return shr(Word(words + ((bit >> 6) << 3)).bits, bit & 63) & 1


@kernel
def set_bit(words, bit):
    """Set one bit; returns the word as it was."""
    w = Word(words + ((bit >> 6) << 3))
    old = w.bits
    w.bits = old | shl(1, bit & 63)
    return old


@kernel
def clear_bit(words, bit):
    """Clear one bit; returns the word as it is now."""
    w = Word(words + ((bit >> 6) << 3))
    new = w.bits & ~shl(1, bit & 63)
    w.bits = new
    return new


@kernel
def origin_of(base, count):
    """Frame of bit 0 for a region: base aligned down to its largest possible block, at least a chunk."""
    align = CHUNK
    while align < count and align < (1 << MAX_ORDER):
        align = align << 1
    return base & ~(align - 1)


@kernel
def word_count(base, count):
    """Words of the free bitmap of a region: whole chunks, eight words each."""
    return ((base + count - origin_of(base, count) + CHUNK - 1) >> CHUNK_ORDER) << 3


@kernel
def sum_count(words):
    """Words that summarise so many words."""
    return (words + 63) >> 6


@kernel
def bitmap_bytes(base, count):
    """Bytes of all four bitmaps of a region."""
    words = word_count(base, count)
    sums = sum_count(words)
    return (words + sums + sum_count(sums) + sum_count(words >> 3)) << 3


@kernel
def bitmap_init(region, at):
    """Lay the bitmaps of a region out at `at`, in zeroed memory of `bitmap_bytes`: nothing is free yet."""
    r = Region(region)
    r.origin = origin_of(r.base, r.count)
    r.word_count = word_count(r.base, r.count)
    sums = sum_count(r.word_count)
    r.words = at
    r.sums = r.words + (r.word_count << 3)
    r.tops = r.sums + (sums << 3)
    r.full = r.tops + (sum_count(sums) << 3)
    r.hint = 0
    r.chunk_hint = 0
    r.free = 0
    return 0


@kernel
def _chunk_is_full(r_words, chunk):
    """1 if all eight words of a chunk are all ones. The last one first: chunks fill from below."""
    at = r_words + (chunk << 6)
    for i in range(7, -1, -1):
        if Word(at + (i << 3)).bits != -1:
            return 0
    return 1


@kernel
def _word_take(region, word, bits):
    """Mark free frames of one word as taken."""
    r = Region(region)
    w = Word(r.words + (word << 3))
    old = w.bits
    new = old & ~bits
    w.bits = new
    if old == -1:
        clear_bit(r.full, word >> 3)
    if new == 0:
        if clear_bit(r.sums, word) == 0:
            clear_bit(r.tops, word >> 6)
    return new


@rare
def _word_opens(region, word):
    """A word lists frames again that listed none."""
    r = Region(region)
    if set_bit(r.sums, word) == 0:
        set_bit(r.tops, word >> 6)
    return OK


@rare
def _word_fills(region, word):
    """A word lists all its frames."""
    r = Region(region)
    if _chunk_is_full(r.words, word >> 3) != 0:
        set_bit(r.full, word >> 3)
    return OK


@kernel
def _word_give(region, word, bits):
    """Mark taken frames of one word as free."""
    w = Word(Region(region).words + (word << 3))
    old = w.bits
    new = old | bits
    w.bits = new
    if old == 0:
        _word_opens(region, word)
    if new == -1:
        _word_fills(region, word)
    return new


@kernel
def _chunk_take(region, chunk):
    """Mark a chunk of free frames as taken."""
    r = Region(region)
    at = r.words + (chunk << 6)
    for word in range(at, at + 64, 8):
        Word(word).bits = 0
    sum = Word(r.sums + ((chunk >> 3) << 3))
    left = sum.bits & ~shl(255, (chunk & 7) << 3)
    sum.bits = left
    if left == 0:
        clear_bit(r.tops, chunk >> 3)
    return clear_bit(r.full, chunk)


@kernel
def _chunk_give(region, chunk):
    """Mark a chunk of taken frames as free."""
    r = Region(region)
    at = r.words + (chunk << 6)
    for word in range(at, at + 64, 8):
        Word(word).bits = -1
    sum = Word(r.sums + ((chunk >> 3) << 3))
    old = sum.bits
    sum.bits = old | shl(255, (chunk & 7) << 3)
    if old == 0:
        set_bit(r.tops, chunk >> 3)
    return set_bit(r.full, chunk)


@kernel
def bits_take(region, pfn, count):
    """Mark `count` free frames from pfn on as taken."""
    r = Region(region)
    bit = pfn - r.origin
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
    r.free = r.free - count
    return count


@kernel
def bits_give(region, pfn, count):
    """Mark `count` taken frames from pfn on as free."""
    r = Region(region)
    bit = pfn - r.origin
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
    r.free = r.free + count
    return count


@kernel
def bits_claim(region, pfn, most):
    """Mark the free frames of the word that a free frame lies in, at most `most`, as taken: their bits."""
    r = Region(region)
    word = (pfn - r.origin) >> 6
    bits = Word(r.words + (word << 3)).bits
    while popcount(bits) > most:
        bits = bits ^ shl(1, 63 - clz(bits))
    _word_take(region, word, bits)
    r.free = r.free - popcount(bits)
    return bits


@kernel
def bits_list(region, base, bits):
    """Mark taken frames of the word whose bit 0 is frame `base` as free: how many."""
    r = Region(region)
    count = popcount(bits)
    _word_give(region, (base - r.origin) >> 6, bits)
    r.free = r.free + count
    return count


@kernel
def bits_free(region, pfn):
    """1 if the frame is free."""
    r = Region(region)
    return test(r.words, pfn - r.origin)


@kernel
def first_free(region):
    """The first free frame at or after the word where the last search ended, else the lowest one; NONE if there is none."""
    r = Region(region)
    word = r.hint
    if Word(r.words + (word << 3)).bits == 0:
        group = word >> 6
        sum = Word(r.sums + (group << 3)).bits
        if sum == 0:
            tops = sum_count(sum_count(r.word_count))
            i = 0
            while Word(r.tops + (i << 3)).bits == 0:
                i += 1
                if i == tops:
                    return NONE
            group = (i << 6) + ctz(Word(r.tops + (i << 3)).bits)
            sum = Word(r.sums + (group << 3)).bits
        word = (group << 6) + ctz(sum)
        r.hint = word
    return r.origin + (word << 6) + ctz(Word(r.words + (word << 3)).bits)


@kernel
def run_length(region, pfn, most):
    """How many frames from the free frame pfn on are free, at most `most`."""
    r = Region(region)
    bit = pfn - r.origin
    end = r.word_count << 6
    length = 0
    while length < most and bit < end:
        n = ctz(~shr(Word(r.words + ((bit >> 6) << 3)).bits, bit & 63))
        length += n
        bit += n
        if n == 0 or bit & 63 != 0:
            break
    return min(length, most)


@kernel
def run_end(region, pfn, count):
    """Where a taken frame lies in [pfn, pfn + count): the last one, plus 1; pfn if all are free."""
    r = Region(region)
    bit = pfn - r.origin + count
    start = pfn - r.origin
    while bit > start:
        word = (bit - 1) >> 6
        top = ((bit - 1) & 63) + 1  # bits of this word that count
        taken = ~Word(r.words + (word << 3)).bits & mask(top)
        low = start - (word << 6)
        if low > 0:
            taken = taken & ~mask(low)
        if taken != 0:
            return r.origin + (word << 6) + 64 - clz(taken)
        bit = word << 6
    return pfn


@kernel
def _aligned(order):
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
def _find_aligned(words, count, order, start):
    """First bit of 2 ** order set bits, aligned, in words [start, count) and then [0, start); NONE if there are none."""
    if order >= 6:
        span = 1 << (order - 6)
        i = 0
        while i + span <= count:
            n = 0
            while n < span and Word(words + ((i + n) << 3)).bits == -1:
                n += 1
            if n == span:
                return i << 6
            i += span
        return NONE
    aligned = _aligned(order)
    for j in range(count):
        i = start + j
        if i >= count:
            i -= count
        w = Word(words + (i << 3)).bits
        if w != 0:
            for step in range(order):
                w = w & shr(w, 1 << step)
            w = w & aligned
            if w != 0:
                return (i << 6) + ctz(w)
    return NONE


@kernel
def find_block(region, order):
    """First frame of a free block of 2 ** order frames, aligned to its size; NONE if the region has none."""
    r = Region(region)
    if order == 0:
        return first_free(region)
    if order < CHUNK_ORDER:
        bit = _find_aligned(r.words, r.word_count, order, r.hint)
        return NONE if bit < 0 else r.origin + bit
    chunks = sum_count(r.word_count >> 3)
    bit = _find_aligned(r.full, chunks, order - CHUNK_ORDER, r.chunk_hint)
    if bit < 0:
        return NONE
    r.chunk_hint = bit >> 6
    return r.origin + (bit << CHUNK_ORDER)


@kernel
def place(pfn, count, align, boundary):
    """The lowest frame from pfn on where `count` frames may start: at a multiple of `align`, and without crossing one of
    `boundary`. Both are powers of two; boundary 0: none. count is not above it."""
    at = (pfn + align - 1) & ~(align - 1)
    if boundary != 0 and (at ^ (at + count - 1)) & ~(boundary - 1) != 0:
        return (at + count - 1) & ~(boundary - 1)
    return at


@kernel
def find_range(region, count, align, low, high, boundary):
    """First frame of `count` free frames within [low, high) that start at a `place`; NONE if there are none."""
    r = Region(region)
    end = min(high, r.base + r.count)
    pfn = max(low, r.base)
    if pfn >= end:  # limits may be any numbers: nothing is added to one that is beyond the region
        return NONE
    pfn = place(pfn, count, align, boundary)
    while pfn + count <= end:
        blocked = run_end(region, pfn, count)
        if blocked == pfn:
            return pfn
        pfn = place(blocked, count, align, boundary)
    return NONE
