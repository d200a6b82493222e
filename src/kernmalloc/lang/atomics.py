"""Atomic operations on the word at an address. They go through the same memory as record fields.

Addresses are naturally aligned. 32-bit results zero-extend; 32-bit operands are truncated. Under CPython a memory that
several processors share sees each as one access. On bare targets without 64-bit atomics (none of the five shipped) only
the 32-bit forms may be used.
"""

from __future__ import annotations

from kernmalloc.lang import memory

_SIGN = 1 << 63


def _cut(value: int, width: int) -> int:
    mask = (1 << 8 * width) - 1
    return value & mask if width < 8 else ((value + _SIGN) & mask) - _SIGN


def _cas(addr: int, old: int, new: int, width: int) -> int:
    def step() -> int:
        if memory.load(addr, width) != _cut(old, width):
            return 0
        memory.store(addr, width, _cut(new, width))
        return 1

    return memory.atomically(step)


def cas32(addr: int, old: int, new: int) -> int:
    """If the u32 at addr is old, make it new: 1 if so (acquire and release), else 0."""
    return _cas(addr, old, new, 4)


def cas64(addr: int, old: int, new: int) -> int:
    """If the i64 at addr is old, make it new: 1 if so (acquire and release), else 0."""
    return _cas(addr, old, new, 8)


def load_acquire32(addr: int) -> int:
    """The u32 at addr; later accesses stay behind it."""
    return memory.load(addr, 4)


def load_acquire64(addr: int) -> int:
    """The i64 at addr; later accesses stay behind it."""
    return memory.load(addr, 8)


def store_release32(addr: int, value: int) -> int:
    """Put value into the u32 at addr after every earlier access; gives 0."""
    memory.store(addr, 4, _cut(value, 4))
    return 0


def store_before32(addr: int, value: int) -> int:
    """Put value into the u32 at addr; in the program no later access comes before it. Other processors may see those
    first: who depends on it has them pass a barrier. Gives 0."""
    memory.store(addr, 4, _cut(value, 4))
    return 0


def pause() -> int:
    """Tell the processor that this is a spin loop; gives 0."""
    return memory.pause()


ATOMICS = (cas32, cas64, load_acquire32, load_acquire64, store_release32, store_before32, pause)
