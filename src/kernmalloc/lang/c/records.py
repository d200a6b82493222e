"""Records in C: structs whose padding is spelled out, so that every ABI lays them out alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernmalloc.lang.c.text import aligned, comment, wrapped
from kernmalloc.lang.records import Field, RecordType, Width

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernmalloc.lang.c.names import Names

TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "i64": "int64_t"}


def closure(records: Iterable[RecordType]) -> list[RecordType]:
    """Records and those that lie in them or that they refer to, each behind what lies in it."""
    found: dict[RecordType, None] = {}
    todo = list(records)
    while todo:
        record = todo.pop(0)
        for inner in _inner_first(record):
            if inner not in found:
                found[inner] = None
                todo += [item.target for item in inner.fields.values() if item.target is not None]
    return list(found)


def _inner_first(record: RecordType) -> list[RecordType]:
    inner = [item.target for item in record.fields.values() if item.inline and item.target is not None]
    return [*(part for kind in inner for part in _inner_first(kind)), record]


def struct(record: RecordType, names: Names) -> str:
    """The definition of a record's struct, what always holds of it, and assertions of its layout."""
    members: list[tuple[str, str]] = []
    end = 0
    for name, item in record.fields.items():
        if item.offset > end:
            members.append((f"uint8_t pad{end}[{item.offset - end}];", ""))
        members.append((_member(item, names.local(name), names), item.meaning))
        end = item.offset + item.size
    if record.size > end:
        members.append((f"uint8_t pad{end}[{record.size - end}];", ""))
    parts = [comment(record.doc), f"{names.struct(record)} {{", *aligned(members, "\t"), "} KM_RECORD;"]
    if record.invariants:
        parts.append(comment("\n".join(["Always:", *(f"    {equation}" for equation in record.invariants)])))
    return "\n".join([*parts, *_assertion(record, names)])


def _member(item: Field, name: str, names: Names) -> str:
    if isinstance(item.kind, Width):
        return f"{TYPES[item.kind.name]} {name};"
    struct = names.struct(item.kind)
    if item.inline:
        return f"{struct} {name}[{item.count}];" if item.count > 1 else f"{struct} {name};"
    return f"KM_REF({struct}, {name});"


def _assertion(record: RecordType, names: Names) -> list[str]:
    name = names.struct(record)
    facts = [f"sizeof({name}) == {record.size}"]
    for field, item in record.fields.items():
        place = str(item.offset)
        if item.target is not None and not item.inline:
            place = f"{item.offset} + KM_LOW" if item.offset else "KM_LOW"
        facts.append(f"offsetof({name}, {names.local(field)}) == {place}")
    return wrapped(f'_Static_assert({" && ".join(facts)}, "layout of {names.tags[record]}");', 0)
