"""A run or replay over time as a trace for Perfetto's viewer, ui.perfetto.dev: Perfetto's own format, protocol buffers.

    process   the run: its name says what the time axis means
    counters  below it, in groups: a track for each column of the samples, with unit and meaning
    threads   whoever waited, was served or held something: processes, loads, the source; their slices and events

The viewer knows nanoseconds only: a tick of a scenario, or an operation of a trace, is shown as a microsecond. Slices
of one track that overlap, as the requests of a disk do, lie in tracks of one name, which the viewer shows together.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from kernmalloc.inputs.errors import InputError
from kernmalloc.report.printable import printable
from kernmalloc.sim.samples import Column, Samples, Slice

NS = 1000  # of a tick or an operation
SEQUENCE = 1  # whose packets these are
PID = 1
AXIS = {"touches": "a microsecond is a tick", "operations": "a microsecond is an operation"}
GROUPS = (
    ("heap", ("live", "heap_used", "heap_backed")),
    ("frames", ("frames_", "fragmentation", "promised", "available", "moved")),
    ("free blocks", ("blocks_",)),
    ("page cache", ("cached", "dirty", "hit_rate", "misses", "evictions", "reads", "writes")),
    ("waits", ("waiting", "waits", "waited")),
    ("work", ("done", "seconds")),
)
"""The counters by group, by name or how names begin; the column `ticks` is the time axis."""


def can_write(file: str) -> None:
    """Raises InputError where `trace` would fail: Perfetto's package is not there."""
    try:
        import perfetto.trace_builder.proto_builder  # noqa: F401
    except ImportError:
        raise InputError(f"--perfetto {file}", 0, "needs perfetto", "pip install 'kernmalloc[perfetto]'") from None


def trace(samples: Samples) -> bytes:
    """The trace, as the viewer reads it from a file."""
    from perfetto.trace_builder.proto_builder import TraceProtoBuilder

    return _Writer(TraceProtoBuilder()).written(samples)


def lanes(slices: list[Slice]) -> Iterator[tuple[int, Slice]]:
    """Slices of one track from the first on, each with the number of a lane in which none overlaps another."""
    over: list[int] = []  # when the last one of each lane is
    for slice in sorted(slices, key=lambda slice: (slice.begin, slice.end)):
        lane = next((lane for lane, end in enumerate(over) if end <= slice.begin), len(over))
        if slice.end > slice.begin:
            over[lane : lane + 1] = [slice.end]
        yield lane if lane < len(over) else 0, slice


class _Writer:
    """Packets, into Perfetto's builder."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self._uuid = 0

    def written(self, samples: Samples) -> bytes:
        process = self._process(samples)
        times = [int(at) for at in samples["ticks" if "ticks" in samples.columns else "done"]]
        for rank, (group, names) in enumerate(GROUPS):
            columns = {name: column for name, column in samples.columns.items() if name.startswith(names)}
            if columns:
                parent = self._track(parent=process, name=group, sibling_order_rank=rank)
                for name, column in columns.items():
                    self._counter(parent, name, column, times)
        tracks: dict[str, list[Slice]] = defaultdict(list)
        for slice in samples.slices:
            tracks[slice.track].append(slice)
        for tid, name in enumerate(sorted(tracks), PID + 1):
            self._thread(tid, name, tracks[name])
        return bytes(self._builder.serialize())

    def _packet(self, at: int = 0) -> Any:
        packet = self._builder.add_packet()
        packet.timestamp, packet.trusted_packet_sequence_id = at * NS, SEQUENCE
        return packet

    def _track(self, parent: int = 0, **told: object) -> int:
        """Describe a track: its number."""
        self._uuid += 1
        descriptor = self._packet().track_descriptor
        descriptor.uuid = self._uuid
        if parent:
            descriptor.parent_uuid = parent
        for name, value in told.items():
            setattr(descriptor, name, value)
        self._described = descriptor
        return self._uuid

    def _process(self, samples: Samples) -> int:
        left = f"; the {samples.left_out:,} shortest slices are left out" if samples.left_out else ""
        uuid = self._track(description=f"{len(samples):,} moments, {len(samples.slices):,} slices{left}")
        self._builder.trace.packet[-1].sequence_flags = 1  # SEQ_INCREMENTAL_STATE_CLEARED: the sequence begins
        self._described.child_ordering = self._described.EXPLICIT
        self._described.process.pid = PID
        self._described.process.process_name = printable(f"{samples.title} ({AXIS[samples.unit]})")
        return uuid

    def _counter(self, parent: int, name: str, column: Column, times: list[int]) -> None:
        uuid = self._track(parent, name=name, description=column.meaning)
        counter = self._described.counter
        if column.unit == "bytes":
            counter.unit = counter.UNIT_SIZE_BYTES
        else:
            counter.unit_name = column.unit
        for at, value in zip(times, column.values.tolist(), strict=True):
            event = self._event(at, uuid, "TYPE_COUNTER")
            if isinstance(value, float):
                event.double_counter_value = value
            else:
                event.counter_value = value

    def _thread(self, tid: int, name: str, slices: list[Slice]) -> None:
        uuid = self._track()
        thread = self._described.thread
        thread.pid, thread.tid, thread.thread_name = PID, tid, name
        tracks = [uuid]
        for lane, slice in lanes(slices):
            if lane == len(tracks):
                tracks.append(self._track(uuid, name=name))
            event = self._event(
                slice.begin, tracks[lane], "TYPE_SLICE_BEGIN" if slice.end > slice.begin else "TYPE_INSTANT"
            )
            event.name = slice.name
            event.categories.append(slice.kind)
            for key, value in slice.told.items():
                told = event.debug_annotations.add()
                told.name = key
                if isinstance(value, str):
                    told.string_value = value
                else:
                    told.int_value = value
            if slice.end > slice.begin:
                self._event(slice.end, tracks[lane], "TYPE_SLICE_END")

    def _event(self, at: int, uuid: int, type: str) -> Any:
        event = self._packet(at).track_event
        event.track_uuid, event.type = uuid, event.Type.Value(type)
        return event
