"""Every construct of kernel Python, as functions of two numbers."""

from kernmalloc.lang import clz, ctz, entry, popcount, rest, shl, shr

MANY = 1 << 40


@entry
def a_add(a, b):
    return a + b


@entry
def a_sub(a, b):
    return a - b


@entry
def a_mul(a, b):
    return a * b


@entry
def a_neg(a, b):
    return -a ^ ~b


@entry
def a_left(a, b):
    return a << b


@entry
def a_right(a, b):
    return a >> b


@entry
def a_bits(a, b):
    return (a & b) | (a ^ MANY) & ~b


@entry
def a_divide(a, b):
    return a // 4096 + b % 64 - a // 1 + b % 1


@entry
def a_patterns(a, b):
    return ctz(a) + 100 * clz(b) + 10_000 * popcount(a) + ctz(b) - rest(a) // 1024


@entry
def a_shifts(a, b):
    return shl(a, b) ^ shr(b, a)


@entry
def a_extremes(a, b):
    return max(min(a, b), min(abs(a >> 1), 7))


@entry
def a_compare(a, b):
    return (a < b) + ((a <= b) << 1) + ((a == b) << 2) + ((a != b) << 3) + ((a > b) << 4) + ((a >= b) << 5)


@entry
def a_truth(a, b):
    x = a and b
    y = a or b
    z = not a
    w = a < b
    if x and not w:
        z = x
    return x ^ y ^ (z + w)


@entry
def a_chain(a, b):
    return 1 if -5 <= a < b or b == 3 else 0


@entry
def a_predicate(a, b):
    return a > b


@entry
def a_loops(a, b):
    n = 0
    for i in range(a & 31):
        if i == 7:
            continue
        for j in range(b & 7, i, 2):
            n += i ^ j
            if n > 500:
                break
        else:
            n += 1
    for i in range(8, 0, -1):
        n ^= i
    k = 5
    while k:
        k -= 1
        n += k
        if n < 0:
            break
    else:
        n += 3
    return n


@entry
def a_recurse(a, b):
    if a & 15 == 0:
        return b
    return a_recurse(a - 1, b ^ a)
