"""Boot messages of FreeBSD, NetBSD, OpenBSD and illumos."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "dmesg.boot")[-1])


SMAP = """\
SMAP type=01 base=0000000000000000 len=000000000009d800
SMAP type=02 base=000000000009d800 len=0000000000002800
SMAP type=01 base=0000000000100000 len=00000000bf5b0000
SMAP type=03 base=00000000bf6b0000 len=000000000001c000
SMAP type=04 base=00000000bf6cc000 len=0000000000034000
SMAP type=01 base=0000000100000000 len=0000000040000000
Copyright (c) 1992-2017 The FreeBSD Project.
FreeBSD 11.0-RELEASE #30 a7f7424: Tue Feb 21 23:42:39 UTC 2017
    root@x:/usr/obj/usr/src/sys/GENERIC amd64
real memory  = 4294967296 (4096 MB)
Physical memory chunk(s):
0x0000000000010000 - 0x000000000009bfff, 573440 bytes (140 pages)
0x0000000002200000 - 0x00000000bf6affff, 3172663296 bytes (774576 pages)
avail memory = 4100000000 (3910 MB)
vgapci0: <VGA-compatible display> port 0xf000-0xf03f mem 0xf6000000-0xf63fffff,0xe0000000-0xefffffff irq 16 at device 2
em0: <Intel PRO/1000> mem 0xf7d00000-0xf7d1ffff irq 19 at device 0.0 on pci1
"""


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("=00000000", "=00000000_").replace("=00000001", "=00000001_"),
        lambda text: text.replace("=00000000", "=00000000 ").replace("=00000001", "=00000001 "),
        lambda text: "".join("Jan  1 00:00:00 host kernel: " + line for line in text.splitlines(True)),
    ],
    ids=["kernel", "loader", "i386", "syslog"],
)
def test_freebsd_on_a_pc(change):
    found = machine(change(SMAP))
    assert [(r.base, r.end) for r in found.ram] == [
        (0, 0x9D800),
        (0x100000, 0xBF6B0000),
        (0x100000000, 0x140000000),
    ]
    assert [r.kind for r in found.firmware] == ["reserved", "nvram", "nvram"]
    assert (found.arch, found.origin) == ("x86_64", "boot messages, SMAP")
    assert [(d.base, d.size, d.role) for d in found.devices] == [
        (0xE0000000, 0x10000000, "console"),
        (0xF6000000, 0x400000, "console"),
        (0xF7D00000, 0x20000, ""),
    ]
    assert not (found.problems or found.missing or found.unread)


def test_only_what_the_kernel_left_over():
    found = machine("".join(line for line in SMAP.splitlines(True) if not line.startswith("SMAP")))
    assert [(r.base, r.end) for r in found.ram] == [(0x10000, 0x9C000), (0x2200000, 0xBF6B0000)]
    assert found.origin == "boot messages, left over"


ARM = """\
                   Type     Physical      Virtual   #Pages Attr
     ConventionalMemory 000080000000 000080000000 00007efa WB
    RuntimeServicesData 000087efa000 000087efa000 00000006 WB RUNTIME
Physical memory chunk(s):
  0x80000000 - 0x87efffff,   126 MB (  32512 pages)
Excluded memory regions:
  0x87efa000 - 0x87efffff,     0 MB (      6 pages) NoAlloc
  0x90000000 - 0x9fffffff,   256 MB (  65536 pages) NoDump
FreeBSD 14.0-RELEASE releng/14.0 GENERIC arm64
real memory  = 133169152 (127 MB)
"""


def test_freebsd_on_arm_counts_its_chunks():
    found = machine(ARM)
    assert [(r.base, r.end) for r in found.ram] == [(0x80000000, 0x87F00000)]
    assert [(r.base, r.end) for r in found.carved] == [(0x87EFA000, 0x87F00000)]
    assert (found.arch, found.origin) == ("arm64", "boot messages, physical")


def test_missing_chunks_are_told_or_made_up_by_what_is_excluded():
    whole = machine(ARM.replace("133169152", str(133169152 + (256 << 20))))
    assert [(r.base, r.end) for r in whole.ram] == [(0x80000000, 0x87F00000), (0x90000000, 0xA0000000)]
    efi = machine(ARM.replace("133169152", str(0x7EFA << 12)))
    assert [(r.base, r.end) for r in efi.ram] == [(0x80000000, 0x87EFA000)] and efi.origin == "boot messages, EFI"


@pytest.mark.parametrize(
    "text, total, arch",
    [
        (
            "NetBSD 9.3 (GENERIC) #0: Thu Aug  4 15:30:37 UTC 2022\n"
            "\tmkrepro@mkrepro.NetBSD.org:/usr/src/sys/arch/i386/compile/GENERIC\n"
            "total memory = 2047 MB\navail memory = 1993 MB\n",
            2047 << 20,
            "i386",
        ),
        (
            "[     1.000000] NetBSD 4.0 (GENERIC)\n[     1.000000] total memory = 130944 KB\n"
            "[     1.000000] avail memory = 119 MB\n",
            130944 << 10,
            "?",
        ),
        (
            "OpenBSD 6.9 (GENERIC) #2: Sat May 22 12:49:54 MDT 2021\n"
            "    root@syspatch-69-amd64.openbsd.org:/usr/src/sys/arch/amd64/compile/GENERIC\n"
            "real mem = 1056813056 (1007MB)\navail mem = 1009553408 (962MB)\n",
            1056813056,
            "x86_64",
        ),
        ("real mem  = 83472384 (81516K)\navail mem = 71708672 (70028K)\n", 83472384, "?"),
        (
            "SunOS Release 5.11 Version omnios-r151038 64-bit\nmem = 2096192K (0x7ff10000)\n"
            "avail mem = 2013265920\nroot nexus = i86pc\n",
            0x7FF10000,
            "x86_64",
        ),
        ("System Configuration:  Joyent  i86pc\nMemory size: 16384 Megabytes\n", 16 << 30, "x86_64"),
        ("real memory  = 17179869184 (16384 MB)\navail memory = 16637947904 (15867 MB)\n", 16 << 30, "?"),
    ],
)
def test_amounts(text, total, arch):
    facts = read_bytes(text.encode(), "dmesg")[-1]
    assert (facts.total, facts.arch) == (total, arch)
    assert resolve(facts).ram[0].name == "assumed"


def test_an_amount_on_a_board_has_no_place():
    text = (
        "OpenBSD 7.4 (GENERIC) #1\n    x@y:/usr/src/sys/arch/arm64/compile/GENERIC\nreal mem  = 4113563648 (3923MB)\n"
    )
    with pytest.raises(UnreadableError, match="not where"):
        machine(text)


def test_maps_of_netbsd_and_openbsd():
    net = (
        "BIOS MEMORY MAP (2 ENTRIES):\n\taddr 0x0  size 0x9fc00  type 0x1\n\taddr 0x100000  size 0x7fe00000  type 0x1\n"
    )
    assert [(r.base, r.end) for r in machine(net).ram] == [(0, 0x9FC00), (0x100000, 0x7FF00000)]
    loader = (
        "Region 0: type 1 at 0x0 for 639KB\nRegion 1: type 2 at 0x9fc00 for 1KB\n"
        "Region 2: type 1 at 0x100000 for 2096064KB\n"
    )
    assert [(r.base, r.end) for r in machine(loader).ram] == [(0, 0x9FC00), (0x100000, 0x7FFF0000)]


def test_each_boot_in_a_buffer_is_one():
    assert len(read_bytes((SMAP + SMAP.replace("len=0000000040000000", "len=0000000080000000")).encode(), "d")) == 2
    assert machine(SMAP + SMAP.replace("len=0000000040000000", "len=0000000080000000")).ram[-1].end == 0x180000000
