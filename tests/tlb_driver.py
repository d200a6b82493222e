"""A stream of accesses, compiled: what `machine/tlb.py` does with each."""

from __future__ import annotations

from kernmalloc.lang import Record, element, entry, field, i64
from kernmalloc.machine.tlb import (
    GLOBAL,
    OTHER,
    READABLE,
    WRITABLE,
    Core,
    tlb_drop,
    tlb_enter,
    tlb_find,
    tlb_load,
    tlb_lock,
)

ACCESS, DROP, ENTER, LOCK = range(4)


class Step(Record):
    """One thing that is done, and what came of it."""

    what: i64 = field("ACCESS, DROP, ENTER, LOCK")
    kind: i64 = field("DATA or INSTRUCTION")
    space: i64 = field("root table, or GLOBAL")
    page: i64 = field("number")
    size: i64 = field("log2 of the pages of its page; of DROP, pages")
    write: i64 = field("1: it is written to")
    writable: i64 = field("1: a walk finds that it can be")
    result: i64 = field("of an access, misses that it had")


@entry
def tlb_stream(core: Core, steps: Step, count: int, page_shift: int) -> int:
    """Do them."""
    for i in range(count):
        step = element(steps, i)
        if step.what == ACCESS:
            traffic = element(core.traffic, OTHER)
            before = traffic.misses + traffic.walks
            rights = WRITABLE if step.write != 0 else READABLE
            slot = tlb_find(core, page_shift, step.kind, step.space, step.page, rights, OTHER)
            if slot == 0:
                found = WRITABLE if step.writable != 0 else READABLE
                pa = step.page << page_shift
                slot = tlb_load(core, page_shift, step.kind, step.space, step.page, pa, step.size, found, OTHER)
            step.result = traffic.misses + traffic.walks - before
            if slot.pa != slot.page << page_shift or slot.page > step.page:
                step.result = -1
        elif step.what == DROP:
            tlb_drop(core, step.space, step.page, step.size)
        elif step.what == ENTER:
            tlb_enter(core, step.space)
        else:
            step.result = tlb_lock(core, page_shift, step.page, step.page << page_shift, step.size)
    return GLOBAL
