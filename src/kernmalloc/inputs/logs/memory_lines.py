"""Memory map lines of a boot log, from every kind of firmware.

    BIOS-e820: 0000000000100000 - 00000000efff6500 (usable)           until 2012; the end is exclusive
    BIOS-e820: [mem 0x0000000000100000-0x00000000efff64ff] usable      since; inclusive.  Also BIOS-88, BIOS-e801
    user: …, modified: …, reserve setup_data: …                        the map after changes, in these forms
    Xen: …, beside it BIOS: …                                          a domain's map, and its machine's
    efi: mem00: type=7, attr=0xf, range=[0x0-0x9f000) (0MB)            ")" exclusive
    efi: mem00: [Conventional|…|WB|  ] range=[0x0-0x9efff] (0MB)       "]" inclusive
    efi:   0x000803f80000-0x00080404bfff [Reserved    |…]              arm64; inclusive
      0x000803f80000-0x00080404bfff [Reserved           |…]            at first without efi:, set in by two spaces
    node   0: [mem 0x0000000080000000-0x00000000ffffffff]              what any kernel made of device tree or map
      0: 0x00000010 -> 0x0000009f                                      until 2012, in page frames; once in decimal
    memory: 08000000 @ 00000000 (usable)                               MIPS: size and base
    OF: fdt: - 80000000 ,  2c000000                                    a bank of a device tree: base and size
    Kernel command line: … mem=244M@68M mem=276M@2284M                 boards whose loader tells no map
    efi: Remove mem56: MMIO range=[0x…-0x…] (514MB) from e820 map      taken out again after the map was printed
    Ignoring RAM at 0x98000000-0x9c000000                              RAM that this kernel cannot use, or cut

A machine may tell several of these; `MapFacts.put` chooses.
"""

import re
from collections.abc import Callable
from typing import ClassVar

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Facts, Problem, Range
from kernmalloc.inputs.memory_words import EFI, EFI_WORDS, squeezed
from kernmalloc.inputs.sizes import parse_size
from kernmalloc.inputs.text import clean

_SOURCES = (r"BIOS-\w+", "BIOS", "Xen", "user", "modified", "reserve setup_data", "setup_data", "extended")
_SOURCE = rf"({'|'.join(_SOURCES)}):"
_SPAN = r"0x([0-9a-f]+)-0x([0-9a-f]+)"
_MEM = r"\[mem\s+" + _SPAN + r"\]"
_EFI_RANGE = r"range=\s*\[" + _SPAN + r"([\])])"
_EFI_SPAN = r"0x([0-9a-f]{10,16})-0x([0-9a-f]{10,16})\s+\[(?=[A-Z][\w /-]{4,24}\|)"
_KIND = (
    r"\s*((?:usable|System RAM|ACPI data|ACPI NVS|(?:soft |device |kernel )?reserved|unusable"
    r"|persistent \(type \d+\)|type \d+)(?!\w)|[\w ()-]*)"
)
_TYPES = {
    "usable": "ram",
    "system ram": "ram",
    "soft reserved": "soft",
    "acpi data": "nvram",
    "acpi nvs": "nvram",
    "acpi": "nvram",
    "persistent (type 7)": "nvram",
    "persistent (type 12)": "nvram",
    "type 7": "nvram",
    "type 12": "nvram",
}
_RESERVED_TYPE = re.compile(
    r"(?:device |kernel )?reserved\b|unusable|type \d+|persistent|ROM data|usable after init", re.I
)
_EFI_SPECIFIC_PURPOSE = 0x40000
"""Bit of an EFI descriptor's attributes: memory for a special purpose.  Linux prints it as |SP|."""

_PREFERENCE = (
    "user",
    "modified",
    "BIOS",
    "Xen",
    "reserve setup_data",
    "extended",
    "node",
    "memory",
    "fdt",
    "efi",
    "command line",
)
_PAGE = 4096
_BOARDS = ("arm", "arm64", "mips", "ppc", "riscv64")  # whose RAM may begin anywhere
_LINEAR = 0xC << 60
"""Where Linux on 64-bit PowerPC maps all memory."""


_Use = Callable[["MapFacts", int, re.Match[str]], None]


class MapFacts:
    """Collects the memory maps of one boot."""

    def __init__(self) -> None:
        self._maps: dict[str, list[Range]] = {}
        self._removed: list[Range] = []
        self._carved: list[Range] = []
        self._given_up: list[Range] = []
        self._broken: dict[str, tuple[int, str]] = {}
        self._unread: list[Problem] = []
        self._total = 0
        self._in_frames = False
        self._contiguous = _range(0, 0, "", "", 0)

    @property
    def seen(self) -> frozenset[str]:
        """The sources of map entries seen so far."""
        return frozenset(self._maps)

    def take(self, number: int, line: str) -> bool:
        """Use a record if it is part of a memory map; whether it was."""
        for pattern, use in _USES:
            if match := pattern.match(line):
                use(self, number, match)
                return True
        return False

    def _new(self, line: int, match: re.Match[str]) -> None:
        self._entry(line, match[1], int(match[2], 16), int(match[3], 16) + 1, match[4])

    def _old(self, line: int, match: re.Match[str]) -> None:
        self._entry(line, match[1], int(match[2], 16), int(match[3], 16), match[4] or match[5])

    def _mips(self, line: int, match: re.Match[str]) -> None:
        base = int(match[2], 16)
        self._entry(line, "memory", base, base + int(match[1], 16), match[3])

    def _bank(self, line: int, match: re.Match[str]) -> None:
        base = int(match[1], 16)
        self._add(line, "fdt", base, base + int(match[2], 16), "ram", "bank")

    def _node(self, line: int, match: re.Match[str]) -> None:
        self._add(line, "node", int(match[1], 16), int(match[2], 16) + 1, "ram", "node range")

    def _frames(self, line: int, match: re.Match[str]) -> None:
        self._node_in_frames(line, int(match[1], 16), int(match[2], 16))

    def _frames_decimal(self, line: int, match: re.Match[str]) -> None:
        self._node_in_frames(line, int(match[1]), int(match[2]))

    def _node_in_frames(self, line: int, first: int, end: int) -> None:
        self._in_frames = True
        self._add(line, "node", first * _PAGE, end * _PAGE, "ram", "node range")

    def _efi_by_number(self, line: int, match: re.Match[str]) -> None:
        special = int(match[2] or "0", 16) & _EFI_SPECIFIC_PURPOSE
        kind = EFI.get(int(match[1]), "reserved")
        self._efi(line, kind, match[1], bool(special), int(match[3], 16), int(match[4], 16) + (match[5] == "]"))

    def _efi_by_name(self, line: int, match: re.Match[str]) -> None:
        self._efi(
            line,
            _efi_kind(match[1]),
            match[1],
            "|SP|" in match[2],
            int(match[3], 16),
            int(match[4], 16) + (match[5] == "]"),
        )

    def _efi_arm(self, line: int, match: re.Match[str]) -> None:
        self._efi(line, _efi_kind(match[3]), match[3], "|SP|" in match[4], int(match[1], 16), int(match[2], 16) + 1)

    def _efi(self, line: int, kind: str, name: str, special: bool, base: int, end: int) -> None:
        if kind == "ram" and special:
            kind, name = "soft", "specific purpose"
        self._add(line, "efi", base, end, kind, name)

    def _command_line(self, line: int, match: re.Match[str]) -> None:
        number = r"(0x[0-9a-f]{1,16}|\d{1,18}[KMG]?)"
        for told in re.findall(rf"(?<!\S)mem={number}@{number}(?!\S)", match[1], re.I):
            size, base = (int(part, 16) if part[:2].lower() == "0x" else parse_size(part) for part in told)
            self._add(line, "command line", base, base + size, "ram", "mem=")

    def _remove(self, line: int, match: re.Match[str]) -> None:
        self._removed.append(_range(int(match[1], 16), int(match[2], 16) + 1, "removed", "", line))

    def _ignore(self, line: int, match: re.Match[str]) -> None:
        self._give_up("ram", match[1], match[2], line)

    def _truncate(self, line: int, match: re.Match[str]) -> None:
        self._give_up("ram", match[3], match[2], line)

    def _leave(self, line: int, match: re.Match[str]) -> None:
        """Memory of a device tree that is out of reach: below the kernel's image, where firmware lies, or too high."""
        self._give_up("reserved", match[1], match[2], line)

    def _give_up(self, kind: str, first: str, last: str, line: int) -> None:
        """Memory that the kernel does not use.  Later kernels print ends, earlier ones last bytes, which are odd."""
        base, end = (edge + edge % 2 for edge in (int(first, 16), int(last, 16)))
        self._given_up.append(_range(base, end, kind, "ignored by Linux", line))

    def _sum(self, line: int, match: re.Match[str]) -> None:
        """The total; older kernels of ARM count what is reserved beside it."""
        self._total = (int(match[1]) + int(match[2] or 0)) << 10

    def _sum_in_bytes(self, line: int, match: re.Match[str]) -> None:
        self._total = int(match[1], 16)

    def _cma(self, line: int, match: re.Match[str]) -> None:
        """RAM that is kept contiguous; the last of it counts."""
        base = int(match["at"], 16)
        found = _range(base, base + (int(match["size"]) << 20), "", clean(match[0]), line)
        self._contiguous = max(self._contiguous, found, key=lambda each: each.end)

    def _sum_of_banks(self, line: int, match: re.Match[str]) -> None:
        self._total = self._total or int(match[1]) << 20

    def _ramdisk(self, line: int, match: re.Match[str]) -> None:
        self._carve(line, match, "initrd", "RAMDISK")

    def _ramdisk_old(self, line: int, match: re.Match[str]) -> None:
        self._carved.append(_range(int(match[1], 16), int(match[2], 16), "initrd", "RAMDISK", line))

    def _ramdisk_ppc64(self, line: int, match: re.Match[str]) -> None:
        base, end = int(match[1], 16) - _LINEAR, int(match[2], 16) - _LINEAR
        self._carved.append(_range(base, end, "initrd", "initrd", line))

    def _table(self, line: int, match: re.Match[str]) -> None:
        self._carve(line, match, "table", "boot table")

    def _acpi_table(self, line: int, match: re.Match[str]) -> None:
        base = int(match[1], 16)
        self._carved.append(_range(base, base + int(match[2], 16), "table", "ACPI table", line))

    def _kept(self, line: int, match: re.Match[str]) -> None:
        self._carve(line, match, "firmware", match[3])

    def _image(self, line: int, match: re.Match[str]) -> None:
        self._carve(line, match, "image", "Kernel image")

    def broken(self, line: int, match: re.Match[str]) -> None:
        self._broken.setdefault(_source(match[1]), (line, clean(match.string)))

    def _entry(self, line: int, source: str, base: int, end: int, kind: str | None) -> None:
        name = clean(kind or "")
        known = _TYPES.get(name.lower())
        if not known and not _RESERVED_TYPE.match(name):
            self._unread.append(Problem(line, "unknown type of map entry: taken as reserved", name or "no type"))
        self._add(line, _source(source), base, end, known or "reserved", name)

    def _add(self, line: int, source: str, base: int, end: int, kind: str, name: str) -> None:
        self._maps.setdefault(source, []).append(_range(base, end, kind, clean(name), line))

    def _carve(self, line: int, match: re.Match[str], kind: str, name: str) -> None:
        self._carved.append(_range(int(match[1], 16), int(match[2], 16) + 1, kind, clean(name), line))

    FORMS: ClassVar[tuple[tuple[str, str, _Use], ...]] = (
        (_SOURCE, r"\s+" + _MEM + _KIND, _new),
        (
            _SOURCE,
            r"\s+(?:0x)?([0-9a-f]{6,16})\s*-\s*(?:0x)?([0-9a-f]{6,16})"
            r" (?:\(([^()]*(?:\([^()]*\))?[^()]*)\)|(type \d+))",
            _old,
        ),
        (_SOURCE, r"\s+(?:\[mem(?!\w)|(?:0x)?[0-9a-f]{6,16}\s*-)", broken),
        (r"node +\d+:", r"\s+" + _MEM, _node),
        (r"OF: fdt: ?-", r" ([0-9a-f]{1,16}) ?,  ?([0-9a-f]{1,16})$", _bank),
        (
            r"(?<![A-Za-z] )(?<!\d)\d{1,4}:(?= 0x[0-9a-f]{8,10} -> 0x[0-9a-f]{8,10}\s*$)",
            r" 0x([0-9a-f]+) -> 0x([0-9a-f]+)\s*$",
            _frames,
        ),
        (r"(?<![A-Za-z] )(?<!\d)\d{1,4}:(?= [ \d]{8} -> [ \d]{8})", r" +(\d+) -> +(\d+)\s*$", _frames_decimal),
        (r"memory:", r"\s+([0-9a-f]{8,16}) @ ([0-9a-f]{8,16}) \(([\w ]+)\)", _mips),
        (r"efi: mem\d+:", r" type=(\d+), attr=0x([0-9a-f]+), " + _EFI_RANGE, _efi_by_number),
        (r"efi: mem\d+:", r" \[([^|\]]*)([^\]]*)\]\s+" + _EFI_RANGE, _efi_by_name),
        (r"efi:", r"\s+" + _SPAN + r"\s+\[([^|\]]*)(\|[^\]]*)\]", _efi_arm),
        (r"(?<!efi:)(?<!efi: )(?<!memattr:)(?<!memattr: )  " + _EFI_SPAN, r"([^|\]]*)(\|[^\]]*)\]", _efi_arm),
        (r"Kernel command line:", r"(.*\bmem=.*)", _command_line),
        (r"efi: Remove mem\d+:", r" MMIO\s+range=\[" + _SPAN + r"\]", _remove),
        (r"e820: remove", r" " + _MEM + r" (?:device )?reserved", _remove),
        (
            "Truncating RAM at",
            r" (?:0x)?([0-9a-f]+)-(?:0x)?([0-9a-f]+) to -(?:0x)?([0-9a-f]+)",
            _truncate,
        ),
        ("Ignoring RAM at", r" (?:0x)?([0-9a-f]+)-(?:0x)?([0-9a-f]+)", _ignore),
        (r"Ignoring memory (?:range|block)", r" 0x([0-9a-f]+) - 0x([0-9a-f]+)", _leave),
        (r"Memory:", r" \d+k/(\d+)k available(?:, (\d+)k reserved)?", _sum),
        (r"Memory available:", r" \d+k/(\d+)k RAM()", _sum),
        (r"(?:physicalMemorySize|phys_mem_size) +=", r" 0x([0-9a-f]+)", _sum_in_bytes),
        (r"Memory:", r" [\dMB ]+ = (\d+)MB total", _sum_of_banks),
        (r"cma: (?:CMA: )?[Rr]eserved", r" (?P<size>\d{1,6}) MiB at (?:0x)?(?P<at>[0-9a-f]{1,16})\b", _cma),
        (r"created CMA memory pool at", r" 0x(?P<at>[0-9a-f]{1,16}), size (?P<size>\d{1,6}) MiB", _cma),
        (r"RAMDISK:", r" " + _MEM, _ramdisk),
        (r"RAMDISK:", r" ([0-9a-f]{8,}) - ([0-9a-f]{8,})", _ramdisk_old),
        (r"Found initrd at", r" 0x(c0[0-9a-f]{14}):0x(c0[0-9a-f]{14})", _ramdisk_ppc64),
        (r"ACPI: Reserving", r" \S+ table memory at " + _MEM, _table),
        (r"found SMP MP-table at", r" " + _MEM, _table),
        (
            r"ACPI: [A-Z][\w! ]{3}",
            r" (?:0x)?(?!f{4})([0-9a-f]{8,16}) (?:0x)?([0-9a-f]{5,6})(?: \(|$)",
            _acpi_table,
        ),
        (r"OF: reserved mem:", r" 0x([0-9a-f]+)\.\.0x([0-9a-f]+) \(.*\) \w+ non-reusable (\S*)", _kept),
        (r"([0-9a-f][0-9a-f]{7,15})-([0-9a-f]{8,16}) : Kernel", r" (?:code|rodata|data|bss)$", _image),
    )
    """How a record of each form begins, how it goes on, and what becomes of it."""

    def put(self, facts: Facts) -> None:
        """Add the map to the facts: the most final one that tells RAM, with the changes made after it was printed."""
        machine, domain = self._maps_of_machine_and_domain()
        source = self._most_final(machine)
        self._refuse_broken(facts, source)
        facts.memory, facts.origin, facts.carved = list(self._maps.get(source, ())), source, self._carved
        efi = self._maps.get("efi", ())
        if source == "node":  # of a device tree or, on arm64, of a firmware map in which some of this RAM is not free
            facts.carved += [
                _range(r.base, r.end, "firmware", r.name, r.line) for r in efi if r.kind not in ("ram", "soft")
            ]
            facts.memory += [r for r in efi if r.kind == "soft"]
        elif source != "efi":
            facts.removed = self._removed
        if domain:
            facts.domain = self._maps.get(self._most_final(domain), [])
        facts.memory += [r for r in self._given_up if r.kind == "ram" or source != "efi"]  # whose map tells all RAM
        facts.unused = self._given_up
        facts.total = self._total
        facts.unread += self._unread
        if not source and 0 < self._total < self._contiguous.end and facts.arch in _BOARDS:
            reason = (
                "RAM reaches farther than its amount, and does not begin at 0: --ram SIZE@ADDRESS says where it does"
            )
            facts.missing.append(Problem(self._contiguous.line, reason, self._contiguous.name))
        if source == "node" and self._in_frames:
            facts.missing.append(Problem(0, "ranges of nodes are told in page frames: of 4 KiB, it is assumed"))
        facts.complete = bool(self._total or "node" in self._maps)

    def _maps_of_machine_and_domain(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The sources that tell of the machine, and those that tell of a domain on it, if the log has both."""
        if "BIOS" in self._maps and "Xen" in self._maps:
            return ("BIOS",), tuple(source for source in _PREFERENCE if source != "BIOS")
        return _PREFERENCE, ()

    def _most_final(self, sources: tuple[str, ...]) -> str:
        """The source of the most final map that tells RAM, else of the most final map; "" if there is none."""
        telling = (s for s in sources if s in self._broken or any(r.kind == "ram" for r in self._maps.get(s, ())))
        return next(telling, None) or next((s for s in sources if s in self._maps), "")

    def _refuse_broken(self, facts: Facts, source: str) -> None:
        if source in self._broken:
            line, text = self._broken[source]
            facts.refusal = InputError(
                facts.file,
                line,
                f"map entry that cannot be read: {text}",
                "what it says about RAM is unknown: correct the line or take it out",
            )


BEGINNINGS = (*(f"{source}:" for source in _SOURCES), *(begins for begins, _, _ in MapFacts.FORMS if begins != _SOURCE))
_USES = tuple((re.compile(begins + rest, re.I), use) for begins, rest, use in MapFacts.FORMS)

_NO_END = re.compile(rf"{_SOURCE} \[mem [^\]]*\](?: (?:ACPI|soft|device|persistent))?$|Kernel command line:")
"""An entry without its type, or words of a command line."""


def lacks_end(record: str) -> bool:
    """Whether a record has one of the forms told above, and may yet go on."""
    return bool(_NO_END.match(record))


def fits(record: str) -> bool:
    """Whether a record has one of the forms told above."""
    return any(form.match(record) for form, use in _USES if use is not MapFacts.broken)


def _range(base: int, end: int, kind: str, name: str, line: int) -> Range:
    return Range(base, end - base, kind, name, line)


def _source(prefix: str) -> str:
    """The source that a line names: BIOS-e820, BIOS-88 and BIOS-e801 are one."""
    if prefix.endswith("setup_data"):  # mail may part it from its first word
        return "reserve setup_data"
    return "BIOS" if prefix.startswith("BIOS") else prefix


def _efi_kind(name: str) -> str:
    """The kind of memory that an EFI map calls so."""
    return EFI_WORDS.get(squeezed(name), "reserved")
