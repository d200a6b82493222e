"""Rows of a fleet's tables: one for each machine, one for each device range. docs/fleet.md has the columns.

They are stable: a column keeps its name and meaning, new ones come at the end.
"""

from typing import NamedTuple

from kernmalloc.facade.profile import Profile
from kernmalloc.fleet.need import Need
from kernmalloc.inputs.facts import Device as Window
from kernmalloc.machine.memory_map import Machine

COVERED, LEFT_OVER = "covered", "left over"
"""Whether the fleet's one setting is enough for a machine."""


class MachineRow(NamedTuple):
    """A machine. `id` names it in both tables, `setting` and `value` are what was planned again with, None: no value
    covers so many; `least` and `most` those that cover this machine, None: none does, or there is no end. Sizes are
    bytes; `cost` is what the setting adds to the heap; figures of a plan are None where there is none. `advice` is the
    one setting that would cover this machine alone."""

    id: str
    file: str
    machine: str
    arch: str
    kernel: str
    strategy: str
    ram: int
    clipped: int | None
    page: int
    setting: str
    value: int | None
    least: int | None
    most: int | None
    status: str
    reason: str
    cost: int | None
    heap: int | None
    idle: int | None
    scale: float | None
    promised: int | None
    available: int | None
    tlb: int | None
    devices: int
    device_bytes: int
    largest: int
    unplaced: int
    advice_setting: str
    advice_value: int | None
    advice_proved: bool


class DeviceRow(NamedTuple):
    """A device range of a machine: its bytes, the devices in it, what becomes of it with the setting, its bytes of the
    heap, frames that no entry can be had for, and why."""

    machine: str
    base: int
    size: int
    names: str
    status: str
    cost: int
    missing: int
    reason: str


class Figures(NamedTuple):
    """What a plan says of a kernel on a machine: bytes of RAM above its address limit, of its heap, and of what that
    reserves for nothing; the share of the objects that it wants; frames promised to the bank and in page space; TLB
    entries of its window. All are None where nothing was planned."""

    clipped: int | None = None
    heap: int | None = None
    idle: int | None = None
    scale: float | None = None
    promised: int | None = None
    available: int | None = None
    tlb: int | None = None


class Judged(NamedTuple):
    """What one value of a setting comes to on a machine: whether it covers it, else why not; bytes that it costs
    there; what a plan said; its device ranges, as rows without their machine; and numbers whose largest of all
    machines the lines take that set the value."""

    covered: bool
    reason: str = ""
    cost: int = 0
    figures: Figures = Figures()
    devices: tuple[tuple[int, int, str, str, int, int, str], ...] = ()
    most: tuple[int, ...] = ()


def machine_row(
    id: str,
    machine: Machine,
    profile: Profile | None,
    setting: str,
    value: int | None,
    need: Need,
    judged: Judged,
) -> MachineRow:
    """The row of a machine under a kernel, None: under any."""
    windows = [window for window in machine.devices if window.status == "assigned"]
    return MachineRow(
        id=id,
        file=machine.file,
        machine=machine.name,
        arch=machine.arch,
        kernel=profile.name if profile else "",
        strategy=profile.strategy if profile else "",
        ram=machine.ram_bytes,
        clipped=judged.figures.clipped,
        page=profile.page if profile else 0,
        setting=setting,
        value=value,
        least=need.least,
        most=need.most,
        status=COVERED if judged.covered else LEFT_OVER,
        reason=judged.reason,
        cost=judged.cost if judged.covered else None,
        heap=judged.figures.heap,
        idle=judged.figures.idle,
        scale=judged.figures.scale,
        promised=judged.figures.promised,
        available=judged.figures.available,
        tlb=judged.figures.tlb,
        devices=len(windows),
        device_bytes=_union(windows),
        largest=max((window.size for window in windows), default=0),
        unplaced=sum(window.status == "unassigned" for window in machine.devices),
        advice_setting="" if need.least is None else setting,
        advice_value=need.least,
        advice_proved=need.least is not None,
    )


def _union(windows: list[Window]) -> int:
    """Bytes that windows have together; they may overlap."""
    total = end = 0
    for window in sorted(windows, key=lambda window: window.base):
        total += max(0, window.end - max(window.base, end))
        end = max(end, window.end)
    return total
