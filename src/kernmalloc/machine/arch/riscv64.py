"""RISC-V of 64 bits: a target for objects. The kernel knows no format of its page tables yet.

The manual is the RISC-V privileged ISA, version 1.12.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import machine_code
from kernmalloc.machine.arch.model import Arch, Compiler

RISCV64 = Arch(
    name="riscv64",
    # the code model "medium" is medany: RAM starts at 2 GiB there
    target=Target(
        "riscv64-unknown-none-elf", "generic-rv64", "+m,+a,+zihintpause", "medium", pause="@llvm.riscv.pause()"
    ),
    instructions=machine_code.primitives(
        invalidate=(0x12050073, 0x00008067),  # 4.2.1: sfence.vma a0, zero; ret
        save=(0x10017573, 0x00257513, 0x00008067),  # 4.1.1: csrrci a0, sstatus, SIE; andi a0, a0, SIE; ret
        restore=(0x10052073, 0x00000513, 0x00008067),  # csrs sstatus, a0; li a0, 0; ret
    ),
    compilers=(Compiler("riscv64-linux-gnu", ("-march=rv64ima", "-mabi=lp64", "-mcmodel=medany")),),
    conventions={"lp64d": 0x4},  # psABI, "File Header": EF_RISCV_FLOAT_ABI_DOUBLE, which gcc for Linux assumes
)
