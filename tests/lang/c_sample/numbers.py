"""Numbers: every operator and statement, of two arguments.

The remarks in here */ are to be found in C.
"""

from __future__ import annotations

from kernmalloc.lang import clz, ctz, entry, failed, inlined, kernel, little, popcount, rare, rest, shl, shr
from kernmalloc.lang.status import BUSY, OK

MANY = 1 << 40  # above 32 bits
MASK = 0xFFF
PAGE, HALF_PAGE = 4096, 2048
SMALL = -7
SHIFT = 12
_HIDDEN = MASK + 1
LEAST, MOST = -(1 << 63), (1 << 63) - 1


@entry
def n_sum(a: int, b: int) -> int:
    """Sums and products, and what only signs tell."""
    return (a + b) - (b - a) - (-a) - SMALL + a * 3 - -5


@entry
def n_product(a: int, b: int) -> int:
    return a * b - (a - (b - 2)) + -b


@entry
def n_shifts(a: int, b: int) -> int:
    n = b & 31
    return (a << (b & 7)) + (a >> n) + (1 << n) + (a & MASK) * 4 + ((a & MASK) << 3) + (PAGE >> 3) + (b >> 40 << 2)


@entry
def n_bits(a: int, b: int) -> int:
    return (a & b) | ((a ^ MANY) & ~b) ^ (a | 0x10 | b & MASK) ^ ~MASK


@entry
def n_divide(a: int, b: int) -> int:
    return a // PAGE + b % 64 - a // 1 + b % 1 + a % HALF_PAGE + (a >> 8) // 4 % 2


@entry
def n_patterns(a: int, b: int) -> int:
    return ctz(a) + 100 * clz(b) + 10_000 * popcount(a) + ctz(b) - (rest(a) >> 10) + popcount(b) + clz(a)


@entry
def n_helpers(a: int, b: int) -> int:
    return shl(a, b) ^ shr(b, a) ^ failed(a) ^ failed(b) << 3 ^ little(a)


@entry
def n_extremes(a: int, b: int) -> int:
    return max(min(a, b), min(abs(a >> 1), 7))


@entry
def n_compare(a: int, b: int) -> int:
    return (a < b) + ((a <= b) << 1) + ((a == b) << 2) + ((a != b) << 3) + ((a > b) << 4) + ((a >= b) << 5)


@entry
def n_truth(a: int, b: int) -> int:
    x = (a < b and b < 100) or a == SMALL
    y = not a
    z = not (a > 3 and b > 3)
    if (a or b) and not (a and b):
        x = y
    return x + y * 2 + z * 4 + (8 if (a & 3 and b & 3) or not a & 1 else 16)


@entry
def n_chain(a: int, b: int) -> int:
    return (1 if SMALL <= a < b or b == 3 else 0) + (2 if 0 < a <= MASK <= b else 4 if a == b else 6)


@entry
def n_edges(a: int, b: int) -> int:
    x = LEAST if a < b else MOST
    return x ^ -9223372036854775808 ^ (a & MOST) ^ -2147483648 ^ 4294967295


@kernel
def _twice(a: int) -> int:
    return (a & MASK) * 2


@rare
def index(a: int) -> int:
    """A name that is a library's, and a local's."""
    return a & _HIDDEN


@inlined
def pick(static: int, b: int, unused: int) -> int:
    return static if b else -static


@entry
def n_calls(a: int, b: int) -> int:
    index_ = index(a)
    twice = _twice(b)
    _twice(a)
    never = index(b)
    never += 1
    never = 5
    return pick(index_ >> 1, twice, a) + twice + recurse(a & 15, b & MASK) + even(a & 7)


@kernel
def recurse(a: int, b: int) -> int:
    if a == 0:
        return b
    return recurse(a - 1, b ^ a)


@kernel
def even(a: int) -> int:
    return 1 if a == 0 else odd(a - 1)


@kernel
def odd(a: int) -> int:
    return 0 if a == 0 else even(a - 1)


# --- loops


@entry
def n_loops(a: int, b: int) -> int:
    # the sum of it all
    n = 0
    for i in range(a & 31):
        if i == 7:  # not this one
            continue
        for j in range(b & 7, i, 2):
            n += i ^ j
            if n > 500:
                break

    for i in range(8, 0, -1):
        n ^= i
    for i in range(n & 7):
        n += i  # the bound is taken once
    k = 5
    while k:
        k -= 1
        if n < 0:
            break
        if k == 2:
            # done
            n += 1
        elif k == 3:
            m = n & 3
            n -= m
        else:
            m = 7
            n += m
    while True:
        n -= 1
        if n < 100:
            break
        n >>= 1
    for _ in range(3):
        pass
    return n + k


@entry
def n_kept(a: int, b: int) -> int:
    """A loop's variable that is assigned in it, and read behind it."""
    n = 0
    i = 0
    for i in range(b & 15):
        i += 2
        n += i
    last = i
    for i in range(a & 3):
        last = i
    if a > b:
        found = a & MASK
    else:
        found = b & MASK
        n += 1
    for step in range(found, found - 20, -4):
        n += step
        if n > 10_000:
            return n
    return n + last + found


@entry
def n_assign(a: int, b: int) -> int:
    x = a & 0xFFFF
    x *= 3
    x += b & 7
    x -= 2
    x <<= 3
    x >>= 1
    x |= 8
    x &= ~1
    x ^= 5
    x //= 4
    x %= 1024
    return x


@entry
def n_status(a: int, b: int) -> int:
    if a == b:
        return BUSY
    elif a == 5:
        return OK
    return 1
