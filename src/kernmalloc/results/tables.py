"""Results as Arrow tables: `to_arrow` of a result, `to_pandas` of what it returns. docs/notebooks.md has the columns.

A record is a row, and a field a column of the field's name. Of a field that maps names to values each name is a column,
`frames.free`; of one that is a record, each of its fields. Whole numbers are int64, or uint64 where one is too large
for that. What is None is null. A sequence of records is a column of lists, which pandas shows as arrays.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType
    from typing import Self

    import pyarrow

T = TypeVar("T")
NAMES = (tuple[str, ...], list[str])  # types of fields that hold names


class NoArrow(ImportError):
    """pyarrow is not installed: one line that says what to do."""


class Rows(tuple[T, ...]):
    """Records of one kind, in order: a tuple that becomes a table."""

    kind: type

    @classmethod
    def of(cls, kind: type, records: Iterable[T]) -> Self:
        """Rows of that kind, which there may be none of."""
        rows = cls(records)
        rows.kind = kind
        return rows

    def to_arrow(self) -> pyarrow.Table:
        """A table with a row for each. Raises NoArrow."""
        return table(self.kind, self)


def arrow() -> ModuleType:
    """The module pyarrow. Raises NoArrow."""
    try:
        import pyarrow
    except ImportError:
        raise NoArrow("a table needs pyarrow: pip install 'kernmalloc[tables]'") from None
    return typing.cast("ModuleType", pyarrow)


def table(kind: type, records: Iterable[object]) -> pyarrow.Table:
    """A table of records of one kind: dataclasses, named tuples or structs. It has a column for each plain field, also
    where there is no record. Raises NoArrow."""
    arrow()
    plain = dict(_plain(kind))
    rows = [dict(_flat(record)) for record in records]
    names = list(plain)
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
    return made({name: ([row.get(name) for row in rows], plain.get(name)) for name in names})


def row(record: object) -> pyarrow.Table:
    """A table of one row. Raises NoArrow."""
    return table(type(record), [record])


def made(columns: dict[str, tuple[list[Any], Any]]) -> pyarrow.Table:
    """A table of columns: the values of each, and what they are; None: as the values have it. Raises NoArrow."""
    pa = arrow()
    types = {int: pa.int64(), bool: pa.bool_(), float: pa.float64(), str: pa.string()}
    types |= dict.fromkeys(NAMES, pa.list_(pa.string()))
    arrays = {}
    for name, (values, kind) in columns.items():
        wide = kind is int and any(value is not None and value >= 1 << 63 for value in values)
        arrays[name] = pa.array(values, pa.uint64() if wide else types.get(kind))
    return pa.table(arrays)


def _plain(kind: type) -> Iterator[tuple[str, Any]]:
    """The fields of a kind of record that are one value each, perhaps None, or names, and what that is."""
    for name, hint in typing.get_type_hints(kind).items():
        known = next((each for each in (int, bool, float, str, *NAMES) if hint in (each, each | None)), None)
        if known is not None:
            yield name, known


def _fields(record: object) -> dict[str, Any] | None:
    """A record by field; None if it is none."""
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.asdict(record)
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    if isinstance(record, tuple) and hasattr(record, "_asdict"):
        return dict(record._asdict())
    return record if isinstance(record, dict) else None


def _flat(record: object, before: str = "") -> Iterator[tuple[str, Any]]:
    """The columns of one row."""
    for name, value in (_fields(record) or {}).items():
        if _fields(value) is not None:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, _listed(value)


def _listed(value: Any) -> Any:
    """A value as Arrow takes it: records in lists as dictionaries, whose own columns are those of a row."""
    if isinstance(value, tuple | list):
        return [dict(_flat(each)) if _fields(each) is not None else each for each in value]
    return value
