"""Curves of machines that values cover, held against counting."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.plan.curve import at, least, steps

VALUES = st.integers(0, 60)
RANGES = st.lists(st.tuples(VALUES, st.none() | VALUES), max_size=12)


@given(RANGES, st.integers(0, 12))
def test_a_curve_counts_the_machines_that_each_value_covers(ranges, machines):
    found = [(first, None if more is None else first + more) for first, more in ranges]
    curve = steps(Counter(found))

    def counted(value: int) -> int:
        return sum(first <= value and (last is None or value <= last) for first, last in found)

    assert [at(curve, value) for value in range(130)] == [counted(value) for value in range(130)]
    assert least(curve, machines) == next((value for value in range(130) if counted(value) >= machines), None)
    assert curve[0][0] == 0 and all(a < b and m != n for (a, m), (b, n) in pairwise(curve))
