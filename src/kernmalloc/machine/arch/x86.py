"""x86 of 32 and 64 bits: two levels with entries of 4 bytes, PAE paging, and paging of 4 and 5 levels.

The manual is the Intel SDM, volume 3A, of an edition in which paging is chapter 4.

    shift of the index at each level     i386: 22, 12     i386-pae: 30, 21, 12
                                         x86_64: 39, 30, 21, 12     x86_64-la57: 48, 39, 30, 21, 12
    bytes of a page, of a large page     4 KiB; 4 MiB with entries of 4 bytes, else 2 MiB

A processor that has such pages maps 1 GiB by an entry of shift 30, from 4 levels on. Entries of 4 bytes reach 4 GiB
here: what PSE-36 adds to large pages is 0.
"""

from __future__ import annotations

from kernmalloc.lang.target import Target
from kernmalloc.machine.arch.entries import (
    LARGE,
    LEAF,
    ROOT,
    TABLE,
    Caching,
    Field,
    Form,
    Level,
    Made,
    Meaning,
    Register,
    Walking,
    layout,
)
from kernmalloc.machine.arch.model import Arch, Compiler, Format

_MANUAL = "Intel SDM volume 3A, chapter 4"
_EVERY = (
    Register("IA32_PAT", 0x0001_0406_0007_0406, "as after reset, but PA6, which is write combining: 12.12.4"),
    Register("CR0.WP", 1, "read only holds for the kernel, too: 4.6.1"),
    Register("CR4.PGE", 1, "G counts: 4.10.2.4"),
)
_WIDE = (Register("CR4.PAE", 1, "entries have 8 bytes: 4.1.1"), Register("IA32_EFER.NXE", 1, "XD counts: 4.6"))
_LONG = (*_WIDE, Register("IA32_EFER.LME", 1, "4 levels: 4.1.1"))

_P = ("P", 0, 1, "present")
_RW = ("RW", 1, 1, "may be written: 4.6")
_US = ("US", 2, 1, "users may access: 4.6")
_PWT = ("PWT", 3, 1, "with PCD and PAT the index into IA32_PAT, lowest bit first: 4.9.2")
_PCD = ("PCD", 4, 1, "see PWT")
_A = ("A", 5, 1, "accessed: 4.8")
_D = ("D", 6, 1, "dirty: 4.8")
_PS = ("PS", 7, 1, "maps a page")
_G = ("G", 8, 1, "global, if CR4.PGE = 1: 4.10")
_XD = ("XD", 63, 1, "may not be executed, if IA32_EFER.NXE = 1: 4.6; else reserved")
_PK = ("PK", 59, 4, "protection key, if CR4.PKE or CR4.PKS = 1: 4.6.2; else ignored")
_IGNORED = ("ignored", 9, 3, "the processor does not look at it")
_RIGHTS = (_P, _RW, _US, _PWT, _PCD, _A)


def _two_levels() -> dict[str, tuple[Field, ...]]:
    table = (
        *_RIGHTS,
        ("unused", 6, 1, "ignored"),
        _PS,
        ("ignored", 8, 4, "ignored"),
        ("address", 12, 20, "of a table"),
    )
    large = (*_RIGHTS, _D, _PS, _G, _IGNORED, ("PAT", 12, 1, "see PWT"), ("address", 22, 10, "of 4 MiB"))
    leaf = (*_RIGHTS, _D, ("PAT", 7, 1, "see PWT"), _G, _IGNORED, ("address", 12, 20, "of a page"))
    return {
        ROOT: layout("table 4-5", *table),
        TABLE: layout("table 4-5", *table),
        LARGE: layout("table 4-4", *large),
        LEAF: layout("table 4-6", *leaf),
    }


def _mapping(high: tuple[tuple[str, int, int, str], ...], large: str, leaf: str) -> dict[str, tuple[Field, ...]]:
    """Entries of 8 bytes that map, with what they have from bit 52 on, and the tables that tell."""
    return {
        LARGE: layout(
            large, *_RIGHTS, _D, _PS, _G, _IGNORED, ("PAT", 12, 1, "see PWT"), ("address", 21, 31, "of 2 MiB"), *high
        ),
        LEAF: layout(
            leaf, *_RIGHTS, _D, ("PAT", 7, 1, "see PWT"), _G, _IGNORED, ("address", 12, 40, "of a page"), *high
        ),
    }


_ADDRESS = ("address", 12, 40, "of a table")
_NOTED = ("noted", 5, 1, "reserved, which a load of CR3 asks and no walk: QEMU's processor notes a use here")
_PAE_FIELDS = {
    ROOT: layout("table 4-8", _P, _PWT, _PCD, _NOTED, _IGNORED, _ADDRESS),
    TABLE: layout(
        "table 4-10", *_RIGHTS, ("unused", 6, 1, "ignored"), _PS, ("ignored", 8, 4, "ignored"), _ADDRESS, _XD
    ),
    **_mapping((_XD,), "table 4-9", "table 4-11"),
}
_LONG_ROOT = (
    *_RIGHTS,
    ("unused", 6, 1, "ignored"),
    ("ignored", 8, 4, "ignored"),
    _ADDRESS,
    ("available", 52, 11, "ignored"),
    _XD,
)
_LONG_TABLE = (*_LONG_ROOT, _PS)
_LONG_HIGH = (("available", 52, 7, "ignored"), _PK, _XD)
PML4 = "pml4"  # the root's entries of 4 levels, in the tables below the root of 5

_LONG_FIELDS = {
    ROOT: layout("tables 4-14 and 4-15", *_LONG_ROOT),
    TABLE: layout("tables 4-15, 4-17 and 4-19", *_LONG_TABLE),
    **_mapping(_LONG_HIGH, "table 4-18", "table 4-20"),
}
_LA57_FIELDS = {**_LONG_FIELDS, PML4: layout("table 4-15", *_LONG_ROOT)}

_TOP = (Form(ROOT, {"P": 1}),)
_LOWEST = (Form(LEAF, {"P": 1}, 12),)


def _upper(page: int, kind: str = TABLE) -> tuple[Form, ...]:
    """Forms where an entry leads to a table or maps a page."""
    return Form(kind, {"P": 1, "PS": 0}), Form(LARGE, {"P": 1, "PS": 1}, page)


_TABLE = {"P": 1, "RW": 1, "A": 1}
_USER_TABLE = {**_TABLE, "US": 1}
_LEAF = {**_TABLE, "D": 1, "G": 1}


def _format(
    *,
    name: str,
    number: int,
    va_bits: int,
    phys_bits: int,
    root_phys_bits: int | None = None,
    user_end: int,
    word_shift: int,
    levels: tuple[Level, ...],
    fields: dict[str, tuple[Field, ...]],
    root: dict[str, int],
    user_root: dict[str, int],
    executable: dict[str, int],
    registers: tuple[Register, ...],
) -> Format:
    return Format(
        name=name,
        number=number,
        manual=_MANUAL,
        va_bits=va_bits,
        phys_bits=phys_bits,
        root_phys_bits=root_phys_bits,
        user_end=user_end,
        page_shift=12,
        word_shift=word_shift,
        levels=levels,
        fields=fields,
        meaning=Meaning(present="P", large={"PS": 1}, used="A", writable={"RW": 1}, executable=executable),
        made=Made(
            root=root,
            table=_TABLE,
            user_root=user_root,
            user_table=_USER_TABLE,
            leaf=_LEAF,
            large={**_LEAF, "PS": 1},
            page={"P": 1, "US": 1},
            user_large={"P": 1, "US": 1, "A": 1, "PS": 1},
        ),
        caching=Caching(  # table 12-11
            write_back={},
            write_through={"PWT": 1},
            uncached={"PCD": 1, "PWT": 1},
            write_combining={"PAT": 1, "PCD": 1},
        ),
        walking=Walking(
            read={},
            write={"RW": 1},
            execute=executable,
            user={"US": 1},
            user_execute=executable,
            dirty="D",
            strict=True,
            halves="sign" if va_bits > 32 else "none",
        ),
        registers=(*_EVERY, *registers),
    )


def _assembly(word: int) -> str:
    """IR of the primitives for words of so many bits: SDM 2A and 2B, INVLPG, PUSHF, CLI, POPF, STOS, MOVS, REP. The
    direction flag is clear, as the ABI has it."""
    native, size = f"i{word}", "q" if word == 64 else "l"
    widen = " ret i64 %f\n" if word == 64 else " %r = zext i32 %f to i64\n ret i64 %r\n"
    narrow = "" if word == 64 else " %f = trunc i64 %flags to i32\n"
    flags = "%flags" if word == 64 else "%f"
    unit, rest = word.bit_length() - 4, word // 8 - 1  # log2 of a word's bytes, and what is no word of a number of them
    count = " %n = add i64 %bytes, 0\n" if word == 64 else " %n = trunc i64 %bytes to i32\n"
    return (
        "define i64 @km_port_invalidate(i64 %va) nounwind {\n"
        " %p = inttoptr i64 %va to ptr\n"
        ' call void asm sideeffect "invlpg ($0)", "r,~{memory}"(ptr %p)\n ret i64 0\n}\n'
        "define i64 @km_port_interrupts_save() nounwind {\n"
        f' %f = call {native} asm sideeffect "pushf{size}; pop{size} $0; cli", "=r,~{{memory}}"()\n{widen}}}\n'
        "define i64 @km_port_interrupts_restore(i64 %flags) nounwind {\n"
        f'{narrow} call void asm sideeffect "push{size} $0; popf{size}", "r,~{{memory}},~{{cc}}"({native} {flags})\n'
        " ret i64 0\n}\n"
        "define i64 @km_port_zero(i64 %va, i64 %bytes) nounwind {\n"
        f" %p = inttoptr i64 %va to ptr\n{count} %words = lshr {native} %n, {unit}\n"
        f' call {{ptr, {native}}} asm sideeffect "rep stos{size}", "={{di}},={{cx}},{{ax}},0,1,~{{memory}}"'
        f"({native} 0, ptr %p, {native} %words)\n ret i64 0\n}}\n"
        "define i64 @km_port_copy(i64 %to, i64 %of, i64 %bytes) nounwind {\n"
        f" %p = inttoptr i64 %to to ptr\n %q = inttoptr i64 %of to ptr\n{count} %words = lshr {native} %n, {unit}\n"
        f" %left = and {native} %n, {rest}\n"
        f' call {{ptr, ptr, {native}}} asm sideeffect "rep movs{size}; mov $6, $2; rep movsb", '
        '"={di},={si},={cx},0,1,2,r,~{memory}"'
        f"(ptr %p, ptr %q, {native} %words, {native} %left)\n ret i64 0\n}}\n"
    )


_FEATURES = "-x87,-mmx,-sse,-sse2,+soft-float"
_PAUSE = "@llvm.x86.sse2.pause()"

I386 = Arch(
    name="i386",
    formats=(
        _format(
            name="i386-pae",
            number=1,
            va_bits=32,
            phys_bits=52,
            root_phys_bits=32,  # CR3: table 4-7
            user_end=0xC000_0000,  # the kernel's share is the last 1 GiB: one entry of the root
            word_shift=3,
            levels=(
                Level(30, 2, _TOP),
                Level(21, 9, _upper(21)),
                Level(12, 9, _LOWEST),
            ),  # 4.4; CR3 leads to four entries: 4.4.1
            fields=_PAE_FIELDS,
            root={"P": 1},  # table 4-8 reserves the rights bits
            user_root={"P": 1},
            executable={"XD": 0},
            registers=_WIDE,
        ),
        _format(
            name="i386",
            number=5,
            va_bits=32,
            phys_bits=32,
            user_end=0xC000_0000,
            word_shift=2,
            levels=(Level(22, 10, _upper(22, ROOT)), Level(12, 10, _LOWEST)),  # 4.3, with CR4.PSE = 1
            fields=_two_levels(),
            root=_TABLE,
            user_root=_USER_TABLE,
            executable={},
            registers=(Register("CR4.PSE", 1, "PS counts: 4.3"),),
        ),
    ),
    target=Target("i386-unknown-none-elf", "i686", _FEATURES, pause=_PAUSE, pointer=32),
    instructions=_assembly(32),
    compilers=(Compiler("i686-linux-gnu", ("-march=i686", "-mgeneral-regs-only")),),
)

_LOWER_LEVELS = (Level(30, 9, _upper(30)), Level(21, 9, _upper(21)), Level(12, 9, _LOWEST))

X86_64 = Arch(
    name="x86_64",
    formats=(
        _format(
            name="x86_64",
            number=2,
            va_bits=48,
            phys_bits=52,
            user_end=1 << 47,  # the lower half of the canonical addresses
            word_shift=3,
            levels=(Level(39, 9, _TOP), *_LOWER_LEVELS),  # 4.5
            fields=_LONG_FIELDS,
            root=_TABLE,
            user_root=_USER_TABLE,
            executable={"XD": 0},
            registers=_LONG,
        ),
        _format(
            name="x86_64-la57",
            number=6,
            va_bits=57,
            phys_bits=52,
            user_end=1 << 56,
            word_shift=3,
            levels=(
                Level(48, 9, _TOP),
                Level(39, 9, (Form(PML4, {"P": 1}),)),
                *_LOWER_LEVELS,
            ),  # 4.5, with CR4.LA57 = 1
            fields=_LA57_FIELDS,
            root=_TABLE,
            user_root=_USER_TABLE,
            executable={"XD": 0},
            registers=(*_LONG, Register("CR4.LA57", 1, "5 levels: 4.1.1")),
        ),
    ),
    target=Target("x86_64-unknown-none-elf", "x86-64", _FEATURES, pause=_PAUSE),
    instructions=_assembly(64),
    compilers=(Compiler("x86_64-linux-gnu", ("-mno-red-zone", "-mgeneral-regs-only", "-mcmodel=kernel")),),
)
