"""PCI lines of boot logs."""

import pytest

from kernmalloc.inputs.facts import Bridge
from kernmalloc.inputs.logs import dmesg
from kernmalloc.machine.memory_map import resolve

RAM = "BIOS-e820: [mem 0x00000000-0x000fffff] usable\n"
PCI = "pci 0000:04:00.0: "


def devices(*lines: str):
    return {(d.name, d.bar): d for d in resolve(dmesg.read(RAM + "\n".join(lines), "log")[0]).devices}


@pytest.mark.parametrize(
    "line, bar, bits, prefetch",
    [
        ("reg 0x10: [mem 0x40000000-0x4fffffff 64bit pref]", 0, 64, True),
        ("reg 0x1c: [mem 0x40000000-0x4fffffff 64bit]", 3, 64, False),
        ("reg 10: [mem 0x40000000-0x4fffffff]", 0, 32, False),
        ("reg 24: [mem 0x40000000-0x4fffffff]   # BAR 5", 5, 32, False),
        ("reg 10 64bit mmio pref: [0x40000000-0x4fffffff]", 0, 64, True),
        ("reg 10 32bit mmio: [0x40000000-0x4fffffff]", 0, 32, False),
        ("BAR 1 [mem 0x40000000-0x4fffffff 64bit pref]", 1, 64, True),
        ("BAR 1 [mem 0x40000000-0x4fffffff 64bit pref]: assigned", 1, 64, True),
        ("BAR 1: assigned [mem 0x40000000-0x4fffffff 64bit pref]", 1, 64, True),
        ("BAR 1: set to [mem 0x40000000-0x4fffffff 64bit pref] (PCI address [0x0-0x1])", 1, 64, True),
    ],
)
def test_forms_of_a_register(line, bar, bits, prefetch):
    ((key, device),) = devices(PCI + line).items()
    assert key == ("0000:04:00.0", bar)
    assert (device.base, device.size, device.status, device.kind) == (0x40000000, 0x10000000, "assigned", "bar")
    assert (device.bits, device.prefetch) == (bits, prefetch)


@pytest.mark.parametrize(
    "line",
    [
        "reg 0x30: [mem 0x40000000-0x4001ffff pref]",
        "reg 0x38: [mem 0x40000000-0x4001ffff pref]",
        "ROM [mem 0x40000000-0x4001ffff pref]",
        "BAR 6: assigned [mem 0x40000000-0x4001ffff pref]",
    ],
)
def test_roms(line):
    ((key, device),) = devices(PCI + line).items()
    assert (key, device.kind, device.size) == (("0000:04:00.0", 6), "rom", 0x20000)


@pytest.mark.parametrize(
    "line, size",
    [
        ("reg 0x10: [mem 0x00000000-0x0fffffff 64bit pref]", 0x10000000),
        ("BAR 0: no space for [mem size 0x01000000]", 0x1000000),
        ("BAR 0: failed to assign [mem size 0x01000000]", 0x1000000),
        ("BAR 0 [mem size 0x01000000]: can't assign; no space", 0x1000000),
        ("BAR 0 [mem size 0x01000000]: failed to assign", 0x1000000),
        ("BAR 0 [mem size 0x01000000]", 0x1000000),
        ("BAR 0: releasing [mem 0x40000000-0x40ffffff]", 0x1000000),
        ("BAR 0 [mem 0x40000000-0x40ffffff]: releasing", 0x1000000),
    ],
)
def test_registers_without_a_place(line, size):
    found = devices(PCI + "reg 0x10: [mem 0x80000000-0x8fffffff]", PCI + line)
    (device,) = found.values()
    assert (device.base, device.size, device.status) == (0, size, "unassigned")


def test_the_last_statement_wins():
    found = devices(
        PCI + "reg 0x10: [mem 0x00000000-0x00003fff]",
        PCI + "BAR 0: no space for [mem size 0x4000]",
        "nvme 0000:04:00.0: BAR 0: assigned [mem 0x40000000-0x40003fff]",
    )
    assert found["0000:04:00.0", 0].base == 0x40000000


@pytest.mark.parametrize(
    "line",
    [
        "reg 0x184: [mem 0x40000000-0x40003fff 64bit]",
        "VF BAR 0 [mem 0x40000000-0x40003fff 64bit]",
        "VF(n) BAR0 space: [mem 0x40000000-0x4007ffff 64bit] (contains BAR0 for 32 VFs)",
        "BAR 7: assigned [mem 0x40000000-0x4007ffff 64bit]",
        "BAR 14: assigned [mem 0x40000000-0x400fffff]",
        "bridge window [mem 0x40000000-0x400fffff]",
        "  bridge window [mem 0x40000000-0x400fffff 64bit pref]",
        "reg 0x20: [io  0x1c00-0x1c3f]",
        "BAR 4 [io  0x4000-0x403f]",
        "BAR 2: assigned to efifb",
        "BAR 0 [mem size 0x00004000 64bit]: requesting alignment to 0x10000"[:5],
        "can't claim BAR 0 [mem 0xfe010000-0xfe010fff]: no compatible bridge window",
        "reg 0x1c: [mem 0xfbc70000-0xfb3.964376] pci",
    ],
)
def test_lines_that_state_no_register(line):
    assert devices(PCI + line) == {}


def test_wrapped_in_mail():
    found = devices("[    1.629666] " + PCI + "reg 0x10: [mem", "0x9040000000-0x9040003fff 64bit]")
    assert found["0000:04:00.0", 0].base == 0x9040000000


@pytest.mark.parametrize(
    "line, base, end",
    [
        ("pci_bus 0000:00: root bus resource [mem 0x000a0000-0x000bffff window]", 0xA0000, 0xC0000),
        (
            "pci_bus 0000:00: root bus resource [mem 0x3fe000000000-0x3fe07ffeffff] (bus address [0x80000000-0xfffeffff])",  # noqa: E501
            0x3FE000000000,
            0x3FE07FFF0000,
        ),
        ("pci_root PNP0A03:00: host bridge window [mem 0xbff00000-0xdfffffff]", 0xBFF00000, 0xE0000000),
        (
            "pci_bus 0000:00: root bus resource [mem         0xdfa00000-        0xfebfffff window]",
            0xDFA00000,
            0xFEC00000,
        ),
    ],
)
def test_host_bridge_windows(line, base, end):
    (window,) = resolve(dmesg.read(RAM + line, "log")[0]).windows
    assert (window.base, window.end) == (base, end)


@pytest.mark.parametrize(
    "line",
    [
        "acpi PNP0A08:00: host bridge window [mem 0x000a0000-0x000bffff window] (ignored)",
        "pci_bus 0000:01: resource 1 [mem 0xfa000000-0xfdefffff]",
        "pci_bus 0000:00: root bus resource [io  0x0000-0x0cf7]",
    ],
)
def test_other_windows(line):
    assert not resolve(dmesg.read(RAM + line, "log")[0]).windows


def test_sign_extended_addresses_are_flagged():
    """PA-RISC prints device addresses with the sign of 32 bits; end + 1 of the last one overflows 64 bits."""
    machine = resolve(
        dmesg.read(
            RAM
            + "\n".join(
                (
                    PCI + "reg 0x10: [mem 0xffffffff80002000-0xffffffff80002fff]",
                    PCI + "reg 0x18: [mem 0xffffffe000000000-0xffffffffffffffff 64bit pref]",
                    "pci_bus 0000:00: root bus resource [mem 0xffffffff80000000-0xffffffff8fffffff]",
                )
            ),
            "log",
        )[0]
    )
    assert [(d.status, d.size) for d in machine.devices] == [("beyond", 0x2000000000), ("beyond", 0x1000)]
    assert not machine.windows
    assert [p.line for p in machine.problems] == [2, 3, 4]


def test_a_size_that_no_address_can_have_is_flagged():
    machine = resolve(dmesg.read(RAM + PCI + "BAR 0 [mem size 0xfffffffffffff000]: can't assign; no space", "log")[0])
    assert [d.status for d in machine.devices] == ["beyond"] and [p.line for p in machine.problems] == [2]


def bridges(*lines: str):
    return resolve(dmesg.read(RAM + "\n".join(lines), "log")[0]).bridges


@pytest.mark.parametrize(
    "line, last",
    [
        ("PCI bridge to [bus 05]", 5),
        ("PCI bridge to [bus 05-0a]", 10),
        ("PCI bridge to [bus 05-05] (subtractive decode)", 5),
        ("  PCI bridge to [bus 05-ff]", 255),
    ],
)
def test_bridges(line, last):
    assert bridges("pci 0000:00:1c.0: " + line) == (Bridge("0000:00:1c.0", 5, last),)


def test_of_a_bridge_the_last_statement_counts():
    lines = ("pci 0000:00:1c.0: PCI bridge to [bus 05]", "pci 0000:00:1c.0: PCI bridge to [bus 06-07]")
    assert bridges(*lines, "pci 0000:00:01.0: PCI bridge to [bus 02]") == (
        Bridge("0000:00:01.0", 2, 2),
        Bridge("0000:00:1c.0", 6, 7),
    )


def test_the_windows_of_a_bridge_are_no_devices():
    assert not devices("pci 0000:00:1c.0: PCI bridge to [bus 05]", "pci 0000:00:1c.0:   bridge window [mem 0x1-0x2]")
