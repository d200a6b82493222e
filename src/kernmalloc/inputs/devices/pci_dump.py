"""What the readers of PCI dumps share: lspci, pciconf, sysfs, fleets.

A dump lists the registers of devices and no memory map, so RAM has to come from elsewhere.  A comment in it may state
how much there is, as those of collections do:

    # ram_bytes=8589934592 …
    # machine AMI / Aptio CRB type=Mini Pc … arch=AMD64 …
"""

import re
from collections.abc import Iterator

from kernmalloc.inputs.facts import Device, Facts, Problem
from kernmalloc.inputs.text import plain_lines

_AROUND = re.compile(r"^(?:[> |\t]|\*(?!-))+|[> |\t*]+$")  # not the star of lshw's nodes: *-memory
_LONGEST = 1000  # characters of a line that are looked at
_MEMORY = re.compile(r"\b(?:memory|region|rom|window|bar|0x)", re.I)
_NUMBER = re.compile(r"[0-9a-f]{6}", re.I)
_SPAN = re.compile(r"[0-9a-f]{6,16}-[0-9a-f]{6,16}", re.I)
_RAM = re.compile(r"#.*\bram_bytes=(\d{1,18})\b")
_MACHINE = re.compile(r"# machine (.+?) \w+=")
_ARCH = re.compile(r"#.*\barch=(\w+)")
_ARCHITECTURES = {
    "amd64": "x86_64",
    "x86_64": "x86_64",
    "i386": "i386",
    "arm64": "arm64",
    "aarch64": "arm64",
    "arm": "arm",
    "powerpc": "ppc",
    "riscv": "riscv64",
    "mips": "mips",
}
LACKS = ("a list of PCI devices holds none", "give --ram SIZE, or a boot log with this file as --devices")
"""Why there is no RAM, and what to do about it."""


def facts_of(file: str, origin: str) -> Facts:
    """Facts of a dump, still empty; `origin` names its form."""
    facts = Facts(file)
    facts.origin, facts.lacks = origin, LACKS
    return facts


def architecture(name: str) -> str:
    """An architecture as FreeBSD or uname name it, by the name used here; "?" where it has none."""
    return _ARCHITECTURES.get(name.lower(), "?")


def comment(facts: Facts, line: str) -> bool:
    """Use a line if it is a comment, for what it states; whether it was one."""
    if not line.startswith("#"):
        return False
    if match := _RAM.match(line):
        facts.total = int(match[1])
    if match := _MACHINE.match(line):
        facts.name = match[1]
    if match := _ARCH.match(line):
        facts.arch = architecture(match[1])
    return True


def address(domain: int, bus: int, slot: int, function: int) -> str:
    """The PCI address as Linux writes it: 0000:00:1f.3."""
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def put(facts: Facts, device: Device) -> None:
    """Add a register to the facts; one at address 0 has only a size, and one without a size is missing it."""
    if device.size <= 0 or device.base < 0:
        facts.missing.append(
            Problem(device.line, "register without a size: ignored", f"{device.name} {device.base:#x}")
        )
    else:
        facts.devices.append(device)


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line, without quoting, indentation, emphasis and trailing space."""
    return ((number, _AROUND.sub("", raw[:_LONGEST])) for number, raw in plain_lines(text))


def unknown(facts: Facts, line: int, text: str) -> None:
    """A line that no rule knows: unread if it may state where memory is."""
    word = _MEMORY.search(text)
    if (word and _NUMBER.search(text, word.end())) or _SPAN.search(text):
        facts.ignored["unclassified"] += 1
        facts.unread.append(Problem(line, "not understood", text))
