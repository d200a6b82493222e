"""Which devices a planned kernel will hold, in the order in which they are published (C10, C15, C22).

Publishing takes a region record and the chunks that describe the guaranteed frames; both are slots of slabs. What there
is of them is known before the boot: slots in planned slabs, pages of an affine heap that are free, and pages by which
the heap may grow. The ways in which a range is published one after the other are those of `facade/configure`.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from kernmalloc.facade.configure import FITS, REFUSED, attempts, unplaced
from kernmalloc.facade.places import Span, above, taken
from kernmalloc.kernel.core.kern import RESERVED_MEMORY
from kernmalloc.kernel.devices import (
    ANYONE,
    CHUNK_FRAMES,
    LAST_WORDS,
    chunk_bytes,
    chunks_for,
    chunks_guaranteed,
    cuts_for,
)
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.bins import bin_holding, bin_of
from kernmalloc.machine.device_ranges import DeviceRange
from kernmalloc.machine.memory_map import Machine
from kernmalloc.plan.scratch import Scratch, Slabs, slabs


@dataclass(frozen=True)
class Device:
    """One range of device memory: bytes, the devices in it, what will become of it, what it will cost in heap bytes.

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

    @classmethod
    def kept(cls, kind: Slabs, count: int) -> "Pool":
        """A cache that is filled at boot for `count` objects and has no more slabs than those, but one at least."""
        filled = kind.slabs(count)
        return cls(kind, filled * kind.slots, kind.slabs(max(count, 1)) - filled)

    def copy(self) -> "Pool":
        """Another cache with as many."""
        return Pool(self.kind, self.free, self.more)


@dataclass
class Growth:
    """A heap that grows after the boot, as `new_pages` has it: by a step at a time, of which pages may stay idle, else
    by what is needed, else after giving idle pages back. `pages`: by how many it grew; `most`: by how many it may."""

    step: int
    most: int
    pages: int = 0
    idle: int = 0
    bins: dict[int, list[int]] = field(
        default_factory=dict
    )  # lengths of idle runs by bin, the one filed last at the end

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

    def take_idle(self, pages: int, count: int) -> bool:
        """Take `count` runs of `pages` pages out of idle runs; whether there are so many."""
        if sum(length // pages for runs in self.bins.values() for length in runs) < count:
            return False
        self.take(pages, count)
        return True

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
    """What publications are paid from: slots, those of last words, pages of the fixed part, pages by which the heap may
    grow, and how it does."""

    page_shift: int
    regions: Pool
    chunks: Pool
    last_regions: Pool
    last_chunks: Pool
    kept: int
    growth: int
    grown: Growth

    @classmethod
    def of(cls, scratch: Scratch, record: dict[str, int], top: int, bound: int, frames: int) -> "Room":
        """The room that a plan leaves; growing may take `frames`."""
        shift = scratch.get("page_shift")
        region, chunk = slabs(shift, Region.size), slabs(shift, scratch.ask(chunk_bytes))
        filled = region.slabs(record["records"] + scratch.get("device_ranges"))
        reserve = chunk.slabs(chunks_for(scratch.get("device_pages")))
        growth = scratch.growth(top, bound - top, frames) if bound > top and frames > 0 else 0
        limit = chunk.slabs(max(chunks_for(scratch.get("device_pages")), 1))
        return cls(
            shift,
            Pool(region, filled * region.slots - record["records"], 1 << 40),
            Pool(chunk, reserve * chunk.slots, limit - reserve if scratch.get("reserves") else 1 << 40),
            Pool.kept(region, scratch.get("last_ranges")),
            Pool.kept(chunk, chunks_for(scratch.get("last_frames"))),
            record["headroom"] + record["excess"] + record["padding"],
            growth,
            Growth(scratch.get("growth"), growth),
        )

    def copy(self) -> "Room":
        """The same room, for publications of its own."""
        return Room(
            self.page_shift,
            self.regions.copy(),
            self.chunks.copy(),
            self.last_regions.copy(),
            self.last_chunks.copy(),
            self.kept,
            self.growth,
            Growth(self.grown.step, self.grown.most),
        )

    def lacks(self, pool: Pool, count: int) -> int:
        """How many of `count` slots there is no room for."""
        if count <= pool.free:
            return 0
        slabs = min(self.kept // pool.kind.pages + self.growth // pool.kind.pages, pool.more)
        return max(count - pool.free - slabs * pool.kind.slots, 0)

    def take(self, pool: Pool, count: int) -> None:
        """Take slots that there are."""
        if count <= pool.free:
            pool.free -= count
            return
        new = -(-(count - pool.free) // pool.kind.slots)
        pool.free += new * pool.kind.slots - count
        pool.more -= new
        fixed = min(new, self.kept // pool.kind.pages)
        self.kept -= fixed * pool.kind.pages
        if new > fixed:
            self.growth -= (new - fixed) * pool.kind.pages
            self.grown.take(pool.kind.pages, new - fixed)

    def publish(self, tier: int, records: int, chunks: int) -> tuple[int, int]:
        """Take region records and chunks of a tier, if all can be had: how many of each cannot."""
        regions, entries = (self.last_regions, self.last_chunks) if tier == LAST_WORDS else (self.regions, self.chunks)
        if short := self.lacks(regions, records):
            return short, 0
        if records <= regions.free:
            short = self.lacks(entries, chunks)
        else:
            trial = self.copy()
            trial.take(trial.last_regions if tier == LAST_WORDS else trial.regions, records)
            short = trial.lacks(trial.last_chunks if tier == LAST_WORDS else trial.chunks, chunks)
        if not short:
            self.take(regions, records)
            self.take(entries, chunks)
        return 0, short


def spans(ranges: NDArray[numpy.void]) -> list[Span]:
    """(first pfn, one past the last, class) of the ranges that a kernel was told of at boot."""
    return [(int(r["base"]), int(r["base"] + r["count"]), int(r["kind"])) for r in ranges if r["count"]]


def publications(
    windows: list[DeviceRange], occupied: list[Span], room: Room, max_pfn: int, extents: bool
) -> tuple[Device, ...]:
    """Device ranges published one after the other beside the spans `occupied`, with what `room` has; it has the rest
    afterwards. `extents`: what entries are lacking for is published by its extent, not refused."""
    starts = [base for base, _, _ in occupied]
    found = []
    uncut = 0  # where the part of a span begins that nothing has been cut out of yet
    for window in windows:
        at = bisect_right(starts, window.end - 1) - 1
        under = None
        if at >= 0 and occupied[at][1] > window.pfn:
            first, end, kind = occupied[at]
            under = max(first, uncut), end, kind
        device = _publish(room, window, under, max_pfn, extents)
        if under and device.status != REFUSED:
            uncut = window.end
        found.append(device)
    return tuple(found)


def without_place(machine: Machine, room: Room) -> tuple[Device, ...]:
    """The windows that have no place, and whether they would fit, had they one, where the others are published."""
    found, trial = [], room.copy()
    for each in unplaced(machine, room.page_shift, room.regions.kind.size, room.chunks.kind.size):
        chunks = chunks_for(-(-each.size >> room.page_shift))
        no_record, short = trial.publish(ANYONE, 1, chunks)
        missing = min((chunks if no_record else short) * CHUNK_FRAMES, -(-each.size >> room.page_shift))
        what = f"entries for {missing:,} frames would be missing" if missing else "it would fit"
        reason = f"{each.reason}; with one {what}"
        found.append(Device(0, each.size, each.names, each.status, each.cost, reason, missing, curable=False))
    return tuple(found)


def _publish(room: Room, window: DeviceRange, under: Span | None, max_pfn: int, extents: bool) -> Device:
    """What becomes of one range, of which the memory map gives `under` to somebody: [first frame, end, class]."""
    shift, pfn, frames, names = room.page_shift, window.pfn, window.frames, window.names
    base, size = pfn << shift, frames << shift
    if window.end > max_pfn:
        return Device(base, size, names, REFUSED, 0, above(base + size, max_pfn << shift), curable=False)
    if under and (under[2] != RESERVED_MEMORY or pfn < under[0] or window.end > under[1]):
        return Device(base, size, names, REFUSED, 0, taken(under, shift), curable=False)
    records = cuts_for(under[0], under[1], pfn, frames) if under else 1
    reason, missing = "", 0
    for status, guarantee, tier in attempts(window, extents):
        chunks = chunks_guaranteed(pfn, frames, guarantee)
        no_record, short = room.publish(tier, records, chunks)
        if not no_record and not short:
            cost = records * room.regions.kind.size + chunks * room.chunks.kind.size
            if status == FITS:
                return Device(base, size, names, FITS, cost)
            return Device(base, size, names, status, cost, reason, min(missing, frames - guarantee))
        if not reason:
            reason = "no region record is left" if no_record else f"entries for {frames:,} frames are wanted"
            missing = frames if no_record else min(short * CHUNK_FRAMES, frames)
    return Device(base, size, names, REFUSED, 0, reason, missing)
