"""Results as tables: a row for each record, columns that do not depend on how many there are, values as they were."""

import subprocess
import sys
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, machine

from kernmalloc import Kernel, Machine, Profile
from kernmalloc.emulate.simulation import Outcome as Simulated
from kernmalloc.inputs.traces.trace import ORDERS, Recorder
from kernmalloc.plan.plan import plan
from kernmalloc.report.outcome import DeviceLine
from kernmalloc.report.outcome import Outcome as Became
from kernmalloc.results.tables import Rows, row, table
from kernmalloc.sim.replay import CacheLine, replay

WORD = st.integers(-(1 << 63), (1 << 63) - 1)


class Tuple(NamedTuple):
    number: int
    name: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    number: int
    share: float
    held: bool
    counts: dict[str, int]


class Struct(msgspec.Struct):
    number: int
    inside: Tuple
    maybe: int | None = None


@given(st.lists(st.builds(Tuple, WORD, st.text(), st.lists(st.text(), max_size=3).map(tuple)), max_size=5))
def test_records_are_rows(records):
    rows = Rows.of(Tuple, records)
    assert rows == tuple(records)
    made = rows.to_arrow()
    assert made.schema == Rows.of(Tuple, ()).to_arrow().schema, "whether there are records or not"
    assert made.to_pylist() == [each._asdict() | {"names": list(each.names)} for each in records]
    assert len(made.to_pandas()) == len(records)


@given(st.lists(st.builds(Data, WORD, st.floats(allow_nan=False), st.booleans(), st.dictionaries(st.text(), WORD))))
def test_what_counts_by_name_has_a_column_for_each(records):
    made = table(Data, records)
    assert made.num_rows == len(records)
    for at, each in enumerate(made.to_pylist()):
        expected = records[at]
        assert (each["number"], each["share"], each["held"]) == (expected.number, expected.share, expected.held)
        counts = {name.removeprefix("counts."): n for name, n in each.items() if name.startswith("counts.")}
        assert {name: n for name, n in counts.items() if n is not None} == expected.counts


def test_records_in_records():
    made = row(Struct(5, Tuple(6, "six", ("a",))))
    assert made.column_names == ["number", "inside.number", "inside.name", "inside.names", "maybe"]
    assert made.to_pylist() == [
        {"number": 5, "inside.number": 6, "inside.name": "six", "inside.names": ["a"], "maybe": None}
    ]


def test_numbers_of_64_bits():
    """Windows of devices may lie anywhere."""
    made = table(Tuple, [Tuple((1 << 64) - 1, "", ()), Tuple(0, "", ())])
    assert made["number"].to_pylist() == [(1 << 64) - 1, 0] and made.schema.field("number").type == pyarrow.uint64()


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_a_kernel_in_tables(mode):
    with Kernel.boot(machine((0, 5 * MIB), (8 * MIB, 16 * MIB)), Profile.load("eros2"), mode) as kernel:
        pfn = kernel.block_get(3)
        kernel.cache("node").get()
        regions = kernel.regions.to_arrow().to_pandas()
        assert [tuple(each) for each in regions.values] == [
            (r.pfn, r.frames, r.kind, r.free, r.area, r.area_bytes) for r in kernel.regions
        ]
        caches = kernel.caches.to_arrow().to_pandas().set_index("name")
        assert caches["used"]["node"] == 1 and caches["own"]["region"]
        steps = kernel.steps.to_arrow()
        assert steps["name"].to_pylist() == [step.name for step in kernel.steps]
        assert steps["state.donated"].to_pylist() == [step.state["donated"] for step in kernel.steps]
        frames = kernel.frames.to_arrow().to_pandas().set_index("pfn")
        assert (frames["type"][pfn], frames["order"][pfn]) == ("dma", 3)
        taken = {base + at for base, each in kernel.frames for at in numpy.flatnonzero(each["type"])}
        assert taken == set(frames.index)


def test_plans_make_a_fleet():
    names, profile = ["m5475-64m", "desktop-16g", "workstation-64g"], Profile.load("eros2")
    plans = [plan(Machine.shipped(name), profile) for name in names]
    fleet = pyarrow.concat_tables([made.to_arrow() for made in plans])
    assert fleet["planned"].to_pylist() == [made.planned for made in plans]
    assert fleet["tlb"].to_pylist() == [made.tlb.entries for made in plans]
    devices = pyarrow.concat_tables([made.devices.to_arrow() for made in plans])
    for status in ("fits", "refused"):
        assert sum(fleet[status].to_pylist()) == devices["status"].to_pylist().count(status)
    assert sum(plans[1].items.to_arrow()["bytes"].to_pylist()) == plans[1].top
    assert plans[0].added.to_arrow().schema.names == [
        "base", "size", "status", "cost", "taken", "hosted", "self_hosted", "reason",
    ]  # fmt: skip
    assert plans[0].added.to_arrow().num_rows == 0


def test_a_machine_in_a_table():
    made = Machine.shipped("desktop-16g")
    frame = made.to_arrow().to_pandas()
    assert frame[frame["kind"] == "ram"]["size"].sum() == made.ram_bytes
    assert (frame["kind"] == "device").sum() == len(made.devices)
    assert frame["base"].is_monotonic_increasing


OPERATIONS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["block", "pages", "object", "free"])), max_size=40)


@given(OPERATIONS)
def test_a_trace_in_a_table(operations):
    """Each operation is about what the row `origin` allocates, and in the end as much is live as the trace says."""
    recorder = Recorder("trace")
    for key, what in operations:
        if what == "free":
            recorder.free(key)
        elif what == "block":
            recorder.block(key, 10 + key)
        elif what == "pages":
            recorder.pages(key, key % 3)
        else:
            recorder.object(key, f"cache {key % 2}", 64)
    trace = recorder.trace("made here")
    rows = trace.to_arrow().to_pylist()
    assert len(rows) == len(trace.ops)
    for at, each in enumerate(rows):
        origin = rows[each["origin"]]
        assert origin["allocates"] and (each["slot"], each["what"]) == (origin["slot"], origin["what"])
        assert each["bytes"] == (origin["bytes"] if each["allocates"] else -origin["bytes"])
        assert each["allocates"] == (each["origin"] == at)
        assert (each["cache"] is None) == (each["what"] != "object") == (trace.kinds[at] < ORDERS)
        assert each["cache"] in (None, "cache 0", "cache 1")
    assert sum(each["allocates"] for each in rows) * 2 - len(rows) == trace.live_at_end


def test_outcomes_are_rows():
    recorder = Recorder("a trace")
    recorder.object(1, "inode", 600)
    done = replay(recorder.trace("made here"), mode="soft")
    (made,) = done.to_arrow().to_pylist()
    assert made["operations"] == 1 and made["skipped.before"] == 0 and made["caches"][0]["name"] == "inode"
    assert table(CacheLine, done.caches)["objsize"].to_pylist() == [line.objsize for line in done.caches]
    device = DeviceLine(0, 4096, "fits", 10)
    (became,) = Became(file="f", machine="m", status="booted", devices=(device,)).to_arrow().to_pylist()
    assert became["heap"] is None and became["devices"] == [msgspec.structs.asdict(device)]
    assert Simulated(3, ["one differs"]).to_arrow().to_pylist() == [{"calls": 3, "differences": ["one differs"]}]


def test_without_pyarrow_it_is_one_line():
    """And nothing else needs it."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from kernmalloc import Machine\nmachine = Machine.shipped('m5475-64m'); machine._repr_html_()\n"
        "try: machine.to_arrow()\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a table needs pyarrow: pip install 'kernmalloc[tables]'\n"
