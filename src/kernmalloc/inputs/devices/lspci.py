"""Reader of `lspci -v`, `-vv` and `-xxx`, also quoted and wrapped in mail.

    3d:00.0 Processing accelerators: Advanced Micro Devices, Inc. … (rev 01)
            Memory at 8a000000000 (64-bit, prefetchable) [disabled] [size=128G]             -v
            Region 2: Memory at <unassigned> (64-bit, prefetchable) [virtual] [size=2M]     -vv
            Expansion ROM at fd000000 [disabled] [size=512K]
            Bus: primary=00, secondary=3d, subordinate=3f, sec-latency=0                    a bridge's
    10: 0c 00 00 00 a0 08 00 00 …                                                           -x: `pci_config`

Without the domain before the bus it is 0000.  What the system did not place has a size but no address; what lspci could
not size (a virtual function's, or not placed) says nothing.  Bridges forward memory and own none but their registers.
Of a device that is listed several times, the last list counts.  A list without -v (also as a tree, -t, or for programs,
-m) has no address in it and is refused.
"""

import re

from kernmalloc.inputs.devices.pci_config import HEADER, device_class, registers
from kernmalloc.inputs.devices.pci_dump import address, comment, facts_of, lines, unknown
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Bridge, Device, Facts, Problem, class_role, role_of
from kernmalloc.inputs.sizes import parse_size, size

_PLACE = r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])"
HEAD = re.compile(_PLACE + r":? (?=\S)([A-Z0-9][\w ./-]+?(?: \[([0-9a-f]{4})\])?:)?")
"""A device's place and class, as its list begins; its name follows."""
_RECOGNISE = re.compile(
    r"^[>|\t \xa0]*(?:"
    r"(?:Region \d: )?(?:\[virtual\] )?Memory at (?:[0-9a-f]{4,16}|<\w+>) \("
    r"|(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7] "
    r"(?:[A-Z][\w ./-]+(?: \[[0-9a-f]{4}\])?: |[0-9a-f]{4}: [0-9a-f]{4}:|\"[A-Z])"  # a class by name, -n, -m
    r"|(?:-\+|\\)?-\[[0-9a-f]{4,8}:[0-9a-f]{2}(?:-[0-9a-f]{2})?\]-"  # -t
    r"|Slot:\t(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$)",  # -vmm
    re.M,
)
_REGISTER = re.compile(
    r"(?:Region (\d): )?(?:\[virtual\] )?Memory at ([0-9a-f]{4,16}|<\w+>) "
    r"\(([\w-]+), ((?:non-)?prefetchable)\)(.*)"
)
_ROM = re.compile(r"(?:\[virtual\] )?Expansion ROM at ([0-9a-f]{4,16}|<\w+>)(.*)")
_BUSES = re.compile(r"Bus: primary=[0-9a-f]{2}, secondary=([0-9a-f]{2}), subordinate=([0-9a-f]{2})")
_SIZE = re.compile(r"\[size=(\d{1,6}[KMGT]?|0x[0-9a-f]{1,16})\]")
_DUMPED = re.compile(r"([0-3])0: ((?:[0-9a-f]{2} ){15}[0-9a-f]{2})$")
_UNNAMED = "unnamed device"
_VERBOSE = re.compile(r"(?:Flags|Control): ")
_VIRTUAL_FUNCTIONS = re.compile(r"(?:Initial VFs|VF offset|.*\(SR-IOV\))")
_REST = re.compile(r"(?:\[(?:disabled|virtual|enhanced)\] ?)*\[size=\w+\]$")
_KNOWN = (
    ("I/O ports", re.compile(r"(?:Region \d: )?I/O (?:ports|window|behind)")),
    ("window of a bridge", re.compile(r"(?:Prefetchable m|M)emory (?:behind|window)")),
    ("register of virtual functions", re.compile(r"Region \d: Memory at")),
    (
        "what a capability says",
        re.compile(r"(?:Capabilities|Address|Vector(?: table)?|PBA|HeaderLog|Kernel|RC Expansion|BAR \d):"),
    ),
)


def recognises(head: str) -> bool:
    """Whether `head` is a list of PCI devices as lspci prints it."""
    return bool(_RECOGNISE.search(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described; its RAM is not told.  Raises UnreadableError where no address is, either."""
    facts = facts_of(file, "lspci")
    found: dict[str, dict[tuple[int, int], Device]] = {}  # by device, then by register and address
    dumps: dict[str, dict[int, bytes]] = {}  # by device, then by place
    bridges: dict[str, Bridge] = {}
    name, virtual, verbose = _UNNAMED, False, False
    listed: dict[tuple[int, int], Device] = {}
    for number, line in _joined(text):
        device = None
        if match := HEAD.match(line):
            name, listed, virtual = place_of(line), {}, False
            facts.roles[name] = class_role(int(match[6], 16) << 8) if match[6] else role_of(match[5] or "")
        elif _VIRTUAL_FUNCTIONS.match(line):
            virtual = True
        elif not virtual and (match := _REGISTER.match(line)):
            index, where, width, prefetch, rest = match.groups()
            device = _register(facts, number, name, int(index or -1), where, rest, width, prefetch)
        elif match := _ROM.match(line):
            device = _register(facts, number, name, 6, match[1], match[2])
        elif name != _UNNAMED and (match := _BUSES.match(line)):
            bridges[name] = Bridge(name, int(match[1], 16), int(match[2], 16))
        elif match := _DUMPED.match(line):
            dumps.setdefault(name, {})[int(match[1])] = bytes.fromhex(match[2])
        elif _VERBOSE.match(line):
            verbose = True
        elif not comment(facts, line):
            _other(facts, number, line)
        if device:
            if name == _UNNAMED and not listed:
                facts.missing.append(Problem(number, "a register of a device that is not named above it", line))
            if any(bar == device.bar >= 0 and base != device.base for bar, base in listed):
                facts.problems.append(Problem(number, "another address for the same register: both kept", line))
            listed[device.bar, device.base or -number] = device
            found[name] = listed
    for name, parts in dumps.items():
        if name not in found and len(parts) * 16 == HEADER:
            _dumped(facts, name, b"".join(parts[place] for place in sorted(parts)))
    if not (found or dumps or verbose or facts.ignored):
        reason = "lspci without -v: it lists devices and no address"
        raise UnreadableError(file, 0, reason, "give the output of sudo lspci -vv")
    facts.devices += (device for listed in found.values() for device in listed.values())
    facts.bridges += bridges.values()
    return [facts]


def place_of(text: str) -> str:
    """The PCI address that a text begins with, with its domain: 0000:01:00.0."""
    match = re.match(_PLACE, text)
    return address(*(int(part or "0", 16) for part in match.groups())) if match else ""


def _dumped(facts: Facts, name: str, config: bytes) -> None:
    """List what a dump says of a device's registers; without their sizes they are no windows."""
    facts.roles[name] = class_role(device_class(config))
    for register in registers(config):
        facts.ignored["register without a size"] += 1
        text = f"{name} BAR {register.bar} at {register.base:#x}, at most {size(register.most)}"
        facts.missing.append(Problem(0, "a dump tells no sizes: lspci -vv does", text))


def _joined(text: str) -> list[tuple[int, str]]:
    """Number and text of each line; `[size=…]` at the beginning of a line is the end of the last, wrapped by mail."""
    joined: list[tuple[int, str]] = []
    for number, line in lines(text):
        if _REST.match(line) and joined and not joined[-1][1].endswith("]"):
            joined[-1] = joined[-1][0], f"{joined[-1][1]} {line}"
        elif line:
            joined.append((number, line))
    return joined


def _register(
    facts: Facts, line: int, name: str, bar: int, where: str, rest: str, width: str = "32-bit", prefetch: str = ""
) -> Device | None:
    """One register, if its size is told."""
    found = _SIZE.search(rest)
    if not found:
        facts.ignored["register without a size"] += 1
        return None
    base = 0 if where.startswith("<") else int(where, 16)
    return Device(
        base,
        parse_size(found[1]),
        "rom" if bar == 6 else "bar",
        name,
        bar,
        64 if width == "64-bit" else 32,
        prefetch == "prefetchable",
        "assigned" if base else "unassigned",
        line,
    )


def _other(facts: Facts, number: int, line: str) -> None:
    for reason, pattern in _KNOWN:
        if pattern.match(line):
            facts.ignored[reason] += 1
            return
    unknown(facts, number, line)
