"""Replays: what the kernel returns is nobody else's, peaks are those of a slow recount, nothing is left in the end."""

from pathlib import Path

import numpy
import pytest
from collection import DATA
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machines import MIB, MODES, machine

from kernmalloc.facade.errors import OutOfMemory
from kernmalloc.facade.profile import Profile
from kernmalloc.inputs.errors import InputError
from kernmalloc.inputs.limits import raised
from kernmalloc.inputs.traces import read_trace
from kernmalloc.inputs.traces.trace import LARGEST, ORDERS, Recorder
from kernmalloc.sim.replay import replay, roomy

SMALL = sorted((Path(__file__).parents[1] / "data" / "traces").iterdir())
FEW = ("gcc.trace.zst", "ls.perf.zst", "sqlite.bin.zst", "malloclab-freeciv.rep")
FOUND = [*(DATA / "traces").rglob("*.zst"), *(DATA / "traces").rglob("*.rep")] if DATA.exists() else []
REAL = sorted(path for path in FOUND if path.name != "ls.trace-cmd.zst" and (EFFORT > 1 or path.name in FEW))


def figures(done):
    """All but the times, the mode and how many invariants there are to look at."""
    told = {name: getattr(done, name) for name in done.__struct_fields__}
    return told | {"ns": 0, "ns_per_operation": 0, "seconds": 0, "mode": "", "assertions": 0, "tlb_counted": 0}


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_a_small_trace_of_every_form_is_replayed(path):
    trace = read_trace(path)
    done = replay(trace)
    assert done.held and not done.failure and not done.lost and not done.refused and not done.uncached
    assert done.operations == len(trace.ops) and len(done.ns) == 7 and done.ns_per_operation == sorted(done.ns)[3] > 0
    heap = (trace.kinds < 0) | (trace.kinds >= ORDERS)
    bytes = trace.bytes()
    assert done.peak_live == max(numpy.cumsum(bytes * heap)) and done.peak_pages == max(numpy.cumsum(bytes * ~heap))
    assert done.peak_live < done.peak_backed == pytest.approx(done.peak_live / (1 - done.fragmentation))
    typed = {cache.name: cache for cache in done.caches if not cache.name.startswith("size-")}
    assert typed.keys() <= {cache.name for cache in trace.caches}
    assert all(0 <= c.active_objs <= c.num_objs == c.num_slabs * c.objperslab for c in done.caches)
    assert all(c.objsize * c.objperslab <= c.pagesperslab * 4096 for c in done.caches)
    assert done.grown * 4096 >= done.peak_backed
    assert sum(c.num_slabs * c.pagesperslab for c in done.caches) * 4096 <= done.peak_backed + 64 * 4096


def test_lives_replay_alike():
    """Interpreted and compiled: the same figures, to the byte and the slab."""
    trace, pc = read_trace(SMALL[2]), machine((0, 12 * MIB))
    assert {-1, 0, ORDERS} <= set(trace.kinds.tolist())
    raw, soft, twin = (figures(replay(trace, Profile.load("eros2"), mode, pc)) for mode in MODES)
    assert raw == soft == twin and raw["held"]


def test_a_kernel_without_a_heap_does_not_replay():
    with pytest.raises(OutOfMemory, match="room for the trace: "):
        replay(read_trace(SMALL[2]), Profile.load("frames"))


@pytest.mark.parametrize("kernel", [name for name in Profile.shipped() if not Profile.load(name).heapless])
def test_every_kernel_replays(kernel):
    """Whatever its strategy; a heap that is divided at boot is not backed by nothing."""
    done = replay(read_trace(SMALL[2]), Profile.load(kernel))
    assert done.held and 0 < done.peak_live < done.peak_backed < 64 * done.peak_live and done.kernel == kernel


def made(script):
    """The trace of a script: (key, how much) allocates by the key's kind, or frees what is live."""
    recorder = Recorder("script")
    for key, amount in script:
        if recorder.is_live(key):
            recorder.free(key)
        elif key % 4 == 0:
            recorder.pages(key, amount % 5)
        elif key % 4 == 1:
            recorder.object(key, f"cache {amount % 3}", 24 << 2 * (amount % 3))
        else:
            recorder.block(key, amount)
    return recorder.trace("script")


@settings(max_examples=10 * EFFORT)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1, 16, 100, 3000, 40_000, 200_000])), max_size=150))
def test_any_trace_is_replayed_or_refused_in_part(script):
    """Memory of some megabytes, most of it asked for: what is refused is counted, what is not is nobody else's."""
    trace = made(script)
    done = replay(trace, Profile.load("eros2"), "soft", machine((0, 5 * MIB)))
    assert done.held and done.refused.keys() <= {"NO_FRAMES", "WOULD_BLOCK", "NO_VA"}
    assert sum(done.refused.values()) <= trace.allocates.sum()
    if not done.refused:
        assert done.peak_live + done.peak_pages >= trace.bytes().cumsum().max(initial=0)
        assert done.peak_backed >= done.peak_live


def test_what_is_refused_is_counted_and_not_live():
    """Blocks of 1 MiB in 4 MiB of RAM: some are refused, their frees are none."""
    recorder = Recorder("much")
    for key in range(8):
        recorder.block(key, MIB)
    for key in range(8):
        recorder.free(key)
    done = replay(recorder.trace("much"), Profile.load("eros2"), "raw", machine((0, 6 * MIB)))
    (refused,) = done.refused.values()
    assert done.held and 0 < refused < 8 and done.peak_live == (8 - refused) * MIB <= done.peak_backed


def test_caches_that_the_kernel_cannot_have_get_size_classes():
    """More caches than there is room for, the least used left out, and one of objects that are too large."""
    recorder = Recorder("many")
    for key in range(64):
        recorder.object(key, f"c{key}", 64)
        recorder.object(100 + key, "used", 128)
    recorder.object(1000, "huge", 100_000)
    trace = recorder.trace("many")
    done = replay(trace, Profile.load("eros2"))
    assert done.held and "huge" in done.uncached and 10 < len(done.uncached) < 60 and "used" not in done.uncached
    lines = {line.name: line for line in done.caches}
    assert lines["used"].active_objs == 64 and lines["size-64"].active_objs >= len(done.uncached) - 1


def test_a_trace_of_nothing():
    recorder = Recorder("nothing")
    recorder.free(1)
    done = replay(recorder.trace("nothing"), Profile.load("eros2"), "raw", machine((0, 6 * MIB)))
    assert done.held and done.operations == done.peak_live == done.peak_backed == done.fragmentation == 0


@pytest.mark.parametrize("count, order", [(4, -1), (1, 20)])
def test_what_is_too_large_to_be_marked_is_refused(count, order):
    """Four blocks of 2 GiB, one of 2^20 pages: before anything boots."""
    recorder = Recorder("large")
    for key in range(count):
        recorder.block(key, LARGEST) if order < 0 else recorder.pages(key, order)
    with pytest.raises(
        InputError, match=r"^large: more than 2 GiB live at once in a trace \(--limit live=N takes more"
    ):
        replay(recorder.trace("large"))


def test_what_is_live_at_once_has_a_limit_that_can_be_moved():
    recorder = Recorder("blocks")
    for key in range(40):
        recorder.block(key % 4, MIB)
    trace = recorder.trace("blocks")
    with raised(live=3 * MIB), pytest.raises(InputError, match="more than 3 MiB"):
        replay(trace)
    with raised(live=4 * MIB):
        assert replay(trace).held


def test_the_machine_has_room():
    trace = read_trace(SMALL[2])
    assert roomy(trace, 4096).ram_bytes > 100 * MIB
    recorder = Recorder("large")
    recorder.pages(1, 18)
    assert roomy(recorder.trace("large"), 4096).ram_bytes > 3.9 * 1024 * MIB


@pytest.mark.skipif(not REAL, reason="no collection of real traces beside the repository")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_traces_are_replayed(path):
    done = replay(read_trace(path))
    assert done.held and not done.refused and done.peak_live < done.peak_backed
    assert done.peak_live < 500_000 or done.fragmentation < 0.6
