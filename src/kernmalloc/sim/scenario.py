"""A scenario: a machine, a kernel and a load, in TOML that a stranger can edit.

    summary, seed, touches, cpus
    machine or ram   a shipped machine or a file; or a plain PC with that much RAM
    kernel           a shipped profile or a file, by default that of the machine's own architecture; strategy, spare (of
                     its [heap]) and [bank] replace what it says
    [source]         the disk that pages come from
    [[processes]]    who touches pages, and which
    [[heap]]         allocations of the kernel's
    [[dma]]          drivers that need contiguous memory
    [[devices]]      device ranges that come and go

Times are ticks: a touch takes one. A key that is unknown, missing or contradicts another is refused by name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from kernmalloc.facade.choice import Choice, usual_kernel
from kernmalloc.facade.profile import Bytes, Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Range
from kernmalloc.inputs.sizes import size
from kernmalloc.inputs.toml import parse_toml, text_of
from kernmalloc.machine.memory_map import Machine, shipped_names

SHIPPED = Path(__file__).parent.parent / "scenarios"
HOLE, FOUR_GIB = 3 << 30, 4 << 30  # a PC's devices lie between

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9 _.-]*$", max_length=31)]
Count = Annotated[int, Meta(ge=1, le=2**31)]
Ticks = Annotated[int, Meta(ge=1, le=2**40)]
Share = Annotated[float, Meta(ge=0, le=1)]


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What every table has in common: unknown keys are refused, values never change."""


class Disk(_Table, frozen=True, kw_only=True):
    """The object source: `latency` ticks per request, of which it does `depth` at a time."""

    latency: Ticks = 100
    depth: Annotated[int, Meta(ge=1, le=64)] = 4


class Processes(_Table, frozen=True, kw_only=True):
    """`count` processes with `pages` pages each, and `shared` more that all of them share and only read.

    Of their touches a share goes to pages as a Zipf law of `exponent` likes them (`zipf`), to one after the other
    (`scan`), to the first `loop_pages` again and again (`loop`), to shared pages (`share`), and the rest anywhere.
    `writes`: the share of touches of its own pages that write."""

    name: Name
    count: Count = 1
    pages: Count
    shared: Annotated[int, Meta(ge=0, le=2**31)] = 0
    zipf: Share = 0.0
    exponent: Annotated[float, Meta(gt=0, le=4)] = 0.9
    scan: Share = 0.0
    loop: Share = 0.0
    loop_pages: Count = 1
    share: Share = 0.0
    writes: Share = 0.0


class Heap(_Table, frozen=True, kw_only=True):
    """Every `every` ticks a block of `least` to `most` bytes, freed `hold` ticks later."""

    name: Name
    every: Ticks
    hold: Ticks
    least: Bytes = Bytes(16)
    most: Bytes = Bytes(1024)


class Dma(_Table, frozen=True, kw_only=True):
    """Every `every` ticks `size` contiguous bytes at a multiple of `align`, within [low, high), for `hold` ticks."""

    name: Name
    every: Ticks
    hold: Ticks
    size: Bytes
    align: Bytes = Bytes(4096)
    low: Bytes = Bytes(0)
    high: Bytes = Bytes(FOUR_GIB)


class Device(_Table, frozen=True, kw_only=True):
    """A device range of `size` bytes at `base`: it comes every `every` ticks, its first `used` frames, or all, are
    used, and it goes `hold` ticks later."""

    name: Name
    every: Ticks
    hold: Ticks
    base: Bytes
    size: Bytes
    used: Annotated[int, Meta(ge=0, le=2**20)] = 0


class BankChange(_Table, frozen=True, kw_only=True):
    """What of the profile's [bank] is different."""

    promised: Annotated[int, Meta(ge=0, le=2**40)] | None = None
    withheld: Annotated[int, Meta(ge=0, le=2**40)] | None = None
    lenient: bool | None = None


class Scenario(_Table, frozen=True, kw_only=True):
    """One scenario. `Scenario.load("storm")` or `Scenario.load("mine.toml")`."""

    summary: str
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 1
    touches: Count
    cpus: Annotated[int, Meta(ge=1, le=32)] = 1
    machine: str = ""
    ram: Bytes = Bytes(0)
    kernel: str = ""
    strategy: str = ""
    spare: Bytes | None = None
    bank: BankChange = BankChange()
    source: Disk = Disk()
    processes: tuple[Processes, ...]
    heap: tuple[Heap, ...] = ()
    dma: tuple[Dma, ...] = ()
    devices: tuple[Device, ...] = ()
    file: str = ""

    @staticmethod
    def shipped() -> list[str]:
        """Names of the scenarios that come with kernmalloc."""
        return sorted(path.stem for path in SHIPPED.glob("*.toml"))

    @classmethod
    def load(cls, name: str | Path) -> "Scenario":
        """The scenario of that name, or in that file. Raises InputError."""
        path = SHIPPED / f"{name}.toml" if str(name) in cls.shipped() else Path(name)
        if path.suffix != ".toml" and not path.exists():
            raise InputError(
                str(name), 0, "no such scenario", f"shipped are {', '.join(cls.shipped())}; or name a file"
            )
        return cls.parse(text_of(path), str(path))

    @classmethod
    def parse(cls, text: str, file: str = "scenario") -> "Scenario":
        """The scenario that a TOML text describes; `file` is the name in errors, and where paths in it begin."""
        try:
            table = parse_toml(text, file)
            if "file" in table:
                raise InputError(file, 0, "file: unknown key")
            scenario = msgspec.convert({**table, "file": file}, cls, dec_hook=lambda kind, value: kind.parse(value))
        except msgspec.ValidationError as error:
            raise _refusal(file, str(error)) from None
        for key, reason, advice in _contradictions(scenario):
            raise InputError(file, 0, f"{key}: {reason}", advice)
        return scenario

    def with_changes(self, **changes: object) -> "Scenario":
        """The same with other values, where they are not None."""
        return msgspec.structs.replace(self, **{key: value for key, value in changes.items() if value is not None})

    def machine_made(self) -> Machine:
        """The machine that the scenario runs on. Raises InputError."""
        if self.ram:
            return plain_pc(self.ram)
        if self.machine in shipped_names():
            return Machine.shipped(self.machine)
        return Machine.read(Path(self.file).parent / self.machine)

    def choice(self) -> Choice:
        """The kernel as it is shipped or told, and what is to be said of how it was chosen. Raises InputError."""
        if not self.kernel:
            return usual_kernel(self.machine_made())
        beside = Path(self.file).parent / self.kernel
        return Choice(Profile.load(beside if self.kernel.endswith(".toml") else self.kernel), "")

    def profile(self) -> Profile:
        """The kernel. Raises InputError."""
        return self.changed(self.choice().profile)

    def changed(self, profile: Profile) -> Profile:
        """A kernel, with what the scenario says instead of it."""
        changes = {key: value for key, value in msgspec.structs.asdict(self.bank).items() if value is not None}
        bank = msgspec.structs.replace(profile.bank, **changes)
        heap = profile.heap if self.spare is None else msgspec.structs.replace(profile.heap, spare=self.spare)
        return msgspec.structs.replace(profile, bank=bank, heap=heap, strategy=self.strategy or profile.strategy)

    @property
    def name(self) -> str:
        return Path(self.file).stem

    @property
    def pages(self) -> int:
        """Pages of the object source."""
        return sum(group.count * group.pages + group.shared for group in self.processes)


def plain_pc(ram: int) -> Machine:
    """A PC: 640 KiB, and from 1 MiB on the rest; above 4 GiB what would lie in the hole for devices."""
    low, high = (0, 0x9F000), (1 << 20, min(ram, HOLE))
    spans = [low, high] + ([(FOUR_GIB, FOUR_GIB + ram - HOLE)] if ram > HOLE else [])
    ranges = tuple(Range(base=base, size=end - base, kind="ram", name="", line=0) for base, end in spans)
    return Machine(name=f"PC with {size(ram)}", file="scenario", arch="i386", ram=ranges)


def _refusal(file: str, message: str) -> InputError:
    """msgspec's message in the words of a scenario."""
    what, _, where = message.partition(" - at ")
    where = where.strip("`").removeprefix("$").removeprefix(".")
    match = re.match(r"Object (contains unknown|missing required) field `(.*)`", what)
    if not match:
        return InputError(file, 0, f"{where}: {what}" if where else what)
    key = f"{where}.{match[2]}" if where else match[2]
    if match[1] == "missing required":
        return InputError(file, 0, f"{key}: missing")
    table = _TABLES[re.split(r"[.[]", where)[0]]
    known = ", ".join(name for name in table.__struct_fields__ if name != "file")
    return InputError(file, 0, f"{key}: unknown key", f"known here: {known}")


_TABLES = {
    "": Scenario,
    "bank": BankChange,
    "source": Disk,
    "processes": Processes,
    "heap": Heap,
    "dma": Dma,
    "devices": Device,
}


def _contradictions(scenario: Scenario) -> Iterator[tuple[str, str, str]]:
    """Yields (key, reason, advice) for what cannot be run; the first is reported."""
    if bool(scenario.machine) == bool(scenario.ram):
        yield "machine", "a scenario has either a machine or ram", 'write ram = "64 MiB", or machine = "desktop-16g"'
    if scenario.ram and scenario.ram < 2 << 20:
        yield "ram", f"{scenario.ram} bytes are no PC", "at least 2 MiB"
    if not scenario.processes:
        yield "processes", "none", "add a [[processes]]"
    for i, group in enumerate(scenario.processes):
        shares = group.zipf + group.scan + group.loop + group.share
        if shares > 1 + 1e-9:
            yield (
                f"processes[{i}]",
                f"zipf, scan, loop and share come to {shares:g}",
                "at most 1; the rest goes anywhere",
            )
        if group.loop_pages > group.pages:
            yield f"processes[{i}].loop_pages", f"{group.loop_pages} of {group.pages} pages", ""
        if (group.share > 0) != (group.shared > 0):
            yield f"processes[{i}].share", "share and shared go together", "touches of shared pages, and how many pages"
    for i, heap in enumerate(scenario.heap):
        if not 0 < heap.least <= heap.most:
            yield f"heap[{i}].least", f"{heap.least} to {heap.most} bytes", "1 <= least <= most"
    for i, device in enumerate(scenario.devices):
        if device.hold >= device.every:
            yield f"devices[{i}].hold", "it would still be there when it comes again", "less than every"
