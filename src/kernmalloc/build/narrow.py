"""Ways into an object of a target whose pointers are narrow: the entries take pointers, and the kernel inside 64 bits.

Compiled code has every argument and result as an int64. A C compiler of a target of 32 bits passes a reference as a
pointer. So that a header, an object and C are of one kind, each entry is a function of its own there, which makes the
numbers of the pointers that it is given and calls the kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.lang.functions import CALL, Function, signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INSIDE = "inside."


def entered(groups: Mapping[str, str], entries: Iterable[Function], bits: int) -> tuple[dict[str, str], str]:
    """The IR of groups with its entries called otherwise, and the IR of the ways in, for pointers of so many bits."""
    # to make a shift of 64 bits as small as can be, LLVM calls a library
    renamed = {
        name: text.replace(f'@"{CALL}', f'@"{INSIDE}').replace(" minsize ", " ") for name, text in groups.items()
    }
    return renamed, "".join(_way_in(entry, bits) for entry in entries)


def _way_in(entry: Function, bits: int) -> str:
    kinds, result = signature(entry)
    given = ", ".join(f"i{bits if kind else 64} %{index}" for index, kind in enumerate(kinds))
    wide = "".join(f" %w{index} = zext i{bits} %{index} to i64\n" for index, kind in enumerate(kinds) if kind)
    passed = ", ".join(f"i64 %{'w' if kind else ''}{index}" for index, kind in enumerate(kinds))
    inner = f'@"{INSIDE}{entry.__name__}"'
    answer = f" %short = trunc i64 %answer to i{bits}\n ret i{bits} %short\n" if result else " ret i64 %answer\n"
    return (
        f"declare i64 {inner}({', '.join('i64' for _ in kinds)})\n"
        f'define i{bits if result else 64} @"{CALL}{entry.__name__}"({given}) nounwind "no-builtins" {{\n'
        f"{wide} %answer = call i64 {inner}({passed})\n{answer}}}\n"
    )
