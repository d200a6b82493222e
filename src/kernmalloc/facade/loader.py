"""The boot loader of a hosted kernel: puts image, boot area and the ranges of memory where the kernel finds them.

It carves what is taken out of RAM: the kernel image and the initial ramdisk where the machine's log says they lie, else
the image where the profile says; and the boot area, right behind the image where there is room. It passes ranges of
memory only: devices are unknown at boot (E5).
"""

from typing import NamedTuple

import numpy

from kernmalloc.facade.errors import TooSmall
from kernmalloc.facade.profile import HOSTED_LIMIT, STRATEGIES, Profile, Window
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.boot.layout import BootInfo, BootRange
from kernmalloc.kernel.core.kern import CARVED_MEMORY, NVRAM, RAM, RESERVED_MEMORY, ROM, WINDOWS_SHIFT, Kern
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.lang.status import OK
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.model import Format
from kernmalloc.machine.lives import Life, Raw, free_place
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import Ram

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


class Loaded(NamedTuple):
    """A machine on which the kernel can be started."""

    info: numpy.void  # the BootInfo record, as answered
    cpu: int  # VA of the first processor record
    kern_pa: int
    format: Format
    placement: Placement

    # what machine.lives.Paging asks for
    @property
    def format_pa(self) -> int:
        return self.kern_pa + Kern.offset("format")

    @property
    def page_shift(self) -> int:
        return int(self.info["page_shift"])

    @property
    def root(self) -> int:
        return int(self.info["area_pa"] + self.info["root"])

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


def _find(ram: list[Span], preferred: int, count: int, low_end: int) -> Span | None:
    """`count` frames at the preferred place, else the lowest from `low_end` on, else the lowest; None: no room."""
    for low, high in ram:
        if low <= preferred and preferred + count <= high:
            return preferred, preferred + count
    for floor in (low_end, 0):
        for low, high in ram:
            first = max(low, floor)
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
    wanted = profile.wanted_counts(plan.frames)
    ranges = len(plan.ram) + len(plan.reserved) + len(plan.firmware) + SLACK
    format = FORMATS[profile.arch]
    arrays = BootInfo.size + ranges * BootRange.size
    info = numpy.zeros(1, BootInfo.dtype)[0]
    va = profile.va
    info["arch"] = format.number
    info["page_shift"] = shift
    info["max_pfn"] = 1 << (profile.phys_bits - shift)
    info["target"] = va.base if va.base < 1 << 63 else va.base - (1 << 64)
    info["window"] = _hosted_at(va) if isinstance(life, Raw) else info["target"]
    info["window_bytes"], info["cpu_windows"] = va.size, va.windows
    info["image_pa"] = plan.image[0] << shift
    info["image_bytes"] = (plan.image[1] - plan.image[0]) << shift
    info["info_bytes"] = -(-(arrays + len(wanted) * ObjectType.size) >> shift) << shift
    info["cpus"] = cpus
    info["stride"], info["identity"] = profile.core.stride, profile.core.identity
    info["growth"] = profile.heap.growth_frames
    info["idle_most"] = profile.heap.idle_frames or profile.heap.growth_frames
    strategy = STRATEGIES[profile.strategy]
    info["affine"], info["static"], info["reserves"] = strategy.affine, strategy.static, strategy.reserves
    info["growable"] = strategy.affine and strategy.grows and -(-profile.heap.growable >> shift)
    info["excess"] = strategy.excess and -(-profile.heap.excess >> shift)
    info["headroom"] = strategy.affine and -(-profile.heap.spare >> shift)
    info["device_ranges"] = 0 if strategy.grows else profile.devices.ranges
    info["device_pages"] = profile.device_frames(plan.frames)
    info["last_frames"], info["last_ranges"] = profile.devices.last_words, profile.devices.last_ranges
    info["last_maps"] = profile.devices.last_maps
    info["lenient"] = profile.bank.lenient and strategy.grows and not strategy.affine  # only a demand heap may break it
    info["promised"] = profile.bank.promised
    info["cleaner_frames"] = profile.bank.cleaners
    info["withheld"] = profile.bank.withheld + int(info["growable"])
    info["ranges"], info["objects"], info["object_count"] = BootInfo.size, arrays, len(wanted)

    if cpus << WINDOWS_SHIFT + shift > va.windows:
        most = va.windows >> WINDOWS_SHIFT + shift
        raise TooSmall(f"va.windows of {size(va.windows)} serve {most} of {cpus} processors")
    info = _ask_layout(life, info, int(info["image_pa"]))
    life.ram.bytes[int(info["image_pa"]) : int(info["image_pa"]) + BootInfo.size] = bytes(BootInfo.size)
    frames = int(info["area_bytes"]) >> shift
    area = _find(plan.ram, plan.image[1], frames, LOW >> shift)
    if area is None:
        raise TooSmall(f"no range of RAM holds the boot area of {size(frames << shift)} beside the image")
    plan = plan._replace(ram=without(plan.ram, area), reserved=sorted([*plan.reserved, area]))
    spans = sorted(
        [(low, high, RAM) for low, high in plan.ram]
        + [(low, high, CARVED_MEMORY) for low, high in plan.reserved]
        + plan.firmware
    )
    info["area_pa"], info["range_count"] = area[0] << shift, len(spans)
    life.ram.bytes[area[0] << shift : (area[0] << shift) + int(info["info_bytes"])] = bytes(int(info["info_bytes"]))
    _write(life.ram, int(info["area_pa"] + info["ranges"]), [(low, high - low, kind) for low, high, kind in spans])
    _write(
        life.ram,
        int(info["area_pa"] + info["objects"]),
        [(kind.size, wanted[kind.name], kind.last_words) for kind in profile.objects],
    )
    info = _ask_layout(life, info, int(info["area_pa"]))
    cpu = life.call("prepare", life.phys, life.phys + int(info["area_pa"]))
    loaded = Loaded(info, cpu, int(info["area_pa"] + info["kern"]), format, plan)
    life.enter(loaded)
    return loaded


def _hosted_at(va: Window) -> int:
    """Where the window lies in this process: at its own address, if a process can have that."""
    if va.hosted_base is not None:
        return va.hosted_base
    return int(va.base) if 0 < va.base <= HOSTED_LIMIT - va.size else free_place(va.size)


def _ask_layout(life: Life, info: numpy.void, pa: int) -> numpy.void:
    """Put the request at `pa`, have the kernel's own `layout` answer it there, and read the answer."""
    life.ram.bytes[pa : pa + BootInfo.size] = info.tobytes()
    if life.call("layout", life.phys + pa) != OK:
        raise TooSmall(f"the kernel's window of {size(int(info['window_bytes']))} has no room for a heap")
    answer: numpy.void = numpy.frombuffer(life.ram.bytes[pa : pa + BootInfo.size], BootInfo.dtype)[0].copy()
    return answer


def _write(ram: Ram, pa: int, rows: list[tuple[int, ...]]) -> None:
    """Put rows of 64-bit integers, which are records, at `pa`."""
    data = numpy.array(rows, numpy.int64).tobytes()
    ram.bytes[pa : pa + len(data)] = data
