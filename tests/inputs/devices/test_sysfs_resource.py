"""sysfs resource files."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.devices import sysfs_resource
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.facts import Device

UNUSED = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
LINES = (
    "0x00000000f0000000 0x00000000f03fffff 0x0000000000140204\n"
    + UNUSED
    + "0x0000004000000000 0x000000400fffffff 0x000000000014220c\n"
    + UNUSED
    + "0x000000000000f000 0x000000000000f03f 0x0000000000040101\n"
    + UNUSED
    + "0x00000000f0400000 0x00000000f041ffff 0x0000000000046200\n"
)
GRAPHICS = [
    (0xF0000000, 4 << 20, "bar", 0, 64, False),
    (0x4000000000, 256 << 20, "bar", 2, 64, True),
    (0xF0400000, 128 << 10, "rom", 6, 32, True),
]


def shape(device: Device) -> tuple:
    return device.base, device.size, device.kind, device.bar, device.bits, device.prefetch


@pytest.mark.parametrize(
    "text",
    [
        "device 0000:00:02.0 class=0x030000\n" + LINES,
        "==> /sys/bus/pci/devices/0000:00:02.0/resource <==\n" + LINES,
        "0000:00:02.0\n" + LINES.replace("0x0000000000000000 0x", "  0x0000000000000000 0x"),
        "".join(f"/sys/bus/pci/devices/0000:00:02.0/resource:{line}\n" for line in LINES.splitlines()),
        "".join(f"0000:00:02.0/resource:{line}\n" for line in LINES.splitlines()),
    ],
)
def test_ways_to_print_them(text):
    (facts,) = read_bytes(text.encode(), "resources")
    assert [shape(d) for d in facts.devices] == GRAPHICS
    assert {d.name for d in facts.devices} == {"0000:00:02.0"}
    assert not facts.problems and facts.ignored == {"I/O ports": 1}


def test_the_path_of_a_single_file_names_its_device():
    (facts,) = sysfs_resource.read(LINES, "/sys/bus/pci/devices/0000:00:02.0/resource")
    assert {d.name for d in facts.devices} == {"0000:00:02.0"}


def test_each_device_counts_its_own_lines():
    grep = "".join(
        f"{name}/resource:{line}\n" for name in ("0000:00:02.0", "0000:00:03.0") for line in LINES.splitlines()
    )
    (facts,) = read_bytes(grep.encode(), "resources")
    assert [shape(d) for d in facts.devices] == GRAPHICS * 2


def test_lines_that_nobody_can_tell_apart_are_refused():
    with pytest.raises(InputError, match=r"grep . /sys/bus/pci/devices") as error:
        read_bytes((LINES * 3).encode(), "resources")
    assert error.value.line == 19


def test_windows_of_bridges_and_virtual_functions_are_not_devices():
    window = "0x00000000f0000000 0x00000000f03fffff 0x0000000000000200\n"
    (facts,) = sysfs_resource.read("device 0000:00:1c.0\n" + UNUSED * 7 + window * 6, "resources")
    assert not facts.devices and facts.ignored == {"window of a bridge or of virtual functions": 6}


def test_registers_without_a_place():
    lines = (
        "0x0000000000000000 0x0000000000000fff 0x0000000000040200\n"
        "0x00000000f0000000 0x00000000f0000fff 0x0000000020040200\n"
        "0x00000000f0000000 0x00000000efffffff 0x0000000000040200\n"
    )
    (facts,) = sysfs_resource.read("device 0000:00:1c.0\n" + lines, "resources")
    assert [(d.base, d.size, d.status) for d in facts.devices] == [(0, 4096, "unassigned")] * 2
    assert [(p.line, p.reason) for p in facts.missing] == [(4, "register without a size: ignored")]


def test_a_line_that_nobody_knows_is_unread():
    (facts,) = sysfs_resource.read("device 0000:00:1c.0\n" + UNUSED + "0xf0000000 0xf0000fff\n", "resources")
    assert [(p.line, p.reason) for p in facts.unread] == [(3, "not understood")]


def test_old_kernels_have_another_flag_for_prefetchable():
    line = "0x000003bc00000000 0x000003bdffffffff 0x0000000000101201\n"
    (device,) = sysfs_resource.read("0000:02:00.0\n" + line, "file")[0].devices
    assert shape(device) == (0x3BC00000000, 8 << 30, "bar", 0, 64, True)
