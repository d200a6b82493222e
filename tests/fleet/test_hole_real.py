"""Real machines: what is in a host bridge's or a bridge's window fits into it when it is placed anew.

The windows are read here from the lines of logs; the machines are the product's.
"""

import re
from functools import cache
from pathlib import Path

import pytest
from collection import DATA
from msgspec.structs import replace

from kernmalloc.fleet.buses import HIGH, root_buses
from kernmalloc.fleet.hole import BITS, STEP, Placement, Refusal, need, proof
from kernmalloc.fleet.hole_check import violations
from kernmalloc.fleet.placing import Request, place, up, wants
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import Machine

LOGS = sorted((DATA / "machines" / "dmesg").glob("*.txt"))
ROOT_WINDOW = re.compile(r"(pci_bus) [0-9a-f:]+: root bus resource \[mem\s+0x([0-9a-f]+)-0x([0-9a-f]+)")
BRIDGE_WINDOW = re.compile(r"pci ([0-9a-f:.]+):\s+bridge window \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)")
BUS_ONE_IS_A_ROOT = ("linux-ide-iWave_Systems_RainboW_G21D", "linux-pci-unnamed_unk-ed6b74")
"""The begin of two logs without bridges in which a bus other than 0 is a root bus, with a window below 1 MiB."""

if not LOGS:
    pytest.skip(f"no collection of machines at {DATA}; set KERNMALLOC_DATA", allow_module_level=True)


@cache
def text_of(log: Path) -> str:
    return log.read_text(errors="replace")


def with_bridges() -> list[Path]:
    return [log for log in LOGS if "PCI bridge to" in text_of(log)]


def a_third_of_those_with_bridges() -> list[Path]:
    """Among them the largest machine, with eight accelerators."""
    return with_bridges()[2::3]


def windows(log: Path, pattern: re.Pattern[str]) -> set[tuple[str, int, int]]:
    """Name, base and end of each window above the first MiB that a log tells."""
    found = {(name, int(base, 16), int(last, 16) + 1) for name, base, last in pattern.findall(text_of(log))}
    return {(name, base, end) for name, base, end in found if end > 1 << 20}


@cache
def devices(log: Path) -> Machine | None:
    try:
        return Machine.read_devices(log)
    except InputError:
        return None


def block(machine: Machine, base: int, end: int) -> Request:
    """What really is between two addresses, as one block: all of it high, or all of it low."""
    inside = tuple(
        replace(d, bits=64 if base >= HIGH else 32, prefetch=d.prefetch or base >= HIGH)
        for d in machine.devices
        if base <= d.base and d.end <= end and d.status not in ("unassigned", "beyond")
    )
    low, high = wants(root_buses(replace(machine, devices=inside)).values(), hotplug=0)
    return high if base >= HIGH else low


def fits_the_host_bridges(log: Path) -> tuple[int, int]:
    """Of the windows of a machine's host bridges with something in them, how many hold it placed anew, and how many
    there are."""
    held = count = 0
    if machine := devices(log):
        for _, base, end in windows(log, ROOT_WINDOW):
            found = block(machine, base, end)
            if found.members:
                count += 1
                held += up(base, found.align) + found.size <= end
    return held, count


def test_host_bridges_hold_what_they_held():
    found = [fits_the_host_bridges(log) for log in a_third_of_those_with_bridges()]
    assert all(held == count for held, count in found)
    assert sum(count for _, count in found) > 30


@pytest.mark.nightly
def test_host_bridges_of_all_logs_hold_what_they_held():
    found = {log.name: fits_the_host_bridges(log) for log in LOGS}
    assert sum(count > 0 for _, count in found.values()) > 200
    wrong = [name for name, (held, count) in found.items() if held != count]
    assert len(wrong) == 2 and all(name.startswith(BUS_ONE_IS_A_ROOT) for name in wrong)


@pytest.mark.parametrize(
    ("logs", "most"),
    [(a_third_of_those_with_bridges, 40), pytest.param(with_bridges, 70, marks=pytest.mark.nightly)],
)
def test_no_bridge_is_given_more_than_it_had(logs, most):
    """And many exactly as much: the others leave room for hot plug and for virtual functions."""
    same = 0
    for log in logs():
        machine = devices(log)
        for name, base, end in windows(log, BRIDGE_WINDOW):
            placed = place(block(machine, base, end), 0)
            size = max((p.size for p in placed if p.window and p.name == name), default=0)
            assert size <= end - base
            same += size == end - base
    assert same > most


def prove(machine: Machine) -> bool:
    """And tell whether it needs the bare sum of its windows, or nothing."""
    found = need(machine)
    if found.least is None:
        assert isinstance(proof(machine, STEP), Refusal)
        return True
    placement = proof(machine, found.least)
    assert isinstance(placement, Placement) and not violations(machine, placement, BITS)
    if found.least:
        assert isinstance(proof(machine, found.least - STEP), Refusal)
    _, high = wants(root_buses(machine).values())
    return found.least == up(sum(member.size for _, member in high.members), STEP)


def test_the_need_of_real_machines_is_proved():
    for log in a_third_of_those_with_bridges():
        prove(devices(log))


@pytest.mark.nightly
def test_the_need_of_every_real_machine_is_proved():
    paths = [path for folder in ("dmesg", "lspci", "iomem") for path in (DATA / "machines" / folder).iterdir()]
    logs = (machine for path in paths if (machine := devices(path)))
    fleet = (each for each in Machine.read_all(DATA / "fleet" / "machines.jsonl.gz") if isinstance(each, Machine))
    proved = [prove(machine) for machine in (*logs, *fleet)]
    assert len(proved) > 4600 and proved.count(False) < 10
