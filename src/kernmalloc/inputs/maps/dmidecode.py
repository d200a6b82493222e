"""Reader of `dmidecode`: the modules of memory in a machine, and nothing of where their memory lies.

    Handle 0x000C, DMI type 17, 40 bytes
    Memory Device
            Array Handle: 0x000A
            Size: 8 GB                                    also 2048 MB, 16 GiB, 64 kB, "No Module Installed"

Modules count that belong to an array used as system memory; of persistent memory what is set up as volatile does.
The ranges of type 19 tell the sizes once more, as if memory had no holes; they serve where no module is listed.
"""

import re
from typing import NamedTuple

from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Facts, Problem
from kernmalloc.inputs.sizes import parse_size
from kernmalloc.inputs.text import clean, plain_lines

_HANDLE = re.compile(r"Handle 0x([0-9a-f]{1,8}), DMI type (\d{1,3})", re.I)
_FIELD = re.compile(r"\s*([A-Z][\w ()/-]{1,40}?):\s+(\S.*)$")
_RECOGNISE = re.compile(r"\bDMI type (?:16|17|19), |^[ \t]*Memory (?:Array Mapped Address|Device)[ \t]*$", re.M)
_TITLES = {"Memory Device": 17, "Physical Memory Array": 16, "Memory Array Mapped Address": 19, "System Information": 1}
_NOTHING = re.compile(r"(?:No Module|Not Installed|None|Unknown|0 )", re.I)


class _Record(NamedTuple):
    """One structure of the table: its line, type, handle and fields."""

    line: int
    type: int
    handle: str
    fields: dict[str, tuple[int, str]]


def recognises(head: str) -> bool:
    """Whether `head` has memory devices as dmidecode prints them."""
    return any(title in head for title in ("DMI type", *_TITLES)) and bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described, with a total instead of a map."""
    facts = Facts(file)
    facts.origin = "dmidecode"
    facts.lacks = "no module of memory with a size is in it", "give the output of sudo dmidecode, or --ram SIZE"
    records = _records(text)
    other = {r.handle for r in records if r.type == 16 and r.handle and _value(r, "Use") not in ("", "System Memory")}
    modules = [r for r in records if r.type == 17 and _handle(_value(r, "Array Handle")) not in other]
    facts.total = sum(_module(facts, module) for module in modules)
    if not facts.total:
        facts.total = sum(_size(facts, r, "Range Size") for r in records if r.type == 19)
    system = next((r for r in records if r.type == 1), None)
    if system:
        named = (_value(system, "Manufacturer"), _value(system, "Product Name"))
        facts.name = clean(" ".join(filter(None, named))) or facts.name
    return [facts]


def _records(text: str) -> list[_Record]:
    records = [_Record(0, -1, "", {})]
    for number, raw in plain_lines(text):
        line = raw[:300].strip()
        if match := _HANDLE.search(line):
            records.append(_Record(number, int(match[2]), _handle(match[1]), {}))
        elif line in _TITLES:
            if records[-1].fields or records[-1].type != _TITLES[line]:  # printed without handles (dmidecode -q)
                records.append(_Record(number, _TITLES[line], "", {}))
        elif match := _FIELD.match(line):
            records[-1].fields.setdefault(match[1], (number, match[2]))
    return records


def _handle(text: str) -> str:
    return text.lower().removeprefix("0x").lstrip("0")


def _value(record: _Record, field: str) -> str:
    return record.fields.get(field, (0, ""))[1]


def _module(facts: Facts, record: _Record) -> int:
    """Bytes that a module adds to RAM."""
    persistent = "Volatile Size" in record.fields and "persistent" in _value(record, "Memory Technology").lower()
    return _size(facts, record, "Volatile Size" if persistent else "Size")


def _size(facts: Facts, record: _Record, field: str) -> int:
    line, text = record.fields.get(field, (record.line, ""))
    if not text or _NOTHING.match(text):
        return 0
    try:
        return parse_size(text)
    except InputError:
        facts.unread.append(Problem(line, "size that cannot be read: left out", f"{field}: {clean(text)}"))
        return 0
