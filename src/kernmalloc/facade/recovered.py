"""What a kernel was booted with, from its own records: its machine, its profile, where its loader put everything.

Names are not in memory. Object types get those of a shipped profile where one asks for the very objects of this kernel,
else numbers.
"""

from collections.abc import Iterable, Sequence

import numpy
from msgspec.structs import replace

from kernmalloc.facade.loader import Placement, has_tables
from kernmalloc.facade.profile import (
    STRATEGIES,
    Address,
    Bank,
    Bytes,
    Core,
    Devices,
    Heap,
    Image,
    ObjectType,
    Profile,
    Window,
)
from kernmalloc.kernel.core.kern import CARVED_MEMORY, MODE_NAMES, NVRAM, RAM, ROM
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.memory_map import Machine, Range
from kernmalloc.machine.range_sets import flatten

KINDS = {RAM: "ram", CARVED_MEMORY: "ram", ROM: "rom", NVRAM: "nvram"}


def placement(info: numpy.void, ranges: Iterable[numpy.void]) -> Placement:
    """Where the loader had put image, boot area and all else."""
    spans = [(int(r["base"]), int(r["base"] + r["count"]), int(r["kind"])) for r in ranges]
    ram = [(low, high) for low, high, kind in spans if kind == RAM]
    carved = [(low, high) for low, high, kind in spans if kind == CARVED_MEMORY]
    image = int(info["image_pa"]) >> int(info["page_shift"])
    return Placement(
        ram=ram,
        reserved=carved,
        firmware=[span for span in spans if span[2] not in (RAM, CARVED_MEMORY)],
        image=(image, image + (int(info["image_bytes"]) >> int(info["page_shift"]))),
        frames=sum(high - low for low, high in [*ram, *carved]),
        clipped=0,
        lost=0,
    )


def machine(file: str, page_shift: int, ranges: Iterable[numpy.void]) -> Machine:
    """The memory map that the kernel was told; of devices it was told nothing."""
    told = [
        Range(int(r["base"]) << page_shift, int(r["count"]) << page_shift, KINDS.get(int(r["kind"]), "reserved"))
        for r in ranges
    ]
    ram = flatten([each for each in told if each.kind == "ram"], ("ram",))
    return Machine(name="", file=file, ram=tuple(ram), firmware=tuple(each for each in told if each.kind != "ram"))


def profile(info: numpy.void, objects: Sequence[numpy.void], frames: int) -> Profile:
    """The numbers of this kernel."""

    def bytes(name: str) -> Bytes:
        return Bytes(int(info[name]) << int(info["page_shift"]))

    format = next(format for format in FORMATS.values() if format.number == info["arch"])
    strategy = _strategy(info)
    types = tuple(
        ObjectType(name=f"type-{i}", size=int(o["bytes"]), count=int(o["wanted"]), last_words=int(o["last"]))
        for i, o in enumerate(objects)
    )
    made = Profile(
        name="kernel",
        summary="found in a dump",
        arch=format.name,
        mode=MODE_NAMES[int(info["mode"])],
        page_bytes=None if format.has_tables else Bytes(1 << int(info["page_shift"])),
        phys_bits=int(info["max_pfn"]).bit_length() - 1 + int(info["page_shift"]),
        strategy=strategy,
        va=Window(
            base=Address(int(info["target"]) % (1 << 64)),
            size=Bytes(int(info["window_bytes"])),
            windows=Bytes(int(info["cpu_windows"])),
        ),
        image=Image(base=Bytes(int(info["image_pa"])), size=Bytes(int(info["image_bytes"]))),
        core=Core(stride=Bytes(int(info["stride"])), identity=Bytes(int(info["identity"]))),
        heap=Heap(
            growth_frames=int(info["growth"]),
            idle_frames=int(info["idle_most"]),
            growable=bytes("growable"),
            spare=bytes("headroom"),
            excess=bytes("excess"),
        ),
        devices=Devices(
            ranges=int(info["device_ranges"]),
            frames=int(info["device_pages"]),
            last_words=int(info["last_frames"]),
            last_ranges=int(info["last_ranges"]),
            last_maps=int(info["last_maps"]),
        ),
        bank=Bank(
            promised=int(info["promised"]),
            withheld=int(info["withheld"]) - (int(info["growable"]) if STRATEGIES[strategy].affine else 0),
            lenient=bool(info["lenient"]),
            cleaners=int(info["cleaner_frames"]),
        ),
        objects=types,
    )
    return _named(made, frames)


def _strategy(info: numpy.void) -> str:
    """The strategy that asks of the kernel what it was asked. In a direct map every heap is affine."""
    asked = {
        name: bool(info[name]) for name in ("affine", "static", "reserves") if name != "affine" or has_tables(info)
    }
    asked["excess"] = bool(info["excess"])
    alike = [name for name, it in STRATEGIES.items() if all(getattr(it, key) == asked[key] for key in asked)]
    for key, value in (("devices", info["device_pages"]), ("grows", info["growable"])):
        alike = [name for name in alike if getattr(STRATEGIES[name], key) == bool(value)] or alike
    return (alike or ["demand"])[0]


def _named(made: Profile, frames: int) -> Profile:
    """The profile with the names of a shipped one that asks for the same objects."""

    def asked(profile: Profile) -> list[tuple[int, int, int]]:
        counts = profile.wanted_counts(frames)
        return [(kind.size, counts[kind.name], kind.last_words) for kind in profile.objects]

    for name in Profile.shipped():
        shipped = Profile.load(name)
        if shipped.arch == made.arch and shipped.objects and asked(shipped) == asked(made):
            objects = tuple(
                replace(mine, name=theirs.name, align=theirs.align)
                for mine, theirs in zip(made.objects, shipped.objects, strict=True)
            )
            return replace(made, name=shipped.name, objects=objects)
    return made
