"""Reader and writer of machines in TOML: strict, because people write them.

    name = "A board"
    arch = "riscv64"                  # optional, as are source and licence
    memory = [
      { base = 0x8000_0000, size = 0x4000_0000, kind = "ram" },
    ]
    devices = [
      { base = 0x4000_0000, size = 0x1000_0000, name = "0000:01:00.0", bar = 1, bits = 64, prefetch = true },
    ]

Lists: `memory` (kinds in `facts.MAP_KINDS`), `carved` (`facts.CARVED_KINDS`), `devices`, `windows`; and `bridges`, each
with `name`, `bus` and `last` (`facts.Bridge`).  An unknown key, a wrong type, an unknown kind, an empty range, an
overlap or memory beyond 2^63 is refused by name and line.
"""

import re
from itertools import pairwise

import msgspec

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import (
    CARVED_KINDS,
    DEVICE_KINDS,
    DEVICE_ROLES,
    DEVICE_STATUS,
    MAP_KINDS,
    Bridge,
    Device,
    Facts,
    Range,
)
from kernmalloc.inputs.toml import parse_toml

_RECOGNISE = re.compile(
    r"^[ \t]*(?:\[\[\s*(?:memory|devices|carved|windows)\s*\]\]|memory\s*=\s*\["
    r"|(?:name|arch|source)\s*=\s*\")",
    re.M,
)
_LISTS = ("memory", "carved", "devices", "windows")
_LIMIT = 1 << 63


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    base: int
    size: int
    kind: str
    name: str = ""


class _Window(msgspec.Struct, forbid_unknown_fields=True):
    base: int
    size: int
    name: str = ""
    kind: str = "window"


class _Device(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    base: int = 0
    kind: str = "bar"
    name: str = ""
    bar: int = -1
    bits: int = 0
    prefetch: bool = False
    status: str = "assigned"
    role: str = ""


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    memory: list[_Entry]
    name: str = ""
    arch: str = "?"
    source: str = ""
    licence: str = ""
    carved: list[_Entry] = []
    devices: list[_Device] = []
    windows: list[_Window] = []
    bridges: list[Bridge] = []


def recognises(head: str) -> bool:
    """Whether `head` has a key of the form told above, as TOML writes it."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described.  Raises InputError for anything that is wrong in it."""
    raw = parse_toml(text, file)
    if "core" in raw and "memory" not in raw:
        raise UnreadableError(file, 0, "a kernel, not a machine", "give it as --kernel")
    try:
        document = msgspec.convert(raw, _Document)
    except msgspec.ValidationError as error:
        raise InputError(file, _line_of(text, str(error)), str(error)) from None
    facts = Facts(file)
    facts.name, facts.arch = document.name or facts.name, document.arch
    facts.origin, facts.licence = document.source, document.licence
    lines = _entry_lines(text)
    for key in _LISTS:
        into = getattr(facts, key)
        for index, entry in enumerate(getattr(document, key)):
            places = lines.get(key, [])
            line = places[index] if index < len(places) else 0
            _check(file, line, f"{key}[{index}]", key, entry)
            shape = Device if key == "devices" else Range
            into.append(shape(**msgspec.structs.asdict(entry), line=line))
    facts.bridges += document.bridges
    for key in ("memory", "carved"):
        _disjoint(file, key, getattr(facts, key))
    return [facts]


def _check(file: str, line: int, place: str, key: str, entry: _Entry | _Window | _Device) -> None:
    allowed = {"memory": MAP_KINDS, "carved": CARVED_KINDS, "windows": ("window",), "devices": DEVICE_KINDS}
    if entry.base < 0 or entry.size <= 0:
        raise InputError(file, line, f"{place}: base must not be negative and size must be positive")
    if entry.base + entry.size > _LIMIT and key != "devices":
        raise InputError(file, line, f"{place}: ends at {entry.base + entry.size:#x}, above 2^63")
    if entry.kind not in allowed[key]:
        raise InputError(file, line, f"{place}: unknown kind {entry.kind!r}", "one of " + ", ".join(allowed[key]))
    if isinstance(entry, _Device):
        _check_device(file, line, place, entry)


def _check_device(file: str, line: int, place: str, device: _Device) -> None:
    if device.status not in DEVICE_STATUS:
        raise InputError(file, line, f"{place}: unknown status {device.status!r}", "one of " + ", ".join(DEVICE_STATUS))
    if device.role not in DEVICE_ROLES:
        known = ", ".join(filter(None, DEVICE_ROLES))
        raise InputError(file, line, f"{place}: unknown role {device.role!r}", f"one of {known}")
    if device.bits not in (0, 32, 64):
        raise InputError(file, line, f"{place}: bits must be 32 or 64")


def _disjoint(file: str, key: str, ranges: list[Range]) -> None:
    ordered = sorted(ranges, key=lambda r: r.base)
    for low, high in pairwise(ordered):
        if high.base < low.end:
            raise InputError(
                file,
                high.line,
                f"{key}: {high.base:#x} lies inside the entry of line {low.line}, which ends at {low.end:#x}",
            )


def _entry_lines(text: str) -> dict[str, list[int]]:
    """Line of each entry of each list: where its `size` stands (TOML parsers give no positions)."""
    found: dict[str, list[int]] = {}
    key = ""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.split("#")[0]
        section = re.match(r"\s*(?:\[\[\s*(\w+)\s*\]\]|(\w+)\s*=\s*\[)", line)
        if section:
            key = section[1] or section[2]
        found.setdefault(key, []).extend([number] * len(re.findall(r"\bsize\s*=", line)))
    return found


def _line_of(text: str, message: str) -> int:
    """Line of the entry that a validation message is about; its place reads like `$.memory[3].base`."""
    place = re.search(r"\$\.(\w+)\[(\d+)\]", message)
    if place:
        lines = _entry_lines(text).get(place[1], [])
        return lines[int(place[2])] if int(place[2]) < len(lines) else 0
    named = re.search(r"field `(\w+)`|\$\.(\w+)", message)
    if named:
        for number, line in enumerate(text.split("\n"), 1):
            if re.match(rf"\s*(?:\[\[)?\s*{named[1] or named[2]}\b", line):
                return number
    return 0


def write(facts: Facts) -> str:
    """TOML text that `read` turns back into the same facts (line numbers, ignored lines and problems aside)."""
    head = {"name": facts.name, "arch": facts.arch, "source": facts.origin, "licence": facts.licence}
    parts = [f"{key} = {_string(value)}" for key, value in head.items() if value]
    for key in _LISTS:
        entries = getattr(facts, key)
        if entries or key == "memory":
            parts += [f"{key} = [", *(f"  {_inline(entry)}," for entry in entries), "]"]
    if facts.bridges:
        rows = (f"  {{ name = {_string(b.name)}, bus = {b.bus:#x}, last = {b.last:#x} }}," for b in facts.bridges)
        parts += ["bridges = [", *rows, "]"]
    return "\n".join(parts) + "\n"


def _inline(entry: Range | Device) -> str:
    """One entry on one line; what has its default value is left out."""
    defaults = {
        "line": entry.line,
        "name": "",
        "kind": "bar" if isinstance(entry, Device) else "window",
        "bar": -1,
        "bits": 0,
        "prefetch": False,
        "status": "assigned",
        "role": "",
    }
    fields = []
    for key, value in msgspec.structs.asdict(entry).items():
        if key in ("base", "size"):
            fields.append(f"{key} = {value:#x}")
        elif value != defaults[key]:
            text = _string(value) if isinstance(value, str) else str(value).lower()
            fields.append(f"{key} = {text}")
    return "{ " + ", ".join(fields) + " }"


def _string(value: str) -> str:
    """A TOML basic string: quotes, backslashes and control characters escaped."""
    escaped = re.sub(r'["\\\x00-\x1f\x7f]', lambda m: f"\\u{ord(m[0]):04x}", value)
    return f'"{escaped}"'
