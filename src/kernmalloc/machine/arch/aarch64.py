"""ARM of 64 bits, ARMv8-A: a target for objects. The kernel knows no format of its page tables yet.

The manual is the ARM Architecture Reference Manual, ARMv8-A.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch import machine_code
from kernmalloc.machine.arch.model import Arch, Compiler

AARCH64 = Arch(
    name="aarch64",
    target=Target("aarch64-none-elf", "generic", "-neon,-fp-armv8", pause="@llvm.aarch64.hint(i32 1)"),
    instructions=machine_code.primitives(
        # D8.13: lsr x0, x0, #12; dsb ishst; tlbi vaae1is, x0; dsb ish; isb; ret
        invalidate=(0xD34CFC00, 0xD5033A9F, 0xD5088360, 0xD5033B9F, 0xD5033FDF, 0xD65F03C0),
        save=(0xD53B4220, 0xD50342DF, 0xD65F03C0),  # C5.2.4: mrs x0, daif; msr daifset, #2; ret
        restore=(0xD51B4220, 0xD65F03C0),  # msr daif, x0; ret
    ),
    # outline atomics are calls into a library
    compilers=(Compiler("aarch64-linux-gnu", ("-mgeneral-regs-only", "-mno-outline-atomics")),),
)
