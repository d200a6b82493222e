"""Memory maps as loaders, hypervisors and small kernels print them."""

import re

import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import InputError, read_bytes
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.inputs.limits import raised
from kernmalloc.inputs.maps import range_list
from kernmalloc.machine.memory_map import Machine, resolve


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "map")[-1])


MAPS = {
    "Multiboot's example": (
        " size = 0x14, base_addr = 0x00000000, length = 0x0009fc00, type = 0x1\n"
        " size = 0x14, base_addr = 0x0009fc00, length = 0x00000400, type = 0x2\n"
        " size = 0x14, base_addr = 0x00100000, length = 0x1fee0000, type = 0x1\n",
        [(0, 0x9FC00), (0x100000, 0x1FFE0000)],
    ),
    "SerenityOS/serenity#5028": (
        "[Kernel]: MM: Multiboot mmap: address = 0x0000000000000000, length = 0x000000000009c400, type = 0x1\n"
        "[Kernel]: MM: got an unaligned region length from the bootloader; correcting 640000 by 1024 bytes\n"
        "[Kernel]: MM: Multiboot mmap: address = 0x000000000009c400, length = 0x0000000000003c00, type = 0x2\n"
        "[Kernel]: MM: Multiboot mmap: address = 0x0000000000100000, length = 0x000000001fef0000, type = 0x1\n",
        [(0, 0x9C400), (0x100000, 0x1FFF0000)],
    ),
    "GRUB4DOS's displaymem, padded, chenall/grub4dos#303": (
        "  Usable RAM: Base: 0x       0, Length: 0x   9D800, End: 0x   9D800\n"
        "  Reserved  : Base: 0x   9D800, Length: 0x    2800, End: 0x   A0000\n"
        "  Usable RAM: Base: 0x  100000, Length: 0xB39BE000, End: 0xB3ABE000\n"
        "  Reserved  : Base: 0xB3ABE000, Length: 0x    7000, End: 0xB3AC5000\n"
        "  Usable RAM: Base: 0x100000000, Length: 0x32FE00000, End: 0x42FE00000\n",
        [(0, 0x9D800), (0x100000, 0xB3ABE000), (0x100000000, 0x42FE00000)],
    ),
    "Linux's memblock in debugfs, raspberrypi/linux#24": (
        "# head /sys/kernel/debug/memblock/*\n==> /sys/kernel/debug/memblock/memory <==\n"
        "   0: 0x00000000..0x0fffffff\n\n==> /sys/kernel/debug/memblock/reserved <==\n"
        "   0: 0x00000100..0x000030f6\n   1: 0x00004000..0x00007fff\n   2: 0x0affffc0..0x0fffffff\n",
        [(0, 0x10000000)],
    ),
    "Limine-Bootloader/Limine#517": (
        "Amount of entries: 18\nbase: 0x1000, type: 5, length: 0x51000\nbase: 0x52000, type: 0, length: 0x4d000\n"
        "base: 0x9fc00, type: 1, length: 0x400\nbase: 0x100000, type: 0, length: 0x7fe1b000\n"
        "base: 0x7ff1b000, type: 5, length: 0x3000\nbase: 0x7ff1e000, type: 6, length: 0x8000\n",
        [(0x1000, 0x9F000), (0x100000, 0x7FF26000)],
    ),
    "Limine-Bootloader/Limine#505": (
        "Start: 0x1000, Size: 324KiB, Type: Bootloader Reclaimable\nStart: 0x52000, Size: 308KiB, Type: Usable\n"
        "Start: 0x9FC00, Size: 1KiB, Type: Reserved\nStart: 0xFF32000, Size: 16KiB, Type: Kernel\n"
        "Start: 0xFD000000, Size: 3MiB, Type: Framebuffer\n",
        [(0x1000, 0x9F000), (0xFF32000, 0xFF36000)],
    ),
    "u-root/u-root#1858": (
        "2020/10/17 09:03:46 Memory map:\n[0x0, 0x1000) (len: 0x1000, size: 0x14, type: 2)\n"
        "[0x1000, 0xa0000) (len: 0x9f000, size: 0x14, type: 1)\n"
        "[0xa0000, 0x100000) (len: 0x60000, size: 0x14, type: 2)\n"
        "[0x100000, 0x7ff63000) (len: 0x7fe63000, size: 0x14, type: 1)\n",
        [(0x1000, 0xA0000), (0x100000, 0x7FF63000)],
    ),
    "u-root/u-root#1970 (ESXi's mboot)": (
        "<6>MMap[0]: 0x0 - 0x8dfff len=581632, type=7, attr=0xf\n"
        "MMap[0]: 0x0 - 0x8dfff len=581632, type=7, attr=0xf\n"
        "<6>MMap[1]: 0x8e000 - 0x8ffff len=8192, type=0, attr=0xf\n"
        "<6>MMap[3]: 0x100000 - 0x734fffff len=1933574144, type=7, attr=0xf\n"
        "<6>MMap[4]: 0x73500000 - 0x735fffff len=1048576, type=4, attr=0xf\n"
        "<6>MMap[10]: 0x8adc3000 - 0x8adc6fff len=16384, type=6, attr=0x800000000000000f\n",
        [(0, 0x8E000), (0x100000, 0x73600000)],
    ),
    "phil-opp/blog_os#1350": (
        "TRACE [kernel::mem::physical_stage2] memory region: 0x0 - 0xa0000 (Usable)\n"
        "TRACE [kernel::mem::physical_stage2] memory region: 0x100000 - 0x156000 (Bootloader)\n"
        "TRACE [kernel::mem::physical_stage2] memory region: 0x156000 - 0x800000 (Usable)\n"
        "TRACE [kernel::mem::physical_stage2] memory region: 0x800000 - 0x808000 (UnknownUefi(10))\n"
        "TRACE [kernel::mem::physical_stage2] memory region: 0x808000 - 0x80b000 (Usable)\n",
        [(0, 0xA0000), (0x100000, 0x800000), (0x808000, 0x80B000)],
    ),
    "imtsuki/xv7#3 (the crate uefi)": (
        "INFO: MemoryDescriptor { ty: BOOT_SERVICES_CODE, padding: 0, phys_start: 0, virt_start: 0, page_count: 1, "
        "att: UNCACHEABLE | WRITE_BACK }\n"
        "INFO: MemoryDescriptor { ty: CONVENTIONAL, padding: 0, phys_start: 4096, virt_start: 0, page_count: 159, "
        "att: UNCACHEABLE | WRITE_BACK }\n"
        "INFO: MemoryDescriptor { ty: ACPI_NON_VOLATILE, padding: 0, phys_start: 8388608, virt_start: 0, "
        "page_count: 8, att: UNCACHEABLE | WRITE_BACK }\n",
        [(0, 0xA0000)],
    ),
    "TUD-OS/NRE#46": (
        "oot] Virtual memory for RAM:\noot] \t1000:0000 .. 1fff:ffff (256.0 MiB)\noot] Physical memory:\n"
        "oot] \t0010:0000 .. 003f:ffff (3.0 MiB)\noot] \t0ff0:0000 .. 0fff:ffff (1.0 MiB)\noot] Memory map:\n"
        "oot] \taddr=0000:0000 size=0x000009f000 type=+1 aux=0000:0000\n"
        "oot] \taddr=0009:f800 size=0x0000000800 type=+2 aux=0000:0000\n"
        "oot] \taddr=0010:0000 size=0x000fde0000 type=+1 aux=0000:0000\n",
        [(0, 0x9F000), (0x100000, 0xFEE0000)],
    ),
    "genodelabs/genode#2309 (NOVA)": (
        "core     image  [0000000000100000,0000000000769000)\n"
        "detected physical memory: 0x0000000000000000 - size: 0x000000000009fc00\n"
        "use      physical memory: 0x0000000000000000 - size: 0x000000000009f000\n"
        "detected physical memory: 0x0000000000100000 - size: 0x000000000fee0000\n"
        ":virt_alloc: Allocator 0x1d4530 dump:\n Block: [0x2000,0x3000] size=0x1000 avail=0x0 max_avail=0x0\n",
        [(0, 0x9FC00), (0x100000, 0xFFE0000)],
    ),
    "SeaBIOS": (
        "Returned 16613376 bytes of ZoneHigh\ne820 map has 8 items:\n"
        "  0: 0000000000000000 - 000000000009ec00 = 1 RAM\n  1: 000000000009ec00 - 00000000000a0000 = 2 RESERVED\n"
        "  3: 0000000000100000 - 00000000bffd8000 = 1 RAM\n  5: 00000000fdffd000 - 00000000fe000000 = 4 NVS\n",
        [(0, 0x9EC00), (0x100000, 0xBFFD8000)],
    ),
    "confidential-containers/td-shim#349": (
        "System memory : 0x000000000 - 0x0000820000 (PRESENT INITED TESTED ENCRYPTED)   (0MB - 8.125MB)\n"
        "Reserved      : 0x000820000 - 0x0000840000 (PRESENT INITED TESTED ENCRYPTED)   (8.125MB - 8.25MB)\n"
        "System memory : 0x000840000 - 0x0080000000 (PRESENT INITED TESTED ENCRYPTED)   (8.25MB - 2048MB)\n"
        "MMIO          : 0x080000000 - 0x00fee00000 (PRESENT INITED UNCACHEABLE)        (2048MB - 4078MB)\n",
        [(0, 0x820000), (0x840000, 0x80000000)],
    ),
    "seL4 on RISC-V": (
        "Bootstrapping kernel\navailable phys memory regions: 1\n  [80200000..17ff00000)\n"
        "reserved virt address space regions: 3\n  [ffffffc084000000..ffffffc084021000)\n",
        [(0x80200000, 0x17FF00000)],
    ),
    "seL4 on a PC": (
        "Parsing GRUB physical memory map\n\tPhysical Memory Region from 0 size 9fc00 type 1\n"
        "\tPhysical Memory Region from 9fc00 size 400 type 2\n"
        "\tPhysical Memory Region from 100000 size bfede000 type 1\n",
        [(0, 0x9FC00), (0x100000, 0xBFFDE000)],
    ),
    "a table": (
        "Base Address       | Length             | Type\n0x0000000000000000 | 0x000000000009FC00 | Free Memory (1)\n"
        "0x000000000009FC00 | 0x0000000000000400 | Reserved Memory (2)\n"
        "0x0000000000100000 | 0x0000000007EE0000 | Free Memory (1)\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "the crate bootloader, in several lines": (
        "    MemoryRegion {\n        start: 0,\n        end: 654336,\n        kind: Usable,\n    },\n"
        "    MemoryRegion {\n        start: 654336,\n        end: 655360,\n        kind: UnknownBios(\n            2,\n"
        "        ),\n    },\n"
        "    MemoryRegion {\n        start: 1048576,\n        end: 134086656,\n        kind: Usable,\n    },\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "three columns": (
        "multiboot mmap:\n0 9fc00 1\n9fc00 400 2\nf0000 10000 2\n100000 7ee0000 1\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "mikaku/Fiwix#72": (
        "memory    0x0000000000000000-0x000000000009fbff available\n"
        "          0x000000000009fc00-0x000000000009ffff reserved\n"
        "          0x0000000000100000-0x00000000bffdffff available\n",
        [(0, 0x9FC00), (0x100000, 0xBFFE0000)],
    ),
    "linuxboot/heads#1377 (kexec -d)": (
        "MEMORY RANGES\n0000000000000000-0000000000000fff (1)\n0000000000001000-000000000009ffff (0)\n"
        "00000000000a0000-00000000000fffff (1)\n0000000000100000-000000003ff57fff (0)\n",
        [(0x1000, 0xA0000), (0x100000, 0x3FF58000)],
    ),
    "genodelabs/genode#1547 (L4 bootstrap)": (
        "  RAM: 0000000000000000 - 000000000009e7ff: 634kB\n  RAM: 0000000000100000 - 00000000be10ffff: 3113024kB\n"
        "  Total RAM: 16340MB\n  moving module 00 { 7904a000-790f3caf } -> { 80000000-800a9caf } [695472]\n",
        [(0, 0x9E800), (0x100000, 0xBE110000)],
    ),
    "memtest86plus/memtest86plus#409": (
        " 0000000000000000 000000000009B000 0000000100000001\n 000000000009B000 0000000000005000 0000000100000002\n"
        " 0000000000100000 000000009B71F000 0000000100000001\n 000000009D740000 00000000000D4000 0000000100000004\n",
        [(0, 0x9B000), (0x100000, 0x9B81F000)],
    ),
    "arceos-hypervisor/axvisor#188": (
        "Found physcial memory regions:\n  [PA:0x9000000, PA:0x9001000) mmio (READ | WRITE | DEVICE | RESERVED)\n"
        "  [PA:0x80000000, PA:0x80200000) reserved (READ | WRITE | RESERVED)\n"
        "  [PA:0x80200000, PA:0x80227000) .text (READ | EXECUTE | RESERVED)\n"
        "  [PA:0x80250000, PA:0x88000000) free memory (READ | WRITE | FREE)\n",
        [(0x80200000, 0x80227000), (0x80250000, 0x88000000)],
    ),
    "Limine-Bootloader/Limine#401 (gdb)": (
        "$19 = limine::memory_map::Entry {base: 0x80000000, length: 0x7efb000, "
        "entry_type: limine::memory_map::EntryType (0x0)}\n"
        "$20 = limine::memory_map::Entry {base: 0x87efb000, length: 0xa000, "
        "entry_type: limine::memory_map::EntryType (0x2)}\n",
        [(0x80000000, 0x87EFB000)],
    ),
    "ipxe/wimboot#16": (
        "INT 15,e820 region [0,9fc00) type 1 attr 1 next=1\nINT 15,e820 region [9fc00,a0000) type 2 attr 1 next=2\n"
        "INT 15,e820 region [100000,7fe0000) type 1 attr 1 next=3\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "pages after an address": (
        "EfiConventionalMemory: 0x1000 (159 pages)\n"
        "EfiBootServicesData: 0x100000, 256 pages\n"
        "EfiRuntimeServicesData: 0x200000, 16 pages\n"
        "EfiConventionalMemory: 0x210000, 4096 pages\n",
        [(0x1000, 0xA0000), (0x100000, 0x200000), (0x210000, 0x1210000)],
    ),
    "Haiku: what is allocated lies in what there is": (
        "physical memory ranges:\n"
        "    base 0x00000000, length 0x0009f000\n"
        "    base 0x00100000, length 0x7fe00000\n"
        "allocated physical memory ranges:\n"
        "    base 0x00100000, length 0x00200000\n"
        "allocated virtual memory ranges:\n"
        "    base 0x80000000, length 0x00200000\n",
        [(0, 0x9F000), (0x100000, 0x7FF00000)],
    ),
    "Redox": (
        "BootloaderMemoryEntry { base: 4096, size: 651264, kind: Free }\n"
        "BootloaderMemoryEntry { base: 655360, size: 393216, kind: Reserved }\n"
        "BootloaderMemoryEntry { base: 1048576, size: 133038080, kind: Free }\n"
        "BootloaderMemoryEntry { base: 134086656, size: 65536, kind: Reclaim }\n",
        [(0x1000, 0xA0000), (0x100000, 0x7FF0000)],
    ),
    "a table with ends and rounded sizes": (
        "| Start Address | End Address   | Size     | Type      |\n"
        "|---------------|---------------|----------|-----------|\n"
        "| 0x00000000    | 0x0009FBFF    | 639 KB   | Usable    |\n"
        "| 0x0009FC00    | 0x0009FFFF    | 1 KB     | Reserved  |\n"
        "| 0x00100000    | 0x07FDFFFF    | 127 MB   | Usable    |\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "a table with an index": (
        "ID  Base              Length            Type\n"
        "0   0x0000000000000000 0x000000000009FC00 Usable\n"
        "1   0x000000000009FC00 0x0000000000000400 Reserved\n"
        "2   0x0000000000100000 0x0000000007EE0000 Usable\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "an arrow and a bar": (
        "[INFO] MMAP: 0x0000000000000000 -> 0x000000000009fc00 | AVAILABLE\n"
        "[INFO] MMAP: 0x000000000009fc00 -> 0x00000000000a0000 | RESERVED\n"
        "[INFO] MMAP: 0x0000000000100000 -> 0x0000000007fe0000 | AVAILABLE\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "the kind before the range, a size after it": (
        "Memory Map (5 entries):\n"
        "  Available    0x0 .. 0x9fbff        (639 KiB)\n"
        "  Reserved     0x9fc00 .. 0x9ffff    (1 KiB)\n"
        "  Available    0x100000 .. 0x7fdffff (127 MiB)\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "a board's regions": (
        "RAM   @ 0x80000000 size 0x8000000\nROM   @ 0x00001000 size 0x10000\nUART  @ 0x10000000 size 0x100\n",
        [(0x80000000, 0x88000000)],
    ),
    "a table whose heading is not apart": (
        " region type start        end          size\n"
        " usable      0x00000000   0x0009fc00   654336\n"
        " reserved    0x0009fc00   0x000a0000   1024\n"
        " usable      0x00100000   0x07fe0000   133038080\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
    "as Linux's documents print sysfs": (
        "0000000000000000-000000000009fc00 (System RAM)\n000000000009fc00-00000000000a0000 (reserved)\n"
        "0000000000100000-0000000007fe0000 (System RAM)\n",
        [(0, 0x9FC00), (0x100000, 0x7FE0000)],
    ),
}


@pytest.mark.parametrize(
    "prefix", ["", "[    1.234567] ", "> ", "\x1b[32mINFO\x1b[0m ", "[2024-01-01T00:00:00Z INFO  kernel] "]
)
@pytest.mark.parametrize("name", MAPS)
def test_from_reports(name, prefix):
    text, ram = MAPS[name]
    found = machine("".join(prefix + line for line in text.splitlines(True)))
    assert [(r.base, r.end) for r in found.ram] == ram


ENTRY = st.tuples(st.integers(1, 1 << 20), st.integers(0, 64), st.sampled_from(["ram", "reserved", "nvram"]))
WORDS = {
    "ram": ("usable", "Usable", "Available", "available RAM", "System RAM", "RAM", "USABLE"),
    "reserved": ("reserved", "Reserved", "RESERVED", "reserved RAM", "unusable", "Bad Memory"),
    "nvram": ("ACPI NVS", "ACPI reclaimable", "AcpiNvs", "ACPI data", "ACPI_RECLAIMABLE"),
}
NUMBERS = {"ram": (1,), "reserved": (2, 5), "nvram": (3, 4)}
HEXADECIMAL = (
    "0x{:x}".format,
    "0x{:016x}".format,
    "{:016x}".format,
    "{:#018X}".format,
    lambda n: f"0x{n >> 48:04x}_{n >> 32 & 0xFFFF:04x}_{n >> 16 & 0xFFFF:04x}_{n & 0xFFFF:04x}",
    lambda n: f"{n >> 32:08x}:{n & 0xFFFFFFFF:08x}",
    lambda n: f"{n >> 32:08X}`{n & 0xFFFFFFFF:08X}",
)
DECIMAL = ("{}".format,)
FORMS = (
    "base: {base}, length: {size}, type: {kind}",
    "base_addr = {base}, length = {size}, type = {kind}",
    "addr={base} len={size} type={kind}",
    "start={base} end={after} type={kind}",
    "Entry {i}: base {base} size {size} type {kind}",
    "MemoryRegion {{ start: {base}, end: {after}, kind: {kind} }}",
    "MemoryRegion {{\n    start: {base},\n    end: {after},\n    kind: {kind},\n}}",
    "mmap[{i}] = {{ type: {kind}, addr: {base}, len: {size} }}",
    "[{base} - {last}] {kind}",
    "[{base} - {after}) {kind}",
    "[{base}, {after}) {kind}",
    "{base}-{last} : type {kind}",
    "  {i}: {base} -> {after} ({kind})",
    "{base}..{after} type={kind}",
    "{base}..={last} type={kind}",
    "region {base} + {size} type: {kind}",
    "| {base} | {size} | {kind} |",
)


@st.composite
def printed(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    """A memory map as some kernel prints it, and its RAM."""
    form, words = draw(st.sampled_from(FORMS)), draw(st.booleans())
    number = draw(
        st.sampled_from((*HEXADECIMAL, *DECIMAL) if re.search("base:|base_|addr|start", form) else HEXADECIMAL)
    )
    entries = [(1, 0, "ram"), (8, 3, "reserved"), *draw(st.lists(ENTRY, min_size=1, max_size=12))]
    lines, ram, at = ["memory map:"], [], 0
    if form.startswith("|"):
        lines.append("| base | length | type |")
    for i, (pages, gap, kind) in enumerate(entries):
        base, after = at + gap * 4096, at + (gap + pages) * 4096
        at = after
        said = draw(st.sampled_from(WORDS[kind] if words or "type" not in form.lower() else NUMBERS[kind]))
        numbers = {"base": base, "size": after - base, "after": after, "last": after - 1}
        lines.append(form.format(i=i, kind=said, **{name: number(n) for name, n in numbers.items()}))
        if kind == "ram":
            if ram and ram[-1][1] == base:
                ram[-1] = ram[-1][0], after
            else:
                ram.append((base, after))
    prefix = draw(st.sampled_from(["", "[    0.123456] ", "kernel: ", "> ", "(info) mm: ", "12:34:56 "]))
    return "".join(prefix + line + "\n" for line in "\n".join(lines).split("\n")), ram


@settings(max_examples=300 * EFFORT, deadline=None)
@given(printed())
def test_any_way_of_printing(case):
    text, ram = case
    found = machine(text)
    assert [(r.base, r.end) for r in found.ram] == ram
    assert not (found.problems or found.missing or found.unread)


@pytest.mark.parametrize(
    "first, kept, base, size, ram",
    [
        ("4096", "addr=16384 len=32768", "204800", "20729856", [(0, 4096), (204800, 20729856)]),
        ("4096", "addr=16384 len=32768", "200704", "4096", [(0, 4096), (200704, 4096)]),
        ("1000", "addr=10000 len=2C000", "3D000", "20000", [(0, 0x1000), (0x3D000, 0x20000)]),
    ],
)
def test_numbers_behind_equals_signs_are_no_mail(first, kept, base, size, ram):
    """What quoted-printable mail has for a space or an equals sign begins a number here."""
    found = machine(f"memory map:\naddr=0 len={first} type=1\n{kept} type=2\naddr={base} len={size} type=1\n")
    assert [(r.base, r.size) for r in found.ram] == ram


NONE = {
    "mappings of a process": (
        "55d0c0a00000-55d0c0a28000 r--p 00000000 08:01 123 /usr/bin/free\n"
        "7f0a10000000-7f0a10021000 rw-p 00000000 00:00 0 \n7ffd1000000-7ffd1021000 rw-p 00000000 00:00 0 [stack]\n"
    ),
    "areas of Linux's virtual memory": (
        "Virtual kernel memory layout:\n    vector  : 0xffff0000 - 0xffff1000   (   4 kB)\n"
        "    vmalloc : 0xe0800000 - 0xff000000   ( 488 MB)\n    lowmem  : 0xc0000000 - 0xe0000000   ( 512 MB)\n"
        "      .text : 0xc0008000 - 0xc0700000   (7136 kB)\n"
    ),
    "sections of a program": (
        "  [ 1] .text  PROGBITS  0000000000401000 00001000 0000000000001000\n"
        "  LOAD           0x0000000000000000 0x0000000000400000 0x0000000000400000\n"
    ),
    "symbols": (
        "0000000000201000 0000000000000040 T free_memory\n0000000000201040 0000000000000004 B available\n"
        "0000000000201044 0000000000000004 B count\n0000000000201048 0000000000000008 D start\n"
        "0000000000201050 0000000000000008 D end_of\n"
    ),
    "registers of devices": (
        "BAR 0: base 0xfebc0000, size 0x20000, type 1\nBAR1: base=0xfe000000 size=0x1000 type=1\n"
        "pci 00:1f.2 addr 0xf7d00000 len 0x800 type 1\n"
    ),
    "MTRRs": "reg00: base=0x000000000 (    0MB), size= 2048MB, count=1: write-back\n",
    "partitions": (
        "Device     Start       End   Sectors  Size Type\n/dev/sda1   2048   1050623   1048576  512M EFI System\n"
        '0x000000000000-0x000000040000 : "u-boot"\n0x000000040000-0x000000240000 : "kernel"\n'
    ),
    "blocks of a heap": "0x10000-0x20000 used\n0x20000-0x30000 free\n0x30000-0x38000 used\n0x38000-0x40000 used\n",
    "a table of segments": "CS: base=0x0 limit=0xffffffff type=1\nGDT base=0x1000 limit=0x7f type=1\n",
    "QEMU's info mtree": (
        "FlatView #1\n  0000000000000000-00000000000bffff (prio 0, ram): pc.ram\n"
        "  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram\n"
    ),
    "a hexadecimal dump": "00000000  7f45 4c46 0201 0100\n00000010  0300 3e00 0100 0000\n",
    "prose": "From 1985 to 1999 the machine had a base of 640 and a length of 1024; type 1 was free.\n",
    "a resource file": "0x00000000f0000000 0x00000000f03fffff usable\n".replace("usable", "cached"),
    "kernel addresses": "base: 0xffff800000000000, length: 0x1000, type: 1\n",
}


@pytest.mark.parametrize("name", NONE)
def test_other_lists_are_none(name):
    assert not range_list.recognises(NONE[name])
    with pytest.raises(InputError):
        machine(NONE[name])


def test_more_ranges_than_the_limit_are_refused_before_they_are_understood():
    with raised(ranges=3), pytest.raises(UnreadableError, match="more than 3 ranges"):
        machine(MAPS["SeaBIOS"][0])
    assert machine(MAPS["SeaBIOS"][0]).ram


def test_what_nothing_shows_is_told():
    assert machine("mmap:\n0x1000 0x2345 usable\n").missing
    assert machine("start: 0x1000, end: 0x1fe1, kind: Usable\n").missing
    assert not machine("start: 0x1000, end: 0x2000, kind: Usable\n").missing


def test_an_end_unlike_the_others_is_told():
    text = "[0x0 - 0x9ffff] usable\n[0x100000 - 0x1fffff] usable\n[0x200000 - 0x300000] reserved\n"
    assert [p.line for p in machine(text).missing] == [3]


def test_an_unknown_type_is_told_and_reserved():
    found = machine("base: 0x0, length: 0x1000, type: usable\nbase: 0x1000, length: 0x1000, type: turquoise\n")
    assert [r.kind for r in found.firmware] == ["reserved"] and [p.line for p in found.unread] == [2]


def test_a_list_that_begins_again_is_another_boot():
    text = MAPS["SeaBIOS"][0]
    assert len(read_bytes((text * 3).encode(), "map")) == 3
