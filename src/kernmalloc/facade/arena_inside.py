"""An arena in a dump, looked into under its own layout: `python -m kernmalloc.facade.arena_inside DUMP SHIFT ORDER AT`.

Under the layout that the environment gives, and that the mark at VA `AT` need not have: what is printed as JSON is then
the shape that the arena seems to have. What is at an address is in the dump at the address plus `SHIFT`; numbers have
the byte `ORDER` of the arena's machine. Reads the records as the twin does, and lets the twin check them.
"""

import json
import re
import sys
from typing import Any, Literal

from kernmalloc.build import apart
from kernmalloc.inputs.dumps import Dump
from kernmalloc.kernel.check.check import RECORDS
from kernmalloc.kernel.check.tally import MOST_EQUATIONS, Tally
from kernmalloc.kernel.core.kern import CACHES, SIZE_CLASSES, Byte, Kern
from kernmalloc.kernel.heap.bins import INSIDE, LARGE, SLAB, TAIL, HeapPage, record_of
from kernmalloc.kernel.heap.slabs import Cache, SlabPage
from kernmalloc.lang import element, failed, twin
from kernmalloc.lang.records import hexadecimal

PAGE = 1 << 12
LEAST_CLASSES, MOST_CLASSES, STEP = 16, 72, 8
SLOT = 16  # bytes: sizes are multiples of it


class Memory:
    """The dump by the arena's addresses; what is written to is a copy."""

    def __init__(self, dump: Dump, shift: int, order: Literal["little", "big"]) -> None:
        self.dump, self.shift, self.order = dump, shift, order
        self.pages: dict[int, bytearray] = {}
        self.machine = self

    def _place(self, addr: int, width: int) -> tuple[bytearray, int]:
        number, at = divmod(addr, PAGE)
        if addr % width:
            raise twin.TwinFault(f"misaligned access of {width} bytes at {hexadecimal(addr)}")
        if number not in self.pages:
            data = self.dump.read(number * PAGE + self.shift, PAGE)
            if len(data) <= at:
                raise twin.TwinFault(f"the dump has nothing at {hexadecimal(addr)}")
            self.pages[number] = bytearray(data + bytes(PAGE - len(data)))
        return self.pages[number], at

    def load(self, addr: int, width: int) -> int:
        page, at = self._place(addr, width)
        return int.from_bytes(page[at : at + width], self.order, signed=width == 8)

    def store(self, addr: int, width: int, value: int) -> None:
        page, at = self._place(addr, width)
        page[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, self.order)

    def km_port_zero(self, va: int, size: int) -> int:
        for at in range(va, va + size):
            self.store(at, 1, 0)
        return 0


def shape(kern: Kern) -> dict[str, int]:
    """Size classes, object types and bytes of a page that an arena of this width of references seems to have; empty if
    it has none."""
    first, classes = kern.caches.addr, kern.class_of.addr
    caches, rest = divmod(classes - first, Cache.size)
    if rest or not LEAST_CLASSES <= caches <= 1 << 16 or not 6 <= kern.page_shift <= 20:
        return {}
    for count in range(MOST_CLASSES, LEAST_CLASSES - 1, -STEP):
        grains = (256 << count // 8 - 2) // SLOT  # entries of the class table
        if count <= caches and element(Byte(classes), grains - 1).value == count - 1:
            return {"classes": count, "types": caches - count, "page": 1 << kern.page_shift}
    return {}


def report(kern: Kern) -> dict[str, Any]:
    """What is in the arena, and whether it is sound."""
    told = _heap(kern)
    told |= {
        "page": 1 << kern.page_shift,
        "classes": SIZE_CLASSES,
        "types": CACHES - SIZE_CLASSES,
        "inside": kern.lock - 1,
        "heap": kern.heap,
        "pages": kern.heap_pages,
    }
    try:
        result = twin.compile(apart.entries())["check"](kern.cpus.addr)
        why = (
            "" if not failed(result) else _failure(kern) if kern.checked.failed else "the processor's record is damaged"
        )
    except (twin.TwinFault, OverflowError) as error:
        result, why = -1, str(error)
    return told | {"passed": not failed(result), "assertions": kern.checked.asserted, "failure": why}


def _heap(kern: Kern) -> dict[str, Any]:
    """Pages by use, caches, and allocations of whole pages."""
    used: dict[int, int] = {}
    allocations, page, busy = [], 0, 0
    record_at = twin.compile([record_of])["record_of"]
    while page < kern.heap_pages:
        record = HeapPage(record_at(kern.addr, page))
        if not INSIDE < record.use < TAIL or record.pages < 1:
            break  # damage, which the check names
        if record.use == SLAB:
            for at in range(page, page + record.pages):
                slab = SlabPage(record_at(kern.addr, at))
                used[slab.cache] = used.get(slab.cache, 0) + slab.used
        elif record.use == LARGE:
            allocations.append((kern.heap + (page << kern.page_shift), record.pages << kern.page_shift))
        busy += record.pages if record.use in (SLAB, LARGE) else 0
        page += record.pages
    caches = []
    for id in range(min(kern.cache_count, CACHES)):
        cache = element(kern.caches, id)
        if cache.slabs:
            name = f"size-{cache.size}" if id < SIZE_CLASSES else f"type-{id - SIZE_CLASSES}"
            bytes = cache.slabs * cache.pages << kern.page_shift
            caches.append((name, cache.size, cache.slabs * cache.slots, used.get(id, 0), bytes))
    return {"used": busy, "caches": caches, "allocations": sorted(allocations, key=lambda each: (-each[1], each[0]))}


def _failure(kern: Kern) -> str:
    """The equation that does not hold, as `facade.state.failure` tells it."""
    number, index = divmod(kern.checked.failed - 1, MOST_EQUATIONS)
    record, culprit = RECORDS[number], kern.checked.culprit
    equation = record.invariants[index]
    fields = (name for name, field in record.fields.items() if not field.inline)
    values = [f"{name} = {getattr(record(culprit), name)}" for name in fields if re.search(rf"\b{name}\b", equation)]
    values += [f"tally.{name} = {getattr(kern.checked, name)}" for name in Tally.fields if f"tally.{name}" in equation]
    return f"{record.name} at {hexadecimal(culprit)}: {equation} does not hold ({', '.join(values)})"


def main(name: str, shift: str, order: Literal["little", "big"], at: str) -> None:
    """Print a report, or a shape, or what was wrong."""
    from kernmalloc.lang.pipeline import import_kernel

    import_kernel()
    with Dump.open(name) as dump:
        twin.use(Memory(dump, int(shift), order))
        kern = Kern(int(at))
        try:
            told: dict[str, Any] = {"shape": shape(kern)} if kern.layout != Kern.layout else {"report": report(kern)}
        except (twin.TwinFault, OverflowError) as error:
            told = {"fault": str(error)}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
