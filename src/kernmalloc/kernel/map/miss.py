"""TLBs that software loads: what is loaded on a miss, and what stays loaded.

Concepts
  1. Such a processor knows no tables. It raises an exception for an address that its TLB does not have, and a handler
     looks into the kernel's tables for it. The handler calls `<format>_miss`, puts the two words that it answers into
     the TLB, and returns to the instruction that missed.
  2. The lookup is a walk: one load for each level of the tables, whatever is mapped. It takes no lock and no memory,
     and stores one bit at most, the note of use (`Format.used`). It may interrupt the kernel anywhere: an entry is
     whole at any time, and what the kernel changes it changes by stores of its own, then has it forgotten.
  3. The functions are made for each format that says how its translations are loaded (`machine.arch.entries.Loading`),
     with the numbers of the format in place: a handler has no time to look these up.
  4. While it runs there must be no miss. Code and stack of the handler, its `Refill` record and all tables must be
     reachable without the TLB or by locked entries: tables through `memory`, a map of physical memory that needs no
     entry, as the access control registers of ColdFire make.
  5. A *locked* entry is loaded once and never replaced. `<format>_locked` answers those of an affine heap, one for each
     of its large pages: then no access to the fixed part of the heap ever misses (C2), and as it does not grow the
     entries are all that it ever takes (C12). `release` gives large pages back, and has their entries forgotten.

    words = tag << 32 | data,   0: nothing is mapped there
    tag   = address of the page | valid | shared, or number of the address space
    data  = entry & Loading.data [| Loading.lock]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.kernel.core.kern import Cpu
from kernmalloc.kernel.map.kmap import directory_of, span_of
from kernmalloc.lang import Record, define, entry, field, shl, usize
from kernmalloc.lang.status import OK
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.entries import LEAF
from kernmalloc.machine.mmu import NARROW, Entry, NarrowEntry

if TYPE_CHECKING:
    from kernmalloc.machine.arch.entries import Loading
    from kernmalloc.machine.arch.model import Format


class Refill(Record):
    """What a miss handler needs. The port has it where the handler can read it, one for each processor."""

    memory: usize = field("where physical address 0 can be loaded from, without a miss")
    kernel: usize = field("where the root of the kernel's tables can be loaded from")
    process: usize = field("where the root of the tables of the process that runs can; the kernel's, if none does")
    tag: usize = field("what the tags of that process's translations have beside the address")


_SOURCES = {
    "aim": '''
def {name}_aim(refill: Refill, memory: int, root: int) -> int:
    """Prepare for misses: `root` is what `init` answered, `memory` where physical address 0 can be loaded from without
    a miss. No process runs. OK."""
    refill.memory = memory
    refill.kernel = memory + root
    refill.process = refill.kernel
    refill.tag = {valid}
    return OK
''',
    "process": '''
def {name}_process(refill: Refill, root: int, space: int) -> int:
    """From now on look below the kernel's share into the tables whose root is at physical address `root`, for the
    address space of that number. OK."""
    refill.process = refill.memory + root
    refill.tag = {valid} | (space << {space_shift})
    return OK
''',
    "miss": '''
def {name}_miss(refill: Refill, va: int) -> int:
    """What to load for va: tag << 32 | data. 0: nothing is mapped there."""
    table = refill.kernel if va >= {user_end} else refill.process
    tag = {shared} if va >= {user_end} else refill.tag
    at = {Entry}(table + {root_index})
{levels}    at.bits |= {used}
    return shl((va & -{page}) | tag, 32) | (at.bits & {data})
''',
    "locked": '''
def {name}_locked(cpu: Cpu, number: int) -> int:
    """What to load and to lock for large page `number` of the fixed part of the heap, counted from 0, as for a miss.
    0: there is no such page."""
    kern = cpu.kern
    if number < 0 or number >= kern.fixed >> {index_bits}:
        return 0
    va = kern.heap + (number << {large_shift})
    large = directory_of(kern, span_of(kern, va))
    return shl((va - kern.base + kern.info.target) | {shared}, 32) | (large & {data}) | {lock}
''',
}
_PRESENT = """    if at.bits & {present} == 0:
        return 0
"""
_LARGE = """    if at.bits & {large_mask} == {large_value}:
        at.bits |= {used}
        return shl((va & -{large_page}) | tag, 32) | (at.bits & {data})
"""
_NEXT = """    at = {Entry}(refill.memory + (at.bits & {address}) + {index})
"""


def _index(format: Format, shift: int) -> str:
    """The offset of the entry for va, in a table of the level of that shift."""
    bits = format.root_bits if shift == format.root_shift else format.index_bits
    step = format.entry_shift if shift == format.page_shift else format.upper_entry_shift
    return f"((va >> {shift - step}) & {((1 << bits) - 1) << step:#x})"


def _sources(format: Format, loading: Loading) -> dict[str, str]:
    """The sources of the functions for a format, by name."""
    numbers = {
        "name": format.name,
        "Entry": "NarrowEntry" if format.word_shift == NARROW else "Entry",
        "present": hex(format.present),
        "used": hex(format.used),
        "address": hex(format.address),
        "large_mask": hex(format.large_mask),
        "large_value": hex(format.large_value),
        "user_end": hex(format.user_end),
        "root_index": _index(format, format.root_shift),
        "data": hex(format.address | format.mask(LEAF, loading.data)),
        "valid": loading.valid.mask,
        "shared": loading.valid.mask | loading.shared.mask,
        "space_shift": loading.space.low,
        "lock": format.mask(LEAF, [loading.lock]),
        "page": hex(1 << format.page_shift),
        "index_bits": format.index_bits,
        "large_shift": format.page_shift + format.index_bits,
    }
    levels = _PRESENT.format(**numbers)
    for shift in range(format.root_shift - format.index_bits, format.page_shift - 1, -format.index_bits):
        levels += (_NEXT + _PRESENT).format(index=_index(format, shift), **numbers)
        if shift > format.page_shift:
            levels += _LARGE.format(large_page=hex(1 << shift), **numbers)
    made = {what: source.strip().format(levels=levels, **numbers) + "\n" for what, source in _SOURCES.items()}
    return {f"{format.name}_{what}": source for what, source in made.items()}


_NAMES = {"Cpu": Cpu, "Refill": Refill, "Entry": Entry, "NarrowEntry": NarrowEntry, "OK": OK, "shl": shl}
_NAMES |= {"directory_of": directory_of, "span_of": span_of, "__name__": __name__}
MISSES = {
    format.name: {
        name: entry(define(name, source, f"<{name} of {__name__}>", _NAMES))
        for name, source in _sources(format, format.loading).items()
    }
    for format in FORMATS.values()
    if format.loading is not None
}
"""By format, what is called where software loads the TLB."""
