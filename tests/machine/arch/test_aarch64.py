"""AArch64 against the ARM Architecture Reference Manual, ARMv8-A: C4.1, C5.2.4 (DAIF), C5.5 (TLBI), D8.13."""

from arch_sample import assembly, linked, words

ISHST, ISH, SY = 0b1010, 0b1011, 0b1111
RET = 0xD65F_0000 | 30 << 5


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
