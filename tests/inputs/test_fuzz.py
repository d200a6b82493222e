"""Whatever a file holds, reading it gives a machine or an InputError, never another exception."""

import time
from contextlib import suppress
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.inputs import read_bytes
from kernmalloc.inputs.errors import InputError
from kernmalloc.machine.memory_map import PA_LIMIT, resolve

SEEDS = (
    """\
[    0.000000] Linux version 6.1.0 (builder@host) (gcc 12) #1 SMP
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
[    0.000000]  BIOS-e820: 0000000000100000 - 00000000efff6500 (usable)
[    0.000000] efi: mem46: [MMIO        |RUN|  |UC] range=[0x00000000dfa00000-0x00000000dfa0ffff] (0MB)
[    0.000000] efi: Remove mem56: MMIO range=[0x860000000-0x8801fffff] (514MB) from e820 map
[    0.000000] RAMDISK: [mem 0x2f007000-0x337fafff]
[    0.000000]   node   0: [mem 0x0000000000001000-0x000000000009efff]
[    0.000000] Memory: 261408K/3145048K available (12295K kernel code)
[    0.100000] pci_bus 0000:00: root bus resource [mem 0x000a0000-0x000bffff window]
[    0.100000] pci 0000:04:00.0: reg 0x10: [mem 0xfd800000-0xfd803fff 64bit]
[    0.100000] pci 0000:04:00.0: BAR 0 [mem size 0x01000000]: can't assign; no space
""",
    """\
00000000-00000fff : Reserved
00001000-0009dfff : System RAM
00100000-9ffeac3f : System RAM
  00100000-002aec85 : Kernel code
fd000000-fdffffff : 0000:00:06.0
850000000-684fffffff : Soft Reserved
  850000000-284fffffff : System RAM (kmem)
""",
    """\
name = "A board"
memory = [
  { base = 0x80000000, size = 0x40000000, kind = "ram" },
]
[[devices]]
base = 0x40000000
size = 0x10000000
""",
)
SEEDS += (
    """\
# ram_bytes=8589934592 (MemTotal)
01:00.0 VGA compatible controller: NVIDIA Corporation GF119 [GeForce GT 610] (rev a1) (prog-if 00 [VGA controller])
\tRegion 0: Memory at f6000000 (32-bit, non-prefetchable) [size=16M]
\tRegion 1: Memory at <unassigned> (64-bit, prefetchable) [virtual] [size=128G]
\tMemory at e8000000 (64-bit, prefetchable) [disabled]
\tExpansion ROM at 000c0000 [virtual] [disabled] [size=128K]
\tPrefetchable memory behind bridge: 0000234000000000-000023c0003fffff [size=524292M]
""",
    """\
# machine AMI / Aptio CRB type=Mini Pc arch=AMD64
# ram_bytes=8589934592 (sum of DMI type 17 sizes, 1 DIMMs)
vgapci0@pci0:0:2:0:\tclass=0x030000 card=0x72708086 chip=0x22b18086 rev=0x35 hdr=0x00
    bar   [10] = type Memory, range 64, base 0xb0000000, size 16777216, enabled
    bar   [18] = type Prefetchable Memory, range 20, base 0x10, size 16, enabled
""",
    """\
# ram_bytes=2101800960 (MemTotal)
device 0000:00:02.0 class=0x030000 vendor=0x8086 device=0x1237
  0x00000000f0000000 0x00000000f03fffff 0x0000000000140204
/sys/bus/pci/devices/0000:00:03.0/resource:0x0000004000000000 0x000000400fffffff 0x000000000014220c
""",
    """\
# board memory map
board=TOWER
CONFIG_SYS_SDRAM_BASE=0x40000000
CONFIG_SYS_SDRAM_SIZE=0x20
range ram 0x40000000 0x2000000
range pci-mem 0x90000000 0x10000000
range mbar 0xfc000000 0x1000000
""",
    """\
{"vendor": "A", "model": "B", "arch": "AMD64", "ram": 4294967296, "bars": [["0:0:2:0", "03", "10", "Memory", 64, 1, 2]]}
{"bars": [["0:0:2:0", "030000", "18", "Prefetchable Memory", 64, 4152360960, 4194304, "enabled"]], "ram": 1}
""",
)
SEEDS += (
    """\
(XEN) Xen-e820 RAM map:
(XEN)  [0000000000000000, 000000000009fbff] (usable)
(XEN)  0000000000100000 - 00000000de59d000 (ACPI data)
(XEN) RAM: 0000000040000000 - 00000000bfffffff
""",
    """\
SMAP type=01 base=0000000000100000 len=00000000bf5b0000
  0x00200000 - 0x339c0fff,   823 MB ( 210881 pages)
Excluded memory regions:
  0x2b800000 - 0x2ccc2fff,    20 MB (   5315 pages) NoAlloc
real memory  = 17179869184 (16384 MB)
avail mem = 4311744512
vgapci0: <VGA> port 0xf000-0xf03f mem 0xf6000000-0xf63fffff,0xe0000000-0xefffffff irq 16
Region 1: type 1 at 0x100000 for 2096064KB
mem = 2096192K (0x7ff10000)
""",
    """\
Type       Start            End              # Pages          Attributes
Available  0000000080000000-000000009DE76FFF 000000000001DE77 0000000000000008
     ConventionalMemory 000000210000 000000000000 0002f156 WC WT WB
""",
    """\
  0. 0000000000000000-0000000000000fff: CONFIGURATION TABLES
  1. 0000000000001000-000000000009ffff: RAM
""",
    """\
DRAM bank   = 0x0000000000000000
-> start    = 0x0000000000200000
-> size     = 0x00000000efe00000
 memory[0]\t[0x200000-0xefffffff], 0xefe00000 bytes, flags: none
 reserved[1]\t[0xd4000000-0xd7ffffff], 0x4000000 bytes flags: 4
    memory.reg[0x0].base   = 0x80000000
                   .size   = 0x20000000
""",
    """\
/sys/firmware/memmap/0/start:0x0
/sys/firmware/memmap/0/end:0x9ffff
/sys/firmware/memmap/0/type:System RAM
==> 1/start <==
0x100000
""",
    """\
0x0000000100000000-0x000000047fffffff  14G online       yes 32-143
0x0000000690000000-0x000000078fffffff   4G offline           210-241
""",
    """\
Node 0, zone    DMA32
        spanned  1044480
        present  782304
  start_pfn:           4096
""",
    """\
Handle 0x002F, DMI type 17, 34 bytes
Memory Device
\tArray Handle: 0x000A
\tSize: 2048 MB
""",
    "MemTotal:       16303428 kB\nMemFree:          203428 kB\n",
    """\
MM: Multiboot mmap: base_addr = 0x000000000, length = 0x00009fc00, type = 0x1
memory region: 0x0 - 0xa0000 (Usable)
[0x100000, 0x7ff63000) (len: 0x7fe63000, size: 0x14, type: 1)
available phys memory regions: 1
  [80200000..17ff00000)
| base | length | type |
| 0x0 | 639 KiB | 1 |
MemoryRegion {
    start: 0,
    end: 654336,
    kind: UnknownUefi(
        7,
""",
)
JUNK = st.sampled_from(
    [
        "0x",
        "ffffffffffffffff",
        "-",
        "[",
        "]",
        "[mem ",
        "\n",
        " ",
        "\0",
        "\u00a0",
        "é",
        "\x1b[32m",
        "0",
        "usable",
        '"',
        "{",
        "=",
        "BIOS-e820: ",
        "99999999999999999999999999",
        "\r",
        "> ",
        "(",
        "²",
        " - ",
        "0x1",
        "type",
        "RAM",
        ",",
    ]
)


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 12))
        text = text[:at] + draw(JUNK) + text[at + cut :]
    return text


@settings(max_examples=600, deadline=None)
@given(mutated() | st.text(max_size=300), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_mutated_text_never_ends_in_a_traceback(text, encoding):
    try:
        machine = resolve(read_bytes(text.encode(encoding, "replace"), "fuzz")[-1])
        machine.device_ranges(12)
    except InputError as error:
        assert error.file == "fuzz" and error.reason and "\n" not in str(error)
        return
    ends = [r.end for r in (*machine.ram, *machine.firmware, *machine.carved, *machine.windows)]
    assert max(ends) <= PA_LIMIT
    assert all(d.end <= PA_LIMIT or d.status == "beyond" for d in machine.devices)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_binary_data_never_ends_in_a_traceback(data):
    with suppress(InputError):
        read_bytes(data, "fuzz")


def test_long_lines_and_long_maps_take_linear_time():
    hostile = (
        "[mem ",
        "range=[",
        "> ",
        "a",
        "ab cd ",
        "[ 1",
        "0x1 - ",
        "BIOS-e820: [mem 0x",
        "memory ",
        "\t",
        "00:00.0 ",
        "0x0000000000000000 ",
        '{"bars":[',
        "bar [1",
        "[size=1K]\n",
        "#ram_bytes=",
        "0000:00:00.0/resource:",
        "\n",
    )
    heads = (b"BIOS-e820: x\n", b"", b"00:00.0 Memory: x\n", b"x0@pci0:0:0:0:\n", b"0x" + b"0" * 16, b'{"bars":[]}\n')
    start = time.process_time()
    for head, piece in product(heads, hostile):
        with suppress(InputError):
            read_bytes(head + piece.encode() * (100_000 if head == heads[0] else 20_000), "fuzz")
    entries = (f"BIOS-e820: [mem 0x{i << 13:016x}-0x{(i << 13) + 4095:016x}] usable" for i in range(20_000))
    assert len(resolve(read_bytes("\n".join(entries).encode(), "fuzz")[0]).ram) == 20_000
    assert time.process_time() - start < 10  # about 1 s alone
