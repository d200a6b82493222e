"""Fleets as Parquet: the same machines as in JSON Lines, by groups of rows, and what is no such table is one line."""

import json
import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from kernmalloc.inputs import fleet, parquet
from kernmalloc.inputs.errors import UnreadableError
from kernmalloc.machine.memory_map import resolve

REGISTERS = st.builds(
    fleet.Register,
    st.sampled_from(["0:0:2:0", "0:255:31:7"]),
    st.sampled_from(["030000", "010802"]),
    st.sampled_from(["10", "1c"]),
    st.sampled_from(["Memory", "Prefetchable Memory", "I/O Port"]),
    st.sampled_from([20, 32, 64]),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
)
RECORDS = st.builds(
    fleet.Record,
    st.lists(REGISTERS, max_size=3),
    st.text("aé", max_size=3),
    st.text("b", max_size=3),
    st.sampled_from(["AMD64", "I386", "?"]),
    st.integers(0, 1 << 40),
)


def machine(number: int) -> fleet.Record:
    register = fleet.Register("0:0:2:0", "030000", "10", "Memory", 64, number << 32, 1 << 20)
    return fleet.Record([register], "v", f"m{number}", ram=8 << 30)


FEW = [machine(number) for number in range(1, 601)]


def told(facts):
    return facts.name, facts.arch, facts.total, facts.line, facts.devices, facts.roles, facts.ignored


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "fleet.parquet"
    pq.write_table(parquet.table(FEW), path, row_group_size=400)
    return str(path)


@settings(max_examples=20 * EFFORT)
@given(st.lists(RECORDS, max_size=5))
def test_a_table_tells_what_json_lines_tell(tmp_path_factory, records):
    path = str(tmp_path_factory.mktemp("parquet") / "fleet.parquet")
    pq.write_table(parquet.table(records), path)
    counts, mark = parquet.groups(path)
    assert sum(counts) == len(records)
    found = [facts for group, count in enumerate(counts) for facts in parquet.facts_in(path, mark, group, 0, count)]
    assert list(map(told, found)) == list(map(told, fleet.facts_in(map(msgspec.json.encode, records), path)))


def test_any_rows_of_any_group_are_read(file):
    counts, mark = parquet.groups(file)
    assert counts == [400, 200]
    for group, first, count in ((0, 0, 400), (0, 250, 20), (0, 399, 1), (1, 0, 1), (1, 100, 100)):
        found = list(parquet.facts_in(file, mark, group, first, count))
        begin = group * 400 + first
        assert [facts.name for facts in found] == [f"v m{n}" for n in range(begin + 1, begin + count + 1)]
        assert [facts.line for facts in found] == list(range(begin + 1, begin + count + 1))
    assert resolve(found[0]).devices[0].size == 1 << 20


def test_columns_may_be_of_other_types_in_another_order_and_missing(tmp_path):
    bars = [
        [{"class": "030000", "place": "0:0:2:0", "offset": "10", "type": "Memory", "bits": 64, "base": 1, "size": 2}]
    ]
    path = tmp_path / "few.parquet"
    pq.write_table(pa.table({"more": [1.5], "bars": bars, "ram": pa.array([1 << 30], pa.int64())}), path)
    (facts,) = parquet.facts_in(str(path), parquet.groups(str(path))[1], 0, 0, 1)
    assert (facts.name, facts.arch, facts.total, facts.devices[0].size) == ("machine 1", "?", 1 << 30, 2)


def test_a_row_that_is_no_machine_is_refused_alone(tmp_path):
    path = tmp_path / "odd.parquet"
    good = msgspec.to_builtins(FEW[0].bars[0])
    rows = [[good], [[None, *good[1:]]], [["nowhere", *good[1:]]], None, [good]]
    bars = [row and [dict(zip(parquet.REGISTER, register, strict=True)) for register in row] for row in rows]
    pq.write_table(pa.table({"bars": pa.array(bars, parquet.schema().field("bars").type), "ram": [1 << 30] * 5}), path)
    found = list(parquet.facts_in(str(path), parquet.groups(str(path))[1], 0, 0, 5))
    assert [bool(facts.refusal) for facts in found] == [False, True, True, False, False]
    assert [len(facts.devices) for facts in found] == [1, 0, 0, 0, 1]
    assert str(found[1].refusal).startswith(f"{path}:2: not a machine: Expected `str`")


@pytest.mark.parametrize(
    "columns, reason",
    [
        ({"ram": [1]}, "a table without a column bars (docs/inputs.md lists the columns)"),
        ({"bars": ["none"]}, "damaged Parquet file, or no table of machines: "),
        ({"bars": [[1, 2]]}, "damaged Parquet file, or no table of machines: "),
    ],
)
def test_another_table_is_one_line(tmp_path, columns, reason):
    path = str(tmp_path / "other.parquet")
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UnreadableError) as caught:
        list(parquet.facts_in(path, parquet.groups(path)[1], 0, 0, 1))
    assert str(caught.value).startswith(f"{path}: {reason}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda data: b"PAR1", lambda data: data[:-50], lambda data: b"PAR1" + data[2000:]])
def test_damage_is_one_line(file, tmp_path, damage):
    path = tmp_path / "damaged.parquet"
    path.write_bytes(damage(Path(file).read_bytes()))
    with pytest.raises(UnreadableError, match="damaged Parquet file"):
        list(parquet.facts_in(str(path), parquet.groups(str(path))[1], 0, 0, 400))


def test_a_file_that_changed_is_not_read(file, tmp_path):
    path = tmp_path / "fleet.parquet"
    pq.write_table(parquet.table(FEW[:10]), path)
    mark = parquet.groups(str(path))[1]
    pq.write_table(parquet.table(FEW[10:20]), path)
    with pytest.raises(UnreadableError, match="changed while it was read"):
        next(parquet.facts_in(str(path), mark, 0, 0, 10))


def test_without_pyarrow_it_is_one_line(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnreadableError, match=r"a Parquet file needs pyarrow \(pip install 'kernmalloc\[tables\]'\)"):
        parquet.groups(file)


def test_the_columns_are_the_fields_of_a_machine():
    assert set(parquet.SCHEMA) == set(fleet.Record.__struct_fields__)
    assert [name.replace("device_", "") for name in fleet.Register.__struct_fields__] == list(parquet.REGISTER)
    assert json.dumps(parquet.schema().names) == json.dumps(list(parquet.SCHEMA))
