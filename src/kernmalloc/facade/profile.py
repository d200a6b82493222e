"""A profile: one kernel, as the numbers that its memory manager needs, in about 30 lines of TOML.

    name, summary, arch, mode, phys_bits, strategy, machines
    [va]      where the kernel's virtual window lies, and what its top is kept for; or where the direct map does
    [image]   the physical memory that the kernel itself occupies
    [core]    the core table: bytes per frame
    [heap]    how the heap grows
    [tlb]     the processor whose TLBs mode soft has
    [hotadd]  how a kernel that does not add RAM as this project's does it
    [[objects]]  the kernel's object types: size, and how many

Integers may be written as such, in hexadecimal, or as text with a unit ("64 KiB"). A key that is unknown, missing or
contradicts another is refused by name (`ProfileError`): a number that is silently ignored is a wrong plan.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Self

import msgspec
from msgspec import Meta

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.sizes import parse_size
from kernmalloc.inputs.toml import parse_toml, text_of
from kernmalloc.kernel.core.kern import CACHES, LARGEST_CLASS, MAX_PFN, MODE_NAMES, WINDOWS_SHIFT
from kernmalloc.kernel.core.modes import allocates, writes_tables
from kernmalloc.kernel.heap.caches import FIRST_TYPE, LARGEST_OBJECT
from kernmalloc.machine.arch import FORMATS
from kernmalloc.machine.arch.processors import PROCESSORS, Processor, processor_for

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).parent.parent / "profiles"


class Strategy(NamedTuple):
    """What a heap strategy asks of the kernel; the kernel knows these, not the names."""

    affine: bool  # the heap planned for the boot is contiguous and in large pages
    static: bool  # all objects are allocated at boot
    devices: bool  # entries for device frames are allocated at boot
    reserves: bool  # and come from that reserve only
    grows: bool  # the heap may grow after boot
    excess: bool  # more is reserved at boot, for `release` to give back


STRATEGIES = {
    "static": Strategy(affine=False, static=True, devices=True, reserves=True, grows=False, excess=False),  # EROS 1
    "demand": Strategy(affine=False, static=False, devices=False, reserves=False, grows=True, excess=False),  # EROS 2
    "reserve": Strategy(
        affine=True, static=True, devices=True, reserves=True, grows=False, excess=False
    ),  # the mail's 1
    "hybrid": Strategy(affine=True, static=True, devices=False, reserves=False, grows=True, excess=False),  # 2
    "release": Strategy(affine=True, static=True, devices=False, reserves=False, grows=False, excess=True),  # 3
    "reserve+release": Strategy(
        affine=True, static=True, devices=True, reserves=False, grows=False, excess=True
    ),  # [1,3]
}
MOST_TYPES = CACHES - FIRST_TYPE  # caches that are left for object types
ENTRY = 16  # bytes of our own part of a core table entry
MOST_OBJECTS = 1 << 62  # of a type: more than any window holds
HOSTED_LIMIT = 1 << 47  # addresses that a process of a 64-bit host may map lie below


class ProfileError(InputError):
    """A profile is unusable: which file, which `key`, why, and what to write instead. Its text is one line."""

    def __init__(self, file: str, key: str, reason: str, advice: str = "", line: int = 0):
        super().__init__(file, line, f"{key}: {reason}" if key else reason, advice)
        self.key = key


class Bytes(int):
    """A byte count or a physical address, below 2^63: in TOML an integer, or text as `parse_size` reads it."""

    bits: ClassVar = 63

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises InputError for what is neither."""
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            value = parse_size(value if isinstance(value, str) else repr(value))
        if value.bit_length() > cls.bits:
            raise InputError(f"{value:#x}"[:40], 0, f"2^{cls.bits} or more")
        return cls(value)


class Address(Bytes):
    """A virtual address, below 2^64."""

    bits = 64


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every table of a profile has in common: unknown keys are refused, values never change."""


Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=31)]
Positive = Annotated[int, Meta(ge=1, le=2**62)]
Ratio = Annotated[float, Meta(gt=0, le=1e6)]


class Window(_Table, frozen=True):
    """The kernel's virtual window, in bytes. `windows` are kept at its top for per-CPU mappings (E15); the heap ends
    below them. Of a guest it is the direct map: `base` is the VA of physical address 0, and a frame needs no window.
    `hosted_base` is where the window lies in mode raw when `base` is beyond what a process can map; by default, and
    where another kernel of the process has that place, a free one is found."""

    base: Address
    size: Bytes
    windows: Bytes = Bytes(0)
    hosted_base: Bytes | None = None


class Image(_Table, frozen=True):
    """The kernel's image in physical memory, in bytes; used where the machine's own log does not tell."""

    base: Bytes
    size: Bytes


class Core(_Table, frozen=True):
    """Bytes per frame: `stride` of a core table entry, of which the first 16 are the memory manager's own and the rest
    the kernel's; `identity` of the parallel array that names the cached page, 0 where there is no page cache; `header`
    is the kernel's structure as its source declares it, for the record, `stride` being that rounded up to 8."""

    stride: Bytes
    identity: Bytes = Bytes(16)
    header: Bytes | None = None


class Heap(_Table, frozen=True):
    """`growth_frames`: frames that the heap takes at a time when it grows (E21). `idle_frames`: frames behind free
    pages that it keeps at most, by default one growth step; a processor's cache of slots may keep an eighth as many in
    empty slabs. `growable`: bytes by which the heap of strategy hybrid, or
    in a direct map of strategy demand, may grow (C17). `spare`: bytes that an affine heap keeps free for malloc after
    boot. `excess`: bytes that the strategies with release reserve beyond the plan (C18)."""

    growth_frames: Positive = 16
    idle_frames: Positive | None = None
    growable: Bytes = Bytes(16 << 20)
    spare: Bytes = Bytes(256 << 10)
    excess: Bytes = Bytes(8 << 20)


class Devices(_Table, frozen=True):
    """`frames` and `ranges`: device frames whose entries, and device ranges whose records, the strategies whose heap
    does not grow allocate at boot (C15); by default 1 GiB's worth, which covers 98.8 % of machines, at most one for 8
    frames of RAM. Kept for console and boot devices (C22): entries for `last_words` device frames, `last_ranges` region
    records and `last_maps` mapping frames. `extents`: a range whose entries cannot all be had is published by its
    extent, in two resolutions (C10); without, it is refused."""

    ranges: Annotated[int, Meta(ge=0, le=2**20)] = 64
    frames: Annotated[int, Meta(ge=0, le=2**40)] | None = None
    last_words: Annotated[int, Meta(ge=0, le=2**20)] = 64
    last_ranges: Annotated[int, Meta(ge=0, le=2**16)] = 4
    last_maps: Annotated[int, Meta(ge=0, le=2**16)] = 8
    extents: bool = True


class Bank(_Table, frozen=True):
    """What the space bank is promised (C13): `promised` frames, by default all that are left when the boot is over,
    less `withheld` and `cleaners`. `lenient`: growth may break the promise, and the ledger says by how much.
    `cleaners`: free frames that only threads which clean pages may take, so that they never wait for themselves."""

    promised: Annotated[int, Meta(ge=0, le=2**40)] = 0
    withheld: Annotated[int, Meta(ge=0, le=2**40)] = 0
    lenient: bool = False
    cleaners: Annotated[int, Meta(ge=0, le=2**20)] = 0


class Tlb(_Table, frozen=True):
    """What misses of TLBs are counted with, in mode soft: the TLBs of `processor`, by default of the one that is usual
    for the architecture. Each call of the kernel touches `text` bytes of its image and `stack` bytes of a stack."""

    processor: str | None = None
    text: Bytes = Bytes(16 << 10)
    stack: Bytes = Bytes(1 << 10)


class HotAdd(_Table, frozen=True):
    """How a kernel adds RAM after the boot that takes all page structures for it from RAM that is there, in large
    pages, or refuses. `block`: bytes of RAM that it adds at least, and in multiples of which. `bounce`: bytes that it
    keeps from the boot on where RAM may come above 4 GiB, for devices that do not reach there."""

    block: Bytes
    bounce: Bytes = Bytes(0)


class ObjectType(_Table, frozen=True):
    """One type of kernel object: bytes each, alignment, and how many, in one of four ways."""

    name: Name
    size: Positive
    align: Positive = 4
    per_page: Ratio | None = None  # objects per page of RAM
    pages_per: Positive | None = None  # pages of RAM per object
    per: str | None = None  # `ratio` objects for each object of that type
    ratio: Ratio | None = None
    count: Annotated[int, Meta(ge=0, le=2**62)] | None = None  # that many, whatever the machine
    last_words: Annotated[int, Meta(ge=0, le=2**16)] = 0  # so many more, kept for the console (C22)

    def ways(self) -> list[str]:
        """Keys given that say how many there are; exactly one is right."""
        return [key for key in ("per_page", "pages_per", "per", "count") if getattr(self, key) is not None]


class Profile(_Table, frozen=True):
    """One kernel. `Profile.load("eros2")` or `Profile.load("mine.toml")`."""

    name: Name
    summary: str
    arch: str
    phys_bits: Positive  # physical addresses reach to 2**phys_bits; RAM above is clipped
    va: Window
    image: Image
    core: Core
    mode: str = "owner"  # whose the page tables are: `kernel/core/modes`
    page_bytes: Bytes | None = None  # bytes in a page, where the architecture does not say it; else 4 KiB
    strategy: str = "reserve+release"  # what the mail prefers: C19, C20
    machines: tuple[str, ...] = ()  # architectures of machines whose usual kernel it is (`choice`), as machines name it
    heap: Heap = Heap()
    devices: Devices = Devices()
    bank: Bank = Bank()
    tlb: Tlb = Tlb()
    hotadd: HotAdd | None = None  # None: as this project's kernel adds RAM (`boot/added`)
    objects: tuple[ObjectType, ...] = ()

    @property
    def direct(self) -> bool:
        """Whether the kernel lies in a direct map, and writes no page tables."""
        return not writes_tables(MODE_NAMES.index(self.mode))

    @property
    def heapless(self) -> bool:
        """Whether there is no heap: what the boot needs is carved out of RAM, and that is all."""
        return not allocates(MODE_NAMES.index(self.mode))

    @property
    def page_shift(self) -> int:
        """log2 of the bytes in a page: the architecture's."""
        return self.page_bytes.bit_length() - 1 if self.page_bytes else FORMATS[self.arch].page_shift

    @property
    def page(self) -> int:
        """Bytes in a page."""
        return 1 << self.page_shift

    @property
    def large_page(self) -> int:
        """Bytes in a large page."""
        return self.page << FORMATS[self.arch].index_bits

    @property
    def processor(self) -> Processor | None:
        """The processor whose TLBs count; None: there are no page tables."""
        return PROCESSORS[self.tlb.processor] if self.tlb.processor else processor_for(self.arch)

    @staticmethod
    def shipped() -> list[str]:
        """Names of the profiles that come with kernmalloc."""
        return sorted(path.stem for path in SHIPPED.glob("*.toml"))

    @classmethod
    def load(cls, name: str | Path) -> Profile:
        """The profile of that name, or in that file. Raises `ProfileError`."""
        path = Path(name)
        if str(name) in cls.shipped():
            path = SHIPPED / f"{name}.toml"
        elif path.suffix != ".toml" and not path.exists():
            shipped = ", ".join(cls.shipped())
            raise ProfileError(str(name), "", "no such profile", f"shipped are {shipped}; or name a file")
        try:
            text = text_of(path)
        except UnreadableError as error:
            raise ProfileError(str(path), "", error.reason, error.advice, error.line) from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, file: str = "profile") -> Profile:
        """The profile that a TOML text describes; `file` is the name that errors carry. Raises `ProfileError`."""
        try:
            tables = parse_toml(text, file)
            if "memory" in tables:
                raise ProfileError(file, "", "a machine, not a kernel", "name it without --kernel")
            profile = msgspec.convert(tables, cls, dec_hook=lambda kind, value: kind.parse(value))
        except UnreadableError as error:
            raise ProfileError(file, "", error.reason, error.advice, error.line) from None
        except msgspec.ValidationError as error:
            raise _refusal(file, str(error)) from None
        for key, reason, advice in _contradictions(profile):
            raise ProfileError(file, key, reason, advice)
        return profile

    def device_frames(self, frames: int) -> int:
        """Device frames whose entries are reserved on a machine with that many frames of RAM (C15)."""
        if not STRATEGIES[self.strategy].devices:
            return 0
        return min(1 << 18, frames >> 3) if self.devices.frames is None else self.devices.frames

    def wanted_counts(self, frames: int) -> dict[str, int]:
        """Objects of each type that the ratios ask for on a machine with that many frames of RAM, by type name, at most
        `MOST_OBJECTS`. What the virtual window holds may be less: the kernel takes the lesser."""
        return dict(_wanted(self.objects, frames))


@lru_cache(256)
def _wanted(objects: tuple[ObjectType, ...], frames: int) -> dict[str, int]:
    types = {kind.name: kind for kind in objects}

    def wanted(kind: ObjectType) -> int:
        if kind.count is not None:
            return kind.count
        if kind.pages_per is not None:
            return frames // kind.pages_per
        if kind.per_page is not None:
            return int(frames * Fraction(str(kind.per_page)))
        assert kind.per is not None  # one of the four ways is given
        return min(int(wanted(types[kind.per]) * Fraction(str(kind.ratio))), MOST_OBJECTS)

    return {kind.name: wanted(kind) for kind in objects}


_STRUCTS = {
    "": Profile,
    "va": Window,
    "image": Image,
    "core": Core,
    "heap": Heap,
    "devices": Devices,
    "bank": Bank,
    "tlb": Tlb,
    "hotadd": HotAdd,
    "objects": ObjectType,
}


def _refusal(file: str, message: str) -> ProfileError:
    """msgspec's message ("Object contains unknown field `x` - at `$.va`") in the words of a profile."""
    what, _, where = message.partition(" - at ")
    where = where.strip("`").removeprefix("$").removeprefix(".")
    table = re.split(r"[.[]", where)[0]
    if match := re.match(r"Object (contains unknown|missing required) field `(.*)`", what):
        key = f"{where}.{match[2]}" if where else match[2]
        if match[1] == "missing required":
            return ProfileError(file, key, "missing")
        fields = _STRUCTS[table].__struct_fields__
        return ProfileError(file, key, "unknown key", f"known here: {', '.join(fields)}")
    if "regex" in what or "length" in what:
        return ProfileError(
            file, where, "not a name", "a lower-case letter, then up to 30 of those, digits, _, . and -"
        )
    return ProfileError(file, where, what)


Contradiction = tuple[str, str, str]  # key, reason, advice


def _contradictions(profile: Profile) -> Iterator[Contradiction]:
    """Yields (key, reason, advice) for what no kernel could be, however well typed; the first is reported."""
    yield from _bad_layout(profile)
    yield from _bad_tlb(profile)
    yield from _bad_objects(profile)
    yield from _bad_hotadd(profile)


def _bad_mode(profile: Profile) -> Iterator[Contradiction]:
    """What does not go together with whose the page tables are."""
    has_tables, page = FORMATS[profile.arch].has_tables, profile.page_bytes
    if profile.mode not in MODE_NAMES:
        yield "mode", f"unknown mode {profile.mode!r}", f"known: {', '.join(MODE_NAMES)}"
    elif not has_tables and not profile.direct:
        yield "arch", f"{profile.arch} has no page tables, which mode {profile.mode} writes", "mode = 'guest'"
    if profile.mode in MODE_NAMES and profile.heapless and profile.objects:
        yield "objects", "mode frames has no heap for them", "leave them out"
    if page is not None and has_tables:
        yield (
            "page_bytes",
            f"pages of {profile.arch} have {1 << FORMATS[profile.arch].page_shift} bytes",
            "leave it out",
        )
    elif page is not None and (page & (page - 1) or not 1 << 12 <= page <= LARGEST_CLASS):
        yield "page_bytes", f"{page} is no power of two from 4 KiB to 64 KiB", "4 KiB or 16 KiB"


def _bad_layout(profile: Profile) -> Iterator[Contradiction]:
    va, image, core = profile.va, profile.image, profile.core
    if profile.arch not in FORMATS:
        yield "arch", f"unknown architecture {profile.arch!r}", f"known: {', '.join(FORMATS)}"
        return
    if profile.strategy not in STRATEGIES:
        yield "strategy", f"unknown strategy {profile.strategy!r}", f"known: {', '.join(STRATEGIES)}"
    arch, page = FORMATS[profile.arch], profile.page
    yield from _bad_mode(profile)
    if profile.mode not in MODE_NAMES:
        return
    most = min(arch.phys_bits, (MAX_PFN * page).bit_length() - 1)  # RISC-V has more than the kernel
    if not 20 <= profile.phys_bits <= most:
        yield "phys_bits", f"{profile.phys_bits} is not possible on {profile.arch}", f"20 to {most}"

    for key, value in (("base", va.base), ("size", va.size), ("hosted_base", va.hosted_base or 0)):
        if value % profile.large_page:
            yield f"va.{key}", f"{value:#x} is not a multiple of a large page, {profile.large_page:#x} bytes", ""
    end = va.base + va.size
    if va.size == 0:
        yield "va.size", "the window is empty", ""
    if va.base == 0 and not profile.direct:
        yield "va.base", "0, where null references lead", f"from {profile.large_page:#x} on"
    if arch.va_bits == 32 and va.base >= 1 << 32:
        yield "va.base", f"{va.base:#x} is beyond 32 bits, and {profile.arch} has no more", "such as 0xc0000000"
    elif arch.va_bits == 32 and end > 1 << 32:
        yield "va.size", f"the window ends at {end:#x}, beyond 32 bits", f"at most {(1 << 32) - va.base:#x}"
    if arch.va_bits > 32:
        half = 1 << (arch.va_bits - 1)
        if not (end <= half or ((1 << 64) - half <= va.base and end <= 1 << 64)):
            halves = f"below {half:#x} or from {(1 << 64) - half:#x}"
            yield "va.base", f"{va.base:#x} to {end:#x} is not canonical", halves
        if (1 << 64) - page < end <= 1 << 64:
            most = (1 << 64) - profile.large_page
            yield (
                "va.size",
                "the window contains the last page of the address space, where statuses lie",
                f"let it end at {most:#x}",
            )
    hosted = va.hosted_base
    if hosted is not None and (hosted == 0 or hosted + va.size > HOSTED_LIMIT):
        reach = f"above 0, below {HOSTED_LIMIT:#x}; without it, a place is found"
        yield "va.hosted_base", f"{hosted:#x} to {hosted + va.size:#x} cannot be mapped in a process", reach
    if (va.windows % page or va.windows < page << WINDOWS_SHIFT) and not profile.direct:
        yield "va.windows", f"{va.windows} is not a multiple of a page, {page}, with room for {1 << WINDOWS_SHIFT}", ""
    if va.windows + image.size >= va.size:
        yield "va.windows", "image and windows leave nothing of the virtual window", f"it has {va.size} bytes"

    if image.base % page or image.size % page or image.size == 0:
        yield "image", f"base {image.base:#x} and size {image.size:#x} are not whole pages", f"multiples of {page}"
    if image.base + image.size > 1 << profile.phys_bits:
        yield "image", f"ends at {image.base + image.size:#x}, above the limit of {profile.phys_bits} phys_bits", ""

    if not ENTRY <= core.stride <= page or core.stride % 8:
        yield "core.stride", f"{core.stride} is not possible", f"a multiple of 8 from {ENTRY} to {page}"
    if core.header is not None and core.header > core.stride:
        fitting = -(-core.header // 8) * 8
        yield "core.header", f"{core.header} bytes do not fit a stride of {core.stride}", f"stride = {fitting}"
    if core.identity and (not ENTRY <= core.identity <= page or core.identity % 8):
        choice = f"a multiple of 8 from {ENTRY} to {page}; or 0, and there is no page cache"
        yield "core.identity", f"{core.identity} is not possible", choice
    if profile.heap.growth_frames * page > va.size:
        yield "heap.growth_frames", "one step is larger than the virtual window", f"at most {va.size // page}"
    if profile.heap.idle_frames is not None and not (
        profile.heap.growth_frames <= profile.heap.idle_frames <= va.size // page
    ):
        bounds = f"from one growth step, {profile.heap.growth_frames}, to the virtual window, {va.size // page}"
        yield "heap.idle_frames", f"{profile.heap.idle_frames} is not possible", bounds


def _bad_hotadd(profile: Profile) -> Iterator[Contradiction]:
    if profile.hotadd is None:
        return
    block, large = profile.hotadd.block, profile.large_page
    if profile.direct:
        yield "hotadd", f"mode {profile.mode} has no large pages for page structures", "leave it out"
    elif not block or block % large:
        yield "hotadd.block", f"{block} is not a multiple of a large page, {large}", "128 MiB, as Linux has it"


def _bad_tlb(profile: Profile) -> Iterator[Contradiction]:
    name = profile.tlb.processor
    if name is not None:
        fitting = [each.name for each in PROCESSORS.values() if profile.arch in each.formats]
        known = f"known: {', '.join(fitting)}" if fitting else "leave it out"
        if name not in PROCESSORS:
            yield "tlb.processor", f"unknown processor {name!r}", known
        elif name not in fitting:
            yield "tlb.processor", f"{PROCESSORS[name].title} has no page tables of {profile.arch}", known


def _bad_objects(profile: Profile) -> Iterator[Contradiction]:
    caches = sum(2 if kind.last_words else 1 for kind in profile.objects)
    if caches > MOST_TYPES:
        yield (
            "objects",
            f"{caches} types are too many",
            f"at most {MOST_TYPES}, those kept for last words counted twice",
        )
    types: dict[str, ObjectType] = {}
    for kind in profile.objects:
        key = f"objects.{kind.name}"
        if kind.name in types:
            yield key, "declared twice", ""
        types[kind.name] = kind
        if kind.align & (kind.align - 1) or kind.align > profile.page:
            yield f"{key}.align", f"{kind.align} is not a power of two up to {profile.page}", ""
        elif kind.size % kind.align:  # as in C: then objects side by side are all aligned
            fitting = -(-kind.size // kind.align) * kind.align
            yield f"{key}.size", f"{kind.size} is not a multiple of align, {kind.align}", f"size = {fitting}"
        if kind.size > LARGEST_OBJECT:
            yield f"{key}.size", f"{kind.size} bytes are too many for an object cache", f"at most {LARGEST_OBJECT}"
        ways = kind.ways()
        if len(ways) != 1:
            said = ", ".join(ways) or "none"
            one = "give per_page, pages_per, per with ratio, or count"
            yield key, f"says how many in {len(ways)} ways: {said}", one
        if (kind.per is None) != (kind.ratio is None):
            yield key, "per and ratio go together", "'ratio' objects for each object of type 'per'"
    for kind in profile.objects:
        seen = [kind.name]
        while (parent := types[seen[-1]].per) is not None:
            if parent not in types:
                known = f"known: {', '.join(types)}; for pages, per_page"
                yield f"objects.{seen[-1]}.per", f"unknown object type {parent!r}", known
                return
            if parent in seen:
                yield f"objects.{kind.name}.per", f"goes in a circle: {' per '.join([*seen, parent])}", ""
                return
            seen.append(parent)
