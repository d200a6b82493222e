"""What is seen of a run or replay over time: that looking changes nothing, and that it agrees with what came of it."""

import base64
import gzip
import json
from itertools import pairwise

import msgspec
import numpy
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as some
from small_machines import MIB, machine

from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.traces.trace import Recorder
from kernmalloc.kernel.core.kern import TYPE_NAMES
from kernmalloc.sim import observer as observers
from kernmalloc.sim.observer import MAPS, MOMENTS, Observer
from kernmalloc.sim.replay import replay
from kernmalloc.sim.run import run
from kernmalloc.sim.samples import MEANINGS, Slice
from kernmalloc.sim.scenario import Scenario

SMALL = """
summary = "small"
touches = 6_000
ram = "4 MiB"
bank = { lenient = false, withheld = 100 }
source = { latency = 20, depth = 4 }
[[processes]]
name = "writers"
count = 3
pages = 300
zipf = 0.8
writes = 0.5
[[heap]]
name = "objects"
every = 100
hold = 3000
most = 3000
[[dma]]
name = "ring"
every = 2000
hold = 900
size = "16 KiB"
[[devices]]
name = "card"
every = 4000
hold = 3000
base = "0x40000000"
size = "64 KiB"
used = 3
"""


def of_run(outcome):
    """All of it but how long it took."""
    return msgspec.structs.asdict(outcome) | {"seconds": 0, "touch_seconds": 0}


@pytest.fixture(scope="module")
def seen():
    """A run, what came of it, and who looked."""
    observer = Observer(slices=True)
    return run(Scenario.parse(SMALL), observer=observer), observer.samples


@pytest.mark.parametrize("mode", ["raw", "soft"])
def test_a_run_is_the_same_whether_somebody_looks_or_not(mode, monkeypatch):
    """To the byte, and in mode soft to the TLB miss."""
    monkeypatch.setattr(observers, "MOMENTS", 64)
    scenario = Scenario.parse(SMALL).with_changes(touches=1500, cpus=2)
    alone = of_run(run(scenario, mode))
    assert alone["held"] and alone["misses"]
    for slices in (False, True):
        observer = Observer(slices=slices)
        assert of_run(run(scenario, mode, observer=observer)) == alone
        assert 20 < len(observer.samples) <= 64


def test_the_last_sample_is_what_came_of_the_run(seen):
    done, samples = seen
    assert done.held and samples.total == samples["done"][-1] == done.touches
    last = {name: column.values[-1] for name, column in samples.columns.items()}
    for name in ("ticks", "misses", "evictions", "reads", "writes", "cached", "promised", "available", "moved"):
        assert last[name] == getattr(done, name), name
    assert {name: last[f"frames_{name}"] for name in TYPE_NAMES} == done.frames
    assert [last[f"blocks_{order}"] for order in range(len(done.free_blocks))] == done.free_blocks
    assert last["fragmentation"] == done.fragmentation
    assert last["waits"] + last["waiting"] >= done.blocked and last["waited"] == done.blocked_ticks


def test_moments_are_few_even_and_in_order(seen):
    _, samples = seen
    assert 500 < len(samples) <= MOMENTS and samples["done"][0] == 0
    assert all(len(column.values) == len(samples) for column in samples.columns.values())
    steps = numpy.diff(samples["done"])
    assert (steps > 0).all() and steps.max() < samples.total / 20
    for name in ("ticks", "seconds", "misses", "evictions", "reads", "writes", "waits", "waited"):
        assert (numpy.diff(samples[name]) >= 0).all(), name
    assert samples.columns.keys() == MEANINGS.keys() and samples.columns["done"].unit == "touches"
    assert ((samples["hit_rate"] >= 0) & (samples["hit_rate"] <= 1)).all()
    assert samples["live"].max() > samples["live"][0] == 0
    assert (samples["heap_used"] <= samples["heap_backed"]).all()


def test_maps_have_every_frame_at_their_moments(seen):
    _, samples = seen
    map = samples.map
    moments, cells, types = map.counts.shape
    assert (
        100 < moments == len(map.moments) <= MAPS and types == len(TYPE_NAMES) and map.moments[-1] == len(samples) - 1
    )
    assert cells == -(-sum(frames for _, frames in map.spans) // map.each)
    for number, name in enumerate(TYPE_NAMES):
        if name != "device":
            assert (map.counts[:, :, number].sum(axis=1) == samples[f"frames_{name}"][map.moments]).all(), name
    told = json.loads(json.dumps(samples.to_json()))
    packed = numpy.frombuffer(gzip.decompress(base64.b64decode(told["map"]["data"])), numpy.uint8)
    dominant, shares = packed.reshape(2, moments, cells)
    frames = map.counts.sum(axis=2)
    for moment, cell in ((0, 0), (moments // 2, cells // 3), (moments - 1, cells - 1)):
        most = map.counts[moment, cell].max()
        assert map.counts[moment, cell, dominant[moment, cell]] == most
        assert abs(shares[moment, cell] / 255 - most / frames[moment, cell]) < 1 / 255
    assert told["map"]["types"] == list(TYPE_NAMES) and told["map"]["moments"] == map.moments.tolist()
    assert told["unit"] == "touches" and told["columns"]["live"]["unit"] == "bytes"
    assert told["columns"]["done"]["values"] == samples["done"].tolist()


def test_slices_add_up_to_what_the_run_tells(seen):
    """E26: every wait, to the tick; every page read and written back; ranges and devices that came and went."""
    done, samples = seen
    of = {kind: [slice for slice in samples.slices if slice.kind == kind] for kind in ("wait", "read", "write", "hold")}
    assert not samples.left_out and all(slice.begin <= slice.end for slice in samples.slices)
    for load in done.loads:
        mine = [s for s in of["wait"] if s.track.rpartition(" ")[0] == load.name or s.track == load.name]
        assert sum(s.end - s.begin for s in mine) == load.waited, load
        assert max((s.end - s.begin for s in mine), default=0) == load.longest
        assert load.waits - 3 <= len(mine) <= load.waits
    assert len(of["read"]) <= done.reads <= len(of["read"]) + 4
    assert all(s.end - s.begin == 20 for s in of["read"] + of["write"]) and len(of["write"]) > 100
    assert {s.name for s in of["hold"]} == {"range_get", "published"}
    for name, frames in (("ring", 4), ("card", 16)):
        held = [s for s in of["hold"] if s.track == name]
        (load,) = (load for load in done.loads if load.name == name)
        assert len(held) == load.got > 1 and held[0].told["frames"] == frames
    for process in {s.track for s in of["wait"]}:
        mine = [s for s in of["wait"] if s.track == process]
        assert all(a.end <= b.begin for a, b in pairwise(mine))


def test_threads_are_looked_at_too():
    observer = Observer()
    text = SMALL.replace("ram =", "cpus = 2\nram =").replace("lenient = false", "lenient = true")
    done = run(Scenario.parse(text).with_changes(touches=2000), threads=True, observer=observer)
    samples = observer.samples
    assert done.held and samples["done"][-1] == done.touches and len(samples) > 5
    assert (numpy.diff(samples["done"]) > 0).all() and samples["misses"][-1] == done.misses


@pytest.mark.parametrize("name", ["eros", "eros2", "coyotos-i386", "guest"])
def test_figures_are_those_that_the_kernel_recounts(name):
    """Whatever its heap: static, on demand, affine, or in a direct map."""

    class Enough(Exception):
        pass

    def seen(subject, figures, map):
        kernel = subject.kernel
        assert figures["heap_used"] == kernel.heap.used and figures["heap_backed"] == kernel.heap.backed
        assert {type: figures[f"frames_{type}"] for type in TYPE_NAMES} == kernel.frames_by_type()
        assert (figures["promised"], figures["available"]) == (kernel.ledger.promised, kernel.ledger.available)
        if figures["done"] == 20:
            raise Enough

    trace = scripted(40)
    with pytest.raises(Enough):
        replay(trace, Profile.load(name), observer=Observer(seen=seen))


def test_who_looks_may_end_it():
    """What it raises ends the run; the kernel is closed, and nothing of its memory stays."""

    class Enough(Exception):
        pass

    def seen(subject, figures, map):
        kernels.append(subject.kernel)
        assert subject.loads()[0].name == "writers"
        if figures["done"] > 1000:
            raise Enough

    kernels = []
    observer = Observer(seen=seen)
    with pytest.raises(Enough):
        run(Scenario.parse(SMALL), observer=observer)
    assert kernels[0].view.ram.closed and observer._map is None and len(observer.samples) == len(kernels)
    with pytest.raises(ValueError, match="make another"):
        run(Scenario.parse(SMALL), observer=observer)


@given(some.lists(some.tuples(some.integers(0, 50), some.sampled_from("ab")), max_size=60), some.integers(1, 20))
def test_of_each_kind_the_longest_slices_are_kept(lengths, most):
    observer = Observer()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(observers, "LONGEST", most)
        for begin, (length, kind) in enumerate(lengths):
            observer.note(Slice("t", kind, "n", begin, begin + length))
    samples = observer.samples
    for kind in "ab":
        all_of = sorted((length for length, of in lengths if of == kind), reverse=True)
        kept = sorted((s.end - s.begin for s in samples.slices if s.kind == kind), reverse=True)
        assert kept == all_of[:most]
    assert samples.left_out == len(lengths) - len(samples.slices)


def scripted(operations=3000):
    """A trace of blocks, objects and pages that grows and shrinks."""
    recorder = Recorder("script")
    for number in range(operations):
        key = number * 7919 % 501
        if recorder.is_live(key):
            recorder.free(key)
        elif key % 3 == 0:
            recorder.pages(key, key % 2)
        elif key % 3 == 1:
            recorder.object(key, "thing", 200)
        else:
            recorder.block(key, 1 + key * 37)
    return recorder.trace("script")


def of_replay(done):
    told = {name: getattr(done, name) for name in done.__struct_fields__}
    return told | {"ns": 0, "ns_per_operation": 0, "seconds": 0}


def test_a_replay_is_the_same_whether_somebody_looks_or_not():
    trace, observer, pc = scripted(), Observer(), machine((0, 16 * MIB))
    profile = Profile.load("eros2")
    done = replay(trace, profile, machine=pc, observer=observer)
    assert done.held and of_replay(done) == of_replay(replay(trace, profile, machine=pc))
    samples = observer.samples
    assert samples.unit == "operations" and samples["done"][-1] == done.operations and len(samples) <= MOMENTS
    assert numpy.diff(samples["done"])[:-1].max() == 4  # every fourth: 3000 in 999 steps
    assert samples["live"].max() <= done.peak_live and samples["live"].max() > 0.9 * done.peak_live
    assert samples["live"][-1] == (trace.bytes() * ((trace.kinds < 0) | (trace.kinds >= 32))).sum()
    assert "ticks" not in samples.columns and "misses" not in samples.columns


@pytest.mark.parametrize("mode", ["raw", "soft", pytest.param("twin", marks=pytest.mark.nightly)])
def test_what_is_refused_is_not_live(mode):
    """Blocks of 1 MiB in 6 MiB of RAM: some are refused; and every life sees the same."""
    recorder = Recorder("much")
    for key in range(8):
        recorder.block(key, MIB)
    observer = Observer()
    done = replay(recorder.trace("much"), Profile.load("eros2"), mode, machine((0, 6 * MIB)), observer=observer)
    (refused,) = done.refused.values()
    assert done.held and observer.samples["live"].tolist() == [min(n, 8 - refused) * MIB for n in range(9)]


def test_large_machines_are_looked_at_less_often(monkeypatch):
    monkeypatch.setattr(observers, "FRAMES", 1000 // EFFORT)
    monkeypatch.setattr(observers, "FEWEST", (20, 5))
    observer = Observer()
    assert replay(scripted(), observer=observer).held
    assert len(observer.samples) <= 20 and len(observer.samples.map.counts) <= 5
    assert observer.samples["done"][-1] == 3000
