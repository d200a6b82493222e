"""AArch64 against the ARM Architecture Reference Manual, ARMv8-A: C4.1, C5.2.4 (DAIF), C5.5 (TLBI), D8.16, and
D8.2, D8.3 (descriptors), MAIR_EL1."""

import pytest
from arch_sample import assembly, linked, words

from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.model import Format

ISHST, ISH, SY = 0b1010, 0b1011, 0b1111
RET = 0xD65F_0000 | 30 << 5

EVERY = {format.name: format for format in ARCHES["aarch64"].formats}
FORMAT = pytest.mark.parametrize("format", EVERY.values(), ids=EVERY)
VALID, TABLE, PAGE = 1 << 0, 1 << 1, 1 << 1  # bits 1:0 are 3 of a table and of a page, 1 of a block
EL0, READ_ONLY = 1 << 6, 1 << 7  # AP[2:1]
INNER, AF, NG = 3 << 8, 1 << 10, 1 << 11
PXN, UXN = 1 << 53, 1 << 54


@FORMAT
def test_entries_have_the_bits_of_the_manual_E3(format: Format) -> None:
    """D8.3.1: block and page descriptors of stage 1."""
    assert format.leaf == VALID | PAGE | INNER | AF | UXN and format.large == VALID | INNER | AF | UXN
    assert format.page == VALID | PAGE | EL0 | READ_ONLY | INNER | NG | PXN
    assert format.user_large == VALID | EL0 | READ_ONLY | INNER | NG | PXN | AF
    assert format.root == format.table == format.user_root == format.user_table == VALID | TABLE
    assert (format.present, format.used, format.large_mask, format.large_value) == (VALID, AF, TABLE, 0)
    assert (format.write_mask, format.read_only) == (READ_ONLY, READ_ONLY)
    assert (format.execute_mask, format.execute_value) == (PXN, 0)
    assert (format.execute_large_mask, format.execute_large_value) == (PXN, 0)
    assert format.break_first


def test_depth_and_widths_E3() -> None:
    """D8.2: a table fills a granule, of entries of 8 bytes; physical addresses of 48 bits, without FEAT_LPA."""
    shapes = {
        "aarch64": (12, 9, 39, 48, 2 << 20),
        "aarch64-16k": (14, 11, 36, 47, 32 << 20),
        "aarch64-64k": (16, 13, 29, 42, 512 << 20),
    }
    for name, (page, index, root, va, large) in shapes.items():
        f = EVERY[name]
        assert (f.page_shift, f.index_bits, f.root_shift, f.va_bits, f.large_page) == (page, index, root, va, large)
        assert f.root_bits == f.index_bits and f.entry_shift == f.upper_entry_shift == f.word_shift == 3
        assert f.address == (1 << 48) - (1 << page) and f.phys_bits == 48 and f.pa_shift == 0
        assert f.user_end == 1 << va
        told = {register: value for register, value, _ in f.registers}
        assert told["TCR_EL1.T0SZ"] == told["TCR_EL1.T1SZ"] == 64 - va
        granules = {12: (0b00, 0b10), 14: (0b10, 0b01), 16: (0b01, 0b11)}  # TG0 and TG1 have codes of their own
        assert (told["TCR_EL1.TG0"], told["TCR_EL1.TG1"]) == granules[page]


@FORMAT
def test_a_page_is_cached_as_MAIR_says_E11(format: Format) -> None:
    """AttrIndx, bits 4:2, selects a byte: 0xFF and 0xBB Normal, write-back and write-through, 0x04 Device-nGnRE, 0x44
    Normal, not cacheable, which may gather."""
    mair = {name: value for name, value, _ in format.registers}["MAIR_EL1"]
    assert format.cache_mask == format.large_cache_mask == 7 << 2 and format.cache == format.large_cache
    assert [mair >> 8 * ((bits or 0) >> 2) & 0xFF for bits in format.cache] == [0xFF, 0xBB, 0x04, 0x44]


def system(read: int, op0: int, op1: int, crn: int, crm: int, op2: int, rt: int = 31) -> int:
    return 0xD500_0000 | read << 21 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | rt


def dsb(domain: int) -> int:
    return system(0, 0, 3, 3, domain, 4)


def test_objects() -> None:
    assert linked("aarch64") == ("EM_AARCH64", 64)
    assert "yield" in assembly("aarch64") or "hint" in assembly("aarch64")


def test_primitives_are_the_instructions_of_the_manual() -> None:
    lsr = 0xD340_0000 | 12 << 16 | 63 << 10  # ubfm x0, x0, #12, #63
    tlbi_vaae1is, isb = system(0, 1, 0, 8, 3, 3, 0), system(0, 0, 3, 3, SY, 6)
    assert words("aarch64", "km_port_invalidate") == [lsr, dsb(ISHST), tlbi_vaae1is, dsb(ISH), isb, RET]
    mrs_daif, daifset = system(1, 3, 3, 4, 2, 1, 0), system(0, 0, 3, 4, 2, 6)
    assert words("aarch64", "km_port_interrupts_save") == [mrs_daif, daifset, RET]
    assert words("aarch64", "km_port_interrupts_restore") == [system(0, 3, 3, 4, 2, 1, 0), RET]
