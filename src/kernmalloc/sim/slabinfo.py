"""The caches of a kernel as /proc/slabinfo lists them."""

from collections.abc import Iterator, Mapping

import msgspec

from kernmalloc.facade.kernel import Kernel
from kernmalloc.kernel.core.kern import SIZE_CLASSES
from kernmalloc.kernel.heap.slabs import Cache


class CacheLine(msgspec.Struct, frozen=True):
    """A line of /proc/slabinfo."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    active_slabs: int
    num_slabs: int


def cache_lines(kernel: Kernel, typed: Mapping[int, str]) -> Iterator[CacheLine]:
    """The caches that have slabs: those of these names by number, then size classes. What the kernel has in these for
    itself counts."""
    view = kernel.view
    used, kern = view.used_slots(), view.kern
    caches = view.read(Cache, int(kern["caches"]), int(kern["cache_count"]))
    for id in (*sorted(id for id in typed if id < len(caches)), *range(SIZE_CLASSES)):
        cache = caches[id]
        slabs, slots, size = int(cache["slabs"]), int(cache["slots"]), int(cache["size"])
        if slabs:
            yield CacheLine(
                typed.get(id, f"size-{size}"),
                used.get(id, 0),
                slabs * slots,
                size,
                slots,
                int(cache["pages"]),
                slabs,
                slabs,
            )
