"""After the boot: publish the devices of a machine, as drivers would when they find them (E5, C10).

Each range asks for entries for all its frames; if those cannot be had, it is published by its extent alone, if the profile
wants that; and if not even so, it is refused. What a device costs is read from the kernel's records.
"""

import random
from typing import NamedTuple

from kernmalloc.facade.errors import Busy, KernelError, OutOfMemory, Promised, WouldBlock
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import STRATEGIES
from kernmalloc.kernel.devices import CHUNK_CACHE, LAST_CACHE, LAST_WORDS, REGION_CACHE
from kernmalloc.machine.memory_map import DeviceRange

FITS, EXTENT_ONLY, REFUSED = "fits", "extent-only", "refused"


class Published(NamedTuple):
    """What became of one range, in bytes: `cost` is what of the heap it took."""

    base: int
    size: int
    names: tuple[str, ...]
    status: str
    cost: int
    reason: str = ""


class Configured(NamedTuple):
    """The devices of a machine, as they were published, and the bytes of the heap that `release` then gave back."""

    devices: list[Published]
    released: int


def configure(kernel: Kernel, shuffle: int | None = None) -> Configured:
    """Publish every device of the kernel's machine, by address or in an order shuffled by a seed; then release what the
    strategy reserved in excess (C18)."""
    shift = kernel.profile.page_shift
    order = kernel.machine.device_ranges(shift)
    if shuffle is not None:
        random.Random(shuffle).shuffle(order)
    done = [(window, *_publish(kernel, window)) for window in order]
    costs = _costs(kernel)
    devices = [
        Published(w.pfn << shift, w.frames << shift, w.names, status, costs.get(w.pfn, 0) if status != REFUSED else 0, reason)
        for w, status, reason in done
    ]
    return Configured(devices, kernel.release() if STRATEGIES[kernel.profile.strategy].excess else 0)


def _publish(kernel: Kernel, window: DeviceRange) -> tuple[str, str]:
    """(status, reason) of one range."""
    shift = kernel.profile.page_shift
    base, size = window.pfn << shift, window.frames << shift
    reason = ""
    attempts = ((FITS, None), (EXTENT_ONLY, 0)) if kernel.profile.devices.extents else ((FITS, None),)
    for status, guarantee in attempts:
        try:
            kernel.devices.publish(base, size, guarantee)
        except (OutOfMemory, Promised, WouldBlock) as error:
            reason = reason or _why(error)
        except Busy as error:
            return REFUSED, _why(error)
        else:
            return status, reason
    return REFUSED, reason


def _why(error: KernelError) -> str:
    """The meaning of a refusal, without the call that it was of."""
    return str(error).split(": ", 1)[1]


def _costs(kernel: Kernel) -> dict[int, int]:
    """Bytes of the heap that each published range takes, by its first frame."""
    size = {id: int(kernel.view.cache(id)["size"]) for id in (REGION_CACHE, CHUNK_CACHE, LAST_CACHE)}
    return {
        int(r["base"]): size[REGION_CACHE]
        + int(r["live"] + r["spare_count"]) * size[LAST_CACHE if r["tier"] == LAST_WORDS else CHUNK_CACHE]
        for r in kernel.view.regions()
        if r["tier"]
    }
