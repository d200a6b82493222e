"""Seals: sums of what never changes, by which damage to it is found before anything is read through it.

Concepts
  1. A record that is followed before it can be checked names its constants. Its seal is made of them when it is made
     (`lang/verify.py`), and `check` makes it once more. Whoever changes a constant seals the record again.
  2. A seal takes numbers one by one: it is turned, and the number is laid over it. No bit is ever lost, so that a
     single wrong bit always shows; damage to two words hides with a chance of 2 ** -64.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import Word
from kernmalloc.lang import kernel, shl, shr

TURN = 7  # has no divisor in common with 64: a bit that is turned goes through all places


@kernel
def mixed(seal: int, value: int) -> int:
    """The seal with one more number in it."""
    return (shl(seal, TURN) | shr(seal, 64 - TURN)) ^ value


@kernel
def mixed_words(seal: int, first: int, end: int) -> int:
    """The seal with the words of memory [first, end) in it."""
    for at in range(first, end, Word.size):
        seal = mixed(seal, Word(at).bits)
    return seal


@kernel
def folded(seal: int) -> int:
    """A seal in 32 bits."""
    return (seal ^ shr(seal, 32)) & 0xFFFFFFFF
