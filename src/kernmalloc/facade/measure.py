"""How fast a boot was, against what this computer can do at all."""

import ctypes
import mmap
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernmalloc.facade.kernel import Kernel

SAMPLE = 64 << 20  # bytes: more than fits a cache, few enough to take no time


def memset_rate() -> float:
    """Bytes per second of this computer's memset, over memory that it has touched before."""
    with mmap.mmap(-1, SAMPLE) as memory:
        view = ctypes.c_char.from_buffer(memory)
        at = ctypes.addressof(view)
        ctypes.memset(at, 1, SAMPLE)
        start = perf_counter()
        ctypes.memset(at, 0, SAMPLE)
        seconds = perf_counter() - start
        del view
    return SAMPLE / seconds


def core_table_rate(kernel: "Kernel") -> float:
    """Bytes of core tables (entries, identities, bitmaps) per second of the steps that made them: allocating, mapping
    and initialising them, marking the donation and listing the free frames."""
    made = sum(region.area_bytes for region in kernel.regions)
    return made / sum(step.seconds for step in kernel.steps if step.name in ("table", "mark", "list", "rest"))
