"""Primitives as machine code, as LLVM IR: for targets whose assembler llvmlite does not bring."""

from __future__ import annotations


def primitives(invalidate: tuple[int, ...], save: tuple[int, ...], restore: tuple[int, ...]) -> str:
    """The IR of what a bare machine must supply: the words of three functions. A parameter is in the first argument
    register."""
    return (
        _code("km_port_invalidate", "i64 %va", invalidate)
        + _code("km_port_interrupts_save", "", save)
        + _code("km_port_interrupts_restore", "i64 %flags", restore)
    )


def _code(name: str, parameters: str, words: tuple[int, ...]) -> str:
    body = ", ".join(f"i32 {word}" for word in words)
    return (
        f'@{name}_code = internal constant [{len(words)} x i32] [{body}], section ".text", align 4\n'
        f"define i64 @{name}({parameters}) nounwind {{\n"
        f" %done = call i64 @{name}_code({parameters})\n ret i64 %done\n}}\n"
    )
