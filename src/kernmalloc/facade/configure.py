"""After the boot: publish the devices of a machine, as drivers would when they find them (E5, C10).

Each range asks for entries for all its frames; if those cannot be had, it is published by its extent alone, if the
profile wants that; and if not even so, it is refused. A console or boot device (`inputs/facts` tells which) then has
what is kept for last words (C22): all its entries, or else those of as many frames as one chunk describes, which is
enough to say what to tune. What a device costs is read from the kernel's records.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from kernmalloc.facade.devices import Ledger
from kernmalloc.facade.errors import Busy, KernelError, OutOfMemory, Promised, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.places import PARTIAL, refusal, why_not
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.facade.view import Mappings
from kernmalloc.kernel.core.kern import CLASS_NAMES
from kernmalloc.kernel.devices import ANYONE, CHUNK_FRAMES, LAST_WORDS, chunks_for
from kernmalloc.kernel.heap.caches import CHUNK_CACHE, REGION_CACHE
from kernmalloc.lang.status import OVERLAP, WRAPS
from kernmalloc.machine.added_ram import SELF_HOSTED
from kernmalloc.machine.memory_map import DeviceRange, Machine, Range

FITS, LAST, EXTENT_ONLY, REFUSED = "fits", "last-words", "extent-only", "refused"
ADDED, UNPLACED = "added", "unplaced"
NO_PLACE = "its firmware and its kernel gave it no place"


class Published(NamedTuple):
    """What became of one range, in bytes: `cost` is what of the heap it took."""

    base: int
    size: int
    names: tuple[str, ...]
    status: str
    cost: int
    reason: str = ""


class Added(NamedTuple):
    """What became of one range of RAM that came after the boot, in bytes: `cost` is what of the heap is in use for it,
    page cache included; `taken` are frames that heap and mapping tables took, and `hosted` those of them that are its
    own. `self_hosted`: it was to hold what describes it."""

    base: int
    size: int
    status: str
    cost: int
    taken: int
    hosted: int = 0
    self_hosted: bool = False
    reason: str = ""


class Configured(NamedTuple):
    """The devices of a machine, as they were published, and those that have no place; the RAM that was added; the bytes
    of the heap that `release` then gave back; and how page space stood then, and the kernel's window was mapped."""

    devices: list[Published]
    unplaced: list[Published]
    added: list[Added]
    released: int
    ledger: Ledger
    tlb: Mappings


def configure(kernel: Kernel, shuffle: int | None = None, more: Sequence[Range] = ()) -> Configured:
    """Publish every device of the kernel's machine, by address or in an order shuffled by a seed; add the RAM that
    comes later; then release what the strategy reserved in excess (C18)."""
    order = kernel.machine.device_ranges(kernel.profile.page_shift)
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    devices = [_publish(kernel, window) for window in order]
    added = [_add(kernel, ram) for ram in more]
    released = kernel.release() if STRATEGIES[kernel.profile.strategy].excess else 0
    sizes = (int(kernel.view.cache(id)["size"]) for id in (REGION_CACHE, CHUNK_CACHE))
    waiting = unplaced(kernel.machine, kernel.profile.page_shift, *sizes)
    return Configured(devices, waiting, added, released, kernel.ledger, kernel.mappings)


def unplaced(machine: Machine, page_shift: int, record: int, chunk: int) -> list[Published]:
    """The windows that have a size but no place, and what each would cost if it had one: a record, and chunks for all
    its frames, of so many bytes."""
    return [
        Published(0, d.size, (f"{d.name} BAR {d.bar}" if d.bar >= 0 else d.name,), UNPLACED, cost, NO_PLACE)
        for d in machine.devices
        if d.status == "unassigned" and d.size > 0
        for cost in [record + chunks_for(-(-d.size >> page_shift)) * chunk]
    ]


def attempts(window: DeviceRange, extents: bool) -> list[tuple[str, int, int]]:
    """How a range is published: (status that it then has, frames guaranteed, tier), one after the other until one is
    not refused. `extents`: by its extent alone, too."""
    frames, special = window.frames, bool(window.role)
    ways = [(FITS, frames, ANYONE)]
    if special:
        ways.append((FITS, frames, LAST_WORDS))
    if special and frames > CHUNK_FRAMES:
        ways.append((LAST, CHUNK_FRAMES, LAST_WORDS))
    if extents:
        ways += [(EXTENT_ONLY, 0, ANYONE), (EXTENT_ONLY, 0, LAST_WORDS)][: 1 + special]
    return ways


def _publish(kernel: Kernel, window: DeviceRange) -> Published:
    """Publish one range in the first way that is not refused."""
    shift = kernel.profile.page_shift
    base, size = window.pfn << shift, window.frames << shift
    reason = ""
    before = int(kernel.view.kern["region_count"])
    for status, guarantee, tier in attempts(window, kernel.profile.devices.extents):
        try:
            kernel.devices.publish(base, size, guarantee, last_words=tier == LAST_WORDS)
        except (OutOfMemory, Promised, WouldBlock) as error:
            reason = reason or _why(error)
        except Busy:
            return Published(base, size, window.names, REFUSED, 0, _in_the_way(kernel, window.pfn, window.end))
        else:
            records = int(kernel.view.kern["region_count"]) - before
            return Published(
                base, size, window.names, status, _cost(kernel, window.pfn, records), "" if status == FITS else reason
            )
    return Published(base, size, window.names, REFUSED, 0, reason)


def _add(kernel: Kernel, ram: Range) -> Added:
    """Add one range of RAM, or say why that cannot be."""
    shift, used, before, own = kernel.profile.page_shift, kernel.heap.used, kernel.ledger, ram.kind == SELF_HOSTED
    if (ram.base | ram.size) % kernel.profile.page:
        return Added(ram.base, ram.size, REFUSED, 0, 0, 0, own, PARTIAL)
    try:
        hosted = kernel.add_ram(ram.base, ram.size, self_hosted=own)
    except KernelError as error:
        in_the_way = error.status in (OVERLAP, WRAPS)
        why = _in_the_way(kernel, ram.base >> shift, ram.end >> shift) if in_the_way else refusal(error.status)
        return Added(ram.base, ram.size, REFUSED, 0, 0, 0, own, why)
    taken = kernel.ledger.heap - before.heap
    return Added(ram.base, ram.size, ADDED, kernel.heap.used - used, taken, hosted, own)


def _why(error: KernelError) -> str:
    """The meaning of a refusal, without the call that it was of."""
    return str(error).split(": ", 1)[1]


def _in_the_way(kernel: Kernel, first: int, end: int) -> str:
    """Why frames [first, end), which the kernel refuses, cannot be had."""
    spans = [(r.pfn, r.pfn + r.frames, CLASS_NAMES.index(r.kind)) for r in kernel.regions]
    return why_not(first, end, int(kernel.view.kern["max_pfn"]), spans, kernel.profile.page_shift)


def _cost(kernel: Kernel, pfn: int, records: int) -> int:
    """Bytes of the heap that the range published at a frame takes: so many region records, and its chunks."""
    region, chunk = (int(kernel.view.cache(id)["size"]) for id in (REGION_CACHE, CHUNK_CACHE))
    return records * region + int(kernel.view.region(pfn)["guaranteed"]) * chunk
