"""The document of the formats of page tables, made from `machine/arch`: shapes, levels, fields, and their sources.

python -m kernmalloc.build.architectures > docs/architectures.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.build.reference import table
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.arch import ARCHES
from kernmalloc.machine.arch.model import ATTRIBUTE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernmalloc.machine.arch.entries import Field, Recipe
    from kernmalloc.machine.arch.model import Arch, Format

HEAD = """# Architectures

How page tables are written, of each format that a profile may name (`arch = "..."`). `make reference` makes this file
from `src/kernmalloc/machine/arch`; `kernmalloc_entries.h` of an export has the fields for C.
[Adding](adding.md#an-architecture) shows how a format is added.

- A *root* or a *table* entry leads to a table, a *large* entry maps a page above the lowest tables, a *leaf* entry maps
  a page in them. Bits that no field covers are reserved.
- What the kernel makes is said by fields that are not 0. *page* and *user large* are for processes: they may execute,
  and not write yet.
- *in a walk* a right must be given by every entry on the way that has the field. Some processors of RISC-V and ARM set
  what was used themselves, where software may.
- *cached* says what a leaf has for each way to cache its page. *registers* are those that whoever boots must set, for
  entries to mean this.
- The source of a field is a place in the manual that the format names.
"""


def text() -> str:
    """The whole document, as Markdown."""
    every = [format for arch in ARCHES.values() for format in arch.formats if format.has_tables]
    parts = [HEAD, "## All of them\n", _shapes(sorted(every, key=lambda format: format.number))]
    for arch in ARCHES.values():
        if any(format.has_tables for format in arch.formats):
            parts += _chapter(arch)
    return "\n".join(parts)


def _shapes(formats: Iterable[Format]) -> str:
    rows = []
    for format in formats:
        levels = ", ".join(str(level.shift) for level in format.levels)
        sizes = sorted({page for level in format.levels for page in level.pages})
        pages = ", ".join(_bytes(page) for page in sizes)
        rows.append(
            (
                f"`{format.name}`",
                str(format.number),
                str(format.va_bits),
                str(format.phys_bits),
                levels,
                pages,
                _bytes(format.page_shift + format.index_bits),
                f"{format.tlb} entries, by software" if format.tlb else "by the processor",
            )
        )
    heads = ("format", "number", "bits of a virtual address", "of a physical one", "shifts of the levels")
    return table((*heads, "pages", "large page of the kernel", "TLB loaded"), rows)


def _chapter(arch: Arch) -> Iterator[str]:
    yield f"## {arch.name}\n"
    told: dict[tuple[Field, ...], str] = {}
    for format in arch.formats:
        yield f"### {format.name}\n"
        yield f"{format.manual}. {_group(format)}\n"
        yield _levels(format)
        for kind, fields in format.fields.items():
            if fields in told:
                yield f"A *{kind}* entry is as {told[fields]}.\n"
                continue
            told[fields] = f"a *{kind}* entry of {format.name}"
            yield f"A *{kind}* entry:\n"
            yield _fields(fields)
        yield _walked(format)
        yield _made(format)
        yield _cached(format)
        if format.registers:
            rows = [(f"`{name}`", f"`{value:#x}`", why) for name, value, why in format.registers]
            yield table(("register", "value", "why"), rows)


def _group(format: Format) -> str:
    if format.group == 1:
        apart = 1 << format.entry_shift
        return f"Entries have {1 << format.word_shift} bytes" + (
            f", {apart} bytes apart." if format.entry_shift != format.word_shift else "."
        )
    return (
        f"Entries have {1 << format.word_shift} bytes. {format.group} upper entries, side by side, are one of the "
        f"kernel, and a root has {format.root_pages} frames."
    )


def _levels(format: Format) -> str:
    rows = []
    for level in format.levels:
        for form in level.forms:
            does = f"maps {_bytes(form.page)}" if form.page else "leads to a table"
            rows.append((str(level.shift), str(1 << level.bits), f"*{form.kind}*", _recipe(form.tells), does))
    return table(("shift", "entries", "an entry is", "if", "and"), rows)


def _fields(fields: Iterable[Field]) -> str:
    rows = []
    for name, low, width, meaning, source in sorted(fields, key=lambda each: each.low):
        bits = str(low) if width == 1 else f"{low + width - 1}:{low}"
        rows.append((bits, f"`{name}`", meaning, source))
    return table(("bits", "field", "meaning", "source"), rows)


def _walked(format: Format) -> str:
    """What a processor, or the handler that loads its TLB, makes of entries."""
    walking = format.walking
    guarded = (
        (walking.keeps_from_users_pages, "read or write what users may access"),
        (walking.keeps_from_users_code, "execute what users may access"),
        (walking.keeps_from_users_data, "execute what users may write"),
    )
    keeps = [what for has, what in guarded if has]
    marked = ", ".join(f"`{name}`" for name in (format.meaning.used, walking.dirty) if name)
    addresses = {
        "none": f"{format.va_bits} bits",
        "sign": f"{format.va_bits} bits, the highest extended",
        "both": f"{format.va_bits} bits, and zeros or ones above",
    }
    rows = [
        ("may be read", _recipe(walking.read) or "always"),
        ("may be written", _recipe(walking.write)),
        ("the kernel may execute", _recipe(walking.execute) or "always"),
        ("users may access", _recipe(walking.user)),
        ("users may execute", _recipe(walking.user_execute) or "what they may access"),
        *[("the kernel may not", "; ".join(keeps))] * bool(keeps),
        (f"{marked} is set", "by the processor" if walking.sets_used else "by software, on a fault"),
        ("reserved bits", "are a fault" if walking.strict else "are ignored"),
        ("addresses have", addresses[walking.halves]),
    ]
    return table(("in a walk", "what counts"), rows)


def _made(format: Format) -> str:
    rows = [
        (name.replace("_", " "), _recipe({field: value for field, value in recipe.items() if value}))
        for name, recipe in zip(format.made._fields, format.made, strict=True)
    ]
    return table(("the kernel makes", "with"), rows)


def _cached(format: Format) -> str:
    rows = [
        (name, "no such way" if way is None else _recipe(way) or "nothing: by its address or as usual")
        for name, way in zip(ATTRIBUTE_NAMES, format.caching, strict=True)
    ]
    return table(("cached", "by"), rows)


def _recipe(recipe: Recipe) -> str:
    return ", ".join(f"`{name}` {value}" for name, value in recipe.items())


def _bytes(shift: int) -> str:
    return size(1 << shift)


if __name__ == "__main__":
    print(text(), end="")
