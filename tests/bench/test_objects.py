"""Object caches: what is timed, and that the trace's sizes become caches."""

from collections import Counter

import numpy
import pytest

from kernmalloc.bench import native, objects, traces
from kernmalloc.bench.allocators import machine
from kernmalloc.bench.rows import OURS, judge
from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile


def test_pairs_bulk_and_a_trace_go_through_the_typed_caches():
    rows = list(objects.run(traces.generated(0.001)[0], 1000, 2, lambda what, done: None))
    assert [row.work.rpartition(": ")[2] for row in rows] == [
        *objects.WORKS,
        objects.AT_ONCE,
        objects.REPLAY,
        *objects.FREES,
    ]
    assert all(row.who == OURS and len(row.values) == 2 and min(*row.values, row.harness) >= 0 for row in rows)
    assert len(judge(objects.GOALS, rows)) == len(objects.GOALS)


@pytest.mark.parametrize("entry", objects.FREES)
def test_what_is_got_is_freed_the_way_it_is_named(entry):
    """All of it goes back."""
    harness = native.library("heap")
    with Kernel.boot(machine(), Profile.load("x86_64")) as kernel:
        caches = {size: kernel.cache(f"bench-{size}", size, 1000).id for size in objects.KINDS}
        before = +Counter(kernel.view.used_slots())
        assert objects._freeing(harness, kernel, True, entry, caches, 6400) > 0
        assert +Counter(kernel.view.used_slots()) == before and kernel.check().passed


def test_what_is_freed_is_told_its_cache():
    pairs = numpy.array([(0, 32), (1, 584), (0, 0), (0, 584), (1, 0), (0, 0)], numpy.int32)
    assert objects.numbered(pairs, {32: 7, 584: 9}).tolist() == [[0, 7], [1, 9], [0, -7], [0, 9], [1, -9], [0, -9]]
