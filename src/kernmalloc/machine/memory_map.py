"""The memory map: what RAM a machine has and where, resolved from the facts of one file.

Resolution follows Linux's sanitising of e820 maps: where entries overlap, the stronger kind wins (`facts.MAP_KINDS`:
RAM is the weakest), entries that are empty or wrap around are dropped, and what touches is merged.  Nothing is rounded:
RAM is byte-exact, and `Machine.ram_pages` rounds inward for whoever knows the page size; `Machine.device_ranges` rounds
outward.  Everything dropped or contradictory is listed in `Machine.problems`, every assumption in `Machine.missing`;
nothing above 2^63 enters RAM, firmware or carved ranges.
"""

import os
import re
from collections.abc import Iterable, Iterator
from errno import ENOENT
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

from kernmalloc import inputs
from kernmalloc.inputs import toml_facts
from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import CARVED_KINDS, MAP_KINDS, Bridge, Device, Facts, Problem, Range
from kernmalloc.inputs.sizes import Ram, parse_ram
from kernmalloc.machine import device_ranges
from kernmalloc.machine import range_sets as sets
from kernmalloc.machine.device_ranges import DeviceRange
from kernmalloc.machine.ram_layout import ASSUMED, lay_out
from kernmalloc.machine.range_sets import PA_LIMIT
from kernmalloc.results.shown import html
from kernmalloc.results.tables import Rows

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "PA_LIMIT",
    "Bridge",
    "Device",
    "DeviceRange",
    "InputError",
    "Machine",
    "Problem",
    "Range",
    "UnreadableError",
]

MAPS = ("machine", "domain")
"""Which map is taken where a log has that of a machine under a hypervisor and that of a domain on it."""

FALLBACK = "desktop-16g"
"""Shipped machine that stands in where this computer hides its memory map."""

IOMEM = Path("/proc/iomem")
SHIPPED = Path(__file__).parents[1] / "machines"
BOOT_LOGS = (Path("/var/log/dmesg"), Path("/var/log/boot.dmesg"), Path("/run/log/dmesg"))


class RangeRow(NamedTuple):
    """One range of a machine, in bytes. `status` is a device's (`inputs/facts`), `line` the one of the file, or 0."""

    base: int
    size: int
    kind: str
    name: str
    status: str
    line: int


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's memory map, with devices.  All ranges are bytes, half open, sorted by base.

    `ram`       usable RAM, disjoint, byte-exact, merged where it touches
    `firmware`  the map's other entries (`facts.MAP_KINDS`), disjoint, also from `ram`
    `devices`   windows of devices as the file states them; a kernel must not read them at boot (row E5)
    `windows`   what the PCI host bridges forward; facts only
    `bridges`   the bridges between PCI buses, by address, where the file tells which buses are behind them
    `carved`    RAM already taken when the kernel starts (`facts.CARVED_KINDS`), disjoint, inside `ram`
    `unused`    memory that the kernel of the log gave up: of kind "ram" inside `ram`, else beside it
    `map`       which of `MAPS` was taken, if the file has both; `other_ram` is the other's RAM in bytes
    `origin`    which lines the map came from; of a machine in TOML, the source that it names
    `ignored`   harmless lines that were not used, counted by reason
    `problems`  what is wrong with the machine, by line
    `missing`   what the file lacks to tell the machine whole, and what was assumed in its place
    `unread`    what may tell of memory and was not understood, by line
    """

    name: str
    file: str
    arch: str = "?"
    origin: str = ""
    licence: str = ""
    ram: tuple[Range, ...]
    firmware: tuple[Range, ...] = ()
    devices: tuple[Device, ...] = ()
    windows: tuple[Range, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    carved: tuple[Range, ...] = ()
    unused: tuple[Range, ...] = ()
    map: str = ""
    other_ram: int = 0
    ignored: dict[str, int] = {}
    problems: tuple[Problem, ...] = ()
    missing: tuple[Problem, ...] = ()
    unread: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, path: str | Path, ram: int | str | Ram | None = None, which: str = "") -> "Machine":
        """The machine in a boot log, /proc/iomem, device tree, PCI dump or TOML file; of several boots in one log, the
        last with a map.  `ram` is for files that tell no RAM: bytes, or text as `--ram` takes it ("8GiB",
        "1GiB@0x40000000"); where it lies then is told in `kernmalloc.machine.ram_layout`.  `which` is one of `MAPS`,
        for files that tell both.

        Raises UnreadableError if the file tells no RAM and `ram` does not, InputError if a statement in it cannot be
        true, if it tells RAM and `ram` does, too, and if it holds many machines.
        """
        return _only(inputs.read(path), ram, which)

    @classmethod
    def read_stream(
        cls, stream: BinaryIO, name: str = "-", ram: int | str | Ram | None = None, which: str = ""
    ) -> "Machine":
        """The same from a binary stream such as `sys.stdin.buffer`."""
        return _only(inputs.read_stream(stream, name), ram, which)

    @classmethod
    def read_all(
        cls, source: str | Path | BinaryIO, ram: int | str | Ram | None = None, name: str = "-", which: str = ""
    ) -> "Iterator[Machine | InputError]":
        """Every machine in a file or binary stream, in its order; in place of one that cannot be read, why.

        Raises InputError only if the file as a whole cannot be read.
        """
        boots = inputs.read(source) if isinstance(source, str | Path) else inputs.read_stream(source, name)
        return _each(boots, _ram(ram), which)

    @classmethod
    def read_devices(cls, path: str | Path) -> "Machine":
        """The devices in a file, whether or not it tells RAM: a machine without RAM, good for `with_devices`."""
        boots = inputs.read(path)
        _one_machine(boots)
        return resolve(next((facts for facts in reversed(boots) if facts.devices), boots[-1]), devices_only=True)

    @classmethod
    def this_computer(
        cls, iomem: Path = IOMEM, command: tuple[str, ...] = ("dmesg",), logs: tuple[Path, ...] = BOOT_LOGS
    ) -> tuple["Machine", str]:
        """This computer's machine, and a sentence that tells where it was found and why not in a better place.

        Tries /proc/iomem, the running kernel's log, boot logs on disk, and last the shipped machine `FALLBACK`.
        """
        why = []
        for source, attempt in (
            (str(iomem), partial(cls.read, iomem)),
            (f"the output of {command[0]}", partial(_from_command, command)),
            *((str(log), partial(cls.read, log)) for log in logs),
        ):
            try:
                machine = attempt()
            except InputError as error:
                why.append(f"{source}: {error.reason}")
                continue
            machine = msgspec.structs.replace(machine, name="this computer", arch=_own_architecture(machine.arch))
            return machine, f"This computer, from {source}." + _because(why)
        root = " (root may read this computer's: sudo)" if os.geteuid() else ""
        return cls.shipped(FALLBACK), f"Not this computer but the shipped machine {FALLBACK}{root}." + _because(why)

    @classmethod
    def shipped(cls, name: str) -> "Machine":
        """A machine that comes with the package, by the name of its file without `.toml`."""
        if name not in shipped_names():
            raise InputError(name, 0, "no such shipped machine", "one of " + ", ".join(shipped_names()))
        return cls.read(SHIPPED / f"{name}.toml")

    @classmethod
    def from_toml(cls, text: str, file: str = "machine.toml") -> "Machine":
        """The machine that a TOML text describes; the form is told in `kernmalloc.inputs.toml_facts`."""
        return resolve(toml_facts.read(text, file)[0])

    def to_toml(self) -> str:
        """This machine in TOML, without line numbers, ignored lines and problems."""
        facts = Facts(self.file)
        facts.name, facts.arch, facts.origin, facts.licence = self.name, self.arch, self.origin, self.licence
        facts.memory = sorted((*self.ram, *self.firmware), key=lambda r: r.base)
        facts.carved, facts.devices, facts.windows = list(self.carved), list(self.devices), list(self.windows)
        facts.bridges = list(self.bridges)
        return toml_facts.write(facts)

    def with_devices(self, other: "Machine | str | Path") -> "Machine":
        """This machine with another's devices, bridges and host bridge windows, or a file's, instead of its own."""
        if not isinstance(other, Machine):
            other = Machine.read_devices(other)

        def both(own: tuple[Problem, ...], others: tuple[Problem, ...]) -> tuple[Problem, ...]:
            told = (*own, *(msgspec.structs.replace(p, file=p.file or other.file) for p in others))
            return tuple(p for p in told if p.reason not in device_ranges.REASONS)

        others = [
            msgspec.structs.replace(d, line=0, status="assigned" if d.status == "inside RAM" else d.status)
            for d in other.devices
        ]
        devices, wrong = device_ranges.judge(others, self.ram)
        problems, missing = both(self.problems, other.problems), both(self.missing, other.missing)
        if _assumed(self.ram):
            missing += tuple(wrong)
        else:
            problems += tuple(wrong)
        unread = both(self.unread, other.unread)
        return msgspec.structs.replace(
            self,
            devices=devices,
            windows=other.windows,
            bridges=other.bridges,
            problems=problems,
            missing=missing,
            unread=unread,
        )

    def device_ranges(self, page_shift: int) -> list[DeviceRange]:
        """What to publish of the devices, in pages of `1 << page_shift` bytes: disjoint, sorted, rounded outward.

        Windows that share a page are one range; those that only touch are not.  Windows inside RAM or above 2^52, and
        those without a place or not in use, are left out: `problems` lists the former.
        """
        return device_ranges.publishable(self.devices, page_shift)

    _repr_html_ = html

    def to_arrow(self) -> "pyarrow.Table":
        """A table with a row for each range (`RangeRow`), by address: RAM, firmware's, carved, unused, and windows of
        devices. Raises NoArrow."""
        rows = [RangeRow(r.base, r.size, r.kind, r.name, "", r.line) for r in (*self.ram, *self.firmware, *self.carved)]
        rows += [RangeRow(r.base, r.size, "unused", r.name, "", r.line) for r in self.unused]
        rows += [RangeRow(d.base, d.size, "device", d.name, d.status, d.line) for d in self.devices]
        return Rows.of(RangeRow, sorted(rows, key=lambda row: (row.base, -row.size))).to_arrow()

    @property
    def ram_bytes(self) -> int:
        """Bytes of RAM in the map, before any rounding or clipping."""
        return sum(r.size for r in self.ram)

    def ram_pages(self, page_shift: int, phys_bits: int) -> tuple[list[tuple[int, int]], int, int]:
        """RAM in pages of `1 << page_shift` bytes below `1 << phys_bits`.

        Returns a sorted list of (pfn, frames), the bytes clipped because they lie above the limit, and the bytes
        lost in pages that are only partly RAM.
        """
        page, limit = 1 << page_shift, 1 << phys_bits
        pages, clipped, lost = [], 0, 0
        for r in self.ram:
            clipped += max(0, r.end - max(r.base, limit))
            base, end = r.base, min(r.end, limit)
            if base >= end:
                continue
            first, last = -(-base >> page_shift), end >> page_shift
            frames = max(0, last - first)
            lost += end - base - frames * page
            if frames:
                pages.append((first, frames))
        return pages, clipped, lost


def shipped_names() -> list[str]:
    """Names of the machines that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def located(name: str) -> str | Path:
    """The file of a machine: that of a shipped one by its name, else one of that name.  Raises UnreadableError for a
    bare name that is neither."""
    if name in shipped_names():
        return SHIPPED / f"{name}.toml"
    if "/" not in name and "." not in name and not Path(name).exists():
        raise UnreadableError(name, 0, os.strerror(ENOENT), f"shipped machines are {', '.join(shipped_names())}")
    return name


def _own_architecture(default: str) -> str:
    """The running kernel's architecture by the names used here; `default` where it has another."""
    names = {
        "x86_64": "x86_64",
        "i[3-6]86": "i386",
        "aarch64": "arm64",
        "arm.*": "arm",
        "riscv64": "riscv64",
        "ppc.*": "ppc",
        "mips.*": "mips",
        "parisc.*": "parisc",
    }
    own = os.uname().machine
    return next((name for pattern, name in names.items() if re.fullmatch(pattern, own)), default)


def _because(why: list[str]) -> str:
    return f" Not taken: {'; '.join(why)}." if why else ""


def _from_command(command: tuple[str, ...]) -> Machine:
    import subprocess  # late: it costs every start 10 ms, and is needed only here

    try:
        run = subprocess.run(command, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip().split("\n")[-1]
        raise UnreadableError(command[0], 0, said or str(error)) from None
    return _last(inputs.read_bytes(run.stdout, command[0]))


def _ram(told: int | str | Ram | None) -> Ram | None:
    """An amount of RAM as the methods of `Machine` take it."""
    if isinstance(told, int):
        told = Ram(told)
    elif isinstance(told, str):
        told = parse_ram(told)
    if told and told.size <= 0:
        raise InputError(str(told.size), 0, "not a size of RAM", "write it as 8GiB or in bytes")
    return told


def _one_machine(boots: list[Facts]) -> None:
    count = len({facts.line for facts in boots})
    if count > 1:
        raise InputError(
            boots[0].file,
            0,
            f"{count} machines, and one is needed",
            "give one of its lines, or read it by Machine.read_all",
        )


def _only(boots: list[Facts], ram: int | str | Ram | None, which: str) -> Machine:
    _one_machine(boots)
    return _last(boots, _ram(ram), which)


def _each(boots: list[Facts], ram: Ram | None, which: str) -> Iterator[Machine | InputError]:
    for _, group in groupby(boots, key=lambda facts: facts.line):
        try:
            yield _last(list(group), ram, which)
        except InputError as error:
            yield error


def _last(boots: list[Facts], ram: Ram | None = None, which: str = "") -> Machine:
    """The last complete boot that tells RAM, else the last that tells RAM; if none does, the refusal of the last."""
    refusals, newest = [], boots[::-1]
    for facts in sorted(newest, key=lambda facts: not facts.complete):
        try:
            return resolve(facts, ram, which=which)
        except UnreadableError as error:
            refusals.append(error)
    raise refusals[0]


def resolve(facts: Facts, ram: Ram | None = None, devices_only: bool = False, which: str = "") -> Machine:
    """Facts made consistent, with RAM from elsewhere if they tell none, and with the map of `MAPS` that is wanted ("":
    the machine's).

    Raises UnreadableError where no RAM is left, unless only devices are wanted, InputError where the map that is wanted
    is not there, and the facts' own refusal.
    """
    if facts.refusal:
        raise facts.refusal
    if which and not facts.domain:
        raise InputError(facts.file, facts.line, "has one memory map", "--map is for logs with a domain's beside it")
    told, other = (facts.domain, facts.memory) if which == "domain" else (facts.memory, facts.domain)
    problems, missing = list(facts.problems), list(facts.missing)
    sound = partial(sets.sound, problems=problems)
    memory = sets.once(sound(told), problems)
    sets.note_overlaps(memory, problems)
    ranges = sets.flatten(memory, MAP_KINDS)
    sets.note_lost_pages(ranges, problems)
    own = tuple(r for r in ranges if r.kind == "ram")
    if own and ram:
        raise InputError(facts.file, facts.line, "tells its RAM itself", "--ram is for files that tell none")
    if not own and not devices_only:
        own = _told(facts, ram, missing)
    known = sets.flatten(
        [r for r in memory if r.kind == "ram"], MAP_KINDS
    )  # RAM also where firmware has reserved it since
    devices, wrong = device_ranges.judge(facts.devices, tuple(known) or own, facts.roles)
    (missing if _assumed(own) else problems).extend(wrong)
    taken = [r for r in facts.carved if not facts.domain or (r.kind == "table") == (which != "domain")]
    carved = sets.clip(sets.flatten(sound(taken), CARVED_KINDS), own)
    return Machine(
        name=facts.name,
        file=facts.file,
        arch=facts.arch,
        origin=facts.origin,
        licence=facts.licence,
        ram=own,
        firmware=sets.outside((r for r in ranges if r.kind != "ram"), sound(facts.removed)),
        devices=devices,
        windows=tuple(sorted(sound(facts.windows), key=lambda r: (r.base, r.end))),
        bridges=tuple(sorted(facts.bridges, key=lambda b: b.name)),
        carved=carved,
        unused=tuple(sets.flatten(sound(facts.unused), MAP_KINDS)),
        map=which or (MAPS[0] if facts.domain else ""),
        other_ram=sum(r.size for r in sets.flatten(other, MAP_KINDS) if r.kind == "ram"),
        ignored=dict(facts.ignored),
        problems=_by_line(problems),
        missing=_by_line(missing),
        unread=_by_line(facts.unread),
    )


def _assumed(ram: tuple[Range, ...]) -> bool:
    """Whether RAM lies where it was assumed to: a device's window over it may then be right."""
    return any(r.name == ASSUMED for r in ram)


def _by_line(told: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(told, key=lambda p: p.line))


def _told(facts: Facts, ram: Ram | None, missing: list[Problem]) -> tuple[Range, ...]:
    """RAM of which only the amount is known, from the caller or the file."""
    if ram:
        return lay_out(facts, ram)
    if facts.total:
        missing.append(
            Problem(
                0,
                f"tells how much RAM there is ({facts.total} bytes) but not where: assumed from "
                "address 0 upwards, around the windows of PCI host bridges, or as usual on a PC",
            )
        )
        return lay_out(facts, Ram(facts.total))
    told = "a map without RAM in it" if facts.memory else facts.lacks[0]
    raise UnreadableError(facts.file, facts.line, f"RAM unknown: {told}", facts.lacks[1])
