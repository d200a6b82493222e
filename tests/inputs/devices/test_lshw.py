"""lshw: whole, of one class, as a table, as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.devices import lshw
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.facts import Facts
from kernmalloc.machine.memory_map import resolve

WHOLE = """\
somebody's-pc
    description: Desktop Computer
    product: MS-7B89 (To be filled by O.E.M.)
    width: 64 bits
  *-core
       description: Motherboard
     *-firmware
          description: BIOS
          size: 64KiB
     *-memory
          description: System Memory
          physical id: 26
          size: 8GiB
        *-bank:0
             description: DIMM DDR4 Synchronous 2400 MHz (0.4 ns)
             size: 8GiB
     *-cpu
          product: AMD Ryzen 5 2600 Six-Core Processor
          size: 3400MHz
          capabilities: lm fpu x86-64 cpufreq
     *-pci:0
          description: PCI bridge
          bus info: pci@0000:00:01.3
          resources: irq:26 ioport:e000(size=4096) memory:fe000000-fe8fffff memory:e0000000-f01fffff
        *-display UNCLAIMED
             description: VGA compatible controller
             bus info: pci@0000:07:00.0
             resources: irq:74 memory:e0000000-efffffff(prefetchable) memory:fe800000-fe83ffff ioport:e000(size=256)
        *-network DISABLED
             description: Ethernet interface
             bus info: pci@0000:08:00.0
             resources: iomemory:600-5ff irq:33 memory:6000000000-600000ffff
     *-ide
          description: IDE interface
          bus info: pci@00:12.0
          resources: ioport:fe00-fe07 iomemory:fe02f000-fe02f1ff irq:22
"""


def facts(text: str) -> Facts:
    (found,) = read_bytes(text.encode(), "lshw.txt")
    return found


def test_a_whole_tree():
    found = facts(WHOLE)
    assert (found.origin, found.arch, found.total) == ("lshw", "x86_64", 8 << 30)
    assert [(d.name, d.base, d.size, d.prefetch, d.line) for d in found.devices] == [
        ("0000:07:00.0", 0xE0000000, 256 << 20, True, 28),
        ("0000:07:00.0", 0xFE800000, 256 << 10, False, 28),
        ("0000:08:00.0", 0x6000000000, 64 << 10, False, 32),
        ("0000:00:12.0", 0xFE02F000, 512, False, 36),
    ]
    assert found.ignored == {"window of a bridge": 2} and not found.problems
    machine = resolve(found)
    assert machine.ram_bytes == (8 << 30) - (384 << 10) and "assumed" in machine.missing[0].reason
    assert {d.name: d.role for d in machine.devices} == {
        "0000:00:12.0": "boot",
        "0000:07:00.0": "console",
        "0000:08:00.0": "",
    }


def test_one_class_has_devices_for_another_machine():
    display = WHOLE[WHOLE.index("        *-display") : WHOLE.index("        *-network")]
    assert len(facts(display).devices) == 2
    with pytest.raises(UnreadableError, match="RAM unknown: a list of PCI devices holds none"):
        resolve(facts(display))


@pytest.mark.parametrize(
    "text",
    [
        "H/W path         Device     Class          Description\n=====\n/0/0   memory   16GiB System memory\n",
        "Bus info          Device     Class      Description\n===========\npci@0000:01:00.0   display   GA104\n",
        "  *-display\n       description: VGA compatible controller\n       bus info: pci@0000:01:00.0\n",
        '[ { "id" : "display", "class" : "display", "businfo" : "pci@0000:01:00.0" } ]',
    ],
)
def test_without_addresses_it_is_refused(text):
    with pytest.raises(UnreadableError, match=r"lshw: it lists devices and no address .give the output of sudo lshw"):
        facts(text)


def test_json_tells_how_much_ram_there_is():
    memory = {"id": "memory:0", "class": "memory", "description": "System Memory", "units": "bytes", "size": 16 << 30}
    bank = {"id": "bank", "class": "memory", "description": "DIMM", "size": 16 << 30}
    core = {"id": "core", "class": "bus", "children": [{**memory, "children": [bank]}]}
    for whole in ({"id": "pc", "class": "system", "children": [core]}, [core]):
        found = facts(json.dumps(whole, indent=2))
        assert found.total == 16 << 30 and not found.devices
        assert "lshw -json tells no resources: no devices" in found.missing[0].reason
    with pytest.raises(UnreadableError, match="not JSON"):
        facts(json.dumps(core)[:-2])


def test_deep_json_is_refused_in_one_line():
    with pytest.raises(UnreadableError) as caught:
        facts('{"id": "a", "class": "b", "children": ' + "[" * 100_000)
    assert "\n" not in str(caught.value)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 255),
            st.integers(0, 31),
            st.integers(0, 7),
            st.lists(st.tuples(st.integers(1, 1 << 40), st.integers(0, 20), st.booleans()), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_rendered_tree_reads_back_equal(listed):
    lines, expected = [], []
    for bus, slot, function, windows in listed:
        name = f"0000:{bus:02x}:{slot:02x}.{function}"
        resources = ["irq:16"]
        for base, power, prefetch in windows:
            base, size = base << 12, 4096 << power
            resources.append(f"memory:{base:x}-{base + size - 1:x}{'(prefetchable)' * prefetch}")
            expected.append((name, base, size, prefetch))
        lines += ["  *-generic", f"       bus info: pci@{name}", f"       resources: {' '.join(resources)}"]
    assert [(d.name, d.base, d.size, d.prefetch) for d in facts("\n".join(lines)).devices] == expected


def test_recognition_is_narrow():
    assert not lshw.recognises("  *- a list\n * item\n-*-\n")
