"""The plan of one kernel on one machine (C7, C8): what its heap will be, to the byte, and what is left.

The kernel is loaded as for a boot, and its own `plan` is asked; no step of the boot is run. RAM and profile alone
decide: the machine's devices are looked at only to say which of them will fit (`devices`), never by what sizes the heap
(E5). So machines with the same memory share their plan, which is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy
from numpy.typing import NDArray

from kernmalloc.facade.configure import ADDED, FITS, REFUSED, Added
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.loader import within
from kernmalloc.facade.profile import STRATEGIES, Profile
from kernmalloc.facade.story import refusal
from kernmalloc.kernel.boot.config import BootRange
from kernmalloc.kernel.boot.sizing import Plan as PlanRecord
from kernmalloc.kernel.boot.sizing import heap_at, heap_bound, heap_frames
from kernmalloc.kernel.core import kern as k
from kernmalloc.kernel.devices import chunk_bytes, chunks_for
from kernmalloc.kernel.frames.bitmap import bitmap_bytes
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.heap.caches import scaled
from kernmalloc.kernel.heap.runs import map_pages
from kernmalloc.kernel.map.kmap import span_pages
from kernmalloc.lang import objects
from kernmalloc.lang.status import OK
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.memory_map import Machine, Range
from kernmalloc.plan.added import Later
from kernmalloc.plan.devices import Device, Room, publications, spans, without_place
from kernmalloc.plan.figures import figures
from kernmalloc.plan.parts import Basis, Configured, Fixed, Item, Tlb
from kernmalloc.plan.scratch import Scratch, pages_of, slabs
from kernmalloc.results.shown import html
from kernmalloc.results.tables import Rows, row

if TYPE_CHECKING:
    import pyarrow


class Memory(NamedTuple):
    """What decides a plan beside the profile: RAM, and what of it is taken or not RAM."""

    ram: tuple[Range, ...]
    firmware: tuple[Range, ...]
    carved: tuple[Range, ...]

    @classmethod
    def of(cls, machine: Machine) -> "Memory":
        """The memory of a machine."""
        return cls(machine.ram, machine.firmware, machine.carved)


@dataclass(frozen=True)
class Plan:
    """What will be. Sizes are bytes unless they say frames."""

    machine: Machine
    profile: Profile
    page: int
    items: Rows[Item]  # of the heap: together `top`
    beside: Rows[Item]  # what comes with it: the heap map, mapping frames, image and boot area
    planned: int  # heap pages that will be in use when the boot is over
    top: int  # heap pages that will be there
    most: int  # heap pages that there may ever be (C1)
    scale: float  # share of the wanted objects that the window holds
    heap_va: int
    fixed: Fixed | None
    tlb: Tlb
    frames: int  # of RAM that are described
    available: int  # frames left for page space
    promised: int  # of those, promised to the bank
    lenient: bool
    device_frames: int  # device frames whose entries are reserved
    last_words: int  # device frames whose entries only console and boot devices may use
    clipped: int  # bytes of RAM above the address limit
    basis: Basis
    more: tuple[Range, ...] = ()  # RAM that comes later

    @cached_property
    def _published(self) -> tuple[Room, Rows[Device]]:
        """What room the publications of the machine's devices leave, and what becomes of each."""
        basis, room = self.basis, self.basis.room.copy()
        windows, max_pfn = self.machine.device_ranges(room.page_shift), basis.scratch.get("max_pfn")
        return room, Rows.of(Device, publications(windows, basis.spans, room, max_pfn, basis.extents))

    @cached_property
    def _completed(self) -> tuple[Rows[Device], Rows[Added], Configured]:
        room, devices = self._published
        unplaced, added, after = _configure(self, room, devices)
        return Rows.of(Device, unplaced), Rows.of(Added, added), after

    @property
    def devices(self) -> Rows[Device]:
        """What becomes of the machine's devices."""
        return self._published[1]

    @property
    def unplaced(self) -> Rows[Device]:
        """The devices that have no place: what they would cost."""
        return self._completed[0]

    @property
    def added(self) -> Rows[Added]:
        """What becomes of RAM that comes later."""
        return self._completed[1]

    @property
    def after(self) -> Configured:
        """The heap when devices and RAM have come."""
        return self._completed[2]

    @property
    def backed(self) -> int:
        """The heap at the end of the boot, with its records: what has frames behind it."""
        return self._with_records(self.top)

    @property
    def bound(self) -> int:
        """The most that there may ever be of that (C1)."""
        return self._with_records(self.most)

    def _with_records(self, heap: int) -> int:
        """Bytes of heap pages and of their records."""
        return heap + self.basis.scratch.ask(map_pages, heap // self.page) * self.page

    @property
    def locked(self) -> int:
        """Entries of a TLB that software loads which can be locked for the fixed part of the heap, so that no access to
        it ever misses: one for each large page, if that leaves some for all else; or none (C2)."""
        return self.tlb.large if self.tlb.large < FORMATS[self.profile.arch].tlb else 0

    @property
    def affine_share(self) -> float:
        """Of the heap at the end of the boot: the share that is VA = PA + constant for certain (C6)."""
        return 1.0 if self.fixed else 0.0

    @property
    def affine_share_at_bound(self) -> float:
        """The same when the heap has grown to its bound."""
        if self.profile.direct:
            return 1.0
        return self.fixed.bytes / self.most if self.fixed else 0.0

    @property
    def direct_map(self) -> int:
        """VA that mapping all RAM at VA = PA + one constant would take (E10): from its lowest frame to its highest."""
        ram = [(first, end) for first, end, kind in self.basis.spans if kind == k.RAM]
        return (max(end for _, end in ram) - min(first for first, _ in ram)) * self.page

    @property
    def configured(self) -> bool:
        """Every device that can be published on this machine at all is, with all its entries guaranteed."""
        return all(device.status == FITS or not device.curable for device in self.devices)

    @property
    def published(self) -> bool:
        """Every device that can be published on this machine at all is, if only by its extent."""
        return all(device.status != REFUSED or not device.curable for device in self.devices)

    def on(self, machine: Machine, more: Sequence[Range] = ()) -> "Plan":
        """The plan for a machine with the same memory and other devices, to which RAM is added later."""
        return replace(self, machine=machine, more=tuple(more))

    _repr_html_ = html

    def to_arrow(self) -> "pyarrow.Table":
        """A table of one row (`plan/figures`); the rows of several plans make the table of a fleet. Raises NoArrow."""
        return row(figures(self))


def plan(machine: Machine, profile: Profile, more: Sequence[Range] = ()) -> Plan:
    """The plan, also for RAM that comes after the boot, `more`. Raises TooSmall, as `Kernel.boot` would, where the
    machine or the window cannot hold this kernel."""
    made = _plan(Memory.of(machine), profile)
    if isinstance(made, str):
        raise TooSmall(made)
    return made.on(machine, more)


def planned(machine: Machine, profile: Profile, more: Sequence[Range] = ()) -> Plan | None:
    """The plan; None where machine or window cannot hold the kernel."""
    try:
        return plan(machine, profile, more)
    except TooSmall:
        return None


def why_not(memory: Memory, profile: Profile) -> str:
    """Why a machine with that memory cannot hold a kernel; "" if it can."""
    made = _plan(memory, profile)
    return made if isinstance(made, str) else ""


@cache
def _mode() -> str:
    """The mode in which kernels plan: compiled, if this version's object is there when the first one does."""
    return "soft" if objects.is_built("soft") else "twin"


@lru_cache(4096)
def _plan(memory: Memory, profile: Profile) -> Plan | str:
    """The plan for that memory, without devices, or why there is none."""
    machine = Machine(name="", file="", **memory._asdict())
    try:
        with Kernel.load(machine, profile, _mode()) as kernel:
            code = kernel.call_kern("plan")
            return _read(kernel) if code == OK else refusal(kernel.handle, k.DONATE, code)
    except TooSmall as error:
        return str(error)


def with_strategy(profile: Profile, strategy: str) -> Profile:
    """The same kernel with another heap strategy. Raises ValueError for one that there is not."""
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}: known are {', '.join(STRATEGIES)}")
    return msgspec.structs.replace(profile, strategy=strategy)


def _read(kernel: Kernel) -> Plan:
    """The plan that the kernel made, in bytes and by structure."""
    kern = kernel.view.kern
    record = {name: int(kern["plan"][name]) for name in PlanRecord.fields}
    shift = int(kern["page_shift"])
    scratch = Scratch(kern.tobytes())
    ranges = kernel.view.read(BootRange, int(kern["ranges"]), int(kern["range_count"]))
    affine = bool(kern["affine"])
    top = record["top"]
    bound = scratch.ask(heap_bound)
    heap_va = kernel.profile.va.base + scratch.ask(heap_at) - int(kern["base"])
    records = scratch.ask(map_pages, top)
    taken = record["donation"] if affine else scratch.ask(heap_frames, top)
    available = record["frames"] - taken
    promised = scratch.promise(available)
    static = (int(kernel.layout["image_bytes"]) + int(kernel.layout["area_bytes"]) >> shift) + int(
        kernel.layout["image_tables"] + kernel.layout["window_tables"] + kernel.layout["cpu_tables"]
    )
    maps = 0 if kernel.profile.direct else taken - top - records
    tlb = Tlb(top // scratch.ask(span_pages) if affine else 0, records + maps + (0 if affine else top), static)
    if kernel.profile.direct:
        tlb = Tlb(0, 0, 0)
    fixed = None
    if affine and not kernel.profile.heapless:
        pfn = record["first"] + (record["map"] if kernel.profile.direct else 0)
        fixed = Fixed(heap_va, pfn << shift, top << shift)
    room = Room.of(scratch, record, top, bound, available if kern["lenient"] else available - promised)
    layout = kernel.layout
    own = [
        (int(layout[f"{part}_pa"]) >> shift, int(layout[f"{part}_pa"] + layout[f"{part}_bytes"]) >> shift)
        for part in ("image", "area")
    ]
    basis = Basis(
        spans=spans(ranges),
        own=[(first, end, k.CARVED_MEMORY) for first, end in own],
        hash_at=record["tables"] + pages_of(shift, Region.size, record["records"]),
        room=room,
        scratch=scratch,
        excess=STRATEGIES[kernel.profile.strategy].excess,
        extents=kernel.profile.devices.extents,
    )
    return Plan(
        machine=kernel.machine,
        profile=kernel.profile,
        page=1 << shift,
        items=Rows.of(Item, _heap_items(kernel, scratch, record, ranges)),
        beside=Rows.of(
            Item,
            (
                Item("heap map", records << shift, f"{bound if kernel.profile.direct else top:,} records of 64 bytes"),
                Item("mapping frames", maps << shift, "leaf tables of the heap and of its map"),
                Item("image", int(kernel.layout["image_bytes"])),
                Item("boot area", int(kernel.layout["area_bytes"]), "first page tables, kernel and processor records"),
            ),
        ),
        planned=top - record["headroom"] - record["excess"] - record["padding"] << shift,
        top=top << shift,
        most=bound << shift,
        scale=record["scale"] / 65536,
        heap_va=heap_va,
        fixed=fixed,
        tlb=tlb,
        frames=record["frames"],
        available=available,
        promised=promised,
        lenient=bool(kern["lenient"]),
        device_frames=int(kern["device_pages"]),
        last_words=int(kern["last_frames"]),
        clipped=kernel.clipped,
        basis=basis,
    )


def _configure(
    made: Plan, room: Room, devices: Iterable[Device]
) -> tuple[tuple[Device, ...], tuple[Added, ...], Configured]:
    """With the devices published that have a place, and `room` left: those that have none; RAM, added; and the heap
    then."""
    basis = made.basis
    shift, ask = room.page_shift, basis.scratch.ask
    waiting = without_place(made.machine, room)
    pages = made.top >> shift
    grown = room.grown.pages
    taken = ask(heap_frames, pages + grown) - ask(heap_frames, pages) if grown else 0
    later = _later(made, room, devices, made.available - taken)
    added = later.add(made.more)
    came = sum(each.size >> shift for each in added if each.status == ADDED)
    taken += sum(each.taken for each in added)
    promised = made.promised
    for each in added:
        promised = _promised(made, promised, (each.size >> shift) - each.taken if each.status == ADDED else 0)
    slot = ask(span_pages)
    released = later.kept & -slot if basis.excess and later.top == pages else 0
    large = released // slot
    given = ask(heap_frames, pages) - ask(heap_frames, pages - released) - large
    available = made.available + came + given - taken
    idle = room.regions.free * room.regions.kind.size + room.chunks.free * room.chunks.kind.size
    return (
        waiting,
        added,
        Configured(
            heap=later.top - later.refunded - released << shift,
            idle=idle + (later.kept + room.grown.idle - released << shift),
            released=released << shift,
            taken=taken,
            available=available,
            promised=promised,
            broken_by=max(promised - available, 0) if made.lenient else 0,
            tlb=0 if made.profile.direct else made.tlb.entries - large - (given - released) + taken,
        ),
    )


def _later(made: Plan, room: Room, devices: Iterable[Device], left: int) -> Later:
    """A planned kernel with its devices, to which RAM can be added."""
    basis, shift = made.basis, room.page_shift
    published = [(d.base >> shift, d.base + d.size >> shift, k.DEVICE_MEMORY) for d in devices if d.status != REFUSED]
    scratch = basis.scratch.copy()
    scratch.put("top", (made.top >> shift) + room.grown.pages)
    scratch.put("heap_pages", made.most >> shift)
    growth = _free_run(made) - room.grown.pages
    return Later(scratch, room, [*basis.spans, *published], basis.own, growth, left, made.frames, basis.hash_at)


def _free_run(made: Plan) -> int:
    """Pages by which the heap can grow in one run after the boot, as `longest_growth` has it: in a direct map as many
    as there is RAM in one piece behind the heap, up to its bound."""
    shift = made.basis.room.page_shift
    if not made.profile.direct:
        return made.most - made.top >> shift
    low = made.heap_va - made.profile.va.base
    ram = [(first, end) for first, end, kind in made.basis.spans if kind == k.RAM]
    runs = within(ram, (low + made.top >> shift, low + made.most >> shift))
    return max((end - first for first, end in runs), default=0)


def _promised(made: Plan, promised: int, gained: int) -> int:
    """Frames promised to the bank when page space gains so many, as `bank_gains` has it."""
    asked = made.profile.bank.promised
    return max(min(asked, promised + gained), promised) if asked else promised + gained


def _heap_items(
    kernel: Kernel, scratch: Scratch, record: dict[str, int], ranges: NDArray[numpy.void]
) -> Iterator[Item]:
    """The heap structure by structure, in the order of the boot; together they are `top`."""
    shift = scratch.get("page_shift")
    stride, identity = scratch.get("stride"), scratch.get("identity")
    frames = record["frames"]
    entries, identities = frames * stride, frames * identity
    ram = [(int(r["base"]), int(r["count"])) for r in ranges if r["kind"] == k.RAM and r["count"]]
    whole = kernel.profile.heapless or record["records"] == sum(1 for r in ranges if r["count"]) - 1
    yield Item("core table entries", entries, f"{frames:,} frames, {stride} bytes each")
    yield Item("page identities", identities, f"{frames:,} frames, {identity} bytes each")
    rest = (record["tables"] << shift) - entries - identities
    if whole:
        bitmaps = sum(bitmap_bytes(base, count) for base, count in ram)
        yield Item("free bitmaps", bitmaps, f"of {len(ram)} ranges")
        yield Item("page rounding", rest - bitmaps, "each core table starts on a page")
    else:
        yield Item("free bitmaps", rest, "of ranges cut where memory pays for its own table; with rounding to pages")
    held = record["records"] + scratch.get("device_ranges")
    yield Item("region records", record["regions"] << shift, f"{held:,} of {Region.size} bytes, devices' included")
    described = scratch.get("device_pages")
    note = f"{chunks_for(described):,} chunks of {scratch.ask(chunk_bytes)} bytes for {described:,} frames"
    yield Item("device entries", record["chunks"] << shift, note)
    last = pages_of(shift, scratch.ask(chunk_bytes), chunks_for(scratch.get("last_frames")))
    yield Item("last words: device entries", last << shift, f"{scratch.get('last_frames'):,} frames")
    records, maps = scratch.get("last_ranges"), scratch.get("last_maps")
    yield Item("last words: region records", pages_of(shift, Region.size, records) << shift, f"{records:,}")
    yield Item("last words: mapping frames", pages_of(shift, 1 << shift, maps) << shift, f"{maps:,}")
    wanted = kernel.profile.wanted_counts(kernel.placement.frames)
    for kind in kernel.profile.objects:
        if kind.last_words:
            yield Item(
                f"last words: {kind.name}", pages_of(shift, kind.size, kind.last_words) << shift, f"{kind.last_words:,}"
            )
    yield Item("page cache", record["pages"] << shift, f"buckets and ghosts for {frames:,} frames")
    if scratch.get("static"):
        for kind in kernel.profile.objects:
            count = scaled(wanted[kind.name], record["scale"])
            slab = slabs(shift, kind.size)
            note = f"{count:,} of {kind.size} bytes, {slab.slots} in {slab.pages} pages"
            yield Item(kind.name, pages_of(shift, kind.size, count) << shift, note)
    yield Item("spare", record["headroom"] << shift, "kept free for malloc")
    yield Item("excess", record["excess"] << shift, "until release")
    yield Item("padding", record["padding"] << shift, "to a whole large page")
