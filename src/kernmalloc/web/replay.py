"""The part of a page that shows the caches of a replay, at the peak of backed memory, as /proc/slabinfo has them."""

from collections.abc import Sequence

import msgspec

from kernmalloc.sim.slabinfo import CacheLine
from kernmalloc.web.page import Part

VIEW = "slabinfo"


def caches_part(caches: Sequence[CacheLine]) -> Part:
    """All lines."""
    return Part(VIEW, "Caches at the peak of backed memory", {"caches": [msgspec.to_builtins(line) for line in caches]})
