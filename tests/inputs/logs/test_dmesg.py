"""Boot logs: every form of a memory line, every prefix, wrapping, several boots."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import InputError, read_bytes
from kernmalloc.inputs.logs import dmesg
from kernmalloc.inputs.sizes import Ram
from kernmalloc.machine.memory_map import Machine, UnreadableError, resolve

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def machine(text: str) -> Machine:
    return resolve(dmesg.read(text, "log")[-1])


def ram(text: str) -> list[tuple[int, int]]:
    return [(r.base, r.end) for r in machine(text).ram]


@pytest.mark.parametrize(
    "line, base, end",
    [
        (" BIOS-e820: 0000000000100000 - 00000000efff6500 (usable)", 0x100000, 0xEFFF6500),
        ("BIOS-e820: [mem 0x0000000000100000-0x00000000efff64ff] usable", 0x100000, 0xEFFF6500),
        ("BIOS-e820: [mem 0x0000000000100000-0x00000000efff64ff]  System RAM", 0x100000, 0xEFFF6500),
        ("BIOS-e820:                         [mem 0x0100000000-0x48effffff] usable", 0x100000000, 0x48F000000),
        ("BIOS-e820:               0xbfe4dc00-0xc0000000 (usable)", 0xBFE4DC00, 0xC0000000),
        (" BIOS-88: 0000000000100000 - 0000000001000000 (usable)", 0x100000, 0x1000000),
        (" BIOS-e801: 0000000000100000 - 0000000001440000 (usable)", 0x100000, 0x1440000),
        (" Xen: 0000000000100000 - 0000000001440000 (usable)", 0x100000, 0x1440000),
        ("user: [mem 0x0000000000100000-0x00000000001fffff] usable", 0x100000, 0x200000),
        ("modified: [mem 0x0000000000100000-0x00000000001fffff] usable", 0x100000, 0x200000),
        ("reserve setup_data: [mem 0x0000000000100000-0x00000000001fffff] usable", 0x100000, 0x200000),
        ("efi: mem00: type=7, attr=0xf, range=[0x0000000000100000-0x0000000000200000) (1MB)", 0x100000, 0x200000),
        (
            "efi: mem00: [Conventional|   |  |  |WB|WT|WC|UC] range=[0x0000000000100000-0x00000000001fffff] (1MB)",
            0x100000,
            0x200000,
        ),
        ("efi: mem00: [Boot Data   ] range=[0x0000000000100000-0x00000000001fffff] (1MB)", 0x100000, 0x200000),
        ("efi:   0x000000100000-0x0000001fffff [Loader Data |   |  |WB|  |  |  ]", 0x100000, 0x200000),
        ("  0x000000100000-0x0000001fffff [Loader Data        |   |  |WB|  |  |  ]", 0x100000, 0x200000),
        ("  0x000000100000-0x0000001fffff [Loader Data        |   |  |  |\n|   |WB|WT|WC|UC]", 0x100000, 0x200000),
        ("  node   0: [mem 0x0000000080000000-0x00000000bfffffff]", 0x80000000, 0xC0000000),
        ("    0: 0x00000010 -> 0x0000009f", 0x10000, 0x9F000),
        ("    0:      256 ->   229120", 0x100000, 229120 << 12),
        ("  2: 0x00100000 -> 0x00400000", 4 << 30, 16 << 30),
        ("  node  16: [mem 0x0000001000000000-0x0000001fffffffff]", 0x1000000000, 0x2000000000),
    ],
)
def test_forms_of_a_ram_line(line, base, end):
    assert ram(line) == [(base, end)]


@pytest.mark.parametrize(
    "text, kind",
    [
        ("reserved", "reserved"),
        ("ACPI data", "nvram"),
        ("ACPI NVS", "nvram"),
        ("type 20", "reserved"),
        ("soft reserved", "soft"),
        ("unusable", "reserved"),
        ("device reserved", "reserved"),
        ("type 16", "reserved"),
        ("persistent (type 7)", "nvram"),
        ("persistent (type 12)", "nvram"),
        ("something new", "reserved"),
    ],
)
def test_kinds(text, kind):
    log = f"BIOS-e820: [mem 0x0-0xffff] usable\nBIOS-e820: [mem 0x100000-0x1fffff] {text}"
    (entry,) = machine(log).firmware
    assert (entry.kind, entry.name, entry.base, entry.size) == (kind, text, 0x100000, MIB)


def test_old_types_without_brackets():
    log = (
        " BIOS-e820: 0000000000000000 - 00000000000a0000 (usable)\n"
        " BIOS-e820: 00000000fec00000 - 00000000fec00400 type 6"
    )
    (entry,) = machine(log).firmware
    assert (entry.kind, entry.name, entry.base, entry.size) == ("reserved", "type 6", 0xFEC00000, 0x400)


PREFIXES = [
    "",
    "[    0.000000] ",
    "[  +0.000000] ",
    "[    0.000000][    T1] ",
    "[    0.000000] [T0] ",
    "[17179569.184000]",
    "<6>",
    "<6>[    0.000000] ",
    "> > ",
    ">>>> [    0.000000] ",
    "\x1b[32m[    0.000000] \x1b[0m",
    "Jan  1 15:56:05 localhost kernel: ",
    "touko 05 09:18:59 host kernel: ",
    "Mär 24 06:43:37 host kernel: ",
    "Jan  1 15:56:05 localhost kernel: [    0.000000] ",
    "[    2.078028] kernel: ",
    "2024-05-05T09:18:59+0200 h kernel: ",
    "[Po jan 19 11:18:21 2026] ",
    "kern  :info  : [    0.000000] ",
    "[    0.000000 <    0.000000>] ",
    "2024-12-17 14:39:28,479 DEBUG:\t",
    " 1841 17:54:41.419712  <6>[    0.000000] ",
    "\u00a0",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes(prefix):
    assert ram(f"{prefix}BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable") == [(0x100000, 0x200000)]
    assert ram(f"{prefix} BIOS-e820: 0000000000100000 - 0000000000200000 (usable)") == [(0x100000, 0x200000)]


@pytest.mark.parametrize(
    "text",
    [
        "host kernel: BIOS-e820: [mem\n0x0000000000100000-0x00000000001fffff] usable",
        "[    0.000000] BIOS-e820: [mem 0x0000000000100000-\n0x00000000001fffff] usable",
        "[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff]\nusable",
        "> [    0.000000] BIOS-e820: [mem\n> 0x0000000000100000-0x00000000001fffff]\n> usable",
        "host kernel: BIOS-e820:\n[mem 0x0000000000100000-0x00000000001fffff] usable",
    ],
)
def test_mail_wrapping(text):
    assert ram(text) == [(0x100000, 0x200000)]


def test_a_wrapped_line_does_not_swallow_the_next_record():
    log = (
        "[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff]\n"
        "[    0.000000] BIOS-e820: [mem 0x0000000000200000-0x00000000002fffff] usable"
    )
    assert ram(log) == [(0x200000, 0x300000)]


def test_line_numbers():
    log = "Linux version 6.1\n\nBIOS-e820: [mem\n0x0-0xfff] usable\nBIOS-e820: [mem 0x10000-0x10fff] usable"
    assert [r.line for r in machine(log).ram] == [3, 5]


MAP = "BIOS-provided physical RAM map:\nBIOS-e820: [mem 0x00000000-0x{:08x}] usable\n"
NODES = "Early memory node ranges\n  node   0: [mem 0x00001000-0x{:08x}]\n"


def test_the_last_complete_boot_counts():
    first, second, cut = (MAP.format(end) + NODES.format(end) for end in (0xFFFFF, 0x1FFFFF, 0x2FFFFF))
    assert len(dmesg.read(first + second, "log")) == 2
    assert Machine.read_stream(_stream(first + second)).ram_bytes == 0x200000
    cut = MAP.format(0x2FFFFF)  # the log ends in the middle of the third boot's map
    assert Machine.read_stream(_stream(first + second + cut)).ram_bytes == 0x200000


def test_boots_without_a_firmware_map():
    log = NODES.format(0xFFFFF) + "PCI host bridge to bus 0000:00\n" + NODES.format(0x1FFFFF)
    assert [len(facts.memory) for facts in dmesg.read(log, "log")] == [1, 1]


def test_node_ranges_after_a_firmware_map_are_the_same_boot():
    assert len(dmesg.read(MAP.format(0xFFFFF) + NODES.format(0xFFFFF) + NODES.format(0xFFFFF), "log")) == 1


def test_later_maps_override():
    log = MAP.format(0xFFFFF) + "user-defined physical RAM map:\n user: [mem 0x00000000-0x0000ffff] usable\n"
    assert ram(log) == [(0, 0x10000)]
    assert machine(log).origin == "user"


def test_firmware_map_before_node_ranges():
    assert ram(MAP.format(0xFFFFF) + NODES.format(0xFFFFF)) == [(0, 0x100000)]


def test_a_map_without_ram_gives_way():
    assert ram("BIOS-e820: [mem 0x100000-0x1fffff] soft reserved\n" + NODES.format(0xFFFFF)) == [(0x1000, 0x100000)]


def test_removed_after_the_map_was_printed():
    log = (
        "BIOS-e820: [mem 0x00000000-0x000fffff] usable\n"
        "BIOS-e820: [mem 0xe0000000-0xefffffff] reserved\n"
        "BIOS-e820: [mem 0xfd000000-0xffffffff] reserved\n"
        "efi: Remove mem41: MMIO range=[0xe0000000-0xefffffff] (256MB) from e820 map\n"
        "e820: remove [mem 0xe0000000-0xefffffff] reserved\n"
        "efi: Not removing mem43: MMIO range=[0xfe000000-0xfe010fff] (68KB) from e820 map\n"
        "e820: remove [mem 0xff000000-0xffffffff] device reserved\n"
    )
    assert [(r.base, r.end) for r in machine(log).firmware] == [(0xFD000000, 0xFF000000)]


@pytest.mark.parametrize(
    "line",
    [
        "    0: 0x0003fe0810000000 -> 0x0003fe081ffff000",
        "radeon 0001:09:00.0: remove_conflicting_pci_framebuffers: bar 0: 0xe0000000 -> 0xefffffff",
        "IRQ 0: 2 -> 3",
        "efi: memattr:  0x00003fe10000-0x00003fe1ffff [Runtime Data       |RUN|  |XP|  |  ]",
        "efi: memattr: ! 0x00003fe10000-0x00003fe1ffff [Runtime Data       |RUN|  |XP|  |  ]",
    ],
)
def test_what_is_no_range_of_ram(line):
    assert ram("BIOS-e820: [mem 0x0000000000100000-0x00000000001fffff] usable\n" + line) == [(0x100000, 0x200000)]
    with pytest.raises(UnreadableError):
        machine(line)


def test_page_frames_are_of_4_kib_and_that_is_said():
    found = machine("early_node_map[1] active PFN ranges\n    0: 0x00000010 -> 0x0000009f\n")
    assert "page frames" in found.missing[0].reason


def test_what_an_old_kernel_ignored_of_an_efi_map_is_no_contradiction():
    found = machine(
        "Processing EFI memory map:\n"
        "  0x000000000000-0x000000000fff [Conventional Memory|   |  |  |  |   |WB|WT|WC|UC]\n"
        "Ignoring memory block 0x0 - 0x1000\n"
    )
    assert [(r.base, r.end) for r in found.ram] == [(0, 0x1000)] and not found.problems


def test_what_that_kernel_did_to_its_ram_is_not_the_machine():
    log = (
        "BIOS-e820: [mem 0x00000000-0x000fffff] usable\n"
        "e820: update [mem 0x00000000-0x00000fff] usable ==> reserved\n"
        "e820: remove [mem 0x000a0000-0x000fffff] usable\ne820: reserve RAM buffer [mem 0x00100000-0x00ffffff]\n"
    )
    assert ram(log) == [(0, 0x100000)]
    assert machine(log).ignored == {"change made by that kernel": 3}


def test_amount_without_place():
    log = (
        "Memory: 57840K/65536K available (4762K kernel code)\n"
        "pci_bus 0000:00: root bus resource [mem 0x00100000-0x001fffff]\n"
        "pci 0000:00:01.0: reg 0x10: [mem 0x00000000-0x00000fff]"
    )
    found = machine(log)
    assert [(r.base, r.end) for r in found.ram] == [(0, MIB), (2 * MIB, 65 * MIB)]
    assert found.ram_bytes == 64 * MIB
    assert "assumed" in found.missing[0].reason and not found.problems


@pytest.mark.parametrize(
    ("lines", "total"),
    [
        ("Memory: 244MB 276MB = 520MB total", 520 * MIB),
        ("Memory: 256MB = 256MB total", 256 * MIB),
        ("Memory: 518168k/518168k available, 14312k reserved, 282624K highmem", 520 * MIB),
        ("Memory: 256MB = 256MB total\nMemory: 155784k/155784k available, 106360k reserved, 0K highmem", 256 * MIB),
        ("Memory: 474396K/522240K available (7311K kernel code, 23268K reserved, 0K highmem)", 510 * MIB),
        ("Memory: 61032k/65536k available (2302k kernel code, 4504k reserved, 576k data)", 64 * MIB),
        ("Memory available: 13532k/16384k RAM, (1052k kernel code, 225k data)", 16 * MIB),
        ("physicalMemorySize            = 0xc80000000", 50 * GIB),
        ("phys_mem_size     = 0xc80000000", 50 * GIB),
    ],
)
@pytest.mark.parametrize("arch", ["CPU: ARMv7 Processor", "CPU0 revision is: 00019374 (MIPS 24Kc)"])
def test_a_board_has_no_hole_of_a_pc(arch, lines, total):
    found = machine(f"{arch}\n{lines}")
    assert [(r.base, r.size) for r in found.ram] == [(0, total)] and not found.problems
    assert "assumed" in found.missing[0].reason


@pytest.mark.parametrize(
    ("line", "beyond"),
    [
        ("cma: Reserved 16 MiB at 0x26000000", True),
        ("Reserved memory: created CMA memory pool at 0x000000008a000000, size 96 MiB", True),
        ("cma: CMA: reserved 16 MiB at 06000000", False),
    ],
)
def test_ram_that_reaches_farther_than_assumed_is_told(line, beyond):
    log = f"CPU: ARMv7 Processor\n{line}\nMemory: 107116K/129520K available (2631K kernel code)"
    assert any("--ram" in each.reason and each.line == 2 for each in machine(log).missing) == beyond
    placed = resolve(dmesg.read(log, "log")[-1], Ram(129520 << 10, 0x20000000))
    assert [r.base for r in placed.ram] == [0x20000000]


@pytest.mark.parametrize(
    ("words", "spans"),
    [
        ("mem=244M@68M mem=276M@2284M", [(68 * MIB, 312 * MIB), (2284 * MIB, 2560 * MIB)]),
        ("console=ttyS0 mem=0x4000000@0x20000000", [(0x20000000, 0x24000000)]),
        ("mem=1G@0x40000000 vmalloc=496M", [(GIB, 2 * GIB)]),
        ("mem=65536K@0 root=/dev/ram", [(0, 64 * MIB)]),
    ],
)
def test_ram_on_the_command_line(words, spans):
    assert ram(f"CPU: ARMv7 Processor\nKernel command line: {words}\nMemory: 4MB = 4MB total") == spans


@pytest.mark.parametrize("words", ["mem=2G", "cma=64M@0x10000000", "xmem=1M@1M", "mem=1M@1M,x", "memmap=1G@1G"])
def test_what_the_command_line_does_not_tell(words):
    assert ram(f"Kernel command line: {words}\n{NODES.format(0xFFFFF)}") == [(0x1000, 0x100000)]
    assert not dmesg.read(f"Kernel command line: {words}", "log")[0].memory


@pytest.mark.parametrize(
    "line",
    [
        "Ignoring RAM at 0x98000000-0x9c000000",
        "Ignoring RAM at 98000000-9bffffff (vmalloc region overlap).",
        "Ignoring RAM at 98000000-9bffffff (!CONFIG_HIGHMEM).",
        "Truncating RAM at 0x80000000-0x9c000000 to -0x98000000",
        "Truncating RAM at 80000000-9bffffff to -97ffffff (vmalloc region overlap).",
    ],
)
def test_ram_that_linux_gave_up_is_of_the_machine(line):
    found = machine(f"{line}\nEarly memory node ranges\n  node   0: [mem 0x80000000-0x97ffffff]")
    assert [(r.base, r.end) for r in found.ram] == [(0x80000000, 0x9C000000)]
    assert [(r.base, r.end) for r in found.unused] == [(0x98000000, 0x9C000000)]


def test_memory_of_a_device_tree_that_linux_does_not_reach_is_told():
    found = machine("OF: fdt: Ignoring memory block 0x200000000 - 0x240000000\n" + NODES.format(0xFFFFF))
    assert found.ram_bytes == 0xFF000
    assert [(r.base, r.end, r.kind) for r in found.unused] == [(0x200000000, 0x240000000, "reserved")]
    assert [(r.base, r.name) for r in found.firmware] == [(0x200000000, "ignored by Linux")]


def test_maps_of_boards():
    mips = " memory: 0000000010000000 @ 0000000000000000 (usable)\n memory: 00100000 @ 1fc00000 (ROM data)\n"
    assert [(r.base, r.end, r.kind) for r in (*machine(mips).ram, *machine(mips).firmware)] == [
        (0, 256 * MIB, "ram"),
        (0x1FC00000, 0x1FD00000, "reserved"),
    ]
    assert not machine(mips).unread
    banks = "OF: fdt:memory scan node memory, reg size 32,\nOF: fdt: - 80000000 ,  2c000000\n"
    banks += "OF: fdt: - ac200000 ,  44600000"
    assert ram(banks) == [(0x80000000, 0xAC000000), (0xAC200000, 0xF0800000)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("efi: mem00: type=7, attr=0x4000f, range=[0x100000-0x200000) (1MB)", "soft"),
        ("efi: mem00: type=7, attr=0x800000000000000f, range=[0x100000-0x200000) (1MB)", "ram"),
        ("efi: mem00: [Conventional|   |  |SP|  |WB|WT|WC|UC] range=[0x100000-0x1fffff] (1MB)", "soft"),
        ("efi: mem00: [Boot Data   |   |  |SP|  |WB|WT|WC|UC] range=[0x100000-0x1fffff] (1MB)", "soft"),
        ("efi: mem00: [Reserved    |   |  |SP|  |WB|WT|WC|UC] range=[0x100000-0x1fffff] (1MB)", "reserved"),
        ("efi:   0x000000100000-0x0000001fffff [Conventional|   |  |SP|WB|  |  |  ]", "soft"),
    ],
)
def test_specific_purpose_memory(line, kind):
    (entry,) = dmesg.read(line, "log")[0].memory
    assert (entry.base, entry.end, entry.kind) == (MIB, 2 * MIB, kind)


XEN = """\
(XEN) Xen-e820 RAM map:
(XEN)  0000000000000000 - 000000000009d800 (usable)
(XEN)  000000000009d800 - 00000000000a0000 (reserved)
(XEN)  0000000000100000 - 0000000080000000 (usable)
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] Xen: [mem 0x0000000000000000-0x000000000009cfff] usable
[    0.000000] Xen: [mem 0x0000000000100000-0x000000003fffffff] usable
[    0.000000] RAMDISK: [mem 0x04000000-0x051fcfff]
"""


def test_a_hypervisor_and_a_domain_in_one_log():
    (facts,) = dmesg.read(XEN, "log")
    found, domain = resolve(facts), resolve(facts, which="domain")
    assert (found.map, found.ram_bytes, found.other_ram) == ("machine", 0x7FF9D800, 0x3FF9D000)
    assert (domain.map, domain.ram_bytes, domain.other_ram) == ("domain", 0x3FF9D000, 0x7FF9D800)
    assert not found.carved and [r.name for r in domain.carved] == ["RAMDISK"]  # its address is the domain's


def test_a_domain_whose_map_cannot_be_read_does_no_harm():
    log = (
        "BIOS: 0000000000000000 - 0000000080000000 (usable)\nXen: [mem 0x0-0xfff] usable\n"
        "user: [mem 0x0000zz00-0x0001ffff] usable\n"
    )
    assert ram(log) == [(0, 0x80000000)] and not machine(log).map


def test_a_map_that_is_not_there_cannot_be_had():
    with pytest.raises(InputError, match="has one memory map"):
        resolve(dmesg.read(MAP.format(0xFFFFF), "log")[0], which="domain")


def test_carved_memory():
    log = (
        "BIOS-e820: [mem 0x00000000-0x7fffffff] usable\n"
        "BIOS-e820: [mem 0x80000000-0x800fffff] ACPI data\n"
        "RAMDISK: [mem 0x2f007000-0x337fafff]\n"
        "found SMP MP-table at [mem 0x000f5db0-0x000f5dbf]\n"
        "ACPI: DSDT 0x0000000010000000 000100 (v02 COREv4 COREBOOT 20110725 INTL 20190215)\n"
        "ACPI: Reserving FACS table memory at [mem 0x80000000-0x8000003f]\n"
        "OF: reserved mem: 0x30000000..0x303fffff (4096 KiB) map non-reusable firmware@30000000\n"
        "OF: reserved mem: 0x40000000..0x403fffff (4096 KiB) map reusable linux,cma\n"
    )
    assert [(r.base, r.end, r.kind) for r in machine(log).carved] == [
        (0xF5DB0, 0xF5DC0, "table"),
        (0x10000000, 0x10000100, "table"),
        (0x2F007000, 0x337FB000, "initrd"),  # the ramdisk wins over the firmware's reservation inside it
    ]


def test_ramdisk_of_64_bit_powerpc():
    log = NODES.format(0x3FFFFFFF) + "Found initrd at 0xc000000004f20000:0xc000000006ff2f29"
    assert [(r.base, r.end) for r in machine(log).carved] == [(0x4F20000, 0x6FF2F29)]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("BIOS-e820: [mem 0x0000000000200000-0x00000000002fffff] usa", "unknown type"),
        ("BIOS-e820: [mem 0x0000000000200000-0x00000000001fffff] usable", "empty"),
        ("BIOS-e820: [mem 0x0000000000300000-0x00000000001fffff] usable", "ends before it starts"),
        ("BIOS-e820: [mem 0xfffffffffff00000-0xffffffffffffffff] usable", "above 2^63"),
        ("BIOS-e820: [mem 0x0010000000000000-0x00100000000fffff] usable", "above 2^52"),
        ("BIOS-e820: [mem 0x0000000000000000-0x00000000000fffff] usable", "duplicate"),
        ("BIOS-e820: [mem 0x0000000000080000-0x000000000017ffff] reserved", "overlaps line 1: reserved wins"),
        ("mystery: [mem 0x0000000000080000-0x000000000017ffff]", "not understood"),
    ],
)
def test_problems_have_a_line(line, reason):
    found = machine("BIOS-e820: [mem 0x0000000000000000-0x00000000000fffff] usable\n" + line)
    assert [(p.line, reason in p.reason) for p in (*found.problems, *found.unread)] == [(2, True)]


@pytest.mark.parametrize(
    "line",
    [
        "BIOS-e820: [mem 0x0000000000100000-0x00000000zzzzzzzz] usable",
        "BIOS-e820: [mem [-0x00100000-0x001fffff-]",
        " BIOS-e820: 0000000000100000 - 00000000efff65 (usable",
        "BIOS-e820: [mem 0x0000000000100000-",
        "BIOS-e820: [mem 0x0000000000100000-0x00000000001fff",
    ],
)
def test_a_map_entry_that_cannot_be_read_is_refused(line):
    with pytest.raises(InputError, match="cannot be read") as error:
        machine(MAP.format(0xFFFFF) + line + "\nMemory: 1K/2K available")
    assert (error.value.file, error.value.line) == ("log", 3)


def test_a_broken_map_of_an_earlier_boot_does_no_harm():
    log = MAP.format(0xFFFFF) + "BIOS-e820: [mem 0x00100000-0xzz] usable\n" + NODES.format(0xFFFFF)
    assert Machine.read_stream(_stream(log + MAP.format(0x1FFFFF) + NODES.format(0x1FFFFF))).ram_bytes == 0x200000


@pytest.mark.parametrize(
    "text",
    [
        "Linux version 6.1\n",
        "init_memory_mapping: [mem 0x00100000-0x791fefff]\n [mem 0x00100000-0x001fffff] page 4k\n",
        "pci 0000:00:02.0: reg 0x10: [mem 0x80000000-0x80ffffff]\n",
    ],
)
def test_a_log_without_a_map_is_refused(text):
    with pytest.raises(UnreadableError, match="RAM unknown"):
        Machine.read_stream(_stream(text))


def test_a_log_that_tells_nothing_gives_way_to_the_map_before_it():
    found = resolve(
        read_bytes(
            b"(XEN) HVM4: Space available for UMB: 000cb000-000ee800\n(XEN) HVM4: e820 map has 3 items:\n"
            b"(XEN) HVM4:   0: 0000000000000000 - 000000000009fc00 = 1 RAM\n"
            b"(XEN) HVM4:   1: 000000000009fc00 - 00000000000a0000 = 2 RESERVED\n"
            b"(XEN) HVM4:   2: 0000000000100000 - 000000007f7ff000 = 1 RAM\n"
            b"(XEN) HVM4: Linux version 3.17.0-rc4-vgt+ (gcc version 4.6.3)\n",
            "log",
        )[-1]
    )
    assert [(r.base, r.end) for r in found.ram] == [(0, 0x9FC00), (0x100000, 0x7F7FF000)]


def test_names():
    assert machine("DMI: LENOVO 20Y2/20Y2, BIOS R1 10/20/2020\n" + MAP.format(0xFFFFF)).name == "LENOVO 20Y2/20Y2"
    assert machine("OF: fdt: Machine model: A board\n" + NODES.format(0xFFFFF)).name == "A board"


@pytest.mark.parametrize(
    "text, arch",
    [
        ("BIOS-e820: [mem 0x0-0xfff] usable", "x86_64"),
        ("896MB LOWMEM available.\nBIOS-e820: [mem 0x0-0xfff] usable", "i386"),
        ("Linux version 6.1 (aarch64-linux-gnu-gcc)\n" + NODES.format(0xFFFFF), "arm64"),
        ("SBI specification v0.3 detected\n" + NODES.format(0xFFFFF), "riscv64"),
        ("CPU: ARMv7 Processor\n" + NODES.format(0xFFFFF), "arm"),
        ("uClinux/COLDFIRE(m5253)\n" + NODES.format(0xFFFFF), "m68k"),
        (NODES.format(0xFFFFF), "?"),
    ],
)
def test_architectures(text, arch):
    assert machine(text).arch == arch


def _stream(text: str):
    import io

    return io.BytesIO(text.encode())


KINDS = {"ram": "usable", "reserved": "reserved", "nvram": "ACPI NVS"}


@st.composite
def maps(draw):
    """Disjoint map entries with gaps between, at byte granularity: (base, end, kind)."""
    cuts = sorted(draw(st.sets(st.integers(0, 1 << 44), min_size=4, max_size=24)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)  # an odd one is left out
    entries = [(low, high, draw(st.sampled_from(sorted(KINDS)))) for low, high in pairs]
    return [(0, entries[0][0] or 1, "ram"), *entries[1:]]


FORMS = {
    "new": lambda b, e, k: f"BIOS-e820: [mem 0x{b:016x}-0x{e - 1:016x}] {KINDS[k]}",
    "old": lambda b, e, k: f" BIOS-e820: {b:016x} - {e:016x} ({KINDS[k]})",
    "user": lambda b, e, k: f"user: [mem 0x{b:016x}-0x{e - 1:016x}] {KINDS[k]}",
    "efi": lambda b, e, k: "efi: mem00: [{}|   |WB] range=[0x{:016x}-0x{:016x}] (0MB)".format(
        {"ram": "Conventional", "reserved": "Reserved", "nvram": "ACPI Mem NVS"}[k], b, e - 1
    ),
    "efi old": lambda b, e, k: "efi: mem00: type={}, attr=0xf, range=[0x{:x}-0x{:x}) (0MB)".format(
        {"ram": 7, "reserved": 0, "nvram": 10}[k], b, e
    ),
}


@settings(max_examples=150, deadline=None)
@given(maps(), st.sampled_from(sorted(FORMS)), st.sampled_from(PREFIXES), st.sampled_from(["\n", "\r\n"]))
def test_a_rendered_map_reads_back_equal(entries, form, prefix, newline):
    text = newline.join(prefix + FORMS[form](*entry) for entry in entries)
    (facts,) = read_bytes(text.encode(), "log") if dmesg.recognises(text) else dmesg.read(text, "log")
    assert [(r.base, r.end, r.kind) for r in facts.memory] == entries
