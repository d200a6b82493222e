"""A machine as text: its ranges, as /proc/iomem lists them, and what there is to tell of the file, line by line."""

from collections.abc import Iterator

from kernmalloc.inputs.sizes import size
from kernmalloc.machine.memory_map import MAPS, Device, Machine
from kernmalloc.report.text import fitted
from kernmalloc.report.units import several, span

KINDS = {
    "ram": "System RAM",
    "soft": "Soft Reserved",
    "reserved": "Reserved",
    "nvram": "ACPI or persistent memory",
    "rom": "ROM",
    "table": "boot tables",
    "initrd": "initial ramdisk",
    "image": "kernel image",
    "firmware": "reserved by the firmware",
    "unused": "not used by that Linux",
}


def opening(machine: Machine, origin: str = "") -> Iterator[str]:
    """Where the machine was found, if it was looked for; what machine it is, and how much memory it has."""
    yield from fitted(origin)
    yield from fitted(summary(machine))
    yield from _other_map(machine)


def found(machine: Machine, origin: str = "") -> Iterator[str]:
    """Where the machine was found, if it was looked for, and which of two maps was taken."""
    yield from fitted(origin)
    yield from _other_map(machine)


def summary(machine: Machine) -> str:
    """One line: what machine it is, and how much memory it has."""
    parts = [] if machine.arch == "?" else [machine.arch]
    parts += [f"{size(machine.ram_bytes)} of RAM in {several(len(machine.ram), 'range')}"]
    soft = sum(r.size for r in machine.firmware if r.kind == "soft")
    unused = sum(r.size for r in machine.unused if r.kind == "ram")
    parts += [f"{size(unused)} of it not used by that Linux"] if unused else []
    parts += [f"{size(soft)} soft reserved"] if soft else []
    if machine.devices:
        parts.append(several(len(machine.devices), "device window"))
    homeless = sum(d.status == "unassigned" for d in machine.devices)
    parts += [f"{homeless} of them without a place"] if homeless else []
    return f"{machine.name}: {', '.join(parts)}"


def _other_map(machine: Machine) -> Iterator[str]:
    """That there is another memory map in the file, if there is."""
    if machine.map:
        other = next(each for each in MAPS if each != machine.map)
        yield from fitted(
            f"The log has two memory maps. This is the {machine.map}'s; the {other}'s has {size(machine.other_ram)} "
            f"of RAM and is taken with --map {other}."
        )


def ranges(machine: Machine) -> Iterator[str]:
    """The memory map and the devices by address; what lies inside another range is indented under it."""
    for text, bytes, line, _ in listed(machine):
        yield f"{text:<64} {size(bytes):>9}" + (f"  line {line}" if line else "")


def listed(machine: Machine) -> Iterator[tuple[str, int, int, bool]]:
    """The same in parts: the range and what it is, its bytes, its line in the file (0: none), whether a device's."""
    rows = [
        (r.base, -r.size, r.end, KINDS.get(r.kind, r.kind), r.name, r.line)
        for r in (*machine.ram, *machine.firmware, *machine.carved)
    ]
    rows += [(r.base, -r.size, r.end, KINDS["unused"], r.name, r.line) for r in machine.unused]
    rows += [
        (d.base, -d.size, d.end, "device", _register(d), d.line) for d in machine.devices if d.status == "assigned"
    ]
    outer: list[int] = []  # ends of the ranges that the current one may lie in
    for base, _, end, kind, name, line in sorted(rows, key=lambda row: row[:3]):
        while outer and outer[-1] < end:
            outer.pop()
        text = f"{'  ' * len(outer)}{span(base, end)} : {kind}"
        outer.append(end)
        text += f" ({name})" if name and name.lower() not in (kind.lower(), "usable") else ""
        yield text, end - base, line, kind == "device"
    for d in machine.devices:
        if d.status == "unassigned":
            yield f"without a place : device ({_register(d)})", d.size, d.line, True


def _register(device: Device) -> str:
    return f"{device.name} BAR {device.bar}" if device.bar >= 0 else device.name


def problems(machine: Machine) -> Iterator[str]:
    """What is wrong with the machine, what the file lacks and what was not understood, one line each as file:line:
    reason; then what was ignored, counted by reason."""
    for heading, told in (
        ("Wrong with the machine:", machine.problems),
        ("Missing in the file:", machine.missing),
        ("Not understood:", machine.unread),
    ):
        if told:
            yield heading
        for each in told:
            file = each.file or machine.file
            place = f"{file}:{each.line}" if each.line else file
            yield f"{place}: {each.reason}" + (f": {each.text.strip()}" if each.text else "")
    for reason, count in sorted(machine.ignored.items()):
        if reason != "unclassified":  # which were listed
            yield f"{machine.file}: ignored {several(count, 'line')}: {reason}"


def verdict(machine: Machine) -> str:
    """One line: whether anything is wrong with the machine; then how much is missing in the file or not understood."""
    return f"{machine.file}: {judged(machine)}"


def judged(machine: Machine) -> str:
    """The same without the file."""
    parts = [several(len(machine.problems), "problem") if machine.problems else "nothing wrong with the machine"]
    if machine.missing:
        parts.append(f"{several(len(machine.missing), 'thing')} missing in the file")
    if machine.unread:
        parts.append(f"{several(len(machine.unread), 'line')} not understood")
    return ", ".join(parts)
