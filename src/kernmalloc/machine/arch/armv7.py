"""ARM of 32 bits. ARMv7-A is a target for objects; the kernel knows no format of its page tables yet. ARMv7-M has no
page tables: it is for arenas, and for kernels that bring tables of their own.

The manuals are the ARM Architecture Reference Manuals, ARMv7-A and ARMv7-R, and ARMv7-M.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import machine_code
from kernmalloc.machine.arch.model import Arch, Compiler

ARMV7 = Arch(
    name="armv7",
    target=Target(
        "armv7-none-eabi", "generic", "+v7,+soft-float,-neon,-vfp2,-fpregs", pause="@llvm.arm.hint(i32 1)", pointer=32
    ),
    instructions=machine_code.primitives(
        # B3.18.7: dsb; mcr p15, 0, r0, c8, c7, 3 (TLBIMVAA); dsb; isb; bx lr
        invalidate=(0xF57FF04F, 0xEE080F77, 0xF57FF04F, 0xF57FF06F, 0xE12FFF1E),
        # B9.3: mrs r0, cpsr; cpsid i; and r0, r0, #0x80; mov r1, #0; bx lr
        save=(0xE10F0000, 0xF10C0080, 0xE2000080, 0xE3A01000, 0xE12FFF1E),
        restore=(0xE3100080, 0x112FFF1E, 0xF1080080, 0xE12FFF1E),  # tst r0, #0x80; bxne lr; cpsie i; bx lr
    ),
    compilers=(Compiler("arm-none-eabi", ("-mcpu=cortex-a7", "-mfloat-abi=soft")),),
)

ARMV7M = Arch(
    name="armv7m",
    compilers=(
        Compiler("arm-none-eabi", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft")),
        Compiler("arm-none-eabi", ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft")),
    ),
)
