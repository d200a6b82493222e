"""Fleets as Parquet: a machine in each row, with the columns of `SCHEMA`, which are the fields of `fleet.Record`.

    vendor, model, arch: string; ram: bytes, an integer
    bars: list<struct<place, class, offset, type: string; bits, base, size: integer>>

Other columns are not read, and all but `bars` may be missing.  A file consists of groups of rows.  Rows of one group
are read `ROWS` at a time, so that memory is bounded by the width of machines and not by the length of the table.
pyarrow reads and writes them, the extra `tables`.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from kernmalloc.inputs import fleet
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.results.tables import NoArrow, arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow

    from kernmalloc.inputs.facts import Facts

ROWS = 256  # held at a time
MAGIC = b"PAR1"
REGISTER = {
    "place": "string",
    "class": "string",
    "offset": "string",
    "type": "string",
    "bits": "uint8",
    "base": "uint64",
    "size": "uint64",
}
"""The fields of a register and their types in Arrow."""
SCHEMA = {"vendor": "string", "model": "string", "arch": "string", "ram": "uint64", "bars": "list"}
"""The columns and their types."""


def schema() -> pyarrow.Schema:
    """`SCHEMA` as Arrow has it.  Raises NoArrow."""
    pa = arrow()
    kinds = {"string": pa.string(), "uint8": pa.uint8(), "uint64": pa.uint64()}
    register = pa.struct([(name, kinds[kind]) for name, kind in REGISTER.items()])
    return pa.schema([(name, kinds.get(kind) or pa.list_(register)) for name, kind in SCHEMA.items()])


def table(records: Iterable[fleet.Record]) -> pyarrow.Table:
    """Machines as a table, for `pyarrow.parquet` to write.  Raises NoArrow."""
    pa, form = arrow(), schema()
    machines = list(records)
    registers = [register for machine in machines for register in machine.bars]
    fields = [pa.array([getattr(register, name) for register in registers], kind) for name, kind in _fields(form)]
    offsets = [0]
    for machine in machines:
        offsets.append(offsets[-1] + len(machine.bars))
    rows = pa.StructArray.from_arrays(fields, fields=list(form.field("bars").type.value_type))
    columns = [pa.array([getattr(each, name) for each in machines], form.field(name).type) for name in form.names[:-1]]
    return pa.table([*columns, pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), rows)], schema=form)


def _fields(form: pyarrow.Schema) -> Iterator[tuple[str, Any]]:
    """Names of `fleet.Register` with the types of their columns."""
    register = form.field("bars").type.value_type
    return zip(fleet.Register.__struct_fields__, (field.type for field in register), strict=True)


def groups(file: str) -> tuple[list[int], str]:
    """How many rows each group of a file has, and a text that another file or another content would not have.  Raises
    UnreadableError."""
    with _opened(file) as opened:
        if "bars" not in opened.schema_arrow.names:
            raise UnreadableError(file, 0, "a table without a column bars", "docs/inputs.md lists the columns")
        counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
    return counts, _mark(file)


def facts_in(file: str, mark: str, group: int, first: int, count: int) -> Iterator[Facts]:
    """The facts of `count` machines of a group, from its row `first` on.  `mark` is what `groups` told.  Raises
    UnreadableError, also if the file has changed since."""
    with _opened(file) as opened:
        if _mark(file) != mark:
            raise UnreadableError(file, 0, "changed while it was read", "start again")
        metadata = opened.metadata
        row = sum(metadata.row_group(before).num_rows for before in range(group)) + 1
        columns = [name for name in SCHEMA if name in opened.schema_arrow.names]
        begin, end = row + first, row + first + count
        for batch in opened.iter_batches(ROWS, row_groups=[group], columns=columns):
            low, high = max(begin - row, 0), min(end - row, len(batch))
            if low < high:
                yield from _facts(batch.slice(low, high - low), file, row + low)
            row += len(batch)
            if row >= end:
                break


def _facts(batch: pyarrow.RecordBatch, file: str, row: int) -> Iterator[Facts]:
    form = schema()
    texts: dict[str, list[Any]] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if name != "bars":
            texts[name] = column.cast(form.field(name).type).to_pylist()
    listed = batch.column("bars").cast(form.field("bars").type)
    lengths = listed.value_lengths().to_pylist()
    parts = [part.to_pylist() for part in listed.flatten().flatten()]
    registers = zip(*parts, strict=True)
    for number, length in enumerate(lengths):
        told = {name: values[number] for name, values in texts.items() if values[number] is not None}
        told["bars"] = [next(registers) for _ in range(length or 0)]
        try:
            yield fleet.facts(msgspec.convert(told, fleet.Record), file, row + number)
        except msgspec.ValidationError as error:
            yield fleet.refused(file, row + number, error)


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    """A Parquet file; whatever pyarrow says of it is wrong with the input."""
    try:
        pa = arrow()
        from pyarrow import parquet

        with parquet.ParquetFile(file) as opened:
            yield opened
    except NoArrow:
        raise UnreadableError(file, 0, "a Parquet file needs pyarrow", "pip install 'kernmalloc[tables]'") from None
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(file, 0, f"damaged Parquet file, or no table of machines: {error}") from None


def _mark(file: str) -> str:
    """A digest of the end of a Parquet file, which tells where everything in it lies, and of how long it is."""
    with open(file, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 8))
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(max(0, size - 8 - length))
        return hashlib.blake2b(stream.read(length) + size.to_bytes(8, "big"), digest_size=16).hexdigest()
