"""The part of a page that shows what `kernmalloc tlb` counted: misses by structure, by way of mapping the heap, and by
entries of a TLB.

Rates are in the unit of the text, a thousand operations of a long load; counts are those of --json."""

from collections.abc import Iterator
from typing import Any

import msgspec

from kernmalloc.report.tlb import LONG, NAMES, notes, processor, rate, scaled, unit_of
from kernmalloc.sim.tlb import Compared, Counted, Side
from kernmalloc.web.page import Part

VIEW = "tlbCounts"
Json = dict[str, Any]


def tlb_part(done: Compared) -> Part:
    """All that was counted."""
    measured = [side for side in done.sides if side.load and side.boot]
    return Part(
        VIEW,
        f"What the TLB misses: {done.kernel}, load {done.load}",
        {
            "compared": msgspec.to_builtins(done),
            "processor": processor(done),
            "unit": unit_of(done),
            "sides": [_side(side) for side in measured],
            "unmeasured": [
                f"{NAMES[side.mapping]}, {side.strategy}: {side.reason}" for side in done.sides if side.reason
            ],
            "load": [row for side in measured if side.load for row in _structures(side, side.load, LONG)],
            "boot": [
                row for side in measured if side.boot and not side.fixed for row in _structures(side, side.boot, 0)
            ],
            "curve": [
                {
                    "way": NAMES[side.mapping],
                    "entries": point.entries,
                    "heap": scaled(side, point.heap),
                    "all": scaled(side, point.all),
                }
                for side in measured
                for point in side.curve
            ],
            "notes": list(notes(done)),
        },
    )


def _side(side: Side) -> Json:
    assert side.load and side.boot
    load = side.load
    return {
        "way": NAMES[side.mapping],
        "strategy": side.strategy,
        "entries": side.large + side.small,
        "large": side.large,
        "small": side.small,
        "grown": side.grown,
        "fixed": side.fixed,
        "boot": side.boot.kernel.misses,
        "misses": scaled(side, load.kernel.misses),
        "walks": scaled(side, load.kernel.walks),
        "cycles": scaled(side, load.cycles),
    }


def _structures(side: Side, counted: Counted, per: int) -> Iterator[Json]:
    """What was accessed, a row for each structure."""
    for name, each in counted.structures.items():
        if each.accesses:
            yield {
                "way": NAMES[side.mapping],
                "structure": name,
                "accesses": rate(each.accesses, counted, per),
                "misses": rate(each.misses, counted, per),
                "walks": rate(each.walks, counted, per),
            }
