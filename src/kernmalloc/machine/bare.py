"""The bare machine, in kernel Python: primitives of the target itself.

`flush` and interrupts need instructions that no language has: each architecture of `machine.arch` gives them as LLVM
IR to be linked in. The rest is plain loads and stores. All these targets have pages of 4 KiB. A kernel with several
processors replaces `shootdown` by its own.

Host-level code: its accesses are to the target's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, field, i64, port, primitive, u8

invalidate = primitive("km_port_invalidate", 1, "Forget this processor's translation of the page at va.")

PAGE_SHIFT = 12


class Cell(Record):
    """Eight bytes."""

    value: i64 = field("the value")


class Byte(Record):
    """One byte."""

    value: u8 = field("the value")


@port
def flush(va: int, pages: int) -> int:
    """Forget the translations of these pages."""
    for i in range(pages):
        invalidate(va + (i << PAGE_SHIFT))
    return 0


@port
def shootdown(va: int, pages: int) -> int:
    """One processor: the same."""
    return flush(va, pages)


@port
def map(va: int, pa: int, pages: int) -> int:
    """Who keeps the page tables maps pages: a port."""
    return 0


@port
def unmap(va: int, pages: int) -> int:
    """Nothing was mapped."""
    return 0


@port
def reach() -> int:
    """A kernel with several processors supplies a shootdown of its own, and says so here."""
    return 1


@port
def barrier() -> int:
    """One processor: nobody asks."""
    return 0


@port
def forget(root: int, va: int) -> int:
    """One processor, on which that address space may be in use."""
    return flush(va, 1)


@port
def zero(va: int, bytes: int) -> int:
    """Fill with zeros, eight bytes at a time."""
    for at in range(va, va + bytes, 8):
        Cell(at).value = 0
    return 0


@port
def copy(to: int, of: int, bytes: int) -> int:
    """Copy, eight bytes at a time where both sides allow it."""
    if (to | of | bytes) & 7 == 0:
        for i in range(0, bytes, 8):
            Cell(to + i).value = Cell(of + i).value
    else:
        for i in range(bytes):
            Byte(to + i).value = Byte(of + i).value
    return 0


@port
def known_zero(pa: int, bytes: int) -> int:
    """Nobody vouches for a real machine's memory."""
    return 0
