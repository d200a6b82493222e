"""Modes: whose the page tables are, and whether there are a heap and a page cache. Each difference that this makes is
asked for by one function here.

    mode          page tables                        heap
    OWNER         the memory manager's own           anywhere in its window
    GUEST         none: a direct map                 in the direct map, where a heap page is its frame
    SHADOW        mapped by the kernel around, as    anywhere in its window
                  the memory manager's own say
    ONLY_FRAMES   none: a direct map                 none

A page cache is there where a configuration wants one, and where there is a heap: then every frame has an identity.

An object that is made for one mode alone may have constants for these functions: what it never does is not in it then.
"""

from __future__ import annotations

from kernmalloc.kernel.core.kern import ONLY_FRAMES, OWNER, SHADOW, Kern
from kernmalloc.lang import kernel
from kernmalloc.lang.layout import parameter

FIRST_MODE, LAST_MODE = parameter("FIRST_MODE", OWNER), parameter("LAST_MODE", ONLY_FRAMES)
"""The modes that the kernel is made for."""


@kernel
def writes_tables(mode: int) -> int:
    """1 if in that mode the kernel's addresses are mapped as its own tables say; 0 if it lies in a direct map."""
    return 1 if mode == OWNER or mode == SHADOW else 0


@kernel
def has_tables(kern: Kern) -> int:
    """1 if the kernel's addresses are mapped as its own tables say; 0 if it lies in a direct map."""
    return writes_tables(kern.mode)


@kernel
def shadows(mode: int) -> int:
    """1 if in that mode the kernel around maps and unmaps pages, as it is told."""
    return 1 if mode == SHADOW else 0


@kernel
def has_shadow(kern: Kern) -> int:
    """1 if the kernel around maps and unmaps pages, as it is told."""
    return shadows(kern.mode)


@kernel
def allocates(mode: int) -> int:
    """1 if in that mode there is a heap; 0 if what the boot needs is carved out of RAM, and that is all."""
    return 0 if mode == ONLY_FRAMES else 1


@kernel
def has_heap(kern: Kern) -> int:
    """1 if there is a heap; 0 if what the boot needs is carved out of RAM, and that is all."""
    return allocates(kern.mode)


@kernel
def has_pages(kern: Kern) -> int:
    """1 if there is a page cache; 0 if no page is named."""
    return 1 if kern.identity != 0 else 0
