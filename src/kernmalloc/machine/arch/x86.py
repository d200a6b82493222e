"""x86 of 32 and 64 bits: PAE paging and 4-level paging, which have one format of entries.

The manual is the Intel SDM, volume 3A, of an edition in which paging is chapter 4. The formats differ in depth and in
the rights bits of the root's entries.

    shift of the index at each level     i386 PAE: 30, 21, 12      x86-64: 39, 30, 21, 12
    bytes of a page, of a large page     4 KiB, 2 MiB

How a page is cached is an index into IA32_PAT (12.12). Whoever boots makes its seventh field, PA6, write combining (1)
and leaves the others as they are after reset; if nobody does, those pages are uncached.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch.model import Arch, Caching, Compiler, Format

# bits of an entry: tables 4-8 to 4-11 of PAE paging, 4-15 to 4-20 of 4-level paging
PRESENT = 1 << 0
WRITE = 1 << 1
USER = 1 << 2
PWT = 1 << 3  # with PCD and PAT the index into IA32_PAT, lowest bit first (4.9.2)
PCD = 1 << 4
ACCESSED = 1 << 5  # 4.8
DIRTY = 1 << 6
LARGE = 1 << 7
PAT = 1 << 7  # of a leaf entry
GLOBAL = 1 << 8  # 4.10.2.4
ADDRESS = 0x000F_FFFF_FFFF_F000
NO_EXECUTE = 63  # number of the bit, which IA32_EFER.NXE = 1 allows: 4.6

_TABLE = PRESENT | WRITE | ACCESSED
_LEAF = _TABLE | DIRTY | GLOBAL
_CACHING = Caching(write_back=0, write_through=PWT, uncached=PCD | PWT, write_combining=PAT | PCD)  # table 12-11


def _format(*, name: str, number: int, va_bits: int, root_shift: int, user_end: int, root: int) -> Format:
    return Format(
        name=name,
        number=number,
        va_bits=va_bits,
        phys_bits=52,
        page_shift=12,
        index_bits=9,
        root_shift=root_shift,
        user_end=user_end,
        address=ADDRESS,
        present_bit=PRESENT,
        write_bit=WRITE,
        used_bit=ACCESSED,
        large_bit=LARGE,
        no_execute=NO_EXECUTE,
        root=root,
        table=_TABLE,
        user_table=_TABLE | USER,
        leaf=_LEAF,
        large=_LEAF | LARGE,  # tables 4-9 and 4-18
        page=PRESENT | USER,
        cache_mask=PAT | PCD | PWT,
        caching=_CACHING,
    )


def _assembly(word: int) -> str:
    """IR of the primitives for words of so many bits: SDM 2A and 2B, INVLPG, PUSHF, CLI, POPF."""
    native, size = f"i{word}", "q" if word == 64 else "l"
    widen = " ret i64 %f\n" if word == 64 else " %r = zext i32 %f to i64\n ret i64 %r\n"
    narrow = "" if word == 64 else " %f = trunc i64 %flags to i32\n"
    flags = "%flags" if word == 64 else "%f"
    return (
        "define i64 @km_port_invalidate(i64 %va) nounwind {\n"
        " %p = inttoptr i64 %va to ptr\n"
        ' call void asm sideeffect "invlpg ($0)", "r,~{memory}"(ptr %p)\n ret i64 0\n}\n'
        "define i64 @km_port_interrupts_save() nounwind {\n"
        f' %f = call {native} asm sideeffect "pushf{size}; pop{size} $0; cli", "=r,~{{memory}}"()\n{widen}}}\n'
        "define i64 @km_port_interrupts_restore(i64 %flags) nounwind {\n"
        f'{narrow} call void asm sideeffect "push{size} $0; popf{size}", "r,~{{memory}},~{{cc}}"({native} {flags})\n'
        " ret i64 0\n}\n"
    )


_FEATURES = "-x87,-mmx,-sse,-sse2,+soft-float"
_PAUSE = "@llvm.x86.sse2.pause()"

I386 = Arch(
    name="i386",
    format=_format(
        name="i386-pae",
        number=1,
        va_bits=32,  # 4.4
        root_shift=30,  # four entries, which CR3 leads to: 4.4.1
        user_end=0xC000_0000,  # the kernel's share is the last 1 GiB: one entry of the root
        root=PRESENT,  # table 4-8 reserves the rights bits
    ),
    target=Target("i386-unknown-none-elf", "i686", _FEATURES, pause=_PAUSE, pointer=32),
    instructions=_assembly(32),
    compilers=(Compiler("i686-linux-gnu", ("-march=i686", "-mgeneral-regs-only")),),
)

X86_64 = Arch(
    name="x86_64",
    format=_format(
        name="x86_64",
        number=2,
        va_bits=48,  # 4.5
        root_shift=39,
        user_end=1 << 47,  # the lower half of the canonical addresses
        root=_TABLE,  # table 4-15
    ),
    target=Target("x86_64-unknown-none-elf", "x86-64", _FEATURES, pause=_PAUSE),
    instructions=_assembly(64),
    compilers=(Compiler("x86_64-linux-gnu", ("-mno-red-zone", "-mgeneral-regs-only", "-mcmodel=kernel")),),
)
