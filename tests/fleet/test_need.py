"""A machine is covered between its least and its most."""

from hypothesis import given
from hypothesis import strategies as st

from kernmalloc.fleet.need import Need

VALUES = st.integers(0, 1 << 40)


@given(VALUES, VALUES, st.integers(-3, 3))
def test_a_value_between_least_and_most_covers(least, more, off):
    need = Need(least, least + more)
    assert need.met(least) and need.met(least + more) and need.met(least + more // 2)
    assert not need.met(least - 1) and not need.met(least + more + 1)
    assert Need(least).met(least + more) and Need(least).met(least + off) == (off >= 0)
    assert not Need(None, None, "nowhere").met(least)
