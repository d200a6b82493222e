"""From windows of devices to ranges of pages that a kernel can publish.

Windows overlap: a bridge's register covers its children's, a host bridge claims all that is behind it, a function
repeats another's.  Many are smaller than a page, and several then share one.  What counts is the union of the pages,
never the sum of the windows: windows that share a page are one range with all their names.  Windows that merely touch
stay apart, so that each device can be published and withdrawn alone.

A window over RAM is a mistake of the input (a misread register, a device tree that lists an offset as an address), and
publishing it would describe RAM twice: such windows are left out, whole.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from kernmalloc.inputs.facts import Device, Problem, Range
from kernmalloc.machine.ram_layout import PA_COMMON

BEYOND = "device window reaches above 2^52: not published"
INSIDE_RAM = "device window where RAM is: not published"
REASONS = (BEYOND, INSIDE_RAM)
"""What can be wrong with a window on this machine."""


class DeviceRange(msgspec.Struct, frozen=True):
    """`frames` pages from page number `pfn`, and the names of the devices whose windows are in them."""

    pfn: int
    frames: int
    names: tuple[str, ...]

    @property
    def end(self) -> int:
        """First page number after the range."""
        return self.pfn + self.frames


def judge(devices: Iterable[Device], ram: Sequence[Range]) -> tuple[tuple[Device, ...], list[Problem]]:
    """The windows, sorted, with their status on a machine with this RAM (disjoint, sorted); and what is wrong."""
    bases = [r.base for r in ram]
    judged, problems = [], []
    for d in devices:
        if d.status not in ("unassigned", "disabled"):
            before = bisect_left(bases, d.end) - 1  # the last range of RAM that begins below the window's end
            inside = before >= 0 and ram[before].end > d.base
            status = "beyond" if d.end > PA_COMMON else "inside RAM" if inside else "assigned"
            if status != "assigned":
                reason = BEYOND if status == "beyond" else INSIDE_RAM
                problems.append(Problem(d.line, reason, f"{d.name} {d.base:#x} + {d.size:#x}"))
            if status != d.status:
                d = msgspec.structs.replace(d, status=status)
        judged.append(d)
    return tuple(sorted(judged, key=lambda d: (d.base, d.end, d.name, d.bar))), problems


def publishable(devices: Iterable[Device], page_shift: int) -> list[DeviceRange]:
    """Disjoint sorted ranges of the pages of all assigned windows."""
    windows = sorted((d.base >> page_shift, -(-d.end >> page_shift), d.name)
                     for d in devices if d.status == "assigned")
    found: list[list] = []  # first, end, names
    for first, end, name in windows:
        if found and first < found[-1][1]:
            found[-1][1] = max(end, found[-1][1])
            if name not in found[-1][2]:
                found[-1][2].append(name)
        else:
            found.append([first, end, [name]])
    return [DeviceRange(first, end - first, tuple(names)) for first, end, names in found]
