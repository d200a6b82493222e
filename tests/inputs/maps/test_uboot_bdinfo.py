"""U-Boot's bdinfo and lmb_dump_all."""

import pytest

from kernmalloc.inputs import read_bytes
from kernmalloc.machine.memory_map import Machine, resolve


def machine(text: str) -> Machine:
    return resolve(read_bytes(text.encode(), "bdinfo")[-1])


BANKS = """\
=> bdinfo
boot_params = 0x0000000000000000
DRAM bank   = 0x0000000000000000
-> start    = 0x0000000000000000
-> size     = 0x000000007ff00000
DRAM bank   = 0x0000000000000001
-> start    = 0x0000000800000000
-> size     = 0x0000000080000000
DRAM bank   = 0x0000000000000002
-> start    = 0x0000000000000000
-> size     = 0x0000000000000000
flashstart  = 0x0000000000000000
relocaddr   = 0x000000007fc87000
Build       = 64-bit
"""
LMB = """\
lmb_dump_all:
 memory.cnt = 0x2 / max = 0x10
 memory[0]      [0x0-0x7fefffff], 0x7ff00000 bytes flags: 0
 memory[1]      [0x800000000-0x87fffffff], 0x80000000 bytes flags: 0
 reserved.cnt = 0x3 / max = 0x10
 reserved[0]    [0x1000000-0x107ffff], 0x00080000 bytes flags: 4
 reserved[1]    [0x2000000-0x207ffff], 0x00080000 bytes, flags: no-map
 reserved[2]    [0x78f23000-0x7fefffff], 0x06fdd000 bytes flags: 0
TLB addr    = 0x000000007fff0000
"""
OLD_LMB = """\
lmb_dump_all:
    memory.cnt             = 0x2
    memory.size            = 0x0
    memory.reg[0x0].base   = 0x0
                   .size   = 0x7ff00000
    memory.reg[0x1].base   = 0x800000000
                   .size   = 0x80000000

    reserved.cnt           = 0x1
    reserved.reg[0x0].base = 0x9ef8eb6c
                     .size = 0x1071494
"""
RAM = [(0, 0x7FF00000), (0x800000000, 0x880000000)]


@pytest.mark.parametrize(
    "text", [BANKS, LMB, OLD_LMB, BANKS + LMB, BANKS + BANKS, "".join("> " + x for x in BANKS.splitlines(True))]
)
def test_banks_or_lmb(text):
    found = machine(text)
    assert [(r.base, r.end) for r in found.ram] == RAM
    assert not (found.problems or found.missing or found.unread)


def test_what_the_device_tree_keeps_is_carved_and_what_uboot_uses_is_not():
    found = machine(BANKS + LMB)
    assert [(r.base, r.end) for r in found.carved] == [(0x1000000, 0x1080000), (0x2000000, 0x2080000)]
    assert found.ignored == {"U-Boot's own memory": 1}
    assert (found.arch, found.origin) == ("arm64", "U-Boot's bdinfo")


@pytest.mark.parametrize(
    "line, arch",
    [
        ("arch_number = 0x00001200", "arm"),
        ("Build       = 32-bit\nTLB addr    = 0x7fff0000", "arm"),
        ("Build       = 64-bit\nboot hart   = 0x0000000000000000", "riscv64"),
        ("memstart    = 0x60000000\nmemsize     = 0x20000000", "?"),
    ],
)
def test_architecture(line, arch):
    bank = "DRAM bank   = 0x00000000\n-> start    = 0x60000000\n-> size     = 0x20000000\n"
    found = machine(bank + line + "\n")
    assert (found.arch, [(r.base, r.end) for r in found.ram]) == (arch, [(0x60000000, 0x80000000)])


def test_before_there_were_banks():
    found = machine("memstart    = 0x00000000\nmemsize     = 0x10000000\nflashstart  = 0xFE000000\n")
    assert [(r.base, r.end) for r in found.ram] == [(0, 0x10000000)]


def test_linux_prints_memblock_alike():
    found = machine(
        "MEMBLOCK configuration:\n memory size = 0x7ff7b000 reserved size = 0x5ae0000\n memory.cnt  = 0x1\n"
        " memory[0x0]\t[0x0000000000100000-0x000000007ffd9fff], 0x000000007feda000 bytes flags: 0x0\n"
        " reserved[0x0]\t[0x0000000000000000-0x0000000000000fff], 0x0000000000001000 bytes flags: 0x0\n"
    )
    assert [(r.base, r.end) for r in found.ram] == [(0x100000, 0x7FFDA000)]


def test_a_cut_text_is_told():
    assert machine(BANKS[: BANKS.index("-> size     = 0x0000000080000000")]).missing
