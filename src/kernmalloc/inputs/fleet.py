"""Reader of fleets: JSON Lines, a machine on each, with how much RAM it has and every register.

    {"vendor": "ASUSTek Computer", "model": "EB1035", "arch": "AMD64", "ram": 4294967296, "bars": [
      ["0:0:2:0", "030000", "18", "Prefetchable Memory", 64, 3758096384, 268435456, "enabled", "8086", "0106"], …]}

A register is: domain:bus:slot:function (decimal), class, offset (hexadecimal), type, bits, base, size; what follows is
not used.  A line that cannot be read is refused alone; the machines on the others are read.

A large fleet is read in blocks of lines, of which each is read alone (`blocks`, `facts_in`): so no more than a block is
held at a time, however many machines there are.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import msgspec

from kernmalloc.inputs.devices.pci_dump import address, architecture, facts_of, put
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device, Facts, class_role
from kernmalloc.inputs.limits import hold, limits
from kernmalloc.inputs.packed import Buffered

BLOCK = 4 << 20  # bytes after which a block ends, if it has not enough lines before

_RECOGNISE = re.compile(r'\s*\{[^\n]{,1000}"bars"\s*:\s*\[')
_HEX = re.compile(r"[0-9a-f]{1,6}", re.I)
_PLACE = re.compile(r"(\d{1,5}):(\d{1,3}):(\d{1,2}):(\d)", re.ASCII)


class Register(msgspec.Struct, array_like=True):
    """A base address register as a fleet tells it; `base` and `size` in bytes, a base of 0 is none."""

    place: str
    device_class: str
    offset: str
    type: str
    bits: int
    base: int
    size: int


class Record(msgspec.Struct):
    """A machine of a fleet; `ram` in bytes, `arch` as FreeBSD or uname name it."""

    bars: list[Register]
    vendor: str = ""
    model: str = ""
    arch: str = "?"
    ram: int = 0


class Block(NamedTuple):
    """Lines of a fleet: the number of the first, where it begins in the file in bytes, how many of them tell of a
    machine, and the text."""

    line: int
    offset: int
    machines: int
    data: bytes


def recognises(head: str) -> bool:
    """Whether `head` begins with a machine as a JSON object."""
    return bool(_RECOGNISE.match(head))


def read(text: str, file: str) -> list[Facts]:
    """One `Facts` for each line that is not empty."""
    lines = text.split("\n")
    hold("machines", sum(1 for line in lines if line.strip()), file)
    return list(facts_in(lines, file))


def blocks(stream: Buffered, file: str, most: int) -> Iterator[Block]:
    """The lines of a stream, in blocks of at most `most` lines, of which some tell of a machine.  Raises
    UnreadableError if a line is longer than the limit of a file."""
    line, offset, longest = 1, 0, limits().bytes
    while True:
        lines: list[bytes] = []
        size = 0
        while len(lines) < most and size < BLOCK and (text := stream.readline(longest + 1)):
            hold("bytes", len(text), file, line + len(lines))
            lines.append(text)
            size += len(text)
        if not lines:
            return
        if machines := sum(1 for text in lines if not text.isspace()):
            yield Block(line, offset, machines, b"".join(lines))
        line, offset = line + len(lines), offset + size


def facts_in(lines: Iterable[str | bytes], file: str, first: int = 1) -> Iterator[Facts]:
    """The facts of each line that is not empty, one at a time; `first` is the number of the first line in the file."""
    decoder = _decoder()
    for line, text in enumerate(lines, first):
        if text and not text.isspace():
            try:
                yield facts(decoder.decode(text), file, line)
            except (ValueError, RecursionError) as error:  # no JSON, no Unicode, nested too deeply
                yield refused(file, line, error)


@cache
def _decoder() -> "msgspec.json.Decoder[Record]":
    return msgspec.json.Decoder(Record)


def refused(file: str, line: int, error: Exception) -> Facts:
    """Facts of a machine that cannot be read."""
    facts = facts_of(file, "list of machines")
    facts.line, facts.refusal = line, InputError(file, line, f"not a machine: {error}")
    return facts


def facts(record: Record, file: str, line: int) -> Facts:
    """Facts of a machine, which is the one of that line or row of the file."""
    facts = facts_of(file, "list of machines")
    facts.line = line
    facts.name = f"{record.vendor} {record.model}".strip() or f"machine {line}"
    facts.arch, facts.total = architecture(record.arch), max(0, record.ram)
    try:
        hold("ranges", len(record.bars), file, line)
        for register in record.bars:
            _take(facts, line, register)
    except InputError as error:
        facts.refusal = error
    except ValueError as error:
        return refused(file, line, error)
    return facts


def _take(facts: Facts, line: int, register: Register) -> None:
    if "Memory" not in register.type:
        facts.ignored["I/O ports"] += 1
    elif register.bits not in (32, 64):
        facts.ignored["register below 1 MiB"] += 1
    else:
        name, role = _function(register.place, register.device_class)
        facts.roles[name] = role
        put(
            facts,
            Device(
                register.base,
                register.size,
                "bar",
                name,
                _bar(register.offset),
                register.bits,
                "Pref" in register.type,
                "assigned" if register.base else "unassigned",
                line,
            ),
        )


@lru_cache(4096)  # machines are alike
def _function(place: str, device_class: str) -> tuple[str, str]:
    """Address and role of a PCI function.  Raises ValueError."""
    found = _PLACE.fullmatch(place)
    if not found:
        raise ValueError(f"no place of a PCI device: {place!r}")
    if not _HEX.fullmatch(device_class):
        raise ValueError(f"no class of a PCI device: {device_class!r}")
    return address(*(int(part) for part in found.groups())), class_role(int(device_class, 16))


@lru_cache(4096)
def _bar(offset: str) -> int:
    """The number of a register by its offset.  Raises ValueError."""
    if not _HEX.fullmatch(offset):
        raise ValueError(f"no offset of a register: {offset!r}")
    return (int(offset, 16) - 0x10) // 4
