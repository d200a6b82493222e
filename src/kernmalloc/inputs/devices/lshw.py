"""Reader of `lshw`, whole or of one class (`lshw -C display`), and of what `lshw -json` tells.

      *-memory
           description: System Memory                                    how much RAM there is, not where
           size: 16GiB
      *-display
           description: VGA compatible controller
           bus info: pci@0000:01:00.0                                    before 2007 without the domain
           resources: irq:191 memory:83000000-83ffffff ioport:5000(size=128) memory:60000000-6fffffff(prefetchable)

A node's fields follow it.  What lies behind a bridge is told with the devices there.  `iomemory:` is the memory of an
old lshw; a new one means the upper halves of addresses by it, which have too few digits to be an address.  As JSON lshw
tells no resources.
"""

import re
from typing import Any

import msgspec

from kernmalloc.inputs.devices.pci_dump import address, facts_of, lines, put
from kernmalloc.inputs.errors import InputError, UnreadableError
from kernmalloc.inputs.facts import Device, Facts, Problem, role_of
from kernmalloc.inputs.sizes import parse_size

_NODE = re.compile(r"\*-([\w:.-]+)(?: (?:DISABLED|UNCLAIMED))*$")
_FIELD = re.compile(r"(description|product|size|width|bus info|capabilities|resources): (.+)")
_RANGE = re.compile(
    r"\b(?:memory|iomemory(?=:[0-9a-f]{5})):([0-9a-f]{1,16})-([0-9a-f]{1,16})(\(prefetchable\))?(?= |$)"
)
_PCI = re.compile(r"pci@(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$")
_RECOGNISE = re.compile(r"^[>|\t \xa0]*\*-[\w:.-]+(?: (?:DISABLED|UNCLAIMED))*[ \t\r]*$", re.M)
_JSON = re.compile(r'\s*(?:\[\s*)?\{\s*"id"\s*:\s*"[^"\n]{0,100}",\s*"class"\s*:\s*"')
_SHORT = re.compile(r"^(?:H/W path|Bus info) +Device +Class +Description", re.M)
_NO_ADDRESS = "it lists devices and no address", "give the output of sudo lshw, without -short, -businfo and -json"


def recognises(head: str) -> bool:
    """Whether `head` is lshw's tree, one of its tables, or its JSON."""
    return bool(_RECOGNISE.search(head) or _SHORT.search(head) or _JSON.match(head))


def read(text: str, file: str) -> list[Facts]:
    """The one machine described; of its RAM only how much there is.  Raises UnreadableError where nothing is told."""
    facts = facts_of(file, "lshw")
    if _JSON.match(text):
        _read_json(facts, text)
    else:
        _read_tree(facts, text)
    if not facts.total and not facts.devices and not facts.ignored:
        raise UnreadableError(file, 0, f"lshw: {_NO_ADDRESS[0]}", _NO_ADDRESS[1])
    return [facts]


def _read_tree(facts: Facts, text: str) -> None:
    node, fields, where = "", dict[str, str](), 0
    for number, line in lines(text):
        if match := _NODE.match(line):
            _take(facts, node, fields, where)
            node, fields = match[1], {}
        elif match := _FIELD.match(line):
            fields[match[1]] = match[2]
            where = number if match[1] == "resources" else where
    _take(facts, node, fields, where)


def _take(facts: Facts, node: str, fields: dict[str, str], line: int) -> None:
    """One node with its fields; `line` is that of its resources."""
    described = fields.get("description", "")
    if not node:
        facts.name = fields.get("product", facts.name)
    elif node.startswith("cpu") and "x86-64" in fields.get("capabilities", ""):
        facts.arch = "x86_64"
    elif node.startswith("memory") and described.lower() == "system memory" and "size" in fields:
        facts.total += _size(fields["size"])
    found = list(_RANGE.finditer(fields.get("resources", "")))
    if found and described.endswith("bridge"):
        facts.ignored["window of a bridge"] += len(found)
        return
    place = _PCI.match(fields.get("bus info", ""))
    name = address(*(int(part or "0", 16) for part in place.groups())) if place else node
    if place:
        facts.roles[name] = role_of(described)
    for match in found:
        base, end = int(match[1], 16), int(match[2], 16) + 1
        put(facts, Device(base, end - base, "resource", name, prefetch=bool(match[3]), line=line))


def _size(text: str) -> int:
    """Bytes of a memory, as lshw prints them; 0 for what is no size."""
    try:
        return parse_size(text)
    except InputError:
        return 0


def _read_json(facts: Facts, text: str) -> None:
    try:
        level: list[Any] = [msgspec.json.decode(text)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableError(facts.file, 0, f"lshw -json: not JSON: {error}") from None
    while level:
        found = level.pop()
        if isinstance(found, list):
            level += found
        elif isinstance(found, dict):
            level += [found.get("children")]
            size, described = found.get("size"), str(found.get("description"))
            if found.get("class") == "memory" and described.lower() == "system memory" and isinstance(size, int):
                facts.total += max(0, size)
    if facts.total:
        facts.missing.append(Problem(0, f"lshw -json tells no resources: no devices ({_NO_ADDRESS[1]})"))
