"""Reader of a board's constants in U-Boot: its configuration header as `name=value`, and the ranges that follow.

    board=M5475AFE
    CONFIG_SYS_SDRAM_BASE=0x0              where RAM begins
    CONFIG_SYS_SDRAM_SIZE=0x40             and its size, in MiB
    range ram 0x00000000 0x4000000         the ranges that follow: name, address, size in bytes
    range cs0 0xff800000 0x200000          a chip select: flash, SRAM or logic outside the processor
    range mbar 0xf0000000 0x1000000        the peripherals inside it, of which no constant tells the size
    range pci-mem 0x80000000 0x10000000    what the PCI bridge forwards

The ranges are what is read: whoever drew them up knew how wide a processor's peripherals are, and that the mask of a
chip select decides, not the size of the flash behind it. RAM that the constants tell otherwise is listed as a problem.
On-chip SRAM is a device's window here, not RAM: U-Boot keeps its first stack there, and it is far from the rest.
"""

import re

from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import Device, Facts, Problem, Range
from kernmalloc.inputs.text import plain_lines

_BOARD = re.compile(r"board=(\S+)")
_CONSTANT = re.compile(r"(CONFIG_SYS_\w+)=(\S*)")
_RANGE = re.compile(r"range (\S+) (0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16})", re.I)
_NUMBER = re.compile(r"0x[0-9a-f]{1,16}|[0-9]{1,18}", re.I)
_RECOGNISE = re.compile(r"^CONFIG_SYS_SDRAM_\w+=", re.M)
_HEADER = re.compile(r"^#define[ \t]+(?:CONFIG_SYS_SDRAM|CONFIG_SDRAM|PHYS_SDRAM)_\w", re.M)
_FORM = "write it as: range ram 0x40000000 0x2000000"


def recognises(head: str) -> bool:
    """Whether `head` tells where a board's RAM is as U-Boot does."""
    return bool(_RECOGNISE.search(head) or _HEADER.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one board described.  Raises InputError for a line of another form, or a constant that is no number, and
    UnreadableError for the header itself, whose constants a compiler reckons out."""
    if header := _HEADER.search(text):
        at = text.count("\n", 0, header.start()) + 1
        raise UnreadableError(file, at, "a header in C, not its constants as NAME=VALUE", _FORM)
    facts = Facts(file)
    facts.origin, facts.arch, facts.like_pc = "U-Boot board constants", "m68k", False
    facts.lacks = "no range of the board's is RAM", "give --ram SIZE, or SIZE@ADDRESS"
    constants: dict[str, int] = {}
    for number, raw in plain_lines(text):
        line = raw.strip()
        if match := _RANGE.fullmatch(line):
            _take(facts, number, match[1], int(match[2], 16), int(match[3], 16))
        elif match := _CONSTANT.fullmatch(line):
            constants[match[1]] = _number(match[2], file, number)
        elif match := _BOARD.fullmatch(line):
            facts.name = match[1]
        elif line and not line.startswith("#"):
            raise InputError(file, number, f"neither a range nor a constant: {line[:60]!r}", _FORM)
    facts.ram_base = constants.get("CONFIG_SYS_SDRAM_BASE")
    _compare(facts, constants)
    return [facts]


def _number(text: str, file: str, line: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise InputError(file, line, f"not a number: {text[:60]!r}", "write it as 0x40000000")
    return int(text, 16 if text[:2].lower() == "0x" else 10)


def _take(facts: Facts, line: int, name: str, base: int, size: int) -> None:
    """Take a range for what its name says it is."""
    if name == "ram":
        facts.memory.append(Range(base, size, "ram", name, line))
    elif name == "pci-mem":
        facts.windows.append(Range(base, size, "window", name, line))
    elif size:
        facts.devices.append(Device(base, size, "resource", name, line=line))
    else:
        facts.problems.append(Problem(line, "range without a size: ignored", f"{name} {base:#x}"))


def _compare(facts: Facts, constants: dict[str, int]) -> None:
    """List what the constants tell of RAM otherwise than the ranges."""
    base, size = (constants.get(f"CONFIG_SYS_SDRAM_{name}") for name in ("BASE", "SIZE"))
    if base is None or size is None or not facts.memory:
        return
    if (base, size << 20) not in ((r.base, r.size) for r in facts.memory):
        text = f"{base:#x} + {size << 20:#x}"
        facts.problems.append(Problem(facts.memory[0].line, "the board's constants tell other RAM", text))
