"""ARMv7-A against the ARM Architecture Reference Manual: A5, A8.8 (MCR, AND, TST, BX), B3.18.7, B9.3 (CPS, MRS)."""

from arch_sample import assembly, linked, words

ALWAYS, NE = 0xE << 28, 0x1 << 28
I = 0x80  # noqa: E741 - the manual's name: CPSR's mask of interrupts
DSB, ISB = 0xF57F_F04F, 0xF57F_F06F  # of the full system


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
