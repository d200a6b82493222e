"""kernmalloc_entries.h: entries of page tables for C, field by field, for ports that read or write tables of their own.

KM_X86_64_LEAF_RW        the bits of a field, in entries of one kind
KM_ARMV7_LEAF_TEX_SHIFT  number of its lowest bit, where it has several
KM_X86_64_MADE_LEAF      an entry that the kernel makes, without its address
KM_AARCH64_SET_MAIR_EL1  what a system register must hold
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernmalloc.machine.arch.entries import Field
    from kernmalloc.machine.arch.model import Format

NAME = "kernmalloc_entries.h"

_HEAD = """/* Entries of page tables, as the processor reads them and as the kernel writes them.
 *
 *     entry = (pa >> PA_SHIFT) | MADE_...        pa = (entry & ADDRESS) << PA_SHIFT
 *     it leads somewhere if entry & PRESENT is not 0
 *
 * A name has its format in front, then the kind of entry. The registers under SET hold what makes entries mean this. */
#ifndef KERNMALLOC_ENTRIES_H
#define KERNMALLOC_ENTRIES_H

#include <stdint.h>
"""


def entries_header(formats: Iterable[Format]) -> str:
    """The header for these formats."""
    parts = [_HEAD]
    for format in formats:
        lines = "\n".join(_lines(format))
        parts.append(f"\n/* {format.name}: {format.manual} */\n\n{lines}\n")
    return "".join([*parts, "\n#endif\n"])


def _lines(format: Format) -> Iterator[str]:
    prefix = f"KM_{_upper(format.name)}_"
    for name in ("page_shift", "index_bits", "va_bits", "phys_bits", "pa_shift"):
        yield f"#define {prefix}{name.upper()} {getattr(format, name)}"
    for name in ("address", "present"):
        yield f"#define {prefix}{name.upper()} {_word(getattr(format, name))}"
    for kind, fields in format.fields.items():
        yield ""
        for each in fields:
            yield from _field(f"{prefix}{_upper(kind)}_{_upper(each.name)}", each)
    yield ""
    for name in format.made._fields:
        yield f"#define {prefix}MADE_{name.upper()} {_word(getattr(format, name))}"
    for register in format.registers:
        yield f"#define {prefix}SET_{_upper(register.name)} {_word(register.value)} /* {register.why} */"


def _field(name: str, field: Field) -> Iterator[str]:
    yield f"#define {name} {_word(field.mask)} /* {field.meaning} ({field.source}) */"
    if field.width > 1:
        yield f"#define {name}_SHIFT {field.low}"


def _word(value: int) -> str:
    return f"UINT64_C({value:#x})"


def _upper(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")
