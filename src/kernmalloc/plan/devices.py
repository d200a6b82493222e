"""Which devices a planned kernel will hold, in the order in which they are published (C10, C15, C22).

Publishing takes a region record and the chunks that describe the guaranteed frames; both are slots of slabs. What there is
of them is known before the boot: slots in planned slabs, pages of an affine heap that are free, and pages by which the heap
may grow. A range whose frames cannot all be guaranteed may still be published by its extent alone, unless the profile rules
that out.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace

import numpy

from kernmalloc.facade.configure import EXTENT_ONLY, FITS, REFUSED
from kernmalloc.kernel.devices import CHUNK_FRAMES, REGION_BYTES, chunk_bytes, chunks_for, chunks_guaranteed
from kernmalloc.kernel.kern import CLASS_NAMES, RAM, RESERVED_MEMORY
from kernmalloc.kernel.bins import bin_holding, bin_of
from kernmalloc.machine.device_ranges import DeviceRange
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
class Growth:
    """A heap that grows after the boot, as `take_pages` has it: by a step at a time, of which pages may stay idle, else by what
    is needed, else after giving idle pages back. `pages`: by how many it grew; `most`: by how many it may."""

    step: int
    most: int
    pages: int = 0
    idle: int = 0
    bins: dict[int, list[int]] = field(default_factory=dict)  # lengths of idle runs by bin, the one filed last at the end

    def take(self, pages: int, count: int) -> None:
        """Take `count` runs of `pages` pages."""
        while count > 0:
            length = self._find(pages)
            step = max(self.step - self.idle, 0)
            if length:
                runs = min(length // pages, count)
                self.idle -= length
                self._file(length - runs * pages)
            elif pages < step and self.pages + step <= self.most:
                runs = min(step // pages, count)
                if step == runs * pages:  # nothing stays idle: the next step will be the same
                    runs = count // runs * runs
                self.pages += -(-runs * pages // step) * step
                self._file(-runs * pages % step)
            else:
                runs = count
                if self.pages + runs * pages > self.most:
                    self.pages, self.idle, self.bins = self.pages - self.idle, 0, {}
                self.pages += runs * pages
            count -= runs

    def _find(self, pages: int) -> int:
        """The length of the idle run that `find_run` picks, which is unfiled; 0 if none is long enough."""
        bin = min((bin for bin, runs in self.bins.items() if runs and bin >= bin_holding(pages)), default=-1)
        if bin >= 0:
            return self.bins[bin].pop()
        own = self.bins.get(bin_of(pages), [])
        at = next((i for i in reversed(range(len(own))) if own[i] >= pages), -1)
        return own.pop(at) if at >= 0 else 0

    def _file(self, pages: int) -> None:
        if pages:
            self.idle += pages
            self.bins.setdefault(bin_of(pages), []).append(pages)


@dataclass
class Room:
    """What publications are paid from: slots, pages of the fixed part, pages by which the heap may grow, and how it does."""

    page_shift: int
    regions: Pool
    chunks: Pool
    kept: int
    growth: int
    grown: Growth

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
            record["spare"] + record["excess"] + record["padding"], growth, Growth(scratch.get("growth"), growth),
        )

    def copy(self) -> Room:
        """The same room, for publications of its own."""
        grown = Growth(self.grown.step, self.grown.most)
        return replace(self, regions=replace(self.regions), chunks=replace(self.chunks), grown=grown)

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
        if new > fixed:
            self.growth -= (new - fixed) * pool.kind.pages
            self.grown.take(pool.kind.pages, new - fixed)


def spans(ranges: numpy.ndarray) -> list[tuple[int, int, int]]:
    """(first pfn, one past the last, class) of the ranges that a kernel was told of at boot."""
    return [(int(r["base"]), int(r["base"] + r["count"]), int(r["kind"])) for r in ranges if r["count"]]


def publications(
    windows: list[DeviceRange], taken: list[tuple[int, int, int]], room: Room, max_pfn: int, extents: bool
) -> tuple[Device, ...]:
    """Device ranges published one after the other beside the spans `taken`, with what `room` has; it has the rest afterwards.
    `extents`: what entries are lacking for is published by its extent, not refused."""
    starts = [base for base, _, _ in taken]
    found = []
    for window in windows:
        at = bisect_right(starts, window.pfn + window.frames - 1) - 1
        under = taken[at] if at >= 0 and taken[at][1] > window.pfn else None
        found.append(_publish(room, window, under, max_pfn, extents))
    return tuple(found)


def _publish(room: Room, window: DeviceRange, under: tuple[int, int, int] | None, max_pfn: int, extents: bool) -> Device:
    """What becomes of one range."""
    shift, frames, names = room.page_shift, window.frames, window.names
    base, size = window.pfn << shift, frames << shift
    if window.end > max_pfn:
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
    chunks = chunks_guaranteed(window.pfn, frames, frames)
    short = room.has(room.chunks, chunks)
    if short == 0:
        room.take(room.chunks, chunks)
        return Device(base, size, names, FITS, record + chunks * room.chunks.kind.size)
    missing, reason = min(short * CHUNK_FRAMES, frames), f"entries for {frames:,} frames are wanted"
    if extents:
        return Device(base, size, names, EXTENT_ONLY, record, reason, missing)
    room.regions.free += 1
    return Device(base, size, names, REFUSED, 0, reason, missing)
