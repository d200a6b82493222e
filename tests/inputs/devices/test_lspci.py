"""lspci -v and -vv."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.devices import lspci, pci_config
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Bridge, Device
from kernmalloc.machine.memory_map import resolve

CARD = "3d:00.0 Processing accelerators: Advanced Micro Devices, Inc. [AMD/ATI] Aqua Vanjaram (rev 01)\n"


def devices(text: str) -> list[Device]:
    (facts,) = read_bytes((CARD + text).encode(), "lspci")
    assert not facts.ignored["unclassified"]
    return facts.devices


@pytest.mark.parametrize(
    "line, base, size, bar, bits, prefetch",
    [
        (
            "\tRegion 0: Memory at 238000000000 (64-bit, prefetchable) [size=256G]",
            0x238000000000,
            256 << 30,
            0,
            64,
            True,
        ),
        (
            "\tRegion 2: Memory at 8a000000000 (64-bit, prefetchable) [disabled] [virtual] [size=128G]",
            0x8A000000000,
            128 << 30,
            2,
            64,
            True,
        ),
        (
            "\tRegion 2: [virtual] Memory at a8a00000 (64-bit, non-prefetchable) [size=8K]",
            0xA8A00000,
            8192,
            2,
            64,
            False,
        ),
        (
            "\tRegion 5: Memory at a8a00000 (32-bit, non-prefetchable) [enhanced] [size=2M]",
            0xA8A00000,
            2 << 20,
            5,
            32,
            False,
        ),
        ("\tMemory at f7219000 (64-bit, non-prefetchable) [size=16]", 0xF7219000, 16, -1, 64, False),
        ("\tRegion 2: Memory at d0000000 (64-bit, prefetchable) [size=0x10000000]", 0xD0000000, 256 << 20, 2, 64, True),
        ("\tMemory at 000d0000 (low-1M, non-prefetchable) [size=4K]", 0xD0000, 4096, -1, 32, False),
        ("> > Region 0: Memory at f6000000 (32-bit, non-prefetchable) [size=16M]", 0xF6000000, 16 << 20, 0, 32, False),
        ("\tRegion 0: Memory at f6000000 (32-bit, non-prefetchable)\n[size=16M]", 0xF6000000, 16 << 20, 0, 32, False),
        (
            "\tRegion 0: Memory at f6000000 (32-bit, non-prefetchable)\n> [disabled] [size=16M]",
            0xF6000000,
            16 << 20,
            0,
            32,
            False,
        ),
    ],
)
def test_forms_of_a_register(line, base, size, bar, bits, prefetch):
    (device,) = devices(line)
    assert device == Device(base, size, "bar", "0000:3d:00.0", bar, bits, prefetch, "assigned", 2)


@pytest.mark.parametrize(
    "line",
    [
        "\tExpansion ROM at fd000000 [disabled] [size=512K]",
        "\tExpansion ROM at fd000000 [virtual] [disabled] [size=512K]",
        "\t[virtual] Expansion ROM at fd000000 [disabled] [size=512K]",
    ],
)
def test_roms(line):
    (device,) = devices(line)
    assert (device.base, device.size, device.kind, device.bar) == (0xFD000000, 512 << 10, "rom", 6)


@pytest.mark.parametrize(
    "line",
    [
        "\tRegion 0: Memory at <unassigned> (64-bit, prefetchable) [virtual] [size=2M]",
        "\tMemory at <ignored> (64-bit, prefetchable) [size=2M]",
        "\tRegion 0: Memory at 00000000 (32-bit, prefetchable) [disabled] [size=2M]",
    ],
)
def test_registers_without_a_place_have_a_size(line):
    (device,) = devices(line)
    assert (device.base, device.size, device.status) == (0, 2 << 20, "unassigned")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("\tRegion 0: Memory at <unassigned> (64-bit, prefetchable) [disabled]", "register without a size"),
        ("\tExpansion ROM at <ignored> [disabled]", "register without a size"),
        ("\tRegion 4: I/O ports at d080 [size=32]", "I/O ports"),
        ("\tI/O behind bridge: 0000e000-0000efff [size=4K]", "I/O ports"),
        ("\tMemory behind bridge: faf00000-fbffffff [size=17M]", "window of a bridge"),
        ("\tPrefetchable memory behind bridge: 0000234000000000-000023c0003fffff [size=524292M]", "window of a bridge"),
        ("\tMemory window 0: d1000000-d23fffff (prefetchable)", "window of a bridge"),
        ("\t\tAddress: 00000000fee00718  Data: 0000", "what a capability says"),
        (
            "\tVF offset: 16, stride: 1\n\tRegion 0: Memory at 0000234000000000 (64-bit, prefetchable)",
            "register of virtual functions",
        ),
        (
            "\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)\n"
            "\t\tRegion 0: Memory at 0000234000000000 (64-bit, prefetchable) [size=16K]",
            "register of virtual functions",
        ),
    ],
)
def test_what_is_no_window_of_this_device(text, reason):
    (facts,) = lspci.read(CARD + text, "lspci")
    assert not facts.devices and not facts.problems and facts.ignored[reason] == 1


def test_a_line_that_nobody_knows_is_unread():
    (facts,) = lspci.read(CARD + "\tMemory somewhere around f6000000, perhaps", "lspci")
    assert [(p.line, p.reason) for p in facts.unread] == [(2, "not understood")]
    assert facts.ignored["unclassified"] == 1


def test_the_last_list_of_a_device_counts():
    region = "\tRegion {}: Memory at {} (32-bit, non-prefetchable) [size=4K]\n"
    found = devices(region.format(0, "f0000000") + region.format(1, "f1000000") + CARD + region.format(0, "f2000000"))
    assert [(d.bar, d.base) for d in found] == [(0, 0xF2000000)]
    found = devices(region.format(0, "f0000000") + CARD)  # a list without registers, such as plain lspci prints
    assert [(d.bar, d.base) for d in found] == [(0, 0xF0000000)]


def test_a_heading_that_got_lost_is_noticed():
    (facts,) = lspci.read(
        CARD + "\tRegion 0: Memory at f0000000 (32-bit, non-prefetchable) [size=4K]\n"
        "\tRegion 0: Memory at f1000000 (32-bit, non-prefetchable) [size=4K]\n",
        "lspci",
    )
    assert [d.base for d in facts.devices] == [0xF0000000, 0xF1000000]
    assert [(p.line, "both kept" in p.reason) for p in facts.problems] == [(3, True)]


def test_registers_above_the_first_heading_are_of_an_unnamed_device():
    text = "\tRegion 2: Memory at 8a000000000 (64-bit, prefetchable) [size=128G]\n" + CARD
    (facts,) = lspci.read(text, "lspci")
    assert [(d.name, d.base) for d in facts.devices] == [("unnamed device", 0x8A000000000)]
    assert [(p.line, "not named" in p.reason) for p in facts.missing] == [(1, True)]


@pytest.mark.parametrize(
    "heading, name",
    [
        ("0000:00:02.0: DisplayVGA: Intel", "0000:00:02.0"),  # u-root's pci
        ("**00:1f.3 SMBus: Intel**", "0000:00:1f.3"),
        ("00:1f.3 SMBus: Intel", "0000:00:1f.3"),
        ("0001:00:1f.3 SMBus: Intel", "0001:00:1f.3"),
        ("10000:e0:06.0 PCI bridge [0604]: Intel", "10000:e0:06.0"),
        ("> 00:1f.3 SMBus [0c05]: Intel", "0000:00:1f.3"),
    ],
)
def test_addresses(heading, name):
    text = heading + "\n\tMemory at f0000000 (32-bit, non-prefetchable) [size=4K]"
    (facts,) = read_bytes(text.encode(), "lspci")
    assert [d.name for d in facts.devices] == [name]


REGISTERS = st.tuples(
    st.integers(1, (1 << 44) - 1).map(lambda n: n << 12),
    st.integers(0, 9),
    st.sampled_from("KMGT"),
    st.sampled_from([32, 64]),
    st.booleans(),
)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 31), st.integers(0, 7), st.lists(REGISTERS, max_size=6)),
        min_size=1,
        max_size=5,
        unique_by=lambda device: device[:3],
    ),
    st.booleans(),
)
def test_a_rendered_list_reads_back_equal(listed, verbose):
    lines, expected = [], []
    for bus, slot, function, registers in listed:
        lines.append(f"{bus:02x}:{slot:02x}.{function} VGA compatible controller: Somebody\n\tFlags: bus master")
        for bar, (base, power, unit, bits, prefetch) in enumerate(registers):
            kind = "prefetchable" if prefetch else "non-prefetchable"
            lines.append(
                f"\t{f'Region {bar}: ' * verbose}Memory at {base:08x} ({bits}-bit, {kind}) [size={1 << power}{unit}]"
            )
            expected.append(
                (
                    f"0000:{bus:02x}:{slot:02x}.{function}",
                    bar if verbose else -1,
                    base,
                    1 << power + 10 * " KMGT".index(unit),
                    bits,
                    prefetch,
                )
            )
    (facts,) = read_bytes("\n".join(lines).encode(), "lspci")
    found = {(d.name, d.bar, d.base, d.size, d.bits, d.prefetch) for d in facts.devices}
    assert found == {
        entry
        for index, entry in enumerate(expected)
        if not any(entry[:3] == later[:3] for later in expected[index + 1 :])
    }


@pytest.mark.parametrize(
    "text",
    [
        "00:00.0 Host bridge: Intel Corporation 8th Gen Core Processor Host Bridge/DRAM Registers (rev 07)\n",
        "0000:01:00.0 VGA compatible controller [0300]: NVIDIA Corporation TU116M [10de:2191] (rev a1)\n"
        "\tSubsystem: Lenovo Device\n\tKernel driver in use: nvidia\n\tKernel modules: nvidiafb, nouveau\n",
        "00:00.0 0600: 8086:3ec2 (rev 07)\n01:00.0 0300: 10de:2191\n",
        '00:00.0 "Host bridge" "Intel Corporation" "Device" -r07 "" ""\n',
        "Slot:\t00:00.0\nClass:\tHost bridge\nVendor:\tIntel Corporation\n",
        "-[0000:00]-+-00.0  Intel Corporation Host Bridge\n           +-01.0-[01]----00.0  NVIDIA Corporation TU116M\n",
        "-+-[0000:ff]-+-08.0  Intel Corporation Xeon\n \\-[0000:00]-+-00.0  Intel Corporation DMI2\n",
        " \\-[10000:e0]-+-06.0-[e1]----00.0  Sandisk Corp NVMe SSD\n",
        "> -[0000:00-3f]-+-00.0\n",
    ],
)
def test_a_list_without_addresses_is_refused(text):
    with pytest.raises(
        UnreadableError, match=r"^list: lspci without -v: it lists devices and no address .give the output of sudo"
    ):
        read_bytes(text.encode(), "list")


DUMP = """\
01:00.0 VGA compatible controller: NVIDIA Corporation TU116M (rev a1)
00: de 10 91 21 07 04 10 00 a1 00 00 03 10 00 80 00
10: 00 00 00 a3 0c 00 00 90 00 00 00 00 0c 00 00 a0
20: 60 00 00 00 01 40 00 00 00 00 00 00 aa 17 ff 3f
30: 00 00 08 a4 60 00 00 00 00 00 00 00 ff 01 00 00
40: aa 17 ff 3f 00 00 00 00 00 00 00 00 00 00 00 00
"""


def test_a_dump_tells_where_registers_are_and_not_their_sizes():
    (facts,) = read_bytes(DUMP.encode(), "list")
    assert not facts.devices and facts.roles == {"0000:01:00.0": "console"}
    assert [p.text for p in facts.missing] == [
        "0000:01:00.0 BAR 0 at 0xa3000000, at most 16 MiB",
        "0000:01:00.0 BAR 1 at 0x90000000, at most 256 MiB",
        "0000:01:00.0 BAR 3 at 0x60a0000000, at most 512 MiB",
        "0000:01:00.0 BAR 6 at 0xa4080000, at most 512 KiB",
    ]
    assert {p.reason for p in facts.missing} == {"a dump tells no sizes: lspci -vv does"}
    with pytest.raises(UnreadableError, match="RAM unknown"):
        resolve(facts)


def test_where_sizes_are_told_a_dump_adds_nothing():
    text = DUMP + "\tRegion 0: Memory at a3000000 (32-bit, non-prefetchable) [size=16M]\n"
    (facts,) = read_bytes(text.encode(), "list")
    assert [(d.base, d.size) for d in facts.devices] == [(0xA3000000, 16 << 20)] and not facts.missing


def test_a_bridge_has_two_registers():
    config = bytearray(64)
    config[0x0E] = 0x81  # a bridge, with several functions
    config[0x10:0x18] = (0x80000000_0000000C + (1 << 32)).to_bytes(8, "little")
    config[0x18:0x1C] = b"\0\1\1\0"  # its buses, no register
    config[0x38:0x3C] = (0xFE000001).to_bytes(4, "little")
    assert list(pci_config.registers(bytes(config))) == [
        (0, 0x80000001_00000000, 64, True),
        (6, 0xFE000000, 32, False),
    ]


@given(st.binary(min_size=64, max_size=64))
def test_any_configuration_space_can_be_read(config):
    for register in pci_config.registers(config):
        assert register.base % 16 == 0 and 16 <= register.most <= register.base and 0 <= register.bar <= 6


def test_the_buses_behind_a_bridge():
    text = """00:1c.0 PCI bridge: Intel Corporation Device a33c (rev f0)
\tBus: primary=00, secondary=3d, subordinate=3f, sec-latency=0
3d:00.0 VGA compatible controller: Somebody
\tRegion 0: Memory at 8a000000000 (64-bit, prefetchable) [size=128G]
"""
    assert lspci.read(text, "file")[0].bridges == [Bridge("0000:00:1c.0", 0x3D, 0x3F)]


def test_buses_of_a_bridge_that_is_not_named_are_not_taken():
    text = "\tBus: primary=00, secondary=3d, subordinate=3f, sec-latency=0\n\tMemory at f0000000 (32-bit, prefetchable)"
    assert not lspci.read(text, "file")[0].bridges
