"""Which devices a planned kernel will hold, in the order in which they are published (C10, C15, C22).

Publishing takes a region record and the chunks that describe the guaranteed frames; both are slots of slabs. What there is
of them is known before the boot: slots in planned slabs, pages of an affine heap that are free, and pages by which the heap
may grow. A range whose frames cannot all be guaranteed may still be published by its extent alone.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy

from kernmalloc.facade.configure import EXTENT_ONLY, FITS, REFUSED
from kernmalloc.kernel.devices import CHUNK_FRAMES, REGION_BYTES, chunk_bytes, chunks_for, chunks_guaranteed
from kernmalloc.kernel.kern import CLASS_NAMES, RAM, RESERVED_MEMORY
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.scratch import Scratch, Slabs, slabs



@dataclass(frozen=True)
class Device:
    """One range of device memory: bytes, the devices in it, what will become of it, and what it will cost in heap bytes.

    `missing`: frames that no entry can be had for. `curable`: a tunable could help."""

    base: int
    size: int
    names: tuple[str, ...]
    status: str
    cost: int
    reason: str = ""
    missing: int = 0
    curable: bool = True


@dataclass
class Pool:
    """Slots of one cache: free ones now, and how many slabs more there may be."""

    kind: Slabs
    free: int
    more: int


@dataclass
class Room:
    """What publications are paid from: slots, pages of the fixed part, pages by which the heap may grow."""

    page_shift: int
    regions: Pool
    chunks: Pool
    kept: int
    growth: int

    @classmethod
    def of(cls, scratch: Scratch, record: dict[str, int], top: int, bound: int, frames: int) -> Room:
        """The room that a plan leaves; growing may take `frames`."""
        shift = scratch.get("page_shift")
        region, chunk = slabs(shift, REGION_BYTES), slabs(shift, scratch.ask(chunk_bytes))
        filled = region.slabs(record["records"] + scratch.get("device_ranges"))
        reserve = chunk.slabs(chunks_for(scratch.get("device_pages")))
        growth = scratch.growth(top, bound - top, frames) if bound > top and frames > 0 else 0
        limit = chunk.slabs(max(chunks_for(scratch.get("device_pages")), 1))
        return cls(
            shift, Pool(region, filled * region.slots - record["records"], 1 << 40),
            Pool(chunk, reserve * chunk.slots, limit - reserve if scratch.get("reserves") else 1 << 40),
            record["spare"] + record["excess"] + record["padding"], growth,
        )

    def _slabs(self, pool: Pool, kept: int, growth: int) -> int:
        """Slabs that these pages hold, at most as many as the cache may have."""
        return min(kept // pool.kind.pages + growth // pool.kind.pages, pool.more)

    def has(self, pool: Pool, count: int) -> int:
        """How many of `count` slots there is no room for."""
        return max(count - pool.free - self._slabs(pool, self.kept, self.growth) * pool.kind.slots, 0)

    def take(self, pool: Pool, count: int) -> None:
        """Take slots that there are."""
        new = -(-max(count - pool.free, 0) // pool.kind.slots)
        pool.free += new * pool.kind.slots - count
        pool.more -= new
        fixed = min(new, self.kept // pool.kind.pages)
        self.kept -= fixed * pool.kind.pages
        self.growth -= (new - fixed) * pool.kind.pages


def publications(machine: Machine, ranges: numpy.ndarray, room: Room, max_pfn: int) -> tuple[Device, ...]:
    """Every device, published in order of address, with what `room` has; it has the rest afterwards."""
    taken = [(int(r["base"]), int(r["base"] + r["count"]), int(r["kind"])) for r in ranges if r["count"]]
    starts = [base for base, _, _ in taken]
    found = []
    for window in machine.device_ranges(room.page_shift):
        pfn, frames = window.pfn, window.frames
        at = bisect_right(starts, pfn + frames - 1) - 1
        under = taken[at] if at >= 0 and taken[at][1] > pfn else None
        found.append(_publish(room, pfn, frames, window.names, under, max_pfn))
    return tuple(found)


def _publish(room: Room, pfn: int, frames: int, names: tuple[str, ...], under: tuple[int, int, int] | None, max_pfn: int) -> Device:
    """What becomes of one range."""
    shift = room.page_shift
    base, size = pfn << shift, frames << shift
    if pfn + frames > max_pfn:
        reason = f"ends at {base + size:#x}, above the physical address limit of {max_pfn << shift:#x}"
        return Device(base, size, names, REFUSED, 0, reason, curable=False)
    if under:
        first, end, kind = under
        what = "RAM" if kind == RAM else "firmware or image" if kind == RESERVED_MEMORY else CLASS_NAMES[kind]
        reason = f"the memory map gives {first << shift:#x}-{(end << shift) - 1:#x} to {what}"
        return Device(base, size, names, REFUSED, 0, reason, curable=False)
    if room.has(room.regions, 1):
        return Device(base, size, names, REFUSED, 0, "no region record is left", missing=frames)
    room.take(room.regions, 1)
    record = room.regions.kind.size
    chunks = chunks_guaranteed(pfn, frames, frames)
    short = room.has(room.chunks, chunks)
    if short:
        return Device(base, size, names, EXTENT_ONLY, record, f"entries for {frames:,} frames are wanted", min(short * CHUNK_FRAMES, frames))
    room.take(room.chunks, chunks)
    return Device(base, size, names, FITS, record + chunks * room.chunks.kind.size)
