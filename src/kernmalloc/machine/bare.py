"""The bare machine, in kernel Python: primitives of the target itself.

`flush` and interrupts need instructions that no language has: each architecture of `machine.arch` gives them as LLVM
IR to be linked in. The rest is plain loads and stores, unless an architecture gives it, too: x86 fills and copies
memory by string instructions. All these targets have pages of 4 KiB. A kernel with several processors replaces
`shootdown` by its own.

Host-level code: its accesses are to the target's memory.
"""

from __future__ import annotations

from kernmalloc.lang import Record, element, field, i64, kernel, port, primitive, u8

invalidate = primitive("km_port_invalidate", 1, "Forget this processor's translation of the page at va.")

PAGE_SHIFT = 12
LINE, HALF = 64, 32  # bytes that are filled, and copied, without a branch


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


@kernel
def _zero_line(line: Cell) -> int:
    """Fill 64 bytes with zeros."""
    line.value = 0
    element(line, 1).value = 0
    element(line, 2).value = 0
    element(line, 3).value = 0
    element(line, 4).value = 0
    element(line, 5).value = 0
    element(line, 6).value = 0
    element(line, 7).value = 0
    return 0


@kernel
def _copy_half(to: Cell, of: Cell) -> int:
    """Copy 32 bytes, loads first: a processor that stores two words at once does."""
    first = of.value
    second = element(of, 1).value
    third = element(of, 2).value
    fourth = element(of, 3).value
    to.value = first
    element(to, 1).value = second
    element(to, 2).value = third
    element(to, 3).value = fourth
    return 0


@port
def zero(va: int, bytes: int) -> int:
    """Fill with zeros, 64 bytes at a time as far as they go."""
    lines = va + (bytes & -LINE)
    for at in range(va, lines, LINE):
        _zero_line(Cell(at))
    for at in range(lines, va + bytes, 8):
        Cell(at).value = 0
    return 0


@port
def zero_ram(pa: int, bytes: int) -> int:
    """RAM is reached where it is mapped."""
    return 0


@port
def copy(to: int, of: int, bytes: int) -> int:
    """Copy, 32 and then eight bytes at a time where both sides are aligned to eight."""
    words = bytes & -8 if (to | of) & 7 == 0 else 0
    halves = words & -HALF
    for i in range(0, halves, HALF):
        _copy_half(Cell(to + i), Cell(of + i))
    for i in range(halves, words, 8):
        Cell(to + i).value = Cell(of + i).value
    for i in range(words, bytes):
        Byte(to + i).value = Byte(of + i).value
    return 0


@port
def known_zero(pa: int, bytes: int) -> int:
    """Nobody vouches for a real machine's memory."""
    return 0
