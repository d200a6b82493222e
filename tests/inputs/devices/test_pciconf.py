"""FreeBSD's pciconf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.devices import pciconf
from kernmalloc.inputs.facts import Device
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve

HEAD = "vgapci0@pci0:0:31:3:\tclass=0x030000 card=0x72708086 chip=0x22b18086 rev=0x35 hdr=0x00\n"
DUMP = f"""\
# pciconf -lvbc
# machine AMI / Aptio CRB type=Mini Pc os=OPNSENSE-21.1.7 arch=AMD64 bios_year=2019
# ram_bytes=8589934592 (sum of DMI type 17 sizes, 1 DIMMs)
{HEAD}    device     = 'Integrated Graphics at 0xc0000000-0xcfffffff'
    class      = display
    bar   [18] = type Prefetchable Memory, range 64, base 0xc0000000, size 268435456, enabled
    bar   [20] = type I/O Port, range 32, base 0xf000, size 64, enabled
    cap 08[c8] = HT MSI fixed address window enabled at 0xfee00000
"""


def test_a_dump():
    machine = resolve(read_bytes(DUMP.encode(), "dump")[0])
    assert (machine.name, machine.arch, machine.origin) == ("AMI / Aptio CRB", "x86_64", "pciconf")
    assert [(r.base, r.end) for r in machine.ram] == [(0, 0xA0000), (1 << 20, 2 << 30), (4 << 30, 10 << 30)]
    assert machine.devices == (
        Device(0xC0000000, 1 << 28, "bar", "0000:00:1f.3", 2, 64, True, "assigned", 7, "console"),
    )
    assert machine.ignored == {"description of a device": 3, "I/O ports": 1}
    assert [p.line for p in machine.missing] == [0] and not machine.problems


@pytest.mark.parametrize(
    "line, status",
    [
        ("bar   [10] = type Memory, range 32, base 0xf0000000, size 4096, disabled", "assigned"),
        ("bar   [10] = type Memory, range 32, base 0, size 4096, disabled", "unassigned"),
        ("bar   [10] = type Memory, range 64, base 0x0, size 4096, enabled", "unassigned"),
    ],
)
def test_status(line, status):
    (device,) = pciconf.read(HEAD + line, "dump")[0].devices
    assert (device.status, device.bar) == (status, 0)


def test_oddities_below_1_mib_are_ignored():
    line = "    bar   [10] = type Prefetchable Memory, range 20, base 0x10, size 16, disabled"
    (facts,) = pciconf.read(HEAD + line, "dump")
    assert not facts.devices and not facts.problems and facts.ignored == {"register below 1 MiB": 1}


@pytest.mark.parametrize(
    "line",
    [
        "bar   [10] = type Memory, range 32, base 0xf0000000, size 4096",
        "memory at f0000000-f0000fff",
        "bar   [10] = type Memory, range 32, base 0xf000x000, size 4096, enabled 0xf0000000",
    ],
)
def test_a_line_that_nobody_knows_is_unread(line):
    (facts,) = pciconf.read(HEAD + line, "dump")
    assert [(p.line, p.reason) for p in facts.unread] == [(2, "not understood")]


def test_ram_is_not_told(tmp_path):
    file = tmp_path / "dump.txt"
    file.write_text(HEAD + "    bar   [10] = type Memory, range 32, base 0xf0000000, size 4096, enabled\n")
    with pytest.raises(UnreadableError, match=r"a list of PCI devices holds none .give --ram SIZE"):
        Machine.read(file)
    assert Machine.read(file, ram=1 << 30).ram_bytes == (1 << 30) - (384 << 10)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535),
            st.integers(0, 255),
            st.integers(0, 31),
            st.integers(0, 7),
            st.integers(0, 5),
            st.integers(0, (1 << 64) - 1),
            st.integers(1, 1 << 40),
            st.sampled_from([32, 64]),
            st.booleans(),
            st.sampled_from(["enabled", "disabled"]),
        ),
        max_size=8,
    )
)
def test_a_rendered_dump_reads_back_equal(registers):
    lines = ["hostb0@pci0:0:0:0:\tclass=0x060000"]
    for domain, bus, slot, function, bar, base, size, bits, prefetch, status in registers:
        lines += [
            f"em0@pci{domain}:{bus}:{slot}:{function}:\tclass=0x020000",
            f"    bar   [{0x10 + 4 * bar:x}] = type {'Prefetchable ' * prefetch}Memory, range {bits}, "
            f"base {base:#x}, size {size}, {status}",
        ]
    (facts,) = read_bytes("\n".join(lines).encode(), "dump")
    assert [(d.name, d.bar, d.base, d.size, d.bits, d.prefetch) for d in facts.devices] == [
        (f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}", bar, base, size, bits, prefetch)
        for domain, bus, slot, function, bar, base, size, bits, prefetch, status in registers
    ]
