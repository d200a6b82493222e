"""The heap: every allocator on generated traces, small."""

import numpy
import pytest

from kernmalloc.bench import heap, native, traces
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import OURS, judge
from kernmalloc.build import shared
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine import lives


@pytest.fixture(autouse=True)
def compilers(monkeypatch):
    """One that is there, and one that is not."""
    monkeypatch.setattr(heap, "COMPILERS", ((native._compiler(), "-O2"), ("no-such-cc", "-O3")))


EXPORTED = f"C, {native._compiler()} -O2"
UNTOLD = "the heap as C, no-such-cc -O3: no-such-cc is not installed"


def test_every_allocator_replays_every_trace():
    few = [trace._replace(pairs=trace.pairs[:2000]) for trace in traces.generated(0.002)[:2]]
    told = []
    rows = list(heap.run(few, 3000, 2, lambda what, done: None, told.append))
    there, missing = heap.peers()
    everyone = {OURS, EXPORTED, f"{OURS}, {heap.OTHER}", *(peer.who for peer in there)}
    assert told.pop() == UNTOLD and len(told) == bool(missing)
    assert "glibc" in everyone and not {peer.who for peer in there} & set(missing)
    for trace in few:
        for kind in ("warm", "cold", "p99.9 of malloc", "worst of free"):
            on = [row for row in rows if row.work == f"{kind}: {trace.name}"]
            assert {row.who for row in on} == everyone
            assert all(len(row.values) == 2 and row.median > 0 for row in on)
    assert judge(heap.goals(rows), rows)[0].goal.work == f"warm: {heap.MEAN}"


def test_an_allocator_that_does_not_do_the_work_is_no_figure(tmp_path):
    ours, glibc = heap.Ours(OURS), heap.Peer("glibc", "-")
    file = tmp_path / "trace"
    for pairs, found in (
        ([(0, (1 << 31) - 1)] * 8, "calls were refused"),
        ([(0, 100), (0, 0), (0, 0)], "calls were refused"),
    ):
        trace = traces.Trace("wrong", "wrong", numpy.array(pairs, numpy.int32))
        with pytest.raises(Wrong, match=found):
            ours.measure("time", trace, file, 1)
    with pytest.raises(Wrong, match="glibc on wrong: exit status"):
        glibc.measure("time", trace, tmp_path / "nowhere", 1)
    file.write_bytes(trace.pairs.tobytes())
    with pytest.raises(Wrong, match=r"nolib\.so"):
        heap.Peer("nolib", "nolib.so").measure("time", trace, file, 1)


@pytest.mark.parametrize("one", [heap.Ours(OURS), heap.Peer("glibc", "-")], ids=lambda one: one.who)
def test_a_row_ends(one, tmp_path, monkeypatch):
    """Warm replays end when their time is over, of which one is done; a replay that takes longer is no figure."""
    file = tmp_path / "trace"
    few = traces.Trace("few", "few", numpy.array([(0, 1 << 20), (0, 0)], numpy.int32))
    many = few._replace(name="many", pairs=numpy.tile(few.pairs, (100_000, 1)))
    monkeypatch.setattr(heap, "MOST", 0.001)
    file.write_bytes(few.pairs.tobytes())
    assert one.measure("time", few, file, 1 << 40).warm > 0
    file.write_bytes(many.pairs.tobytes())
    with pytest.raises(heap.Late, match=rf"^{one.who} on many: a replay takes more than 0.001 seconds$"):
        one.measure("time", many, file, 1)


def test_what_was_refused_or_late_has_no_figures_in_any_part():
    """Times of blocks, of objects and under two sizes of pages are held to it by one function."""
    heap.Heap().check("one", "work")
    with pytest.raises(Wrong, match=r"^one on work: 3 calls were refused$"):
        heap.Heap(wrong=3, late=1).check("one", "work")
    with pytest.raises(heap.Late, match=r"^one on work: a replay takes more than 2 seconds$"):
        heap.Heap(late=1).check("one", "work")


def test_who_is_late_is_told_and_has_no_row_of_that_trace(monkeypatch):
    monkeypatch.setattr(heap, "peers", lambda: ([heap.Peer("glibc", "-")], []))
    late = heap.Late("glibc", traces.generated(0.001)[1].name)

    def slow(self, what, trace, file, replays):
        if what == "time" and self.who == "glibc":
            raise late
        return measure(self, what, trace, file, replays)

    measure = heap.Peer.measure
    monkeypatch.setattr(heap.Peer, "measure", slow)
    told = []
    rows = list(heap.run([traces.generated(0.001)[1]], 100, 2, lambda what, done: None, told.append))
    assert told == [UNTOLD, late]
    assert "glibc" not in {row.who for row in rows} and OURS in {row.who for row in rows}


def test_the_footprint_is_that_of_what_was_written(tmp_path):
    """4 MiB live in blocks of 4 KiB: everybody needs as much, and nobody half as much again."""
    pairs = numpy.array([(slot, 4096) for slot in range(1024)] + [(slot, 0) for slot in range(1024)], numpy.int32)
    trace, file = traces.Trace("pages", "pages", pairs), tmp_path / "trace"
    file.write_bytes(pairs.tobytes())
    for one in (heap.Ours(OURS), *heap.peers()[0]):
        figures = one.measure("backed", trace, file, 1)
        assert figures.live == 4 << 20
        assert 0.9 < figures.peak / figures.live < 1.5, one.who  # Linux counts resident pages by the batch


def test_peers_that_are_not_installed_are_named_with_what_installs_them(monkeypatch):
    monkeypatch.setattr(heap, "LIBRARIES", {"mimalloc": "libnone.so.1", "tcmalloc": "libnone.so.2"})
    told = []
    rows = list(heap.run([traces.generated(0.001)[1]], 100, 1, lambda what, done: None, told.append))
    assert {row.who for row in rows} == {OURS, EXPORTED, f"{OURS}, {heap.OTHER}", "glibc"}
    assert told == [f"mimalloc, tcmalloc: {heap.INSTALL}", UNTOLD]


def test_the_exported_c_runs_in_the_memory_of_mode_raw(tmp_path):
    """It is not LLVM's code, and what its heap takes is as much to a byte."""
    trace, file = traces.Trace("kernel", "kernel", traces.kernel(20)), tmp_path / "trace"
    file.write_bytes(trace.pairs.tobytes())
    (exported,) = heap.exported(lambda why: None)
    with lives.loading(exported._load), Kernel.boot(heap.machine(), Profile.load("x86_64")) as kernel:
        assert isinstance(kernel.handle.life.library, shared.Library)
    one, other = (each.measure("backed", trace, file, 1) for each in (heap.Ours(OURS), exported))
    assert (one.live, one.peak) == (other.live, other.peak) and one.peak > 0
