"""Operations on int64 as 64-bit patterns, one instruction or a few on every target, and the same under CPython."""

from __future__ import annotations

_MASK, _SIGN = (1 << 64) - 1, 1 << 63


def ctz(x: int) -> int:
    """Zero bits below the lowest one; 64 for 0."""
    x &= _MASK
    return (x & -x).bit_length() - 1 if x else 64


def clz(x: int) -> int:
    """Zero bits above the highest one; 64 for 0, 0 for negative x."""
    return 64 - (x & _MASK).bit_length()


def popcount(x: int) -> int:
    """One bits; 64 for -1."""
    return (x & _MASK).bit_count()


def rest(x: int) -> int:
    """x without its lowest one bit; 0 for 0."""
    x &= _MASK
    return (((x & (x - 1)) + _SIGN) & _MASK) - _SIGN if x else 0


def shl(x: int, n: int) -> int:
    """x shifted left by n (0..63), dropping what leaves int64: shl(1, 63) is its least value. `<<` may not overflow."""
    return (((x << (n & 63)) + _SIGN) & _MASK) - _SIGN


def shr(x: int, n: int) -> int:
    """x shifted right by n (0..63), filling with zeros. (`>>` keeps the sign.)"""
    return ((((x & _MASK) >> (n & 63)) + _SIGN) & _MASK) - _SIGN


def minus(x: int, y: int) -> int:
    """x - y, dropping what leaves int64: how far apart two addresses are, wherever they lie."""
    return ((x - y + _SIGN) & _MASK) - _SIGN


def below(x: int, y: int) -> int:
    """1 if x < y where both are taken as numbers without a sign: of y >= 0, if 0 <= x < y; else 0."""
    return 1 if x & _MASK < y & _MASK else 0


def failed(x: int) -> int:
    """1 if x is a status that refuses, in [-4095, -1]; 0 if it is OK, a count or an address, which may be negative."""
    return 1 if -4095 <= x < 0 else 0


def sure(x: int) -> int:
    """Say that x is not 0, so that compilers need not ask. The twin asks. Gives 0."""
    if x == 0:
        raise OverflowError("what the kernel is sure of is not so")
    return 0


def little(x: int) -> int:
    """The word that has, in memory, the bytes of x from the lowest to the highest: x on little-endian targets."""
    return x


def poison(addr: int, bytes: int) -> int:
    """Nobody may touch these bytes from now on. A sanitizer of C tells who does; elsewhere nothing happens. Gives 0."""
    return 0


def unpoison(addr: int, bytes: int) -> int:
    """From now on these bytes may be touched again. Gives 0."""
    return 0


def ram_at(phys: int, pa: int) -> int:
    """Host address of physical address `pa`, of RAM whose first byte is at `phys`. In life wasm it is where the frame's
    memory is, and the frame has memory from now on. For machines, not for the kernel."""
    return phys + pa


def ram_given(pa: int) -> int:
    """1 if the frame at `pa` has memory. In life wasm a frame has none before it is written, and reads as zeros."""
    return 1


INTRINSICS = (
    ctz, clz, popcount, rest, shl, shr, minus, below, failed, sure, little, poison, unpoison, ram_at, ram_given
)  # fmt: skip
