"""The memory map: what RAM a machine has and where, resolved from the facts of one file.

Resolution follows Linux's sanitising of e820 maps: where entries overlap, the stronger kind wins (`facts.MAP_KINDS`:
RAM is the weakest), entries that are empty or wrap around are dropped, and what touches is merged.  Nothing is rounded:
RAM is byte-exact, and `Machine.ram_pages` rounds inward for whoever knows the page size.  Everything dropped or
contradictory is listed in `Machine.problems`; nothing above 2^63 enters RAM, firmware or carved ranges.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from kernmalloc import inputs
from kernmalloc.inputs import toml_facts
from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import CARVED_KINDS, MAP_KINDS, Device, Facts, Problem, Range

__all__ = ["Device", "InputError", "Machine", "Problem", "Range", "UnreadableError"]

PA_LIMIT = 1 << 63
"""End of the physical addresses that a kernel word (int64) can hold."""

PA_COMMON = 1 << 52
"""End of what x86-64 and arm64 page tables can reach: RAM above it is kept and noted."""

FALLBACK = "desktop-16g"
"""Shipped machine that stands in where this computer hides its memory map."""

IOMEM = Path("/proc/iomem")
SHIPPED = Path(__file__).parents[1] / "machines"
BOOT_LOGS = (Path("/var/log/dmesg"), Path("/var/log/boot.dmesg"), Path("/run/log/dmesg"))


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's memory map, with devices.  All ranges are bytes, half open, sorted by base.

    `ram`       usable RAM, disjoint, byte-exact, merged where it touches
    `firmware`  the map's other entries (`facts.MAP_KINDS`), disjoint, also from `ram`
    `devices`   windows of devices as the file states them; a kernel must not read them at boot (row E5)
    `windows`   what the PCI host bridges forward; facts only
    `carved`    RAM already taken when the kernel starts (`facts.CARVED_KINDS`), disjoint, inside `ram`
    `origin`    which lines the map came from; of a machine in TOML, the source that it names
    `ignored`   harmless lines that were not used, counted by reason
    `problems`  what is wrong in the file, by line
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
    carved: tuple[Range, ...] = ()
    ignored: dict[str, int] = {}
    problems: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> "Machine":
        """The machine in a boot log, /proc/iomem or TOML file; of several boots in one log, the last with a map.

        Raises UnreadableError if the file tells no RAM, InputError if a statement in it cannot be true.
        """
        return _last(inputs.read(path))

    @classmethod
    def read_stream(cls, stream: BinaryIO, name: str = "-") -> "Machine":
        """The same from a binary stream such as `sys.stdin.buffer`."""
        return _last(inputs.read_stream(stream, name))

    @classmethod
    def this_computer(cls, iomem: Path = IOMEM, command: tuple[str, ...] = ("dmesg",),
                      logs: tuple[Path, ...] = BOOT_LOGS) -> tuple["Machine", str]:
        """This computer's machine, and a sentence that tells where it was found and why not in a better place.

        Tries /proc/iomem, the running kernel's log, boot logs on disk, and last the shipped machine `FALLBACK`.
        """
        why = []
        for source, attempt in (
            (str(iomem), lambda: cls.read(iomem)),
            (f"the output of {command[0]}", lambda: _from_command(command)),
            *((str(log), lambda log=log: cls.read(log)) for log in logs),
        ):
            try:
                machine = attempt()
            except InputError as error:
                why.append(f"{source}: {error.reason}")
                continue
            machine = msgspec.structs.replace(machine, name="this computer", arch=_own_architecture(machine.arch))
            return machine, f"This computer, from {source}." + _because(why)
        return cls.shipped(FALLBACK), f"Not this computer but the shipped machine {FALLBACK}." + _because(why)

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
        return toml_facts.write(facts)

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


def _own_architecture(default: str) -> str:
    """The running kernel's architecture by the names used here; `default` where it has another."""
    names = {"x86_64": "x86_64", "i[3-6]86": "i386", "aarch64": "arm64", "arm.*": "arm", "riscv64": "riscv64",
             "ppc.*": "ppc", "mips.*": "mips", "parisc.*": "parisc"}
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


def _last(boots: list[Facts]) -> Machine:
    """The last complete boot that tells RAM, else the last that tells RAM; if none does, the refusal of the last."""
    refusal = None
    for facts in sorted(reversed(boots), key=lambda facts: not facts.complete):
        try:
            return resolve(facts)
        except UnreadableError as error:
            refusal = refusal or error
    raise refusal


def resolve(facts: Facts) -> Machine:
    """Facts made consistent.  Raises UnreadableError where no RAM is left, and the facts' own refusal."""
    if facts.refusal:
        raise facts.refusal
    problems = list(facts.problems)
    memory = _sound(facts.memory, problems)
    _note_overlaps(memory, problems)
    ranges = _flatten(memory, MAP_KINDS)
    ram = tuple(r for r in ranges if r.kind == "ram")
    if not ram and facts.total:
        ram = _assumed(facts)
        problems.append(Problem(0, f"tells how much RAM there is ({facts.total} bytes) but not where: "
                                   "assumed from address 0 upwards, around the windows of PCI host bridges"))
    if not ram:
        told = "a map without RAM in it" if facts.memory else "no memory map in it"
        raise UnreadableError(facts.file, 0, f"RAM unknown: {told}", "give the whole boot log, from its first line")
    carved = _clip(_flatten(_sound(facts.carved, problems), CARVED_KINDS), ram)
    return Machine(
        name=facts.name, file=facts.file, arch=facts.arch, origin=facts.origin, licence=facts.licence,
        ram=ram, firmware=tuple(r for r in ranges if r.kind != "ram"),
        devices=tuple(sorted(_placed(facts.devices, problems), key=lambda d: (d.base, d.end, d.name, d.bar))),
        windows=tuple(sorted(_sound(facts.windows, problems), key=lambda r: (r.base, r.end))),
        carved=carved, ignored=dict(facts.ignored), problems=tuple(sorted(problems, key=lambda p: p.line)),
    )


def _assumed(facts: Facts) -> tuple[Range, ...]:
    """RAM of `facts.total` bytes placed from address 0 upwards, around what else is known to be somewhere."""
    taken = sorted((r.base, r.end) for r in (*facts.memory, *facts.windows) if r.base)
    ram, base, left = [], 0, facts.total
    for low, high in (*taken, (PA_LIMIT, PA_LIMIT)):
        size = min(left, low - base)
        if size > 0:
            ram.append(Range(base, size, "ram", "assumed"))
            left -= size
        base = max(base, high)
    return tuple(ram)


def _sound(ranges: Iterable[Range], problems: list[Problem]) -> list[Range]:
    """The ranges that can be: not empty, not wrapped around, below 2^63; duplicates once."""
    sound, seen = [], set()
    for r in ranges:
        text = f"{r.base:#x} + {r.size:#x} {r.name or r.kind}"
        if r.size <= 0:
            problems.append(Problem(r.line, "empty range: dropped" if r.size == 0 else
                                    "ends before it starts: dropped", text))
        elif r.end > PA_LIMIT:
            problems.append(Problem(r.line, "reaches above 2^63: dropped", text))
        elif (r.base, r.size, r.kind, r.name) in seen:
            problems.append(Problem(r.line, "duplicate: counted once", text))
        else:
            if r.kind == "ram" and r.end > PA_COMMON:
                problems.append(Problem(r.line, "RAM above 2^52", text))
            seen.add((r.base, r.size, r.kind, r.name))
            sound.append(r)
    return sound


def _placed(devices: Iterable[Device], problems: list[Problem]) -> Iterable[Device]:
    """The devices, with the status of those that reach above 2^63 set accordingly."""
    for d in devices:
        if d.end > PA_LIMIT:
            problems.append(Problem(d.line, "device window reaches above 2^63", f"{d.name} {d.base:#x} + {d.size:#x}"))
            d = msgspec.structs.replace(d, status="beyond")
        yield d


def _note_overlaps(memory: list[Range], problems: list[Problem]) -> None:
    """One problem for each entry that overlaps an entry before it in address order."""
    reach = None
    for r in sorted(memory, key=lambda r: (r.base, r.line)):
        if reach and r.base < reach.end:
            won = max(r, reach, key=lambda r: MAP_KINDS.index(r.kind))
            problems.append(Problem(r.line, f"overlaps line {reach.line}: {won.kind} wins",
                                    f"{r.base:#x}-{r.end - 1:#x} {r.name or r.kind}"))
        if not reach or r.end > reach.end:
            reach = r


def _flatten(ranges: list[Range], kinds: tuple[str, ...]) -> list[Range]:
    """Disjoint sorted ranges: on overlap the stronger kind wins, and what touches and is alike is merged."""
    edges = sorted({r.base for r in ranges} | {r.end for r in ranges})
    waiting = sorted(ranges, key=lambda r: r.base, reverse=True)
    flat: list[Range] = []
    active: list[Range] = []
    for low, high in zip(edges, edges[1:]):
        active = [r for r in active if r.end > low]
        while waiting and waiting[-1].base == low:
            active.append(waiting.pop())
        if not active:
            continue
        top = max(active, key=lambda r: kinds.index(r.kind))
        last = flat[-1] if flat else None
        if last and last.end == low and last.kind == top.kind and (top.kind == "ram" or last.name == top.name):
            flat[-1] = msgspec.structs.replace(last, size=high - last.base)
        else:
            flat.append(Range(low, high - low, top.kind, top.name, top.line))
    return flat


def _clip(ranges: list[Range], within: tuple[Range, ...]) -> tuple[Range, ...]:
    """The parts of `ranges` that lie inside `within`; both sorted and disjoint."""
    parts = []
    for r in ranges:
        for outer in within:
            low, high = max(r.base, outer.base), min(r.end, outer.end)
            if low < high:
                parts.append(Range(low, high - low, r.kind, r.name, r.line))
    return tuple(parts)
