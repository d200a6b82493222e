"""Reader of fleets: JSON Lines, a machine on each, with how much RAM it has and every register.

    {"vendor": "ASUSTek Computer", "model": "EB1035", "arch": "AMD64", "ram": 4294967296, "bars": [
      ["0:0:2:0", "030000", "18", "Prefetchable Memory", 64, 3758096384, 268435456, "enabled", "8086", "0106"], …]}

A register is: domain:bus:slot:function (decimal), class, offset (hexadecimal), type, bits, base, size; what follows is
not used.  A line that cannot be read is refused alone; the machines on the others are read.
"""

import re

import msgspec

from kernmalloc.inputs.devices.pci_dump import address, architecture, facts_of, put
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device, Facts, class_role
from kernmalloc.inputs.limits import hold

_RECOGNISE = re.compile(r'\s*\{[^\n]{,1000}"bars"\s*:\s*\[')
_HEX = re.compile(r"[0-9a-f]{1,6}", re.I)
_PLACE = re.compile(r"(\d{1,5}):(\d{1,3}):(\d{1,2}):(\d)", re.ASCII)


class _Register(msgspec.Struct, array_like=True):
    place: str
    device_class: str
    offset: str
    type: str
    bits: int
    base: int
    size: int


class _Machine(msgspec.Struct):
    bars: list[_Register]
    vendor: str = ""
    model: str = ""
    arch: str = "?"
    ram: int = 0


def recognises(head: str) -> bool:
    """Whether `head` begins with a machine as a JSON object."""
    return bool(_RECOGNISE.match(head))


def read(text: str, file: str) -> list[Facts]:
    """One `Facts` for each line that is not empty."""
    decoder = msgspec.json.Decoder(_Machine)
    told = [(line, text) for line, text in enumerate(text.split("\n"), 1) if text.strip()]
    hold("machines", len(told), file)
    return [_facts(file, line, text, decoder) for line, text in told]


def _facts(file: str, line: int, text: str, decoder: "msgspec.json.Decoder[_Machine]") -> Facts:
    facts = facts_of(file, "list of machines")
    facts.line = line
    try:
        machine = decoder.decode(text)
        facts.name = f"{machine.vendor} {machine.model}".strip() or f"machine {line}"
        facts.arch, facts.total = architecture(machine.arch), max(0, machine.ram)
        for register in machine.bars:
            _take(facts, line, register)
    except (msgspec.DecodeError, ValueError) as error:
        facts.refusal = InputError(file, line, f"not a machine: {error}")
    return facts


def _take(facts: Facts, line: int, register: _Register) -> None:
    if "Memory" not in register.type:
        facts.ignored["I/O ports"] += 1
    elif register.bits not in (32, 64):
        facts.ignored["register below 1 MiB"] += 1
    else:
        place = _PLACE.fullmatch(register.place)
        if not place:
            raise ValueError(f"no place of a PCI device: {register.place!r}")
        if not _HEX.fullmatch(register.device_class) or not _HEX.fullmatch(register.offset):
            raise ValueError(f"no class and offset: {register.device_class!r}, {register.offset!r}")
        name, bar = address(*(int(part) for part in place.groups())), (int(register.offset, 16) - 0x10) // 4
        facts.roles[name] = class_role(int(register.device_class, 16))
        put(
            facts,
            Device(
                register.base,
                register.size,
                "bar",
                name,
                bar,
                register.bits,
                "Pref" in register.type,
                "assigned" if register.base else "unassigned",
                line,
            ),
        )
