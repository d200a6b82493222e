"""What malloc and free cost at most, in instructions of the freestanding object."""

import random

import numpy
import pytest
from effort import EFFORT
from small_machines import MIB, conserved

from kernmalloc.bench import emulator
from kernmalloc.bench.instructions import BOUNDS, MOST, QUICK, Bound, Cost, Refused, costs, goals, replay, run
from kernmalloc.bench.rows import judge

STEPS = 3000 * EFFORT


def trace(sizes, order, steps=STEPS, live=300):
    """Pairs (slot, bytes): with `live` blocks of random sizes, one is freed (random, first, last) and another
    allocated; at the end all are freed."""
    pick = random.Random(2)
    pairs, held, slots = [], [], list(range(live))
    for _ in range(steps):
        if not slots:
            index = {"random": pick.randrange(len(held)), "fifo": 0, "lifo": -1}[order]
            for _ in range(pick.randrange(1, 40)):
                slots.append(held.pop(index if len(held) > abs(index) else 0))
                pairs.append((slots[-1], 0))
                if not held:
                    break
        held.append(slots.pop())
        pairs.append((held[-1], sizes(pick)))
    return numpy.array([*pairs, *((slot, 0) for slot in held)], numpy.int32)


def spread(pick):
    return int(8 * 1024 ** pick.random())


def objects(pick):
    return pick.choice([32, 256, 584, 1216])


def runs(pick):
    return pick.choice([16, 40_000, 100_000, 700_000])


TRACES = [(sizes, order) for sizes in (spread, objects, runs) for order in ("random", "fifo", "lifo")]


@pytest.mark.parametrize(("sizes", "order"), TRACES)
def test_no_operation_exceeds_its_bound(sizes, order):
    """The bound of `heap`'s head: with and without the lock, and for each page mapped."""
    pairs = trace(sizes, order, STEPS if sizes is not runs else STEPS // 10, 60 if sizes is runs else 300)
    with emulator.boot(512 * MIB) as kernel:
        found = costs(pairs, replay(kernel, pairs))
        conserved(kernel)
    for operation, cost in found.items():
        assert sum(map(len, (cost.quick, cost.locked, cost.mapping))) == len(pairs) // 2
        assert len(cost.maps[cost.maps > 0]) == len(cost.mapping)
        assert len(cost.mapping) or (sizes, operation) == (objects, "free")  # a slab or two stay empty
        assert cost.excess(BOUNDS[operation]).max() <= 0


def test_a_loop_counts_what_single_calls_cost():
    """Operation by operation: the same answers, the same instructions."""
    pairs = trace(spread, "random", 300, 50)
    with emulator.boot(160 * MIB) as kernel:
        looped = replay(kernel, pairs)
    with emulator.boot(160 * MIB) as kernel:
        held, bare = {}, emulator.processor(kernel)
        for (slot, size), done in zip(pairs.tolist(), looped, strict=True):
            before = bare.counts
            answer = kernel.call("malloc", size) if size else kernel.call("free", held[slot])
            held[slot] = answer
            assert tuple(done) == (answer, *(after - was for after, was in zip(bare.counts, before, strict=True)))


def test_an_operation_that_is_refused_is_told():
    with emulator.boot(160 * MIB) as kernel:
        with pytest.raises(Refused, match="operation 3: status -"):
            replay(kernel, numpy.array([(0, 100), (0, 0), (0, 0)], numpy.int32))
        with pytest.raises(Refused, match="blocks at once"):
            replay(kernel, numpy.array([(1 << 30, 100)], numpy.int32))


def test_what_exceeds_a_bound_is_seen():
    cost = Cost(numpy.array([5, 9]), numpy.array([20]), numpy.array([70]), numpy.array([4]))
    assert cost.excess(Bound(9, 20, 10)).max() == 10
    assert cost.excess(Bound(8, 20, 13)).max() == 1
    assert cost.excess(Bound(9, 19, 13)).max() == 1
    assert list(cost.bounded) == [5, 9, 20]


def test_rows_tell_of_all_traces_together():
    told = []
    made = {"one": trace(spread, "random", 500), "two": trace(objects, "lifo", 500)}
    found = list(run(made, lambda name, part: told.append(name)))
    assert len(told) == 2 and {row.unit for row in found} == {"instructions"}
    rows = {row.work.removeprefix("instructions of "): row.median for row in found}
    for operation in BOUNDS:
        middle, high, most = (rows[f"{operation}: {what}"] for what in ("median", "99.9th percentile", MOST))
        assert 5 < middle <= high <= most and middle <= rows[f"{operation}: {QUICK}"]
    verdicts = judge(goals(), found)
    pair, *bounds = verdicts
    assert pair.ours.median == rows["malloc: median"] + rows["free: median"]
    assert len(bounds) == 6 and all(verdict.reached for verdict in bounds)
