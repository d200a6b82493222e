"""Object caches: what is timed, and that the trace's sizes become caches."""

import numpy

from kernmalloc.bench import objects, traces
from kernmalloc.bench.rows import OURS, judge


def test_pairs_bulk_and_a_trace_go_through_the_typed_caches():
    rows = list(objects.run(traces.generated(0.001)[0], 1000, 2, lambda what, done: None))
    assert [row.work.rpartition(": ")[2] for row in rows] == [*objects.WORKS, objects.REPLAY]
    assert all(row.who == OURS and len(row.values) == 2 and 0 < row.harness < row.median for row in rows)
    assert len(judge(objects.GOALS, rows)) == len(objects.GOALS)


def test_what_is_freed_is_told_its_cache():
    pairs = numpy.array([(0, 32), (1, 584), (0, 0), (0, 584), (1, 0), (0, 0)], numpy.int32)
    assert objects.numbered(pairs, {32: 7, 584: 9}).tolist() == [[0, 7], [1, 9], [0, -7], [0, 9], [1, -9], [0, -9]]
