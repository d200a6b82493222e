"""The kernel in a page: what its worker needs to boot it, and what its views say of it.

Concepts
  1. The page starts a kernel that is loaded and has not taken its first step. Here the same kernel is booted in mode
     soft, for the words of each step and for the settings that may be changed.
  2. A boot that writes more than WRITTEN bytes is more than a page should hold. Then the page has the same map scaled
     down: each range of RAM and each device a fraction as long, and as far from address 0.
"""

import inspect
from typing import Any, NamedTuple

import msgspec

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.facade.story import NAMES
from kernmalloc.inputs.facts import Device
from kernmalloc.inputs.sizes import size
from kernmalloc.kernel.boot import steps
from kernmalloc.kernel.boot.config import BootRange, Config
from kernmalloc.kernel.check.tally import Tally
from kernmalloc.kernel.core import kern as k
from kernmalloc.kernel.devices import ANYONE
from kernmalloc.kernel.frames.regions import Region
from kernmalloc.kernel.frames.table import Frame
from kernmalloc.kernel.heap.caches import ObjectType
from kernmalloc.kernel.heap.slabs import Cache
from kernmalloc.lang import objects, status
from kernmalloc.machine.memory_map import Machine
from kernmalloc.machine.ram import PAGE_SHIFT
from kernmalloc.machine.soft import NO_ROOT, Soft
from kernmalloc.machine.soft_ram import Sparse
from kernmalloc.web.image import fields, image, packed

WRITTEN = 256 << 20
RECORDS = (k.Kern, k.Cpu, Region, Frame, Cache, Config, Tally, Soft, Sparse)
FUNCTIONS = ("_donate", "_top_table", "_mark", "_list", "_rest", "_objects")
"""By stage, the function of `boot/steps.py` whose source a page shows beside the step."""

SETTINGS = {
    "growth": ("pages by which the heap grows", "heap.growth_frames"),
    "idle_most": ("pages that the heap keeps idle", "heap.idle_frames"),
    "device_pages": ("device frames whose entries are reserved at boot", "devices.frames"),
    "last_frames": ("device frames whose entries are kept for last words", "devices.last_words"),
    "withheld": ("frames that are not promised to the bank", "bank.withheld"),
}
"""Fields of `Config` that a page lets its reader change: what they say, and the profile's key."""

LAYOUT = ("root", "tables", "heap_map", "heap", "windows", "cpu", "kern", "area_bytes")
"""Fields of `Config` that say where all lies: settings that would change them are refused."""

CELLS = 320


class Segment(NamedTuple):
    """A stretch of physical addresses, in frames; `cells` of it are drawn, if it is RAM."""

    first: int
    frames: int
    kind: str
    name: str
    cells: int = 0


def kernel_data(machine: Machine, profile: Profile, progress: objects.Progress | None = None) -> dict[str, Any]:
    """What a page needs of one kernel on one machine, as JSON has it. Raises TooSmall, TooLarge and LifeError as
    `Kernel.boot`, and BuildError where the module cannot be built."""
    module = objects.built("wasm", progress)
    scale, made = 1, _booted(machine, profile)
    while made.written > WRITTEN:
        scale *= 2 ** max((made.written // WRITTEN).bit_length(), 1)
        made = _booted(scaled(machine, scale, profile.page), profile)
    return made.data | {"module": packed(module), "scale": scale}


class _Booted(NamedTuple):
    written: int  # bytes
    data: dict[str, Any]


def _booted(machine: Machine, profile: Profile) -> _Booted:
    """A kernel's image, and what its boot comes to."""
    with Kernel.load(machine, profile, "soft") as kernel:
        data = _image_data(kernel)
    told: list[dict[str, Any]] = []

    def observe(step: Any) -> None:
        told.append({"stage": step.stage, "name": step.name, "text": step.text, "state": step.state})

    with Kernel.boot(machine, profile, "soft", observe) as kernel:
        written = len(kernel.view.ram.snapshot()) << PAGE_SHIFT
        data |= {
            "steps": told,
            "functions": [_source(getattr(steps, each)) for each in FUNCTIONS],
            "segments": [each._asdict() for each in segments(machine, kernel)],
            "donation": donation_words(kernel),
        }
    return _Booted(written, data)


def _image_data(kernel: Kernel) -> dict[str, Any]:
    """What the worker starts with."""
    made, info = image(kernel), kernel.layout
    life: Any = kernel.handle.life
    memory = b"".join(pa.to_bytes(8, "little") + page for pa, page in sorted(made.memory.items()))
    area, moved = int(info["area_pa"]), int(info["area_pa"]) - kernel.handle.loaded.area
    arrays = {"ranges": (BootRange.size, "range_count"), "objects": (ObjectType.size, "object_count")}
    ends = [int(info[name]) + moved + each * int(info[count]) for name, (each, count) in arrays.items()]
    off = {"root": NO_ROOT, "window": 0, "target": 0, "page_shift": PAGE_SHIFT, "text_pages": 0, "stack_pages": 0}
    return {
        "host": packed(made.host),
        "framesAt": made.frames_at,
        "pages": packed(memory),
        "pageShift": made.page_shift,
        "records": {record.name: fields(record) for record in RECORDS},
        "kern": str(kernel.view.kern_va),
        "processor": str(kernel.processor),
        "stride": kernel.profile.core.stride,
        "checked": int(k.Kern.offset("checked")),
        "types": list(k.TYPE_NAMES),
        "classes": list(k.CLASS_NAMES),
        "stages": [*NAMES, "up"],
        "listed": k.REST,
        "up": k.UP,
        "anyone": ANYONE,
        "dma": k.DMA,
        "deviceMemory": k.DEVICE_MEMORY,
        "status": {str(code): [status.NAMES[code], status.MEANINGS[code]] for code in status.NAMES},
        "told": {
            "area": area,
            "length": max(ends) - area,
            "arrays": {name: int(info[name]) + moved for name in arrays},
            "layout": {name: str(int(info[name])) for name in LAYOUT},
            "off": off,
            "on": {name: int(life.state[name]) for name in off},
        },
        "window": _window(kernel),
        "settings": [
            {"name": name, "value": int(info[name]), "meaning": meaning, "key": key}
            for name, (meaning, key) in SETTINGS.items()
        ],
        "maxPfn": int(info["max_pfn"]),
    }


def _window(kernel: Kernel) -> dict[str, Any]:
    """The kernel's window and its parts, from the lowest address on: name, first VA, bytes."""
    info = kernel.layout
    start, length = int(info["window"]), int(info["window_bytes"])
    if not kernel.handle.loaded.has_tables:
        return {"start": str(start), "bytes": length, "parts": [["direct map", str(start), length]]}
    marks = [start, start + int(info["image_bytes"])]
    marks += [int(info[name]) for name in ("tables", "heap_map", "heap", "windows")] + [start + length]
    names = ("image", "boot area", "tables", "heap map", "heap", "per-CPU windows")
    parts = [[name, str(low), high - low] for name, low, high in zip(names, marks, marks[1:], strict=False)]
    return {"start": str(start), "bytes": length, "parts": parts}


def _source(function: Any) -> dict[str, Any]:
    """A function of the kernel: its name, the file from the package on, the line, the text."""
    lines, number = inspect.getsourcelines(function)
    file = function.__module__.replace(".", "/") + ".py"
    return {"name": function.__name__, "file": file, "line": number, "text": "".join(lines)}


def donation_words(kernel: Kernel) -> list[tuple[str, str]]:
    """What is donated at boot, and why exactly so many frames: questions and answers (E33 to E36)."""
    given, page, kern = kernel.donation, kernel.profile.page, kernel.view.kern
    donor = kernel.view.read(BootRange, int(kern["ranges"] + kern["plan"]["donor"] * BootRange.size))[0]
    base, count = int(donor["base"]), int(donor["count"])
    if kernel.profile.heapless:
        what = "The core tables of all RAM are carved out of it: there is no heap, and malloc is refused."
        why = f"They take {given.frames:,} frames for {int(kern['frames']):,} frames of RAM."
        return [("What is donated?", what), (f"Why exactly {given.frames:,} frames?", why)]
    table = kernel.call_kern("table_bytes", base, count)
    what = (
        f"{given.frames:,} frames, {size(given.bytes)} at {given.pfn * page:#x}. A core table entry for every frame "
        "must come from malloc, and malloc finds frames by their entries: so these are given to the heap before there "
        f"is any entry. They come out of the highest range of RAM that can hold its own core table, the {count:,} "
        f"frames from {base * page:#x} on."
    )
    per = kernel.profile.core.stride + kernel.profile.core.identity
    if int(kern["affine"]):
        said = (
            f"The heap of this kernel is planned whole before the boot and lies in one piece: {given.heap:,} frames, "
            "structure by structure as in the plan"
        )
    else:
        said = (
            f"The core table of these {count:,} frames takes {table:,} bytes, {per} a frame and the free bitmaps: "
            f"{-(-table // page):,} frames. The heap's own records of its pages take the other "
            f"{given.heap - -(-table // page):,}"
        )
    why = (
        f"{said}. {given.maps:,} more become page tables that map them. {given.heap:,} + {given.maps:,} = "
        f"{given.frames:,}: the heap uses the donation up to the last frame, and with one frame less the table could "
        "not be allocated."
    )
    return [("What is donated?", what), (f"Why exactly {given.frames:,} frames?", why)]


def segments(machine: Machine, kernel: Kernel) -> list[Segment]:
    """The physical map in whole frames, from address 0 on, without overlap: RAM, what was carved out of it, firmware,
    devices, and the holes between them."""
    shift, place = kernel.profile.page_shift, kernel.placement
    info = kernel.layout
    area = int(info["area_pa"]) >> shift
    ram = sum(high - low for low, high in place.ram)
    taken = [
        Segment(low, high - low, "ram", "RAM", max(round(CELLS * (high - low) / ram), 4)) for low, high in place.ram
    ]
    for low, high in place.reserved:
        name = "kernel image" if (low, high) == place.image else "boot area" if low == area else "taken before the boot"
        taken.append(Segment(low, high - low, "carved", name))
    taken += [Segment(low, high - low, "firmware", k.CLASS_NAMES[kind]) for low, high, kind in place.firmware]
    taken.sort()
    limit = int(info["max_pfn"])
    for device in sorted(machine.devices, key=lambda each: each.base):
        if device.base and device.status == "assigned":
            taken += _free_parts(taken, device.base >> shift, min(-(-device.end >> shift), limit), device)
            taken.sort()
    found: list[Segment] = []
    at = 0
    for each in taken:
        if each.first > at:
            found.append(Segment(at, each.first - at, "hole", "nothing"))
        found.append(each)
        at = each.first + each.frames
    return found


def _free_parts(taken: list[Segment], first: int, end: int, device: Device) -> list[Segment]:
    """What of a device's window nothing else has."""
    parts, at = [], first
    for each in taken:
        if each.first + each.frames <= at:
            continue
        if each.first >= end:
            break
        if each.first > at:
            parts.append(Segment(at, each.first - at, "device", device.name or device.kind))
        at = each.first + each.frames
    return parts + ([Segment(at, end - at, "device", device.name or device.kind)] if at < end else [])


def scaled(machine: Machine, factor: int, page: int) -> Machine:
    """A machine of which each range begins at a fraction of its address and is a fraction as long, in whole pages."""

    def smaller(each: Any) -> Any:
        base = each.base // factor // page * page
        end = each.end // factor // page * page
        return msgspec.structs.replace(each, base=base, size=max(end - base, 0))

    def all_of(ranges: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(each for each in map(smaller, ranges) if each.size > 0)

    return msgspec.structs.replace(
        machine,
        ram=all_of(machine.ram),
        firmware=all_of(machine.firmware),
        devices=all_of(machine.devices),
        windows=all_of(machine.windows),
        carved=all_of(machine.carved),
        unused=all_of(machine.unused),
    )
