"""EFI memory maps as the UEFI shell, GRUB and FreeBSD print them."""

import re

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, resolve


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "efi")[-1])


SHELL = """\
Shell> memmap
Type       Start            End              # Pages          Attributes
BS_Code    0000000000000000-0000000000000FFF 0000000000000001 000000000000000F
Available  0000000000001000-000000000009FFFF 000000000000009F 000000000000000F
ACPI_NVS   0000000000800000-0000000000807FFF 0000000000000008 000000000000000F
LoaderCode 0000000003F56000-0000000006509FFF 00000000000025B4 000000000000000F
RT_Data    0000000009F5C000-0000000009F5CFFF 0000000000000001 800000000000000F
ACPI_Recl  000000000A000000-000000000A000FFF 0000000000000001 000000000000000F
70000001   000000000B000000-000000000B000FFF 0000000000000001 000000000000000F
MMIO       00000000FFC00000-00000000FFFFFFFF 0000000000000400 8000000000000001

  Reserved  :              0 Pages (0 Bytes)
  BS_Code   :              1 Pages (4,096 Bytes)
Total Memory: 39 MB (41,717,760 Bytes)
"""


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        str.lower,
        lambda text: re.sub(r" 0{8}([0-9A-F]{8}) ", r" \1 ", text),
        lambda text: "".join("| " + line for line in text.splitlines(True)),
    ],
    ids=["shell", "older shell", "narrow pages", "quoted"],
)
def test_the_shell(change):
    found = machine(change(SHELL))
    assert [(r.base, r.end) for r in found.ram] == [(0, 0xA0000), (0x3F56000, 0x650A000)]
    assert [(r.base, r.kind) for r in found.firmware] == [
        (0x800000, "nvram"),
        (0x9F5C000, "reserved"),
        (0xA000000, "nvram"),
        (0xB000000, "reserved"),
        (0xFFC00000, "reserved"),
    ]
    assert not (found.problems or found.missing or found.unread)


def test_grub():
    found = machine("""\
grub> lsefimmap
Type      Physical start  - end             #Pages        Size Attributes
conv-mem  0000000000000000-000000000009ffff 000000a0     640KiB UC WC WT WB
BS-data   0000000000100000-00000000001fffff 00000100       1MiB UC WC WT WB
ldr-code  0000000000200000-000000003fffffff 0003fe00    1022MiB UC WC WT WB
RT-code   0000000040000000-0000000040000fff 00000001       4KiB RT UC WC WT WB
IO-ports  0000000050000000-0000000050000fff 00000001       4KiB UC
""")
    assert [(r.base, r.end) for r in found.ram] == [(0, 0xA0000), (0x100000, 0x40000000)]
    assert [r.base for r in found.firmware] == [0x40000000, 0x50000000]


def test_freebsd_table_alone():
    found = machine("""\
                   Type     Physical      Virtual   #Pages Attr
         MemoryMappedIO 000001e88000 000001e88000 00000001 RUNTIME
     ConventionalMemory 000080000000 000080000000 00007efa WB
       BootServicesData 000087efa000            0 0000000c WB
    RuntimeServicesData 0000f6b27000 0000f6b27000 00000001 WB RUNTIME
             LoaderData 0000f6b28000 000000000000 00005208 WB
""")
    assert [(r.base, r.end) for r in found.ram] == [(0x80000000, 0x87F06000), (0xF6B28000, 0xFBD30000)]
    assert [r.base for r in found.firmware] == [0x1E88000, 0xF6B27000]


@pytest.mark.parametrize(
    "line",
    [
        "Available  0000000100000000-00000001FFFFFFFF 0000000000100000 000000000004000F",
        "conv-mem  0000000100000000-00000001ffffffff 00100000       4GiB UC WC WT WB SP",
    ],
)
def test_memory_for_a_specific_purpose_is_no_ram(line):
    found = machine(SHELL + line + "\n")
    assert found.ram == machine(SHELL).ram
    assert [(r.base, r.size) for r in found.firmware if r.kind == "soft"] == [(1 << 32, 1 << 32)]


def test_a_damaged_entry_is_told():
    text = SHELL.replace(
        "Available  0000000000001000-000000000009FFFF", "Availab\x01le  00000000000010#0-000000000009FFFF"
    )
    assert machine(text).unread
    contradicted = machine(SHELL.replace("0000000000000008 000", "0000000000000009 000"))
    assert [p.line for p in contradicted.unread] == [5]
