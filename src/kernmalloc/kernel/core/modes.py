"""Modes: whose the page tables are. Each difference that this makes is asked for by one function here.

    mode     page tables                       heap
    OWNER    the memory manager's own          anywhere in its window
    GUEST    none: a direct map                in the direct map, where a heap page is its frame

An object that is made for one mode alone may have constants for these functions: what it never does is not in it then.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import GUEST, OWNER, Kern
from kernmalloc.lang import kernel
from kernmalloc.lang.layout import parameter

FIRST_MODE, LAST_MODE = parameter("FIRST_MODE", OWNER), parameter("LAST_MODE", GUEST)  # that the kernel is made for


@kernel
def writes_tables(mode: int) -> int:
    """1 if in that mode the kernel's addresses are mapped by tables that it writes; 0 if it lies in a direct map."""
    return 1 if mode == OWNER else 0


@kernel
def has_tables(kern: Kern) -> int:
    """1 if the kernel's addresses are mapped by tables that it writes; 0 if it lies in a direct map."""
    return writes_tables(kern.mode)
