"""What is written for Perfetto's viewer: read back by Perfetto's own description of its format, and held against its
rules and against the samples."""

import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kernmalloc.inputs.errors import InputError
from kernmalloc.report.perfetto import can_write, lanes, trace
from kernmalloc.sim.observer import Observer
from kernmalloc.sim.run import run
from kernmalloc.sim.samples import Slice
from kernmalloc.sim.scenario import Scenario

SMALL = """
summary = "small"
touches = 3000
ram = "4 MiB"
bank = { withheld = 100 }
source = { latency = 20, depth = 4 }
[[processes]]
name = "writers"
count = 3
pages = 500
writes = 0.5
[[dma]]
name = "ring"
every = 500
hold = 1900
size = "16 KiB"
"""


@pytest.fixture(scope="module")
def samples():
    observer = Observer(slices=True)
    assert run(Scenario.parse(SMALL), observer=observer).held
    return observer.samples


def read(data):
    """Tracks by number and events in the order of time, as the format says; every packet is of a kind that is meant."""
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

    found = SimpleNamespace(tracks={}, events=[])
    packets = Trace.FromString(data).packet
    assert packets[0].sequence_flags == 1 and {packet.trusted_packet_sequence_id for packet in packets} == {1}
    for packet in packets:
        if packet.HasField("track_descriptor"):
            assert packet.track_descriptor.uuid not in found.tracks
            found.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
        else:
            assert packet.HasField("track_event") and packet.track_event.track_uuid in found.tracks
            found.events.append((packet.timestamp, packet.track_event))
    found.events.sort(key=lambda item: item[0])  # the viewer's order: of time, then of the file
    return found


def test_counters_are_the_columns(samples):
    found = read(trace(samples))
    process = next(track for track in found.tracks.values() if track.HasField("process"))
    assert process.process.process_name == f"{samples.title} (a microsecond is a tick)"
    counters = {track.uuid: track for track in found.tracks.values() if track.HasField("counter")}
    assert {track.name for track in counters.values()} == samples.columns.keys() - {"ticks"}
    values = defaultdict(list)
    for at, event in found.events:
        if event.type == event.TYPE_COUNTER:
            value = event.double_counter_value if event.HasField("double_counter_value") else event.counter_value
            values[event.track_uuid].append((at, value))
    for uuid, track in counters.items():
        column = samples.columns[track.name]
        assert [value for _, value in values[uuid]] == column.values.tolist()
        assert [at for at, _ in values[uuid]] == [tick * 1000 for tick in samples["ticks"].tolist()]
        unit = track.counter.unit_name or {track.counter.UNIT_SIZE_BYTES: "bytes"}[track.counter.unit]
        assert (unit, track.description) == (column.unit, column.meaning)
        assert found.tracks[track.parent_uuid].parent_uuid == process.uuid  # in a group, below the process


def test_a_name_that_is_no_text_is_shown_as_what_it_is(samples):
    """Perfetto's strings are UTF-8; a file may have any bytes for a name."""
    assert rb"trace\udc80\u001b (a" in trace(replace(samples, title="trace\udc80\x1b"))


def test_slices_are_those_of_the_samples(samples):
    """They nest in each track, lie at their thread, and nothing is lost or added."""
    found = read(trace(samples))
    threads = {track.uuid: track.thread for track in found.tracks.values() if track.HasField("thread")}
    assert {thread.thread_name for thread in threads.values()} == {
        "writers 0",
        "writers 1",
        "writers 2",
        "ring",
        "source",
    }
    assert {thread.pid for thread in threads.values()} == {1}
    assert len({thread.tid for thread in threads.values()}) == len(threads)
    open_, got = {}, Counter()
    for at, event in found.events:
        track = found.tracks[event.track_uuid]
        name = (
            threads[track.uuid if track.uuid in threads else track.parent_uuid].thread_name
            if not track.HasField("counter")
            else ""
        )
        if event.type == event.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_
            open_[event.track_uuid] = (at, event)
        elif event.type == event.TYPE_SLICE_END:
            began, first = open_.pop(event.track_uuid)
            told = {each.name: each.int_value for each in first.debug_annotations}
            got[name, first.categories[0], first.name, began, at, *told.items()] += 1
        elif event.type == event.TYPE_INSTANT:
            got[name, event.categories[0], event.name, at, at] += 1
    assert not open_
    assert got == Counter(
        (s.track, s.kind, s.name, s.begin * 1000, s.end * 1000, *s.told.items()) for s in samples.slices
    )
    assert {kind for _, kind, *_ in got} >= {"wait", "read", "write", "hold"}


@given(some.lists(some.tuples(some.integers(0, 30), some.integers(0, 9)), max_size=40))
def test_no_slices_of_a_lane_overlap(spans):
    slices = [Slice("t", "hold", f"{number}", begin, begin + length) for number, (begin, length) in enumerate(spans)]
    placed = list(lanes(slices))
    assert sorted(slice.name for _, slice in placed) == sorted(slice.name for slice in slices)
    ends = defaultdict(int)
    for lane, slice in placed:
        if slice.end > slice.begin:
            assert slice.begin >= ends[lane]
            ends[lane] = slice.end
    most = max((sum(s.begin <= at < s.end for s in slices) for at in range(40)), default=0)
    assert {lane for lane, _ in placed} <= set(range(max(most, 1)))  # no more lanes than slices at one time


def test_without_the_package_it_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "perfetto.trace_builder.proto_builder", None)
    with pytest.raises(InputError, match=r"--perfetto f: needs perfetto \(pip install 'kernmalloc\[perfetto\]'\)"):
        can_write("f")


@pytest.mark.nightly
@pytest.mark.skipif(
    not shutil.which("trace_processor_shell"), reason="no trace_processor_shell of Perfetto's on the path"
)
def test_perfettos_own_reader_takes_it(samples, tmp_path):
    """What the viewer is made of: it finds the slices and counters, and has nothing to complain of."""
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    file = tmp_path / "run.pftrace"
    file.write_bytes(trace(samples))
    config = TraceProcessorConfig(bin_path=shutil.which("trace_processor_shell"))
    with TraceProcessor(trace=str(file), config=config) as reader:
        (row,) = reader.query("select count(*) as n from slice")
        assert row.n == len(samples.slices)
        (row,) = reader.query("select count(*) as n from counter")
        assert row.n == len(samples) * (len(samples.columns) - 1)
        assert not list(reader.query("select name from stats where severity in ('error', 'data_loss') and value > 0"))
