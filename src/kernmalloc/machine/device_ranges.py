"""From windows of devices to ranges of pages that a kernel can publish.

Windows overlap: a bridge's register covers its children's, a host bridge claims all that is behind it, a function
repeats another's.  Many are smaller than a page, and several then share one.  What counts is the union of the pages,
never the sum of the windows: windows that share a page are one range with all their names.  Windows that merely touch
stay apart, so that each device can be published and withdrawn alone.

A window over RAM is a mistake of the input (a misread register, a device tree that lists an offset as an address), and
publishing it would describe RAM twice: such windows are left out, whole.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kernmalloc.inputs.facts import Device, Problem, Range, role_of
from kernmalloc.machine.ram_layout import PA_COMMON

BEYOND = "device window reaches above 2^52: not published"
INSIDE_RAM = "device window where RAM is: not published"
REASONS = (BEYOND, INSIDE_RAM)
"""What can be wrong with a window on this machine."""


class DeviceRange(msgspec.Struct, frozen=True):
    """`frames` pages from page number `pfn`, the names of the devices whose windows are in them, and the role of the
    first of these that has one."""

    pfn: int
    frames: int
    names: tuple[str, ...]
    role: str = ""

    @property
    def end(self) -> int:
        """First page number after the range."""
        return self.pfn + self.frames


def judge(
    devices: Iterable[Device], ram: Sequence[Range], roles: Mapping[str, str] = {}
) -> tuple[tuple[Device, ...], list[Problem]]:
    """The windows, sorted, with their status on a machine with this RAM (disjoint, sorted) and their roles, given by
    name or read from it; and what is wrong.  One that its file says to be inside RAM is: a machine in TOML has not the
    RAM that firmware has reserved since."""
    bases = [r.base for r in ram]
    judged, problems = [], []
    for d in devices:
        if d.status not in ("unassigned", "disabled") or d.size > PA_COMMON:
            before = bisect_left(bases, d.end) - 1  # the last range of RAM that begins below the window's end
            inside = d.status == "inside RAM" or (before >= 0 and ram[before].end > d.base)
            status = "beyond" if d.end > PA_COMMON else "inside RAM" if inside else "assigned"
            if status != "assigned":
                reason = BEYOND if status == "beyond" else INSIDE_RAM
                problems.append(Problem(d.line, reason, f"{d.name} {d.base:#x} + {d.size:#x}"))
            d = msgspec.structs.replace(d, status=status, role=d.role or roles.get(d.name, "") or role_of(d.name))
        judged.append(d)
    return tuple(sorted(judged, key=lambda d: (d.base, d.end, d.name, d.bar))), problems


def publishable(devices: Iterable[Device], page_shift: int) -> list[DeviceRange]:
    """Disjoint sorted ranges of the pages of all assigned windows."""
    windows = sorted(
        (d.base >> page_shift, -(-d.end >> page_shift), d.name, d.role) for d in devices if d.status == "assigned"
    )
    found: list[DeviceRange] = []
    for first, end, name, role in windows:
        if found and first < found[-1].end:
            last = found.pop()
            names = last.names if name in last.names else (*last.names, name)
            found.append(DeviceRange(last.pfn, max(end, last.end) - last.pfn, names, last.role or role))
        else:
            found.append(DeviceRange(first, end - first, (name,), role))
    return found
