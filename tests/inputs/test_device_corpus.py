"""PCI dumps, device trees and the fleet against a collection of real ones, which an independent script has counted.

The collection lies beside the repository (`../shared/data`) or where KERNMALLOC_DATA says.  In `INDEX.csv` device bytes
are the union of the 4 KiB pages of all registers 0 to 5 that have a place, or of every `reg` of a device tree, also of
devices that are not in use, and of the memory windows of its host bridges.
"""

import csv
import gzip
import json
import time
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
from collection import DATA

from kernmalloc import inputs
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Facts
from kernmalloc.machine.memory_map import Machine, UnreadableError

FLEET = DATA / "fleet" / "machines.jsonl.gz"
if not FLEET.is_file():
    pytest.skip(f"no collection of machines at {DATA}; set KERNMALLOC_DATA", allow_module_level=True)

with open(DATA / "INDEX.csv", newline="") as index:
    ROWS = {
        row["file"].removeprefix("machines/"): row
        for row in csv.DictReader(index)
        if row["file"].startswith(("machines/lspci/", "machines/dts/")) and row["kind"] != "coldfire"
    }

TWICE = "the file lists the same registers twice; INDEX counts both"
BELOW_1_MIB = "INDEX counts a register of range 20, which is none"
UNUSED_HOST = "INDEX counts the windows of host bridges that are disabled"
UNSET_BUS = (
    "the bus above the host bridge has windows that the boot loader sets up, so that its windows have no address "
    "yet; INDEX counts them where they would be without translation"
)

# file: (ours), (INDEX), why; each as device bytes, device registers
DIFFERENCES = {
    "lspci/linux-pci-Re_PATCH_1_1_of_pci_Add_IORESOURCE_MEM_6-c41b42.txt": ((20480, 2), (20480, 4), TWICE),
    "lspci/bsdhw-Hewlett_Packard_ProLiant_DL380_Gen9-37e855c9.txt": ((64712704, 53), (64716800, 55), BELOW_1_MIB),
    "lspci/bsdhw-Dell_PowerEdge_R630-24116af6.txt": ((228409344, 55), (228413440, 57), BELOW_1_MIB),
    "dts/linux612-arm-marvell-armada-xp-openblocks-ax3-4.dtb": ((136622080, 66), (77446033408, 66), UNSET_BUS),
    "dts/linux612-arm64-apm-apm-mustang.dtb": ((70895321088, 117), (234104078336, 117), UNUSED_HOST),
    "dts/linux612-powerpc-a3m071.dtb": ((34177024, 37), (571047936, 37), UNUSED_HOST),
}
LOST_HEADING = {
    "lspci/linux-usb-Problem_xhci_devices_can_not_be_enumerated-111463.txt",
    "lspci/linux-wireless-iwlwifi_wifi_fails_on_resume_from_suspend-4b89df.txt",
    "lspci/linux-wireless-Kernel_oops_in_iwlwifi_6_6_3_with_AX210_whil-950e4c.txt",
}
"""Files in which the line that names a device is missing, so that its registers stand under the device before."""


@cache
def facts(file: str) -> Facts:
    return inputs.read(DATA / "machines" / file)[-1]


def union(windows) -> int:
    """Bytes in the union of the 4 KiB pages of the given windows."""
    total = reach = 0
    for first, last in sorted((w.base >> 12, -(-w.end >> 12)) for w in windows):
        total += max(0, last - max(first, reach))
        reach = max(reach, last)
    return total << 12


@pytest.mark.parametrize("file", ROWS)
def test_agrees_with_the_index(file):
    row, found = ROWS[file], facts(file)
    assert (found.total or sum(r.size for r in found.memory)) == int(row["ram_bytes"])
    index = int(row["device_bytes"]), int(row["n_device_bars"])
    ours, theirs, why = DIFFERENCES.get(file, (index, index, ""))
    assert theirs == index
    registers = [d for d in found.devices if d.status != "unassigned" and d.kind != "rom"]
    assert (union((*registers, *found.windows)), len(registers)) == ours
    assert (ours != theirs) == bool(why)


def test_every_line_with_an_address_is_used_or_classified():
    assert [file for file in ROWS if facts(file).unread or facts(file).ignored["unclassified"]] == []
    problems = {file: [p.reason for p in facts(file).problems] for file in ROWS if facts(file).problems}
    assert problems == {file: ["another address for the same register: both kept"] for file in LOST_HEADING}


def test_ram_is_told_or_asked_for():
    for file, row in ROWS.items():
        path, found = DATA / "machines" / file, facts(file)
        if found.total or found.memory:
            lost = 384 << 10 if found.total else 0
            assert Machine.read(path).ram_bytes == int(row["ram_bytes"]) - lost
        else:
            with pytest.raises(UnreadableError, match="give --ram SIZE") as error:
                Machine.read(path)
            ram = "1GiB@0x40000000" if "SIZE@ADDRESS" in error.value.advice else "1GiB"
            assert (1 << 30) - (384 << 10) <= Machine.read(path, ram).ram_bytes <= 1 << 30


@pytest.mark.parametrize("page_shift", [12, 13, 16, 21])
def test_device_ranges_are_the_union_of_the_windows(page_shift):
    for file in ROWS:
        machine = Machine.read_devices(DATA / "machines" / file)
        ranges, windows = machine.device_ranges(page_shift), [d for d in machine.devices if d.status == "assigned"]
        assert all(low.end <= high.pfn for low, high in pairwise(ranges))
        assert {name for r in ranges for name in r.names} == {d.name for d in windows}
        if page_shift == 12:
            assert sum(r.frames for r in ranges) << 12 == union(windows)
        for d in windows:
            assert (
                sum(
                    r.pfn <= d.base >> page_shift and d.end - 1 >> page_shift < r.end and d.name in r.names
                    for r in ranges
                )
                == 1
            )


def test_devices_inside_the_ram_of_a_board():
    """Interrupt controllers of the MMP3 give offsets into their parent as addresses."""
    inside = {
        file: sum(d.status == "inside RAM" for d in Machine.read(DATA / "machines" / file).devices)
        for file in ROWS
        if facts(file).memory
    }
    assert {file: count for file, count in inside.items() if count} == {
        "dts/linux612-arm-marvell-mmp3-dell-ariel.dtb": 26
    }


def test_totals():
    kinds = Counter()
    for file, row in ROWS.items():
        try:
            Machine.read(DATA / "machines" / file)
            kinds[row["kind"], "Machine"] += 1
        except UnreadableError as error:
            kinds[row["kind"], error.advice.split(",")[0]] += 1
    assert kinds == {
        ("dts", "Machine"): 39,
        ("dts", "give --ram SIZE"): 5,
        ("dts", "give --ram SIZE@ADDRESS"): 17,
        ("lspci", "give --ram SIZE"): 47,
        ("lspci-partial", "give --ram SIZE"): 26,
        ("pciconf", "Machine"): 197,
        ("pciconf", "give --ram SIZE"): 16,
        ("sysfs", "Machine"): 3,
    }


def test_the_fleet():
    start = time.perf_counter()
    machines = list(Machine.read_all(FLEET))
    assert time.perf_counter() - start < 10  # about 0.6 s alone
    with gzip.open(FLEET, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    kinds = Counter()
    for machine, row in zip(machines, rows, strict=True):
        if isinstance(machine, InputError):
            assert not row["ram"] and "give --ram SIZE" in machine.advice
            kinds["RAM unknown"] += 1
            continue
        placed = [d for d in machine.devices if d.status != "unassigned"]
        odd = sum(bar[4] == 20 for bar in row["bars"])
        assert machine.ram_bytes == row["ram"] - (384 << 10)
        assert len(placed) == row["nmem"] - odd
        assert union(placed) == row["dev"] - (4096 if odd else 0)
        published = sum(r.frames for r in machine.device_ranges(12)) << 12
        assert published == union(d for d in placed if d.status == "assigned")
        kinds["inside RAM" if published < union(placed) else "whole"] += 1
    assert kinds == {"whole": 3948, "inside RAM": 203, "RAM unknown": 72}
