"""Allocators: what they replay, what they refuse, and when they end."""

import numpy
import pytest

from kernmalloc.bench import allocators, native, traces
from kernmalloc.bench.native import Wrong
from kernmalloc.bench.rows import OURS
from kernmalloc.build import shared
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.machine import lives

COMPILERS = (native._compiler(), "-O2"), ("no-such-cc", "-O3")
"""One that is there, and one that is not."""
EXPORTED = f"C, {native._compiler()} -O2"
UNTOLD = "the heap as C, no-such-cc -O3: no-such-cc is not installed"


@pytest.fixture(autouse=True)
def compilers(monkeypatch):
    monkeypatch.setattr(allocators, "COMPILERS", COMPILERS)


def test_an_allocator_that_does_not_do_the_work_is_no_figure(tmp_path):
    ours, glibc = allocators.Ours(OURS), allocators.Peer("glibc", "-")
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
        allocators.Peer("nolib", "nolib.so").measure("time", trace, file, 1)


def test_the_peak_is_of_what_is_live():
    pairs = numpy.array([(0, 100), (1, 50), (0, 0), (0, 20), (1, 0), (2, 40)], numpy.int32)
    assert allocators.peak(traces.Trace("few", "few", pairs)) == 150


@pytest.mark.parametrize("one", [allocators.Ours(OURS), allocators.Peer("glibc", "-")], ids=lambda one: one.who)
def test_a_row_ends(one, tmp_path, monkeypatch):
    """Warm replays end when their time is over, of which one is done; a replay that takes longer is no figure."""
    file = tmp_path / "trace"
    few = traces.Trace("few", "few", numpy.array([(0, 1 << 20), (0, 0)], numpy.int32))
    many = few._replace(name="many", pairs=numpy.tile(few.pairs, (100_000, 1)))
    monkeypatch.setattr(allocators, "MOST", 0.001)
    file.write_bytes(few.pairs.tobytes())
    assert one.measure("time", few, file, 1 << 40).warm > 0
    file.write_bytes(many.pairs.tobytes())
    with pytest.raises(allocators.Late, match=rf"^{one.who} on many: a replay takes more than 0.001 seconds$"):
        one.measure("time", many, file, 1)


def test_what_was_refused_or_late_has_no_figures_in_any_part():
    """Times of blocks, of objects and under two sizes of pages are held to it by one function."""
    allocators.Heap().check("one", "work")
    with pytest.raises(Wrong, match=r"^one on work: 3 calls were refused$"):
        allocators.Heap(wrong=3, late=1).check("one", "work")
    with pytest.raises(allocators.Late, match=r"^one on work: a replay takes more than 2 seconds$"):
        allocators.Heap(late=1).check("one", "work")


def test_the_footprint_is_that_of_what_was_written(tmp_path):
    """4 MiB live in blocks of 4 KiB: everybody needs as much, and nobody half as much again."""
    pairs = numpy.array([(slot, 4096) for slot in range(1024)] + [(slot, 0) for slot in range(1024)], numpy.int32)
    trace, file = traces.Trace("pages", "pages", pairs), tmp_path / "trace"
    file.write_bytes(pairs.tobytes())
    for one in (allocators.Ours(OURS), *allocators.peers()[0]):
        figures = one.measure("backed", trace, file, 1)
        assert figures.live == 4 << 20
        assert 0.9 < figures.peak / figures.live < 1.5, one.who  # Linux counts resident pages by the batch


def test_the_exported_c_runs_in_the_memory_of_mode_raw(tmp_path):
    """It is not LLVM's code, and what its heap takes is as much to a byte."""
    trace, file = traces.Trace("kernel", "kernel", traces.kernel(20)), tmp_path / "trace"
    file.write_bytes(trace.pairs.tobytes())
    told = []
    (exported,) = allocators.exported(told.append)
    assert exported.who == EXPORTED and told == [UNTOLD]
    with lives.loading(exported._load), Kernel.boot(allocators.machine(), Profile.load("x86_64")) as kernel:
        assert isinstance(kernel.handle.life.library, shared.Library)
    one, other = (each.measure("backed", trace, file, 1) for each in (allocators.Ours(OURS), exported))
    assert (one.live, one.peak) == (other.live, other.peak) and one.peak > 0
