"""Records: the layout of kernel data, declared once, as data.

    @record(size=16)
    class Frame:
        "One core table entry."
        type:  u8  = "what the frame is"      # annotation: width; value: meaning
        pins:  u16 = "how often it is pinned"
        link:  u32 = "next frame in its list"
        words: i64 * 1 = "an array: reading the attribute gives its address"
        invariants = ("type < TYPES", "pins == 0 or type != FREE")

Fields have natural alignment, a record is padded to 8 bytes, and the size is asserted when the module is imported.
`Frame(addr)` is a typed reference; `f.pins` loads and zero-extends, `f.pins = n` stores and truncates; i64 is signed.
Arrays and nested records are inline; their attribute is their address. Under CPython references go through the
memory that `twin.use` set; the front end compiles the same expressions to loads and stores. The NumPy dtype, the C
struct (c_struct) and the reference table (markdown) come from the same declaration.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from kernmalloc.lang import memory


class Width:
    """A scalar field's width. `i64 * 4` is an array of four."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def __mul__(self, count: int) -> Array:
        return Array(self, count)

    def __repr__(self) -> str:
        return self.name


class Array(NamedTuple):
    kind: Width | Record
    count: int


class Field(NamedTuple):
    """One field: kind is a Width or a record; count is 0 but for arrays; offset in bytes."""

    kind: Width | Record
    offset: int
    count: int
    meaning: str

    @property
    def inline(self) -> bool:
        """True for arrays and nested records, whose attribute is an address and cannot be assigned."""
        return self.count > 0 or isinstance(self.kind, Record)

    @property
    def size(self) -> int:
        """Bytes that the field takes."""
        return self.kind.size * (self.count or 1)


u8, u16, u32, i64 = Width("u8", 1), Width("u16", 2), Width("u32", 4), Width("i64", 8)


class Record(type):
    """The class of records. Its properties win over fields of the same name: Region.size is bytes, r.size a field."""

    @property
    def size(cls) -> int:
        """Bytes, a multiple of 8."""
        return cls._size

    @property
    def fields(cls) -> dict[str, Field]:
        """Every field by name, in order of offset."""
        return cls._fields

    @property
    def invariants(cls) -> tuple[str, ...]:
        """Equations that hold of every record of this kind; `verifier` makes them a function."""
        return cls._invariants

    @property
    def name(cls) -> str:
        return cls.__name__

    @property
    def doc(cls) -> str:
        """What the record is."""
        import inspect

        return inspect.cleandoc(cls.__doc__ or "")

    @property
    @cache
    def dtype(cls) -> Any:
        """The NumPy structured type with the same layout: the host's view of an array of these records."""
        import numpy

        scalar = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "i64": "<i8"}
        formats = []
        for field in cls.fields.values():
            kind = field.kind.dtype if isinstance(field.kind, Record) else scalar[field.kind.name]
            formats.append((kind, (field.count,)) if field.count else kind)
        return numpy.dtype(
            {
                "names": list(cls.fields),
                "formats": formats,
                "itemsize": cls.size,
                "offsets": [field.offset for field in cls.fields.values()],
            }
        )

    def offset(cls, name: str) -> int:
        """Offset of a field in bytes; KeyError if there is none of that name."""
        return cls.fields[name].offset

    def __mul__(cls, count: int) -> Array:
        return Array(cls, count)


def record(*, size: int) -> Callable[[type], Record]:
    """Declare a record of `size` bytes; TypeError if its fields do not take exactly that."""

    def declare(cls: type) -> Record:
        fields, offset = {}, 0
        for name, kind in cls.__annotations__.items():
            field = _field(cls, name, kind, offset)
            fields[name] = field
            offset = field.offset + field.size
        padded = _round_up(offset, 8)
        if padded != size:
            raise TypeError(f"record {cls.__name__}: fields take {padded} bytes, declared size={size}")
        body = {
            "__slots__": ("addr",),
            "__doc__": cls.__doc__,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__init__": _init,
            "__repr__": _repr,
            "_fields": fields,
            "_size": size,
            "_invariants": tuple(cls.__dict__.get("invariants", ())),
        }
        body.update({name: _accessor(field) for name, field in fields.items()})
        return Record(cls.__name__, (), body)

    return declare


def _field(cls: type, name: str, kind: Any, offset: int) -> Field:
    where = f"record {cls.__name__}, field {name}"
    count = 0
    if isinstance(kind, Array):
        kind, count = kind
        if count < 1:
            raise TypeError(f"{where}: an array needs at least one element, not {count}")
    if not isinstance(kind, Width | Record):
        raise TypeError(f"{where}: width must be u8, u16, u32, i64, a record, or one of these * count; not {kind!r}")
    if name == "addr" or name.startswith("_"):
        raise TypeError(f"{where}: this name is taken by the reference itself")
    meaning = cls.__dict__.get(name)
    if not isinstance(meaning, str):
        raise TypeError(f'{where}: say what it means, as in `{name}: {kind!r} = "..."`')
    align = kind.size if isinstance(kind, Width) else 8
    return Field(kind, _round_up(offset, align), count, meaning)


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align


def _init(self: Any, addr: int) -> None:
    self.addr = addr


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({self.addr:#x})"


def _accessor(field: Field) -> property:
    offset, width = field.offset, field.kind.size
    if field.inline:
        return property(lambda self: self.addr + offset, doc=field.meaning)

    def get(self: Any) -> int:
        return memory.load(self.addr + offset, width)

    if width == 8:

        def put(self: Any, value: int) -> None:
            memory.store(self.addr + offset, 8, value)
    else:
        mask = (1 << 8 * width) - 1

        def put(self: Any, value: int) -> None:
            memory.store(self.addr + offset, width, value & mask)

    return property(get, put, doc=field.meaning)


_C = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "i64": "int64_t"}


def c_name(cls: Record) -> str:
    """The C struct tag of a record: km_core_table for CoreTable."""
    return "km" + "".join("_" + c.lower() if c.isupper() else c for c in cls.name)


def c_struct(cls: Record) -> str:
    """C11 declaration of a record. Padding is explicit, so that the layout does not depend on the ABI's alignment."""
    tag, lines, end = f"struct {c_name(cls)}", [], 0

    def pad(to: int) -> None:
        if to > end:
            lines.append(f"    uint8_t _pad{end}[{to - end}];")

    for name, field in cls.fields.items():
        pad(field.offset)
        kind = f"struct {c_name(field.kind)}" if isinstance(field.kind, Record) else _C[field.kind.name]
        array = f"[{field.count}]" if field.count else ""
        lines.append(f"    {kind} {name}{array}; /* {field.meaning} */")
        end = field.offset + field.size
    pad(cls.size)
    asserts = [f'_Static_assert(sizeof({tag}) == {cls.size}, "{tag}");']
    asserts += [
        f'_Static_assert(offsetof({tag}, {name}) == {field.offset}, "{tag}.{name}");'
        for name, field in cls.fields.items()
    ]
    head = [f"/* {cls.doc} */"] if cls.doc else []
    return "\n".join([*head, f"{tag} {{", *lines, "};", *asserts]) + "\n"


def markdown(cls: Record) -> str:
    """The record as a reference table: offset, width, name, meaning; then its invariants."""
    rows = [
        f"### {cls.name} ({cls.size} bytes)",
        "",
        cls.doc,
        "",
        "| offset | width | field | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in cls.fields.items():
        kind = field.kind.name + (f" × {field.count}" if field.count else "")
        rows.append(f"| {field.offset} | {kind} | `{name}` | {field.meaning} |")
    if cls.invariants:
        rows += ["", "Always:", ""] + [f"- `{equation}`" for equation in cls.invariants]
    return "\n".join(rows) + "\n"
