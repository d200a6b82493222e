"""ARMv7-A against the ARM Architecture Reference Manual: A5, A8.8 (MCR, AND, TST, BX), B3.18.7, B9.3 (CPS, MRS),
and B3.5 (short descriptors), B3.6 (long ones), B3.7.1 and B3.7.4 (AP), B3.8.3 (TEX remap)."""

from arch_sample import assembly, linked, words

from kernmalloc.machine.arch import ARCHES

ALWAYS, NE = 0xE << 28, 0x1 << 28
I = 0x80  # noqa: E741 - the manual's name: CPSR's mask of interrupts
DSB, ISB = 0xF57F_F04F, 0xF57F_F06F  # of the full system

SHORT, LONG = ARCHES["armv7"].formats
B, C = 1 << 2, 1 << 3


def test_short_descriptors_have_the_bits_of_the_manual_E3() -> None:
    """Figures B3-4 and B3-5. Bits 1:0 are 1 of a table; bit 1 is set of a section and of a small page."""
    small, ap0, ap1, ap2, ng = 1 << 1, 1 << 4, 1 << 5, 1 << 9, 1 << 11
    assert SHORT.leaf == small | ap0 | C | B
    assert SHORT.page == small | ap1 | ap2 | ng | C | B
    assert (SHORT.used, SHORT.write_mask, SHORT.read_only) == (ap0, ap2, ap2)
    assert (SHORT.execute_mask, SHORT.execute_value) == (1 << 0, 0)
    section, ap0, ap1, ap2, ng = 1 << 1, 1 << 10, 1 << 11, 1 << 15, 1 << 17
    assert SHORT.large == section | ap0 | C | B
    assert SHORT.user_large == section | ap0 | ap1 | ap2 | ng | C | B
    assert (SHORT.mask("large", ["AP0"]), SHORT.large_write_mask, SHORT.large_read_only) == (ap0, ap2, ap2)
    assert (SHORT.execute_large_mask, SHORT.execute_large_value) == (1 << 4, 0)
    assert SHORT.root == SHORT.table == SHORT.user_root == SHORT.user_table == 1
    assert (SHORT.present, SHORT.large_mask, SHORT.large_value) == (3, 2, 2)
    assert SHORT.break_first


def test_four_first_level_entries_are_one_E3() -> None:
    """The first level has 4096 entries of 4 bytes, 1 MiB each; the second 256, in 1 KiB."""
    assert (SHORT.group, SHORT.root_shift, SHORT.root_bits, SHORT.index_bits) == (4, 22, 10, 10)
    assert (SHORT.word_shift, SHORT.entry_shift, SHORT.upper_entry_shift) == (2, 2, 4)
    assert (SHORT.table_step, SHORT.large_step) == (1 << 10, 1 << 20)
    assert SHORT.root_pages << 12 == 4096 * 4 and SHORT.large_page == 4 << 20
    assert SHORT.address == (1 << 32) - (1 << 12) and SHORT.mask("large", ["address"]) == (1 << 32) - (1 << 20)
    assert SHORT.user_end == 1 << 32 - 2, "TTBCR.N = 2"


def test_C_and_B_select_fields_of_PRRR_and_NMRR_E11() -> None:
    """TEX[0] is 0. PRRR: 1 Device, 2 Normal. NMRR, inner and outer: 0 not cacheable, 1 write-back, 2 write-through."""
    registers = {name: value for name, value, _ in SHORT.registers}
    chosen = [(bits or 0) >> 2 for bits in SHORT.cache]
    assert SHORT.cache_mask == C | B and SHORT.cache == SHORT.large_cache
    assert [registers["PRRR"] >> 2 * n & 3 for n in chosen] == [2, 2, 1, 2]
    for shift in (0, 16):
        assert [registers["NMRR"] >> shift + 2 * n & 3 for n in chosen] == [1, 2, 0, 0]
    assert registers["PRRR"] >> 16 & 0xF == 0xF, "DS0, DS1, NS0, NS1: shareable"
    assert registers["PRRR"] >> 24 == 0xFF, "NOS: inner"


def test_long_descriptors_have_the_bits_of_the_manual_E3() -> None:
    """B3.6.1."""
    valid, table, page, ap1, ap2, inner, af, ng = 1, 2, 2, 1 << 6, 1 << 7, 3 << 8, 1 << 10, 1 << 11
    pxn, xn = 1 << 53, 1 << 54
    assert LONG.leaf == valid | page | inner | af and LONG.large == valid | inner | af
    assert LONG.page == valid | page | ap1 | ap2 | inner | ng | pxn
    assert LONG.user_large == valid | ap1 | ap2 | inner | af | ng | pxn
    assert LONG.root == LONG.table == LONG.user_root == LONG.user_table == valid | table
    assert (LONG.present, LONG.used, LONG.large_mask, LONG.large_value) == (valid, af, table, 0)
    assert (LONG.write_mask, LONG.read_only, LONG.execute_mask, LONG.execute_value) == (ap2, ap2, xn, 0)
    assert LONG.break_first


def test_long_descriptors_are_as_deep_as_PAE_E3() -> None:
    assert (LONG.va_bits, LONG.phys_bits, LONG.root_shift, LONG.root_bits, LONG.index_bits) == (32, 40, 30, 2, 9)
    assert (LONG.entry_shift, LONG.root_pages, LONG.group, LONG.large_page) == (3, 1, 1, 2 << 20)
    assert LONG.address == (1 << 40) - (1 << 12) and LONG.user_end == 1 << 31


def test_a_long_descriptor_is_cached_as_MAIR0_says_E11() -> None:
    mair = {name: value for name, value, _ in LONG.registers}["MAIR0"]
    assert LONG.cache_mask == LONG.large_cache_mask == 7 << 2
    assert [mair >> 8 * ((bits or 0) >> 2) & 0xFF for bits in LONG.cache] == [0xFF, 0xBB, 0x04, 0x44]


def bx_lr(condition: int) -> int:
    return condition | 0x12F_FF1 << 4 | 14


def cps(imod: int) -> int:
    return 0xF1 << 24 | imod << 18 | I


def test_objects() -> None:
    assert linked("armv7") == ("EM_ARM", 32)
    assert "yield" in assembly("armv7")


def test_primitives_are_the_instructions_of_the_manual() -> None:
    tlbimvaa = ALWAYS | 0xE << 24 | 8 << 16 | 0 << 12 | 15 << 8 | 3 << 5 | 1 << 4 | 7  # mcr p15, 0, r0, c8, c7, 3
    assert words("armv7", "km_port_invalidate") == [DSB, tlbimvaa, DSB, ISB, bx_lr(ALWAYS)]
    mrs, masked, zero = ALWAYS | 0x10F << 16, ALWAYS | 0x200 << 16 | I, ALWAYS | 0x3A0 << 16 | 1 << 12
    assert words("armv7", "km_port_interrupts_save") == [mrs, cps(0b11), masked, zero, bx_lr(ALWAYS)]
    tst = ALWAYS | 0x310 << 16 | I
    assert words("armv7", "km_port_interrupts_restore") == [tst, bx_lr(NE), cps(0b10), bx_lr(ALWAYS)]
