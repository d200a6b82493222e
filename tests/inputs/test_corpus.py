"""The readers against a collection of real machines, whose RAM and device bytes an independent script computed.

The collection lies beside the repository (`../shared/data`) or where KERNMALLOC_DATA says; `INDEX.csv` in it holds one
row per file.  Device bytes there are the union of the 4 KiB pages of all assigned registers 0 to 5.
"""

import csv
import os
import time
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import kernmalloc
from kernmalloc import inputs
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import PA_LIMIT, Machine, UnreadableError

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("KERNMALLOC_DATA") or ROOT.parent / "shared" / "data")

if not (DATA / "INDEX.csv").is_file():
    pytest.skip(f"no collection of machines at {DATA}; set KERNMALLOC_DATA", allow_module_level=True)

with open(DATA / "INDEX.csv", newline="") as index:
    ROWS = {
        row["file"].removeprefix("machines/"): row
        for row in csv.DictReader(index)
        if row["file"].startswith(("machines/dmesg/", "machines/iomem/"))
    }

USER_MAP = "the user-defined map, printed after the firmware's, leaves some RAM out; INDEX counts the firmware's"
BRIDGE_ROM = "INDEX counts bridges' ROMs (reg 0x38) as devices, but no other ROM"
TWO_MACHINES = "the mail quotes lines of several machines"
WORD_DIFF = "a word diff of two maps, [-old-] {+new+}: neither can be read; INDEX sums the entries without marks"
ANOTHER_RUN = "lines after // are the author's comparison with another run; INDEX mixes both"
RELEASED = "the last line about 0030:01:00.0 BAR 0 releases it; INDEX keeps it"
CUT_SHORT = "the log in this file ends before all devices are placed; INDEX repeats the row of its reduced form"

# file: (ours), (INDEX), why; each as RAM bytes, device bytes, device registers
DIFFERENCES = {
    "dmesg/linux-wireless-LENOVO_20HGS0TW00_20HGS0TW00-6f6a56.txt": (
        (25631682560, 285544448, 12),
        (25665236992, 285544448, 12),
        USER_MAP,
    ),
    "dmesg/linux-pci-LENOVO_21LVS1CV00_21LVS1CV00-50ea73.txt": (
        (33799360512, 422662144, 22),
        (33832914944, 422662144, 22),
        USER_MAP,
    ),
    "dmesg/linux-usb-Default_string_Default_string_SKYBAY-aed93c.txt": (
        (8503885824, 285470720, 19),
        (8504934400, 285470720, 19),
        USER_MAP,
    ),
    "dmesg/linux-usb-LENOVO_20S1S19N00_20S1S19N00-4bcd75.txt": (
        (34104242176, 555347968, 21),
        (34137796608, 555347968, 21),
        USER_MAP,
    ),
    "dmesg/linux-usb-LENOVO_20N2S00600_20N2S00600-88ee74.txt": (
        (25507438592, 555085824, 20),
        (25540993024, 555085824, 20),
        USER_MAP,
    ),
    "dmesg/linux-acpi-unnamed_x86_64-0d9236.txt": (
        (15284043776, 16384, 4),
        (15284043776, 20480, 5),
        TWO_MACHINES + "; the last word on 0000:00:1f.5 BAR 0 is 'no space for', INDEX keeps its first address",
    ),
    "dmesg/nvdimm-unnamed_x86_64-375b22.txt": (
        (4294430720, 0, 0),
        (0, 0, 0),
        "the quoted part of the firmware's map holds no RAM, but the node ranges do; INDEX looks at the former alone",
    ),
    "dmesg/linux-efi-unnamed_x86_64-2af468.txt": ((0, 0, 0), (34211917824, 0, 0), WORD_DIFF),
    "dmesg/linux-efi-unnamed_x86_64-41f8bc.txt": ((0, 0, 0), (32448659456, 0, 0), WORD_DIFF),
    "dmesg/linux-efi-unnamed_x86_64-d3bcc8.txt": ((0, 0, 0), (32448659456, 0, 0), WORD_DIFF),
    "dmesg/linux-pci-unnamed_x86_64-976b9e.txt": (
        (3383353344, 0, 0),
        (4169445376, 0, 0),
        TWO_MACHINES + "; a reserved entry of another one lies in RAM and wins; INDEX sums the RAM entries",
    ),
    "dmesg/linux-usb-unnamed_unk-41552a.txt": (
        (0, 8915939328, 20),
        (33511718912, 8915939328, 20),
        "the file has the heading of the node ranges, but no range under it; INDEX saw the log before it was reduced",
    ),
    "dmesg/linux-pci-unnamed_arm64-7b8db0.txt": ((0, 180224, 7), (0, 307200, 8), ANOTHER_RUN),
    "dmesg/linux-pci-unnamed_arm64-ee1cf2.txt": ((0, 184320, 8), (0, 311296, 9), ANOTHER_RUN),
    "dmesg/linux-pci-unnamed_unk-ed6b74.txt": (
        (0, 16384, 4),
        (0, 1073766400, 7),
        "a comparison (lines with - and +) of two kernels; INDEX takes both sides",
    ),
    "dmesg/iommu-HP_ProLiant_DL388p_Gen8-c508b7.txt": (
        (51503200256, 23654400, 54),
        (51503200256, -4200464384, 55),
        "line 248 lost its middle ([mem 0xfbc70000-0xfb3.964376]); INDEX reads the end as 0xfb3 and gets below zero",
    ),
    "dmesg/linux-pci-unnamed_unk-15fff2.txt": ((0, 17179869184, 5), (0, 17179869184, 7), BRIDGE_ROM),
    "dmesg/linux-scsi-EMC_Default_string_110_558_910A_04-1cc63e.txt": (
        (205793957888, 131018752, 84),
        (205793957888, 132067328, 85),
        BRIDGE_ROM,
    ),
    "dmesg/linux-wireless-LS1088A-4e7705.txt": ((2078277632, 85983232, 3), (2078277632, 102768640, 6), BRIDGE_ROM),
    "dmesg/linuxppc-fsl_T4240RDB-474a19.txt": ((6442450944, 671744, 3), (6442450944, 17448960, 4), BRIDGE_ROM),
    "dmesg/full-linux-pci-Freescale_Layerscape_2088A_RDB_Board_DT-7d12ba.txt": (
        (14963179520, 84557824, 5),
        (14963179520, 101339136, 7),
        BRIDGE_ROM,
    ),
    "dmesg/linux-pci-T2P9D01_REV_1_01_POWER9_0x4e1202_opal_skiboot_98-66508b.txt": (
        (68719476736, 302620672, 14),
        (68719476736, 311009280, 15),
        RELEASED,
    ),
    "dmesg/full-linux-pci-T2P9D01_REV_1_01_POWER9_0x4e1202_opal_skiboot_98-66508b.txt": (
        (68719476736, 302620672, 14),
        (68719476736, 311009280, 15),
        RELEASED,
    ),
    "dmesg/full-linux-efi-Apple_MacBook_Air_13_inch_M2_2022_DT-9a0418.txt": (
        (16531980288, 0, 0),
        (16531980288, 21069824, 4),
        CUT_SHORT,
    ),
    "dmesg/full-linux-usb-Apple_Inc_Macmini8_1_Mac_7BA5B2DFE22DDD8C-771a33.txt": (
        (34198437888, 25321472, 32),
        (34198437888, 42213376, 37),
        CUT_SHORT,
    ),
    "iomem/linux-pci-Re_Re_PATCH_v4_PCI_rcar_ep_Fix_the-14d0f2.txt": (
        (4160749568, 1671168, 55),
        (4160749568, 273252352, 59),
        "the names of four device ranges are damaged in this file, so that nothing tells what they are",
    ),
}


@cache
def facts(file: str) -> list[inputs.Facts] | InputError:
    try:
        return inputs.read(DATA / "machines" / file)
    except InputError as error:
        return error


@cache
def machine(file: str) -> Machine | InputError:
    try:
        return Machine.read(DATA / "machines" / file)
    except InputError as error:
        return error


def device_bytes(devices) -> int:
    """Bytes in the union of the 4 KiB pages of the given windows."""
    total = reach = 0
    for first, last in sorted((d.base >> 12, -(-d.end >> 12)) for d in devices):
        total += max(0, last - max(first, reach))
        reach = max(reach, last)
    return total << 12


def found(file: str) -> tuple[int, int, int]:
    read, boots = machine(file), facts(file)
    devices = [] if isinstance(boots, InputError) else boots[-1].devices
    devices = getattr(read, "devices", devices)
    registers = [d for d in devices if d.status != "unassigned" and d.kind != "rom"]
    return getattr(read, "ram_bytes", 0), device_bytes(registers), len(registers)


@pytest.mark.parametrize("file", ROWS)
def test_agrees_with_the_index(file):
    row = ROWS[file]
    index = int(row["ram_bytes"]), int(row["device_bytes"]), int(row["n_device_bars"])
    ours, theirs, why = DIFFERENCES.get(file, (index, index, ""))
    assert theirs == index
    assert found(file) == ours
    assert (ours != theirs) == bool(why)


@pytest.mark.parametrize("file", [file for file in ROWS if not isinstance(machine(file), Machine)])
def test_what_is_refused_tells_no_ram(file):
    error = machine(file)
    assert "\n" not in str(error)
    if DIFFERENCES.get(file, ("",) * 3)[2] == WORD_DIFF:
        assert "map entry that cannot be read" in error.reason and error.line == 5
        return
    assert isinstance(error, UnreadableError)
    if ROWS[file]["kind"] == "iomem-zero":
        assert "read without privilege" in error.reason and error.line
    else:
        assert "RAM unknown" in error.reason
        assert not int(ROWS[file]["ram_bytes"]) or file in DIFFERENCES


DAMAGED = {
    "dmesg/linux-acpi-unnamed_x86_64-0d9236.txt": "line 71 is cut off after the range",
    "dmesg/linux-efi-unnamed_x86_64-41f8bc.txt": WORD_DIFF,
}
"""Files with a map entry that lacks its type."""


@pytest.mark.parametrize("file", ROWS)
def test_every_line_with_an_address_is_used_or_classified(file):
    boots = facts(file)
    if not isinstance(boots, InputError):
        assert sum(len(boot.unread) for boot in boots) == (file in DAMAGED)
        assert not any(boot.ignored["unclassified"] for boot in boots)


NOT_AS_IT_SHOULD_BE = {
    "dmesg/linux-acpi-unnamed_x86_64-0d9236.txt": TWO_MACHINES,
    "dmesg/linux-pci-unnamed_x86_64-976b9e.txt": TWO_MACHINES,
    "dmesg/linux-efi-unnamed_x86_64-415d20.txt": "the mail repeats an entry of the map",
    "dmesg/linux-scsi-9000_800_rp3440-53d993.txt": "PA-RISC prints addresses of devices with the sign of 32 bits",
    "dmesg/linuxppc-unnamed_unk-9595c3.txt": "the log is about a PCIe controller whose window is placed in RAM",
}
"""Logs in which something is wrong with the machine, and why."""


@pytest.mark.parametrize("file", [file for file in ROWS if isinstance(machine(file), Machine)])
def test_nothing_is_wrong_with_healthy_machines(file):
    assert bool(machine(file).problems) == (file in NOT_AS_IT_SHOULD_BE)


@pytest.mark.parametrize("file", [file for file in ROWS if isinstance(machine(file), Machine)])
def test_resolved_maps_are_sound(file):
    read = machine(file)
    ranges = sorted((*read.ram, *read.firmware), key=lambda r: r.base)
    assert all(low.end <= high.base for low, high in pairwise(ranges))
    assert all(r.size > 0 and r.end <= PA_LIMIT for r in ranges)
    assert all(low.end < high.base for low, high in pairwise(read.ram))
    assert all(any(r.base <= c.base and c.end <= r.end for r in read.ram) for c in read.carved)
    assert all(low.end <= high.base for low, high in pairwise(read.carved))
    back = Machine.from_toml(read.to_toml())
    assert [(r.base, r.size) for r in back.ram] == [(r.base, r.size) for r in read.ram]
    assert [(d.base, d.size, d.name, d.status) for d in back.devices] == [
        (d.base, d.size, d.name, d.status) for d in read.devices
    ]


def test_totals():
    kinds = Counter((ROWS[file]["kind"], type(machine(file)).__name__) for file in ROWS)
    assert kinds == {
        ("dmesg", "Machine"): 175,
        ("dmesg", "UnreadableError"): 1,
        ("dmesg-full", "Machine"): 19,
        ("dmesg-e820only", "Machine"): 15,
        ("dmesg-partial", "Machine"): 10,
        ("dmesg-partial", "UnreadableError"): 23,
        ("dmesg-partial", "InputError"): 3,
        ("dmesg-specimen", "Machine"): 2,
        ("dmesg-specimen", "UnreadableError"): 2,
        ("iomem", "Machine"): 11,
        ("iomem-zero", "UnreadableError"): 10,
    }


def test_a_typical_log_is_read_in_less_than_100_ms():
    """Half a second stands for 0.1 s here: other tests share the processors."""
    file = DATA / "machines" / "dmesg" / "linux-usb-Dell_Inc_XPS_9320_0KNXGD-8093ab.txt"
    start = time.perf_counter()
    Machine.read(file)
    assert time.perf_counter() - start < 0.5


def test_the_collection_is_not_shipped():
    assert not list(Path(kernmalloc.__file__).parent.rglob("*.txt"))
