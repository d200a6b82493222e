"""Reader of the boot messages of FreeBSD, NetBSD, OpenBSD and illumos: where memory is, if they say it, or how much.

    SMAP type=01 base=0000000000100000 len=00000000bf5b0000      FreeBSD on a PC, verbose; also 00000000_00100000
             LoaderCode 00002f366000 000000000000 00004000 …     FreeBSD, the loader's EFI map (see `uefi`)
      0x00200000 - 0x339c0fff,   823 MB ( 210881 pages)          FreeBSD on ARM, verbose: physical memory, ends included
      0x2b800000 - 0x2ccc2fff,    20 MB (   5315 pages) NoAlloc  of which this is excluded: firmware, the kernel
    0x00010000 - 0x0009dfff, 581632 bytes (142 pages)            FreeBSD, verbose: what its kernel has left over
    addr 0x100000  size 0x7fef0000  type 0x1                     NetBSD, with DEBUG_MEMLOAD
    Region 1: type 1 at 0x100000 for 2096064KB                   OpenBSD's boot loader, machine memory
    vgapci0: <…> port 0xf000-0xf03f mem 0xf6000000-0xf6ffffff …  FreeBSD: a device
    real memory  = 17179869184 (16384 MB)                        FreeBSD
    total memory = 2047 MB                                       NetBSD
    real mem = 1056813056 (1007MB)                               OpenBSD, older BSDs
    mem = 2096192K (0x7ff10000)                                  illumos, Solaris
    Memory size: 2047 Megabytes                                  their prtconf

On ARM real memory is the sum of the physical memory's chunks.  Where some of them are missing from the text and the
excluded ranges make up exactly what is missing, these are RAM, too.
"""

import re

from kernmalloc.inputs.devices.pci_dump import architecture
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device, Facts, Problem, Range, role_of
from kernmalloc.inputs.maps import uefi
from kernmalloc.inputs.maps.printed import lines, put
from kernmalloc.inputs.memory_words import E820
from kernmalloc.inputs.sizes import parse_size
from kernmalloc.inputs.text import clean

_WORD = r"([0-9a-f]{8})[_ ]?([0-9a-f]{8})"
_SMAP = re.compile(rf"\bSMAP type=([0-9a-f]{{2}}),? .*?\bbase={_WORD} len={_WORD}\b", re.I)
_SPAN = r"\b0x([0-9a-f]{8,16}) - 0x([0-9a-f]{8,16}), +\d+ "
_PHYSICAL = re.compile(_SPAN + r"MB \( *\d+ pages\)(.*)", re.I)
_LEFT = re.compile(_SPAN + r"bytes \(\d+ pages\)", re.I)
_NETBSD = re.compile(r"\baddr 0x([0-9a-f]{1,16}) +size 0x([0-9a-f]{1,16}) +type 0x([0-9a-f]{1,8})\b")
_OPENBSD = re.compile(r"\bRegion \d+: type (\d{1,5}) at 0x([0-9a-f]{1,16}) for (\d{1,15})KB\b")
_CHUNKS, _EXCLUDED = "Physical memory chunk(s):", "Excluded memory regions:"
_DEVICE = re.compile(r"(?<![\w:])([a-z]\w*\d): <([^>]{0,100})>.*? mem ((?:0x[0-9a-f]+-0x[0-9a-f]+,?)+)")
_TOTALS = (
    re.compile(r"\breal memory\s+= (\d{5,18})\b"),
    re.compile(r"\breal mem\s*= (\d{1,18}k?)\b"),
    re.compile(r"\btotal memory = (\d{1,12} [KMGT]B)\b"),
    re.compile(r"(?<!avail )(?<!real )\bmem = \d{1,15}K \((0x[0-9a-f]{1,16})\)"),
    re.compile(r"\bMemory size: (\d{1,12} [KMGT])(?:ilo|ega|iga|era)bytes\b"),
)
_END = re.compile(r"\bavail (?:memory|mem)\s*= \d")
_RECOGNISE = re.compile(
    r"\bSMAP type=[0-9a-f]{2}\b.* base=|^.{0,80}\bPhysical memory chunk\(s\):"
    r"|\bRegion \d+: type \d+ at 0x[0-9a-f]+ for \d|\bBIOS MEMORY MAP \(\d+ ENTRIES\)|"
    + "|".join(total.pattern for total in _TOTALS),
    re.M,
)
_SIGNS = (
    "SMAP type=",
    "Physical memory",
    "Region ",
    "BIOS MEMORY MAP",
    "real mem",
    "total memory",
    "mem = ",
    "Memory size",
)
"""Any of these is in a text that `_RECOGNISE` finds something in; it is looked for sooner."""

_PREFERENCE = ("SMAP", "BIOS", "machine memory", "EFI", "physical", "left over")
_ARCH = re.compile(
    r"/sys/arch/(\w+)/compile/(\w*)|\b[A-Z][\w-]* (amd64|i386|arm64|aarch64|riscv|powerpc\w*|armv[67])$", re.M
)
_PORTS = {
    "evbarm": "arm",
    "armv7": "arm",
    "armv6": "arm",
    "riscv64": "riscv64",
    "macppc": "ppc",
    "evbppc": "ppc",
    "ofppc": "ppc",
    "prep": "ppc",
    "powerpc64": "ppc",
    "powerpc64le": "ppc",
    "hppa": "parisc",
    "hp700": "parisc",
    "octeon": "mips",
    "loongson": "mips",
    "evbmips": "mips",
    "pmax": "mips",
    "sgi": "mips",
}
"""Architectures by the names of ports of NetBSD and OpenBSD, where these are no architectures."""


def recognises(head: str) -> bool:
    """Whether `head` has a memory map or an amount of memory as one of these systems tells it."""
    return any(sign in head for sign in _SIGNS) and bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The machine, once for each boot; a boot's messages about memory end with what is available."""
    arch = _architecture(text)
    boots = [_Boot(file, arch)]
    ended = False
    for number, line in lines(text):
        if _END.search(line):
            ended = True
        elif ended and boots[-1].about_memory(line):
            boots.append(_Boot(file, arch))
            ended = False
        boots[-1].take(number, line)
    return [boot.finish() for boot in boots]


def _architecture(text: str) -> str:
    if "i86pc" in text:
        return "x86_64"
    match = _ARCH.search(text)
    if not match:
        return "?"
    port = match[1] or match[3]
    if port == "evbarm" and "64" in match[2]:
        return "arm64"
    return _PORTS.get(port) or architecture(port)


class _Boot:
    """Collects the facts of one boot."""

    def __init__(self, file: str, arch: str) -> None:
        self.facts = Facts(file)
        self.facts.arch = arch
        self._efi = Facts(file)
        self._maps: dict[str, list[tuple[int, int, int, str, str]]] = {}  # (line, base, size, kind, name), by source
        self._excluded: list[Range] = []
        self._chunks = _CHUNKS  # the heading above

    def about_memory(self, line: str) -> bool:
        """Whether a line begins what a boot says about memory."""
        return _CHUNKS in line or any(form.search(line) for form in (_SMAP, _NETBSD, _OPENBSD, *_TOTALS))

    def take(self, number: int, line: str) -> None:
        if match := _SMAP.search(line):
            base, size = (int(match[i] + match[i + 1], 16) for i in (2, 4))
            self._add("SMAP", number, base, size, E820.get(int(match[1], 16), "reserved"), f"type {int(match[1], 16)}")
        elif match := _PHYSICAL.search(line):
            base, end = int(match[1], 16), int(match[2], 16) + 1
            if self._chunks == _EXCLUDED:
                self._excluded.append(Range(base, end - base, "firmware", "excluded", number))
            else:
                self._add("physical", number, base, end - base, "ram", "")
        elif match := _LEFT.search(line):
            base, end = int(match[1], 16), int(match[2], 16) + 1
            self._add("left over", number, base, end - base, "ram", "")
        elif match := _NETBSD.search(line):
            base, size, kind = (int(part, 16) for part in match.groups())
            self._add("BIOS", number, base, size, E820.get(kind, "reserved"), f"type {kind}")
        elif match := _OPENBSD.search(line):
            kind, base, size = int(match[1]), int(match[2], 16), int(match[3]) << 10
            self._add("machine memory", number, base, size, E820.get(kind, "reserved"), f"type {kind}")
        elif _CHUNKS in line or _EXCLUDED in line:
            self._chunks = _CHUNKS if _CHUNKS in line else _EXCLUDED
        elif match := _DEVICE.search(line):
            self._devices(number, *match.groups())
        elif not uefi.take(self._efi, number, line):
            self._total(line)

    def _add(self, source: str, line: int, base: int, size: int, kind: str, name: str) -> None:
        self._maps.setdefault(source, []).append((line, base, size, kind, name))

    def _devices(self, line: int, name: str, description: str, ranges: str) -> None:
        for part in ranges.strip(",").split(","):
            base, last = (int(number, 16) for number in part.split("-"))
            if last >= base:
                said = clean(f"{name} {description}")
                self.facts.devices.append(
                    Device(base, last + 1 - base, "resource", said, line=line, role=role_of(said))
                )

    def _total(self, line: str) -> None:
        for form in _TOTALS:
            if match := form.search(line):
                try:
                    self.facts.total = parse_size(match[1])
                except InputError:  # more than 2^64 bytes
                    self.facts.unread.append(Problem(0, "not an amount of memory", clean(line)))

    def finish(self) -> Facts:
        facts = self.facts
        if self._efi.memory:
            self._maps["EFI"] = [(r.line, r.base, r.size, r.kind, r.name) for r in self._efi.memory]
        missing = self._complete()
        source = self._source()
        facts.origin = f"boot messages, {source}" if source else "boot messages"
        for entry in self._maps.get(source, ()):
            put(facts, *entry)
        if source == "EFI":
            facts.problems += self._efi.problems
            facts.unread += self._efi.unread
        elif source == "physical":
            facts.carved += self._excluded
            if missing > 0:
                facts.missing.append(Problem(0, f"{missing} bytes of real memory are in none of its chunks"))
        elif source == "left over":
            told = f" of {facts.total} bytes" if facts.total else ""
            facts.missing.append(Problem(0, f"tells only the RAM{told} that its kernel had left over"))
        facts.like_pc = facts.arch in ("x86_64", "i386", "?")
        if facts.total and not facts.like_pc:
            facts.lacks = "it is told how much there is, not where, and this is no PC", "give --ram SIZE@ADDRESS"
        return facts

    def _source(self) -> str:
        """The map to take: the one that has all of what the system counted, else the first by preference."""
        told = [s for s in _PREFERENCE if any(kind == "ram" for _, _, _, kind, _ in self._maps.get(s, ()))]
        whole = (s for s in told if self._ram(s) == self.facts.total)
        return next(whole, None) or next(iter(told), "")

    def _ram(self, source: str) -> int:
        return sum(size for _, _, size, kind, _ in self._maps.get(source, ()) if kind == "ram")

    def _complete(self) -> int:
        """Add what excluded ranges tell of physical memory beside its chunks, if the system's sum bears it out; bytes
        that are missing from the chunks after it."""
        chunks = self._maps.get("physical", [])
        missing = self.facts.total - self._ram("physical")
        if missing > 0:
            memory = [Range(base, size, kind) for _, base, size, kind, _ in chunks]
            beside = [part for r in self._excluded for part in _outside(r, memory)]
            if sum(r.size for r in beside) == missing:
                chunks += [(r.line, r.base, r.size, "ram", "") for r in beside]
                return 0
        return missing


def _outside(r: Range, ranges: list[Range]) -> list[Range]:
    """The parts of a range that lie outside others, as RAM."""
    parts, low = [], r.base
    for other in sorted((o for o in ranges if o.base < r.end and r.base < o.end), key=lambda o: o.base):
        if low < other.base:
            parts.append(Range(low, other.base - low, "ram", r.name, r.line))
        low = max(low, other.end)
    if low < r.end:
        parts.append(Range(low, r.end - low, "ram", r.name, r.line))
    return parts
