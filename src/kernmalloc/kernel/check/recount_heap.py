"""Recount of the heap's pages: each run's records and frames, and the bins link by link.

A record that means nothing is all zeros: inside a run, and of the last page but for its use and length.
"""

from __future__ import annotations

from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core.kern import BINS, Cpu, Kern, Word
from kernmalloc.kernel.frames.bitmap import test
from kernmalloc.kernel.heap.bins import (
    BARE,
    IDLE,
    KEPT,
    LARGE,
    OWN,
    SLAB,
    TAIL,
    HeapPage,
    bin_at,
    bin_of,
    bits_of,
    record_of,
    record_shift,
)
from kernmalloc.kernel.heap.runs import backed_at
from kernmalloc.lang import kernel
from kernmalloc.lang.status import OK


@kernel
def linked(kern: Kern, page: int, head: int) -> int:
    """1 if a page can be on the list that begins at `head` (page + 1): its neighbours there lead back to it."""
    record = record_of(kern, page)
    top = kern.top
    if record.next > top or record.prev > top:
        return 0
    if record.next != 0:
        if record_of(kern, record.next - 1).prev != page + 1:
            return 0
    if record.prev == 0:
        return 1 if head == page + 1 else 0
    return 1 if record_of(kern, record.prev - 1).next == page + 1 else 0


@kernel
def listed(kern: Kern, page: int) -> int:
    """1 if a free run is linked in its bin; a run in use need not be."""
    run = record_of(kern, page)
    if run.use == LARGE or run.use == OWN or run.use == SLAB:
        return 1
    return linked(kern, page, bin_at(kern, run.use, bin_of(run.pages)).value)


@kernel
def _stray(kern: Kern, record: HeapPage) -> int:
    """0 if the bytes are zero that only a slab's page has."""
    bits = record.cache | record.owner
    for at in range(record.slab.addr, record.addr + (1 << record_shift(kern)), Word.size):
        bits = bits | Word(at).bits
    return bits


@kernel
def _record_errors(kern: Kern, page: int, i: int) -> int:
    """1 if the record of page i of the run that begins at `page` does not fit the run."""
    head = record_of(kern, page)
    record = record_of(kern, page + i)
    links = record.next | record.prev
    if head.use == SLAB:
        return 1 if record.use != SLAB or (i > 0 and record.pages != 0) else 0
    if _stray(kern, record) != 0:
        return 1
    if i > 0 and i < head.pages - 1:
        return 1 if (record.use | record.pages | links) != 0 else 0
    filed = 1 if i == 0 and (head.use == IDLE or head.use == BARE or head.use == KEPT) else 0
    return 1 if filed == 0 and links != 0 else 0


@kernel
def page_errors(cpu: Cpu, page: int) -> int:
    """Pages of a run whose record or frame does not fit its use."""
    kern = cpu.kern
    head = record_of(kern, page)
    errors = 0
    for i in range(head.pages):
        backed = backed_at(cpu, page + i)
        errors += _record_errors(kern, page, i) + (1 if (backed == 0) != (head.use == BARE) else 0)
    last = record_of(kern, page + head.pages - 1).use
    if head.use == LARGE or head.use == OWN:
        return errors + (1 if last != (TAIL if head.pages > 1 else head.use) else 0)
    return errors + (1 if last != head.use else 0)


@kernel
def count_bins(cpu: Cpu, tally: Tally, use: int) -> int:
    """Recount the bins of free runs, link by link."""
    kern = cpu.kern
    for bin in range(BINS):
        at = bin_at(kern, use, bin).value
        if test(bits_of(kern, use), bin) != (1 if at != 0 else 0):
            tally.bin_errors = tally.bin_errors + 1
        while at != 0 and at <= kern.top and tally.filed <= tally.runs:
            run = record_of(kern, at - 1)
            if run.use != use or bin_of(run.pages) != bin:
                tally.bin_errors = tally.bin_errors + 1
            tally.filed = tally.filed + 1
            at = run.next
        if at > kern.top:
            tally.bin_errors = tally.bin_errors + 1
    return OK
