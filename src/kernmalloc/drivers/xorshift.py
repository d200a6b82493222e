"""Random numbers for loops in kernel Python: Marsaglia's xorshift (2003), which needs shifts only.

Each number is the state that the next one is made of. A state that is not 0 comes back after 2 ** 64 - 1 numbers.
"""

from __future__ import annotations

from kernmalloc.lang import kernel, shl, shr


@kernel
def xorshift(x: int) -> int:
    """The number after x."""
    x = x ^ shl(x, 13)
    x = x ^ shr(x, 7)
    return x ^ shl(x, 17)
