"""RISC-V against the manuals: unprivileged ISA, 2.2, 9.1 (CSR instructions); privileged ISA 1.12, 4.1.1, 4.2.1, and
4.3 to 4.5 (Sv32, Sv39, Sv48)."""

import pytest
from arch_sample import assembly, linked, words

from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.model import Format

A0, RA, SSTATUS, SIE = 10, 1, 0x100, 1 << 1
RET = RA << 15 | 0x67

EVERY = {format.name: format for name in ("riscv32", "riscv64") for format in ARCHES[name].formats}
FORMAT = pytest.mark.parametrize("format", EVERY.values(), ids=EVERY)
SV32, SV39, SV48, *EXTENDED = EVERY.values()
V, R, W, X, U, G, A, D = (1 << i for i in range(8))
PPN = 10


@FORMAT
def test_entries_have_the_bits_of_the_manual_E3(format: Format) -> None:
    assert format.leaf == format.large == V | R | W | X | G | A | D
    assert format.page == V | R | X | U and format.user_large == V | R | X | U | A
    assert format.root == format.table == format.user_root == format.user_table == V, "A, D and U are reserved there"
    assert (format.present, format.used, format.large_mask, format.large_value) == (V, A, R, R)
    assert (format.write_mask, format.read_only) == (W | D, 0)
    assert (format.execute_mask, format.execute_value) == (X, X)
    assert (format.execute_large_mask, format.execute_large_value) == (X, X)


@FORMAT
def test_an_entry_has_the_number_of_a_frame(format: Format) -> None:
    pages = format.phys_bits - 12
    assert format.address == ((1 << pages) - 1) << PPN and format.pa_shift == 12 - PPN


def test_depth_and_widths_E3() -> None:
    """4.3, 4.4, 4.5."""
    assert [(f.va_bits, f.phys_bits, f.root_shift) for f in (SV32, SV39, SV48)] == [
        (32, 34, 22),
        (39, 56, 30),
        (48, 56, 39),
    ]
    assert [f.root_bits for f in (SV32, SV39, SV48)] == [10, 9, 9]
    assert [f.index_bits for f in (SV32, SV39, SV48)] == [10, 9, 9]
    assert [f.large_page >> 20 for f in (SV32, SV39, SV48)] == [4, 2, 2]
    for f in (SV32, SV39, SV48):
        assert f.entry_shift == f.upper_entry_shift == f.word_shift == (2 if f is SV32 else 3)
    assert [f.user_end for f in (SV32, SV39, SV48)] == [3 << 30, 1 << 38, 1 << 47]


@pytest.mark.parametrize("format", [SV32, SV39, SV48], ids=lambda format: format.name)
def test_how_memory_is_cached_follows_from_its_address_E11(format: Format) -> None:
    """3.6: no bit of an entry says so. What a device has is not cached."""
    assert format.cache == format.large_cache == (0, None, 0, None) and format.cache_mask == 0


def system(upper: int, rs1: int, funct3: int, rd: int) -> int:
    return upper << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x73


def op_imm(immediate: int, rs1: int, funct3: int, rd: int) -> int:
    return immediate << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x13


def test_objects() -> None:
    assert linked("riscv64") == ("EM_RISCV", 64)
    assert "pause" in assembly("riscv64")


def test_primitives_are_the_instructions_of_the_manual() -> None:
    sfence_vma = system(0b0001001 << 5, 0, 0, 0)  # of all addresses: else what leads to tables would stay
    assert words("riscv64", "km_port_invalidate") == [sfence_vma, RET]
    csrrci, andi = system(SSTATUS, SIE, 7, A0), op_imm(SIE, A0, 7, A0)
    assert words("riscv64", "km_port_interrupts_save") == [csrrci, andi, RET]
    csrs, li = system(SSTATUS, A0, 2, 0), op_imm(0, 0, 0, A0)
    assert words("riscv64", "km_port_interrupts_restore") == [csrs, li, RET]


@pytest.mark.parametrize("format", EXTENDED, ids=lambda format: format.name)
def test_Svpbmt_says_how_memory_is_cached_E11(format: Format) -> None:
    """Chapter 6: bits 62:61; 1 is NC, 2 is IO. The width of addresses is that of the format without it."""
    assert format.cache == format.large_cache == (0, None, 2 << 61, 1 << 61)
    assert format.cache_mask == format.large_cache_mask == 3 << 61
    assert (format.va_bits, format.root_shift) in ((39, 30), (48, 39)) and format.leaf == SV39.leaf


@pytest.mark.parametrize("format", EXTENDED, ids=lambda format: format.name)
def test_Svnapot_maps_64_KiB(format: Format) -> None:
    """Chapter 5: N, bit 63, and 1000 in the lowest bits of the frame's number."""
    last = len(format.levels) - 1
    entry = 1 << 63 | 0x123450 >> 4 << 4 << PPN | 8 << PPN | V | R | A
    found = format.decode(entry, last)
    assert found is not None and (found.kind, found.page, found.pa) == ("napot", 16, 0x123450 << 12)
    assert format.decode(entry ^ 1 << PPN, last) is None, "other sizes are reserved"
    assert format.levels[last].pages == (12, 16)


def test_who_boots_says_which_format() -> None:
    """4.1.11: satp's MODE. Svpbmt counts once menvcfg says so."""
    told = {format.name: {name: value for name, value, _ in format.registers} for format in EVERY.values()}
    assert {name: each.pop("satp.MODE") for name, each in told.items()} == {
        "riscv32-sv32": 1,
        "riscv64-sv39": 8,
        "riscv64-sv48": 9,
        "riscv64-sv39-svpbmt": 8,
        "riscv64-sv48-svpbmt": 9,
    }
    assert [each for each in told.values() if each] == [{"menvcfg.PBMTE": 1}] * 2
