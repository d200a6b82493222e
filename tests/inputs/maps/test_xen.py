"""The Xen hypervisor's own memory maps."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, resolve

NEW = """\
(XEN) Xen version 4.16.1 (x@y) (gcc 9.4.0) debug=n
(XEN) Xen-e820 RAM map:
(XEN)  [0000000000000000, 000000000009fbff] (usable)
(XEN)  [000000000009fc00, 000000000009ffff] (reserved)
(XEN)  [0000000000100000, 00000000cfe81fff] (usable)
(XEN)  [00000000cfe82000, 00000000cfffffff] (ACPI data)
(XEN)  [0000000100000000, 000000012effffff] (usable)
(XEN)  [0000000200000000, 00000002ffffffff] (type 20)
(XEN) ACPI: RSDP 000F3830, 0024 (r2 COREv4)
"""
OLD = """\
(XEN) Xen-e820 RAM map:
(XEN)  0000000000000000 - 000000000009fc00 (usable)
(XEN)  000000000009fc00 - 00000000000a0000 (reserved)
(XEN)  0000000000100000 - 00000000cfe82000 (usable)
(XEN)  00000000cfe82000 - 00000000d0000000 (ACPI data)
(XEN)  0000000100000000 - 000000012f000000 (usable)
(XEN)  0000000200000000 - 0000000300000000 (type 20)
(XEN) System RAM: 4094MB (4192512kB)
"""
RAM = [(0, 0x9FC00), (0x100000, 0xCFE82000), (0x100000000, 0x12F000000)]


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "xen")[-1])


@pytest.mark.parametrize("text", [NEW, OLD])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("(XEN) ", ""),
        lambda text: text.replace("(XEN) ", "(XEN) [2024-02-03 10:11:12] "),
        lambda text: text.replace("(XEN) ", "[ 1.234567] (XEN) [    0.000000] "),
        lambda text: "".join(f"> > {line}" for line in text.splitlines(True)),
        lambda text: text.replace("Xen-e820", "EFI"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\n".join(line for line in text.splitlines() if "map" not in line),
    ],
    ids=["plain", "no prefix", "stamped", "under a stamp", "quoted", "EFI", "carriage returns", "no heading"],
)
def test_both_ends(text, change):
    changed = change(text)
    if "(XEN)" not in changed and "map" not in changed:
        return
    found = machine(changed)
    assert [(r.base, r.end) for r in found.ram] == RAM
    assert [(r.base, r.end, r.kind) for r in found.firmware] == [
        (0x9FC00, 0xA0000, "reserved"),
        (0xCFE82000, 0xD0000000, "nvram"),
        (0x200000000, 0x300000000, "reserved"),
    ]
    assert (found.arch, found.problems, found.unread) == ("x86_64", (), ())


def test_what_a_guest_prints_is_not_the_machine():
    guest = (
        "(XEN) HVM4:  0000000000000000 - 0000000009000000 (usable)\n"
        "(d1)   [0000000000000000, 0000000008ffffff] (usable)\n"
    )
    assert machine(OLD + guest).ram == machine(OLD).ram


def test_each_boot_is_one():
    assert [len(facts.memory) for facts in read_bytes((NEW + OLD).encode(), "xen")] == [6, 6]


def test_on_arm():
    found = machine(
        "(XEN) Checking for initrd in /chosen\n(XEN) RAM: 0000000040000000 - 00000000bfffffff\n"
        "(XEN) RAM: 0000000800000000 - 000000087fffffff\n(XEN) MODULE[0]: 0000000040080000 - 0000000040200000 Xen\n"
        "(XEN)  RESVD[0]: 0000000048000000 - 00000000480fffff\n"
    )
    assert [(r.base, r.end) for r in found.ram] == [(0x40000000, 0xC0000000), (0x800000000, 0x880000000)]
    assert [(r.base, r.end, r.kind) for r in found.carved] == [(0x48000000, 0x48100000, "firmware")]
    assert found.arch == "arm64"
