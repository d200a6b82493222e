"""The least and the most of a setting: searches, and what a machine needs whatever was looked for before."""

from hypothesis import given
from hypothesis import strategies as st
from small_machines import MIB, machine

from kernmalloc import Profile
from kernmalloc.plan import least
from kernmalloc.plan.least import first_that, last_that
from kernmalloc.plan.plan import with_strategy


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_the_first_number_that_holds_is_found_from_anywhere(first, near, most):
    found = first_that(lambda number: number >= first, near, most)
    assert found == (first if first <= most else None)


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_last_number_that_holds_is_found(last, beyond):
    assert last_that(lambda number: number <= last, 0, last + beyond) == last


def test_what_a_machine_needs_depends_on_no_other_machine():
    """Next to the most there may be a few numbers that do not hold: every process finds the same one."""
    profile = with_strategy(Profile.load("x86_64"), "reserve")
    boards = [machine((MIB, size << 30), (1 << 40, size << 28)) for size in range(5, 40, 3)]

    def needs(boards):
        least._most.cache_clear()
        return [least.reserve(board, profile) for board in boards]

    found = needs(boards)
    assert found == needs(boards[::-1])[::-1]
    assert all(each and each.least < each.most for each in found)
