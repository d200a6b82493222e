"""Caches of processors that share memory: against a model that keeps, for each processor, the lines that it has."""

from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from kernmalloc.bench.coherence import LINE_SHIFT, MISS, TRANSFER, UPGRADE, Caches, Cause, Done

LINE = 1 << LINE_SHIFT
ACCESSES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3 * LINE - 1), st.integers(0, 1)), max_size=60)


@settings(max_examples=100 * EFFORT)
@given(ACCESSES)
def test_a_line_is_written_by_one_who_alone_has_it(accesses):
    caches, has = Caches(), [set() for _ in range(5)]
    history = []
    for processor, address, write in accesses:
        line = address >> LINE_SHIFT
        others = [other for other in range(5) if other != processor and line in has[other]]
        done = caches.access(processor, address, write)
        if line in has[processor] and not (write and others):
            assert done is None
        else:
            assert done.kind == (UPGRADE if line in has[processor] else TRANSFER if others else MISS)
            assert done.gone == len(others) * write
        if done and done.cause:
            did = history[done.cause.when - 1]
            assert done.kind != MISS and did == (done.cause.by, done.cause.address, done.cause.write)
            assert did[0] != processor and did[1] >> LINE_SHIFT == line and (write or did[2])
        elif done and done.kind != MISS:
            assert not write and not any(
                did[2] for did in history if did[1] >> LINE_SHIFT == line and did[0] != processor
            )
        history.append((processor, address, write))
        has[processor].add(line)
        for other in others if write else ():
            has[other].discard(line)


def test_data_that_is_shared_is_told_from_a_line_that_is():
    caches = Caches()
    assert caches.access(0, 0, 1) == Done(MISS)
    assert caches.access(1, 8, 0) == Done(TRANSFER, 0, Cause(0, True, 0, 1))  # another field of the line
    assert caches.access(0, 0, 0) is None
    assert caches.access(0, 0, 1) == Done(UPGRADE, 1, Cause(8, False, 1, 2))  # which had been read
    assert caches.access(1, 0, 0) == Done(TRANSFER, 0, Cause(0, True, 0, 4))  # the field that was written
    assert caches.access(1, LINE, 0) == Done(MISS)
    assert caches.access(0, LINE, 0) == Done(TRANSFER)  # nobody wrote
