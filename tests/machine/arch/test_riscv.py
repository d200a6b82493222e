"""RISC-V against the manuals: unprivileged ISA, 2.2, 9.1 (CSR instructions); privileged ISA 1.12, 4.1.1, 4.2.1."""

from arch_sample import assembly, linked, words

A0, RA, SSTATUS, SIE = 10, 1, 0x100, 1 << 1
RET = RA << 15 | 0x67


def system(upper: int, rs1: int, funct3: int, rd: int) -> int:
    return upper << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x73


def op_imm(immediate: int, rs1: int, funct3: int, rd: int) -> int:
    return immediate << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x13


def test_objects() -> None:
    assert linked("riscv64") == ("EM_RISCV", 64)
    assert "pause" in assembly("riscv64")


def test_primitives_are_the_instructions_of_the_manual() -> None:
    sfence_vma = system(0b0001001 << 5, A0, 0, 0)
    assert words("riscv64", "km_port_invalidate") == [sfence_vma, RET]
    csrrci, andi = system(SSTATUS, SIE, 7, A0), op_imm(SIE, A0, 7, A0)
    assert words("riscv64", "km_port_interrupts_save") == [csrrci, andi, RET]
    csrs, li = system(SSTATUS, A0, 2, 0), op_imm(0, 0, 0, A0)
    assert words("riscv64", "km_port_interrupts_restore") == [csrs, li, RET]
