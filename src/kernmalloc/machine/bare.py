"""The bare machine, in kernel Python: primitives of the target itself.

`flush` needs an instruction that no language has: `INVALIDATE` gives it, per architecture, as LLVM IR to be linked in.
Where LLVM's assembler is not at hand it is machine code. The rest is plain loads and stores. All these targets have pages
of 4 KiB. A kernel with several processors replaces `shootdown` by its own.

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


def _code(*words: int) -> str:
    """IR of km_invalidate as machine code: the VA is in the first argument register."""
    body = ", ".join(f"i32 {word}" for word in words)
    return (
        f'@km_invalidate_code = internal constant [{len(words)} x i32] [{body}], section ".text", align 4\n'
        "define i64 @km_invalidate(i64 %va) nounwind {\n"
        " %done = call i64 @km_invalidate_code(i64 %va)\n ret i64 0\n}\n"
    )


def _assembly(pointer: str) -> str:
    """IR of km_invalidate for x86: Intel SDM 2A, INVLPG."""
    return (
        "define i64 @km_invalidate(i64 %va) nounwind {\n"
        f" %p = {pointer}\n"
        ' call void asm sideeffect "invlpg ($0)", "r,~{memory}"(ptr %p)\n ret i64 0\n}\n'
    )


INVALIDATE = {
    "i386": _assembly("inttoptr i64 %va to ptr"),
    "x86_64": _assembly("inttoptr i64 %va to ptr"),
    # RISC-V privileged ISA 1.12, 4.2.1: sfence.vma a0, zero; ret
    "riscv64": _code(0x12050073, 0x00008067),
    # ARM ARM, ARMv7-A B3.18.7: dsb; mcr p15, 0, r0, c8, c7, 3 (TLBIMVAA); dsb; isb; bx lr
    "armv7": _code(0xF57FF04F, 0xEE080F77, 0xF57FF04F, 0xF57FF06F, 0xE12FFF1E),
    # ARM ARM, ARMv8-A D8.13: lsr x0, x0, #12; dsb ishst; tlbi vaae1is, x0; dsb ish; isb; ret
    "aarch64": _code(0xD34CFC00, 0xD5033A9F, 0xD5088360, 0xD5033B9F, 0xD5033FDF, 0xD65F03C0),
}
"""Per architecture of `lang.backend.TARGETS`: the primitive `km_invalidate`."""
