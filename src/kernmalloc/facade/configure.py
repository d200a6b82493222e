"""After the boot: publish the devices of a machine, as drivers would when they find them (E5, C10).

Each range asks for entries for all its frames; if those cannot be had, it is published by its extent alone, if the
profile wants that; and if not even so, it is refused. A console or boot device (`inputs/facts` tells which) then has
what is kept for last words (C22): all its entries, or else those of as many frames as one chunk describes, which is
enough to say what to tune. What a device costs is read from the kernel's records.
"""

import random
from typing import NamedTuple

from kernmalloc.facade.devices import Ledger
from kernmalloc.facade.errors import Busy, KernelError, OutOfMemory, Promised, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.places import why_not
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.facade.view import Mappings
from kernmalloc.kernel.core.kern import CLASS_NAMES
from kernmalloc.kernel.devices import ANYONE, CHUNK_FRAMES, LAST_WORDS
from kernmalloc.kernel.heap.caches import CHUNK_CACHE, REGION_CACHE
from kernmalloc.machine.memory_map import DeviceRange

FITS, LAST, EXTENT_ONLY, REFUSED = "fits", "last-words", "extent-only", "refused"


class Published(NamedTuple):
    """What became of one range, in bytes: `cost` is what of the heap it took."""

    base: int
    size: int
    names: tuple[str, ...]
    status: str
    cost: int
    reason: str = ""


class Configured(NamedTuple):
    """The devices of a machine, as they were published; the bytes of the heap that `release` then gave back; and how
    page space stood then, and the kernel's window was mapped."""

    devices: list[Published]
    released: int
    ledger: Ledger
    tlb: Mappings


def configure(kernel: Kernel, shuffle: int | None = None) -> Configured:
    """Publish every device of the kernel's machine, by address or in an order shuffled by a seed; then release what the
    strategy reserved in excess (C18)."""
    order = kernel.machine.device_ranges(kernel.profile.page_shift)
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    devices = [_publish(kernel, window) for window in order]
    released = kernel.release() if STRATEGIES[kernel.profile.strategy].excess else 0
    return Configured(devices, released, kernel.ledger, kernel.tlb)


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
