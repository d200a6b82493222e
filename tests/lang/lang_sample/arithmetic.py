"""Every construct of kernel Python, as functions of two numbers."""

from kernmalloc.lang import clz, ctz, entry, failed, little, popcount, rest, shl, shr
from lang_sample.records import Node, Tally, Word

MANY = 1 << 40


@entry
def a_add(a: int, b: int) -> int:
    return a + b


@entry
def a_sub(a: int, b: int) -> int:
    return a - b


@entry
def a_mul(a: int, b: int) -> int:
    return a * b


@entry
def a_neg(a: int, b: int) -> int:
    return -a ^ ~b


@entry
def a_left(a: int, b: int) -> int:
    return a << b


@entry
def a_right(a: int, b: int) -> int:
    return a >> b


@entry
def a_bits(a: int, b: int) -> int:
    return (a & b) | (a ^ MANY) & ~b


@entry
def a_divide(a: int, b: int) -> int:
    return a // 4096 + b % 64 - a // 1 + b % 1


@entry
def a_patterns(a: int, b: int) -> int:
    return ctz(a) + 100 * clz(b) + 10_000 * popcount(a) + ctz(b) - rest(a) // 1024 + little(b) % 8


@entry
def a_failed(a: int, b: int) -> int:
    return failed(a) + 2 * failed(b) + 4 * failed(a - b)


@entry
def a_shifts(a: int, b: int) -> int:
    return shl(a, b) ^ shr(b, a)


@entry
def a_extremes(a: int, b: int) -> int:
    return max(min(a, b), min(abs(a >> 1), 7))


@entry
def a_compare(a: int, b: int) -> int:
    return (a < b) + ((a <= b) << 1) + ((a == b) << 2) + ((a != b) << 3) + ((a > b) << 4) + ((a >= b) << 5)


@entry
def a_truth(a: int, b: int) -> int:
    x = a if a == 0 or b < 0 else b
    y = 0
    if a < b or (a == 7 and not b):
        y = b
    z = not (a and b)
    w = a < b
    if x and not w:
        y ^= x
    return x ^ y ^ (z + w)


@entry
def a_chain(a: int, b: int) -> int:
    return 1 if -5 <= a < b or b == 3 or (a > -3 > b) else 0


@entry
def a_predicate(a: int, b: int) -> int:
    return a > b


@entry
def a_loops(a: int, b: int) -> int:
    n = 0
    for i in range(a & 31):
        if i == 7:
            continue
        for j in range(b & 7, i, 2):
            n += i ^ j
            if n > 500:
                break
        n += 1
    for i in range(8, 0, -1):
        n ^= i
    k = 5
    while k:
        k -= 1
        n += k
        if n < 0:
            break
    return n


@entry
def a_size(a: int, b: int) -> int:
    return (a & 255) * Node.size + b // Word.size - (a % Word.size) * -Tally.size + Tally.layout


@entry
def a_recurse(a: int, b: int) -> int:
    if a & 15 == 0:
        return b
    return a_recurse(a - 1, b ^ a)
