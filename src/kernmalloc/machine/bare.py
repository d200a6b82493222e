"""The bare machine, in kernel Python: primitives of the target itself.

`flush` and interrupts need instructions that no language has: `INSTRUCTIONS` gives them, per architecture, as LLVM IR to be
linked in. Where LLVM's assembler is not at hand it is machine code. The rest is plain loads and stores. All these targets
have pages of 4 KiB. A kernel with several processors replaces `shootdown` by its own.

Host-level code: its accesses are to the target's memory.
"""

from kernmalloc.lang import entry, i64, primitive, record, u8

invalidate = primitive("km_invalidate", 1, "Forget this processor's translation of the page at va.")

PAGE_SHIFT = 12


@record(size=8)
class Cell:
    """Eight bytes."""

    value: i64 = "the value"


@record(size=8)
class Byte:
    """One byte."""

    value: u8 = "the value"


@entry
def flush(va, pages):
    """Forget the translations of these pages."""
    for i in range(pages):
        invalidate(va + (i << PAGE_SHIFT))
    return 0


@entry
def shootdown(va, pages):
    """One processor: the same."""
    return flush(va, pages)


@entry
def forget(root, va):
    """One processor, on which that address space may be in use."""
    return flush(va, 1)


@entry
def zero(va, bytes):
    """Fill with zeros, eight bytes at a time."""
    for at in range(va, va + bytes, 8):
        Cell(at).value = 0
    return 0


@entry
def copy(to, of, bytes):
    """Copy, eight bytes at a time where both sides allow it."""
    if (to | of | bytes) & 7 == 0:
        for i in range(0, bytes, 8):
            Cell(to + i).value = Cell(of + i).value
    else:
        for i in range(bytes):
            Byte(to + i).value = Byte(of + i).value
    return 0


@entry
def known_zero(pa, bytes):
    """Nobody vouches for a real machine's memory."""
    return 0


def _code(name: str, parameters: str, *words: int) -> str:
    """IR of a primitive as machine code: its parameter is in the first argument register."""
    body = ", ".join(f"i32 {word}" for word in words)
    return (
        f'@{name}_code = internal constant [{len(words)} x i32] [{body}], section ".text", align 4\n'
        f"define i64 @{name}({parameters}) nounwind {{\n"
        f" %done = call i64 @{name}_code({parameters})\n ret i64 %done\n}}\n"
    )


def _codes(invalidate: tuple[int, ...], save: tuple[int, ...], restore: tuple[int, ...]) -> str:
    return (
        _code("km_invalidate", "i64 %va", *invalidate)
        + _code("km_interrupts_save", "", *save)
        + _code("km_interrupts_restore", "i64 %flags", *restore)
    )


def _assembly(word: int) -> str:
    """IR for x86, with words of so many bits: Intel SDM 2A and 2B, INVLPG, PUSHF, CLI, POPF."""
    native, size = f"i{word}", "q" if word == 64 else "l"
    widen = " ret i64 %f\n" if word == 64 else " %r = zext i32 %f to i64\n ret i64 %r\n"
    narrow = "" if word == 64 else " %f = trunc i64 %flags to i32\n"
    return (
        "define i64 @km_invalidate(i64 %va) nounwind {\n"
        " %p = inttoptr i64 %va to ptr\n"
        ' call void asm sideeffect "invlpg ($0)", "r,~{memory}"(ptr %p)\n ret i64 0\n}\n'
        "define i64 @km_interrupts_save() nounwind {\n"
        f' %f = call {native} asm sideeffect "pushf{size}; pop{size} $0; cli", "=r,~{{memory}}"()\n{widen}}}\n'
        "define i64 @km_interrupts_restore(i64 %flags) nounwind {\n"
        f'{narrow} call void asm sideeffect "push{size} $0; popf{size}", "r,~{{memory}},~{{cc}}"({native} %{"flags" if word == 64 else "f"})\n'
        " ret i64 0\n}\n"
    )


INSTRUCTIONS = {
    "i386": _assembly(32),
    "x86_64": _assembly(64),
    # RISC-V privileged ISA 1.12, 4.2.1: sfence.vma a0, zero; ret.  4.1.1: csrrci a0, sstatus, SIE; andi a0, a0, SIE; ret,
    # and csrs sstatus, a0; li a0, 0; ret
    "riscv64": _codes(
        (0x12050073, 0x00008067), (0x10017573, 0x00257513, 0x00008067), (0x10052073, 0x00000513, 0x00008067)
    ),
    # ARM ARM, ARMv7-A B3.18.7: dsb; mcr p15, 0, r0, c8, c7, 3 (TLBIMVAA); dsb; isb; bx lr.  B9.3: mrs r0, cpsr; cpsid i;
    # and r0, r0, #0x80; mov r1, #0; bx lr, and tst r0, #0x80; bxne lr; cpsie i; bx lr
    "armv7": _codes(
        (0xF57FF04F, 0xEE080F77, 0xF57FF04F, 0xF57FF06F, 0xE12FFF1E),
        (0xE10F0000, 0xF10C0080, 0xE2000080, 0xE3A01000, 0xE12FFF1E),
        (0xE3100080, 0x112FFF1E, 0xF1080080, 0xE12FFF1E),
    ),
    # ARM ARM, ARMv8-A D8.13: lsr x0, x0, #12; dsb ishst; tlbi vaae1is, x0; dsb ish; isb; ret.  C5.2.4: mrs x0, daif;
    # msr daifset, #2; ret, and msr daif, x0; ret
    "aarch64": _codes(
        (0xD34CFC00, 0xD5033A9F, 0xD5088360, 0xD5033B9F, 0xD5033FDF, 0xD65F03C0),
        (0xD53B4220, 0xD50342DF, 0xD65F03C0),
        (0xD51B4220, 0xD65F03C0),
    ),
}
"""Per architecture of `lang.backend.TARGETS`: the primitives that no language has."""
