"""Records: the layout of kernel data, declared once, as data; and typed references to them.

    class Frame(Record, size=16):
        "One core table entry."
        type:   u8    = field("what the frame is")           # annotation: width; field: meaning
        pins:   u16   = field("how often it is pinned")
        region: Region = field("where it lies")              # 8 bytes that lead to a Region
        spot:   Spot  = inline("a record inside this one")
        words:  Word  = array(2, "two records in a row")
        invariants = ("type < TYPES", "pins == 0 or type != FREE")

A field has natural alignment: its own width, or the alignment of the record in it. `align=` asks for more. A record
ends at a multiple of its alignment; `size=` pads it to so many bytes. The rest of the layout is computed, and padding
has no name. A record may refer to one that is declared later or in a higher room: the name is looked up when the field
is first used. A record that lies inside must be declared when the layout is first used.

`Frame(addr)` is a reference: a number that knows its record. `f.pins` loads and zero-extends, `f.pins = n` stores and
truncates; i64 is signed, and so is usize, which is as wide as a reference, where that is 8 bytes. `f.region.base`
follows a reference; `f.spot` and `f.words` are references to what lies inside; `element(f.words, 1)` is the second one.
`f.addr` is the number of a reference. `Frame(0)` is the null reference, and `f == 0` asks for it. There is no other
arithmetic on references. A layout (`layout`) may leave fields out, and with them what they are needed for.

Under CPython references go through the memory that `twin.use` set; the front ends compile these expressions to loads
and stores. The NumPy dtype, the reference table and C's structs come from the declaration, too.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from zlib import crc32

from kernmalloc.lang import memory
from kernmalloc.lang.layout import LAYOUT, left, left_of_sums

if TYPE_CHECKING:
    import numpy


class Width:
    """A scalar field's width in bytes."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def __repr__(self) -> str:
        return self.name


if TYPE_CHECKING:
    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    i64: TypeAlias = int
    usize: TypeAlias = int
else:
    u8, u16, u32, i64 = Width("u8", 1), Width("u16", 2), Width("u32", 4), Width("i64", 8)
    usize = {4: u32, 8: i64}[LAYOUT.reference]  # of an address, or a count of what lies in memory

REFERENCE = LAYOUT.reference
"""Bytes of a reference in a record."""


@dataclass(frozen=True)
class Declared:
    """A field as its declaration says it: `count` 0 is a scalar or a reference, 1 or more are records that lie here."""

    meaning: str
    count: int
    align: int


class DeclarationError(TypeError):
    """A record or a function is declared wrongly. The message says which, where and how."""


def field(meaning: str, *, align: int = 0) -> Any:
    """Declare a number of the annotated width, or a reference that leads to the annotated record."""
    return Declared(meaning, 0, align)


def inline(meaning: str, *, align: int = 0) -> Any:
    """Declare a record that lies inside this one."""
    return Declared(meaning, 1, align)


def array(count: int, meaning: str, *, align: int = 0) -> Any:
    """Declare `count` records in a row; the field's value is a reference to the first."""
    if count < 1:
        raise DeclarationError(f"an array needs at least one element, not {count}: {meaning}")
    return Declared(meaning, count, align)


@dataclass(frozen=True)
class Field:
    """One field of a layout: `count` records that lie at `offset`, or, if `count` is 0, a number or a reference."""

    owner: RecordType
    name: str
    annotation: object
    offset: int
    size: int
    """Bytes that the field takes."""
    count: int
    meaning: str

    @cached_property
    def kind(self) -> Width | RecordType:
        """The width of a number, or the record that lies here or is referred to."""
        kind = named(self.annotation, self.owner.__module__)
        if kind is None:
            where = f"record {self.owner.name}, field {self.name}"
            raise DeclarationError(f"{where}: {self.annotation} is neither u8, u16, u32, i64, usize nor a record")
        return kind

    @property
    def inline(self) -> bool:
        """True if records lie here: the field is a reference to the first, and cannot be assigned."""
        return self.count > 0

    @property
    def target(self) -> RecordType | None:
        """The record that the field's value refers to; None: the value is a number."""
        return self.kind if isinstance(self.kind, RecordType) else None


def hexadecimal(address: int) -> str:
    """An address as people write it: one of the high half of 64 bits is negative in the kernel, and nowhere else."""
    return f"{address % (1 << 64):#x}"


class Offset(int):
    """Where a field lies in its record, in bytes. As a constant it names the field."""

    record: RecordType
    field: str

    def __new__(cls, record: RecordType, field: str, bytes: int) -> Offset:
        made = super().__new__(cls, bytes)
        made.record, made.field = record, field
        return made


RECORDS: dict[str, list[RecordType]] = {}
"""Every record by name."""


class _Body(dict[str, Any]):
    """The namespace of a declaration, which refuses a second field of one name."""

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, Declared) and name in self:
            raise DeclarationError(f"record {self['__qualname__']}: two fields are called {name}: rename one")
        super().__setitem__(name, value)


class RecordType(type):
    """The class of records. Its properties win over fields of those names: `Region.size` is bytes, `r.size` a field."""

    invariants: tuple[str, ...]
    constants: tuple[str, ...]
    _asked: tuple[int, int]
    declared: dict[str, tuple[object, Declared]]
    """The fields as they are declared, by name: an annotation, and what was said of the field."""
    _layout: tuple[dict[str, Field], int, int] | None
    _dtype: numpy.dtype[numpy.void] | None
    _number: int | None

    @classmethod
    def __prepare__(mcs, name: str, bases: tuple[type, ...], /, **_: Any) -> _Body:
        return _Body()

    def __new__(
        mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], *, size: int = 0, align: int = 1
    ) -> RecordType:
        if not bases:
            return super().__new__(mcs, name, bases, dict(body))
        if bases != (Record,):
            raise DeclarationError(f"record {name}: a record is derived from Record alone: declare an inline field")
        annotations = body.get("__annotations__", {})
        declared = {}
        for key in [*annotations, *(key for key, value in body.items() if isinstance(value, Declared))]:
            kind, value = annotations.get(key), body.get(key)
            where = f"record {name}, field {key}"
            if key in ("addr", "offset", "declared", "invariants", "constants") or key.startswith("_"):
                raise DeclarationError(f"{where}: every record has something else of this name: choose another")
            if not isinstance(value, Declared) or not value.meaning:
                raise DeclarationError(f'{where}: say what it means, as in `{key}: {kind} = field("...")`')
            if kind is None:
                raise DeclarationError(f"{where}: annotate it with u8, u16, u32, i64, usize or a record")
            declared[key] = (kind, value)
        if LAYOUT.fields:
            named = LAYOUT.fields.get(name, tuple(declared))
            size = size if name not in LAYOUT.fields else 0
            declared = {key: value for key, value in declared.items() if key in named}
            gone = annotations.keys() - declared.keys()
            body = {key: value for key, value in body.items() if key not in gone}
            body["invariants"] = left(body.get("invariants", ()), gone)
            body["constants"] = left_of_sums(body.get("constants", ()), gone)
        accessors = {key: _first_use(key) for key in declared}
        cls = super().__new__(mcs, name, bases, {**body, "__slots__": (), **accessors})
        cls._asked, cls.declared, cls._layout, cls._dtype, cls._number = (size, align), declared, None, None, None
        RECORDS.setdefault(name, []).append(cls)
        return cls

    @property
    def fields(cls) -> dict[str, Field]:
        """Every field by name, in order of offset."""
        return cls._resolved()[0]

    @property
    def size(cls) -> int:
        """Bytes, a multiple of `align`."""
        return cls._resolved()[1]

    @property
    def align(cls) -> int:
        """What a record's address is a multiple of, in bytes."""
        return cls._resolved()[2]

    @property
    def shift(cls) -> int:
        """log2 of the size; TypeError if the size is no power of two."""
        if cls.size & (cls.size - 1):
            raise TypeError(f"record {cls.name}: {cls.size} bytes are no power of two")
        return cls.size.bit_length() - 1

    @property
    def layout(cls) -> int:
        """16 bits made of the layouts of this record, of those that lie in it, and of all that they lead to."""
        if cls._number is None:
            cls._number = crc32("\n".join(_described(cls)).encode()) & 0xFFFF
        return cls._number

    @property
    def name(cls) -> str:
        """What the record is called."""
        return cls.__name__

    @property
    def doc(cls) -> str:
        """What the record is."""
        return inspect.cleandoc(cls.__doc__ or "")

    @property
    def dtype(cls) -> numpy.dtype[numpy.void]:
        """The NumPy structured type with this layout: the host's view of an array of these records."""
        if cls._dtype is None:
            import numpy

            cls._dtype = numpy.dtype(
                {
                    "names": list(cls.fields),
                    "formats": [_format(item) for item in cls.fields.values()],
                    "itemsize": cls.size,
                    "offsets": [item.offset for item in cls.fields.values()],
                }
            )
        return cls._dtype

    def offset(cls, name: str) -> Offset:
        """Offset of a field in bytes; KeyError if there is none of that name. Later fields may be unknown yet.

        -1 of a field that the layout leaves out: no function of it names the field."""
        if name in cls.__annotations__.keys() - cls.declared.keys():
            return Offset(cls, name, -1)
        if name not in cls.declared:
            raise KeyError(name)
        known = cls._layout[0].values() if cls._layout else (item for item, _ in _placed(cls))
        return Offset(cls, name, next(item.offset for item in known if item.name == name))

    def _resolved(cls) -> tuple[dict[str, Field], int, int]:
        if cls._layout is None:
            cls._layout = _lay_out(cls)
        return cls._layout


class Record(metaclass=RecordType):
    """What every record is derived from. An instance is a reference."""

    __slots__ = ("addr",)
    addr: int
    invariants: tuple[str, ...] = ()
    """Equations that hold of every record of this kind; `verifier` makes them a function."""
    constants: tuple[str, ...] = ()
    """Fields, and sums of fields, that never change once the record is made; `sealer` makes them a function."""

    def __init__(self, addr: int) -> None:
        self.addr = addr

    def __eq__(self, other: object) -> bool:
        return self.addr == (other.addr if isinstance(other, Record) else other)

    def __hash__(self) -> int:
        return hash(self.addr)

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no truth value: compare it with 0")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({hexadecimal(self.addr)})"


R = TypeVar("R", bound=Record)


def element(first: R, index: int) -> R:
    """The record that lies `index` records of its kind behind `first`."""
    kind = type(first)
    return kind(first.addr + index * kind.size)


def named(name: object, module: str) -> Width | RecordType | None:
    """What an annotation means in a module: a width, a record, or None if it is neither.

    A name that the module does not have means the record of that name in the module's package, else anywhere.
    """
    if not isinstance(name, str):
        return name if isinstance(name, Width | RecordType) else None
    known = getattr(sys.modules.get(module), name, None)
    if isinstance(known, Width | RecordType):
        return known
    found = RECORDS.get(name, [])
    package = module.partition(".")[0]
    here = (
        [kind for kind in found if kind.__module__ == module]
        or [kind for kind in found if kind.__module__.partition(".")[0] == package]
        or found
    )
    if len({kind.__module__ for kind in here}) > 1:
        raise DeclarationError(f"{module}: there are several records called {name}: import one")
    return here[-1] if here else None


def _placed(cls: RecordType) -> Iterator[tuple[Field, int]]:
    """The fields in order, with the alignment of each. None is looked at before it is asked for."""
    end = 0
    for name, (annotation, declared) in cls.declared.items():
        kind = named(annotation, cls.__module__)
        align = width = kind.size if isinstance(kind, Width) else REFERENCE
        if declared.count:
            if not isinstance(kind, RecordType):
                where = f"record {cls.name}, field {name}"
                raise DeclarationError(f"{where}: what lies inside is a record, and {annotation} is none: declare one")
            align, width = kind.align, kind.size * declared.count
        align = max(align, declared.align)
        start = _round_up(end, align)
        end = start + width
        yield Field(cls, name, annotation, start, width, declared.count, declared.meaning), align


def _lay_out(cls: RecordType) -> tuple[dict[str, Field], int, int]:
    size, align = cls._asked
    fields, end = {}, 0
    for item, own in _placed(cls):
        fields[item.name], end, align = item, item.offset + item.size, max(align, own)
    end = _round_up(end, align)
    if size and (end > size or size % align):
        multiple = f"a multiple of {align}" if size % align else f"{end} bytes"
        raise DeclarationError(f"record {cls.name}: it takes {multiple}, declared size={size}: correct one of them")
    return fields, size or end, align


def _described(cls: RecordType) -> Iterator[str]:
    """Lines that tell the layout of a record and of every record that can be reached from it."""
    met = {cls}
    waiting = [cls]
    while waiting:
        record = waiting.pop()
        yield f"{record.name} {record.size}"
        for item in record.fields.values():
            yield f" {item.name} {item.offset} {item.size} {item.count}"
            if item.target is not None and item.target not in met:
                met.add(item.target)
                waiting.append(item.target)


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align


_SCALARS = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "i64": "<i8"}
_REFERENCE = {4: "<u4", 8: "<i8"}[REFERENCE]


def _format(item: Field) -> Any:
    """What NumPy calls a field. A record of one number is that number, so that views of them are arrays of numbers."""
    if not item.inline:
        return _SCALARS[item.kind.name] if isinstance(item.kind, Width) else _REFERENCE
    assert isinstance(item.kind, RecordType)
    first, *others = item.kind.fields.values()
    alone = not others and not first.inline and first.size == item.kind.size
    inner = _format(first) if alone else item.kind.dtype
    return (inner, (item.count,)) if item.count > 1 else inner


def _first_use(name: str) -> property:
    """An accessor that becomes the real one when it is first used."""

    def get(self: Record) -> Any:
        _install(type(self), name)
        return getattr(self, name)

    def put(self: Record, value: Any) -> None:
        _install(type(self), name)
        setattr(self, name, value)

    return property(get, put)


def _install(cls: RecordType, name: str) -> None:
    # in place: a record has no way to set what RecordType has a property for, such as `size`
    property.__init__(cls.__dict__[name], *_accessor(cls.fields[name]))


Accessor = tuple[Callable[[Any], Any], Callable[[Any, Any], None] | None]


def _accessor(item: Field) -> Accessor:
    offset, width, target = item.offset, item.size, item.target
    if target is not None and item.inline:
        return lambda self: target(self.addr + offset), None
    if target is not None:

        def follow(self: Any) -> Any:
            return target(memory.load(self.addr + offset, width))

        def lead(self: Any, value: Any) -> None:
            memory.store(self.addr + offset, width, value.addr)

        return follow, lead

    def get(self: Any) -> int:
        return memory.load(self.addr + offset, width)

    mask = (1 << 8 * width) - 1

    def put(self: Any, value: int) -> None:
        memory.store(self.addr + offset, width, value if width == 8 else value & mask)

    return get, put


def markdown(cls: RecordType) -> str:
    """The record as a reference table: offset, kind, name, meaning; then its invariants and constants."""
    rows = [
        f"### {cls.name} ({cls.size} bytes)",
        "",
        cls.doc,
        "",
        "| offset | kind | field | meaning |",
        "|---|---|---|---|",
    ]
    for name, item in cls.fields.items():
        kind = item.kind.name
        if item.target is not None:
            kind = f"{kind} × {item.count}" if item.count > 1 else kind if item.inline else f"→ {kind}"
        rows.append(f"| {item.offset} | {kind} | `{name}` | {item.meaning} |")
    if cls.invariants:
        rows += ["", "Always:", ""] + [f"- `{equation}`" for equation in cls.invariants]
    if cls.constants:
        rows += ["", "Sealed: " + ", ".join(f"`{constant}`" for constant in cls.constants)]
    return "\n".join(rows) + "\n"
