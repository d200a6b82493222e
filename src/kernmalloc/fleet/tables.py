"""The tables of a fleet that its work has written: as CSV, and asked in SQL by DuckDB."""

from collections.abc import Iterator
from csv import writer
from io import StringIO
from pathlib import Path
from typing import Any

from kernmalloc.fleet.rows import MachineRow
from kernmalloc.inputs.errors import InputError

TABLES = ("machines", "devices")


def csv(folder: Path) -> Iterator[str]:
    """The rows of machines, a line each behind one of their names, in the order of the fleet's pieces."""
    import pyarrow.parquet

    text = StringIO()
    lines = writer(text, lineterminator="\n")
    lines.writerow(MachineRow._fields)
    for part in sorted((folder / "machines").glob("*.parquet")):
        lines.writerows(zip(*pyarrow.parquet.read_table(part).to_pydict().values(), strict=True))
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def ask(folder: Path, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """What a query of the tables `machines` and `devices` says: names of columns, and rows. Raises InputError where
    DuckDB is not installed, refuses the query, or the folder has no tables."""
    try:
        import duckdb
    except ImportError:
        raise InputError("--sql", 0, "it needs DuckDB", "pip install 'kernmalloc[sql]'") from None
    with duckdb.connect() as connection:
        for name in TABLES:
            if not any((folder / name).glob("*.parquet")):
                raise InputError(str(folder), 0, f"it has no rows of {name}", "name files, and they are made")
            connection.read_parquet(str(folder / name / "*.parquet")).create_view(name)
        try:
            found = connection.sql(query)
            if found is None:
                raise InputError("--sql", 0, "the query has no result", "write a SELECT")
            return list(found.columns), found.fetchall()
        except duckdb.Error as error:
            raise InputError("--sql", 0, " ".join(str(error).split())) from None
