"""The boot loader of a hosted kernel: puts image, boot area and the ranges of memory where the kernel finds them.

It carves what is taken out of RAM: the kernel image and the initial ramdisk where the machine's log says they lie, else
the image where the profile says; and the boot area, right behind the image where there is room. It passes ranges of
memory only: devices are unknown at boot (E5).
"""

from typing import NamedTuple

import numpy

import kernmalloc.kernel.boot.layout  # noqa: F401
from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import HOSTED_LIMIT, STRATEGIES, Profile, Window
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.boot.config import LAYOUT_SHIFT, BootRange, Config
from kernmalloc.kernel.core.kern import (
    CARVED_MEMORY,
    MODE_NAMES,
    NVRAM,
    RAM,
    RESERVED_MEMORY,
    ROM,
    VERSION,
    WINDOWS_SHIFT,
    Cpu,
    Kern,
)
from kernmalloc.kernel.core.modes import writes_tables
from kernmalloc.lang import failed
from kernmalloc.lang.status import MEANINGS
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.model import Format
from kernmalloc.machine.lives import Life, Raw
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import Ram
from kernmalloc.machine.soft import NO_ROOT

KINDS = {"soft": RESERVED_MEMORY, "reserved": RESERVED_MEMORY, "rom": ROM, "nvram": NVRAM}
LOW = 1 << 20  # below, a PC's firmware may still be at work
SLACK = 4  # ranges that carving the boot area out may add

Span = tuple[int, int]  # first pfn, one past the last


class Placement(NamedTuple):
    """What the loader decides before the kernel runs: frames, first and one past the last."""

    ram: list[Span]  # RAM that is left for the kernel to manage
    reserved: list[Span]  # RAM taken by the image, the ramdisk, boot tables and the boot area
    firmware: list[tuple[int, int, int]]  # other ranges: first, end, class
    image: Span
    frames: int  # all frames of RAM
    clipped: int  # bytes of RAM above the physical address limit
    lost: int  # bytes of RAM in pages that are only partly RAM


def has_tables(info: numpy.void) -> bool:
    """Whether a kernel that was told this writes page tables; else it lies in a direct map."""
    return bool(writes_tables(int(info["mode"])))


def area_at(info: numpy.void) -> int:
    """VA of the boot area of a kernel that was told this: behind the image, or where it lies in the direct map."""
    return int(info["window"] + info["image_bytes" if has_tables(info) else "area_pa"])


class Loaded(NamedTuple):
    """A machine on which the kernel can be started."""

    info: numpy.void  # the Config record, as answered
    cpu: int  # VA of the first processor record
    kern_pa: int
    format: Format
    placement: Placement

    @property
    def has_tables(self) -> bool:
        """Whether the kernel writes page tables; else it lies in a direct map."""
        return has_tables(self.info)

    @property
    def area(self) -> int:
        """VA of the boot area."""
        return area_at(self.info)

    # what machine.lives.Paging asks for
    @property
    def format_pa(self) -> int:
        return self.kern_pa + Kern.offset("format")

    @property
    def page_shift(self) -> int:
        return int(self.info["page_shift"])

    @property
    def root(self) -> int:
        if not self.has_tables:
            return NO_ROOT
        return int(self.info["upper"]) or int(self.info["area_pa"] + self.info["root"])

    @property
    def window(self) -> int:
        return int(self.info["window"])

    @property
    def target(self) -> int:
        return int(self.info["target"])

    @property
    def window_bytes(self) -> int:
        return int(self.info["window_bytes"])

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """Where in the window its tables, the heap's map, the heap and the windows begin."""
        tables, heap_map, heap, windows = (int(self.info[n]) for n in ("tables", "heap_map", "heap", "windows"))
        return tables, heap_map, heap, windows

    @property
    def processors(self) -> range:
        """Addresses of the kernel's records of processors."""
        return range(self.cpu, self.cpu + int(self.info["cpus"]) * Cpu.size, Cpu.size)

    @property
    def reach(self) -> int:
        """Bytes of the window that static tables may map."""
        return int(self.info["heap_map"]) - self.window


def without(spans: list[Span], taken: Span) -> list[Span]:
    """The spans with one range of frames cut out."""
    first, end = taken
    return [
        part for low, high in spans for part in ((low, min(high, first)), (max(low, end), high)) if part[0] < part[1]
    ]


def within(spans: list[Span], wanted: Span) -> list[Span]:
    """The parts of the spans that lie in one range of frames."""
    first, end = wanted
    return [(max(low, first), min(high, end)) for low, high in spans if max(low, first) < min(high, end)]


def outward(base: int, end: int, page_shift: int) -> Span:
    """The frames that a range of bytes touches."""
    return base >> page_shift, -(-end >> page_shift)


def plan_ram(machine: Machine, profile: Profile) -> Placement:
    """Where RAM is, and what of it is taken before there is a boot area. TooSmall if no range can hold the image."""
    shift = profile.page_shift
    pages, clipped, lost = machine.ram_pages(shift, profile.phys_bits)
    ram = [(first, first + count) for first, count in pages]
    frames = sum(high - low for low, high in ram)
    reserved: list[Span] = []
    image = None
    for r in machine.carved:
        span = outward(r.base, r.end, shift)
        parts = within(ram, span)
        if r.kind == "image" and parts == [span]:
            image = span
        reserved += parts
        ram = without(ram, span)
    if image is None:
        image = _find(ram, profile.image.base >> shift, -(-profile.image.size >> shift), LOW >> shift)
        if image is None:
            raise TooSmall(f"no range of RAM holds the kernel image of {size(profile.image.size)}")
        reserved.append(image)
        ram = without(ram, image)
    return Placement(ram, reserved, _firmware(machine, profile), image, frames, clipped, lost)


def _find(ram: list[Span], preferred: int, count: int, low_end: int, align: int = 1) -> Span | None:
    """`count` frames at the preferred place, else the lowest from `low_end` on, else the lowest, from a multiple of
    `align` frames on; None: no room."""
    preferred = -(-preferred // align) * align
    for low, high in ram:
        if low <= preferred and preferred + count <= high:
            return preferred, preferred + count
    for floor in (low_end, 0):
        for low, high in ram:
            first = -(-max(low, floor) // align) * align
            if first + count <= high:
                return first, first + count
    return None


def _firmware(machine: Machine, profile: Profile) -> list[tuple[int, int, int]]:
    """The map's other entries in whole frames, cut where they share a frame with the one before or with RAM."""
    shift = profile.page_shift
    limit = 1 << (profile.phys_bits - shift)
    ram = machine.ram_pages(shift, profile.phys_bits)[0]
    result, floor = [], 0
    for r in machine.firmware:
        first, end = outward(r.base, min(r.end, limit << shift), shift)
        spans = [(max(first, floor), min(end, limit))]
        for low, count in ram:
            spans = without(spans, (low, low + count))
        spans = [span for span in spans if span[0] < span[1]]
        result += [(low, high, KINDS[r.kind]) for low, high in spans]
        floor = max(floor, end)
    return result


def load(life: Life, machine: Machine, profile: Profile, cpus: int = 1) -> Loaded:
    """Put everything into RAM and turn paging on. TooSmall, in figures, where that is impossible."""
    plan = plan_ram(machine, profile)
    shift = profile.page_shift
    if not profile.direct and cpus << WINDOWS_SHIFT + shift > profile.va.windows:
        most = profile.va.windows >> WINDOWS_SHIFT + shift
        raise TooSmall(f"va.windows of {size(profile.va.windows)} serve {most} of {cpus} processors")
    info = _configured(life, plan, profile, cpus)
    room = _area_bytes(life, info)
    reached = within(plan.ram, (0, profile.va.size >> shift)) if profile.direct else plan.ram
    area = _find(reached, plan.image[1], room >> shift, LOW >> shift, FORMATS[profile.arch].root_pages)
    if area is None:
        where = f" in the direct map of {size(profile.va.size)}" if profile.direct else ""
        raise TooSmall(f"no range of RAM{where} holds the boot area of {size(room)} beside the image")
    plan = plan._replace(ram=without(plan.ram, area), reserved=sorted([*plan.reserved, area]))
    spans = sorted(
        [(low, high, RAM) for low, high in plan.ram]
        + [(low, high, CARVED_MEMORY) for low, high in plan.reserved]
        + plan.firmware
    )
    wanted = profile.wanted_counts(plan.frames)
    at = area[0] << shift
    ranges = at + Config.size
    objects = ranges + len(spans) * BootRange.size
    info["area_pa"], info["area_room"], info["range_count"] = at, room, len(spans)
    info["ranges"], info["objects"] = life.phys + ranges, life.phys + objects
    life.ram.bytes[at:ranges] = info.tobytes()
    _write(life.ram, ranges, [(low, high - low, kind) for low, high, kind in spans])
    _write(life.ram, objects, [(kind.size, wanted[kind.name], kind.last_words) for kind in profile.objects])
    root = life.call("init", life.phys + at, life.phys)
    if failed(root):
        raise TooSmall(f"the kernel cannot start here: {MEANINGS[root]}")
    info = numpy.frombuffer(life.ram.bytes[at:ranges], Config.dtype)[0].copy()
    cpu = area_at(info) + int(info["cpu"])
    loaded = Loaded(info, cpu, int(info["area_pa"] + info["kern"]), FORMATS[profile.arch], plan)
    life.enter(loaded)
    return loaded


def configuration(profile: Profile, frames: int) -> numpy.void:
    """What a profile says, as the kernel is told it, on a machine with so many frames of RAM: a `Config` record."""
    shift = profile.page_shift
    info: numpy.void = numpy.zeros(1, Config.dtype)[0]
    info["version"], info["bytes"] = VERSION << LAYOUT_SHIFT | Config.layout, Config.size
    va = profile.va
    info["arch"], info["mode"] = FORMATS[profile.arch].number, MODE_NAMES.index(profile.mode)
    info["page_shift"] = shift
    info["max_pfn"] = 1 << (profile.phys_bits - shift)
    info["target"] = va.base if va.base < 1 << 63 else va.base - (1 << 64)
    info["window"], info["window_bytes"], info["cpu_windows"] = info["target"], va.size, va.windows
    if profile.direct:
        info["direct"], info["direct_bytes"] = info["window"], va.size
    info["cpus"] = 1
    info["stride"], info["identity"] = profile.core.stride, profile.core.identity
    info["no_pages"] = profile.core.identity == 0
    info["growth"] = profile.heap.growth_frames
    info["idle_most"] = profile.heap.idle_frames or profile.heap.growth_frames
    strategy = STRATEGIES[profile.strategy]
    affine = strategy.affine or profile.direct
    info["affine"], info["static"], info["reserves"] = affine, strategy.static, strategy.reserves
    info["growable"] = affine and strategy.grows and -(-profile.heap.growable >> shift)
    info["excess"] = strategy.excess and -(-profile.heap.excess >> shift)
    info["headroom"] = affine and -(-profile.heap.spare >> shift)
    info["device_ranges"] = 0 if strategy.grows else profile.devices.ranges
    info["device_pages"] = profile.device_frames(frames)
    info["last_frames"], info["last_ranges"] = profile.devices.last_words, profile.devices.last_ranges
    info["last_maps"] = profile.devices.last_maps
    info["lenient"] = profile.bank.lenient and strategy.grows and not strategy.affine  # only a demand heap may break it
    info["promised"] = profile.bank.promised
    info["cleaner_frames"] = profile.bank.cleaners
    info["withheld"] = profile.bank.withheld + (int(info["growable"]) if strategy.affine else 0)
    info["object_count"] = len(profile.objects)
    return info


def _configured(life: Life, plan: Placement, profile: Profile, cpus: int) -> numpy.void:
    """The configuration for a machine; room for as many ranges as there may be."""
    info = configuration(profile, plan.frames)
    if isinstance(life, Raw):
        info["window"] = life.claim(*_hosted_at(profile.va, life.ram if profile.direct else None))
        info["direct"] = info["window"] if profile.direct else 0
    info["image_pa"] = plan.image[0] << profile.page_shift
    info["image_bytes"] = (plan.image[1] - plan.image[0]) << profile.page_shift
    info["cpus"] = cpus
    info["range_count"] = len(plan.ram) + len(plan.reserved) + len(plan.firmware) + SLACK
    return info


def _area_bytes(life: Life, info: numpy.void) -> int:
    """Have the kernel's own `area_bytes` answer, with what is asked lying where the image will."""
    at = int(info["image_pa"])
    life.ram.bytes[at : at + Config.size] = info.tobytes()
    answer = life.call("area_bytes", life.phys + at)
    life.ram.bytes[at : at + Config.size] = bytes(Config.size)
    if failed(answer):
        what = "window" if has_tables(info) else "direct map"
        raise TooSmall(f"the kernel's {what} of {size(int(info['window_bytes']))} has no room for a heap")
    return answer


def _hosted_at(va: Window, direct: Ram | None) -> tuple[int, int]:
    """Where the window is wanted in this process, and its bytes: at its own address, if a process can have that, else
    0, for anywhere. Of a direct map of RAM it is no longer than that."""
    length = min(int(va.size), direct.limit) if direct else int(va.size)
    if va.hosted_base is not None:
        return int(va.hosted_base), length
    return int(va.base) if 0 < va.base <= HOSTED_LIMIT - length else 0, length


def _write(ram: Ram, pa: int, rows: list[tuple[int, ...]]) -> None:
    """Put rows of 64-bit integers, which are records, at `pa`."""
    data = numpy.array(rows, numpy.int64).tobytes()
    ram.bytes[pa : pa + len(data)] = data
