"""Architectures as text and as JSON: page tables field by field, the processors that walk them, and who says so."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec

from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.sizes import size
from kernmalloc.machine.arch import ARCHES, ATTRIBUTE_NAMES, TARGETS
from kernmalloc.machine.arch.processors import PROCESSORS, processor_for
from kernmalloc.report.text import Cells, columns, fitted, paragraph, section
from kernmalloc.report.units import several

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernmalloc.machine.arch.model import Arch, Format
    from kernmalloc.machine.arch.processors import Processor, Tlb


class TlbLine(msgspec.Struct, frozen=True, kw_only=True):
    """One TLB: `ways` entries in each of `sets`; `pages` are the sizes that an entry can have, in bytes; `replacement`
    is as well known as `replacement_known` says."""

    name: str
    kind: str
    level: int
    entries: int
    sets: int
    ways: int
    pages: tuple[int, ...]
    replacement: str
    replacement_known: str
    source: str


class ProcessorLine(msgspec.Struct, frozen=True, kw_only=True):
    """One processor: who loads its TLB (`hardware`, `software`), what a miss costs in cycles, and how well that is
    known (`documented`, `measured`, `estimate`)."""

    name: str
    title: str
    formats: tuple[str, ...]
    loads: str
    second_cycles: int
    walk_cycles: int
    cost: str
    cost_source: str
    asid_bits: int
    global_entries: bool
    locks: bool
    source: str
    tlbs: tuple[TlbLine, ...]


class LevelLine(msgspec.Struct, frozen=True):
    """One level of tables, from the root down: the shift of its index, entries of a table, bytes of the pages that an
    entry may map."""

    shift: int
    entries: int
    pages: tuple[int, ...]


class FieldLine(msgspec.Struct, frozen=True):
    """One field of an entry of a kind: root, table, large, leaf."""

    kind: str
    name: str
    low: int
    width: int
    meaning: str
    source: str


class RegisterLine(msgspec.Struct, frozen=True):
    """A register that whoever boots must set, or what of it, for entries to mean what they say."""

    name: str
    value: int
    why: str


class FormatLine(msgspec.Struct, frozen=True, kw_only=True):
    """One format of page tables. `page` and `large_page` are what the kernel maps, in bytes; `user_end` is the first
    address above what a process may map; `processor` is taken where a profile names none."""

    name: str
    arch: str
    number: int
    manual: str
    va_bits: int
    phys_bits: int
    page: int
    large_page: int
    user_end: int
    entry_bytes: int
    levels: tuple[LevelLine, ...]
    attributes: tuple[str, ...]
    registers: tuple[RegisterLine, ...]
    fields: tuple[FieldLine, ...]
    processor: str
    profiles: tuple[str, ...]


class ArchLine(msgspec.Struct, frozen=True, kw_only=True):
    """One architecture: what objects are made for it (by LLVM, or C alone), its formats, and the machines whose kernel
    is for it."""

    name: str
    objects: bool
    compilers: tuple[str, ...]
    formats: tuple[FormatLine, ...]
    processors: tuple[ProcessorLine, ...]


def _tlb(tlb: Tlb) -> TlbLine:
    return TlbLine(**{name: getattr(tlb, name) for name in TlbLine.__struct_fields__})


def processor_line(processor: Processor) -> ProcessorLine:
    """A processor."""
    plain = {name: getattr(processor, name) for name in ProcessorLine.__struct_fields__ if name != "tlbs"}
    return ProcessorLine(**plain, tlbs=tuple(map(_tlb, processor.tlbs)))


def format_line(arch: str, format: Format) -> FormatLine:
    """A format of an architecture."""
    usual = processor_for(format.name)
    return FormatLine(
        name=format.name,
        arch=arch,
        number=format.number,
        manual=format.manual,
        va_bits=format.va_bits,
        phys_bits=format.phys_bits,
        page=1 << format.page_shift,
        large_page=format.large_page,
        user_end=format.user_end,
        entry_bytes=1 << format.word_shift,
        levels=tuple(
            LevelLine(level.shift, 1 << level.bits, tuple(1 << shift for shift in level.pages))
            for level in format.levels
        ),
        attributes=tuple(name for i, name in enumerate(ATTRIBUTE_NAMES) if format.attributes >> i & 1),
        registers=tuple(RegisterLine(*register) for register in format.registers),
        fields=tuple(FieldLine(kind, *field) for kind, fields in format.fields.items() for field in fields),
        processor=usual.name if usual else "",
        profiles=tuple(name for name in Profile.shipped() if Profile.load(name).arch == format.name),
    )


def arch_line(arch: Arch) -> ArchLine:
    """An architecture."""
    names = {format.name for format in arch.formats}
    return ArchLine(
        name=arch.name,
        objects=arch.name in TARGETS,
        compilers=tuple(compiler.prefix for compiler in arch.compilers),
        formats=tuple(format_line(arch.name, format) for format in arch.formats),
        processors=tuple(processor_line(each) for each in PROCESSORS.values() if names & {*each.formats}),
    )


def known() -> list[ArchLine]:
    """Every architecture."""
    return [arch_line(arch) for arch in ARCHES.values()]


def found(name: str) -> ArchLine | FormatLine | ProcessorLine:
    """What has that name: an architecture, else a format of page tables, else a processor. Raises InputError, with what
    is like it."""
    if name in PROCESSORS:
        return processor_line(PROCESSORS[name])
    formats = {format.name: (arch, format) for arch in ARCHES.values() for format in arch.formats}
    if name in formats and not (name in ARCHES and len(ARCHES[name].formats) > 1):
        arch, format = formats[name]
        return format_line(arch.name, format)
    if name in ARCHES:
        return arch_line(ARCHES[name])
    names = [*ARCHES, *formats, *PROCESSORS]
    like = get_close_matches(name, names, 3, 0.5) or [each for each in names if name[:3] and each.startswith(name[:3])]
    advice = f"like it: {', '.join(dict.fromkeys(like))}" if like else "kernmalloc arch lists them"
    raise InputError(name, 0, "no such architecture, format of page tables or processor", advice)


def overview(arches: Iterable[ArchLine]) -> Iterator[str]:
    """All architectures: page tables, processors, and what objects there are."""
    arches = list(arches)
    formats = [format for arch in arches for format in arch.formats if format.levels]
    yield from section("Page tables", columns([FORMATS_HEAD, *map(_format_row, formats)]))
    usual = {format.processor for format in formats}
    processors = [processor_line(each) for each in PROCESSORS.values()]
    rows = [_processor_row(each, each.name in usual) for each in processors]
    yield from section("Processors", columns([PROCESSORS_HEAD, *rows], notes=True))
    yield from section("Objects", _objects(arches))
    yield ""
    yield from fitted("kernmalloc arch NAME tells one of these, with the source of each figure.")


FORMATS_HEAD = ("format", "number", "levels", "VA bits", "PA bits", "page", "large page", "processor", "kernels")
PROCESSORS_HEAD = ("processor", "loads", "walk", "ASID bits", "TLBs")


def _format_row(format: FormatLine) -> Cells:
    return (
        format.name,
        str(format.number),
        str(len(format.levels)),
        str(format.va_bits),
        str(format.phys_bits),
        size(format.page),
        size(format.large_page),
        format.processor or "-",
        ", ".join(format.profiles) or "-",
    )


def _processor_row(processor: ProcessorLine, usual: bool) -> Cells:
    return (
        processor.name + ("" if usual else " (if named)"),
        processor.loads,
        str(processor.walk_cycles),
        str(processor.asid_bits),
        ", ".join(f"{tlb.kind} {tlb.level}: {_shape(tlb)}" for tlb in processor.tlbs),
    )


def _shape(tlb: TlbLine) -> str:
    return f"{tlb.entries}" if tlb.sets == 1 else f"{tlb.sets} x {tlb.ways}"


def _objects(arches: Iterable[ArchLine]) -> Iterator[str]:
    for arch in arches:
        made = "LLVM and C" if arch.objects else "C" if arch.compilers else "none"
        by = f", tried with {', '.join(dict.fromkeys(arch.compilers))}" if arch.compilers else ""
        yield from fitted(f"{arch.name}: {made}{by}")


def told(what: ArchLine | FormatLine | ProcessorLine) -> Iterator[str]:
    """All about one of them."""
    if isinstance(what, ProcessorLine):
        yield from _processor(what)
    elif isinstance(what, FormatLine):
        yield from _format(what)
        for processor in PROCESSORS.values():
            if what.name in processor.formats:
                yield ""
                yield from _processor(processor_line(processor))
    else:
        yield from fitted(f"{what.name}: {several(len(what.formats), 'format')} of page tables")
        yield from _objects([what])
        for format in what.formats:
            yield ""
            yield from _format(format)
        for each in what.processors:
            yield ""
            yield from _processor(each)


def _format(format: FormatLine) -> Iterator[str]:
    if not format.levels:
        yield f"{format.name}: no page tables"
        return
    yield from fitted(
        f"{format.name}: VA {format.va_bits} bits, PA {format.phys_bits} bits, {several(len(format.levels), 'level')}, "
        f"entries of {format.entry_bytes} bytes; number {format.number}. {format.manual}"
    )
    rows: list[Cells] = [("index", "entries", "pages of")]
    rows += [
        (f"bit {level.shift}", f"{level.entries:,}", ", ".join(map(size, level.pages)) or "-")
        for level in format.levels
    ]
    yield from section("Levels", columns(rows))
    yield from section("For the kernel", _uses(format))
    rows = [("field", "bits", "of", "source", "meaning")]
    rows += [(f.name, _bits(f), ", ".join(kinds), f.source, f.meaning) for f, kinds in _common(format)]
    yield from section("Entries", columns(rows, notes=True))
    if format.registers:
        registers = [(each.name, f"{each.value:#x}", each.why) for each in format.registers]
        yield from section("Registers", columns(registers, notes=True))


def _common(format: FormatLine) -> Iterator[tuple[FieldLine, list[str]]]:
    """Each field once, and the kinds of entry that have it."""
    kinds: dict[FieldLine, list[str]] = {}
    for each in format.fields:
        kinds.setdefault(msgspec.structs.replace(each, kind=""), []).append(each.kind)
    yield from kinds.items()


def _bits(field: FieldLine) -> str:
    return f"{field.low}" if field.width == 1 else f"{field.low + field.width - 1}:{field.low}"


def _uses(format: FormatLine) -> Iterator[str]:
    yield from fitted(
        f"pages of {size(format.page)}, large pages of {size(format.large_page)}; a process maps below "
        f"{format.user_end:#x}; devices can be mapped {', '.join(format.attributes)}"
    )
    if format.processor and format.name not in PROCESSORS[format.processor].formats:
        yield from fitted(f"no TLB of a processor that walks these is published: {format.processor} stands in")
    yield from fitted(f"kernels: {', '.join(format.profiles) or 'none is shipped'}")


def _processor(processor: ProcessorLine) -> Iterator[str]:
    yield from fitted(f"{processor.title} ({processor.name}): {processor.source}")
    rows: list[Cells] = [("TLB", "kind", "level", "entries", "sets", "ways", "pages", "replacement", "source")]
    rows += [
        (
            tlb.name,
            tlb.kind,
            str(tlb.level),
            f"{tlb.entries:,}",
            str(tlb.sets),
            str(tlb.ways),
            ", ".join(map(size, tlb.pages)),
            f"{tlb.replacement} ({tlb.replacement_known})",
            tlb.source,
        )
        for tlb in processor.tlbs
    ]
    yield from section("TLBs", columns(rows, notes=True))
    second = f"{processor.second_cycles} cycles if level 2 has it, " if processor.second_cycles else ""
    keeps = "kept" if processor.global_entries else "dropped, too,"
    locks = "; entries can be locked" if processor.locks else ""
    yield from section(
        "Misses",
        paragraph(
            f"loaded by {processor.loads}; a miss costs {second}{processor.walk_cycles} cycles for a walk "
            f"({processor.cost}: {processor.cost_source}); {several(processor.asid_bits, 'bit')} of address space "
            f"numbers, the kernel's global entries are {keeps} when the space changes{locks}"
        ),
    )
