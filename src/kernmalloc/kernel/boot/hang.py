"""Hanging the window into page tables that are there already: a kernel that has a root table of its own (`upper`).

Concepts
  1. `init` makes tables for the window as ever: a root, tables below it, directories. The client's root gets entries
     that lead to the highest of these that it has no table for. What it has already is kept, and nothing else written.
  2. The directories are the kernel's own, for it writes to them. So where the client's tables have an entry for memory
     of a directory, the window is in use.

Whoever runs with that root must forget what it knew of these addresses, where a processor remembers that there was
nothing; on i386 with PAE the root must be loaded again.
"""

from __future__ import annotations

from kernmalloc.kernel.boot.config import Config
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK, WINDOW_USED
from kernmalloc.machine.mmu import entry_pa, index_at, is_large, is_present, load_entry, span_shift, store_upper


@kernel
def _at(phys: int, info: Config, table: int, va: int, shift: int) -> int:
    """Where the entry for va lies in the table at physical address `table`."""
    return phys + table + index_at(info.format, va, shift)


@kernel
def _entry_in(phys: int, info: Config, table: int, va: int, shift: int) -> int:
    """The entry for va in the table at physical address `table`."""
    return load_entry(info.format, _at(phys, info, table, va, shift))


@kernel
def _directory_shift(info: Config) -> int:
    """log2 of the bytes of which one directory has the entries."""
    return span_shift(info.format) + info.format.index_bits


@kernel
def _first_of(info: Config, number: int) -> int:
    """First address of which a directory, counted from 0, has an entry."""
    shift = _directory_shift(info)
    return ((info.target >> shift) + number) << shift


@kernel
def window_free(phys: int, info: Config) -> int:
    """OK if the client's tables, if it has any, map nothing where the window's directories lie; WINDOW_USED."""
    format = info.format
    if info.upper == 0:
        return OK
    for number in range(info.directories):
        va = _first_of(info, number)
        shift = format.root_shift
        entry = _entry_in(phys, info, info.upper, va, shift)
        while is_present(format, entry) != 0:
            if shift == _directory_shift(info) or is_large(format, entry) != 0:
                return WINDOW_USED
            shift -= format.index_bits
            entry = _entry_in(phys, info, entry_pa(format, entry), va, shift)
    return OK


@kernel
def hang(phys: int, info: Config) -> int:
    """Let the client's tables lead to the window's, which are made: the physical address of the root to run with."""
    format = info.format
    own_root = info.area_pa + info.root
    if info.upper == 0:
        return own_root
    for number in range(info.directories):
        va = _first_of(info, number)
        shift = format.root_shift
        table = info.upper
        theirs = _entry_in(phys, info, table, va, shift)
        ours = _entry_in(phys, info, own_root, va, shift)
        while is_present(format, theirs) != 0 and theirs != ours:
            shift -= format.index_bits
            table = entry_pa(format, theirs)
            theirs = _entry_in(phys, info, table, va, shift)
            ours = _entry_in(phys, info, entry_pa(format, ours), va, shift)
        store_upper(format, _at(phys, info, table, va, shift), ours)
    return info.upper
